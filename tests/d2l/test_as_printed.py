"""as_printed: what Keras 3 takes afterwards, and that it is undone."""

import builtins

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfrnn
from tfrnn import d2l
from tfrnn.d2l import first, v1

NAMES = "RNN", "SimpleRNN", "GRU", "LSTM"
T, B, D, H = 4, 3, 2, 5
X = np.random.default_rng(0).normal(size=[T, B, D]).astype("float32")


@pytest.fixture
def printed():
    with d2l.as_printed() as changes:
        yield changes
    globals().pop("int", None)


def state_of_keras():
    classes = keras.layers.SimpleRNNCell, keras.layers.GRUCell, keras.layers.LSTMCell, keras.layers.StackedRNNCells
    return (
        [
            vars(module)[name]
            for module in (keras.layers, tf.keras.layers)
            for name in ("RNN", "SimpleRNN", "GRU", "LSTM")
        ],
        [vars(cell)["get_initial_state"] for cell in classes],
        "__init__" in vars(keras.optimizers.Optimizer),
        vars(keras.losses.Loss)["__call__"],
        vars(keras.layers.Layer)["variables"],
        "int" in globals(),
    )


def test_nothing_changes_before_it_is_called_and_nothing_is_left_after_it_is_undone(capsys):
    before = state_of_keras()
    changes = d2l.as_printed()
    assert capsys.readouterr().out.count("as_printed: ") == 1
    assert state_of_keras() != before
    assert v1.as_printed() is first.as_printed() is changes  # and changes nothing more
    assert capsys.readouterr().out == ""
    assert "time_major" in repr(changes)
    changes.undo()
    assert state_of_keras() == before
    assert repr(changes) == "as_printed: undone"
    with pytest.raises(ValueError, match="time_major"):
        keras.layers.GRU(H, time_major=True)
    with pytest.raises(ValueError, match="learning_rate"):
        keras.optimizers.SGD(1)


def test_a_context_undoes_what_its_own_call_changed(capsys):
    before = state_of_keras()
    outer = d2l.as_printed()
    changed = state_of_keras()
    other = {"__name__": "other", "d2l": d2l, "keras": keras}
    exec("with d2l.as_printed():\n    inside = int", other)
    assert other["inside"] is not builtins.int
    assert "int" not in other  # of the other module
    with d2l.as_printed(), d2l.as_printed():
        pass
    assert state_of_keras() == changed
    outer.undo()
    assert state_of_keras() == before
    with d2l.as_printed() as outer:
        with d2l.as_printed():
            outer.undo()
        assert state_of_keras() == before
    with d2l.as_printed(), d2l.as_printed():
        pass
    assert state_of_keras() == before


@pytest.mark.parametrize("layers", [keras.layers, tf.keras.layers], ids=["keras", "tf.keras"])
@pytest.mark.parametrize("name", ["SimpleRNN", "GRU", "LSTM"])
def test_layers_take_time_major(printed, layers, name):
    layer = getattr(layers, name)(H, time_major=True, return_sequences=True, return_state=True)
    cell = getattr(layers, f"{name}Cell")(H)
    of_cell = layers.RNN(cell, time_major=True, return_sequences=True, return_state=True)
    outputs, *states = layer(X)
    of_cell.build(X.shape)
    of_cell.set_weights(layer.get_weights())
    assert outputs.shape == (T, B, H)
    keras.tree.map_structure(np.testing.assert_array_equal, of_cell(X), (outputs, *states))
    assert all(isinstance(each, layers.RNN) for each in (layer, of_cell))
    assert isinstance(keras.layers.Bidirectional(keras.layers.GRU(H)).forward_layer, layers.RNN)
    model = tfrnn.LanguageModel(of_cell, 7)  # which takes the cells of Keras's layers and tfrnn's
    assert model.rnn.cells == [cell]


def test_a_readers_subclasses_have_instances_of_their_own_alone(printed):
    class Readers(keras.layers.RNN):
        pass

    class Token(int):
        pass

    assert isinstance(Readers(keras.layers.GRUCell(H), time_major=True), Readers)
    assert not isinstance(keras.layers.LSTM(H), Readers)
    assert issubclass(keras.layers.LSTM, keras.layers.RNN)
    assert not issubclass(keras.layers.LSTM, Readers)
    assert not issubclass(keras.layers.Dense, keras.layers.RNN)
    assert type(Token("3")) is Token
    assert issubclass(Token, int)
    assert not isinstance(3, Token)
    assert not issubclass(bool, Token)
    assert len({Token, int}) == 2


def test_states_are_those_of_keras_2(printed):
    cells = {name: getattr(keras.layers, name)(H) for name in ("SimpleRNNCell", "GRUCell", "LSTMCell")}
    printed_states = {n: c.get_initial_state(batch_size=B, dtype=tf.float32) for n, c in cells.items()}
    assert printed_states["SimpleRNNCell"].shape == printed_states["GRUCell"].shape == (B, H)
    assert [state.shape for state in printed_states["LSTMCell"]] == [(B, H)] * 2
    assert cells["GRUCell"].get_initial_state(tf.constant(X[0]), dtype=tf.float16).dtype == tf.float16
    assert cells["GRUCell"].get_initial_state(inputs=tf.constant(X[0])).shape == (B, H)
    assert cells["GRUCell"].get_initial_state(X[0].astype("float16")).dtype == tf.float16
    for batch_size in (B, tf.constant(B)):  # as in Keras 3
        for state in (
            *cells["GRUCell"].get_initial_state(batch_size=batch_size),
            *cells["GRUCell"].get_initial_state(batch_size),
        ):
            assert state.shape == (B, H)
    stacked = keras.layers.StackedRNNCells([keras.layers.GRUCell(H), keras.layers.LSTMCell(H)])
    of_gru, of_lstm = stacked.get_initial_state(batch_size=B, dtype=tf.float32)
    assert of_gru.shape == (B, H)
    assert [state.shape for state in of_lstm] == [(B, H)] * 2
    two = keras.layers.StackedRNNCells([keras.layers.GRUCell(H), keras.layers.GRUCell(H)])
    _, *states = keras.layers.RNN(two, return_sequences=True, return_state=True)(X)
    assert [state.shape for state in states] == [(T, H)] * 2


def test_learning_rates_may_be_whole_numbers(printed):
    assert float(keras.optimizers.SGD(1).learning_rate) == 1.0
    assert float(keras.optimizers.Adam(learning_rate=2).learning_rate) == 2.0
    assert float(keras.optimizers.SGD(np.int64(3)).learning_rate) == 3.0
    with pytest.raises(ValueError, match="learning_rate"):
        keras.optimizers.SGD(True)
    schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 2, 0.5)
    assert keras.optimizers.SGD(schedule)._learning_rate is schedule


class OneHot(keras.losses.Loss):
    def call(self, label, pred):
        return keras.losses.categorical_crossentropy(tf.one_hot(label, pred.shape[-1]), pred, from_logits=True)


def test_losses_of_ones_own_get_whole_numbers(printed):
    labels, logits = tf.constant([[0, 2], [1, 1]]), tf.random.normal([2, 2, 3])
    of_keras = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    np.testing.assert_allclose(OneHot()(labels, logits), of_keras(labels, logits), rtol=1e-6)
    assert "call" not in vars(OneHot())


def test_variables_of_ones_own_layers_are_weights(printed):
    class Net(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.cell, self.dropout = keras.layers.GRUCell(H, dropout=0.5), keras.layers.Dropout(0.5)

        def call(self, inputs):
            return self.dropout(self.cell(inputs, [tf.zeros([B, H])])[0])

    net = Net()
    net(X[0])
    assert [v.path for v in net.variables] == [w.path for w in net.weights]
    assert len(net.dropout.variables) == 1  # of a layer of Keras's, as ever


def test_int_takes_an_array_of_one_number(printed):
    assert int(np.array([[3.7]])) == 3  # of this module
    assert int("12", 8) == 10
    assert isinstance(3, int)
    assert issubclass(bool, int)
    assert type(int(2.5)) is builtins.int
    assert int(tf.Variable([3])) == 3
    assert np.array([1.5]).astype(int).dtype == np.zeros(1, int).dtype == np.dtype(builtins.int)
    assert {int: "of both"}[builtins.int] == "of both"
    with pytest.raises(TypeError):
        int(np.array([1, 2]))
