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
from tfrnn.layers import time_blocks as blocks_lib

State = tuple[tuple[tf.Tensor, ...], ...]  # L entries of [B, H] each


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
        self.cells = _checked_cells(cell)
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
                        state = [tf.zeros([1, n], self.compute_dtype) for n in _state_sizes(cell)]
                        cell(tf.zeros([1, size], self.compute_dtype), state)
            size = sum(_output_size(cell) for cell in cells)
        super().build(input_shape)

    @property
    def output_size(self) -> int:
        """Size of an output: H of the last layer, of both directions together."""
        return sum(_output_size(cell) for cell in self.cells_of_layers[-1])

    def initial_state(self, batch_size: int) -> State:
        """The state before the first step: zeros (or what the cells define) for B rows."""

        def of_cell(cell: Any) -> tuple:
            if hasattr(cell, "get_initial_state"):
                return _as_tuple(cell.get_initial_state(batch_size))
            return tuple(tf.zeros((batch_size, size), self.compute_dtype) for size in _state_sizes(cell))

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
        if isinstance(state, list) and len(state) == 1 and _depth(state) == 3:
            (state,) = state  # from `outputs, *state = rnn(...)`, which the book's readers write
        if len(self.cells) == 1 and _depth(state) < 2:
            state = (state,)
        if not isinstance(state, (list, tuple)) or len(state) != len(self.cells):
            raise ValueError(self._wrong_state(state, batch_size))
        checked = []
        for entry, sizes in zip(state, self._sizes_of_layers(), strict=True):
            if _depth(entry) > 1:
                raise ValueError(self._wrong_state(state, batch_size))
            tensors = tuple(tf.cast(tensor, self.compute_dtype) for tensor in _as_tuple(entry))
            shapes = [tf.TensorShape([batch_size, size]) for size in sizes]
            if len(tensors) != len(shapes) or not all(
                tensor.shape.is_compatible_with(shape) for tensor, shape in zip(tensors, shapes, strict=True)
            ):
                raise ValueError(self._wrong_state(state, batch_size))
            checked.append(tensors)
        return tuple(checked)

    def _sizes_of_layers(self) -> list[tuple[int, ...]]:
        return [sum((_state_sizes(cell) for cell in cells), ()) for cells in self.cells_of_layers]

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


@keras.saving.register_keras_serializable("tfrnn")
class Bidirectional(RNN):
    """One or more layers that read the sequence in both directions, for tasks in which all of it is known.

    Each layer's outputs are those of both directions side by side, 2 * H; the next layer reads them. Its entry in the
    state holds the tensors of the forward cell, then those of the backward cell (Schuster and Paliwal, 1997). Without
    return_sequences the output is what each direction ends with: the forward one at the last step, the backward one at
    the first.

    >>> rnn = tfrnn.Bidirectional(tfrnn.GRUCell(8))
    >>> outputs, state = rnn(np.ones([5, 2, 3], "float32"))  # T = 5, B = 2, D = 3
    >>> outputs.shape
    TensorShape([5, 2, 16])

    Args:
      cell: the forward cell, or a list of them, one per layer.
      backward_cell: the same for the other direction; by default copies of the forward ones, with weights of their own.
      other arguments: as RNN.
    Raises:
      ValueError: there are not as many backward as forward cells.
    """

    def __init__(self, cell: Any, backward_cell: Any = None, **kwargs: Any):
        super().__init__(cell, **kwargs)
        copies = [type(cell).from_config(cell.get_config()) for cell in self.cells] if backward_cell is None else []
        self.backward_cells = copies or _checked_cells(backward_cell)
        if len(self.backward_cells) != len(self.cells):
            raise ValueError(
                f"a bidirectional layer needs as many backward as forward cells; got {len(self.backward_cells)} and "
                f"{len(self.cells)}"
            )

    @property
    def cells_of_layers(self) -> list[tuple]:
        return list(zip(self.cells, self.backward_cells, strict=True))

    def _run_layer(self, cells: tuple, sequence: tf.Tensor, state: tuple, training: bool) -> tuple:
        forward, backward = cells
        cut = len(_state_sizes(forward))
        ahead, ahead_state = unroll(forward, sequence, state[:cut], training)
        back, back_state = unroll(backward, tf.reverse(sequence, [0]), state[cut:], training)
        outputs = tf.concat([ahead, tf.reverse(back, [0])], -1)  # [T, B, 2H]
        return outputs, tf.concat([ahead[-1], back[-1]], -1), (*ahead_state, *back_state)

    def get_config(self) -> dict[str, Any]:
        backward = [keras.saving.serialize_keras_object(cell) for cell in self.backward_cells]
        return {**super().get_config(), "backward_cell": backward}


def split_rows(state: State, number: int) -> list[State]:
    """The state of so many equal parts of the rows."""
    parts = zip(*[tf.split(tensor, number, 0) for tensor in tf.nest.flatten(state)], strict=True)
    return [tf.nest.pack_sequence_as(state, list(part)) for part in parts]


def join_rows(states: list[State]) -> State:
    """What split_rows has split."""
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *states)


def _checked_cells(cell: Any) -> list:
    """A list of cells. Raises ValueError where there is none or what is given is none."""
    if isinstance(cell, keras.layers.StackedRNNCells):
        cell = cell.cells
    cells = list(cell) if isinstance(cell, (list, tuple)) else [cell]
    for one in cells:
        if not callable(one) or not hasattr(one, "state_size"):
            raise ValueError(f"a cell must be a layer with a state_size, by Keras's cell protocol; got {one!r}")
    if not cells:
        raise ValueError("RNN needs at least one cell; got an empty list")
    return cells


def _depth(state: Any) -> int:
    """Levels of lists and tuples around the first tensor."""
    return 1 + (_depth(state[0]) if len(state) else 0) if isinstance(state, (list, tuple)) else 0


def unroll(cell: Any, inputs: tf.Tensor, state: tuple, training: bool = False) -> tuple[tf.Tensor, tuple]:
    """Runs a cell over all steps: inputs [T, B, D] and a layer's state give outputs [T, B, H] and its state."""
    if fused.knows(cell, training):
        return fused.run(cell, inputs, state)
    takes_training = {"training": training} if getattr(cell, "_call_has_training_arg", False) else {}
    if training and hasattr(cell, "get_dropout_mask"):  # Keras's cells keep one mask for all steps of a call
        cell.get_dropout_mask(inputs[0])
        cell.get_recurrent_dropout_mask(state[0])

    def block(inputs: tf.Tensor, state: tuple) -> tuple[tf.Tensor, tuple]:
        outputs = []
        for step_inputs in tf.unstack(inputs):
            output, new_state = cell(step_inputs, list(state), **takes_training)
            outputs.append(output)
            state = _as_tuple(new_state)
        return tf.stack(outputs), state

    def blocks(inputs: tf.Tensor, count: Any, size: int, state: tuple) -> tuple[tf.Tensor, tuple]:
        return blocks_lib.loop_over_blocks(block, inputs, state, count, size, _output_size(cell))

    result = blocks_lib.over_blocks(block, blocks, inputs, state)
    if training and hasattr(cell, "reset_dropout_mask"):
        cell.reset_dropout_mask()
        cell.reset_recurrent_dropout_mask()
    return result


def _as_tuple(value: Any) -> tuple:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _state_sizes(cell: Any) -> tuple[int, ...]:
    return _as_tuple(cell.state_size)


def _output_size(cell: Any) -> int:
    return getattr(cell, "output_size", None) or _state_sizes(cell)[0]


def _swap_time_and_batch(sequence: tf.Tensor) -> tf.Tensor:
    return tf.transpose(sequence, [1, 0, *range(2, len(sequence.shape))])
