"""The time that callbacks take for themselves."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import keras


class Timed(keras.callbacks.Callback):
    """A callback that adds up the time of its own work in `seconds`."""

    seconds = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start
