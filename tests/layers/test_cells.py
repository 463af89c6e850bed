"""The cells from scratch: against their equations in numpy, and against Keras's cells."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from all_cells import SCRATCH_AND_KERAS, combinations
from layer_results import normal, outputs_and_gradients, own_steps, random_state, with_random_weights
from rounding import assert_equal_up_to_rounding, recurrence_roundings

import tfrnn
from tfrnn.layers import time_blocks
from tfrnn.layers.cells import GRUCell, LSTMCell, RNNCell
from tfrnn.layers.stack import RecurrentStack

T, B, D, H = 4, 3, 5, 4
LOOPED = time_blocks.LONGEST_UNROLLED + 1  # steps
KINDS = list(SCRATCH_AND_KERAS)
ROUNDINGS = recurrence_roundings(T, D, H, B)
each_kind = pytest.mark.parametrize("kind", KINDS)


def rnn_in_numpy(x, h, w, u, b):
    """Computes H' = tanh(X W + H U + b) over all steps.

    Returns the outputs, and a function from the gradients of outputs and last state to those of x, h, w, u and b.
    """
    hs = [h]
    for x_t in x:
        hs.append(np.tanh(x_t @ w + hs[-1] @ u + b))

    def backward(d_outputs, d_h):
        d_x, d_w, d_u, d_b = np.zeros_like(x), np.zeros_like(w), np.zeros_like(u), np.zeros_like(b)
        for t in reversed(range(len(x))):
            d_z = (d_outputs[t] + d_h) * (1 - hs[t + 1] ** 2)
            d_x[t], d_h = d_z @ w.T, d_z @ u.T
            d_w, d_u, d_b = d_w + x[t].T @ d_z, d_u + hs[t].T @ d_z, d_b + d_z.sum(0)
        return [d_x, d_h, d_w, d_u, d_b]

    return np.stack(hs[1:]), backward


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def step_in_numpy(kind, x, state, w, u, b):
    """Computes one step of a cell, gate by gate, from the equations of sections 8.4, 9.1 and 9.2 of the book."""

    def gate(i, hidden):
        column = slice(i * H, (i + 1) * H)
        return x @ w[:, column] + hidden @ u[:, column] + b[column]

    h = state[0]
    if kind == "gru_reset_after":
        (x_z, x_r, x_c), (h_z, h_r, h_c) = np.split(x @ w + b[0], 3, 1), np.split(h @ u + b[1], 3, 1)
        z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
        return (z * h + (1 - z) * np.tanh(x_c + r * h_c),)
    if kind == "rnn":
        return (np.tanh(gate(0, h)),)
    if kind == "gru":
        z, r = sigmoid(gate(0, h)), sigmoid(gate(1, h))
        return (z * h + (1 - z) * np.tanh(gate(2, r * h)),)
    i, f, o = (sigmoid(gate(column, h)) for column in (0, 1, 3))
    c = f * state[1] + i * np.tanh(gate(2, h))
    return o * np.tanh(c), c


@pytest.mark.parametrize(
    ("num_steps", "compiled"),
    combinations([1, 2, T, LOOPED], [False, True], quick=[(1, False), (T, False), (T, True), (LOOPED, False)]),
)
def test_simple_rnn_and_its_gradients_agree_with_numpy(num_steps, compiled):
    layer = with_random_weights(RecurrentStack(RNNCell(H)), D)
    x, h = normal(num_steps, B, D), normal(B, H)
    expected, backward = rnn_in_numpy(x, h, *layer.get_weights())
    outputs, state, gradients = outputs_and_gradients(layer, layer.weights, x, ((tf.constant(h),),), compiled)
    roundings = recurrence_roundings(num_steps, D, H, B)
    assert_equal_up_to_rounding([outputs, state[0][0]], [expected, expected[-1]], roundings)
    assert_equal_up_to_rounding(gradients, backward(np.cos(expected), np.cos(expected[-1])), roundings)


@pytest.mark.parametrize(
    ("kind", "compiled"), combinations(KINDS, [False, True], quick=[*((k, False) for k in KINDS), ("lstm", True)])
)
def test_cell_computes_its_equations(kind, compiled):
    cell = with_random_weights(SCRATCH_AND_KERAS[kind][0](H), D)
    weights = cell.get_weights()
    state = expected_state = [normal(B, H, seed=i) for i in range(cell.num_states)]
    step = tf.function(cell.call, autograph=False) if compiled else cell
    for x in normal(T, B, D):
        output, state = step(x, state)
        expected_state = step_in_numpy(kind, x, expected_state, *weights)
        assert_equal_up_to_rounding(output, expected_state[0], ROUNDINGS)
    assert_equal_up_to_rounding(list(state), list(expected_state), ROUNDINGS)


@pytest.mark.parametrize(
    ("kind", "num_steps", "compiled"),
    combinations(KINDS, [1, T], [False, True], quick=[(k, T, False) for k in KINDS] + [("gru", 1, True)]),
)
def test_outputs_and_gradients_are_those_of_keras_cell_with_the_same_weights(kind, num_steps, compiled):
    scratch, keras_layer = (with_random_weights(RecurrentStack(cell(H)), D) for cell in SCRATCH_AND_KERAS[kind])
    x, state = normal(num_steps, B, D), random_state(scratch, B)
    actual = outputs_and_gradients(scratch, scratch.weights, x, state, compiled)

    def keras_steps(inputs, state):
        return own_steps(keras_layer, inputs, state)

    expected = outputs_and_gradients(keras_steps, keras_layer.trainable_variables, x, state, compiled)
    assert_equal_up_to_rounding(actual, expected, ROUNDINGS)


@each_kind
def test_cell_runs_in_keras_rnn_layer(kind):
    layer = keras.layers.RNN(SCRATCH_AND_KERAS[kind][0](H), return_sequences=True)
    with_random_weights(layer.cell, D)
    x = normal(B, T, D)
    ours = tfrnn.RNN(layer.cell, return_sequences=True)
    assert_equal_up_to_rounding(layer(x), ours(x), ROUNDINGS)


@each_kind
def test_initial_weights_are_those_of_the_book(kind):
    keras.utils.set_random_seed(0)
    cell = SCRATCH_AND_KERAS[kind][0](256)
    cell.build((None, 28))
    columns = cell.gates * 256
    assert [tuple(w.shape) for w in cell.weights[:2]] == [(28, columns), (256, columns)]
    assert cell.bias.shape[-1] == columns
    # Of n samples, mean and standard deviation have standard errors of 0.01 / sqrt(n) and 0.01 / sqrt(2n).
    standard_error = 0.01 / np.sqrt(256 * columns)
    assert abs(np.std(cell.recurrent_kernel) - 0.01) < 5 * standard_error
    assert abs(np.mean(cell.recurrent_kernel)) < 5 * standard_error
    np.testing.assert_array_equal(cell.bias, np.zeros(cell.bias.shape))


def test_unit_forget_bias_is_that_of_keras():
    scratch, keras_cell = LSTMCell(H, unit_forget_bias=True), keras.layers.LSTMCell(H)
    for cell in (scratch, keras_cell):
        cell.build((None, D))
    np.testing.assert_array_equal(scratch.bias, keras_cell.bias)
    np.testing.assert_array_equal(scratch.bias, [0] * H + [1] * H + [0] * 2 * H)


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        (RNNCell, {"activation": "relu"}),
        (GRUCell, {"reset_after": True, "kernel_initializer": "glorot_uniform"}),
        (LSTMCell, {"unit_forget_bias": True, "activation": "relu"}),
    ],
)
def test_options_survive_serialization(cell, options):
    serialized = keras.saving.serialize_keras_object(cell(H, **options))
    config = keras.saving.deserialize_keras_object(serialized).get_config()
    assert config == {**cell(H, **options).get_config(), "name": config["name"]}


@each_kind
def test_another_activation_acts_as_in_keras_cell(kind):
    scratch, keras_layer = (
        with_random_weights(RecurrentStack(cell(H, activation="relu")), D) for cell in SCRATCH_AND_KERAS[kind]
    )
    x, state = normal(T, B, D), random_state(scratch, B)
    outputs = scratch(x, state)
    assert_equal_up_to_rounding(outputs, own_steps(keras_layer, tf.constant(x), state), ROUNDINGS)
    tanh = with_random_weights(RecurrentStack(SCRATCH_AND_KERAS[kind][0](H)), D)
    assert not np.allclose(outputs[0], tanh(x, state)[0], atol=1e-2)


@pytest.mark.parametrize("units", [0, -1, 2.5, "4", None])
def test_units_must_be_a_positive_whole_number(units):
    with pytest.raises(ValueError, match="at least 1"):
        RNNCell(units)
