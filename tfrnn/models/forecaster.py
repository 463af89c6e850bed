"""Forecaster: a model that predicts the next values of a series.

Letters: T num_steps, B batch_size, D values per step, H units.
"""

from typing import Any

import keras
import tensorflow as tf

from tfrnn.layers.bidirectional import Bidirectional
from tfrnn.layers.rnn import RNN
from tfrnn.models.recurrent_model import RecurrentModel
from tfrnn.training.losses import squared_error


@keras.saving.register_keras_serializable("tfrnn")
class Forecaster(RecurrentModel):
    """An RNN that reads a series of values, and a dense layer that predicts the values of the next step.

    >>> model = tfrnn.Forecaster(tfrnn.RNN(tfrnn.GRUCell(8)), num_values=3)
    >>> predictions, state = model(np.zeros([5, 2, 3], "float32"))  # T = 5, B = 2, D = 3
    >>> predictions.shape
    TensorShape([5, 2, 3])

    Call: takes inputs, float32 [T, B, D], and a state (by default zeros); returns predictions [T, B, D], the one at
    step t being that of the inputs at step t + 1, and the state after the last step. Train it with
    `tfrnn.squared_error` as the trainer's `loss`.

    Args:
      rnn: a time-major RNN that returns sequences and its state.
      num_values: D, the number of values per step.
      dropout: the fraction of the RNN's outputs that is dropped in training.
    Raises:
      ValueError: if the RNN is bidirectional, is not time-major, or does not return sequences and state.
    """

    own_loss = staticmethod(squared_error)
    returns_logits = False

    def __init__(self, rnn: RNN, num_values: int = 1, dropout: float = 0.0, **kwargs: Any):
        super().__init__(rnn, dropout, **kwargs)
        if isinstance(rnn, Bidirectional):
            raise ValueError(
                "a forecaster needs an RNN that only reads forward; got a bidirectional one, whose backward direction "
                "would read the values to be predicted"
            )
        self.num_values = num_values
        self.dense = keras.layers.Dense(num_values)

    def build(self, input_shape: Any = None) -> None:
        """Makes the weights; their shapes do not depend on `input_shape`."""
        self.rnn.build((None, None, self.num_values))
        self.dense.build((None, None, self.rnn.output_size))
        self.built = True

    def _prepare_inputs(self, inputs: tf.Tensor) -> tf.Tensor:
        if inputs.shape[-1] != self.num_values or len(inputs.shape) != 3:
            raise ValueError(f"`inputs` must have shape [T, B, {self.num_values}]; got shape {tuple(inputs.shape)}")
        return inputs

    def _apply_head(self, outputs: tf.Tensor) -> tf.Tensor:
        return self.dense(outputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_values": self.num_values}
