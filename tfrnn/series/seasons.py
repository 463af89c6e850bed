"""Finding the season of a series: the number of steps after which it repeats itself.

Letters: N steps of the series, D columns.
"""

from collections.abc import Iterable

import numpy as np

from tfrnn.series import scores
from tfrnn.series.scaling import as_columns

# A season counts if its naive forecast has at most this share of the error of persistence: one that the dates suggest,
# and one of the many lags that may be alike by chance.
GAIN, GAIN_BY_CHANCE = 0.9, 0.85
_LONGEST_LAG = 1_000
_MOST_LAGS = 10  # that are compared
_LONGEST_PART = 20_000  # of the end of a long series, which is searched


def find_season(values: np.ndarray, candidates: Iterable[int] = (), horizon: int = 0) -> int:
    """Returns the number of steps in a season of a series, or 1 if it has none.

    Compared are the errors of seasonal naive forecasts, and that of persistence. The candidates are the given ones or,
    without any, the lags at which the changes of the series are most alike, of which it has three times as many steps.

    Args:
      values: the training part, [N, D] or [N].
      candidates: numbers of steps that the dates suggest, as `Calendar.seasons`.
      horizon: the number of steps ahead at which errors count; 0: the length of the season.
    """
    values = as_columns(values)[-_LONGEST_PART:]
    given = [season for season in candidates if 1 < season <= len(values) // 3]
    # Dates are believed before what is found, and short seasons before long ones that are hardly better.
    best, error = 1, 1.0
    for season in sorted(given) or _alike_lags(values):
        share = _share_of_persistence(values, season, horizon or season)
        if share < GAIN * error and (given or share < GAIN_BY_CHANCE):
            best, error = season, share
    return best


def _share_of_persistence(values: np.ndarray, season: int, horizon: int) -> float:
    """Returns the error of seasonal naive forecasts as a share of that of persistence, the mean over the columns."""
    origins = np.unique(np.linspace(season, len(values) - 1, 500).astype(int))
    later = scores.following(values, origins, min(horizon, 2 * season))
    shares = []
    naive, persisted = (scores.seasonal_naive(values, origins, later.shape[1], each) for each in (season, 1))
    for column in range(values.shape[1]):
        errors = [np.nanmean(np.abs(later - forecast)[..., column]) for forecast in (naive, persisted)]
        shares.append(errors[0] / errors[1] if errors[1] > 0 else 1.0)
    return float(np.mean(shares))


def _alike_lags(values: np.ndarray) -> list[int]:
    """Returns lags at which the autocorrelation of the changes has its highest clear peaks, the shortest first."""
    longest = min(_LONGEST_LAG, len(values) // 3)
    if longest < 3:
        return []
    changes = np.diff(values, axis=0)
    changes -= changes.mean(0)
    size = 2 ** int(np.ceil(np.log2(2 * len(changes))))
    power = np.abs(np.fft.rfft(changes, size, axis=0)) ** 2
    products = np.fft.irfft(power, size, axis=0)[: longest + 2]
    alike = (products / np.where(products[0] > 0, products[0], 1)).mean(1)
    clear = max(0.15, 3 / np.sqrt(len(changes)))
    peaks = [lag for lag in range(2, longest + 1) if alike[lag] >= max(alike[lag - 1], alike[lag + 1], clear)]
    return sorted(sorted(peaks, key=lambda lag: -alike[lag])[:_MOST_LAGS])
