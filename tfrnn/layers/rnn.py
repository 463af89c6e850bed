"""RNN, SimpleRNN, GRU and LSTM: Keras's layers of these names, with time_major, and faster.

Each is a subclass of Keras's layer and differs in three things: sequences may be time-major, token ids may stand for
one-hot vectors, and the inner loop over the steps is that of `fused` where this computes the same.

Letters: T num_steps, B batch_size, D inputs' size, H units.
"""

import contextvars
import functools
import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfrnn.errors import UserError
from tfrnn.layers import fused
from tfrnn.layers.cell_protocol import ensure_tuple, get_state_sizes, validate_cells


def swap_time_and_batch(sequence: Any) -> tf.Tensor:
    """Returns a batch-major sequence [B, T, ...] as a time-major one [T, B, ...], and the reverse."""
    return tf.transpose(sequence, [1, 0, *range(2, len(sequence.shape))])


def swap_in_shape(shape: Sequence[int | None]) -> tuple[int | None, ...]:
    """Returns the shape of a batch-major sequence as that of a time-major one, and the reverse."""
    return shape[1], shape[0], *shape[2:]


def with_keras_arguments(layer: type) -> type:
    """Lets a layer's `__init__` show the arguments of Keras's layer: to editors, and to Keras, which reads them.

    Keras's layer is the last base class.
    """
    inherited = layer.__init__  # type: ignore[misc]

    @functools.wraps(inherited)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        inherited(self, *args, **kwargs)

    *named, keywords = inspect.signature(layer.__bases__[-1].__init__).parameters.values()  # type: ignore[misc]
    time_major = inspect.Parameter("time_major", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=bool)
    init.__signature__ = inspect.Signature([*named, time_major, keywords])  # type: ignore[attr-defined]
    layer.__init__ = init  # type: ignore[misc]
    return layer


_called: contextvars.ContextVar[frozenset] = contextvars.ContextVar(
    "time-major layers being called", default=frozenset()
)


class RegularizedByRows(keras.layers.Layer):
    """A layer that may be time-major, whose activity regularizer is divided by the rows, as in Keras.

    Keras divides by the first axis of what a layer returns. So Keras, when it asks at the end of the call of a
    time-major layer, is told of no regularizer; and what the call returns is then handed, batch-major, to a layer
    inside, which regularizes it.
    """

    _regularizer: Any = None
    _regularizing: keras.layers.Layer | None = None

    @property
    def activity_regularizer(self) -> Any:
        """The regularizer of the outputs, which may be set at any time."""
        return None if id(self) in _called.get() else self._regularizer

    @activity_regularizer.setter
    def activity_regularizer(self, regularizer: Any) -> None:
        self._regularizer = regularizer

    def prepare_to_regularize(self) -> None:
        """Makes the layer inside; `__init__` of a time-major layer calls it."""
        self._regularizing = keras.layers.Identity(dtype=self.dtype_policy)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._regularizing is None:
            return super().__call__(*args, **kwargs)
        token = _called.set(_called.get() | {id(self)})
        try:
            results = super().__call__(*args, **kwargs)
        finally:
            _called.reset(token)
        is_symbolic = any(isinstance(leaf, keras.KerasTensor) for leaf in keras.tree.flatten(results))
        if self._regularizer is not None and not is_symbolic:
            self._regularizing.activity_regularizer = self._regularizer
            self._regularizing(self._swap_in_results(results, swap_time_and_batch))
        return results

    def _swap_in_results(self, results: Any, swap: Callable) -> Any:
        """Returns the results of a call, or their shapes, with the batch-major outputs in the layout of the layer.

        Given those in the layout of the layer it returns batch-major ones.
        """
        raise NotImplementedError


@keras.saving.register_keras_serializable("tfrnn")
@with_keras_arguments
class RNN(RegularizedByRows, keras.layers.RNN):
    """keras.layers.RNN with `time_major`: runs a cell over the steps of a sequence.

    >>> layer = tfrnn.RNN(tfrnn.GRUCell(8), time_major=True, return_sequences=True, return_state=True)
    >>> inputs = np.ones([5, 2, 3], "float32")  # T = 5, B = 2, D = 3
    >>> outputs, state = layer(inputs)
    >>> outputs.shape, state.shape
    (TensorShape([5, 2, 8]), TensorShape([2, 8]))

    A cell of your own is a layer with a `state_size`, an integer or a list of them, and a method
    `call(inputs, states) -> (output, new states)` for one step, in which the states are a list of tensors [B, size]. If
    the output has another size than the first state, the cell needs an `output_size`; if the state does not start as
    zeros, `get_initial_state(batch_size)`; and if it acts otherwise in training, an argument `training` of `call`.

    >>> class GatedCell(keras.layers.Layer):
    ...     def __init__(self, units):
    ...         super().__init__()
    ...         self.state_size = units
    ...         self.gate = keras.layers.Dense(units, "sigmoid")
    ...         self.candidate = keras.layers.Dense(units, "tanh")
    ...
    ...     def call(self, inputs, states):
    ...         z = self.gate(keras.ops.concatenate([inputs, states[0]], -1))
    ...         h = z * states[0] + (1 - z) * self.candidate(inputs)
    ...         return h, [h]
    >>> tfrnn.RNN(GatedCell(8))(np.ones([2, 5, 3], "float32")).shape  # batch-major, the last output only
    TensorShape([2, 8])

    Call: as Keras's layer, `layer(sequences, initial_state=None, mask=None, training=False)`. If the layer is
    time-major, sequences and masks are [T, B, ...], otherwise [B, T, ...]; states are [B, H] in both. A layer that is
    built also takes token ids, integers [B, T] (or [T, B]), which stand for one-hot vectors of the size D that it was
    built for. The cells of tfrnn and Keras are computed by a faster loop, with the same results up to rounding.

    Args:
      *args, **kwargs: those of keras.layers.RNN: cell, return_sequences, return_state, go_backwards, stateful, unroll,
        zero_output_for_mask.
      time_major: whether sequences and masks are [T, B, ...].
    Raises:
      ValueError: if `cell` is not a cell.
    """

    def __init__(self, *args: Any, time_major: bool = False, **kwargs: Any):
        super().__init__(*args, **kwargs)
        validate_cells(self.cell)
        self.time_major = time_major
        if time_major:
            self.prepare_to_regularize()
        self._input_size: Any = None  # D, once it is built
        self.input_spec = None  # `_validate_sequences` takes its place: token ids have one axis less than vectors
        # Keras forbids XLA where the layer's arguments and the machine have cuDNN; it does not show this otherwise.
        self._may_use_cudnn = not self.supports_jit

    def build(self, sequences_shape: Sequence[int | None], initial_state_shape: Any = None) -> None:
        self._refuse_keras_bidirectional()
        if len(sequences_shape) < 3:
            raise UserError(
                f"expected inputs {self._layout()}; got shape {tuple(sequences_shape)}; if these are token ids, which "
                "stand for one-hot vectors of D values, first call `build((None, None, D))` with that number"
            )
        shape = swap_in_shape(sequences_shape) if self.time_major else tuple(sequences_shape)
        self._build_cells_by_a_call(shape)
        super().build(shape, initial_state_shape)
        self._input_size = shape[-1]

    def _build_cells_by_a_call(self, shape: tuple[int | None, ...]) -> None:
        """Builds cells that have no build method, of which a call builds the layers inside, before they are in a loop.

        Keras only warns of them.
        """
        cells = validate_cells(self.cell)
        layers = [cell for cell in cells if isinstance(cell, keras.layers.Layer)]
        if all(layer.built or type(layer).build is not keras.layers.Layer.build for layer in layers):
            return
        with tf.init_scope():
            output = tf.zeros([1, *shape[2:]], self.compute_dtype)
            for cell in cells:
                state = [tf.zeros([1, *ensure_tuple(size)], self.compute_dtype) for size in get_state_sizes(cell)]
                output, _ = cell(output, state)

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: Any = False) -> Any:
        self._refuse_keras_bidirectional()
        self._validate_sequences(sequences)
        if self.time_major:
            sequences, mask = swap_time_and_batch(sequences), None if mask is None else swap_time_and_batch(mask)
        if len(sequences.shape) == 2:
            sequences = _one_hot(sequences, self._input_size, self.compute_dtype)
        results = super().call(sequences, initial_state=initial_state, mask=mask, training=training)
        return self._swap_in_results(results, swap_time_and_batch)

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: Any = False) -> tuple:
        """Runs the cells over all steps of batch-major sequences. Keras's `call` does everything else.

        Returns the last output [B, H], all outputs [B, T, H] (if the layer returns them), and the states.
        """
        cells = validate_cells(self.cell)
        if not self._is_fused(cells, mask, training):
            return super().inner_loop(sequences, initial_state, mask, training=training)
        ids = getattr(sequences, "token_ids", None)
        sequence = swap_time_and_batch(tf.cast(sequences, self.compute_dtype) if ids is None else ids)
        mask = None if mask is None else swap_time_and_batch(tf.cast(mask, tf.bool))
        if self.go_backwards:
            sequence, mask = tf.reverse(sequence, [0]), None if mask is None else tf.reverse(mask, [0])
        new_states: list[tf.Tensor] = []
        for cell, state in zip(cells, _states_by_cell(cells, initial_state, sequence.shape[1]), strict=True):
            sequence, new_state = fused.run_all_steps(cell, sequence, state, mask=mask)
            new_states += new_state
        if self.zero_output_for_mask and mask is not None:
            sequence = tf.where(mask[:, :, None], sequence, tf.zeros([], sequence.dtype))
        outputs = swap_time_and_batch(sequence) if self.return_sequences else sequence[-1:]
        return sequence[-1], outputs, keras.tree.pack_sequence_as(initial_state, new_states)

    def _is_fused(self, cells: list, mask: Any, training: Any) -> bool:
        """Returns whether the fused loop computes what Keras's does, which does not use cuDNN."""
        use_cudnn = getattr(self, "use_cudnn", False)
        if use_cudnn is True or (use_cudnn and self._may_use_cudnn and not self.recurrent_dropout):
            return False
        return (
            (self.cell is cells[0] or type(self.cell) is keras.layers.StackedRNNCells)
            and all(fused.supports(cell, training) for cell in cells)
            # In mixed precision the results are Keras's to the bit; those of the fused loop are only near them.
            and {layer.compute_dtype for layer in (self.cell, *cells)} == {self.compute_dtype, self.variable_dtype}
            and (mask is None or len(mask.shape) == 2)
        )

    def compute_output_shape(self, sequences_shape: Sequence[int | None], initial_state_shape: Any = None) -> Any:
        self._refuse_keras_bidirectional()
        shape = super().compute_output_shape(swap_in_shape(sequences_shape) if self.time_major else sequences_shape)
        return self._swap_in_results(shape, swap_in_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "time_major": self.time_major}

    def _swap_in_results(self, results: Any, swap: Callable) -> Any:
        if not (self.time_major and self.return_sequences):
            return results
        return (swap(results[0]), *results[1:]) if self.return_state else swap(results)

    def _layout(self, size: int | str = "D") -> str:
        return f"[T, B, {size}]" if self.time_major else f"[B, T, {size}]"

    def _validate_sequences(self, sequences: Any) -> None:
        """Raises UserError if the inputs do not fit the layer."""
        shape = sequences.shape
        known = all(type(cell) in fused.FUSED_CELLS for cell in validate_cells(self.cell))
        if len(shape) == 2 and sequences.dtype.is_integer:
            fits = True
        elif known:  # another cell may take matrices or images, or vectors of any size
            fits = len(shape) == 3 and shape[-1] in (None, self._input_size)
        else:
            fits = len(shape) >= 3
        if not fits:
            size = self._input_size if known else "D"
            raise UserError(f"expected inputs {self._layout(size)}, as {self.name!r} was built for; got shape {shape}")
        if shape[0 if self.time_major else 1] == 0:
            raise UserError(f"expected inputs {self._layout()} of at least one step; got shape {shape}")

    def _refuse_keras_bidirectional(self) -> None:
        """Raises UserError if the caller is keras.layers.Bidirectional around this layer and the layer is time-major.

        Keras's wrapper reverses the second axis of the outputs, which would be the batch. It hands nothing to its
        layers by which they could tell that they are in it, and so the calling functions are looked through for it.
        """
        frame = inspect.currentframe() if self.time_major else None
        while frame:
            caller = frame.f_locals.get("self") if "self" in frame.f_code.co_varnames else None
            if isinstance(caller, keras.layers.Bidirectional) and (
                self is caller.forward_layer or self is caller.backward_layer
            ):
                raise UserError(
                    "keras.layers.Bidirectional would reverse the batch, not the steps, of the time-major layer "
                    f"{self.name!r}; use tfrnn.Bidirectional"
                )
            frame = frame.f_back


@keras.saving.register_keras_serializable("tfrnn")
@with_keras_arguments
class SimpleRNN(RNN, keras.layers.SimpleRNN):
    """keras.layers.SimpleRNN with `time_major`: see tfrnn.RNN.

    >>> tfrnn.SimpleRNN(8, return_sequences=True)(np.ones([2, 5, 3], "float32")).shape  # B = 2, T = 5, D = 3
    TensorShape([2, 5, 8])

    Args:
      *args, **kwargs: those of keras.layers.SimpleRNN.
      time_major: whether sequences and masks are [T, B, ...].
    """


@keras.saving.register_keras_serializable("tfrnn")
@with_keras_arguments
class GRU(RNN, keras.layers.GRU):
    """keras.layers.GRU with `time_major`: see tfrnn.RNN.

    >>> tfrnn.GRU(8, time_major=True, return_sequences=True)(np.ones([5, 2, 3], "float32")).shape
    TensorShape([5, 2, 8])

    Args:
      *args, **kwargs: those of keras.layers.GRU.
      time_major: whether sequences and masks are [T, B, ...].
    """


@keras.saving.register_keras_serializable("tfrnn")
@with_keras_arguments
class LSTM(RNN, keras.layers.LSTM):
    """keras.layers.LSTM with `time_major`: see tfrnn.RNN.

    >>> outputs, hidden, memory = tfrnn.LSTM(8, return_state=True)(np.ones([2, 5, 3], "float32"))
    >>> outputs.shape, hidden.shape, memory.shape
    (TensorShape([2, 8]), TensorShape([2, 8]), TensorShape([2, 8]))

    Args:
      *args, **kwargs: those of keras.layers.LSTM.
      time_major: whether sequences and masks are [T, B, ...].
    """


def _one_hot(ids: tf.Tensor, size: int, dtype: str) -> tf.Tensor:
    """Returns one-hot vectors that carry their token ids along, of which the fused loop looks up rows."""
    one_hot = tf.one_hot(ids, size, dtype=dtype)
    one_hot.token_ids = ids
    return one_hot


def _states_by_cell(cells: list, states: Any, batch_size: int | None) -> list[tuple]:
    """Returns the states of each cell as tuples. Raises UserError if they do not fit the cells."""
    sizes, tensors = [get_state_sizes(cell) for cell in cells], keras.tree.flatten(states)
    expected = [(batch_size, size) for cell_sizes in sizes for size in cell_sizes]
    if len(tensors) != len(expected) or not all(
        tensor.shape.is_compatible_with(shape) for tensor, shape in zip(tensors, expected, strict=True)
    ):
        received = [tuple(tensor.shape) for tensor in tensors]
        raise UserError(f"`initial_state`: expected tensors of the shapes {expected}; got {received}")
    remaining = iter(tensors)
    return [tuple(itertools.islice(remaining, len(cell_sizes))) for cell_sizes in sizes]
