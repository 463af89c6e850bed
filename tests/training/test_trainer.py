"""The trainer: what it learns, how it stops and resumes, what it refuses, and what it tells callbacks."""

import csv
import functools
import json
import math
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from all_cells import CELLS
from rounding import assert_float32_sums_equal, assert_identical

import tfrnn
from tfrnn.errors import DivergedError, UserError
from tfrnn.layers import time_blocks
from tfrnn.runtime import devices, execution, threads
from tfrnn.training import loops

T, B, V, H = 2, 3, 7, 4
IDS = np.random.default_rng(0).integers(1, V, 100)
KINDS = {"sequential": tfrnn.sequential_batches, "random": tfrnn.random_batches}


def batches_of(kind="sequential", batch_size=B, num_steps=T, **kwargs):
    return KINDS[kind](IDS, batch_size, num_steps, **{"seed": 3, **kwargs})


NUM_BATCHES = batches_of().num_batches(0)


def trainer_of(cell="rnn_scratch", optimizer=None, clip_norm=1.0, seed=0, layers=1, dropout=0.0, **kwargs):
    keras.utils.set_random_seed(seed)
    strategy = devices.one_device()
    # Keras's initializers for all cells: with the book's, 0.01 N(0, 1), the state hardly matters.
    initial = {"kernel_initializer": "glorot_uniform", "recurrent_initializer": "orthogonal"}
    with strategy.scope():
        model = tfrnn.LanguageModel([CELLS[cell](H, **initial) for _ in range(layers)], V, dropout=dropout)
        optimizer = optimizer or keras.optimizers.SGD(0.1)
        return tfrnn.Trainer(model, optimizer, clip_norm, strategy, **kwargs)


@pytest.fixture
def one_step_per_call(monkeypatch):
    monkeypatch.setattr(loops, "CALL_SECONDS", 0.0)


@pytest.fixture(scope="module")
def first_epoch():
    """A trainer of two layers after an epoch, and its history; tests restore what they change."""
    trainer = trainer_of(layers=2)
    return trainer, trainer.fit(batches_of(), 1).history


@pytest.fixture
def trained(first_epoch):
    return first_epoch[0]


# What it learns


def check_memorises(cell, embedding_dim, text, num_steps, units, epochs):
    """Training reaches a perplexity near 1, and the model then continues the text's beginning to its end."""
    vocabulary = tfrnn.Vocabulary.from_text(text)
    keras.utils.set_random_seed(0)
    initial = {"kernel_initializer": "glorot_uniform", "recurrent_initializer": "orthogonal"}
    model = tfrnn.LanguageModel(CELLS[cell](units, **initial), len(vocabulary), embedding_dim)
    trainer = tfrnn.Trainer(model, keras.optimizers.Adam(0.01))
    batches = tfrnn.sequential_batches(vocabulary.encode(text), 1, num_steps)
    history = trainer.fit(batches, epochs).history
    assert history["perplexity"][-1] < 1.1
    assert tfrnn.generate(model, vocabulary, text[:8], len(text) - 8) == text


@pytest.mark.parametrize(
    ("cell", "embedding_dim"), [("gru_scratch", 8), pytest.param("lstm_keras", 0, marks=pytest.mark.slow)]
)
def test_a_tiny_text_is_memorised(cell, embedding_dim):
    check_memorises(cell, embedding_dim, "the quick brown fox jumps", num_steps=4, units=32, epochs=50)


@pytest.mark.slow
@pytest.mark.parametrize("embedding_dim", [0, 8])
@pytest.mark.parametrize("cell", CELLS)
def test_a_sentence_is_memorised(cell, embedding_dim):
    text = "the quick brown fox jumps over the lazy dog while seven wizards box"
    check_memorises(cell, embedding_dim, text, num_steps=16, units=64, epochs=150)


def test_perplexity_is_from_summed_loss_over_summed_tokens_with_the_state_carried():
    """In training, validation and evaluation; compared with one unroll of all steps."""
    batches = batches_of(random_offset=False)
    trainer = trainer_of(optimizer=keras.optimizers.SGD(0.0))
    parts = list(batches.epoch(0))
    inputs, targets = (tf.concat([getattr(part, name) for part in parts], 0) for name in ("inputs", "targets"))
    logits, _ = trainer.model(inputs, trainer.model.initial_state(B))
    losses = keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)
    loss = np.mean(np.asarray(losses, np.float64))
    expected = {"loss": loss, "perplexity": math.exp(loss), "bits_per_char": loss / math.log(2)}
    history = trainer.fit(batches, 1, validation_data=batches).history
    for measured in (
        trainer.evaluate(batches),
        {name: history[name][0] for name in expected},
        {name: history[f"val_{name}"][0] for name in expected},
    ):
        assert_float32_sums_equal(measured, expected, num_terms=len(parts) * T)  # steps of rounding in the state


def test_an_untrained_model_is_as_unsure_as_the_vocabulary_is_large():
    model = tfrnn.LanguageModel(tfrnn.RNNCell(H), V, output_initializer="zeros")
    perplexity = tfrnn.Trainer(model, keras.optimizers.SGD()).evaluate(batches_of())["perplexity"]
    assert_float32_sums_equal(perplexity, V, num_terms=V)


@pytest.mark.slow
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_training_carries_the_state_over_an_epoch(cell, layers):
    """Batches of 5 steps with a learning rate of 0 have the loss of one unroll of all steps."""
    ids, steps = IDS[: 3 * 21], 20
    trainer = trainer_of(cell, keras.optimizers.SGD(0.0), layers=layers)
    short = trainer.fit(tfrnn.sequential_batches(ids, 3, 5, random_offset=False), 1).history["loss"]
    whole = trainer.evaluate(tfrnn.sequential_batches(ids, 3, steps, random_offset=False))["loss"]
    assert_float32_sums_equal(short[0], whole, num_terms=3 * steps)


# The same results, however they are computed


@functools.cache
def outcome(cell, layers=1, num_steps=T, **kwargs):
    """The losses and weights after two epochs of six rows, the gradient of which adds up num_steps * 6 terms."""
    trainer = trainer_of(cell, layers=layers, **kwargs)
    batches = batches_of(batch_size=6, num_steps=num_steps)
    history = trainer.fit(batches, 2, validation_data=batches).history
    num_terms = 2 * batches.num_batches(0) * num_steps * 6
    return (history["loss"], history["val_loss"], trainer.model.get_weights()), num_terms


def check_same(cell, layers=1, num_steps=T, **kwargs):
    (expected, num_terms), (actual, _) = (
        outcome(cell, layers, num_steps, **{"chains": 1, "jit_compile": False} | changes) for changes in ({}, kwargs)
    )
    assert_float32_sums_equal(actual, expected, num_terms)


# Within a step, the equality of chains and of XLA is in test_step.py, for every cell.
@pytest.mark.parametrize("layers", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("cell", [c if c == "rnn_keras" else pytest.param(c, marks=pytest.mark.slow) for c in CELLS])
def test_chains_train_the_same_weights(cell, layers):
    check_same(cell, layers, chains=3)


@pytest.mark.parametrize("cell", [c if c == "rnn_keras" else pytest.param(c, marks=pytest.mark.slow) for c in CELLS])
def test_xla_trains_the_same_weights(cell):
    check_same(cell, jit_compile=True)


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_xla_trains_the_same_weights_in_blocks_of_steps(cell, monkeypatch):
    monkeypatch.setattr(time_blocks, "LONGEST_UNROLLED_BY_XLA", 8)
    monkeypatch.setattr(time_blocks, "BLOCK_BY_XLA", 4)
    check_same(cell, num_steps=9, jit_compile=True)


def test_calls_of_any_number_of_steps_train_the_same_weights(trained, monkeypatch):
    start, results = trained.snapshot(), []
    for seconds in (0.0, 10.0):
        monkeypatch.setattr(loops, "CALL_SECONDS", seconds)
        trained.restore(start)
        trained.fit(batches_of(), 2)
        results.append(trained.snapshot())
    assert_identical(*results)
    trained.restore(start)


@pytest.mark.parametrize("kind", [pytest.param("sequential", marks=pytest.mark.slow), "random"])
def test_a_seed_fixes_everything(kind):
    """Weights, dropout and batches. One trainer takes the snapshots of all, which saves tracing."""
    trainers = [trainer_of(seed=seed, dropout=0.3) for seed in (1, 1, 2)]
    starts = [trainer.snapshot() for trainer in trainers]
    assert_identical(starts[0], starts[1])
    losses = []
    for start, seed in zip(starts, (1, 1, 2), strict=True):
        trainers[0].restore(start)
        losses.append(trainers[0].fit(batches_of(kind, seed=seed), 2).history["loss"])
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


# Stopping and resuming


class StopAfter(keras.callbacks.Callback):
    """Stops training after a number of calls."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def on_train_batch_end(self, batch, logs=None):
        self.calls -= 1
        self.model.stop_training = self.calls == 0


def check_resumes(cell, kind, layers):
    """Stopped, saved, and restored into new objects, training ends with the same bits as without a stop."""

    def make():
        trainer = trainer_of(cell, keras.optimizers.Adam(0.01), layers=layers, dropout=0.2)
        return trainer, batches_of(kind, 2 * B)

    first, batches = make()
    validation = batches_of("sequential", 2 * B, random_offset=False) if kind == "sequential" else None
    start = first.snapshot()
    whole = first.fit(batches, 3, validation).history
    expected = first.snapshot()
    second, batches_again = make()
    lengths = [batches.num_batches(epoch) for epoch in range(2)]
    # Within an epoch, and between its last batch and its validation.
    for position in [(1, 3), (1, lengths[1])] if validation else [(0, 2)]:
        first.restore(start)
        stop = StopAfter(sum(lengths[: position[0]]) + position[1])
        first.fit(batches, 3, validation, [stop])
        assert first.position == position
        second.restore(first.snapshot())
        history = second.fit(batches_again, 3 - second.epoch, validation).history
        assert_identical(second.snapshot(), expected)
        for name in ("loss", "val_loss") if validation else ("loss",):
            assert history[name] == whole[name][-len(history[name]) :]


@pytest.mark.parametrize(("cell", "kind"), [("lstm_keras", "sequential"), ("rnn_scratch", "random")])
@pytest.mark.usefixtures("one_step_per_call")
def test_resumed_training_equals_uninterrupted_training(cell, kind):
    check_resumes(cell, kind, layers=1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_divided_into_epochs_trains_the_same_weights_also_if_each_epoch_is_a_fit_of_its_own(kind, first_epoch):
    trainer, _ = first_epoch
    whole, parts, untouched = batches_of(kind), batches_of(kind, epochs_per_pass=3), trainer.snapshot()
    trainer.begin_at(0)
    start = trainer.snapshot()
    trainer.fit(whole, 2)
    expected = trainer.model.get_weights()
    trainer.restore(start)
    trainer.fit(parts, 6)
    assert_identical(trainer.model.get_weights(), expected)
    trainer.restore(start)
    for _ in range(6):
        saved = trainer.snapshot()
        trainer.begin_at(0)
        trainer.restore(saved)
        trainer.fit(parts, 1)
    assert_identical(trainer.model.get_weights(), expected)
    trainer.restore(untouched)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.usefixtures("one_step_per_call")
def test_resumed_training_equals_uninterrupted_training_with_every_cell(cell, kind):
    check_resumes(cell, kind, layers=2)


@pytest.mark.parametrize(
    "changes",
    [
        {"position": np.array([-1, 0])},
        {"position": np.array([1, 3])},
        {"position": np.array([1, -7])},
        {"best_epoch": np.array(2)},
        {"sums": np.array([1.0, 5.0])},
        {"state.0": np.zeros([9, H], np.float32)},
        {"weights.0": np.zeros([1, 1], np.float32)},
        {"another": np.zeros(3)},
    ],
    ids=lambda changes: " ".join(f"{name} {array.tolist()}"[:30] for name, array in changes.items()),
)
def test_a_snapshot_of_another_model_or_of_no_position_is_refused(changes, trained):
    before = trained.snapshot()
    with pytest.raises(UserError, match="expected a snapshot"):
        trained.restore({**before, **changes})
    assert_identical(trained.snapshot(), before)
    trained.restore(before)


def test_a_position_after_the_last_batch_is_refused_by_fit(trained):
    before = trained.snapshot()
    trained.restore({**before, "position": np.array([1, 99]), "sums": np.array([1.0, 5.0])})
    with pytest.raises(UserError, match=r"at most [0-9]+ batches in epoch 2; 99 are done"):
        trained.fit(batches_of(), 1)
    trained.restore(before)


def test_batches_may_have_another_size_in_another_epoch(trained):
    before, start = trained.snapshot(), trainer_of(seed=1, layers=2).snapshot()
    trained.fit(batches_of(batch_size=B + 1, num_steps=T + 1), 1)
    assert trained.epoch == before["position"][0] + 1
    trained.restore(start)  # with a state of no rows
    trained.fit(batches_of(), 1)
    assert trained.epoch == 1
    trained.restore(before)


# Divergence


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_batch_that_diverges_changes_nothing(jit_compile):
    """Neither weights nor optimizer, nor the seed generators of dropout."""
    optimizer = keras.optimizers.SGD(1e39)
    trainer = trainer_of(optimizer=optimizer, clip_norm=0.0, dropout=0.5, jit_compile=jit_compile)
    before = trainer.snapshot()
    with pytest.raises(DivergedError, match=r"epoch 1, batch 1, at learning rate inf.*`learning_rate`"):
        trainer.fit(batches_of(), 5)
    after = trainer.snapshot()
    assert trainer.position == (0, 0)
    for name in before:
        if not name.startswith("state"):
            assert_identical(after[name], before[name])


def test_divergence_stops_before_the_weights_are_spoiled():
    trainer = trainer_of(optimizer=keras.optimizers.SGD(1e38), clip_norm=0.0)
    with pytest.raises(DivergedError, match=r"epoch 1, batch [0-9]+, at learning rate 1e\+38.*`learning_rate`"):
        trainer.fit(batches_of(), 5)
    assert all(np.isfinite(w).all() for w in trainer.model.get_weights())


# Chains, XLA, threads and devices


def test_a_gpu_has_one_chain_and_xla(monkeypatch):
    monkeypatch.setattr(threads, "num_cores", lambda: 2)
    gpu = mock.Mock(tf.distribute.OneDeviceStrategy)
    gpu.extended.worker_devices = ("/job:localhost/replica:0/task:0/device:GPU:0",)
    by_default = {
        name: (execution.jit_by_default(strategy), threads.num_chains(32, strategy))
        for name, strategy in {"gpu": gpu, "cpu": devices.one_device(), "none": None}.items()
    }
    assert by_default == {"gpu": (True, 1), "cpu": (False, 2), "none": (False, 2)}


def test_tensorflows_own_threads_are_warned_of_once(trained, monkeypatch):
    monkeypatch.setattr(threads, "num_cores", lambda: 2)
    threads.warn_of_default_threads(devices.one_device())  # no warning: conftest.py has set the threads
    monkeypatch.setattr(threads, "_warned", False)
    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 0)
    monkeypatch.setattr(tf.config.threading, "get_inter_op_parallelism_threads", lambda: 0)
    before = trained.snapshot()
    with pytest.warns(UserWarning, match=r"restart and call tfrnn.set_threads\(\)"):
        trained.fit(batches_of(), 1)
    trained.fit(batches_of(), 1)  # a second warning would be an error
    trained.restore(before)


def test_a_batch_that_cannot_be_cut_into_equal_chains_is_refused():
    with pytest.raises(UserError, match="`batch_size=3` cannot be cut into `chains=2`"):
        trainer_of(chains=2).fit(batches_of(), 1)


@pytest.mark.parametrize(
    ("cores", "rows", "chains"),
    [(2, 32, 2), (2, 33, 1), (8, 32, 4), (1, 32, 1), (2, 8, 1), (3, 24, 3), (64, 1024, 8)],
)
def test_chains_depend_on_cores_and_rows(cores, rows, chains, monkeypatch):
    monkeypatch.setattr(threads, "num_cores", lambda: cores)
    assert threads.num_chains(rows) == chains


def test_a_device_has_its_name_or_is_refused():
    assert isinstance(devices.one_device("cpu"), tf.distribute.OneDeviceStrategy)
    assert devices.device_name("cpu") == "/CPU:0"
    with pytest.raises(ValueError, match="gpu:99"):
        devices.device_name("gpu:99")


# Optimizers and callbacks of Keras


def test_an_optimizer_made_under_no_strategy_serves_the_trainers():
    optimizer = keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(0.1, 10))
    trainer = tfrnn.Trainer(tfrnn.LanguageModel(tfrnn.RNNCell(H), V), optimizer)
    assert isinstance(trainer.strategy, tf.distribute.OneDeviceStrategy)
    trainer.fit(batches_of(), 1)
    assert int(optimizer.iterations) == NUM_BATCHES


def test_kerass_callbacks_are_served(tmp_path):
    batches, calls = batches_of(), []
    recorder = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: calls.append(("begin", epoch)),
        on_train_batch_end=lambda batch, logs: calls.append(("batch", batch)) if logs["perplexity"] else None,
        on_epoch_end=lambda epoch, logs: calls.append(("end", epoch)),
    )
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.5 / (epoch + 1))
    stopping = keras.callbacks.EarlyStopping("val_loss", min_delta=1e9, patience=1)
    trainer = trainer_of()
    logger = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    history = trainer.fit(batches, 9, batches, [recorder, schedule, stopping, logger])
    assert isinstance(history, keras.callbacks.History)
    assert [call for call in calls if call[0] != "batch"] == [("begin", 0), ("end", 0), ("begin", 1), ("end", 1)]
    assert ("batch", NUM_BATCHES - 1) in calls
    np.testing.assert_allclose(history.history["learning_rate"], [0.5, 0.25])  # exact in float32
    with open(tmp_path / "log.csv") as file:
        assert "val_perplexity" in next(csv.reader(file))
    resumed = trainer.fit(batches, 2, callbacks=[schedule])  # from the third epoch on
    assert resumed.epoch == [2, 3]
    np.testing.assert_allclose(resumed.history["learning_rate"], [np.float32(0.5 / 3), np.float32(0.5 / 4)])


def test_history_can_be_written_as_json(first_epoch):
    _, history = first_epoch
    assert json.loads(json.dumps(history)) == history
    assert set(history) == {
        "loss", "perplexity", "bits_per_char", "tokens_per_sec", "learning_rate", "gradient_norm", "seconds",
    }  # fmt: skip
