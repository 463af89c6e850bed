"""Intervals around forecasts, from the errors of earlier forecasts at each number of steps ahead.

The method is split conformal prediction: the width k steps ahead is a quantile of the absolute errors k steps ahead, on
values that were not trained on. No distribution of the errors is assumed; they are assumed to go on as they were.
Letters: O origins, K the horizon, D columns.
"""

import math

import numpy as np


def fewest_errors(share: float) -> int:
    """Returns how many errors are needed for an interval that holds this share of the values."""
    return math.ceil(round(share / (1 - share), 9))


def interval_widths(errors: np.ndarray, share: float) -> np.ndarray:
    """Returns half the width of the interval for each number of steps ahead.

    Of n errors it is the ceil((n + 1) * share)-th smallest absolute one: an interval of this width holds the next value
    with at least this probability if the errors are exchangeable. It does not shrink with the number of steps ahead.

    Args:
      errors: of earlier forecasts, [O, K, D]; NaN where none is known.
      share: the share of the values that the intervals should hold, between 0 and 1.
    Returns:
      Widths [K, D]; NaN if there are fewer errors than `fewest_errors`.
    """
    absolute = np.sort(np.abs(errors), axis=0)  # NaN comes last
    known = (~np.isnan(absolute)).sum(0)
    place = np.ceil(np.round((known + 1) * share, 9)).astype(int)
    widths = np.take_along_axis(absolute, np.clip(place - 1, 0, len(errors) - 1)[None], 0)[0]
    widths = np.where(place <= known, widths, np.nan)
    return np.where(np.isnan(widths), np.nan, np.fmax.accumulate(widths, axis=0))
