"""The RNN layer: its shapes, states, layouts, dropout and serialization, with every cell."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from all_cells import CELL_FORMS, combinations
from layer_results import normal, own_steps, random_state, with_random_weights
from rounding import assert_equal_up_to_rounding, recurrence_roundings

import tfrnn
from tfrnn.layers.cells import RNNCell
from tfrnn.layers.stack import RecurrentStack as RNN

T, B, D, H = 3, 3, 5, 4
NAMES = list(CELL_FORMS)
ROUNDINGS = recurrence_roundings(2 * T, D, H, B, num_layers=2)
each_cell = pytest.mark.parametrize("cell", CELL_FORMS.values(), ids=NAMES)


class UsersCell(keras.layers.Layer):
    """A user's cell that has only what the protocol demands: its output adds the input to a decaying sum of inputs."""

    state_size = D

    def call(self, inputs, states):
        return inputs + states[0], [0.5 * states[0] + inputs]


class CellOfLayers(keras.layers.Layer):
    """A user's cell made of another layer, without a build method, and with a weight that nothing uses."""

    def __init__(self, units):
        super().__init__()
        self.state_size, self.inner, self.unused = units, keras.layers.Dense(units), self.add_weight((2,))

    def call(self, inputs, states):
        h = tf.tanh(self.inner(tf.concat([inputs, states[0]], 1)))
        return h, [h]


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_state_is_a_tuple_of_a_tuple_per_layer(name, num_layers):
    cells = [CELL_FORMS[name](H) for _ in range(num_layers)]
    layer = RNN(cells if num_layers > 1 else cells[0])
    tensors_per_layer = 2 if name.startswith("lstm") else 1
    _, new_state = layer(normal(T, B, D))
    for state in (new_state, layer.initial_state(B)):
        assert isinstance(state, tuple)
        shapes = tuple(tuple(tuple(t.shape) for t in entry) for entry in state)
        assert shapes == (((B, H),) * tensors_per_layer,) * num_layers


@each_cell
def test_2t_steps_equal_t_steps_twice_with_the_state_carried(cell):
    layer = with_random_weights(RNN([cell(H), cell(H)]), D)
    x = normal(2 * T, B, D)
    outputs, state = layer(x, random_state(layer, B))
    first, middle_state = layer(x[:T], random_state(layer, B))
    second, last_state = layer(x[T:], middle_state)
    assert_equal_up_to_rounding((outputs, state), (tf.concat([first, second], 0), last_state), ROUNDINGS)


@pytest.mark.parametrize("name", combinations(NAMES, quick=[("gru_scratch",), ("lstm_keras",)]))
def test_graph_for_any_number_of_steps_and_rows_equals_the_unrolled_steps(name):
    layer = with_random_weights(RNN(CELL_FORMS[name](H)), D)
    x, state = tf.constant(normal(T, B, D)), random_state(layer, B)
    signature = [tf.TensorSpec([None, None, D]), tf.nest.map_structure(lambda _: tf.TensorSpec([None, H]), state)]
    graph = tf.function(layer, input_signature=signature, autograph=False)
    assert_equal_up_to_rounding(graph(x, state), layer(x, state), ROUNDINGS)


@each_cell
def test_batch_major_is_the_transpose_of_time_major(cell):
    layer = with_random_weights(RNN(cell(H)), D)
    x = normal(T, B, D)
    outputs, state = layer(x)
    batch_major, batch_major_state = RNN(layer.cell, time_major=False)(x.transpose(1, 0, 2))
    transposed = tf.transpose(batch_major, [1, 0, 2])
    assert_equal_up_to_rounding((outputs, state), (transposed, batch_major_state), ROUNDINGS)


@pytest.mark.parametrize(
    ("name", "num_layers"), combinations(NAMES, [1, 2], quick=[*((n, 2) for n in NAMES), ("gru_keras", 1)])
)
def test_rows_of_a_batch_do_not_affect_each_other(name, num_layers):
    layer = with_random_weights(RNN([CELL_FORMS[name](H) for _ in range(num_layers)]), D)
    x = normal(T, B, D)
    outputs, _ = layer(x)
    outputs_of_row, _ = layer(x[:, 1:2])
    assert_equal_up_to_rounding(outputs[:, 1:2], outputs_of_row, ROUNDINGS)


@each_cell
def test_return_sequences_and_return_state_choose_what_is_returned(cell):
    cell = cell(H)
    x = normal(T, B, D)
    outputs, state = RNN(cell)(x)
    np.testing.assert_array_equal(RNN(cell, return_state=False)(x), outputs)
    np.testing.assert_array_equal(RNN(cell, return_sequences=False, return_state=False)(x), outputs[-1])
    last_output, same_state = RNN(cell, return_sequences=False)(x)
    assert_equal_up_to_rounding((last_output, same_state), (outputs[-1], state), roundings=0)


@pytest.mark.parametrize("cell", [RNNCell, keras.layers.LSTMCell])
def test_a_single_cells_own_initial_state_is_accepted(cell):
    layer = RNN(cell(H))
    x = normal(T, B, D)
    expected = layer(x, layer.initial_state(B))
    assert_equal_up_to_rounding(layer(x, layer.cell.get_initial_state(batch_size=B)), expected, roundings=0)


def test_a_tensor_is_accepted_as_the_state_of_a_single_cell():
    layer = RNN(RNNCell(H))
    x = normal(T, B, D)
    assert_equal_up_to_rounding(layer(x, tf.zeros([B, H])), layer(x), roundings=0)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_state_that_was_unpacked_with_a_star_is_accepted(num_layers):
    layer = RNN([keras.layers.LSTMCell(H) for _ in range(num_layers)] if num_layers > 1 else RNNCell(H))
    x = normal(T, B, D)
    _, *state = layer(x, random_state(layer, B))
    assert_equal_up_to_rounding(layer(x, state), layer(x, state[0]), roundings=0)


def test_a_users_cell_runs_by_the_protocol_alone():
    outputs, state = RNN(UsersCell())(np.ones([3, B, D], "f"))
    np.testing.assert_array_equal(outputs[:, 0, 0], [1, 2, 2.5])
    assert state[0][0][0, 0] == 1.75
    outputs, _ = RNN([UsersCell(), RNNCell(H)])(np.ones([3, B, D], "f"))
    assert outputs.shape == (3, B, H)


class CellWithTraining(UsersCell):
    def call(self, inputs, states, training=False):
        return inputs + float(training), states


@pytest.mark.parametrize("training", [False, True])
def test_training_is_given_to_a_cell_whose_call_declares_it(training):
    x = np.zeros([3, B, D], "f")
    np.testing.assert_array_equal(RNN(CellWithTraining(), return_state=False)(x, training=training), x + training)
    RNN(UsersCell())(x, training=training)  # its call would not take it


@pytest.mark.parametrize("num_layers", [1, 2])
def test_the_cell_is_the_same_object_at_each_access_and_adds_no_weights(num_layers, tmp_path):
    def build():
        model = tfrnn.LanguageModel(RNN([RNNCell(H) for _ in range(num_layers)]), 11)
        model.build()
        return model

    model, again = build(), build()
    names = [variable.path for variable in again.rnn.variables]
    assert again.rnn.cell is again.rnn.cell
    assert [variable.path for variable in again.rnn.variables] == names
    model.save_weights(tmp_path / "model.weights.h5")  # by a model whose cell was not accessed
    again.load_weights(tmp_path / "model.weights.h5")
    for weight, expected in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_a_cell_made_of_layers_trains():
    model = tfrnn.LanguageModel(tfrnn.RNN([CellOfLayers(H), CellOfLayers(H)]), 11)
    trainer = tfrnn.Trainer(model, keras.optimizers.SGD(0.1))
    losses = trainer.fit(tfrnn.sequential_batches(np.arange(40) % 11, 2, 2), 3).history["loss"]
    assert losses[-1] < losses[0]


def test_keras_stacked_cells_are_layers():
    cells = [keras.layers.LSTMCell(H), keras.layers.LSTMCell(H)]
    stacked = RNN(keras.layers.StackedRNNCells(cells))
    assert stacked.cells == cells
    x, state = normal(T, B, D), stacked.cell.get_initial_state(batch_size=B)
    assert_equal_up_to_rounding(stacked(x, state), RNN(cells)(x), roundings=0)


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(((np.zeros([2, H], "f"),),), id="batch_size"),
        pytest.param(((np.zeros([B, H + 1], "f"),),), id="units"),
        pytest.param(((np.zeros([B, H], "f"),) * 2,), id="tensors_per_layer"),
        pytest.param(((np.zeros([B, H], "f"),),) * 2, id="num_layers"),
        pytest.param((), id="empty"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_with_expected_and_received(state):
    with pytest.raises(ValueError, match=rf"\[{B}, {H}\].*got"):
        RNN(RNNCell(H))(normal(T, B, D), state)


@pytest.mark.parametrize("cell", [keras.layers.Dense(3), 5, []], ids=["layer", "number", "empty_list"])
def test_something_else_than_a_cell_is_refused(cell):
    with pytest.raises(ValueError, match="cell"):
        RNN(cell)


def test_weights_are_listed_layer_by_layer():
    layer = RNN([RNNCell(H), RNNCell(H)])
    layer.build((None, None, D))
    assert [tuple(w.shape) for w in layer.weights] == [(D, H), (H, H), (H,), (H, H), (H, H), (H,)]


def test_dropout_acts_between_layers_and_only_in_training():
    keras.utils.set_random_seed(0)
    layer = RNN([UsersCell(), UsersCell()], dropout=0.5, return_state=False)
    x = np.ones([1, 200, D], "f")
    np.testing.assert_array_equal(layer(x, training=False), x)
    dropped = layer(x, training=True).numpy()
    np.testing.assert_array_equal(np.unique(dropped), [0, 2])
    assert abs(dropped.mean() - 1) < 5 / np.sqrt(dropped.size)  # each value has standard deviation 1
    single_layer = RNN(UsersCell(), dropout=0.5, return_state=False)
    np.testing.assert_array_equal(single_layer(x, training=True), x)


def test_dropout_inside_keras_cells_is_drawn_anew_in_each_call():
    layer = RNN(keras.layers.SimpleRNNCell(H, recurrent_dropout=0.5), return_state=False)
    x, state = normal(T, B, D), np.ones([B, H], "f")
    draws = {layer(x, state, training=True).numpy().tobytes() for _ in range(8)}
    assert len(draws) > 1
    np.testing.assert_array_equal(layer(x, state), layer(x, state))


def test_a_cell_that_the_fused_implementation_does_not_support_runs_step_by_step():
    layer = with_random_weights(RNN([keras.layers.GRUCell(H, activation="relu") for _ in range(2)]), D)
    x, state = tf.constant(normal(T, B, D)), random_state(layer, B)
    assert_equal_up_to_rounding(layer(x, state), own_steps(layer, x, state), ROUNDINGS)


@pytest.mark.parametrize(
    "name",
    combinations(NAMES, quick=[("rnn_scratch",), ("gru_scratch",), ("gru_reset_after_keras",), ("lstm_scratch",)]),
)
def test_a_deserialized_layer_computes_the_same(name):
    layer = with_random_weights(RNN([CELL_FORMS[name](H), CELL_FORMS[name](H)], dropout=0.25), D)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    again.build((None, None, D))
    again.set_weights(layer.get_weights())
    x = normal(T, B, D)
    np.testing.assert_array_equal(layer(x)[0], again(x)[0])
    assert layer.get_config() == again.get_config()
