"""Several replicas, on logical devices of this machine's CPU, compute what one device computes."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from all_cells import CELLS
from entry_points import run
from replica_models import (
    IDS,
    NUM_TERMS,
    OPTIMIZERS,
    SAMPLINGS,
    VALIDATION,
    B,
    H,
    T,
    V,
    batches,
    strategy_of,
    trained,
    trainer_of,
)
from rounding import assert_float32_sums_equal, assert_identical

import tfrnn
from tfrnn import train
from tfrnn.errors import UserError
from tfrnn.runs import checkpoints
from tfrnn.runtime import threads
from tfrnn.training import loops
from tfrnn.training.losses import mean_loss
from tfrnn.training.step import TrainStep

# The same results as one device


@functools.cache
def outcome(count, cell, **kwargs):
    """A trainer of `count` replicas, its first snapshot, and what it has trained."""
    trainer = trainer_of(strategy_of(count), cell, **kwargs)
    return trainer, trainer.snapshot(), trained(trainer)


def check_same_as_one_device(count, cell, jit_compile=False, **kwargs):
    _, _, expected = outcome(1, cell, jit_compile=False, **kwargs)
    _, _, actual = outcome(count, cell, jit_compile=jit_compile, **kwargs)
    # With Adam and its like, an error of a gradient becomes one of a weight, multiplied by at most rate / epsilon.
    assert_float32_sums_equal(actual, expected, num_terms=10 * NUM_TERMS)


QUICK = [("rnn_scratch", 2)]  # test_a_run_resumes_with_another_number_of_replicas has four


@pytest.mark.parametrize(
    ("cell", "count"),
    QUICK + [pytest.param(c, n, marks=pytest.mark.slow) for c in CELLS for n in (2, 4) if (c, n) not in QUICK],
)
def test_replicas_compute_what_one_device_does(cell, count):
    check_same_as_one_device(count, cell)


@pytest.mark.slow
def test_replicas_of_a_cell_with_two_states_compute_what_one_device_does_with_weight_decay():
    results = []
    for count in (1, 2):
        trainer = trainer_of(strategy_of(count), "lstm_keras", "adamw")
        results.append(trained(trainer, ["random"], validation=None))
    assert_float32_sums_equal(*results, num_terms=10 * NUM_TERMS)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_replicas_compute_what_one_device_does_with_each_optimizer(optimizer):
    check_same_as_one_device(2, "gru_scratch", optimizer=optimizer, layers=2)


@pytest.mark.slow
@pytest.mark.parametrize("cell", [c if c == "rnn_scratch" else pytest.param(c, marks=pytest.mark.slow) for c in CELLS])
def test_replicas_under_xla_compute_what_one_device_does(cell):
    check_same_as_one_device(2, cell, jit_compile=True)


@pytest.mark.slow
def test_a_run_resumes_with_another_number_of_replicas():
    (alone, start, _), (second, _, _) = (outcome(count, "rnn_scratch", jit_compile=False) for count in (1, 2))
    first = trainer_of(strategy_of(4), jit_compile=False)
    alone.restore(start)
    alone.fit(batches(), 4)
    first.fit(batches(), 2)
    second.restore(first.snapshot())
    second.fit(batches(), 2)
    assert_float32_sums_equal(second.model.get_weights(), alone.model.get_weights(), num_terms=10 * NUM_TERMS)


# Dropout, resuming and diverging


@pytest.fixture(scope="module")
def with_dropout():
    """A trainer of two replicas with dropout."""
    return trainer_of(strategy_of(2), "rnn_scratch", dropout=0.5)


class StopAfter(keras.callbacks.Callback):
    """Stops training after a number of calls."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def on_train_batch_end(self, batch, logs=None):
        self.calls -= 1
        self.model.stop_training = self.calls == 0


@pytest.mark.slow
def test_resumed_training_equals_uninterrupted_training_and_replicas_stay_alike(with_dropout, monkeypatch):
    """In the middle of an epoch, with dropout; the snapshot goes through the bytes of a checkpoint."""
    monkeypatch.setattr(loops, "CALL_SECONDS", 0.0)  # a step per call
    data, first = batches(), with_dropout
    start = first.snapshot()
    first.fit(data, 3)
    expected = first.snapshot()
    first.restore(start)
    first.fit(data, 3, callbacks=[StopAfter(data.num_batches(0) + 2)])
    assert first.position == (1, 2)
    second = trainer_of(strategy_of(2), "rnn_scratch", dropout=0.5)
    second.restore(checkpoints.unpack(bytes(checkpoints.pack(first.snapshot()))))
    second.fit(data, 3 - second.epoch)
    assert_identical(second.snapshot(), expected)
    for variable in [*second.model.variables, *second.optimizer.variables]:
        on_first, on_second = second.strategy.experimental_local_results(variable.value)
        assert_identical(on_first, on_second)


def test_a_batch_that_diverges_changes_nothing_in_any_replica(with_dropout):
    with_dropout.model.layers[-1].bias.assign(np.full(V, np.inf, np.float32))
    before = with_dropout.snapshot()
    with pytest.raises(UserError, match="training diverged"):
        with_dropout.fit(batches(), 1)
    after = with_dropout.snapshot()
    names = [name for name in before if name.startswith(("weights", "optimizer", "generators"))]
    assert_identical([after[name] for name in names], [before[name] for name in names])


def test_replicas_draw_different_dropout(with_dropout):
    """The same rows in both replicas have different losses."""
    replicas, model = with_dropout.replicas, with_dropout.model
    rows = tf.ones([T, B // 2], tf.int32)
    batch = tfrnn.Batch(rows, rows, tf.fill([B // 2], True))
    model.set_weights([np.linspace(-1, 1, w.size, dtype=w.dtype).reshape(w.shape) for w in model.get_weights()])

    step = TrainStep(model, with_dropout.optimizer, mean_loss(tfrnn.cross_entropy), 1.0)

    @tf.function(autograph=False)
    def losses():
        def in_replica():
            return replicas.compute_gradients(
                model, step.compute_gradients, batch, model.initial_state(B // 2)
            ).forward.total

        return replicas.strategy.experimental_local_results(replicas.run(in_replica))

    first, second = losses()
    assert abs(float(first) - float(second)) > 1e-3  # far above rounding


class CountingCell(tfrnn.RNNCell):
    """Has a counter and a moving average, which no optimizer changes, and a frozen weight."""

    def build(self, input_shape):
        super().build(input_shape)
        self.calls = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False)
        self.average = self.add_weight(shape=(), initializer="zeros", trainable=False)
        self.frozen = self.add_weight(shape=(), initializer="ones", trainable=False)

    def call(self, inputs, states, training=False):
        outputs, states = super().call(inputs, states)
        if training:
            self.calls.assign(self.calls + 1)
            self.average.assign(0.9 * self.average + 0.1 * keras.ops.mean(outputs) * self.frozen)
        return outputs, states


@pytest.mark.slow
def test_a_cell_may_keep_values_of_its_own():
    results = []
    for count in (1, 2):
        trainer = trainer_of(strategy_of(count), CountingCell, chains=1)
        trainer.fit(batches(), 1)
        (cell,) = trainer.model.rnn.cells
        results.append([cell.calls.numpy(), cell.average.numpy(), cell.frozen.numpy()])
    one, two = results
    num_calls = T * batches().num_batches(0)
    assert one[0] == two[0] == num_calls
    assert_float32_sums_equal(two, one, num_terms=num_calls * B * H)


@pytest.mark.slow
def test_validation_is_traced_once_for_all_epochs(caplog):
    trainer = trainer_of(strategy_of(2), "rnn_scratch")
    trainer.fit(batches(), 6, VALIDATION)
    assert [record.message for record in caplog.records if "retracing" in record.message] == []


# Rows, workers and the command


def test_rows_that_cannot_be_divided_are_refused_with_the_numbers():
    trainer = trainer_of(strategy_of(4))
    with pytest.raises(UserError, match=r"`batch_size=10` cannot be divided evenly over 4 replicas.* such as 8"):
        trainer.fit(tfrnn.sequential_batches(IDS, 10, T), 1)
    with pytest.raises(UserError, match=r"`validation_data\.batch_size=3` cannot be divided evenly over 4"):
        trainer.fit(batches("random"), 1, tfrnn.sequential_batches(IDS, 3, T))
    with pytest.raises(UserError, match="cannot be cut into `chains=2` equal slices for each of 4 replicas"):
        trainer_of(strategy_of(4), chains=2).fit(batches("random"), 1)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_rows_of_a_worker_are_those_of_the_whole_batch(sampling):
    data = batches(sampling)
    whole, part = (next(iter(data.from_position(1, 2, rows))) for rows in (None, range(3, 9)))
    assert_identical(tuple(part), (whole.inputs[:, 3:9], whole.targets[:, 3:9], whole.reset[3:9]))


def test_chains_share_the_cores_among_the_replicas(monkeypatch):
    monkeypatch.setattr(threads, "num_cores", lambda: 4)
    assert [threads.num_chains(64, strategy_of(count)) for count in (2, 4)] == [2, 1]


@pytest.mark.slow
def test_the_command_trains_on_all_devices_and_resumes_on_one(tmp_path):
    flags = ["--units=4", "--batch_size=8", "--num_steps=2", "--max_tokens=200", "--validation_tokens=0"]
    flags += ["--show_every=0", f"--run_dir={tmp_path}/run"]
    status, out, err = run(train.main, *flags, "--epochs=1", "--strategy=mirrored")
    assert status == 0, err
    devices = len(tf.config.list_logical_devices("CPU"))
    assert f"tokens/sec on {devices} x /CPU:0\n" in out
    status, _, err = run(train.main, *flags, "--epochs=2", "--strategy=one_device")
    assert status == 0, err
    assert f"1 chains, XLA off, {devices} replicas before" in err
