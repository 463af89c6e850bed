"""Set-up of every test process, and fixtures that several modules share."""

import gc
import signal

import pytest
from absl import flags
from entry_points import SMALL, run
from hypothesis import settings

from tfrnn import train
from tfrnn.runtime import host, threads

host.import_tensorflow_quietly()
threads.set_threads(cpu_devices=4)  # for strategies of several replicas; all other tests use only the first device
flags.FLAGS.mark_as_parsed()  # absl's test cases read their temporary folder from a flag
# A shell starts jobs in the background with Ctrl-C ignored, and every process of theirs inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Profiles of hypothesis: `short` is the default, `pytest --hypothesis-profile=long` tries more examples. Neither has a
# deadline, since the time of an example means nothing on a shared machine.
settings.register_profile("short", deadline=None, max_examples=50)
settings.register_profile("long", deadline=None, max_examples=1000)
settings.load_profile("short")


@pytest.fixture(scope="module", autouse=True)
def freeze_traced_graphs():
    """Exempts what a module has traced, which TensorFlow keeps, from all later garbage collections."""
    yield
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    """Removes tf.test.TestCase.test_session, which is not a test."""
    items[:] = [item for item in items if item.name != "test_session"]


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """A run directory trained by the command with the flags SMALL; tests read it, or change a copy by copytree."""
    folder = tmp_path_factory.mktemp("small") / "run"
    status, _, err = run(train.main, *SMALL, f"--run_dir={folder}")
    assert status == 0, err
    return folder
