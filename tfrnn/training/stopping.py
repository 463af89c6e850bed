"""When training stops before its last epoch: at a signal, or when held-out text gains nothing more."""

import signal
import threading
from collections.abc import Callable
from typing import Any

import keras


class EarlyStopping(keras.callbacks.Callback):
    """Ends training where so many epochs in turn have brought no gain on the validation batches.

    (Keras's own counts for itself, so it would begin anew when training goes on.)

    Args:
      epochs_without_gain: gives their number, as the trainer keeps it.
      patience: epochs.
    """

    def __init__(self, epochs_without_gain: Callable[[], int], patience: int):
        super().__init__()
        self._epochs_without_gain, self._patience = epochs_without_gain, patience

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training |= self._epochs_without_gain() >= self._patience


class StopOnSignal(keras.callbacks.Callback):
    """Ends training after the call under way on Ctrl-C or SIGTERM; a second one acts as usual.

    Only within `with`, so that the usual handlers come back whatever happens.
    """

    stopped = False

    def __enter__(self) -> "StopOnSignal":
        self._usual: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is signal.SIG_IGN:
                    continue  # of a job that is not to be interrupted
                self._usual[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training |= self.stopped  # it may have come before training did

    def _stop(self, number: int, frame: Any) -> None:
        self.stopped = True
        if self.model:
            self.model.stop_training = True
        signal.signal(number, self._usual[number])
