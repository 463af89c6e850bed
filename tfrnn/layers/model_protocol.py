"""Calls a model by the protocol that Trainer describes: `(inputs, state, training) -> (outputs, state)`."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrnn.layers.cell_protocol import takes_argument


def with_weights_read(model: Any) -> Callable[..., tuple]:
    """Returns a function, `(inputs, state, training=False) -> (outputs, state)`, that calls the model.

    All its calls use the weights that are read here, if the model has a method `read_weights`, as RecurrentModel does.
    Any other model of the form that Trainer describes reads its weights in each call.
    """
    if hasattr(model, "read_weights") and takes_argument(model, "weights"):  # a subclass may have a `call` without it
        return functools.partial(model, weights=model.read_weights())
    return model


def ensure_built(model: Any) -> None:
    """Makes the weights of a model of token ids if it has none yet, by calling it on one token."""
    if not getattr(model, "built", True):
        model(tf.zeros([1, 1], tf.int32), model.initial_state(1))
