"""How the learning rate goes, when training ends, and what is told about it."""

import math
from unittest import mock

import keras
import numpy as np
import pytest
from entry_points import SMALL, metrics, run, without_timings

import tfrnn
from tfrnn import train
from tfrnn.config.sections import Training
from tfrnn.models import labeller
from tfrnn.runs import metrics as rows_of_metrics
from tfrnn.training import optimizers, stopping

STEPS, WARM, RATE, END = 200, 20, 0.5, 0.1
EXPECTED = {  # at a step of a schedule of so many, without warm-up
    "constant": lambda i, n: RATE,
    "cosine": lambda i, n: RATE * (END + (1 - END) * (1 + math.cos(math.pi * min(i, n) / n)) / 2),
    "exponential": lambda i, n: RATE * END ** (i / n),
}
ADAM = [*SMALL, "--optimizer=adam", "--learning_rate=0.05"]


@pytest.mark.parametrize("schedule", EXPECTED)
@pytest.mark.parametrize("warmup_steps", [0, WARM])
def test_the_learning_rate_follows_its_schedule(schedule, warmup_steps):
    settings = Training(learning_rate=RATE, schedule=schedule, warmup_steps=warmup_steps, decay_to=END)
    optimizer = optimizers.make_optimizer(settings, STEPS)
    variable = keras.Variable(np.zeros(1, "f"))
    optimizer.build([variable])
    for i in range(STEPS + 1):
        expected = EXPECTED[schedule](max(0, i - warmup_steps), STEPS - warmup_steps)
        if i < warmup_steps:
            expected *= (i + 1) / warmup_steps
        assert float(optimizer.learning_rate) == pytest.approx(expected, rel=1e-4)
        before = float(variable.numpy()[0])
        optimizer.apply([np.ones(1, "f")], [variable])
        if i % 50 == 0:  # and the optimizer makes use of it
            assert before - float(variable.numpy()[0]) == pytest.approx(expected, rel=1e-2)


def test_a_warm_up_is_saved_with_its_optimizer():
    settings = Training(learning_rate=RATE, schedule="exponential", warmup_steps=WARM)
    optimizer = optimizers.make_optimizer(settings, STEPS)
    again = keras.optimizers.SGD.from_config(optimizer.get_config())
    for optimizer_now in (optimizer, again):
        optimizer_now.iterations.assign(WARM + 7)
    assert float(again.learning_rate) == pytest.approx(float(optimizer.learning_rate))


def identical(one, other):
    assert without_timings(metrics(one)) == without_timings(metrics(other))
    last = [max((folder / "checkpoints").iterdir()) for folder in (one, other)]
    assert last[0].name == last[1].name
    assert last[0].read_bytes() == last[1].read_bytes()


@pytest.mark.parametrize(
    "flags",
    [
        ["--schedule=plateau", "--plateau_patience=1", "--dropout=0.2"],
        pytest.param(["--schedule=cosine", "--warmup_steps=9", "--early_stopping=9"], marks=pytest.mark.slow),
        pytest.param(["--schedule=exponential", "--early_stopping=2"], marks=pytest.mark.slow),
    ],
)
def test_going_on_is_as_if_it_had_not_been_stopped(flags, tmp_path):
    flags = [*ADAM, "--epochs=12", *flags]
    at_once, stopped = tmp_path / "at_once", tmp_path / "stopped"
    assert run(train.main, *flags, f"--run_dir={at_once}")[0] == 0

    def stop(self, epoch, logs=None):
        self.model.stop_training = True

    for moment in ("on_train_batch_end", "on_epoch_end", "on_epoch_end"):  # the first within the first epoch
        with mock.patch.object(stopping.StopOnSignal, moment, stop, create=True):
            assert run(train.main, *flags, f"--run_dir={stopped}")[0] == 0
    assert len(metrics(stopped)) == 2
    assert run(train.main, *flags, f"--run_dir={stopped}")[0] == 0
    identical(stopped, at_once)


def test_a_plateau_halves_the_learning_rate_down_to_its_bound(tmp_path):
    flags = [*ADAM, "--schedule=plateau", "--plateau_patience=1", "--decay_to=0.2", "--epochs=40"]
    assert run(train.main, *flags, f"--run_dir={tmp_path}/run")[0] == 0
    rows, best, rate = metrics(tmp_path / "run"), math.inf, 0.05
    for row in rows:
        assert row["learning_rate"] == pytest.approx(rate)
        if row["val_perplexity"] >= best:
            rate = max(rate / 2, 0.05 * 0.2)
        best = min(best, row["val_perplexity"])
    assert rate == pytest.approx(0.01)  # it came to that


def test_early_stopping_ends_a_run_and_a_larger_number_goes_on(tmp_path):
    flags = [*ADAM, "--epochs=60", f"--run_dir={tmp_path}/run"]
    status, out, _ = run(train.main, *flags, "--early_stopping=3")
    rows = metrics(tmp_path / "run")
    held_out = [row["val_perplexity"] for row in rows]
    assert status == 0
    assert out.startswith("perplexity ")
    assert 4 <= len(rows) < 60
    assert np.argmin(held_out) == len(rows) - 4  # no gain in the three after
    status, again, err = run(train.main, *flags, "--early_stopping=3")
    assert (status, again) == (0, out)
    assert f"this run is finished: {len(rows)} epochs; a larger --early_stopping goes on" in err
    assert run(train.main, *flags, "--early_stopping=5")[0] == 0
    more = metrics(tmp_path / "run")
    assert len(more) >= len(rows) + 2
    assert more[: len(rows)] == rows
    at_once = [*ADAM, "--epochs=60", f"--run_dir={tmp_path}/at_once", "--early_stopping=5"]
    assert run(train.main, *at_once)[0] == 0
    assert without_timings(metrics(tmp_path / "at_once")) == without_timings(more)


ROW = {"perplexity": 1.2, "val_perplexity": 9.0, "epoch": 1}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([ROW, {**ROW, "epoch": 2, "val_perplexity": 12.0}], True),
        ([ROW, {**ROW, "epoch": 2, "val_perplexity": 9.5}], False),
        ([ROW, {**ROW, "epoch": 2, "val_perplexity": 12.0, "perplexity": 1.6}], False),
        ([{**ROW, "val_perplexity": None}], False),
        ([], False),
    ],
)
def test_a_text_learnt_by_heart_is_told(rows, told):
    remark = rows_of_metrics.learnt_by_heart(rows)
    assert bool(remark) == told
    if told:
        assert "by heart: perplexity 1.20 there" in remark
        assert "rose from 9.0 (epoch 1) to 12.0" in remark


def test_the_table_of_a_model_adds_up(tmp_path):
    net = tfrnn.LanguageModel(tfrnn.RNN([tfrnn.LSTMCell(3), keras.layers.GRUCell(4)]), 7, embedding_dim=5)
    net.build()
    lines = labeller.summary(net)
    assert [line.split()[0] for line in lines] == ["rnn.0", "rnn.1", "embedding", "dense", "in"]
    assert "kernel 5x12, recurrent_kernel 3x12, bias 12" in lines[0]
    assert lines[-1].split()[-1] == str(net.count_params())
    assert len({len(line) for line in lines}) == 1
    both = tfrnn.SequenceLabeller(tfrnn.Bidirectional(tfrnn.RNNCell(3)), 7, 2)
    both.build()
    assert list(both.named_weights)[:4] == [
        "rnn.0.forward.kernel", "rnn.0.forward.recurrent_kernel", "rnn.0.forward.bias", "rnn.0.backward.kernel",
    ]  # fmt: skip
    assert len(both.named_weights) == len(both.weights)
    err = run(train.main, *SMALL, f"--run_dir={tmp_path}/run")[2]
    assert "dense   kernel 16x28, bias 28" in err
