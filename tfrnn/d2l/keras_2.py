"""Lets Keras 3 take what the book's pages print, which is for Keras 2."""

import builtins
import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfrnn
from tfrnn.d2l.modules import as_learning_rate
from tfrnn.layers import stack

CELLS = ("SimpleRNNCell", "GRUCell", "LSTMCell", "StackedRNNCells")
WHAT = (
    "as_printed: keras.layers.RNN, SimpleRNN, GRU and LSTM are now tfrnn's classes, which take time_major=, and RNN "
    "returns the states of stacked cells flat; cells take get_initial_state(inputs=, dtype=) and return what they "
    "returned in Keras 2; optimizers take whole numbers as learning rates; losses of your own get labels as whole "
    "numbers; variables of layers of your own are their weights; int in this module takes an array of one number, and "
    "is another class than type(3). as_printed().undo() undoes it."
)


class _TypeOfRNN(type):
    """Lets `isinstance(layer, keras.layers.RNN)` mean what it meant before that name was given to another class."""

    def __instancecheck__(cls, layer: Any) -> bool:
        return isinstance(layer, _KERAS_RNN) if cls is RNN else super().__instancecheck__(layer)

    def __subclasscheck__(cls, other: Any) -> bool:
        return issubclass(other, _KERAS_RNN) if cls is RNN else super().__subclasscheck__(other)


_KERAS_RNN = keras.layers.RNN


@keras.saving.register_keras_serializable("tfrnn.as_printed")
class RNN(tfrnn.RNN, metaclass=_TypeOfRNN):
    """tfrnn.RNN whose stacked cells return their states as in Keras 2: a tensor of each cell that has one state."""

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: Any = False) -> Any:
        return self._flat(super().call(sequences, initial_state, mask, training))

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        return self._flat(super().compute_output_shape(sequences_shape, initial_state_shape))

    def _flat(self, results: Any) -> Any:
        if not self.return_state:
            return results
        outputs, *states = results
        return outputs, *(s[0] if isinstance(s, list) and len(s) == 1 else s for s in states)


class AsPrinted:
    """What `as_printed` has changed. As a context manager, it undoes at the end what the latest call changed.

    Attributes:
      is_active: whether it is still changed.
    """

    def __init__(self) -> None:
        self.is_active = False
        self._undo: list[Callable[[], None]] = []
        self._latest = 0  # how much was changed before the latest call
        self._before: list[int] = []  # how much was changed before each context that is open

    def undo(self) -> None:
        """Makes everything as it was."""
        self._undo_down_to(0)

    def _undo_down_to(self, number: int) -> None:
        while len(self._undo) > number:
            self._undo.pop()()
        self.is_active = bool(self._undo)

    def __enter__(self) -> "AsPrinted":
        self._before.append(self._latest)
        return self

    def __exit__(self, *_: Any) -> None:
        self._undo_down_to(self._before.pop())

    def begin(self) -> bool:
        """Begins a call of `as_printed`, and returns whether it is the first one since all was as it was."""
        self._latest = len(self._undo)
        is_first, self.is_active = not self.is_active, True
        return is_first

    def __repr__(self) -> str:
        return WHAT if self.is_active else "as_printed: undone"

    def set(self, holder: Any, name: str, value: Any) -> None:
        """Sets an attribute of a module or class, or an item of a dict, until `undo`."""
        space = holder if isinstance(holder, dict) else vars(holder)
        was_there, before = name in space, space.get(name)
        assign = holder.__setitem__ if isinstance(holder, dict) else functools.partial(setattr, holder)
        remove = holder.__delitem__ if isinstance(holder, dict) else functools.partial(delattr, holder)
        self._undo.append(lambda: assign(name, before) if was_there else remove(name))
        assign(name, value)


_changes = AsPrinted()


def as_printed() -> AsPrinted:
    """Lets Keras 3 take what the pages of the book print, and says what it changes.

    The pages are for Keras 2. After this line their cells run with the import alone replaced, and the definitions of a
    reader are kept:

    - `keras.layers.RNN`, `SimpleRNN`, `GRU` and `LSTM` are those of tfrnn, which take `time_major`; stacked cells
      return their states flat. A layer that was made before is an instance of `keras.layers.RNN` still, but not of the
      other three;
    - the `get_initial_state` of Keras's cells takes `inputs` and `dtype`, and with one of them returns what it returned
      in Keras 2: a tensor, or for an LSTM a list of them, or for stacked cells a tuple of these;
    - optimizers take a whole number as learning rate;
    - a loss that is a subclass of `keras.losses.Loss` outside of Keras gets whole-number labels as such, where Keras 3
      casts them to the dtype of the predictions;
    - the `variables` of a layer of your own are its weights, without the states of random generators;
    - `int` in the calling module also takes an array of one number. It is another class than Python's own there:
      `isinstance(3, int)`, `int == type(3)` and dicts and dtypes take it for that, but `type(3) is int` is False.

    Only calling it changes anything, in keras and in the calling module. A second call changes nothing more, but `int`
    in another module.

    Returns:
      An object whose `undo()` makes all as it was; also a context manager, which at its end undoes what its own call
      changed: nothing of Keras's if it was changed before.
    """
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    space = frame.f_back.f_globals
    if _changes.begin():
        _change_keras(_changes)
        print(WHAT)
    if space.get("int", int) is int and "__name__" in space:
        _changes.set(space, "int", _Int)
    return _changes


def _change_keras(changes: AsPrinted) -> None:
    for module in (keras.layers, tf.keras.layers):
        for layer in (RNN, tfrnn.SimpleRNN, tfrnn.GRU, tfrnn.LSTM):
            changes.set(module, layer.__name__, layer)
    changes.set(stack, "RNN_LAYERS", (*stack.RNN_LAYERS, RNN))
    for name in CELLS:
        cell = getattr(keras.layers, name)
        changes.set(cell, "get_initial_state", _with_dtype(cell.get_initial_state))
    changes.set(keras.optimizers.Optimizer, "__init__", _with_float_rate(keras.optimizers.Optimizer.__init__))
    changes.set(keras.layers.Layer, "variables", _without_seeds(keras.layers.Layer.variables))
    changes.set(keras.losses.Loss, "__call__", _with_whole_labels(keras.losses.Loss.__call__))


def _with_dtype(get_initial_state: Callable) -> Callable:
    @functools.wraps(get_initial_state)
    def printed(self: Any, inputs: Any = None, batch_size: Any = None, dtype: Any = None) -> Any:
        if len(getattr(inputs, "shape", ())) == 0 and inputs is not None:  # a number of rows, Keras 3's first argument
            inputs, batch_size = None, inputs if batch_size is None else batch_size
        if inputs is None and dtype is None:  # as in Keras 3
            return get_initial_state(self, batch_size)
        dtype = inputs.dtype if dtype is None else dtype
        states = get_initial_state(self, tf.shape(inputs)[0] if batch_size is None else batch_size)
        states = keras.tree.map_structure(lambda state: tf.cast(state, dtype), states)
        if isinstance(self, keras.layers.StackedRNNCells):
            return tuple(state[0] if len(state) == 1 else list(state) for state in states)
        return states[0] if len(states) == 1 else states

    return printed


def _is_of_reader(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] not in ("keras", "tfrnn")


def _without_seeds(variables: property) -> property:
    def printed(self: Any) -> list:
        of_keras = variables.__get__(self)
        if not _is_of_reader(self):
            return of_keras
        weights = {id(weight) for weight in self.weights}
        return [variable for variable in of_keras if id(variable) in weights]

    return property(printed)


def _with_float_rate(init: Callable) -> Callable:
    @functools.wraps(init)
    def printed(self: Any, learning_rate: Any, *args: Any, **kwargs: Any) -> None:
        init(self, as_learning_rate(learning_rate), *args, **kwargs)

    return printed


def _with_whole_labels(call: Callable) -> Callable:
    @functools.wraps(call)
    def printed(self: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        dtype = getattr(y_true, "dtype", None)
        if not _is_of_reader(self) or dtype is None or not tf.as_dtype(dtype).is_integer:
            return call(self, y_true, y_pred, sample_weight)
        of_class = self.call
        self.call = lambda labels, predictions: of_class(tf.cast(labels, dtype), predictions)
        try:
            return call(self, y_true, y_pred, sample_weight)
        finally:
            del self.call

    return printed


class _TypeOfInt(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, builtins.int) if cls is _Int else super().__instancecheck__(value)

    def __subclasscheck__(cls, other: Any) -> bool:
        return issubclass(other, builtins.int) if cls is _Int else super().__subclasscheck__(other)

    def __eq__(cls, other: Any) -> bool:  # TensorFlow looks dtypes up by the type
        return other is cls or (cls is _Int and other is builtins.int)

    def __hash__(cls) -> builtins.int:
        return hash(builtins.int) if cls is _Int else super().__hash__()


class _Int(builtins.int, metaclass=_TypeOfInt):
    """`int`, which also takes an array or tensor of one number, as NumPy 1 let it."""

    dtype = np.dtype(builtins.int)  # what NumPy takes it for

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is not _Int:  # a subclass
            return super().__new__(cls, *args, **kwargs)
        if args and isinstance(args[0], (np.ndarray, tf.Tensor, tf.Variable)) and np.size(args[0]) == 1:
            args = (np.asarray(args[0]).item(), *args[1:])
        return builtins.int(*args, **kwargs)
