"""Bidirectional: against Keras's RNN layer in both directions, and its states, weights and serialization."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from all_cells import CELL_FORMS, combinations
from layer_results import normal
from rounding import assert_equal_up_to_rounding, recurrence_roundings

from tfrnn.layers.bidirectional import Bidirectional
from tfrnn.layers.cells import RNNCell

T, B, D, H = 3, 3, 5, 4
# The second layer reads 2 * H values.
ROUNDINGS = recurrence_roundings(T, 2 * H, H, B, num_layers=2)
each_cell = pytest.mark.parametrize(
    "name",
    combinations(CELL_FORMS, quick=[("rnn_scratch",), ("gru_scratch",), ("gru_reset_after_keras",), ("lstm_keras",)]),
)


@each_cell
def test_a_layer_equals_keras_rnn_layer_in_both_directions(name):
    layer = Bidirectional(CELL_FORMS[name](H), time_major=False)
    x = normal(B, T, D)
    outputs, (state,) = layer(x)
    forward = keras.layers.RNN(layer.cells[0], return_sequences=True, return_state=True)
    backward = keras.layers.RNN(layer.backward_cells[0], return_sequences=True, return_state=True)
    forward_outputs, *forward_state = forward(x)
    backward_outputs, *backward_state = backward(x[:, ::-1])
    expected = tf.concat([forward_outputs, backward_outputs[:, ::-1]], -1)
    assert_equal_up_to_rounding((outputs, list(state)), (expected, [*forward_state, *backward_state]), ROUNDINGS)
    last = Bidirectional(layer.cells[0], layer.backward_cells[0], return_sequences=False, return_state=False)
    expected = tf.concat([forward_outputs[:, -1], backward_outputs[:, -1]], -1)
    assert_equal_up_to_rounding(last(x.swapaxes(0, 1)), expected, ROUNDINGS)


@each_cell
def test_each_layer_reads_both_directions_and_has_one_entry_in_the_state(name):
    layer = Bidirectional([CELL_FORMS[name](H), CELL_FORMS[name](H)])
    outputs, state = layer(normal(T, B, D), None)
    assert outputs.shape == (T, B, 2 * H)
    assert len(state) == 2
    tf.nest.assert_same_structure(state, layer.initial_state(B))
    assert [tuple(t.shape) for t in state[1]] == [(B, H)] * len(layer.initial_state(B)[1])
    layer_by_layer = normal(T, B, D)
    for forward, backward in layer.cells_by_layer:
        layer_by_layer, _ = Bidirectional(forward, backward)(layer_by_layer)
    assert_equal_up_to_rounding(outputs, layer_by_layer, ROUNDINGS)


def test_the_directions_start_with_different_weights():
    layer = Bidirectional(RNNCell(H))
    layer.build((None, None, D))
    assert not np.allclose(layer.cells[0].kernel, layer.backward_cells[0].kernel)
    assert len(layer.trainable_variables) == 6


def test_a_deserialized_layer_computes_the_same():
    layer = Bidirectional([RNNCell(H), RNNCell(H)], dropout=0.1)
    layer.build((None, None, D))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    again.build((None, None, D))
    again.set_weights(layer.get_weights())
    x = normal(T, B, D)
    np.testing.assert_array_equal(layer(x)[0], again(x)[0])


def test_the_directions_need_the_same_number_of_cells():
    with pytest.raises(ValueError, match="got 1 and 2"):
        Bidirectional([RNNCell(H), RNNCell(H)], [RNNCell(H)])
