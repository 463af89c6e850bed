"""How a series is scaled, and predicted one and more steps ahead.

Dive into Deep Learning, section 8.1. Letters: N steps of the series, D values of a step (here always 1), H units.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrnn.layers.state import State
from tfrnn.runtime import execution


class Scaling(NamedTuple):
    """To zero mean and unit variance, and back."""

    mean: float
    deviation: float

    @classmethod
    def fit(cls, values: np.ndarray) -> "Scaling":
        """Mean and standard deviation of these values; a constant series is only shifted."""
        constant = np.ptp(values) == 0  # whose deviation may be a rounding error
        return cls(
            float(np.mean(values, dtype=np.float64)), 1.0 if constant else float(np.std(values, dtype=np.float64))
        )

    def scale(self, values: np.ndarray) -> np.ndarray:
        return ((values - self.mean) / self.deviation).astype(np.float32)

    def unscale(self, values: np.ndarray) -> np.ndarray:
        return values.astype(np.float64) * self.deviation + self.mean


class Observed(NamedTuple):
    """What a forecaster has after each step of a series."""

    following: tf.Tensor  # [N, D], its prediction of the next step
    state: State  # of [N, H] tensors


def observe(model: Any, values: np.ndarray) -> Observed:
    """Reads a scaled series, float32 [N, D], from its beginning, one step after the other."""
    if not model.built:
        model.build()
    return _observe(model, tf.constant(values))


@execution.tf_function()
def _observe(model: Any, values: tf.Tensor) -> Observed:
    def step(before: tuple, values_of_step: tf.Tensor) -> tuple:
        predictions, state = model(values_of_step[None, None], before[1], training=False)
        return predictions[0], state

    start = tf.zeros([1, values.shape[1]]), model.initial_state(1)
    following, state = tf.scan(step, values, start)
    return Observed(following[:, 0], tf.nest.map_structure(lambda tensor: tensor[:, 0], state))


@execution.tf_function(reduce_retracing=True)
def _go_on(model: Any, observed: Observed) -> Observed:
    """One step further, the predictions taken for what has come."""
    predictions, state = model(observed.following[None], observed.state, training=False)
    return Observed(predictions[0], state)


def k_step_predictions(model: Any, observed: Observed, ks: Iterable[int]) -> dict[int, np.ndarray]:
    """For each k, [N, D]: the prediction of step t from what was known at t - k; NaN in the first k steps.

    Nothing between t - k and t is seen: the model reads its own predictions of those steps (equation 8.1.4).
    """
    ks, found, now = set(ks), {}, observed
    for k in range(1, max(ks) + 1):
        if k in ks:
            found[k] = np.full(observed.following.shape, np.nan, np.float32)
            found[k][k:] = now.following.numpy()[:-k]
        now = _go_on(model, now)
    return found


def multi_step_predictions(model: Any, observed: Observed, start: int) -> np.ndarray:
    """Steps `start` to N - 1, [N - start, D], from what was known before `start` alone."""
    now = tf.nest.map_structure(lambda tensor: tensor[start - 1 : start], observed)
    predictions = []
    for _ in range(len(observed.following) - start):
        predictions.append(now.following.numpy()[0])
        now = _go_on(model, now)
    return np.stack(predictions)


def persistence(values: np.ndarray, k: int) -> np.ndarray:
    """The baseline: each step taken to be as k steps before; NaN in the first k steps."""
    return np.concatenate([np.full_like(values[:k], np.nan), values[:-k]])


class Forecast(NamedTuple):
    """Predictions of one kind beside the baseline, in the series' unit; NaN where there is none."""

    label: str
    predicted: np.ndarray  # [N]
    persisted: np.ndarray  # [N]


def forecasts(model: Any, values: np.ndarray, scaling: Scaling, train_steps: int, ks: Iterable[int]) -> list[Forecast]:
    """A series [N] predicted k steps ahead for each k, and all that follows the first train_steps at once."""
    observed = observe(model, scaling.scale(values)[:, None])
    by_k = k_step_predictions(model, observed, ks)
    found = [
        Forecast(f"{k}-step", scaling.unscale(predicted)[:, 0], persistence(values, k)) for k, predicted in by_k.items()
    ]
    predicted, persisted = np.full([2, len(values)], np.nan)
    predicted[train_steps:] = scaling.unscale(multi_step_predictions(model, observed, train_steps))[:, 0]
    persisted[train_steps:] = values[train_steps - 1]
    return [*found, Forecast("multi-step", predicted, persisted)]


def root_mean_square_error(predictions: np.ndarray, values: np.ndarray) -> float:
    """In the unit of the series."""
    return math.sqrt(np.mean(np.square(predictions - values, dtype=np.float64)))
