"""Training that is killed, runs out of room, finds its files damaged or its corpus changed: the short form.

The long form is `python tests/support/faults.py --kills=200 --operations`.
"""

import errno
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from unittest import mock

import faults
import pytest
from entry_points import SMALL, command, metrics, run, without_timings

from tfrnn import sample, train
from tfrnn.config.sections import OPTIMIZERS
from tfrnn.data import run_text
from tfrnn.runs.run_dir import RunDir
from tfrnn.training import replicas, trainer

FEW = [*faults.FEW, "--save_every=0", "--show_every=0"]


@pytest.fixture
def short_calls(monkeypatch):
    """A call, and so a save, for every batch."""
    monkeypatch.setattr(trainer, "CALL_SECONDS", 0)


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """The run that nothing happens to, with its number of operations on files."""
    path = tmp_path_factory.mktemp("twin") / "run"
    operations = faults.Operations(path)
    with mock.patch.object(trainer, "CALL_SECONDS", 0), operations.counted():
        assert run(train.main, *FEW, f"--run_dir={path}")[0] == 0
    return path, operations.made


def test_a_seed_fixes_every_byte_and_another_gives_another_run(twin, tmp_path):
    """The calls, and so the saves, are others than the twin's."""
    for name, seed in (("same", 0), ("other", 1)):
        assert run(train.main, *FEW, f"--seed={seed}", f"--run_dir={tmp_path}/{name}")[0] == 0
    assert faults.differences(tmp_path / "same", twin[0]) == []
    assert {"metrics", "checkpoint"} <= set(faults.differences(tmp_path / "other", twin[0]))


@pytest.mark.slow
def test_operations_that_may_not_be_repeated_to_the_bit_are_not_used(tmp_path):
    """--deterministic, in processes of their own, as TensorFlow cannot take it back."""
    for name in ("one", "two"):
        _, err = (
            process := command("tfrnn.train", *FEW, "--deterministic", f"--run_dir={tmp_path}/{name}")
        ).communicate()
        assert process.returncode == 0, err
    assert faults.differences(tmp_path / "one", tmp_path / "two") == []


def tried(operations, every):
    """Every so many of the operations, with the first and the last."""
    return sorted({0, *range(0, len(operations), every), len(operations) - 1})


def fail_at(at, fault, twin, folder):
    """A run with a fault, gone on with: as its twin. Gives what it said when it failed."""
    path, made = twin
    said = []
    with faults.Operations(folder / "run", fault).counted():
        try:
            status, out, err = run(train.main, *FEW, f"--run_dir={folder}/run")
            said.append(err)
            assert "Traceback" not in err
            assert status in (0, 2), made[at]
            assert (status == 2) == ("tfrnn: error: " in err)
            assert not out or status == 0
        except faults.Dead:
            assert fault.error is None
    if (folder / "run" / "checkpoints").exists():
        faults.check_readable(folder / "run")
    status, _, err = run(train.main, *FEW, f"--run_dir={folder}/run")
    assert (status, "warning" in err) == (0, False), (made[at], err)
    different = faults.differences(folder / "run", path)
    assert different == [], made[at]
    shutil.rmtree(folder / "run")
    return said


FAULTS = {
    "a write error": {"error": errno.EIO},
    "a full disk": {"error": errno.ENOSPC, "lasting": True},
    "a read-only disk": {"error": errno.EROFS, "lasting": True},
    "a kill": {"error": None},
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_run_goes_on_after_an_operation_on_files_has_failed(name, twin, tmp_path, short_calls):
    for at in tried(twin[1], 30):
        fail_at(at, faults.Fault(at, **FAULTS[name]), twin, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a write error", "a full disk", "a kill"])
def test_so_it_does_after_any(name, twin, tmp_path, short_calls):
    for at in tried(twin[1], 1):
        fail_at(at, faults.Fault(at, **FAULTS[name]), twin, tmp_path)


def test_a_full_disk_is_told_once_and_at_the_end(twin, tmp_path, short_calls):
    at = next(i for i, made in enumerate(twin[1]) if made.startswith("write 00000000-00000001"))
    (err,) = fail_at(at, faults.Fault(at, errno.ENOSPC, lasting=True), twin, tmp_path)
    assert err.count("tfrnn: warning: ") == 1
    assert "cannot be written now (No space left on device); what was saved before is as it was" in err
    assert err.splitlines()[-1].startswith("tfrnn: error: ")
    assert "the end of training cannot be saved (No space left on device)" in err
    (err,) = fail_at(at, faults.Fault(at, errno.ENOSPC), twin, tmp_path)  # there is room again
    assert err.count("tfrnn: warning: ") == 1
    assert "error" not in err


@pytest.mark.parametrize("i", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_kills_at_random_moments(i, tmp_path):
    """Real processes; a setting with long epochs, and one with two layers, embeddings and states of two tensors."""
    fewer = [flag.replace("=400", "=100").replace("epochs=3", "epochs=1") for flag in faults.MIX[i]]
    faults.kill_often(fewer, 2, 0, tmp_path)


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_used(twin, tmp_path):
    for spoil in (lambda path: os.truncate(path, 1000), flip_a_bit, lambda path: path.write_bytes(b"")):
        shutil.copytree(twin[0], tmp_path / "run")
        last = max((tmp_path / "run" / "checkpoints").iterdir())
        spoil(last)
        status, _, err = run(train.main, *FEW, f"--run_dir={tmp_path}/run")
        assert status == 0
        assert re.search(rf"tfrnn: warning: .*{last.name} cannot be used .*; going back to \d+-\d+.npz\n", err)
        assert faults.differences(tmp_path / "run", twin[0]) == []
        shutil.rmtree(tmp_path / "run")


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_with_every_optimizer_a_stop_changes_nothing(optimizer, tmp_path, short_calls):
    """Killed in the middle of the second epoch."""
    flags = [*FEW, "--max_tokens=300", f"--optimizer={optimizer}", "--learning_rate=0.01", "--sampling=random"]
    run(train.main, *flags, f"--run_dir={tmp_path}/twin")
    killed = f"open {'00000001-00000005.npz.new'}"
    operations = faults.Operations(tmp_path / "run", faults.Fault(killed, None))
    with pytest.raises(faults.Dead), operations.counted():
        run(train.main, *flags, f"--run_dir={tmp_path}/run")
    assert max((tmp_path / "run" / "checkpoints").glob("*.npz")).name == "00000001-00000004.npz"
    assert run(train.main, *flags, f"--run_dir={tmp_path}/run")[0] == 0
    assert faults.differences(tmp_path / "run", tmp_path / "twin") == []


def test_a_corpus_that_has_changed_is_refused(tmp_path):
    """Even by one character behind what is trained on, and with the same vocabulary."""
    run_text, flags = tmp_path / "text", [*SMALL, "--max_tokens=300", f"--run_dir={tmp_path}/run"]
    run_text.write_text("abc abd " * 200)
    assert run(train.main, *flags, f"--corpus={run_text}")[0] == 0
    run_text.write_text("abc abd " * 199 + "abd abc ")
    status, out, err = run(train.main, *flags, f"--corpus={run_text}", "--epochs=9")
    assert (status, out) == (2, "")
    assert f"the text of --corpus={run_text} has changed since the run began; bring the old one back" in err
    run_text.write_text("abc abd " * 200)
    assert run(train.main, *flags, f"--corpus={run_text}", "--epochs=4")[0] == 0


def test_a_token_that_has_rotted_is_noticed(twin, tmp_path):
    shutil.copytree(twin[0], tmp_path / "run")
    vocabulary = tmp_path / "run" / "vocabulary.json"
    vocabulary.write_text(vocabulary.read_text().replace('"t"', '"T"'))
    status, _, err = run(sample.main, f"--run_dir={tmp_path}/run")
    assert (status, "made with other settings or tokens" in err) == (2, True)


def test_a_finished_run_whose_metrics_are_torn_says_so(twin, tmp_path):
    shutil.copytree(twin[0], tmp_path / "run")
    metrics = tmp_path / "run" / "metrics.jsonl"
    os.truncate(metrics, metrics.stat().st_size - 30)
    status, out, err = run(train.main, *FEW, f"--run_dir={tmp_path}/run")
    assert (status, out, "expected the row of epoch 2 in metrics.jsonl" in err) == (2, "", True)


def test_a_checkpoint_of_another_seed_is_refused(twin, tmp_path):
    shutil.copytree(twin[0], tmp_path / "run")
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace('"seed": 0', '"seed": 5'))
    status, _, err = run(train.main, *FEW, "--seed=5", "--epochs=3", f"--run_dir={tmp_path}/run")
    assert (status, "made with other settings or tokens than are in config.json" in err) == (2, True)


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


def test_a_stop_within_validation_is_gone_on_from(tmp_path, monkeypatch):
    """A signal while the first call of an epoch's validation is under way: training does not wait for the others."""
    flags = [*FEW, "--validation_tokens=5000"]
    run(train.main, *flags, f"--run_dir={tmp_path}/twin")
    monkeypatch.setattr(trainer, "CALL_SECONDS", 0)
    evaluate = trainer.Trainer._evaluate

    def interrupted(*arguments, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*arguments, **kwargs)

    with mock.patch.object(trainer.Trainer, "_evaluate", interrupted):
        status, out, err = run(train.main, *flags, f"--run_dir={tmp_path}/run")
    assert (status, out) == (0, "")
    assert re.search(r"interrupted after 0 epochs( and \d batches)?; saved", err)
    assert metrics(tmp_path / "run") == []
    assert run(train.main, *flags, f"--run_dir={tmp_path}/run")[0] == 0
    assert faults.differences(tmp_path / "run", tmp_path / "twin") == []


SLOWER = ["2>&-", "2>&1 >/dev/full | cat >/dev/null"]


@pytest.mark.parametrize(
    "redirection",
    ["2>/dev/full", "2>&1 | head -1", ">&-", *(pytest.param(other, marks=pytest.mark.slow) for other in SLOWER)],
)
def test_messages_that_cannot_be_written_end_nothing(redirection, twin, tmp_path):
    """Standard error on a full disk, a pipe whose reader has gone; and results that cannot be written are an error."""
    arguments = shlex.join([sys.executable, "-m", "tfrnn.train", *FEW, "--show_every=1", f"--run_dir={tmp_path}/run"])
    script = f"{arguments} {redirection}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == (2 if ">/dev/full" in redirection.replace("2>/dev/full", "") else 0)
    assert done.stderr == "" or "2>" not in redirection
    assert set(faults.differences(tmp_path / "run", twin[0])) <= {"config"}  # --show_every


def test_a_picture_that_cannot_be_made_costs_nothing_else(twin, tmp_path):
    with mock.patch("tfrnn.plots.curves.plot_perplexity", side_effect=ImportError("no font")):
        status, out, err = run(train.main, *FEW, f"--run_dir={tmp_path}/run")
    assert (status, out.startswith("perplexity ")) == (0, True)
    assert "tfrnn: warning: " in err
    assert "the picture cannot be made (no font)" in err
    assert run(train.main, *FEW, f"--run_dir={tmp_path}/run")[0] == 0  # makes it after all
    assert faults.differences(tmp_path / "run", twin[0]) == []


def test_another_number_of_chains_is_remarked_on(tmp_path):
    flags = [*SMALL, "--batch_size=16", f"--run_dir={tmp_path}/run"]
    run(train.main, *flags, "--chains=2", "--epochs=1")
    assert "warning" not in run(train.main, *flags, "--chains=2", "--epochs=2")[2]
    status, _, err = run(train.main, *flags, "--chains=1")
    assert (status, "with 2 chains, XLA off before and is with 1 chains, XLA off now" in err) == (0, True)


def test_a_finished_run_that_cannot_be_written_is_still_read(twin, tmp_path):
    with faults.Operations(twin[0], faults.Fault(0, errno.EROFS, lasting=True)).counted() as operations:
        status, out, err = run(train.main, *FEW, f"--run_dir={twin[0]}")
    assert (status, operations.made) == (0, [])
    assert out.startswith("perplexity ")
    assert "this run is finished" in err


def test_metrics_that_are_lost_are_told_and_training_goes_on(twin, tmp_path):
    shutil.copytree(twin[0], tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").unlink()
    status, _, err = run(train.main, *FEW, "--epochs=4", f"--run_dir={tmp_path}/run")
    assert status == 0
    assert "metrics.jsonl has whole rows of 0 of 2 finished epochs; going on without" in err
    assert [row["epoch"] for row in metrics(tmp_path / "run")] == [3, 4]


def test_rows_come_once_however_often_a_run_is_stopped(twin, tmp_path):
    for epochs in (1, 2, 2):
        run(train.main, *FEW, f"--epochs={epochs}", f"--run_dir={tmp_path}/run")
    assert without_timings(metrics(tmp_path / "run")) == without_timings(metrics(twin[0]))


def test_the_harness_finds_a_difference(twin, tmp_path):
    shutil.copytree(twin[0], tmp_path / "run")
    rows = metrics(tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[1:]))
    flip_a_bit(max((tmp_path / "run" / "checkpoints").iterdir()))
    assert faults.differences(tmp_path / "run", twin[0]) == ["metrics", "checkpoint"]
    with pytest.raises(Exception, match="checksum"):
        faults.check_readable(tmp_path / "run")


def test_a_run_is_left_to_others_after_an_error(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("x")
    for _ in range(2):
        assert "holds other files" in run(train.main, *FEW, f"--run_dir={tmp_path}/run")[2]
    (tmp_path / "run" / "thesis.txt").unlink()
    with RunDir(tmp_path / "run"):
        pass


def test_a_signal_while_the_other_workers_are_waited_for_is_not_forgotten(tmp_path):
    """It comes after this worker has said that it wishes to go on."""
    agree = replicas.Replicas.sum_over_workers
    sent = []

    def interrupted(self, numbers):
        agreed = agree(self, numbers)
        if len(numbers) > 1 and not sent:  # not before training has begun
            sent.append(os.kill(os.getpid(), signal.SIGTERM))
        return agreed

    with mock.patch.object(trainer.Replicas, "sum_over_workers", interrupted):
        status, out, err = run(train.main, *FEW, "--epochs=2000", f"--run_dir={tmp_path}/run")
    assert (status, out, "saved\nto resume: " in err) == (0, "", True), err


def test_a_text_on_the_disk_that_is_damaged_while_training_is_one_line(tmp_path, monkeypatch):
    """What has been removed is still open; what has been cut is an error, and what was saved stays."""
    monkeypatch.setattr(run_text, "IN_MEMORY_LIMIT", 100)
    path, cache, save = tmp_path / "text", tmp_path / "cache", RunDir.save
    path.write_text("abcdefg hij" * 2000)
    flags = [f"--corpus={path}", "--max_tokens=0", f"--cache_dir={cache}", "--units=8", "--show_every=0"]

    def trained(harm):
        def harmed(self, position, arrays):
            save(self, position, arrays)
            for ids in cache.rglob("*.bin"):
                harm(ids)

        with mock.patch.object(RunDir, "save", harmed):
            return run(train.main, *flags, "--epochs=3", f"--run_dir={tmp_path}/{harm.__name__}")

    def cut(ids):
        os.truncate(ids, 5)

    assert trained(os.unlink)[0] == 0
    status, _, err = trained(cut)
    assert (status, err.count("error:")) == (2, 1), err
    assert "bin: expected stored token ids, but they cannot be read (it has become shorter)" in err
