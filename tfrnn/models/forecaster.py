"""Forecaster: a model that predicts the next values of a series.

Letters: T num_steps, B batch_size, D values per step, H units.
"""

from typing import Any

import keras
import tensorflow as tf

from tfrnn.errors import UserError
from tfrnn.layers.stack import StackWeights
from tfrnn.layers.state import State
from tfrnn.models.recurrent_model import RecurrentModel
from tfrnn.series.forecasting import known_squared_error
from tfrnn.training.losses import squared_error

# The function is defined where nothing of Keras is loaded; by this a compiled forecaster is saved and loaded with it.
keras.saving.register_keras_serializable("tfrnn")(known_squared_error)


@keras.saving.register_keras_serializable("tfrnn")
class Forecaster(RecurrentModel):
    """Recurrent layers that read a series of values, and a dense layer that predicts the values of the next step.

    >>> model = tfrnn.Forecaster(tfrnn.GRUCell(8), num_values=3)
    >>> predictions, state = model(np.zeros([5, 2, 3], "float32"))  # T = 5, B = 2, D = 3
    >>> predictions.shape
    TensorShape([5, 2, 3])

    Call: takes inputs, float32 [T, B, D]; a state, by default zeros; and a mask, booleans [T, B], by default none.
    Returns predictions [T, B, D], the one at step t being that of the inputs at step t + 1, and the state after the
    last step. A trainer minimizes the mean squared error by default.

    With `num_outputs` it predicts other numbers than the values at the next step, [T, B, num_outputs]: see
    `series.window_batches`. They are zero before the training, and the dense layer reads the inputs of the step beside
    the outputs of the recurrent layers, so that what is linear need not be learnt by these.

    Args:
      cells: a cell, a list of cells, one per layer, or an RNN layer whose cells are taken: see SequenceLabeller.
      num_values: D, the number of values per step.
      dropout: the fraction of each layer's outputs that is dropped in training.
      num_outputs: the number of values that are predicted at each step; 0: D, those of the next step.
    Raises:
      UserError: these are no cells, an RNN layer was made with an argument that the model could not follow, or a layer
        is bidirectional.
    """

    own_loss = staticmethod(squared_error)
    returns_logits = False

    def __init__(self, cells: Any, num_values: int = 1, dropout: float = 0.0, num_outputs: int = 0, **kwargs: Any):
        super().__init__(cells, dropout, **kwargs)
        if self.rnn.is_bidirectional:
            raise UserError(
                "a forecaster needs layers that only read forward; got a bidirectional one, whose backward direction "
                "would read the values to be predicted"
            )
        self.num_values, self.step_shape = num_values, (num_values,)
        self.num_outputs = num_outputs
        initializer = "zeros" if num_outputs else "glorot_uniform"
        self.dense = keras.layers.Dense(
            num_outputs or num_values, kernel_initializer=initializer, dtype=self.dtype_policy
        )

    def build(self, input_shape: Any = None) -> None:
        """Makes the weights, if there are none; their shapes do not depend on `input_shape`."""
        if self.built:
            return
        self.rnn.build((None, None, self.num_values))
        self.dense.build((None, None, self.rnn.output_size + (self.num_values if self.num_outputs else 0)))
        self.built = True

    def _prepare_inputs(self, inputs: tf.Tensor) -> tf.Tensor:
        if inputs.shape[-1] != self.num_values or len(inputs.shape) != 3:
            raise UserError(f"expected inputs [T, B, {self.num_values}]; got shape {tuple(inputs.shape)}")
        return inputs

    def call(
        self,
        inputs: tf.Tensor,
        state: Any = None,
        training: bool = False,
        weights: StackWeights | None = None,
        mask: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, State]:
        outputs, state = super().call(inputs, state, training, weights, mask)
        if self.num_outputs:
            outputs = self._apply_dense(self.dense, tf.concat([outputs, tf.cast(inputs, outputs.dtype)], -1))
        return outputs, state

    def _apply_head(self, outputs: tf.Tensor) -> tf.Tensor:
        return outputs if self.num_outputs else self._apply_dense(self.dense, outputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_values": self.num_values, "num_outputs": self.num_outputs}
