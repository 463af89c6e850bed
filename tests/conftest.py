import gc

import pytest
from absl import flags
from entry_points import SMALL, run
from hypothesis import settings

from tfrnn import train
from tfrnn.runtime import host, threads

host.import_tensorflow_quietly()
threads.set_threads(cpu_devices=4)  # for strategies of several replicas; nothing else uses more than the first
flags.FLAGS.mark_as_parsed()  # absl's test cases read their temporary folder from there
# How long an example takes says nothing on a shared machine.
settings.register_profile("short", deadline=None, max_examples=50)
settings.register_profile("long", deadline=None, max_examples=1000)
settings.load_profile("short")


@pytest.fixture(scope="module", autouse=True)
def no_search_through_all_that_is_compiled():
    """What a module's tests have compiled stays, and the garbage collector need not look through it again and again."""
    yield
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    """tf.test.TestCase brings a `test_session` of its own that is no test."""
    items[:] = [item for item in items if item.name != "test_session"]


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """A run directory trained by the command with the flags SMALL; to be read, or copied by shutil.copytree."""
    folder = tmp_path_factory.mktemp("small") / "run"
    status, _, err = run(train.main, *SMALL, f"--run_dir={folder}")
    assert status == 0, err
    return folder
