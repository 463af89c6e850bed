"""Language models that are small enough to be compared with computations by hand, and how closely they can agree."""

import functools

import keras
import numpy as np
import pytest

import tfrnn

VOCABULARY = tfrnn.Vocabulary.from_text("abcde ")
UNITS = 16
ONE_RNN = (tfrnn.RNNCell,)
# A layer of each kind of cell in one model: what holds for this model holds for each cell in it, and TensorFlow traces
# it once instead of five times.
ALL_CELLS = (tfrnn.RNNCell, tfrnn.GRUCell, tfrnn.LSTMCell, keras.layers.GRUCell, keras.layers.LSTMCell)
EACH_CELL = [(cell,) for cell in ALL_CELLS]


def new_model(cells=ONE_RNN, **kwargs):
    """A model with a layer of each of the cells, with the same weights at each call.

    Orthogonal weights keep its states apart for different texts.
    """
    keras.utils.set_random_seed(1)
    layers = [cell(UNITS, kernel_initializer="orthogonal", recurrent_initializer="orthogonal") for cell in cells]
    model = tfrnn.LanguageModel(layers, len(VOCABULARY), **kwargs)
    model.build()
    return model


# The same object at each call, so that tests share what TensorFlow has traced for it. It must not be changed.
shared_model = functools.cache(new_model)


@functools.cache
def shared_word_model():
    """A model of words, and its vocabulary."""
    vocabulary = tfrnn.Vocabulary.from_text("to be or not to be", "word")
    return tfrnn.LanguageModel(tfrnn.RNNCell(UNITS), len(vocabulary)), vocabulary


def name_of(cells):
    """A name for cells in the id of a test."""
    names = [f"{cell.__module__.split('.')[0]}_{cell.__name__}" for cell in cells]
    return "all_cells" if cells == ALL_CELLS else "_".join(names)


def cells_together_and_slowly_one_by_one():
    """Parameters for a test: all cells in one model, and each cell alone in the slow part."""
    return [
        pytest.param(ALL_CELLS, id="all_cells"),
        *(pytest.param(cells, id=name_of(cells), marks=pytest.mark.slow) for cells in EACH_CELL),
    ]


def rounding(num_steps, cells=ALL_CELLS, terms=2 * UNITS):
    """A bound on the difference of states or logits after a number of steps, if sums are rounded in different orders.

    In each step and layer a value is a sum of at most `terms` products of size 1 or less, each of which is rounded by
    at most the machine epsilon of float32. Orthogonal weights do not amplify the errors of earlier steps and layers, so
    that errors add up.
    """
    return float(np.finfo("f").eps) * terms * num_steps * len(cells)
