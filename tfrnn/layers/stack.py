"""RecurrentStack: the recurrent layers of a model, one after the other, time-major, with their state as a value.

Letters: T num_steps, B batch_size, D inputs' size, H units, L layers.
The state is always a tuple with one entry per layer, each a tuple of tensors [B, H]: one for the simple RNN and the
GRU, two (hidden state, memory cell) for the LSTM. It is an argument and a result of a call; the stack keeps none. In
mixed precision it has the dtype of the weights: it holds what the cells compute exactly, and a checkpoint can hold it.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfrnn.errors import UserError
from tfrnn.layers import fused, rnn
from tfrnn.layers.cell_protocol import ensure_tuple, get_output_size, get_state_sizes, validate_cells
from tfrnn.layers.state import State, nesting_depth
from tfrnn.layers.unrolling import unroll


@dataclasses.dataclass(frozen=True)
class StackWeights:
    """The weights of a stack's cells as they were when they were read: see RecurrentStack.read_weights.

    It is not a tuple, because Keras would cast the tensors of a tuple that is an argument of a layer.
    """

    by_layer: tuple[tuple[fused.Weights | None, ...], ...]  # None for a cell without a fused implementation


@keras.saving.register_keras_serializable("tfrnn")
class RecurrentStack(rnn.RegularizedByRows):
    """One or more recurrent layers, time-major, which run any cells of Keras's protocol over the steps of a sequence.

    The models of this package hold their cells in it. With backward cells, each layer reads the sequence in both
    directions: its outputs are those of both, concatenated, of size 2 * H, and the next layer reads them; its entry in
    the state has the tensors of the forward cell, then those of the backward cell (Schuster and Paliwal, 1997).

    Call: takes inputs [T, B, D]; a state, by default that of `initial_state`; and a mask, booleans [T, B], by default
    none. Returns outputs [T, B, H] and the state after the last step. A step where the mask is False leaves the row's
    state as it was. A built stack also takes token ids, integers [T, B], which stand for one-hot vectors of the size D
    that it was built for. With a single cell the state may also be what the cell's get_initial_state returns. A call
    raises ValueError if the state does not fit the layers or the batch size.

    Args:
      cells: a cell, or a list of cells, one per layer.
      backward_cells: None, or as many cells, which read the sequence from its end.
      dropout: the fraction of the inputs of each layer but the first that is dropped in training.
      **kwargs: those of keras.layers.Layer. The default dtype policy is that of the cells.
    Raises:
      ValueError: if there is no cell, one of them is not a cell, or the numbers or the dtype policies of cells differ.
    """

    def __init__(self, cells: Any, backward_cells: Any = None, dropout: float = 0.0, **kwargs: Any):
        cells = validate_cells(cells)
        backward_cells = [] if backward_cells is None else validate_cells(backward_cells)
        policies = [cell.dtype_policy for cell in (*cells, *backward_cells) if isinstance(cell, keras.layers.Layer)]
        super().__init__(**{"dtype": policies[0] if policies else None, **kwargs})
        if len({(policy.compute_dtype, policy.variable_dtype) for policy in policies}) > 1:
            raise UserError(f"expected cells of one dtype policy; got {sorted({policy.name for policy in policies})}")
        self.supports_masking = True
        self.prepare_to_regularize()
        self.cells, self.backward_cells = cells, backward_cells
        if self.backward_cells and len(self.backward_cells) != len(self.cells):
            raise UserError(
                "expected the same number of backward and forward cells; got "
                f"{len(self.backward_cells)} and {len(self.cells)}"
            )
        for cell in (*self.cells, *self.backward_cells):
            if not all(isinstance(size, int) for size in get_state_sizes(cell)):
                raise UserError(f"expected cells whose states are vectors; got {cell!r} with {cell.state_size}")
            if getattr(cell, "activity_regularizer", None):
                raise UserError(
                    f"expected cells without `activity_regularizer`, which Keras divides by the rows of one step; got "
                    f"{cell!r}; regularize the weights, or add a loss in a `call` of your own"
                )
        self.dropout = dropout
        dropouts = [keras.layers.Dropout(dropout, dtype=self.dtype_policy) for _ in self.cells[1:]]
        self.dropouts = dropouts if dropout else []

    @property
    def cells_by_layer(self) -> list[tuple]:
        """The cells of each layer, a tuple per layer: of one cell, or of a forward and a backward cell."""
        if self.backward_cells:
            return list(zip(self.cells, self.backward_cells, strict=True))
        return [(cell,) for cell in self.cells]

    @property
    def is_bidirectional(self) -> bool:
        """Whether the layers read the sequence in both directions."""
        return bool(self.backward_cells)

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
        """The size of an output: H of the last layer, or 2 * H if it reads in both directions."""
        return sum(get_output_size(cell) for cell in self.cells_by_layer[-1])

    def initial_state(self, batch_size: int) -> State:
        """Returns the state before the first step for `batch_size` rows: zeros, or what the cells define."""

        def cell_state(cell: Any) -> tuple:
            if hasattr(cell, "get_initial_state"):
                return ensure_tuple(cell.get_initial_state(batch_size))
            return tuple(tf.zeros((batch_size, size), self.compute_dtype) for size in get_state_sizes(cell))

        return self._as_carried(sum((cell_state(cell) for cell in cells), ()) for cells in self.cells_by_layer)

    def _as_carried(self, state: Iterable[tuple]) -> State:
        """Returns a state of the cells in the dtype in which it is carried from call to call."""
        return tuple(tuple(tf.cast(tensor, self.variable_dtype) for tensor in entry) for entry in state)

    def read_weights(self) -> StackWeights:
        """Reads the weights once for several calls in one graph, or for a loop in a graph, which are then faster.

        Called with the value, the cells that have a fused implementation compute with the weights as they were read;
        each call without it reads them again. If gradients are wanted, read the weights inside the tape.
        """

        def read(cell: Any) -> fused.Weights | None:
            return fused.read_weights(cell) if fused.supports(cell, training=False) else None

        return StackWeights(tuple(tuple(map(read, cells)) for cells in self.cells_by_layer))

    def call(
        self,
        inputs: tf.Tensor,
        state: Any = None,
        training: bool = False,
        weights: StackWeights | None = None,
        mask: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, State]:
        if len(inputs.shape) != (2 if inputs.dtype.is_integer else 3) or inputs.shape[0] == 0:
            raise UserError(
                "expected inputs [T, B, D], or token ids [T, B], of at least one step; got "
                f"{inputs.dtype.name} of shape {tuple(inputs.shape)}"
            )
        batch_size = inputs.shape[1] or tf.shape(inputs)[1]
        if state is None:
            state = self.initial_state(batch_size)
        state = self._validate_state(state, inputs.shape[1])
        sequence = inputs
        if sequence.dtype.is_integer and not all(fused.supports(cell, training) for cell in self.cells_by_layer[0]):
            sequence = tf.one_hot(sequence, self.input_size, dtype=self.compute_dtype)
        if mask is not None:
            mask = _validate_mask(mask, inputs)
        by_layer = weights.by_layer if weights else [(None,) * len(cells) for cells in self.cells_by_layer]
        new_state = []
        for layer, entries in enumerate(zip(self.cells_by_layer, state, by_layer, strict=True)):
            cells, layer_state, layer_weights = entries
            if layer and self.dropouts:
                sequence = self.dropouts[layer - 1](sequence, training=training)
            sequence, layer_state = _run_layer(cells, sequence, layer_state, mask, training, layer_weights)
            new_state.append(layer_state)
        return sequence, self._as_carried(new_state)

    def _swap_in_results(self, results: Any, swap: Callable) -> Any:
        outputs, state = results
        return swap(outputs), state

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        """Returns None: the mask is used up."""
        return

    def _validate_state(self, state: Any, batch_size: int | None) -> State:
        """Returns the state as a tuple of tuples of tensors. Raises ValueError if it does not fit the layers."""
        if isinstance(state, list) and len(state) == 1 and nesting_depth(state) == 3:
            (state,) = state  # from `outputs, *state = model(...)`, which the book's readers write
        if len(self.cells) == 1 and nesting_depth(state) < 2:
            state = (state,)
        if not isinstance(state, (list, tuple)) or len(state) != len(self.cells):
            raise UserError(self._wrong_state_message(state, batch_size))
        validated = []
        for entry, sizes in zip(state, self._state_sizes_by_layer(), strict=True):
            if nesting_depth(entry) > 1:
                raise UserError(self._wrong_state_message(state, batch_size))
            tensors = tuple(tf.cast(tensor, self.compute_dtype) for tensor in ensure_tuple(entry))
            shapes = [tf.TensorShape([batch_size, size]) for size in sizes]
            if len(tensors) != len(shapes) or not all(
                tensor.shape.is_compatible_with(shape) for tensor, shape in zip(tensors, shapes, strict=True)
            ):
                raise UserError(self._wrong_state_message(state, batch_size))
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
        state = tuple(tuple((input_shape[1], size) for size in sizes) for sizes in self._state_sizes_by_layer())
        return (*input_shape[:2], self.output_size), state

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.serialized_cells(), "dropout": self.dropout}

    def serialized_cells(self) -> dict[str, Any]:
        """Returns the arguments `cells` and `backward_cells`, serialized; `deserialize_cells` returns the arguments."""
        serialized = [
            [keras.saving.serialize_keras_object(cell) for cell in cells] for cells in (self.cells, self.backward_cells)
        ]
        return {"cells": serialized[0], "backward_cells": serialized[1] or None}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "RecurrentStack":
        return cls(**{**config, **deserialize_cells(config)})


def split_directions(layers: Any) -> tuple[list, list]:
    """Returns the forward and the backward cells of recurrent layers; the latter are empty if there are none.

    Args:
      layers: a cell, keras.layers.StackedRNNCells, an RNN layer of tfrnn's or Keras's, whose cell is taken, or a
        Bidirectional one of such layers; or a list of these, one after the other.
    Raises:
      UserError: one of them is none of these, or was made with an argument that a stack could not follow; or only some
        of them read the sequence in both directions.
    """
    forward: list = []
    backward: list = []
    for layer in layers if isinstance(layers, (list, tuple)) else [layers]:
        if isinstance(layer, keras.layers.Bidirectional):
            _require(layer, merge_mode="concat", trainable=True)
            forward += _cells_of_layer(layer.forward_layer, go_backwards=False)
            backward += _cells_of_layer(layer.backward_layer, go_backwards=True)
        elif isinstance(layer, keras.layers.RNN):
            _require(layer, zero_output_for_mask=False)
            forward += _cells_of_layer(layer, go_backwards=False)
        else:
            forward += validate_cells(layer)
    if backward and len(backward) != len(forward):
        raise UserError(
            f"expected that all layers are bidirectional, or none; got {len(backward)} of {len(forward)} cells"
        )
    return validate_cells(forward), backward


def _cells_of_layer(layer: Any, go_backwards: bool) -> list:
    """Returns the cells of an RNN layer. Raises UserError if more than them would be lost."""
    if type(layer) not in RNN_LAYERS:
        raise UserError(
            f"a model takes the cells of a layer, not what a subclass of it computes: expected a cell, or one of "
            f"{', '.join(layer_class.__name__ for layer_class in RNN_LAYERS[:4])}; got {layer!r}"
        )
    _require(layer, go_backwards=go_backwards, stateful=False, trainable=True)
    return validate_cells(layer.cell)


RNN_LAYERS = tuple(getattr(m, name) for m in (keras.layers, rnn) for name in ("RNN", "SimpleRNN", "GRU", "LSTM"))


def _require(layer: Any, **expected: Any) -> None:
    """Raises UserError if attributes of a layer have other values, or if it has an activity regularizer."""
    received_by_name = {name: getattr(layer, name) for name in expected}
    received_by_name["activity_regularizer"] = layer.activity_regularizer
    for name, received in received_by_name.items():
        if received != (value := expected.get(name)):
            raise UserError(
                f"a model takes the cells of a layer: expected one with `{name}={value}`; got `{name}={received}`; "
                "give the cell; the state of a model is an argument of its call, and a weight of the cell may be frozen"
            )


def deserialize_cells(config: dict[str, Any], custom_objects: Any = None) -> dict[str, Any]:
    """Returns the arguments `cells` and `backward_cells`, given what `RecurrentStack.serialized_cells` returned."""

    def cells(name: str) -> list:
        return [keras.saving.deserialize_keras_object(cell, custom_objects) for cell in config.get(name) or ()]

    return {"cells": cells("cells"), "backward_cells": cells("backward_cells") or None}


def _validate_mask(mask: Any, inputs: tf.Tensor) -> tf.Tensor:
    """Returns a mask as booleans [T, B]. Raises UserError if it does not fit the inputs."""
    mask = tf.cast(mask, tf.bool)
    if len(mask.shape) != 2 or not mask.shape.is_compatible_with(inputs.shape[:2]):
        raise UserError(
            f"expected a `mask` [T, B], as the inputs of shape {tuple(inputs.shape)}; got shape {tuple(mask.shape)}"
        )
    return mask


def _run_layer(
    cells: tuple, sequence: tf.Tensor, state: tuple, mask: tf.Tensor | None, training: bool, weights: tuple
) -> tuple[tf.Tensor, tuple]:
    """Returns the outputs of all steps, and the layer's state after the last."""
    if len(cells) == 1:
        return unroll(cells[0], sequence, state, training, weights[0], mask)
    forward, backward = cells
    num_forward = len(get_state_sizes(forward))
    outputs, new_state = unroll(forward, sequence, state[:num_forward], training, weights[0], mask)
    # Masked steps leave the state as it was, so that the backward cell begins at the last step of each row.
    reversed_mask = None if mask is None else tf.reverse(mask, [0])
    backward_outputs, backward_state = unroll(
        backward, tf.reverse(sequence, [0]), state[num_forward:], training, weights[1], reversed_mask
    )
    return tf.concat([outputs, tf.reverse(backward_outputs, [0])], -1), (*new_state, *backward_state)
