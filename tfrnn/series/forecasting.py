"""Scaling a time series, and predicting it one and more steps ahead.

Dive into Deep Learning, section 8.1. Letters: N steps of the series, D values of a step (always 1 here), H units.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrnn.layers.state import State
from tfrnn.runtime import execution


class Scaling(NamedTuple):
    """Scales a series to zero mean and unit variance, and predictions of it back to its unit."""

    mean: float
    deviation: float

    @classmethod
    def fit(cls, values: np.ndarray) -> "Scaling":
        """Returns the scaling by the mean and standard deviation of these values; a constant series is only shifted."""
        constant = np.ptp(values) == 0  # its standard deviation may be a rounding error above 0
        return cls(
            float(np.mean(values, dtype=np.float64)), 1.0 if constant else float(np.std(values, dtype=np.float64))
        )

    def scale(self, values: np.ndarray) -> np.ndarray:
        """Returns the scaled values, float32."""
        return ((values - self.mean) / self.deviation).astype(np.float32)

    def unscale(self, values: np.ndarray) -> np.ndarray:
        """Returns scaled values in the unit of the series, float64."""
        return values.astype(np.float64) * self.deviation + self.mean


class Observed(NamedTuple):
    """What a forecaster returns after each step of a series that it has read."""

    following: tf.Tensor  # [N, D], the predictions of the next step
    state: State  # tensors [N, H], the state after the step


def observe(model: Any, values: np.ndarray) -> Observed:
    """Returns the predictions and states of a forecaster that reads a scaled series, float32 [N, D], step by step."""
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
def _read_own_predictions(model: Any, observed: Observed) -> Observed:
    """Advances by one step: the model reads its own predictions as if they were the next values of the series."""
    predictions, state = model(observed.following[None], observed.state, training=False)
    return Observed(predictions[0], state)


def k_step_predictions(model: Any, observed: Observed, ks: Iterable[int]) -> dict[int, np.ndarray]:
    """Predicts each step of a series from the values up to k steps before it.

    The model does not see the values of the k - 1 steps between; it reads its own predictions of them (equation 8.1.4).

    Args:
      model: a Forecaster.
      observed: what `observe` returned for the scaled series, N steps.
      ks: how many steps ahead to predict, each at least 1.
    Returns:
      For each k, predictions [N, D]; the first k are NaN.
    """
    ks, by_k, advanced = set(ks), {}, observed
    for k in range(1, max(ks) + 1):
        if k in ks:
            by_k[k] = np.full(observed.following.shape, np.nan, np.float32)
            by_k[k][k:] = advanced.following.numpy()[:-k]
        advanced = _read_own_predictions(model, advanced)
    return by_k


def multi_step_predictions(model: Any, observed: Observed, start: int) -> np.ndarray:
    """Predicts all steps from `start` to the end of a series from the values before `start`.

    Args:
      model: a Forecaster.
      observed: what `observe` returned for the scaled series, N steps.
      start: the index of the first step to predict, at least 1.
    Returns:
      Predictions [N - start, D].
    """
    advanced = tf.nest.map_structure(lambda tensor: tensor[start - 1 : start], observed)
    predictions = []
    for _ in range(len(observed.following) - start):
        predictions.append(advanced.following.numpy()[0])
        advanced = _read_own_predictions(model, advanced)
    return np.stack(predictions)


def persistence(values: np.ndarray, k: int) -> np.ndarray:
    """Returns the baseline's predictions of a series: the value k steps before; the first k are NaN."""
    return np.concatenate([np.full_like(values[:k], np.nan), values[:-k]])


class Forecast(NamedTuple):
    """Predictions of a series and those of persistence, in the series' unit; NaN for steps that are not predicted."""

    label: str
    predicted: np.ndarray  # [N]
    persisted: np.ndarray  # [N]


def forecasts(model: Any, values: np.ndarray, scaling: Scaling, train_steps: int, ks: Iterable[int]) -> list[Forecast]:
    """Predicts a series k steps ahead for each k, and all steps after the training steps at once.

    Args:
      model: a Forecaster, trained on the scaled series.
      values: the series in its own unit, [N].
      scaling: the scaling that the model was trained with.
      train_steps: the number of training steps; the forecast labelled `multi-step` begins after them.
      ks: how many steps ahead to predict, each at least 1.
    Returns:
      A forecast for each k, and the one of all steps at once.
    """
    observed = observe(model, scaling.scale(values)[:, None])
    by_k = k_step_predictions(model, observed, ks)
    k_step = [
        Forecast(f"{k}-step", scaling.unscale(predicted)[:, 0], persistence(values, k)) for k, predicted in by_k.items()
    ]
    predicted, persisted = np.full([2, len(values)], np.nan)
    predicted[train_steps:] = scaling.unscale(multi_step_predictions(model, observed, train_steps))[:, 0]
    persisted[train_steps:] = values[train_steps - 1]
    return [*k_step, Forecast("multi-step", predicted, persisted)]


def root_mean_square_error(predictions: np.ndarray, values: np.ndarray) -> float:
    """Returns the root mean square error of predictions, in the unit of the series."""
    return math.sqrt(np.mean(np.square(predictions - values, dtype=np.float64)))
