"""RecurrentModel: the base class of the models.

Letters: T num_steps, B batch_size, H units.
"""

import abc
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from tfrnn.errors import UserError
from tfrnn.layers.stack import RecurrentStack, StackWeights, deserialize_cells, split_directions
from tfrnn.layers.state import State
from tfrnn.models.keras_verbs import KerasVerbs


class RecurrentModel(KerasVerbs, abc.ABC):
    """The base class of the models: recurrent layers that read the inputs, and a head that makes the model's outputs.

    The state is an argument and a result of a call. Gradients do not flow to the steps before a call (truncated
    backpropagation through time).

    Args:
      cells: a cell, a list of cells, one per layer, or an RNN layer whose cells are taken: see `split_directions`.
      dropout: the fraction of each layer's outputs that is dropped in training.
      backward_cells: None, or as many cells, which read the sequence from its end.

    Attributes:
      rnn: the recurrent layers, a `RecurrentStack`.
    Raises:
      UserError: these are no cells, or an RNN layer was made with an argument that the model could not follow.
    """

    built: bool

    def __init__(self, cells: Any, dropout: float = 0.0, backward_cells: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True
        cells, backward = split_directions(cells)
        self.rnn = RecurrentStack(cells, backward or backward_cells, dropout)
        if self.rnn.variable_dtype != self.variable_dtype:
            raise UserError(
                f"expected cells with weights in {self.variable_dtype}, the dtype of the model; got "
                f"{self.rnn.variable_dtype}; give cells and model the same `dtype`"
            )
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy) if dropout else None

    def initial_state(self, batch_size: int) -> State:
        """Returns the state before the first step for `batch_size` rows: zeros, or what the cells define."""
        return self.rnn.initial_state(batch_size)

    def read_weights(self) -> StackWeights:
        """Reads the weights of the recurrent layers once for several calls: see RecurrentStack.read_weights."""
        return self.rnn.read_weights()

    def call(
        self,
        inputs: tf.Tensor,
        state: Any = None,
        training: bool = False,
        weights: StackWeights | None = None,
        mask: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, State]:
        prepared = self._prepare_inputs(inputs)
        outputs, state = self.rnn(prepared, state, training=training, weights=weights, mask=mask)  # [T, B, H]
        if self.dropout:
            outputs = self.dropout(outputs, training=training)
        return self._apply_head(outputs), state

    @property
    def losses(self) -> list[tf.Tensor]:
        """What the model adds to the loss: regularizers of weights, and what `add_loss` was given.

        Raises UserError if a layer has an `activity_regularizer`, which Keras divides by the first axis of the layer's
        outputs: within the model, the steps.
        """
        for layer in _layers_within(self):
            if layer.activity_regularizer is not None:
                raise UserError(
                    "expected layers without `activity_regularizer`, which Keras would divide by the steps in place of "
                    f"the rows; got one of {layer.name!r}; call `add_loss` in a `call` of your own"
                )
        return super().losses

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        """Returns None: a mask is used up by the recurrent layers."""
        return

    @abc.abstractmethod
    def _prepare_inputs(self, inputs: tf.Tensor) -> tf.Tensor:
        """Checks the inputs, and returns them as the recurrent layers read them: [T, B, D], or token ids [T, B]."""

    @abc.abstractmethod
    def _apply_head(self, outputs: tf.Tensor) -> tf.Tensor:
        """Returns the model's outputs, given those of the recurrent layers, [T, B, H]."""

    def _apply_dense(self, layer: keras.layers.Dense, inputs: tf.Tensor) -> tf.Tensor:
        """Returns what the output layer makes of its inputs; in mixed precision in float32, a product plus the bias.

        The gradient of the bias is a sum over all steps and rows, which in bfloat16 was wrong by a third: there 256 and
        1 is 256.
        """
        if self.compute_dtype == self.variable_dtype:
            return layer(inputs)
        product, bias = keras.ops.matmul(inputs, layer.kernel), layer.bias
        return tf.cast(product, self.variable_dtype) + tf.cast(bias, self.variable_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **self.rnn.serialized_cells(),
            "dropout": self.dropout.rate if self.dropout else 0.0,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        return cls(**{**config, **deserialize_cells(config, custom_objects)})


def _layers_within(layer: Any) -> Iterator[Any]:
    """Yields a layer and the layers in it, at any depth, except the cells, which the stack checks."""
    yield layer
    for inner in getattr(layer, "layers", ()):
        yield from _layers_within(inner)
