"""How many epochs take a given time, from the speed of the first seconds."""

import dataclasses
import math
import statistics
import time
from typing import Any

import keras
import tensorflow as tf

from tfrnn.data.batches import Batches
from tfrnn.runtime import devices, host

MEASURED_SECONDS = 3.0  # of training at least, without the time to trace
MEASURED_SHARE, MOST_MEASURED_SECONDS = 0.04, 12.0  # of the whole time, and what is enough of it
MOST_EPOCHS_PER_PASS = 1000
TOLERATED = 1.03  # of the time: a little too long is nearer than an epoch too few
ENOUGH_OF_MOST = 0.97  # of the steps that the best division allows
FEWEST_EPOCHS = 5  # so that the best weights are chosen among some


@dataclasses.dataclass(frozen=True)
class Speed:
    """How fast a trainer is, in seconds.

    Attributes:
      step: for a training step.
      epoch: for what an epoch takes beside its steps: the validation.
      start: for tracing, before the first step.
    """

    step: float
    epoch: float
    start: float

    def seconds(self, epochs: int, epochs_per_pass: int, num_batches: int) -> float:
        """Returns the time that epochs take, given the number of batches of a pass; without the start."""
        return epochs * (num_batches / epochs_per_pass * self.step + self.epoch)


class _StopAfter(keras.callbacks.Callback):
    """Stops training when steps have been made for some seconds; the first call, which traces, does not count."""

    def __init__(self, seconds: float):
        super().__init__()
        self._seconds, self._start = seconds, 0.0
        self.tokens_per_sec: float | None = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if not self._start:
            self._start = time.perf_counter()
        self.tokens_per_sec = (logs or {}).get("tokens_per_sec") or self.tokens_per_sec
        if time.perf_counter() - self._start >= self._seconds and self.tokens_per_sec:
            self.model.stop_training = True


def measure(trainer: Any, batches: Batches, validation: Batches | None, time_in_all: float = 0.0) -> Speed:
    """Trains for some seconds, and returns how fast that was; the trainer is of no use afterwards.

    Args:
      trainer: a `Trainer` before its first step.
      batches, validation: as for Trainer.fit.
      time_in_all: the time in seconds for which a speed is asked: for a longer one it is measured for longer.
    """
    stop = _StopAfter(max(MEASURED_SECONDS, min(MEASURED_SHARE * time_in_all, MOST_MEASURED_SECONDS)))
    history = trainer.fit(batches, 10**9, validation, [stop]).history
    seconds, tracing = history.get("seconds", [])[1:], trainer.excluded_seconds["tracing"]  # the first epoch traces
    if len(seconds) > 1:  # short epochs, which take some time of their own
        step = batches.batch_size * batches.num_steps / statistics.harmonic_mean(history["tokens_per_sec"][1:])
        return Speed(step, max(0.0, statistics.fmean(seconds) - batches.num_batches(0) * step), tracing)
    assert stop.tokens_per_sec
    step = batches.batch_size * batches.num_steps / stop.tokens_per_sec
    if validation is None:
        return Speed(step, 0.0, tracing)
    start = time.perf_counter()
    trainer.evaluate(validation)
    traced = time.perf_counter()
    trainer.evaluate(validation)
    seconds_per_epoch = time.perf_counter() - traced
    return Speed(step, seconds_per_epoch, tracing + max(0.0, traced - start - seconds_per_epoch))


def epochs_in(
    seconds: float, speed: Speed, num_batches: int, max_passes: float = math.inf, epochs_per_pass: int = 0
) -> tuple[int, int]:
    """Returns the number of epochs that fill a time, and the number of epochs of a pass.

    A pass is divided only so that nearly as many steps as possible are made in whole epochs, since each epoch takes
    some time of its own. If the time is too short for FEWEST_EPOCHS, it is divided further.

    Args:
      seconds: the time.
      speed: that of the trainer.
      num_batches: the number of batches of a pass.
      max_passes: the number of passes that are enough, whatever the time.
      epochs_per_pass: the number of epochs of a pass if it is given.
    """

    def epochs(per_pass: int) -> int:
        fitting = TOLERATED * seconds / speed.seconds(1, per_pass, num_batches)
        return max(1, int(min(fitting, max_passes * per_pass)))

    divisions = [epochs_per_pass] if epochs_per_pass else range(1, min(num_batches, MOST_EPOCHS_PER_PASS) + 1)
    enough = [per_pass for per_pass in divisions if epochs(per_pass) >= FEWEST_EPOCHS] or [divisions[-1]]
    most_passes = max(epochs(per_pass) / per_pass for per_pass in enough)
    per_pass = next(per_pass for per_pass in enough if epochs(per_pass) / per_pass >= ENOUGH_OF_MOST * most_passes)
    return epochs(per_pass), per_pass


def flops_per_second(device: str) -> float:
    """Returns how many floating-point operations a device does in a second, in products as recurrent layers have them.

    Args:
      device: as for `devices.device_name`.
    """
    rows, units, count = 32, 512, 20
    with tf.device(devices.device_name(device)):
        chains = [tf.ones([rows, units]) for _ in range(host.num_cores())]  # in parallel, as chains of a batch are
        kernel = tf.eye(units)

        @tf.function(autograph=False)
        def products() -> list[tf.Tensor]:
            outputs = chains
            for _ in range(count):
                outputs = [tf.matmul(output, kernel) for output in outputs]
            return [tf.reduce_sum(output) for output in outputs]

        seconds = []
        for _ in range(30):
            start = time.perf_counter()
            for total in products():
                total.numpy()
            seconds.append(time.perf_counter() - start)
    return len(chains) * count * 2 * rows * units**2 / min(seconds)  # what else the machine does only slows them
