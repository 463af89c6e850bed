"""PerCharacter: what was measured in bits per token becomes bits per character, if tokens are byte pairs."""

from typing import Any

import keras


class PerCharacter(keras.callbacks.Callback):
    """Divides the bits in the measures of an epoch by the number of characters of a token, for the callbacks after it.

    Args:
      training, validation: the number of characters of a token, on average, of the training and the held-out text.
    """

    def __init__(self, training: float, validation: float):
        super().__init__()
        self._divisors = {"bits_per_char": training, "val_bits_per_char": validation}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        for name, divisor in self._divisors.items():
            if name in logs:
                logs[name] /= divisor
