"""The fused cells: against the cells' own steps under autodiff, and against finite differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from all_cells import CELL_FORMS, combinations
from half_precision import EPSILON, needs_16_bits
from layer_results import (
    normal,
    outputs_and_gradients,
    own_steps,
    random_state,
    sum_of_sines,
    with_random_weights,
)
from rounding import assert_equal_up_to_rounding, finite_difference_bound, recurrence_roundings

from tfrnn.layers import fused, time_blocks
from tfrnn.layers.cells import GRUCell, LSTMCell
from tfrnn.layers.stack import RecurrentStack

T, B, D, H = 4, 3, 5, 4
NAMES = list(CELL_FORMS)
# With blocks of 2 steps, and up to 3 steps unrolled.
NUM_STEPS = {"one_step": 1, "unrolled": 3, "loop": 4, "loop_and_remainder": 5}


@pytest.fixture
def short_blocks(monkeypatch):
    monkeypatch.setattr(time_blocks, "LONGEST_UNROLLED", 3)
    monkeypatch.setattr(time_blocks, "BLOCK", 2)


def roundings(num_steps):
    return recurrence_roundings(num_steps, D, H, B, num_layers=2)


def assert_equal_to_own_steps(layer, inputs, compiled=False):
    assert all(fused.supports(cell, training=True) for cell in layer.cells)
    state, weights = random_state(layer, B), layer.trainable_variables
    actual = outputs_and_gradients(layer, weights, inputs, state, compiled)

    def steps(inputs, state):
        return own_steps(layer, tf.one_hot(inputs, D) if inputs.dtype.is_integer else inputs, state)

    expected = outputs_and_gradients(steps, weights, inputs, state)
    assert_equal_up_to_rounding(actual, expected, roundings(inputs.shape[0]))


@pytest.mark.parametrize(
    ("name", "length", "compiled"),
    combinations(
        NAMES,
        NUM_STEPS,
        [False, True],
        quick=[
            *((name, "loop_and_remainder", False) for name in NAMES),
            ("rnn_keras", "one_step", False),
            ("gru_keras", "loop", False),
            ("lstm_scratch", "unrolled", True),
            ("rnn_keras", "loop_and_remainder", True),
        ],
    ),
)
def test_outputs_and_gradients_are_those_of_the_cells_own_steps(name, length, compiled, short_blocks):
    layer = with_random_weights(RecurrentStack([CELL_FORMS[name](H), CELL_FORMS[name](H)]), D)
    assert_equal_to_own_steps(layer, normal(NUM_STEPS[length], B, D), compiled)


@needs_16_bits
@pytest.mark.parametrize(
    ("name", "precision", "inputs"),
    combinations(
        NAMES,
        EPSILON,
        ["token_ids", "vectors"],
        quick=[(name, "bfloat16", "vectors") for name in NAMES if name.endswith("keras")],
    ),
)
def test_mixed_precision_is_near_float32_in_blocks_too(name, precision, inputs, short_blocks):
    """The weights are handed down as the Trainer does it, and their gradients are sums in float32."""
    x, results = normal(5, B, D), []
    if inputs == "token_ids":
        x = np.random.default_rng(0).integers(0, D, [5, B])
    for policy in ("float32", f"mixed_{precision}"):
        layer = with_random_weights(RecurrentStack([CELL_FORMS[name](H, dtype=policy) for _ in range(2)]), D)
        assert all(fused.supports(cell, training=True) for cell in layer.cells)
        with tf.GradientTape() as tape:
            outputs, state = layer(x, random_state(layer, B), weights=layer.read_weights())
            loss = tf.reduce_sum(tf.cast(outputs, tf.float32))
        gradients = tape.gradient(loss, layer.trainable_variables)
        assert outputs.dtype == layer.compute_dtype
        assert {gradient.dtype for gradient in gradients} == {tf.float32}
        results.append([np.asarray(tf.cast(part, tf.float32)) for part in (outputs, *sum(state, ()), *gradients)])
    for expected, actual in zip(*results, strict=True):
        assert np.linalg.norm(actual - expected) <= 8 * EPSILON[precision] * np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("name", "inputs"),
    combinations(
        NAMES,
        ["token_ids", "vectors"],
        quick=[
            *((name, "token_ids") for name in NAMES if name.endswith("keras")),
            ("gru_scratch", "token_ids"),
            ("lstm_keras", "vectors"),
        ],
    ),
)
def test_cells_without_bias_equal_their_own_steps(name, inputs, short_blocks):
    cell = CELL_FORMS[name](H)
    options = {"use_bias": False} if "use_bias" in cell.get_config() else {}
    layer = with_random_weights(RecurrentStack([CELL_FORMS[name](H, **options), cell]), D)
    token_ids = np.random.default_rng(0).integers(0, D, [5, B])
    assert_equal_to_own_steps(layer, token_ids if inputs == "token_ids" else normal(5, B, D))


@pytest.mark.parametrize("name", combinations(NAMES, quick=[("gru_reset_after_keras",)]))
def test_token_ids_of_an_unknown_number_of_steps_are_those_of_the_cells_own_steps(name):
    layer = with_random_weights(RecurrentStack(CELL_FORMS[name](H)), D)
    ids, state = tf.constant(np.random.default_rng(0).integers(0, D, [T, B]), tf.int32), random_state(layer, B)

    @tf.function(input_signature=[tf.TensorSpec([None, B], tf.int32)], autograph=False)
    def run(ids):
        return outputs_and_gradients(layer, layer.trainable_variables, ids, state)

    def steps(inputs, state):
        return own_steps(layer, tf.one_hot(inputs, D), state)

    expected = outputs_and_gradients(steps, layer.trainable_variables, ids, state)
    assert_equal_up_to_rounding(run(ids), expected, roundings(T))


@pytest.mark.parametrize(
    ("name", "length"),
    combinations(NAMES, ["unrolled", "loop_and_remainder"], quick=[(name, "loop_and_remainder") for name in NAMES]),
)
def test_gradients_are_finite_differences(name, length, short_blocks):
    layer = RecurrentStack(CELL_FORMS[name](H, dtype="float64"), dtype="float64")
    with_random_weights(layer, D)
    assert fused.supports(layer.cells[0], training=True)
    num_steps = NUM_STEPS[length]
    inputs, state = normal(num_steps, B, D, dtype="float64"), random_state(layer, B)
    *_, gradients = outputs_and_gradients(layer, layer.trainable_variables, inputs, state)
    arguments = [inputs, *(t.numpy() for t in state[0]), *(w.numpy() for w in layer.trainable_variables)]

    def loss(inputs, *state_and_weights):
        for variable, value in zip(layer.trainable_variables, state_and_weights[len(state[0]) :], strict=True):
            variable.assign(value)
        return float(sum_of_sines(layer(inputs, (tuple(map(tf.constant, state_and_weights[: len(state[0])])),))))

    rng, delta = np.random.default_rng(0), 1e-5
    bound = finite_difference_bound(delta, roundings(num_steps), loss(*arguments))
    errors = []
    for i, gradient in enumerate(gradients):
        direction = rng.normal(size=gradient.shape)
        direction /= np.linalg.norm(direction)
        ahead, back = (
            loss(*arguments[:i], arguments[i] + sign * delta * direction, *arguments[i + 1 :]) for sign in (1, -1)
        )
        errors.append(abs(np.sum(gradient * direction) - (ahead - back) / (2 * delta)))
    assert max(errors) < bound, errors


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_partial_derivative_is_a_finite_difference(name, monkeypatch):
    monkeypatch.setattr(time_blocks, "LONGEST_UNROLLED", 2)
    monkeypatch.setattr(time_blocks, "BLOCK", 2)
    layer = with_random_weights(RecurrentStack(CELL_FORMS[name](2, dtype="float64"), dtype="float64"), 2)
    constants = [variable.value for variable in layer.non_trainable_variables]  # of Keras's seed generators
    num_weights = len(layer.weights)
    state = random_state(layer, 1)[0]
    arguments = [*(weight.value for weight in layer.weights), tf.constant(normal(5, 1, 2, dtype="float64")), *state]

    def sums(*arguments):
        (outputs, (state,)), _ = layer.stateless_call(
            arguments[:num_weights],
            constants,
            arguments[num_weights],
            (arguments[num_weights + 1 :],),
            training=True,
        )
        return tf.stack([tf.reduce_sum(tf.sin(tensor)) for tensor in (outputs, *state)])

    jacobians, by_differences = tf.test.compute_gradient(sums, arguments, delta=1e-5)
    bound = finite_difference_bound(1e-5, recurrence_roundings(5, 2, 2), 5 * 2)
    for jacobian, expected in zip(jacobians, by_differences, strict=True):
        np.testing.assert_allclose(jacobian, expected, rtol=0, atol=bound)


@pytest.mark.parametrize(
    ("name", "num_steps", "max_one_hot_rows"),
    combinations(
        NAMES,
        [1, T],  # fewer and more ids than rows of the kernel
        [0, 64],
        quick=[*((name, T, 64) for name in NAMES), ("rnn_keras", 1, 64), ("gru_keras", 1, 0), ("lstm_scratch", T, 0)],
    ),
)
def test_token_ids_stand_for_one_hot_vectors(name, num_steps, max_one_hot_rows, monkeypatch):
    monkeypatch.setattr(fused, "MAX_ROWS_OF_ONE_HOT_GRADIENT", max_one_hot_rows)
    layer = with_random_weights(RecurrentStack(CELL_FORMS[name](H)), D)
    ids, state = np.random.default_rng(0).integers(0, D, [num_steps, B]), random_state(layer, B)
    actual = outputs_and_gradients(layer, layer.trainable_variables, ids, state)
    outputs, new_state, (_, *gradients) = outputs_and_gradients(
        layer, layer.trainable_variables, tf.one_hot(ids, D), state
    )
    assert_equal_up_to_rounding(actual, (outputs, new_state, gradients), roundings(num_steps))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_handed_to_a_call_are_used_as_they_were_when_they_were_read(bidirectional, dtype):
    cells, backward_cells = ([GRUCell(H, dtype=dtype), LSTMCell(H, dtype=dtype)] for _ in range(2))
    layer = with_random_weights(RecurrentStack(cells, backward_cells if bidirectional else None, dtype=dtype), D)
    x, weights = normal(T, B, D, dtype=dtype), layer.trainable_variables
    expected, _ = layer(x)
    read = layer.read_weights()
    layer.set_weights([2 * weight for weight in layer.get_weights()])
    np.testing.assert_array_equal(layer(x, weights=read)[0], expected)
    assert not np.allclose(layer(x)[0], expected, atol=1e-2)
    with tf.GradientTape() as tape:
        read = layer.read_weights()
        loss = tf.reduce_sum(layer(x, weights=read)[0] + layer(2 * x, weights=read)[0])
    with tf.GradientTape() as plain_tape:
        plain_loss = tf.reduce_sum(layer(x)[0] + layer(2 * x)[0])
    gradients = tape.gradient(loss, weights), plain_tape.gradient(plain_loss, weights)
    assert_equal_up_to_rounding(*gradients, (4 if bidirectional else 2) * roundings(T))


def test_a_cell_without_a_fused_implementation_has_no_weights_to_hand_down():
    layer = with_random_weights(RecurrentStack([GRUCell(H, activation="relu"), GRUCell(H)]), D)
    x, read = normal(T, B, D), layer.read_weights()
    assert read.by_layer[0] == (None,)
    np.testing.assert_array_equal(layer(x, weights=read)[0], layer(x)[0])


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_keras_hands_the_weights_down_as_they_are(policy):
    """It casts the tensors of tuples and lists to the compute dtype of the layer that is called."""

    class Received(RecurrentStack):
        def call(self, inputs, state=None, training=False, weights=None):
            assert weights is read
            return super().call(inputs, state, training, weights)

    layer = Received(GRUCell(H, dtype="float32"), dtype=policy)
    layer.build((None, None, D))
    read = layer.read_weights()
    layer(normal(T, B, D), weights=read)
    (weights,) = read.by_layer[0]
    assert {tensor.dtype for tensor in tf.nest.flatten(weights)} == {tf.float32}


class SubclassOfGRUCell(GRUCell):
    pass


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(lambda: SubclassOfGRUCell(H), id="subclass"),
        pytest.param(lambda: GRUCell(H, activation="relu"), id="activation"),
        pytest.param(lambda: keras.layers.GRUCell(H, recurrent_activation="hard_sigmoid"), id="recurrent_activation"),
        pytest.param(lambda: keras.layers.LSTMCell(H, dropout=0.1), id="dropout"),
        pytest.param(lambda: keras.layers.LSTMCell(H, recurrent_dropout=0.1), id="recurrent_dropout"),
    ],
)
def test_cell_that_may_compute_something_else_is_not_supported(cell):
    cell = cell()
    cell.build((None, D))
    assert not fused.supports(cell, training=True)


def test_cell_with_dropout_is_supported_outside_training_only():
    cell = keras.layers.LSTMCell(H, dropout=0.1)
    cell.build((None, D))
    assert fused.supports(cell, training=False)
    assert not fused.supports(cell, training=True)


def test_cell_is_supported_only_after_it_is_built():
    cell = GRUCell(H)
    assert not fused.supports(cell, training=False)
    cell.build((None, D))
    assert fused.supports(cell, training=False)
