"""Naive forecasts to compare with, and the errors of forecasts.

A forecast from an origin o knows the first o values and predicts those at o, o + 1, ... Letters: N steps of the series,
D columns, O origins, K the number of steps ahead (the horizon).
"""

import math

import numpy as np


def persistence(values: np.ndarray, k: int) -> np.ndarray:
    """Returns the baseline's predictions of a series: the value k steps before; the first k are NaN."""
    return np.concatenate([np.full_like(values[:k], np.nan), values[:-k]])


def seasonal_naive(values: np.ndarray, origins: np.ndarray, horizon: int, season: int = 1) -> np.ndarray:
    """Returns naive forecasts: the last known value at the same place in the season.

    Args:
      values: the series, [N, D] or [N].
      origins: the number of known values of each forecast, at least `season`, [O].
      horizon: the number of steps that are predicted, K.
      season: the number of steps in a season; 1 for persistence, the last known value.
    Returns:
      Predictions [O, K, D], or [O, K].
    """
    ahead = np.arange(horizon)
    return values[np.asarray(origins)[:, None] - season + ahead % season]


def following(values: np.ndarray, origins: np.ndarray, horizon: int) -> np.ndarray:
    """Returns the values after each origin, [O, K, D] or [O, K]; NaN beyond the end of the series."""
    places = np.asarray(origins)[:, None] + np.arange(horizon)
    there = places < len(values)
    found = np.asarray(values, np.float64)[np.where(there, places, 0)]
    found[~there] = np.nan
    return found


def root_mean_square_error(predictions: np.ndarray, values: np.ndarray) -> float:
    """Returns the root mean square error of predictions, in the unit of the series."""
    return math.sqrt(np.mean(np.square(predictions - values, dtype=np.float64)))


def mean_absolute_error(predictions: np.ndarray, values: np.ndarray) -> float:
    """Returns the mean absolute error of predictions, in the unit of the series."""
    return float(np.mean(np.abs(predictions - values, dtype=np.float64)))


def naive_error(values: np.ndarray, season: int = 1) -> np.ndarray:
    """Returns the scale of MASE: the mean absolute difference between values a season apart, float64 [D] or a scalar.

    MASE, the mean absolute scaled error (Hyndman and Koehler, 2006), is the mean absolute error of forecasts divided by
    this, taken over the training part. It is NaN for a series that repeats itself exactly, on which it is not defined.

    Args:
      values: the training part of the series, [N, D] or [N], with more than `season` steps.
      season: the number of steps in a season; 1: none.
    """
    differences = np.abs(np.subtract(values[season:], values[:-season], dtype=np.float64)).mean(0)
    return np.where(differences > 0, differences, np.nan)


def coverage(lower: np.ndarray, upper: np.ndarray, values: np.ndarray) -> float:
    """Returns the share of values within their intervals; unknown (NaN) values do not count."""
    known = ~np.isnan(values) & ~np.isnan(lower)
    return float(np.mean(((lower <= values) & (values <= upper))[known])) if known.any() else math.nan
