"""RNN: a time-major layer that runs any Keras cell over the steps of a sequence.

Letters: T num_steps, B batch_size, D inputs' size, H units, L layers.
The state is always a tuple with one entry per layer, each a tuple of tensors [B, H]: one for the simple RNN and
the GRU, two (hidden state, memory cell) for the LSTM. It is an argument and a result of a call; the layer keeps none.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfrnn.layers import fused
from tfrnn.layers.cell_protocol import ensure_tuple, get_output_size, get_state_sizes, validate_cells
from tfrnn.layers.state import State, nesting_depth
from tfrnn.layers.unrolling import unroll


@dataclasses.dataclass(frozen=True)
class StackWeights:
    """The weights of a layer's cells as they were when they were read: see RecurrentStack.read_weights.

    It is not a tuple, because Keras would cast the tensors of a tuple that is an argument of a layer.
    """

    by_layer: tuple[tuple[fused.Weights | None, ...], ...]  # None for a cell without a fused implementation


@keras.saving.register_keras_serializable("tfrnn")
class RecurrentStack(keras.layers.Layer):
    """One or more recurrent layers, time-major, which run any cell of Keras's protocol over the steps of a sequence.

    >>> rnn = tfrnn.RNN([tfrnn.GRUCell(8), keras.layers.LSTMCell(16)])
    >>> inputs = np.ones([5, 2, 3], "float32")  # T = 5, B = 2, D = 3
    >>> outputs, state = rnn(inputs, rnn.initial_state(2))
    >>> outputs.shape
    TensorShape([5, 2, 16])
    >>> [[tuple(tensor.shape) for tensor in layer] for layer in state]
    [[(2, 8)], [(2, 16), (2, 16)]]

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
    >>> outputs, state = tfrnn.RNN(GatedCell(8))(inputs)
    >>> outputs.shape
    TensorShape([5, 2, 8])

    Call: takes inputs [T, B, D] and a state (by default zeros); returns outputs [T, B, H] and the state after the last
    step. A built layer also takes token ids, integers [T, B], which stand for one-hot vectors of the size D that it was
    built for. The state is a tuple with one entry per layer, each a tuple of tensors [B, H]: one for the simple RNN and
    the GRU, two (hidden state, memory cell) for the LSTM. With a single cell it may also be what the cell's
    get_initial_state returns. A call raises ValueError if the state does not fit the layers or the batch size.

    Args:
      cell: a cell, or a list of cells, one per layer (or keras.layers.StackedRNNCells): tfrnn's, Keras's, or any layer
        that follows Keras's cell protocol.
      time_major: whether inputs and outputs are [T, B, ...]; otherwise they are [B, T, ...].
      return_sequences: whether to return the outputs of all steps; otherwise only that of the last step.
      return_state: whether a call returns (outputs, state); otherwise only the outputs.
      dropout: the fraction of the inputs of each layer but the first that is dropped in training.
    Raises:
      ValueError: if there is no cell, or `cell` is not a cell.
    """

    def __init__(
        self,
        cell: Any,
        time_major: bool = True,
        return_sequences: bool = True,
        return_state: bool = True,
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.cells = validate_cells(cell)
        self.time_major = time_major
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.dropout = dropout
        self.dropouts = [keras.layers.Dropout(dropout) for _ in self.cells[1:]] if dropout else []

    @functools.cached_property  # it stores the cell where Keras does not find it, which has its weights in `cells`
    def cell(self) -> Any:
        """The cell, as in Keras's RNN: if there are several layers, a StackedRNNCells of their cells."""
        return self.cells[0] if len(self.cells) == 1 else keras.layers.StackedRNNCells(self.cells)

    @property
    def cells_by_layer(self) -> list[tuple]:
        """The cells of each layer, a tuple per layer: of one cell, or of two if the layer is bidirectional."""
        return [(cell,) for cell in self.cells]

    def build(self, input_shape: Sequence[int | None]) -> None:
        size = self.input_size = input_shape[-1]
        for cells in self.cells_by_layer:
            for cell in cells:
                if isinstance(cell, keras.layers.Layer) and not cell.built:
                    with tf.init_scope():  # a call also builds the layers inside the cell
                        state = [tf.zeros([1, n], self.compute_dtype) for n in get_state_sizes(cell)]
                        cell(tf.zeros([1, size], self.compute_dtype), state)
            size = sum(get_output_size(cell) for cell in cells)
        super().build(input_shape)

    @property
    def output_size(self) -> int:
        """The size of an output: H of the last layer, or 2 * H if it is bidirectional."""
        return sum(get_output_size(cell) for cell in self.cells_by_layer[-1])

    def initial_state(self, batch_size: int) -> State:
        """Returns the state before the first step for `batch_size` rows: zeros, or what the cells define."""

        def cell_state(cell: Any) -> tuple:
            if hasattr(cell, "get_initial_state"):
                return ensure_tuple(cell.get_initial_state(batch_size))
            return tuple(tf.zeros((batch_size, size), self.compute_dtype) for size in get_state_sizes(cell))

        return tuple(sum((cell_state(cell) for cell in cells), ()) for cells in self.cells_by_layer)

    def read_weights(self) -> StackWeights:
        """Reads the weights once for several calls in one graph, or for a loop in a graph, which are then faster.

        Called with the value, the cells that have a fused implementation compute with the weights as they were read;
        each call without it reads them again. If gradients are wanted, read the weights inside the tape.
        """

        def read(cell: Any) -> fused.Weights | None:
            return fused.read_weights(cell) if fused.supports(cell, training=False) else None

        return StackWeights(tuple(tuple(map(read, cells)) for cells in self.cells_by_layer))

    def call(
        self, inputs: tf.Tensor, state: Any = None, training: bool = False, weights: StackWeights | None = None
    ) -> Any:
        if len(inputs.shape) != (2 if inputs.dtype.is_integer else 3):
            raise ValueError(f"`inputs` must be [T, B, D], or [B, T, D] without `time_major`; got shape {inputs.shape}")
        sequence = inputs if self.time_major else _swap_time_and_batch(inputs)  # [T, B, D]
        batch_size = sequence.shape[1] or tf.shape(sequence)[1]
        state = self.initial_state(batch_size) if state is None else self._validate_state(state, sequence.shape[1])
        if sequence.dtype.is_integer and not all(fused.supports(cell, training) for cell in self.cells_by_layer[0]):
            sequence = tf.one_hot(sequence, self.input_size, dtype=self.compute_dtype)
        by_layer = weights.by_layer if weights else [(None,) * len(cells) for cells in self.cells_by_layer]
        new_state, last = [], None
        for layer, entries in enumerate(zip(self.cells_by_layer, state, by_layer, strict=True)):
            cells, layer_state, layer_weights = entries
            if layer and self.dropouts:
                sequence = self.dropouts[layer - 1](sequence, training=training)
            sequence, last, layer_state = self._run_layer(cells, sequence, layer_state, training, layer_weights)
            new_state.append(layer_state)
        outputs = sequence if self.return_sequences else last
        if self.return_sequences and not self.time_major:
            outputs = _swap_time_and_batch(outputs)
        return (outputs, tuple(new_state)) if self.return_state else outputs

    def _run_layer(self, cells: tuple, sequence: tf.Tensor, state: tuple, training: bool, weights: tuple) -> tuple:
        """Returns the outputs of all steps, the output of the last step, and the layer's state after it."""
        outputs, state = unroll(cells[0], sequence, state, training, weights[0])
        return outputs, outputs[-1], state

    def _validate_state(self, state: Any, batch_size: int | None) -> State:
        """Returns the state as a tuple of tuples of tensors. Raises ValueError if it does not fit the layers."""
        if isinstance(state, list) and len(state) == 1 and nesting_depth(state) == 3:
            (state,) = state  # from `outputs, *state = rnn(...)`, which the book's readers write
        if len(self.cells) == 1 and nesting_depth(state) < 2:
            state = (state,)
        if not isinstance(state, (list, tuple)) or len(state) != len(self.cells):
            raise ValueError(self._wrong_state_message(state, batch_size))
        validated = []
        for entry, sizes in zip(state, self._state_sizes_by_layer(), strict=True):
            if nesting_depth(entry) > 1:
                raise ValueError(self._wrong_state_message(state, batch_size))
            tensors = tuple(tf.cast(tensor, self.compute_dtype) for tensor in ensure_tuple(entry))
            shapes = [tf.TensorShape([batch_size, size]) for size in sizes]
            if len(tensors) != len(shapes) or not all(
                tensor.shape.is_compatible_with(shape) for tensor, shape in zip(tensors, shapes, strict=True)
            ):
                raise ValueError(self._wrong_state_message(state, batch_size))
            validated.append(tensors)
        return tuple(validated)

    def _state_sizes_by_layer(self) -> list[tuple[int, ...]]:
        return [sum((get_state_sizes(cell) for cell in cells), ()) for cells in self.cells_by_layer]

    def _wrong_state_message(self, state: Any, batch_size: int | None) -> str:
        rows = "B" if batch_size is None else batch_size
        expected = tuple(tuple(f"[{rows}, {size}]" for size in sizes) for sizes in self._state_sizes_by_layer())
        received = keras.tree.map_structure(lambda t: str(list(tf.convert_to_tensor(t).shape)), state)
        return f"`state` must be a tuple with a tuple per layer, {expected}; got {received}"

    def compute_output_shape(self, input_shape: Sequence[int | None], *_: Any, **__: Any) -> Any:
        rows = input_shape[1] if self.time_major else input_shape[0]
        sequence = (*input_shape[:2], self.output_size)
        outputs = sequence if self.return_sequences else (rows, self.output_size)
        state = tuple(tuple((rows, size) for size in sizes) for sizes in self._state_sizes_by_layer())
        return (outputs, state) if self.return_state else outputs

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "cell": [keras.saving.serialize_keras_object(cell) for cell in self.cells],
            "time_major": self.time_major,
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "dropout": self.dropout,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "RecurrentStack":
        lists = {name: value for name, value in config.items() if name in ("cell", "backward_cell")}
        cells = {name: [keras.saving.deserialize_keras_object(c) for c in value] for name, value in lists.items()}
        return cls(**{**config, **cells})


def _swap_time_and_batch(sequence: tf.Tensor) -> tf.Tensor:
    return tf.transpose(sequence, [1, 0, *range(2, len(sequence.shape))])
