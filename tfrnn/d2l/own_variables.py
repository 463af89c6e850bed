"""Keras layers whose own tf.Variables are found: Keras 3 looks for its own kind of variables only."""

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from tfrnn.errors import UserError


class VariableFinder(keras.layers.Layer):
    """A layer to which each tf.Variable among its attributes belongs, also in lists, tuples, dicts and tf.Modules.

    Optimizers, `get_weights`, `save_weights` and layers that contain this one find them.
    """

    def build(self, input_shape: Any = None) -> None:
        """Builds nothing: the first call does. Keras would otherwise try the call on symbols first."""

    @property
    def own_variables(self) -> list[tf.Variable]:
        """The tf.Variables among the attributes, each once."""
        found = {id(variable): variable for value in vars(self).values() for variable in _variables_in(value)}
        return list(found.values())

    @property
    def trainable(self) -> bool:
        """Whether the layer is trained. Setting it counts for its tf.Variables as for Keras's variables."""
        return keras.layers.Layer.trainable.__get__(self)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        keras.layers.Layer.trainable.__set__(self, value)  # of the layers in it, too
        for variable in self.own_variables:
            if variable.trainable and not value:
                variable._trainable, variable._is_frozen = False, True
            elif value and getattr(variable, "_is_frozen", False):  # not one that was made as not trainable
                variable._trainable, variable._is_frozen = True, False

    @property
    def variables(self) -> list:
        return [*self.own_variables, *super().variables]

    @property
    def weights(self) -> list:
        return [*self.own_variables, *super().weights]

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        for i, variable in enumerate(self.own_variables):
            store[f"own_{i:06}"] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        arrays = {key: store[key] for key in store.keys()}  # noqa: SIM118 (it may be a group of an HDF5 file)
        values = [arrays.pop(key) for key in list(arrays) if key.startswith("own_")]
        if len(values) != len(self.own_variables):
            raise UserError(
                f"{self.name}: expected {len(self.own_variables)} tf.Variables, got {len(values)} in the file; make it "
                "as it was when it was saved"
            )
        super().load_own_variables(arrays)
        for variable, value in zip(self.own_variables, values, strict=True):
            variable.assign(value)


def _variables_in(value: Any) -> Iterator[tf.Variable]:
    if isinstance(value, tf.Variable):
        yield value
    elif isinstance(value, tf.Module):
        yield from value.variables
    elif isinstance(value, dict):
        for item in value.values():
            yield from _variables_in(item)
    elif isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):  # TensorFlow's records are named tuples
        for item in value:
            yield from _variables_in(item)
