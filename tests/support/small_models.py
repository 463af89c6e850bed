"""Language models that are small enough to be compared with computations by hand, and how closely they can agree."""

import functools

import keras
import numpy as np

import tfrnn

VOCABULARY = tfrnn.Vocabulary.from_text("abcde ")
UNITS = 16


def new_model(cell=tfrnn.RNNCell, num_layers=1, **kwargs):
    """A model with the same weights at each call. Orthogonal weights keep its states apart for different texts."""
    keras.utils.set_random_seed(1)
    cells = [cell(UNITS, kernel_initializer="orthogonal", recurrent_initializer="orthogonal") for _ in range(num_layers)]
    model = tfrnn.LanguageModel(tfrnn.RNN(cells), len(VOCABULARY), **kwargs)
    model.build()
    return model


# The same object at each call, so that tests share what TensorFlow has traced for it. It must not be changed.
shared_model = functools.cache(new_model)


@functools.cache
def shared_word_model():
    """A model of words, and its vocabulary."""
    vocabulary = tfrnn.Vocabulary.from_text("to be or not to be", "word")
    return tfrnn.LanguageModel(tfrnn.RNN(tfrnn.RNNCell(UNITS)), len(vocabulary)), vocabulary


def rounding(num_steps, terms=2 * UNITS):
    """A bound on the difference of states or logits after a number of steps, if sums are rounded in different orders.

    In each step a value is a sum of at most `terms` products of size 1 or less, each of which is rounded by at most the
    machine epsilon of float32. Orthogonal weights do not amplify the error of earlier steps, so that errors add up.
    """
    return float(np.finfo("f").eps) * terms * num_steps
