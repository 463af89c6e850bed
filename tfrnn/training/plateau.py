"""Plateau: halves the learning rate when the validation loss stops falling."""

import math
from typing import Any

import keras
import numpy as np

from tfrnn.training.training_state import NO_LOSS


class Plateau(keras.callbacks.Callback):
    """Halves the learning rate after a number of epochs in which val_loss has not fallen.

    It does what keras.callbacks.ReduceLROnPlateau does with factor 0.5 and min_delta 0. That class begins anew in each
    `fit`, so that it could not be resumed.

    Args:
      patience: that number of epochs.
      lowest: the lower bound on the learning rate.
    """

    def __init__(self, patience: int, lowest: float):
        super().__init__()
        self._patience, self._lowest = patience, lowest
        self._best_loss, self._epochs_without_gain = math.inf, 0

    @property
    def state(self) -> np.ndarray:
        """The state as float64 [3]: the lowest loss (NO_LOSS before the first epoch); the number of epochs since then,
        or since the last change of the rate; and 0, which is Keras's cooldown."""
        return np.array([min(self._best_loss, NO_LOSS), self._epochs_without_gain, 0.0])

    @state.setter
    def state(self, state: np.ndarray) -> None:
        best_loss, epochs, _ = state
        self._best_loss, self._epochs_without_gain = (math.inf if best_loss == NO_LOSS else best_loss), int(epochs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs["val_loss"] < self._best_loss:
            self._best_loss, self._epochs_without_gain = logs["val_loss"], 0
            return
        self._epochs_without_gain += 1
        if self._epochs_without_gain >= self._patience:
            rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
            if rate > np.float32(self._lowest):
                self.model.optimizer.learning_rate = max(rate / 2, self._lowest)
                self._epochs_without_gain = 0
