"""Masks: a masked step leaves the state of its row as it was, and repeats the row's output."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from all_cells import CELL_FORMS, combinations
from layer_results import normal, outputs_and_gradients, with_random_weights
from rounding import assert_equal_up_to_rounding, assert_identical, recurrence_roundings

from tfrnn.layers import time_blocks
from tfrnn.layers.cell_protocol import ensure_tuple, get_state_sizes
from tfrnn.layers.unrolling import unroll

B, D, H = 6, 5, 4
# With blocks of 2 steps, and up to 3 steps unrolled; in the last, the graph does not know the number.
NUM_STEPS = {"one_step": 1, "unrolled": 3, "loop": 4, "loop_and_remainder": 5, "unknown": 4}
# Rows that are masked nowhere, at the end, at the beginning, inside, at every second step and everywhere.
MASKS = np.array(
    [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 0, 0, 1, 1], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool
).T  # fmt: skip


class OutputIsNotState(keras.layers.Layer):
    """A cell of one's own, whose output is of another size than its two states."""

    state_size, output_size = [H, 3], 2 * D

    def call(self, inputs, states):
        a, b = states
        return tf.concat([inputs, tf.sin(inputs)], 1), [tf.tanh(a + inputs[:, :H]), tf.tanh(b - inputs[:, :3])]


CELLS = {
    **CELL_FORMS,
    "not_fused": lambda units, **options: keras.layers.GRUCell(units, activation="relu", **options),
    "own": lambda units, **options: OutputIsNotState(**options),
}


def make_cell(name, **options):
    return with_random_weights(CELLS[name](H, **options), D)


def state_of(cell, dtype="float32"):
    sizes = enumerate(get_state_sizes(cell))
    return tuple(tf.constant(normal(B, size, seed=i, dtype=dtype)) for i, size in sizes)


def masked_steps(cell, inputs, state, mask):
    """What a mask means: the cell's own steps, of which the masked ones change neither state nor output."""
    output, outputs = None, []
    for inputs_t, mask_t in zip(tf.unstack(inputs), mask[:, :, None], strict=True):
        new_output, new_state = cell(inputs_t, list(state))
        output = tf.where(mask_t, new_output, tf.zeros_like(new_output) if output is None else output)
        state = tuple(tf.where(mask_t, new, old) for new, old in zip(ensure_tuple(new_state), state, strict=True))
        outputs.append(output)
    return tf.stack(outputs), state


@pytest.fixture
def short_blocks(monkeypatch):
    monkeypatch.setattr(time_blocks, "LONGEST_UNROLLED", 3)
    monkeypatch.setattr(time_blocks, "BLOCK", 2)


@pytest.mark.parametrize(
    ("name", "length", "compiled"),
    combinations(
        CELLS,
        NUM_STEPS,
        [False, True],
        quick=[
            *((name, "loop_and_remainder", False) for name in CELLS),
            *((name, "unknown", False) for name in ("rnn_scratch", "lstm_keras", "not_fused", "own")),
            ("gru_keras", "loop", False),
            ("gru_scratch", "one_step", False),
            ("lstm_scratch", "unrolled", True),
        ],
    ),
)
def test_outputs_states_and_gradients_are_those_of_masked_steps(name, length, compiled, short_blocks):
    cell, num_steps = make_cell(name), NUM_STEPS[length]
    inputs, state, mask = normal(num_steps, B, D), state_of(cell), tf.constant(MASKS[:num_steps])
    weights = cell.trainable_variables
    expected = outputs_and_gradients(lambda x, s: masked_steps(cell, x, s, mask), weights, inputs, state)

    def run(inputs, state, mask=mask):
        return outputs_and_gradients(lambda x, s: unroll(cell, x, s, mask=mask), weights, inputs, state, compiled)

    if length == "unknown":
        rows = None if name == "lstm_keras" else B  # the number of rows may be unknown too
        signature = [
            tf.TensorSpec([None, rows, D]),
            tuple(tf.TensorSpec([rows, tensor.shape[1]]) for tensor in state),
            tf.TensorSpec([None, rows], tf.bool),
        ]
        actual = tf.function(run, input_signature=signature, autograph=False)(tf.constant(inputs), state, mask)
    else:
        actual = run(inputs, state)
    assert_equal_up_to_rounding(actual, expected, recurrence_roundings(num_steps, 2 * D, H, B))


@pytest.mark.parametrize("name", ["gru_keras", "lstm_scratch"])
@pytest.mark.parametrize("length", ["unrolled", "loop_and_remainder"])
def test_a_mask_that_masks_nothing_changes_no_bit_of_a_fused_cell(name, length, short_blocks):
    cell, num_steps = make_cell(name), NUM_STEPS[length]

    def run(mask):
        call, weights = lambda x, s: unroll(cell, x, s, mask=mask), cell.trainable_variables
        return outputs_and_gradients(call, weights, normal(num_steps, B, D), state_of(cell))

    assert_identical(run(tf.ones([num_steps, B], tf.bool)), run(None))


@pytest.mark.parametrize("length", ["unrolled", "loop_and_remainder"])
def test_token_ids_take_a_mask(length, short_blocks):
    cell, num_steps = make_cell("gru_keras"), NUM_STEPS[length]
    ids, state = np.random.default_rng(0).integers(0, D, [num_steps, B]), state_of(cell)
    mask, weights = tf.constant(MASKS[:num_steps]), cell.trainable_variables

    def run(inputs, state):
        return unroll(cell, inputs, state, mask=mask)

    outputs, new_state, (_, *gradients) = outputs_and_gradients(run, weights, tf.one_hot(ids, D), state)
    actual = outputs_and_gradients(run, weights, ids, state)
    assert_equal_up_to_rounding(actual, (outputs, new_state, gradients), recurrence_roundings(num_steps, D, H, B))


@pytest.mark.parametrize("length", ["unrolled", "loop_and_remainder"])
def test_what_is_masked_changes_nothing(length, short_blocks):
    """Neither forward nor back: rows of unequal lengths may be padded with anything."""
    cell, num_steps = make_cell("lstm_keras"), NUM_STEPS[length]
    mask = tf.constant(MASKS[:num_steps])

    def run(padding):
        inputs = np.where(MASKS[:num_steps, :, None], normal(num_steps, B, D), padding).astype("f")
        call, weights = lambda x, s: unroll(cell, x, s, mask=mask), cell.trainable_variables
        return outputs_and_gradients(call, weights, inputs, state_of(cell))

    assert_identical(run(0.0), run(7.0))


@pytest.mark.slow
@pytest.mark.parametrize("name", combinations(CELLS, quick=[("rnn_scratch",)]))
def test_masked_steps_compiled_by_xla_are_the_same(name, short_blocks):
    cell, num_steps = make_cell(name), NUM_STEPS["loop_and_remainder"]
    inputs, state, mask = tf.constant(normal(num_steps, B, D)), state_of(cell), tf.constant(MASKS[:num_steps])

    def run(inputs, state):
        return outputs_and_gradients(
            lambda x, s: unroll(cell, x, s, mask=mask), cell.trainable_variables, inputs, state
        )

    compiled = tf.function(run, autograph=False, jit_compile=True)
    roundings = recurrence_roundings(num_steps, 2 * D, H, B)
    assert_equal_up_to_rounding(compiled(inputs, state), run(inputs, state), roundings)
