"""The stack of recurrent layers: shapes, states, both directions, dropout and serialization, with every cell."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from all_cells import CELL_FORMS, combinations
from layer_results import normal, own_steps, random_state, with_random_weights
from rounding import assert_equal_up_to_rounding, recurrence_roundings

import tfrnn
from tfrnn.layers.cells import GRUCell, LSTMCell, RNNCell
from tfrnn.layers.stack import RecurrentStack, split_directions

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
    layer = RecurrentStack(cells if num_layers > 1 else cells[0])
    tensors_per_layer = 2 if name.startswith("lstm") else 1
    _, new_state = layer(normal(T, B, D))
    for state in (new_state, layer.initial_state(B)):
        assert isinstance(state, tuple)
        shapes = tuple(tuple(tuple(t.shape) for t in entry) for entry in state)
        assert shapes == (((B, H),) * tensors_per_layer,) * num_layers


def test_an_activity_regularizer_is_divided_by_the_rows_as_kerass():
    """Of the outputs and the states, which Keras's layer returns too."""
    regularizer = keras.regularizers.L2(0.1)
    layer = with_random_weights(RecurrentStack(keras.layers.LSTMCell(H), activity_regularizer=regularizer), D)
    keras_layer = keras.layers.LSTM(H, return_sequences=True, return_state=True, activity_regularizer=regularizer)
    x = normal(T, B, D)
    keras_layer.build((B, T, D))
    keras_layer.set_weights(layer.get_weights())
    layer(x)
    keras_layer(np.transpose(x, [1, 0, 2]))
    assert len(keras_layer.losses) == 3
    assert_equal_up_to_rounding(layer.losses, keras_layer.losses, T * B * H * ROUNDINGS)
    copy = RecurrentStack.from_config(layer.get_config())
    assert copy.activity_regularizer.get_config() == regularizer.get_config()


@each_cell
def test_2t_steps_equal_t_steps_twice_with_the_state_carried(cell):
    layer = with_random_weights(RecurrentStack([cell(H), cell(H)]), D)
    x = normal(2 * T, B, D)
    outputs, state = layer(x, random_state(layer, B))
    first, middle_state = layer(x[:T], random_state(layer, B))
    second, last_state = layer(x[T:], middle_state)
    assert_equal_up_to_rounding((outputs, state), (tf.concat([first, second], 0), last_state), ROUNDINGS)


@pytest.mark.parametrize("name", combinations(NAMES, quick=[("gru_scratch",), ("lstm_keras",)]))
def test_graph_for_any_number_of_steps_and_rows_equals_the_unrolled_steps(name):
    layer = with_random_weights(RecurrentStack(CELL_FORMS[name](H)), D)
    x, state = tf.constant(normal(T, B, D)), random_state(layer, B)
    signature = [tf.TensorSpec([None, None, D]), tf.nest.map_structure(lambda _: tf.TensorSpec([None, H]), state)]
    graph = tf.function(layer, input_signature=signature, autograph=False)
    assert_equal_up_to_rounding(graph(x, state), layer(x, state), ROUNDINGS)


@pytest.mark.parametrize(
    ("name", "num_layers"), combinations(NAMES, [1, 2], quick=[*((n, 2) for n in NAMES), ("gru_keras", 1)])
)
def test_rows_of_a_batch_do_not_affect_each_other(name, num_layers):
    layer = with_random_weights(RecurrentStack([CELL_FORMS[name](H) for _ in range(num_layers)]), D)
    x = normal(T, B, D)
    outputs, _ = layer(x)
    outputs_of_row, _ = layer(x[:, 1:2])
    assert_equal_up_to_rounding(outputs[:, 1:2], outputs_of_row, ROUNDINGS)


@pytest.mark.parametrize("cell", [RNNCell, keras.layers.LSTMCell])
def test_a_single_cells_own_initial_state_is_accepted(cell):
    layer = RecurrentStack(cell(H))
    x = normal(T, B, D)
    expected = layer(x, layer.initial_state(B))
    assert_equal_up_to_rounding(layer(x, layer.cells[0].get_initial_state(batch_size=B)), expected, roundings=0)


def test_a_tensor_is_accepted_as_the_state_of_a_single_cell():
    layer = RecurrentStack(RNNCell(H))
    x = normal(T, B, D)
    assert_equal_up_to_rounding(layer(x, tf.zeros([B, H])), layer(x), roundings=0)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_state_that_was_unpacked_with_a_star_is_accepted(num_layers):
    layer = RecurrentStack([keras.layers.LSTMCell(H) for _ in range(num_layers)] if num_layers > 1 else RNNCell(H))
    x = normal(T, B, D)
    _, *state = layer(x, random_state(layer, B))
    assert_equal_up_to_rounding(layer(x, state), layer(x, state[0]), roundings=0)


def test_a_users_cell_runs_by_the_protocol_alone():
    outputs, state = RecurrentStack(UsersCell())(np.ones([3, B, D], "f"))
    np.testing.assert_array_equal(outputs[:, 0, 0], [1, 2, 2.5])
    assert state[0][0][0, 0] == 1.75
    outputs, _ = RecurrentStack([UsersCell(), RNNCell(H)])(np.ones([3, B, D], "f"))
    assert outputs.shape == (3, B, H)


class CellWithTraining(UsersCell):
    def call(self, inputs, states, training=False):
        return inputs + float(training), states


@pytest.mark.parametrize("training", [False, True])
def test_training_is_given_to_a_cell_whose_call_declares_it(training):
    x = np.zeros([3, B, D], "f")
    np.testing.assert_array_equal(RecurrentStack(CellWithTraining())(x, training=training)[0], x + training)
    RecurrentStack(UsersCell())(x, training=training)  # its call would not take it


def test_a_cell_made_of_layers_trains():
    model = tfrnn.LanguageModel([CellOfLayers(H), CellOfLayers(H)], 11)
    trainer = tfrnn.Trainer(model, keras.optimizers.SGD(0.1))
    with pytest.warns(UserWarning, match="Gradients do not exist"):  # Keras's, of the unused weights
        losses = trainer.fit(tfrnn.sequential_batches(np.arange(40) % 11, 2, 2), 3).history["loss"]
    assert losses[-1] < losses[0]


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
        RecurrentStack(RNNCell(H))(normal(T, B, D), state)


@pytest.mark.parametrize("cell", [keras.layers.Dense(3), 5, []], ids=["layer", "number", "empty_list"])
def test_something_else_than_a_cell_is_refused(cell):
    with pytest.raises(ValueError, match="cell"):
        RecurrentStack(cell)


def test_weights_are_listed_layer_by_layer():
    layer = RecurrentStack([RNNCell(H), RNNCell(H)])
    layer.build((None, None, D))
    assert [tuple(w.shape) for w in layer.weights] == [(D, H), (H, H), (H,), (H, H), (H, H), (H,)]


def test_dropout_acts_between_layers_and_only_in_training():
    keras.utils.set_random_seed(0)
    layer = RecurrentStack([UsersCell(), UsersCell()], dropout=0.5)
    x = np.ones([1, 200, D], "f")
    np.testing.assert_array_equal(layer(x, training=False)[0], x)
    dropped = layer(x, training=True)[0].numpy()
    np.testing.assert_array_equal(np.unique(dropped), [0, 2])
    assert abs(dropped.mean() - 1) < 5 / np.sqrt(dropped.size)  # each value has standard deviation 1
    single_layer = RecurrentStack(UsersCell(), dropout=0.5)
    np.testing.assert_array_equal(single_layer(x, training=True)[0], x)


def test_dropout_inside_keras_cells_is_drawn_anew_in_each_call():
    layer = RecurrentStack(keras.layers.SimpleRNNCell(H, recurrent_dropout=0.5))
    x, state = normal(T, B, D), np.ones([B, H], "f")
    draws = {layer(x, state, training=True)[0].numpy().tobytes() for _ in range(8)}
    assert len(draws) > 1
    np.testing.assert_array_equal(layer(x, state)[0], layer(x, state)[0])


@pytest.mark.parametrize("cell", [keras.layers.SimpleRNNCell, keras.layers.GRUCell, keras.layers.LSTMCell])
def test_dropout_inside_keras_cells_draws_what_it_draws_in_kerass_layer(cell):
    x, dropout = normal(T, B, D), {"dropout": 0.5, "recurrent_dropout": 0.5, "seed": 4}
    of_stack, of_layer = cell(H, **dropout), cell(H, **dropout)
    stack, layer = RecurrentStack(of_stack), keras.layers.RNN(of_layer, return_sequences=True)
    stack.build((None, None, D))
    layer.build((None, None, D))
    layer.set_weights(stack.get_weights())
    of_layer.seed_generator.state.assign(of_stack.seed_generator.state)  # building may draw
    outputs, _ = stack(x, training=True)
    expected = layer(tf.transpose(x, [1, 0, 2]), training=True)
    assert_equal_up_to_rounding(outputs, tf.transpose(expected, [1, 0, 2]), ROUNDINGS)


def test_a_cell_that_the_fused_implementation_does_not_support_runs_step_by_step():
    layer = with_random_weights(RecurrentStack([keras.layers.GRUCell(H, activation="relu") for _ in range(2)]), D)
    x, state = tf.constant(normal(T, B, D)), random_state(layer, B)
    assert_equal_up_to_rounding(layer(x, state), own_steps(layer, x, state), ROUNDINGS)


@pytest.mark.parametrize(
    "name",
    combinations(NAMES, quick=[("rnn_scratch",), ("gru_scratch",), ("gru_reset_after_keras",), ("lstm_scratch",)]),
)
def test_a_deserialized_layer_computes_the_same(name):
    layer = with_random_weights(RecurrentStack([CELL_FORMS[name](H), CELL_FORMS[name](H)], dropout=0.25), D)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    again.build((None, None, D))
    again.set_weights(layer.get_weights())
    x = normal(T, B, D)
    np.testing.assert_array_equal(layer(x)[0], again(x)[0])
    assert layer.get_config() == again.get_config()


def both_directions(*cells):
    """A stack with these cells and copies of them that read backwards."""
    return RecurrentStack(list(cells), [type(cell).from_config(cell.get_config()) for cell in cells])


each_cell_in_both_directions = pytest.mark.parametrize(
    "name",
    combinations(NAMES, quick=[("rnn_scratch",), ("gru_scratch",), ("gru_reset_after_keras",), ("lstm_keras",)]),
)


@each_cell_in_both_directions
def test_both_directions_are_those_of_two_keras_layers(name):
    stack = with_random_weights(both_directions(CELL_FORMS[name](H)), D)
    x = normal(T, B, D)
    outputs, (state,) = stack(x)
    layers = [
        keras.layers.RNN(cells[0], return_sequences=True, return_state=True, go_backwards=backwards)
        for cells, backwards in ((stack.cells, False), (stack.backward_cells, True))
    ]
    forward, *forward_state = layers[0](x.swapaxes(0, 1))
    backward, *backward_state = layers[1](x.swapaxes(0, 1))
    expected = tf.transpose(tf.concat([forward, backward[:, ::-1]], -1), [1, 0, 2])
    assert_equal_up_to_rounding((outputs, list(state)), (expected, [*forward_state, *backward_state]), ROUNDINGS)


@each_cell_in_both_directions
def test_each_layer_reads_both_directions_and_has_one_entry_in_the_state(name):
    stack = with_random_weights(both_directions(CELL_FORMS[name](H), CELL_FORMS[name](H)), D)
    outputs, state = stack(normal(T, B, D))
    assert outputs.shape == (T, B, 2 * H)
    assert len(state) == 2
    tf.nest.assert_same_structure(state, stack.initial_state(B))
    layer_by_layer = normal(T, B, D)
    for forward, backward in stack.cells_by_layer:
        layer_by_layer, _ = RecurrentStack(forward, backward)(layer_by_layer)
    assert_equal_up_to_rounding(outputs, layer_by_layer, ROUNDINGS)


@pytest.mark.parametrize("form", [*NAMES, "users"])
@pytest.mark.parametrize("directions", [1, 2])
def test_masked_rows_equal_each_row_alone_at_its_own_length(form, directions):
    def cell():
        return UsersCell() if form == "users" else CELL_FORMS[form](H)

    layers = [cell(), CELL_FORMS["rnn_keras"](H)]
    stack = with_random_weights(both_directions(*layers) if directions == 2 else RecurrentStack(layers), D)
    x, lengths = normal(2 * T, B, D), [2 * T, 1, T]
    outputs, state = stack(x, mask=np.arange(2 * T)[:, None] < np.array(lengths))
    for row, length in enumerate(lengths):
        alone, alone_state = stack(x[:length, row : row + 1])
        of_row = tf.nest.map_structure(lambda tensor, row=row: tensor[row : row + 1], state)
        assert_equal_up_to_rounding((outputs[:length, row : row + 1], of_row), (alone, alone_state), ROUNDINGS)


def test_the_directions_need_the_same_number_of_cells():
    with pytest.raises(ValueError, match="got 1 and 2"):
        RecurrentStack([RNNCell(H), RNNCell(H)], [RNNCell(H)])


def test_a_deserialized_stack_of_both_directions_computes_the_same():
    stack = with_random_weights(both_directions(RNNCell(H), RNNCell(H)), D)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(stack))
    again.build((None, None, D))
    again.set_weights(stack.get_weights())
    np.testing.assert_array_equal(stack(normal(T, B, D))[0], again(normal(T, B, D))[0])


FORWARD_AND_BACKWARD = LSTMCell(H), GRUCell(H)
BIDIRECTIONAL = keras.layers.Bidirectional(tfrnn.GRU(H))


@pytest.mark.parametrize(
    ("layers", "cells"),
    [
        (FORWARD_AND_BACKWARD[0], FORWARD_AND_BACKWARD[:1]),
        (FORWARD_AND_BACKWARD, FORWARD_AND_BACKWARD),
        (keras.layers.StackedRNNCells(FORWARD_AND_BACKWARD), FORWARD_AND_BACKWARD),
        (tfrnn.RNN(FORWARD_AND_BACKWARD[0], time_major=True, return_state=True), FORWARD_AND_BACKWARD[:1]),
        ([keras.layers.RNN(list(FORWARD_AND_BACKWARD)), FORWARD_AND_BACKWARD[0]],
         [*FORWARD_AND_BACKWARD, FORWARD_AND_BACKWARD[0]]),
        (BIDIRECTIONAL, [BIDIRECTIONAL.forward_layer.cell]),
    ],
    ids=["cell", "cells", "stacked_cells", "layer", "layer_and_cell", "bidirectional"],
)  # fmt: skip
def test_the_cells_of_layers_are_taken(layers, cells):
    assert split_directions(layers)[0] == list(cells)
    backward = [BIDIRECTIONAL.backward_layer.cell] if layers is BIDIRECTIONAL else []
    assert split_directions(layers)[1] == backward


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (keras.layers.GRU(H, go_backwards=True), "go_backwards=True"),
        (tfrnn.LSTM(H, stateful=True), "stateful=True.*argument of its call"),
        (keras.layers.LSTM(H, activity_regularizer="l2"), "activity_regularizer"),
        (keras.layers.Bidirectional(keras.layers.GRU(H), merge_mode="sum"), "merge_mode=sum"),
        ([keras.layers.Bidirectional(keras.layers.GRU(H)), GRUCell(H)], "got 1 of 2"),
        (keras.layers.Dense(H), "a cell"),
    ],
    ids=["backwards", "stateful", "regularizer", "merge_mode", "one_direction", "no_rnn"],
)
def test_what_a_stack_could_not_follow_is_refused(layers, message):
    with pytest.raises(ValueError, match=message):
        RecurrentStack(*split_directions(layers)[:1])
