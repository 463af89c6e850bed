"""What a training run does around its trainer: resume, stop, save, warn and report; with the trainer of numpy."""

import contextlib
import dataclasses
import errno
import json
import math
import os
import re
import shutil
import signal

import faults
import pytest
from entry_points import metrics, without_timings
from numpy_trainer import PICTURE, TEXT, NumpyTrainer, command, train

from tfrnn.runs.run_dir import RunDir


@pytest.fixture(scope="module", autouse=True)
def no_flushing():
    """No test here cuts the power, so nothing need be flushed to the disk, which is what takes long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """A finished run of two epochs that is never interrupted; to be copied or only read."""
    path = tmp_path_factory.mktemp("twin") / "run"
    assert command(path)[0] == 0
    return path


@pytest.fixture
def copy(twin, tmp_path):
    """A copy of the twin."""
    return shutil.copytree(twin, tmp_path / "run")


def stops_at(position, number=signal.SIGTERM, **arguments):
    """A trainer that receives a signal while it computes this batch."""

    def on_batch(epoch, batch):
        if (epoch, batch) == position:
            os.kill(os.getpid(), number)

    return NumpyTrainer(on_batch=on_batch, **arguments)


def checkpoints_of(run_dir):
    return sorted(path.name for path in (run_dir / "checkpoints").iterdir())


# Resuming

POSITIONS = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (3, 2)]  # the last of them at the ends of epochs
SETTINGS = {
    "constant": {},
    "plateau": {"schedule": "plateau", "plateau_patience": 1, "decay_to": 0.01},
    "early stopping": {"early_stopping": 3},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_run_resumed_from_any_position_equals_the_uninterrupted_run(settings, tmp_path):
    train(tmp_path / "twin", epochs=4, **settings)
    for position in POSITIONS:
        run_dir = tmp_path / "{}-{}".format(*position)
        train(run_dir, trainer=stops_at(position), epochs=4, **settings)
        train(run_dir, epochs=4, **settings)
        assert faults.differences(run_dir, tmp_path / "twin") == [], position


def test_a_run_interrupted_many_times_equals_the_uninterrupted_run(tmp_path):
    train(tmp_path / "twin", epochs=4)
    for position in POSITIONS:
        assert not train(tmp_path / "run", trainer=stops_at(position), epochs=4) or position == POSITIONS[-1]
    assert faults.differences(tmp_path / "run", tmp_path / "twin") == []


def test_a_larger_number_of_epochs_continues_a_finished_run(copy, tmp_path):
    train(tmp_path / "at_once", epochs=5)
    status, _, err = command(copy, epochs=5)
    assert (status, "resuming after 2 epochs\n" in err) == (0, True)
    assert faults.differences(copy, tmp_path / "at_once") == []


def test_a_finished_run_only_prints_its_results_again(copy):
    before = faults.outcome(copy)
    status, out, err = command(copy)
    assert (status, out) == (0, command(copy)[1])
    assert out.startswith("perplexity ")
    assert "this run is finished after 2 epochs; to continue it, give a larger --epochs\n" in err
    assert faults.outcome(copy) == before


def test_a_finished_run_that_cannot_be_written_is_still_reported(copy):
    with faults.Operations(copy, faults.Fault(0, errno.EROFS, lasting=True)).counted() as operations:
        status, out, _ = command(copy)
    assert (status, operations.made) == (0, [])
    assert out.startswith("perplexity ")


def test_fewer_epochs_than_are_finished_change_nothing_on_disk(copy):
    status, _, err = command(copy, epochs=1)
    assert (status, "finished after 2 epochs" in err) == (0, True)
    assert json.loads((copy / "config.json").read_text())["training"]["epochs"] == 2


def test_a_run_that_was_killed_while_it_was_created_is_created_again(tmp_path, twin):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "vocabulary.json").write_text("[")
    assert command(tmp_path / "run")[0] == 0
    assert faults.differences(tmp_path / "run", twin) == []


# Damaged and lost files


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "truncated": lambda path: os.truncate(path, 100),
    "a bit flipped": flip_a_bit,
    "emptied": lambda path: os.truncate(path, 0),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_used(damage, copy, twin):
    newest = max((copy / "checkpoints").iterdir())
    damage(newest)
    status, _, err = command(copy)
    assert status == 0
    assert re.search(rf"tfrnn: warning: .*{newest.name} cannot be used .*; falling back to \d+-\d+.npz\n", err)
    assert faults.differences(copy, twin) == []


def test_a_run_whose_checkpoints_are_all_damaged_is_an_error(copy):
    for path in (copy / "checkpoints").iterdir():
        os.truncate(path, 100)
    status, out, err = command(copy, epochs=3)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "cannot be used (its checksum is not that of its content)" in err


def test_a_run_whose_checkpoints_are_lost_is_an_error(copy):
    shutil.rmtree(copy / "checkpoints")
    status, _, err = command(copy)
    assert (status, "of the 2 finished epochs" in err) == (2, True)
    assert len(metrics(copy)) == 2


def test_torn_metrics_of_a_finished_run_are_an_error_that_more_epochs_heal(copy):
    path = copy / "metrics.jsonl"
    os.truncate(path, path.stat().st_size - 30)
    status, out, err = command(copy)
    assert (status, out, "expected the row of epoch 2 in metrics.jsonl" in err) == (2, "", True)
    status, _, err = command(copy, epochs=3)
    assert (status, "has rows of 1 of 2 finished epochs; continuing without the others" in err) == (0, True)
    assert [row["epoch"] for row in metrics(copy)] == [1, 3]


@pytest.mark.parametrize("content", [None, '{"epoch": 1}\n3\n'], ids=["removed", "without a row"])
def test_lost_metrics_are_told_and_training_continues(content, copy):
    (copy / "metrics.jsonl").unlink() if content is None else (copy / "metrics.jsonl").write_text(content)
    status, _, err = command(copy, epochs=4)
    assert (status, "has rows of 0 of 2 finished epochs; continuing without" in err) == (0, True)
    assert [row["epoch"] for row in metrics(copy)] == [3, 4]


@pytest.mark.parametrize("is_torn", [True, False])
def test_an_epoch_after_the_last_checkpoint_is_trained_and_written_again(is_torn, copy, tmp_path):
    with (copy / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "perpl' if is_torn else json.dumps({**metrics(copy)[-1], "epoch": 3}) + "\n")
    train(copy, epochs=3)
    train(tmp_path / "at_once", epochs=3)
    assert faults.differences(copy, tmp_path / "at_once") == []


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends_training_and_the_handlers_are_restored(number, tmp_path):
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    status, out, err = command(tmp_path / "run", trainer=stops_at((1, 0), number))
    assert (status, out) == (0, "")
    assert err.endswith("interrupted after 1 epochs and 1 batches; saved\nto resume: train --again\n")
    assert checkpoints_of(tmp_path / "run")[-1] == "00000001-00000001.npz"
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_second_signal_acts_as_usual(tmp_path):
    def on_batch(epoch, batch):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    status, out, err = command(tmp_path / "run", trainer=NumpyTrainer(on_batch=on_batch))
    assert (status, out, err.splitlines()[-1]) == (130, "", "tfrnn: interrupted")
    assert command(tmp_path / "run")[0] == 0


def test_a_signal_before_training_begins_is_not_forgotten(tmp_path):
    class Early(NumpyTrainer):
        def fit(self, *arguments):
            os.kill(os.getpid(), signal.SIGTERM)
            return super().fit(*arguments)

    status, _, err = command(tmp_path / "run", trainer=Early())
    assert (status, "interrupted after 0 epochs" in err) == (0, True)
    assert metrics(tmp_path / "run") == []


def test_an_ignored_signal_stays_ignored(tmp_path):
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as of a job in the background
    try:
        assert train(tmp_path / "run", trainer=stops_at((0, 0), signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, usual)


# When training ends, and the learning rate


def losses(*values):
    """A validation loss for each epoch; the last value from then on."""
    return lambda epoch: values[min(epoch, len(values) - 1)]


def test_early_stopping_ends_a_run_and_a_larger_patience_continues_it(tmp_path):
    validation_losses = losses(3.0, 2.0, 1.0, 1.5, 1.4, 1.3, 1.2, 1.1)

    def trained(run_dir, patience):
        return command(
            tmp_path / run_dir, trainer=NumpyTrainer(0.5, validation_losses), epochs=60, early_stopping=patience
        )

    status, out, _ = trained("run", 3)
    assert (status, len(metrics(tmp_path / "run"))) == (0, 6)  # three after the best
    status, again, err = trained("run", 3)
    assert (status, again) == (0, out)
    assert "this run is finished after 6 epochs; to continue it, give a larger --early_stopping" in err
    assert trained("run", 5)[0] == trained("at_once", 5)[0] == 0
    assert len(metrics(tmp_path / "run")) == 8
    assert faults.differences(tmp_path / "run", tmp_path / "at_once") == []


def test_a_plateau_halves_the_learning_rate_down_to_its_bound(tmp_path):
    validation_losses = losses(3.0, 2.0, 2.0, 2.5, 1.0, 1.0)
    settings = {"schedule": "plateau", "plateau_patience": 1, "decay_to": 0.2, "epochs": 9}
    train(tmp_path / "run", trainer=NumpyTrainer(0.5, validation_losses), **settings)
    rates = [row["learning_rate"] for row in metrics(tmp_path / "run")]
    assert rates == [0.5, 0.5, 0.5, 0.25, 0.125, 0.125, 0.1, 0.1, 0.1]  # that of the epoch, before its validation


def test_a_decaying_schedule_of_another_number_of_epochs_is_told(tmp_path):
    train(tmp_path / "run", schedule="cosine")
    status, _, err = command(tmp_path / "run", schedule="cosine", epochs=3)
    assert (status, "--schedule=cosine is that of 3 epochs from now on, and was that of 2" in err) == (0, True)


def test_a_run_that_diverges_keeps_what_was_trained_before(tmp_path):
    status, out, err = command(tmp_path / "run", trainer=NumpyTrainer(diverges_at=(1, 1)))
    assert (status, out) == (2, "")
    assert err.endswith(f"diverged in epoch 2, batch 2; the run up to there is in {tmp_path}/run\n")
    assert checkpoints_of(tmp_path / "run")[-1] == "00000001-00000001.npz"


# Settings and texts that have changed


@pytest.mark.parametrize(
    ("settings", "named"), [({"units": 17}, "--units=256, now it is 17"), ({"seed": 1}, "--seed=0, now it is 1")]
)
def test_another_setting_on_resume_is_refused_by_name(settings, named, copy):
    before = faults.outcome(copy)
    status, out, err = command(copy, **settings)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert named in err
    assert faults.outcome(copy) == before


def test_settings_that_may_change_on_resume_may(copy):
    status, out, _ = command(copy, prefix=("ba",), show_every=1)
    assert status == 0
    assert out.splitlines()[1].startswith("ba: ")


def test_another_text_with_the_same_vocabulary_is_refused(copy):
    other = dataclasses.replace(TEXT, sha256="5b" * 32)
    status, out, err = command(copy, text=other, epochs=3)
    assert (status, out) == (2, "")
    assert "the text of --corpus=sample has changed since the run began; bring the old one back" in err


def test_a_checkpoint_of_another_seed_is_refused(copy):
    config = copy / "config.json"
    config.write_text(config.read_text().replace('"seed": 0', '"seed": 5'))
    status, _, err = command(copy, seed=5, epochs=3)
    assert (status, "made with other settings or tokens than are in config.json" in err) == (2, True)


@pytest.mark.parametrize("by_xla", [False, True])
def test_that_xla_compiles_the_step_is_told_before_training(by_xla, tmp_path):
    status, _, err = command(tmp_path / "run", trainer=NumpyTrainer(jit_compile=by_xla))
    assert (status, "/CPU:0: XLA compiles the step before the first one" in err) == (0, by_xla)


def test_a_step_that_is_executed_in_another_way_is_told(copy):
    status, _, err = command(copy, trainer=NumpyTrainer(chains=2), epochs=3)
    assert (status, "with 1 chains, XLA off before and is with 2 chains, XLA off now" in err) == (0, True)
    assert "warning" not in command(copy, trainer=NumpyTrainer(chains=2), epochs=4)[2]


# What is saved and shown


def test_a_checkpoint_is_saved_for_every_call_if_save_every_is_zero_and_the_last_two_are_kept(tmp_path):
    def saves(**settings):
        path = tmp_path / str(len(settings))
        with faults.Operations(path).counted() as operations:
            train(path, **settings)
        assert checkpoints_of(path)[-1] == "00000002-00000000.npz"
        assert len(checkpoints_of(path)) == 2
        return [name for name in operations.made if name.startswith("replace") and ".npz" in name]

    assert len(saves()) == 1 + 2 + 3 + 1  # at the beginning, after each batch, at the end
    assert len(saves(save_every=1e9)) == 2


def test_a_validation_loss_that_overflows_is_null_in_the_metrics(tmp_path):
    train(tmp_path / "run", trainer=NumpyTrainer(0.5, losses(math.inf)))
    rows = metrics(tmp_path / "run")
    assert [row["val_bits_per_char"] for row in rows] == [None, None]
    train(tmp_path / "run", epochs=3)
    assert [row["epoch"] for row in metrics(tmp_path / "run")] == [1, 2, 3]


def test_a_picture_that_cannot_be_made_costs_nothing_else_and_is_made_later(tmp_path, twin):
    def fails(rows, title):
        raise ImportError("no font")

    status, out, err = command(tmp_path / "run", plot=fails)
    assert (status, out.startswith("perplexity ")) == (0, True)
    assert "tfrnn: warning: " in err
    assert "the picture cannot be made (no font)" in err
    titles = []
    assert command(tmp_path / "run", plot=lambda rows, title: titles.append(title) or PICTURE)[0] == 0
    assert titles == ["sample, rnn 256"]
    assert faults.differences(tmp_path / "run", twin) == []


def test_predictions_are_shown_every_few_epochs_and_the_results_at_the_end(tmp_path):
    status, out, err = command(tmp_path / "run", show_every=2, epochs=5)
    assert status == 0
    shown = re.findall(r"^epoch (\d)/5: perplexity [\d.]+, 1000 tokens/sec, held out [\d.]+\n  ab: ", err, re.MULTILINE)
    assert shown == ["2", "4"]
    assert re.fullmatch(r"perplexity [\d.]+, 1000.0 tokens/sec on /CPU:0\nab: [0-9a-f]{40}\n", out)
    assert "five weights\n" in err
    assert f"--run_dir={tmp_path}/run --checkpoint=last --length=200" in err


def test_more_is_read_with_the_best_weights_if_a_fraction_is_held_out(tmp_path):
    status, _, err = command(tmp_path / "run", validation_fraction=0.1)
    assert (status, f"--run_dir={tmp_path}/run --length=200\n" in err) == (0, True)


def test_rows_come_once_however_often_a_run_is_started(tmp_path, twin):
    for epochs in (1, 2, 2):
        train(tmp_path / "run", epochs=epochs)
    assert without_timings(metrics(tmp_path / "run")) == without_timings(metrics(twin))


def test_a_run_that_is_in_use_is_refused(copy):
    with RunDir(copy):
        status, out, err = command(copy)
    assert (status, out, "no other process is training, but one is" in err) == (2, "", True)
    assert command(copy)[0] == 0


def test_a_run_is_left_unlocked_after_an_error(copy):
    for _ in range(2):
        with contextlib.suppress(ZeroDivisionError):
            train(copy, trainer=NumpyTrainer(on_batch=lambda epoch, batch: 1 / 0), epochs=3)
    with RunDir(copy):
        pass
