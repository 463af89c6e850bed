"""Loops that make many steps in one call, which TensorFlow runs without Python in between."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tfrnn.layers.state import State
from tfrnn.training.replicas import OneReplica
from tfrnn.training.step import AnyBatch, EvalStep, Sums, TrainStep

CALL_SECONDS = 1.0  # about how long a call lasts; only between calls can training be interrupted


def compile_train_loop(step: TrainStep, replicas: OneReplica, jit_compile: bool) -> Any:
    """Returns the compiled function that makes many training steps in a call.

    It takes an iterator of batches, with the rows of this process's replicas; the number of steps, an int32 scalar; the
    state of all B rows; and the sums before the first step. It stops early at a step that is not finite, and returns
    the state of all B rows and the sums after the last finite step, and the gradient norm of each finite step.
    """
    make_step = replicas.train_step(step, jit_compile)

    @tf.function(autograph=False)
    def train(iterator: Iterator[AnyBatch], num_steps: tf.Tensor, state: State, sums: Sums) -> tuple:
        def body(done: tf.Tensor, finite: tf.Tensor, state: State, sums: Sums, norms: tf.TensorArray) -> tuple:
            result = make_step(next(iterator), state, sums)
            norms = norms.write(done, result.gradient_norm)
            return done + tf.cast(result.is_finite, tf.int32), result.is_finite, result.state, result.sums, norms

        norms = tf.TensorArray(tf.float32, num_steps, element_shape=[])
        done, _, state, sums, norms = tf.while_loop(
            lambda done, finite, *_: finite & (done < num_steps), body, (0, True, replicas.divide(state), sums, norms)
        )
        return replicas.gather(state), sums, norms.stack()[:done]

    return train


def compile_eval_loop(step: EvalStep, replicas: OneReplica, jit_compile: bool) -> Any:
    """Returns the compiled function that makes many evaluation steps in a call.

    It takes an iterator and a number of steps, as for training, and the state and the sums of each replica, as from
    `OneReplica.begin_evaluation`; and returns the state and the sums of each replica after the last step.
    """
    make_step = replicas.eval_step(step, jit_compile)

    @tf.function(autograph=False)
    def evaluate(iterator: Iterator[AnyBatch], num_steps: tf.Tensor, state: State, sums: Sums) -> tuple:
        _, state, sums = tf.while_loop(
            lambda done, *_: done < num_steps,
            lambda done, state, sums: (done + 1, *make_step(next(iterator), state, sums)),
            (0, state, sums),
        )
        return state, sums

    return evaluate


class Timer:
    """Times the calls of a compiled loop, and decides how many steps the next call makes.

    Args:
      loop: the compiled function.

    Attributes:
      steps_per_call: the number of steps that take about CALL_SECONDS; 1 until a call has been timed.
      seconds_tracing: the duration of the calls since `start` in which TensorFlow traced.
      steps_per_second: of the calls since `start` that did not trace; None if all did.
    """

    steps_per_call, seconds_tracing, steps_per_second = 1, 0.0, None

    def __init__(self, loop: Any):
        self._loop = loop

    def start(self) -> None:
        """Begins to time: what happens between calls counts too."""
        self._start, self._steps, self.seconds_tracing, self.steps_per_second = time.perf_counter(), 0, 0.0, None

    @contextlib.contextmanager
    def call(self, num_steps: int) -> Iterator[None]:
        """Returns a context for one call of `num_steps` steps, whose results must be computed when it ends.

        A call that raises an error is not counted.
        """
        traces, start = self._loop.experimental_get_tracing_count(), time.perf_counter()
        yield
        if self._loop.experimental_get_tracing_count() > traces:
            self.seconds_tracing += time.perf_counter() - start
            return
        self._steps += num_steps
        self.steps_per_second = self._steps / (time.perf_counter() - self._start - self.seconds_tracing)
        self.steps_per_call = max(1, int(CALL_SECONDS * self.steps_per_second))
