"""RecurrentModel: the base class of the models.

Letters: T num_steps, B batch_size, H units.
"""

import abc
from typing import Any

import keras
import tensorflow as tf

from tfrnn.layers.rnn import RNN
from tfrnn.layers.stack import StackWeights
from tfrnn.layers.state import State
from tfrnn.models.keras_verbs import KerasVerbs


class RecurrentModel(KerasVerbs, abc.ABC):
    """The base class of the models: an RNN that reads the inputs, and a head that turns its outputs into the model's.

    The state is an argument and a result of a call. Gradients do not flow to the steps before a call (truncated
    backpropagation through time).

    Args:
      rnn: a time-major RNN that returns sequences and its state.
      dropout: the fraction of the RNN's outputs that is dropped in training.
    Raises:
      ValueError: if `rnn` is not a tfrnn.RNN, is not time-major, or does not return sequences and state.
    """

    def __init__(self, rnn: RNN, dropout: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(rnn, RNN):
            raise ValueError(f"a model needs a tfrnn.RNN, which runs any cell of Keras; got {rnn!r}")
        if not (rnn.time_major and rnn.return_sequences and rnn.return_state):
            raise ValueError(
                "a model needs an RNN with time_major, return_sequences and return_state all True; got "
                f"{rnn.time_major}, {rnn.return_sequences}, {rnn.return_state}"
            )
        self.rnn = rnn
        self.dropout = keras.layers.Dropout(dropout) if dropout else None

    def initial_state(self, batch_size: int) -> State:
        """Returns the state before the first step for `batch_size` rows: zeros, or what the cells define."""
        return self.rnn.initial_state(batch_size)

    def read_weights(self) -> StackWeights:
        """Reads the RNN's weights once for several calls: see RNN.read_weights."""
        return self.rnn.read_weights()

    def call(
        self, inputs: tf.Tensor, state: Any = None, training: bool = False, weights: StackWeights | None = None
    ) -> tuple[tf.Tensor, State]:
        outputs, state = self.rnn(self._prepare_inputs(inputs), state, training=training, weights=weights)  # [T, B, H]
        if self.dropout:
            outputs = self.dropout(outputs, training=training)
        return self._apply_head(outputs), state

    @abc.abstractmethod
    def _prepare_inputs(self, inputs: tf.Tensor) -> tf.Tensor:
        """Checks the inputs, and returns them as the RNN reads them: [T, B, D], or token ids [T, B]."""

    @abc.abstractmethod
    def _apply_head(self, outputs: tf.Tensor) -> tf.Tensor:
        """Returns the model's outputs, given the RNN's outputs [T, B, H]."""

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rnn": keras.saving.serialize_keras_object(self.rnn),
            "dropout": self.dropout.rate if self.dropout else 0.0,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        return cls(**{**config, "rnn": keras.saving.deserialize_keras_object(config["rnn"], custom_objects)})
