"""Callbacks that end training before its last epoch: early stopping, and stopping on a signal."""

import signal
import threading
from collections.abc import Callable
from typing import Any

import keras


class EarlyStopping(keras.callbacks.Callback):
    """Ends training when the validation loss has not fallen for a number of epochs.

    keras.callbacks.EarlyStopping counts these epochs itself, so its count would start again when a run is resumed.

    Args:
      epochs_without_gain: returns the number of epochs since that with the lowest validation loss.
      patience: the number of such epochs that ends training.
    """

    def __init__(self, epochs_without_gain: Callable[[], int], patience: int):
        super().__init__()
        self._epochs_without_gain, self._patience = epochs_without_gain, patience

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training |= self._epochs_without_gain() >= self._patience


class StopOnSignal(keras.callbacks.Callback):
    """Ends training after the current call on Ctrl-C (SIGINT) or SIGTERM; a second signal is handled as usual.

    The signals are caught only within `with`, and the previous handlers are restored after it.

    Attributes:
      stopped: whether a signal has come.
    """

    stopped = False

    def __enter__(self) -> "StopOnSignal":
        self._previous: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is signal.SIG_IGN:
                    continue  # e.g. a background job, which is not to be interrupted
                self._previous[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training |= self.stopped  # the signal may have come before training began

    def _stop(self, number: int, frame: Any) -> None:
        self.stopped = True
        if self.model:
            self.model.stop_training = True
        signal.signal(number, self._previous[number])
