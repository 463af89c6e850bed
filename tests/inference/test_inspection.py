"""Hidden units and gates of a model, compared with its states and with the equations."""

import functools

import keras
import numpy as np
import pytest

import tfrnn
from tfrnn.errors import UserError

VOCABULARY = tfrnn.Vocabulary.from_text("abc de\n")
IDS = VOCABULARY.encode("abc de\nbad\n")
UNITS = 6
CELLS = {
    "rnn": tfrnn.RNNCell,
    "gru": tfrnn.GRUCell,
    "lstm": tfrnn.LSTMCell,
    "keras_gru": keras.layers.GRUCell,
    "keras_lstm": keras.layers.LSTMCell,
}
# Sums of at most 2 * UNITS + 2 products of size 1 or less, rounded to float32 in each of the steps of IDS.
ROUNDING = float(np.finfo("f").eps) * (2 * UNITS + 2) * len(IDS)


@functools.cache
def model_of(name, embedding_dim=0):
    keras.utils.set_random_seed(2)
    cells = [CELLS[name](UNITS, kernel_initializer="orthogonal", bias_initializer="normal") for _ in range(2)]
    model = tfrnn.LanguageModel(cells, len(VOCABULARY), embedding_dim=embedding_dim)
    model.build()
    return model


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gates_by_the_equations(cell, inputs):
    """All gates after each step, [gates, T, H]; the states between steps are those of the cell itself."""
    kernel, recurrent, bias = (np.array(w) for w in (cell.kernel, cell.recurrent_kernel, cell.bias))
    bias = bias.sum(0) if bias.ndim == 2 else bias
    num_gates = kernel.shape[1] // UNITS
    states = [np.zeros([1, UNITS], "f")] * (2 if num_gates == 4 else 1)
    steps = []
    for x in inputs:
        columns = sigmoid(x[None] @ kernel + states[0] @ recurrent + bias)
        steps.append(np.concatenate(np.split(columns, num_gates, 1)))
        _, states = cell(x[None], states)
        states = [np.array(state) for state in states]
    return np.stack(steps, 1)


@pytest.mark.parametrize(
    ("name", "embedding_dim"),
    [
        pytest.param(name, dim, marks=() if dim == (0, 4)[i % 2] else pytest.mark.slow)
        for i, name in enumerate(CELLS)
        for dim in (0, 4)
    ],
)
def test_activations_are_the_hidden_states(name, embedding_dim):
    model = model_of(name, embedding_dim)
    layers = [tfrnn.activations(model, IDS, layer) for layer in (0, 1)]
    for end in (1, 4, len(IDS)):
        _, state = model(IDS[:end, None])
        for activations, layer_state in zip(layers, state, strict=True):
            np.testing.assert_allclose(activations[end - 1], layer_state[0][0], rtol=0, atol=ROUNDING)
    np.testing.assert_array_equal(tfrnn.activations(model, IDS), layers[-1])


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("name", [name for name in CELLS if name != "rnn"])
def test_gates_are_those_of_the_equations(name, layer):
    model = model_of(name)
    inputs = np.eye(len(VOCABULARY), dtype="f")[IDS] if layer == 0 else tfrnn.activations(model, IDS, 0)
    expected = gates_by_the_equations(model.rnn.cells[layer], inputs)
    columns = (
        {"update gate": 0, "reset gate": 1} if "gru" in name else {"input gate": 0, "forget gate": 1, "output gate": 3}
    )
    gates = tfrnn.gates(model, IDS, layer)
    assert list(gates) == list(columns)
    for gate, openness in gates.items():
        np.testing.assert_allclose(openness, expected[columns[gate]], rtol=0, atol=ROUNDING)


def test_a_simple_rnn_has_no_gates():
    with pytest.raises(UserError, match="no gates"):
        tfrnn.gates(model_of("rnn"), IDS)


def test_gates_need_the_usual_activations():
    keras.utils.set_random_seed(2)
    model = tfrnn.LanguageModel(keras.layers.GRUCell(UNITS, activation="relu"), len(VOCABULARY))
    with pytest.raises(UserError, match="tanh and sigmoid"):
        tfrnn.gates(model, IDS)


@pytest.mark.parametrize("layer", [2, -3])
def test_a_layer_that_the_model_does_not_have_is_an_error(layer):
    with pytest.raises(UserError, match=f"2 layers, counted from 0; got {layer}"):
        tfrnn.activations(model_of("gru"), IDS, layer)
