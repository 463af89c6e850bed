"""Checks of what `fit` and `evaluate` are given besides data, so that a mistake is said before anything is computed."""

import numbers
from typing import Any

import keras

from tfrnn.errors import UserError


def check_callbacks(callbacks: Any) -> None:
    """Raises UserError if these are not callbacks: one, or a list, as Keras takes them; None is none."""
    for callback in keras.tree.flatten(callbacks) if callbacks else ():
        if not isinstance(callback, keras.callbacks.Callback):
            raise UserError(
                f"expected as `callbacks` a list of Keras's callbacks; got {callback!r}; give instances, such as "
                "`keras.callbacks.EarlyStopping()`"
            )


def check_epochs(**given: Any) -> None:
    """Raises UserError if a number of epochs is no whole number of at least 0; their names are those in the message."""
    for name, epochs in given.items():
        if not isinstance(epochs, numbers.Integral) or epochs < 0:
            raise UserError(f"expected as `{name}` a whole number of at least 0; got {epochs!r}")
