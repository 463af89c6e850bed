"""One step, run eagerly: its gradients, their bound, the update, and what happens to the state."""

import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from all_cells import CELLS
from rounding import EPS, assert_float32_sums_equal, assert_identical

import tfrnn
from tfrnn.config.sections import OPTIMIZERS, Training
from tfrnn.data.batches import Batch
from tfrnn.layers import time_blocks
from tfrnn.training import losses, optimizers, step

T, B, V, H = 3, 3, 7, 4
LOSS = losses.mean_loss(losses.cross_entropy)
SGD = keras.optimizers.SGD()  # where no update is made


def language_model(cell="rnn_scratch", layers=1, dropout=0.0, **kwargs):
    keras.utils.set_random_seed(0)
    # Keras's initializers for all cells: with the book's, 0.01 N(0, 1), the state hardly matters.
    initial = {"kernel_initializer": "glorot_uniform", "recurrent_initializer": "orthogonal"}
    model = tfrnn.LanguageModel([CELLS[cell](H, **initial) for _ in range(layers)], V, dropout=dropout, **kwargs)
    model.build()
    return model


def one_batch(num_steps=T, rows=B, reset=True):
    ids = np.random.default_rng(0).integers(0, V, [num_steps + 1, rows]).astype("i")
    return Batch(*map(tf.constant, (ids[:-1], ids[1:], np.broadcast_to(reset, [rows]))))


def random_state(model, rows=B):
    random = np.random.default_rng(1)
    return tf.nest.map_structure(
        lambda t: tf.constant(random.uniform(-1, 1, t.shape), t.dtype), model.initial_state(rows)
    )


def train_step(model, optimizer, clip_norm, batch, state, sums=None):
    make_step = step.TrainStep(model, optimizer, LOSS, clip_norm)
    return make_step(batch, state, sums or step.Sums.zero())


def compute_gradients(model, batch, state, chains=1):
    make_step = step.TrainStep(model, SGD, LOSS, 1.0, lambda rows: chains)
    return make_step.compute_gradients(batch, state)


def eval_step(model, batch, state, sums=None, chains=1):
    make_step = step.EvalStep(model, LOSS, lambda rows: chains)
    return make_step(batch, state, sums or step.Sums.zero())


@pytest.mark.parametrize(
    ("clip_norm", "scale"), [(0, 1), (100, 1), (5.0, 1), (1.0, 0.2), (0.01, 0.002), (float("inf"), 1)]
)
def test_clipping_keeps_the_direction_and_bounds_the_norm(clip_norm, scale):
    gradients = [tf.constant([3.0, 0.0]), tf.constant([[0.0, 4.0]])]
    clipped, norm = step.clip(gradients, clip_norm)
    assert float(norm) == 5.0
    assert_float32_sums_equal(clipped, [g * scale for g in gradients], num_terms=4)


@pytest.mark.parametrize("clip_norm", [0.0, 1e-3, 1e3])
def test_one_step_of_sgd_subtracts_the_clipped_gradient_of_the_mean_loss(clip_norm):
    model, batch = language_model(), one_batch()
    before = model.get_weights()
    with tf.GradientTape() as tape:
        logits, _ = model(batch.inputs)
        loss = keras.losses.sparse_categorical_crossentropy(batch.targets, logits, from_logits=True)
        loss = tf.reduce_mean(loss)
    gradients = tape.gradient(loss, model.trainable_variables)
    norm = math.sqrt(sum(float(tf.reduce_sum(g**2)) for g in gradients))
    scale = min(1, clip_norm / norm) if clip_norm else 1
    _, sums, norm_in_step, finite = train_step(
        model, keras.optimizers.SGD(0.5), clip_norm, batch, model.initial_state(B)
    )
    assert finite
    expected = [w - 0.5 * scale * g for w, g in zip(before, gradients, strict=True)]
    actual = (norm_in_step, tuple(sums), model.get_weights())
    assert_float32_sums_equal(actual, (norm, (T * B * float(loss), T * B, 0.0, ()), expected), num_terms=T * B * H)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(name):
    rate = 0.1 if name in ("sgd", "momentum") else 0.01
    optimizer = optimizers.make_optimizer(Training(optimizer=name, learning_rate=rate))
    model, batch, measured = language_model(), one_batch(), []
    for _ in range(4):
        _, sums, *_ = train_step(model, optimizer, 1.0, batch, model.initial_state(B))
        measured.append(float(sums.loss))
    assert sorted(measured, reverse=True) == measured
    assert measured[-1] < measured[0]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_chains_compute_the_same_loss_gradients_and_state(cell, layers):
    rows, reset = 6, [False, True, False] * 2
    model, batch = language_model(cell, layers), one_batch(rows=rows, reset=reset)
    one, three = (compute_gradients(model, batch, random_state(model, rows), chains) for chains in (1, 3))
    assert_float32_sums_equal((three.forward, three.gradients), (one.forward, one.gradients), num_terms=T * rows * H)
    (state, sums), (state_of_three, sums_of_three) = (
        eval_step(model, batch, random_state(model, rows), chains=chains) for chains in (1, 3)
    )
    assert_float32_sums_equal((state_of_three, tuple(sums_of_three)), (state, tuple(sums)), num_terms=T * rows * H)


def check_xla(cell, num_steps):
    model, batch = language_model(cell), one_batch(num_steps, reset=[False, True, False])
    eager = functools.partial(compute_gradients, model)
    compiled = tf.function(lambda batch, state: eager(batch, state), autograph=False, jit_compile=True)
    expected, actual = (compute(batch, random_state(model)) for compute in (eager, compiled))
    assert_float32_sums_equal(
        (actual.forward, actual.gradients),
        (expected.forward, expected.gradients),
        num_terms=num_steps * B * H,
    )


QUICK_XLA = ("gru_keras", "lstm_scratch")


@pytest.mark.parametrize("cell", [c if c in QUICK_XLA else pytest.param(c, marks=pytest.mark.slow) for c in CELLS])
def test_xla_computes_the_same_loss_gradients_and_state(cell):
    check_xla(cell, 2)


@pytest.mark.parametrize("cell", [c if c == "rnn_scratch" else pytest.param(c, marks=pytest.mark.slow) for c in CELLS])
def test_xla_computes_the_same_in_blocks_of_steps(cell, monkeypatch):
    monkeypatch.setattr(time_blocks, "LONGEST_UNROLLED_BY_XLA", 4)
    monkeypatch.setattr(time_blocks, "BLOCK_BY_XLA", 2)
    check_xla(cell, 5)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_the_state_carried_from_batch_to_batch_is_that_of_one_unroll(cell, layers):
    model, num_batches = language_model(cell, layers), 3
    batch, state = one_batch(num_batches * T, reset=False), random_state(model)
    expected = eval_step(model, batch, state)
    sums = step.Sums.zero()
    for first in range(0, num_batches * T, T):
        part = Batch(batch.inputs[first : first + T], batch.targets[first : first + T], batch.reset)
        state, sums = eval_step(model, part, state, sums)
    assert_float32_sums_equal((state, tuple(sums)), (expected[0], tuple(expected[1])), num_terms=num_batches * T * B)


def test_reset_zeroes_exactly_the_rows_that_it_names():
    model, reset = language_model(), (False, True, False)
    batch, state = one_batch(reset=reset), random_state(model)
    _, sums = eval_step(model, batch, state)
    expected = 0.0
    for row, zero in enumerate(reset):
        row_state = tf.nest.map_structure(lambda t: t[row : row + 1] * (0 if zero else 1), state)  # noqa: B023
        logits, _ = model(batch.inputs[:, row : row + 1], row_state)
        expected += float(tf.reduce_sum(losses.cross_entropy(batch.targets[:, row : row + 1], logits)))
    assert_float32_sums_equal(sums.loss, expected, num_terms=T * B * V)


def test_a_loss_that_is_not_finite_changes_nothing():
    model = language_model(dropout=0.5, layers=2)
    model.dense.bias.assign([math.inf] * V)
    optimizer = keras.optimizers.Adam(1.0)
    optimizer.build(model.trainable_variables)
    variables = [*model.weights, *optimizer.variables, *step.seed_states(model)]
    before = [np.array(variable) for variable in variables]
    state, sums = random_state(model), step.Sums(*(tf.constant(number, tf.float64) for number in (3, 2, 0)))
    *after, _, finite = train_step(model, optimizer, 1.0, one_batch(), state, sums)
    assert not finite
    assert_identical(tuple(after), (state, sums))
    assert_identical([np.array(variable) for variable in variables], before)


@pytest.mark.parametrize(
    ("optimizer", "clip_norm"),
    [
        (lambda: keras.optimizers.SGD(1e39), 1.0),
        (lambda: keras.optimizers.SGD(1e30), 1e39),
        (lambda: keras.optimizers.AdamW(1e9), 1.0),
    ],
    ids=["the rate overflows", "the update overflows", "the weight decay overflows"],
)
def test_an_update_that_would_overflow_is_not_made(optimizer, clip_norm):
    model, optimizer = language_model(), optimizer()
    for _ in range(3):
        train_step(model, optimizer, clip_norm, one_batch(), model.initial_state(B))
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_an_embeddings_gradient_is_clipped_by_its_true_norm():
    """Every token is the same, so a sparse gradient would repeat one row T * B times."""
    model, clip_norm = language_model(embedding_dim=H), 1e-3
    batch = Batch(tf.ones([T, B], tf.int32), tf.ones([T, B], tf.int32) * 2, tf.constant([True] * B))
    before = model.get_weights()
    train_step(model, keras.optimizers.SGD(1.0), clip_norm, batch, model.initial_state(B))
    change = np.concatenate([(a - b).ravel() for a, b in zip(model.get_weights(), before, strict=True)])
    # Each weight, of a size up to 1, is rounded once.
    assert np.linalg.norm(change) == pytest.approx(clip_norm, abs=EPS * math.sqrt(change.size))
