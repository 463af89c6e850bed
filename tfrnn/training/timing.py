"""Timed: a callback that measures the time it takes itself."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import keras


class Timed(keras.callbacks.Callback):
    """A callback that adds up the time of its own work, so that it can be left out of the training speed.

    Attributes:
      seconds: the time spent within `timed` so far.
    """

    seconds = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """A context whose duration is added to `seconds`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start
