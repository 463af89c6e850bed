"""What the models share: inputs become vectors, an RNN reads them, a dense layer reads its outputs.

Letters: T num_steps, B batch_size, H units.
"""

import abc
import contextlib
from typing import Any

import keras
import tensorflow as tf

from tfrnn.layers.rnn import RNN
from tfrnn.layers.state import State


class RecurrentModel(keras.Model):
    """What the models share: inputs become vectors, an RNN reads them, a dense layer reads its outputs.

    The state goes in with a call and comes out of it. The gradient goes no further back than the call's first step
    (truncated backpropagation through time).
    """

    def __init__(self, rnn: RNN, dropout: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(rnn, RNN):
            raise ValueError(f"a model needs a tfrnn.RNN, which runs any cell of Keras; got {rnn!r}")
        if not (rnn.time_major and rnn.return_sequences and rnn.return_state):
            raise ValueError(
                "a model needs an RNN with time_major, return_sequences and return_state all true; got "
                f"{rnn.time_major}, {rnn.return_sequences}, {rnn.return_state}"
            )
        self.rnn = rnn
        self.dropout = keras.layers.Dropout(dropout) if dropout else None

    def initial_state(self, batch_size: int) -> State:
        """The state before the first step, of B rows."""
        return self.rnn.initial_state(batch_size)

    def weights_read_once(self) -> contextlib.AbstractContextManager:
        """As RNN.weights_read_once."""
        return self.rnn.weights_read_once()

    def call(self, inputs: tf.Tensor, state: Any = None, training: bool = False) -> tuple[tf.Tensor, State]:
        outputs, state = self.rnn(self._vectors(inputs), state, training=training)  # [T, B, H]
        if self.dropout:
            outputs = self.dropout(outputs, training=training)
        return self._head(outputs), state

    @abc.abstractmethod
    def _vectors(self, inputs: tf.Tensor) -> tf.Tensor:
        """The inputs as the RNN reads them, [T, B, ...]."""

    @abc.abstractmethod
    def _head(self, outputs: tf.Tensor) -> tf.Tensor:
        """What the model gives from the RNN's outputs [T, B, H]."""

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rnn": keras.saving.serialize_keras_object(self.rnn),
            "dropout": self.dropout.rate if self.dropout else 0.0,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        return cls(**{**config, "rnn": keras.saving.deserialize_keras_object(config["rnn"], custom_objects)})
