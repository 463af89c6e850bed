"""The cells that the tests are parametrized with, by name, and the choice of the quick ones of all combinations."""

import functools
import itertools

import keras
import pytest

import tfrnn

# The cells from scratch and from Keras that compute the same.
SCRATCH_AND_KERAS = {
    "rnn": (tfrnn.RNNCell, keras.layers.SimpleRNNCell),
    "gru": (tfrnn.GRUCell, functools.partial(keras.layers.GRUCell, reset_after=False)),
    "gru_reset_after": (functools.partial(tfrnn.GRUCell, reset_after=True), keras.layers.GRUCell),
    "lstm": (tfrnn.LSTMCell, keras.layers.LSTMCell),
}
# All of these, with both forms of the GRU.
CELL_FORMS = {
    f"{kind}_{origin}": cell
    for kind, pair in SCRATCH_AND_KERAS.items()
    for origin, cell in zip(("scratch", "keras"), pair, strict=True)
}
# The cells with their default arguments.
CELLS = {
    "rnn_scratch": tfrnn.RNNCell,
    "rnn_keras": keras.layers.SimpleRNNCell,
    "gru_scratch": tfrnn.GRUCell,
    "gru_keras": keras.layers.GRUCell,
    "lstm_scratch": tfrnn.LSTMCell,
    "lstm_keras": keras.layers.LSTMCell,
}


def combinations(*values, quick):
    """Returns parameters for pytest: the product of the lists of values, marked slow unless it is in `quick`."""
    product = [tuple(combination) for combination in itertools.product(*values)]
    if missing := [combination for combination in quick if combination not in product]:
        raise ValueError(f"expected quick combinations to be in the product; got {missing}")
    return [
        pytest.param(*combination, marks=() if combination in quick else pytest.mark.slow) for combination in product
    ]
