"""Plateau: halves the learning rate when the validation loss stops falling."""

import math
import sys
from typing import Any

import keras
import numpy as np

NO_LOSS = sys.float_info.max  # stands for infinity, as all numbers of a checkpoint are finite


class Plateau(keras.callbacks.ReduceLROnPlateau):
    """keras.callbacks.ReduceLROnPlateau with a state that can be saved; it halves the learning rate.

    Args:
      patience: the number of epochs in which val_loss has not fallen after which the rate is halved.
      lowest: the lower bound on the learning rate.
    """

    def __init__(self, patience: int, lowest: float):
        super().__init__("val_loss", factor=0.5, patience=patience, mode="min", min_delta=0, min_lr=lowest)
        self._restored = (math.inf, 0, 0)

    @property
    def state(self) -> np.ndarray:
        """The state as float64 [3]: the lowest loss (NO_LOSS before the first epoch), the number of epochs since then
        or since the last change of the rate, and the cooldown."""
        best = NO_LOSS if self.best is None else min(self.best, NO_LOSS)
        return np.array([best, self.wait, self.cooldown_counter])

    @state.setter
    def state(self, state: np.ndarray) -> None:
        best, wait, cooldown = state
        self._restored = (math.inf if best == NO_LOSS else best), int(wait), int(cooldown)

    def on_train_begin(self, logs: Any = None) -> None:
        super().on_train_begin(logs)  # resets what the next line restores
        self.best, self.wait, self.cooldown_counter = self._restored
