"""RNN: a time-major layer that runs any Keras cell over the steps of a sequence.

Letters: T num_steps, B batch_size, D inputs' size, H units, L layers.
The state is always a tuple with one entry per layer, each a tuple of tensors [B, H]: one for the simple RNN and
the GRU, two (hidden, memory cell) for the LSTM. It goes in with a call and comes out of it; the layer keeps none.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfrnn.layers import fused
from tfrnn.layers.cell_protocol import as_tuple, checked_cells, output_size_of, state_sizes
from tfrnn.layers.state import State, depth
from tfrnn.layers.unrolling import unroll


@keras.saving.register_keras_serializable("tfrnn")
class RNN(keras.layers.Layer):
    """One or more recurrent layers, time-major, which run any cell of Keras's protocol over the steps of a sequence.

    >>> rnn = tfrnn.RNN([tfrnn.GRUCell(8), keras.layers.LSTMCell(16)])
    >>> inputs = np.ones([5, 2, 3], "float32")  # T = 5, B = 2, D = 3
    >>> outputs, state = rnn(inputs, rnn.initial_state(2))
    >>> outputs.shape
    TensorShape([5, 2, 16])
    >>> [[tuple(tensor.shape) for tensor in layer] for layer in state]
    [[(2, 8)], [(2, 16), (2, 16)]]

    Call: inputs [T, B, D] and a state (by default zeros); gives outputs [T, B, H] and the state after the last step.
    A built layer also takes token ids, integers [T, B], for one-hot vectors of the size D that it was built for. The
    state is a tuple with one entry per layer, each a tuple of tensors [B, H]: one for the simple RNN and the GRU, two
    (hidden state, memory cell) for the LSTM. With a single cell it may also be what the cell's own get_initial_state
    returns. Calls raise ValueError where the state has another structure or batch size than the layer.

    Args:
      cell: a cell, or a list of cells, one per layer (or keras.layers.StackedRNNCells): ours, Keras's, or any layer
        by Keras's cell protocol.
      time_major: whether inputs and outputs are [T, B, ...]; otherwise [B, T, ...].
      return_sequences: whether the outputs are those of all steps; otherwise of the last one alone.
      return_state: whether a call gives (outputs, state); otherwise the outputs alone.
      dropout: share of the values dropped from the input of every layer but the first, in training.
    Raises:
      ValueError: there is no cell, or something else in its place.
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
        self.cells = checked_cells(cell)
        self.time_major = time_major
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.dropout = dropout
        self.dropouts = [keras.layers.Dropout(dropout) for _ in self.cells[1:]] if dropout else []

    @property
    def cell(self) -> Any:
        """The cell, as Keras's RNN has it: with several layers, one that stacks theirs."""
        return self.cells[0] if len(self.cells) == 1 else keras.layers.StackedRNNCells(self.cells)

    @property
    def cells_of_layers(self) -> list[tuple]:
        """The cells of each layer: one here, two in a bidirectional layer."""
        return [(cell,) for cell in self.cells]

    def build(self, input_shape: Sequence[int | None]) -> None:
        size = self.input_size = input_shape[-1]
        for cells in self.cells_of_layers:
            for cell in cells:
                if isinstance(cell, keras.layers.Layer) and not cell.built:
                    with tf.init_scope():  # a call builds what is inside the cell too
                        state = [tf.zeros([1, n], self.compute_dtype) for n in state_sizes(cell)]
                        cell(tf.zeros([1, size], self.compute_dtype), state)
            size = sum(output_size_of(cell) for cell in cells)
        super().build(input_shape)

    @property
    def output_size(self) -> int:
        """Size of an output: H of the last layer, of both directions together."""
        return sum(output_size_of(cell) for cell in self.cells_of_layers[-1])

    def initial_state(self, batch_size: int) -> State:
        """The state before the first step: zeros (or what the cells define) for B rows."""

        def of_cell(cell: Any) -> tuple:
            if hasattr(cell, "get_initial_state"):
                return as_tuple(cell.get_initial_state(batch_size))
            return tuple(tf.zeros((batch_size, size), self.compute_dtype) for size in state_sizes(cell))

        return tuple(sum((of_cell(cell) for cell in cells), ()) for cells in self.cells_of_layers)

    @contextlib.contextmanager
    def weights_read_once(self) -> Iterator[None]:
        """While it lasts, calls take the known cells' weights as they are read here: for many calls in one graph. To be
        opened inside the tape where gradients are wanted."""
        cells = [cell for cells in self.cells_of_layers for cell in cells]
        with fused.weights_read_once([cell for cell in cells if fused.knows(cell, training=False)]):
            yield

    def call(self, inputs: tf.Tensor, state: Any = None, training: bool = False) -> Any:
        if len(inputs.shape) != (2 if inputs.dtype.is_integer else 3):
            raise ValueError(f"inputs must be [T, B, D], or [B, T, D] without time_major; got shape {inputs.shape}")
        sequence = inputs if self.time_major else _swap_time_and_batch(inputs)  # [T, B, D]
        batch_size = sequence.shape[1] or tf.shape(sequence)[1]
        state = self.initial_state(batch_size) if state is None else self._checked(state, sequence.shape[1])
        if sequence.dtype.is_integer and not all(fused.knows(cell, training) for cell in self.cells_of_layers[0]):
            sequence = tf.one_hot(sequence, self.input_size, dtype=self.compute_dtype)
        new_state, last = [], None
        for layer, (cells, layer_state) in enumerate(zip(self.cells_of_layers, state, strict=True)):
            if layer and self.dropouts:
                sequence = self.dropouts[layer - 1](sequence, training=training)
            sequence, last, layer_state = self._run_layer(cells, sequence, layer_state, training)  # [T, B, H], [B, H]
            new_state.append(layer_state)
        outputs = sequence if self.return_sequences else last
        if self.return_sequences and not self.time_major:
            outputs = _swap_time_and_batch(outputs)
        return (outputs, tuple(new_state)) if self.return_state else outputs

    def _run_layer(self, cells: tuple, sequence: tf.Tensor, state: tuple, training: bool) -> tuple:
        """Outputs of all steps, of the last one, and the layer's state."""
        outputs, state = unroll(cells[0], sequence, state, training)
        return outputs, outputs[-1], state

    def _checked(self, state: Any, batch_size: int | None) -> State:
        """The state in the tuple form. Raises ValueError where it does not fit."""
        if isinstance(state, list) and len(state) == 1 and depth(state) == 3:
            (state,) = state  # from `outputs, *state = rnn(...)`, which the book's readers write
        if len(self.cells) == 1 and depth(state) < 2:
            state = (state,)
        if not isinstance(state, (list, tuple)) or len(state) != len(self.cells):
            raise ValueError(self._wrong_state(state, batch_size))
        checked = []
        for entry, sizes in zip(state, self._sizes_of_layers(), strict=True):
            if depth(entry) > 1:
                raise ValueError(self._wrong_state(state, batch_size))
            tensors = tuple(tf.cast(tensor, self.compute_dtype) for tensor in as_tuple(entry))
            shapes = [tf.TensorShape([batch_size, size]) for size in sizes]
            if len(tensors) != len(shapes) or not all(
                tensor.shape.is_compatible_with(shape) for tensor, shape in zip(tensors, shapes, strict=True)
            ):
                raise ValueError(self._wrong_state(state, batch_size))
            checked.append(tensors)
        return tuple(checked)

    def _sizes_of_layers(self) -> list[tuple[int, ...]]:
        return [sum((state_sizes(cell) for cell in cells), ()) for cells in self.cells_of_layers]

    def _wrong_state(self, state: Any, batch_size: int | None) -> str:
        rows = "B" if batch_size is None else batch_size
        expected = tuple(tuple(f"[{rows}, {size}]" for size in sizes) for sizes in self._sizes_of_layers())
        received = keras.tree.map_structure(lambda t: str(list(tf.convert_to_tensor(t).shape)), state)
        return f"state must be a tuple with a tuple per layer, {expected}; got {received}"

    def compute_output_shape(self, input_shape: Sequence[int | None], *_: Any, **__: Any) -> Any:
        rows = input_shape[1] if self.time_major else input_shape[0]
        sequence = (*input_shape[:2], self.output_size)
        outputs = sequence if self.return_sequences else (rows, self.output_size)
        state = tuple(tuple((rows, size) for size in sizes) for sizes in self._sizes_of_layers())
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
    def from_config(cls, config: dict[str, Any]) -> "RNN":
        lists = {name: value for name, value in config.items() if name in ("cell", "backward_cell")}
        cells = {name: [keras.saving.deserialize_keras_object(c) for c in value] for name, value in lists.items()}
        return cls(**{**config, **cells})


def _swap_time_and_batch(sequence: tf.Tensor) -> tf.Tensor:
    return tf.transpose(sequence, [1, 0, *range(2, len(sequence.shape))])
