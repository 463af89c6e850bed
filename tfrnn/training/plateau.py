"""Plateau: a learning rate that is halved when held-out text gains nothing more."""

import math
import sys
from typing import Any

import keras
import numpy as np

NO_LOSS = sys.float_info.max  # a checkpoint holds finite numbers alone


class Plateau(keras.callbacks.ReduceLROnPlateau):
    """Keras's, with a state that can be saved: the learning rate is halved where val_loss falls no more.

    Args:
      patience: epochs without gain before that.
      lowest: learning rate.
    """

    def __init__(self, patience: int, lowest: float):
        super().__init__("val_loss", factor=0.5, patience=patience, mode="min", min_delta=0, min_lr=lowest)
        self._restored = (math.inf, 0, 0)

    @property
    def state(self) -> np.ndarray:
        """float64: the lowest loss, the largest number where there is none yet; epochs since then or the last change;
        the cooldown."""
        best = NO_LOSS if self.best is None else min(self.best, NO_LOSS)
        return np.array([best, self.wait, self.cooldown_counter])

    @state.setter
    def state(self, state: np.ndarray) -> None:
        best, wait, cooldown = state
        self._restored = (math.inf if best == NO_LOSS else best), int(wait), int(cooldown)

    def on_train_begin(self, logs: Any = None) -> None:
        super().on_train_begin(logs)  # begins anew
        self.best, self.wait, self.cooldown_counter = self._restored
