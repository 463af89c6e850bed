"""Time series: where they come from, how they are scaled, and predictions one and more steps ahead.

Dive into Deep Learning, section 8.1. Letters: N steps of the series, D values of a step (here always 1), H units.
"""

import csv
import math
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrnn.errors import MissingFileError, UserError
from tfrnn.layers.rnn import State
from tfrnn.runtime import runtime


def noisy_sine(num_steps: int = 1000, noise: float = 0.2, seed: int = 0) -> np.ndarray:
    """The book's series, float64 [N]: x_t = sin(0.01 t) + e_t, t = 1..N, with e_t of standard deviation `noise`."""
    t = np.arange(1, num_steps + 1)
    return np.sin(0.01 * t) + np.random.default_rng(seed).normal(0, noise, num_steps)


def read_column(path: str | os.PathLike, column: str = "") -> np.ndarray:
    """A column of a CSV file with a line of names, float64 [N].

    Args:
      path: the file, UTF-8.
      column: its name; may be left out where the file has a single one.
    Raises:
      MissingFileError: there is no such file.
      UserError: no such column, a gap or a text in it, or nothing below its name.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            names = [name.strip() for name in next(rows, [])]
            at = _column(names, column, path)
            numbered = [(rows.line_num, row) for row in rows]
            while numbered and not numbered[-1][1]:
                numbered.pop()  # empty lines at the end are no gap
            return np.array([_number(row, names, at, f"{path}, line {line}") for line, row in numbered])
    except FileNotFoundError:
        raise MissingFileError(f"{path}: expected a CSV file; there is none") from None
    except UserError:
        raise
    except (OSError, ValueError, csv.Error) as error:  # ValueError: of the encoding, or of a NUL in the path
        raise UserError(f"{path}: expected a CSV file in UTF-8; it cannot be read ({error})") from None


def _column(names: list[str], column: str, path: str | os.PathLike) -> int:
    """Where the column stands."""
    if not names or all(_is_number(name) for name in names):
        raise UserError(f"{path}: expected the names of the columns, separated by commas, in line 1; got {names[:3]}")
    if not column and len(names) == 1:
        return 0
    if names.count(column) != 1:
        shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise UserError(f"{path}: expected --column to name one of {shown}; got {column!r}")
    return names.index(column)


def _number(row: list[str], names: list[str], at: int, where: str) -> float:
    if len(row) > len(names):
        raise UserError(f"{where}: expected {len(names)} fields separated by commas; got {len(row)}")
    text = row[at].strip() if at < len(row) else ""
    number = float(text) if _is_number(text) else math.nan
    if not abs(number) < float(np.finfo(np.float32).max):
        what = repr(text) if text else "nothing (a gap)"
        raise UserError(
            f"{where}, column {names[at]!r}: expected a finite number; got {what}. Fill or drop such rows first"
        )
    return number


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # which Python allows between digits


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


@runtime.compiled()
def _observe(model: Any, values: tf.Tensor) -> Observed:
    def step(before: tuple, values_of_step: tf.Tensor) -> tuple:
        predictions, state = model(values_of_step[None, None], before[1], training=False)
        return predictions[0], state

    start = tf.zeros([1, values.shape[1]]), model.initial_state(1)
    following, state = tf.scan(step, values, start)
    return Observed(following[:, 0], tf.nest.map_structure(lambda tensor: tensor[:, 0], state))


@runtime.compiled(reduce_retracing=True)
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
