"""Forecaster: values of a series in, those of the next step out.

Letters: T num_steps, B batch_size, D values of a step, H units.
"""

from typing import Any

import keras
import tensorflow as tf

from tfrnn.layers.bidirectional import Bidirectional
from tfrnn.layers.rnn import RNN
from tfrnn.models.recurrent_model import RecurrentModel


@keras.saving.register_keras_serializable("tfrnn")
class Forecaster(RecurrentModel):
    """An RNN over a series of values, and a dense layer to the values of the next step.

    >>> model = tfrnn.Forecaster(tfrnn.RNN(tfrnn.GRUCell(8)), num_values=3)
    >>> predictions, state = model(np.zeros([5, 2, 3], "float32"))  # T = 5, B = 2, D = 3
    >>> predictions.shape
    TensorShape([5, 2, 3])

    Call: inputs, float32 [T, B, D], and a state (by default zeros); gives predictions [T, B, D], each of the step
    after, and the state after the last step. It is trained with `tfrnn.squared_error` as the trainer's loss_fn.

    Args:
      rnn: a time-major RNN that returns sequences and its state.
      num_values: D.
      dropout: share of the RNN's outputs dropped in training.
    Raises:
      ValueError: a bidirectional RNN, or one that is not time-major or gives no sequences or no state.
    """

    def __init__(self, rnn: RNN, num_values: int = 1, dropout: float = 0.0, **kwargs: Any):
        super().__init__(rnn, dropout, **kwargs)
        if isinstance(rnn, Bidirectional):
            raise ValueError(
                "a forecaster needs an RNN that reads forward alone; got a bidirectional one, whose backward direction "
                "would read the values to be predicted"
            )
        self.num_values = num_values
        self.dense = keras.layers.Dense(num_values)

    def build(self, input_shape: Any = None) -> None:
        """Makes the weights, whose shapes do not depend on the inputs'."""
        self.rnn.build((None, None, self.num_values))
        self.dense.build((None, None, self.rnn.output_size))
        self.built = True

    def _vectors(self, inputs: tf.Tensor) -> tf.Tensor:
        if inputs.shape[-1] != self.num_values or len(inputs.shape) != 3:
            raise ValueError(f"inputs must be of shape [T, B, {self.num_values}]; got shape {tuple(inputs.shape)}")
        return inputs

    def _head(self, outputs: tf.Tensor) -> tf.Tensor:
        return self.dense(outputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_values": self.num_values}
