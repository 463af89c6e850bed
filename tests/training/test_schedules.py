"""Learning rates by schedule, and when training ends, with real models; see also test_training_run.py."""

import math
from unittest import mock

import faults
import keras
import numpy as np
import pytest
from entry_points import SMALL, metrics, run

import tfrnn
from tfrnn import train
from tfrnn.config.sections import Training
from tfrnn.models import labeller
from tfrnn.training import optimizers, stopping

STEPS, WARM, RATE, END = 60, 6, 0.5, 0.1
EXPECTED = {  # the learning rate of step i of a schedule of n steps, without warm-up
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
        if i % 15 == 0:  # the step that the optimizer makes is that of the learning rate
            assert before - float(variable.numpy()[0]) == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("decayed", ["kernels", "all"])
def test_adamw_takes_its_fraction_of_each_weight_that_decays(decayed):
    decay = 0.3
    settings = Training(optimizer="adamw", learning_rate=RATE, weight_decay=decay, decayed=decayed)
    model = tfrnn.LanguageModel(tfrnn.GRUCell(3, bias_initializer="ones"), 5, 2)
    model.build()
    optimizer = optimizers.make_optimizer(settings)
    optimizer.build(model.trainable_variables)
    before = model.get_weights()
    zeros = [np.zeros(weight.shape, "f") for weight in before]
    optimizer.apply(zeros, model.trainable_variables)  # so that nothing else moves them
    for (name, weight), old in zip(model.named_weights.items(), before, strict=True):
        decays = decayed == "all" or name.endswith("kernel")
        np.testing.assert_allclose(weight.numpy(), (1 - RATE * decay * decays) * old, rtol=1e-6)


def test_a_warm_up_is_saved_with_its_optimizer():
    settings = Training(learning_rate=RATE, schedule="exponential", warmup_steps=WARM)
    optimizer = optimizers.make_optimizer(settings, STEPS)
    again = keras.optimizers.SGD.from_config(optimizer.get_config())
    for optimizer_now in (optimizer, again):
        optimizer_now.iterations.assign(WARM + 7)
    assert float(again.learning_rate) == pytest.approx(float(optimizer.learning_rate))


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ["--schedule=plateau", "--plateau_patience=1", "--dropout=0.2"],
        ["--schedule=cosine", "--warmup_steps=9", "--early_stopping=9"],
        ["--schedule=exponential", "--early_stopping=2"],
    ],
    ids=["plateau", "cosine", "exponential"],
)
def test_resumed_training_equals_uninterrupted_training(flags, tmp_path):
    flags = [*ADAM, "--epochs=12", *flags]
    assert run(train.main, *flags, f"--run_dir={tmp_path}/twin")[0] == 0

    def stop(self, epoch, logs=None):
        self.model.stop_training = True

    for moment in ("on_train_batch_end", "on_epoch_end", "on_epoch_end"):  # the first within the first epoch
        with mock.patch.object(stopping.StopOnSignal, moment, stop, create=True):
            assert run(train.main, *flags, f"--run_dir={tmp_path}/run")[0] == 0
    assert len(metrics(tmp_path / "run")) == 2
    assert run(train.main, *flags, f"--run_dir={tmp_path}/run")[0] == 0
    assert faults.differences(tmp_path / "run", tmp_path / "twin") == []


@pytest.mark.slow
def test_a_plateau_halves_the_learning_rate_of_a_compiled_step_down_to_its_bound(tmp_path):
    flags = [*ADAM, "--schedule=plateau", "--plateau_patience=1", "--decay_to=0.2", "--epochs=40", "--max_tokens=100"]
    assert run(train.main, *flags, f"--run_dir={tmp_path}/run")[0] == 0
    best, rate = math.inf, 0.05
    for row in metrics(tmp_path / "run"):
        assert row["learning_rate"] == pytest.approx(rate)
        if row["val_perplexity"] >= best:
            rate = max(rate / 2, 0.05 * 0.2)
        best = min(best, row["val_perplexity"])
    assert rate == pytest.approx(0.01)  # the bound was reached


@pytest.mark.slow
def test_early_stopping_ends_a_run_and_a_larger_patience_continues_it(tmp_path):
    flags = [*ADAM, "--epochs=60"]
    status, out, _ = run(train.main, *flags, "--early_stopping=3", f"--run_dir={tmp_path}/run")
    rows = metrics(tmp_path / "run")
    assert (status, out[:11]) == (0, "perplexity ")
    assert 4 <= len(rows) < 60
    assert np.argmin([row["val_perplexity"] for row in rows]) == len(rows) - 4  # no gain in the three after it
    for run_dir in ("run", "at_once"):
        assert run(train.main, *flags, "--early_stopping=5", f"--run_dir={tmp_path}/{run_dir}")[0] == 0
    assert faults.differences(tmp_path / "run", tmp_path / "at_once") == []


def test_the_table_of_a_model_adds_up():
    net = tfrnn.LanguageModel([tfrnn.LSTMCell(3), keras.layers.GRUCell(4)], 7, embedding_dim=5)
    net.build()
    lines = labeller.summary(net)
    assert [line.split()[0] for line in lines] == ["rnn.0", "rnn.1", "embedding", "dense", "in"]
    assert "kernel 5x12, recurrent_kernel 3x12, bias 12" in lines[0]
    assert lines[-1].split()[-1] == str(net.count_params())
    assert len({len(line) for line in lines}) == 1
    both = tfrnn.SequenceLabeller(tfrnn.RNNCell(3), 7, 2, bidirectional=True)
    both.build()
    assert list(both.named_weights)[:4] == [
        "rnn.0.forward.kernel", "rnn.0.forward.recurrent_kernel", "rnn.0.forward.bias", "rnn.0.backward.kernel",
    ]  # fmt: skip
    assert len(both.named_weights) == len(both.weights)


def test_the_table_of_a_model_has_a_line_for_each_layer():
    net = tfrnn.LanguageModel(keras.layers.SimpleRNNCell(16), 28)
    net.build()
    assert any("dense   kernel 16x28, bias 28" in line for line in labeller.summary(net))
