"""Keras layers whose own tf.Variables are found, which Keras 3 does not look for, and models built by a call."""

import contextvars
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


_in_call: contextvars.ContextVar[bool] = contextvars.ContextVar("in_call", default=False)


class BuiltByCall(keras.layers.Layer):
    """A keras.Model whose weights the first call makes, so that weights are loaded after it, or an error says so."""

    built: bool

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        token = _in_call.set(True)
        try:
            return super().__call__(*args, **kwargs)
        finally:
            _in_call.reset(token)

    def build(self, input_shape: Any = None) -> None:
        """Builds nothing within the first call: that makes the weights. Keras would otherwise try it on symbols first.

        Outside of a call it makes the weights, if there are none. Raises UserError if it cannot.
        """
        if not (self.built or _in_call.get()):
            self.build_by_call()

    def build_by_call(self) -> None:
        """Calls the model, so that it has its weights. A subclass that knows what it is called on does it."""
        raise UserError(
            f"{type(self).__name__}: expected weights, which the first call on a batch makes; got none; call the model "
            "on a batch in place of `build` and before `load_weights`"
        )

    def load_weights(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Loads weights as Keras does. Raises UserError if the model has none yet and cannot make them."""
        layers = self._flatten_layers(include_self=False)
        if not self.built:
            # A sublayer may have been called without the model. Keras would pass by those without weights in silence.
            if not all(layer.built or isinstance(layer, (BuiltByCall, VariableFinder)) for layer in layers):
                self.build_by_call()
            self.built = True
        super().load_weights(filepath, *args, **kwargs)


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
