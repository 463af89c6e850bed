"""Training that is killed, runs out of space, or finds its files damaged ends as if that had not happened.

Every operation on files is made to fail under the trainer of numpy; a few real runs are killed and resumed. The long
form, with real runs alone, is `python tests/support/faults.py --kills=200 --operations`.
"""

import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from unittest import mock

import faults
import keras
import numpy as np
import numpy_trainer
import pytest
from entry_points import SMALL, command, last_of_each, metrics, run

import tfrnn
from tfrnn import sample, train
from tfrnn.config.config import Config
from tfrnn.config.sections import OPTIMIZERS
from tfrnn.data import run_text
from tfrnn.runs.run_dir import RunDir
from tfrnn.training import loops
from tfrnn.training.workers import Alone

FEW = [*faults.FEW, "--save_every=0", "--show_every=0"]


# Failing operations, with the trainer of numpy


SETTINGS = {"schedule": "plateau", "plateau_patience": 1}


@pytest.fixture(scope="module")
def numpy_twin(tmp_path_factory):
    """The run of numpy to which nothing happens, and its operations on files."""
    path = tmp_path_factory.mktemp("numpy") / "run"
    with faults.Operations(path).counted() as operations:
        assert numpy_trainer.command(path, **SETTINGS)[0] == 0
    return path, operations.made


def fail_and_resume(fault, twin, run_dir):
    """Trains with a fault, resumes, compares with the twin. Returns what the failing run printed on stderr."""
    expected, err = twin[0], ""
    with faults.Operations(run_dir, fault).counted():
        try:
            status, out, err = numpy_trainer.command(run_dir, **SETTINGS)
            assert "Traceback" not in err
            assert status in (0, 2)
            assert (status == 2) == ("tfrnn: error: " in err)
            assert not out or status == 0
        except faults.Dead:
            assert fault.error is None
    if (run_dir / "checkpoints").exists():
        faults.check_readable(run_dir)
    with faults.Operations(run_dir).counted():
        status, _, again = numpy_trainer.command(run_dir, **SETTINGS)
    assert (status, "warning" in again) == (0, False), again
    assert faults.differences(run_dir, expected) == []
    shutil.rmtree(run_dir)
    return err


FAULTS = {
    "write error once": {"error": errno.EIO},
    "full disk": {"error": errno.ENOSPC, "lasting": True},
    "read-only disk": {"error": errno.EROFS, "lasting": True},
    "kill": {"error": None},
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "kill" else pytest.mark.slow) for name in FAULTS]
)
def test_a_run_resumed_after_any_failed_operation_equals_the_uninterrupted_run(name, numpy_twin, tmp_path):
    failures = []
    assert len(numpy_twin[1]) > 70
    for at, operation in enumerate(numpy_twin[1]):
        try:
            fail_and_resume(faults.Fault(at, **FAULTS[name]), numpy_twin, tmp_path / str(at))
        except AssertionError as error:
            failures.append(f"{at}, {operation}: {error}")
    assert failures == []


@pytest.mark.parametrize("lasting", [True, False])
def test_a_full_disk_is_told_once_and_once_more_at_the_end(lasting, numpy_twin, tmp_path):
    fault = faults.Fault("write 00000000-00000001.npz.new", errno.ENOSPC, lasting)
    err = fail_and_resume(fault, numpy_twin, tmp_path / "run")
    assert err.count("tfrnn: warning: ") == 1
    assert "cannot be written now (No space left on device); what was saved before is unchanged" in err
    assert ("error" in err) == lasting
    if lasting:
        assert err.splitlines()[-1].startswith("tfrnn: error: ")
        assert "the end of training cannot be saved (No space left on device)" in err


def test_the_harness_finds_a_difference(numpy_twin, tmp_path):
    run_dir = shutil.copytree(numpy_twin[0], tmp_path / "run")
    rows = metrics(run_dir)
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[1:]))
    newest = max((run_dir / "checkpoints").iterdir())
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    assert faults.differences(run_dir, numpy_twin[0]) == ["metrics", "checkpoint"]
    with pytest.raises(Exception, match="checksum"):
        faults.check_readable(run_dir)


# A command that only speaks, as training does: notes, warnings, a bar, lines above it, and results.
SPEAK = """
import sys, warnings
from tqdm import tqdm
from tfrnn.cli import messages, program
from tfrnn.errors import RunWarning

def main(argv):
    messages.note("a note")
    warnings.warn("a warning", RunWarning)
    bar = tqdm(total=2, file=sys.stderr)
    for _ in range(1000):
        tqdm.write("a line", file=sys.stderr)
    bar.close()
    open("done", "w").close()
    print("results")
    messages.show_next_steps({"go": "home"})

program.run(main)
"""
REDIRECTIONS = {  # and the exit status: only results that cannot be written are an error
    "2>/dev/full": 0,
    "2>&1 | head -1": 0,
    ">&-": 0,
    "2>&-": 0,
    "2>&1 >/dev/full | cat >/dev/null": 2,
}


def redirected(arguments, redirection, folder):
    """Runs Python in a shell with its streams redirected."""
    script = f"{shlex.join([sys.executable, *arguments])} {redirection}; exit ${{PIPESTATUS[0]}}"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, cwd=folder)


@pytest.mark.parametrize("redirection", REDIRECTIONS)
def test_messages_that_cannot_be_written_end_nothing(redirection, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    done = redirected(["-c", SPEAK], redirection, tmp_path)
    assert done.returncode == REDIRECTIONS[redirection], done.stderr
    assert done.stderr == "" or "2>" not in redirection
    assert (tmp_path / "done").exists()


# Real runs


@pytest.fixture
def short_calls(monkeypatch):
    """A call, and so a save, for every batch."""
    monkeypatch.setattr(loops, "CALL_SECONDS", 0)


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """A real run with dropout, to which nothing happens."""
    path = tmp_path_factory.mktemp("twin") / "run"
    assert run(train.main, *FEW, f"--run_dir={path}")[0] == 0
    return path


@pytest.mark.slow
def test_a_run_killed_at_a_random_operation_and_resumed_equals_the_uninterrupted_run(twin, tmp_path):
    """A real process, killed by SIGKILL, mostly within an epoch; with dropout, bit for bit."""
    operation = int(np.random.default_rng().integers(20, 80))
    process = faults.start(faults.FEW, tmp_path / "run", faults.__file__, f"--child={operation}")
    _, err = process.communicate(timeout=600)
    assert process.returncode == -signal.SIGKILL, err
    faults.check_readable(tmp_path / "run")
    assert run(train.main, *FEW, f"--run_dir={tmp_path}/run")[0] == 0
    assert faults.differences(tmp_path / "run", twin) == [], operation


@pytest.mark.slow
@pytest.mark.parametrize("i", [2, 8])
def test_kills_at_random_moments(i, tmp_path):
    """A setting with long epochs, and one with two layers, embeddings and states of two tensors."""
    fewer = [flag.replace("=400", "=100").replace("epochs=3", "epochs=1") for flag in faults.MIX[i]]
    faults.kill_often(fewer, 2, 0, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_real_run_resumed_after_a_failed_operation_equals_the_uninterrupted_run(name, tmp_path, short_calls):
    with faults.Operations(tmp_path / "twin").counted() as operations:
        assert run(train.main, *FEW, f"--run_dir={tmp_path}/twin")[0] == 0
    run_dir = tmp_path / "run"
    for at in range(0, len(operations.made), 15):
        try:
            with faults.Operations(run_dir, faults.Fault(at, **FAULTS[name])).counted():
                assert "Traceback" not in run(train.main, *FEW, f"--run_dir={run_dir}")[2]
        except faults.Dead:
            pass
        assert run(train.main, *FEW, f"--run_dir={run_dir}")[0] == 0
        assert faults.differences(run_dir, tmp_path / "twin") == [], operations.made[at]
        shutil.rmtree(run_dir)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_killed_within_an_epoch_and_resumed_equals_the_uninterrupted_run(optimizer, tmp_path, short_calls):
    flags = [*FEW, "--max_tokens=300", f"--optimizer={optimizer}", "--learning_rate=0.01", "--sampling=random"]
    run(train.main, *flags, f"--run_dir={tmp_path}/twin")
    operations = faults.Operations(tmp_path / "run", faults.Fault("open 00000001-00000005.npz.new", None))
    with pytest.raises(faults.Dead), operations.counted():
        run(train.main, *flags, f"--run_dir={tmp_path}/run")
    assert max((tmp_path / "run" / "checkpoints").glob("*.npz")).name == "00000001-00000004.npz"
    assert run(train.main, *flags, f"--run_dir={tmp_path}/run")[0] == 0
    assert faults.differences(tmp_path / "run", tmp_path / "twin") == []


@pytest.mark.slow
def test_another_seed_trains_another_run_and_other_calls_the_same(twin, tmp_path, short_calls):
    for name, seed in (("same", 0), ("other", 1)):
        assert run(train.main, *FEW, f"--seed={seed}", f"--run_dir={tmp_path}/{name}")[0] == 0
    assert faults.differences(tmp_path / "same", twin) == []
    assert {"metrics", "checkpoint"} <= set(faults.differences(tmp_path / "other", twin))


@pytest.mark.slow
def test_deterministic_runs_are_equal_bit_for_bit(tmp_path):
    """In processes of their own, as TensorFlow cannot undo --deterministic."""
    for name in ("one", "two"):
        process = command("tfrnn.train", *FEW, "--deterministic", f"--run_dir={tmp_path}/{name}")
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert faults.differences(tmp_path / "one", tmp_path / "two") == []


@pytest.mark.slow
def test_a_second_process_on_the_same_run_is_refused(tmp_path):
    first = command("tfrnn.train", *SMALL, "--epochs=100000", f"--run_dir={tmp_path}/run")
    try:
        faults.wait_for(first, "run directory: ")
        status, out, err = run(train.main, *SMALL, "--epochs=100000", f"--run_dir={tmp_path}/run")
        assert (status, out) == (2, "")
        assert "no other process is training, but one is" in err
    finally:
        first.send_signal(signal.SIGTERM)
        _, err = first.communicate(timeout=60)
    assert first.returncode == 0
    assert "to resume: " in err
    assert run(train.main, *SMALL, "--epochs=1", f"--run_dir={tmp_path}/run")[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("redirection", REDIRECTIONS)
def test_messages_of_a_real_run_that_cannot_be_written_end_nothing(redirection, twin, tmp_path):
    flags = last_of_each([*FEW, "--show_every=1", f"--run_dir={tmp_path}/run"])
    done = redirected(["-m", "tfrnn.train", *flags], redirection, tmp_path)
    assert done.returncode == REDIRECTIONS[redirection], done.stderr
    assert done.stderr == "" or "2>" not in redirection
    assert faults.differences(tmp_path / "run", twin) == ["config"]  # --show_every


# A trainer that is stopped


class StopAtLastBatch(keras.callbacks.Callback):
    """Asks training to stop when the last batch of an epoch has been trained, before its validation."""

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = True


def small_trainer():
    model = tfrnn.LanguageModel(tfrnn.RNNCell(4), vocab_size=5)
    keras.utils.set_random_seed(0)
    model.build()
    return tfrnn.Trainer(model, keras.optimizers.SGD(0.1), chains=1)


@pytest.fixture
def small_batches():
    ids = np.arange(60, dtype=np.int32) % 5
    return [tfrnn.sequential_batches(part, 2, 3, random_offset=False) for part in (ids[:8], ids)]


@pytest.mark.slow
def test_a_stop_within_validation_is_resumed_from(small_batches, short_calls):
    """Training does not wait for the other calls of the validation, and validates again when it is resumed."""
    batches, validation = small_batches
    assert (batches.num_batches(0), validation.num_batches(0)) == (1, 9)
    whole, stopped = small_trainer(), small_trainer()
    stopped.model.set_weights(whole.model.get_weights())
    expected = whole.fit(batches, 2, validation).history
    assert stopped.fit(batches, 2, validation, [StopAtLastBatch()]).history == {}
    assert stopped.position == (0, 1)
    history = stopped.fit(batches, 2, validation).history
    assert history["val_loss"] == expected["val_loss"]
    assert all((a == b).all() for a, b in zip(stopped.model.get_weights(), whole.model.get_weights(), strict=True))


def test_a_stop_that_is_requested_while_other_workers_are_waited_for_is_not_forgotten(small_batches):
    """It comes after this worker has told the others that it wishes to continue."""
    trainer = small_trainer()

    class Interrupted(Alone):
        def sum(self, numbers):
            trainer.model.stop_training = True
            return numbers

    trainer.workers = Interrupted()
    trainer.fit(small_batches[0], 50)
    assert trainer.epoch <= 1


# Other harm


def test_a_text_that_changes_after_the_training_text_is_another_text(tmp_path):
    """Even by the order of two characters, with the same vocabulary: it is refused on resume, by its SHA-256."""
    path = tmp_path / "text"
    config = Config().replace(corpus=str(path), max_tokens=300, validation_tokens=100)
    path.write_text("abc abd " * 200)
    before = run_text.read(config)
    path.write_text("abc abd " * 199 + "abd abc ")
    after = run_text.read(config)
    assert before.vocabulary.id_to_token == after.vocabulary.id_to_token
    assert before.training.tolist() == after.training.tolist()
    assert before.sha256 != after.sha256


def test_a_vocabulary_with_a_changed_token_is_noticed(small_run, tmp_path):
    run_dir = shutil.copytree(small_run, tmp_path / "run")
    vocabulary = run_dir / "vocabulary.json"
    vocabulary.write_text(vocabulary.read_text().replace('"t"', '"T"'))
    status, _, err = run(sample.main, f"--run_dir={run_dir}")
    assert (status, "made with other settings or tokens" in err) == (2, True)


@pytest.mark.slow
def test_stored_ids_that_are_truncated_while_training_are_one_line(tmp_path, monkeypatch):
    status, err = train_and_harm(lambda ids: os.truncate(ids, 5), tmp_path, monkeypatch)
    assert (status, err.count("error:")) == (2, 1), err
    assert "bin: expected stored token ids, but they cannot be read (it has become shorter)" in err


@pytest.mark.slow
def test_stored_ids_that_are_removed_while_training_are_still_read(tmp_path, monkeypatch):
    assert train_and_harm(os.unlink, tmp_path, monkeypatch)[0] == 0  # the file is open


def train_and_harm(harm, tmp_path, monkeypatch):
    """Trains on a text that counts as large, and harms its stored ids after the first save. Returns status, stderr."""
    monkeypatch.setattr(run_text, "IN_MEMORY_LIMIT", 100)
    path, cache, save = tmp_path / "text", tmp_path / "cache", RunDir.save
    path.write_text("abcdefg hij" * 2000)

    def save_and_harm(self, position, arrays):
        save(self, position, arrays)
        for ids in cache.rglob("*.bin"):
            harm(ids)

    flags = [f"--corpus={path}", "--max_tokens=0", f"--cache_dir={cache}", "--units=8", "--show_every=0"]
    with mock.patch.object(RunDir, "save", save_and_harm):
        status, _, err = run(train.main, *flags, "--epochs=3", f"--run_dir={tmp_path}/run")
    return status, err
