"""The forecaster: shapes, the carried state, and what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from all_cells import CELLS
from layer_results import normal
from rounding import assert_equal_up_to_rounding, recurrence_roundings

import tfrnn
from tfrnn.layers.cells import RNNCell

T, B, H = 3, 3, 4
ROUNDINGS = recurrence_roundings(2 * T, H, H, B, num_layers=2)


@pytest.mark.parametrize("cell", CELLS.values(), ids=list(CELLS))
def test_2t_steps_equal_t_steps_twice_with_the_state_carried(cell):
    model = tfrnn.Forecaster([cell(H), cell(H)], num_values=2)
    values = normal(2 * T, B, 2)
    predictions, state = model(values)
    assert predictions.shape == (2 * T, B, 2)
    first, middle_state = model(values[:T])
    second, last_state = model(values[T:], middle_state)
    assert_equal_up_to_rounding((predictions, state), (tf.concat([first, second], 0), last_state), ROUNDINGS)


@pytest.mark.parametrize("shape", [[T, B], [T, B, 2]], ids=["no_values", "two_values"])
def test_inputs_of_another_shape_are_refused_with_expected_and_received(shape):
    model = tfrnn.Forecaster(RNNCell(H))
    with pytest.raises(ValueError, match=r"\[T, B, 1\]; got shape"):
        model(np.ones(shape, "f"))


def test_a_deserialized_model_computes_the_same():
    model = tfrnn.Forecaster(RNNCell(H), 2, dropout=0.1)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    model.build()
    again.build()
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(model(normal(T, B, 2))[0], again(normal(T, B, 2))[0])


def test_a_bidirectional_rnn_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="would read the values to be predicted"):
        tfrnn.Forecaster(tfrnn.Bidirectional(tfrnn.GRU(H)))


def test_with_other_outputs_it_is_zero_at_first_and_reads_the_inputs_of_the_step_too():
    model = tfrnn.Forecaster(RNNCell(H), num_values=2, num_outputs=3)
    values = normal(T, B, 2)
    assert not np.any(model(values)[0])
    kernel = np.concatenate([np.zeros([H, 3]), np.arange(6).reshape(2, 3)])  # of the inputs alone
    model.dense.set_weights([kernel, np.ones(3)])
    np.testing.assert_allclose(model(values)[0], values @ kernel[H:] + 1, rtol=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    again.build()
    assert [w.shape for w in again.weights] == [w.shape for w in model.weights]
