"""Time series: reading them, scaling them, and predicting them one and more steps ahead (section 8.1 of the book).

Input: a file of numbers (`read_series`) or values [N] or [N, D], and a trained `Forecaster`. Output: predictions of
known values from many origins (`backtest`) beside naive ones, and of the values after the end with intervals
(`forecast_ahead`), all in the unit of the series. `Scaling` is for the book's forecaster, which predicts the next step
and reads its own predictions; `Relative` and `window_batches` are for one that predicts all steps ahead at once.
`calendars` has the dates of the steps, `seasons` finds the season, `scores` has naive forecasts and errors. Only what
runs a model loads TensorFlow.
"""

from tfrnn.series.calendars import Calendar
from tfrnn.series.forecasting import (
    Ahead,
    Backtest,
    Forecast,
    Observed,
    backtest,
    default_num_steps,
    forecast_ahead,
    forecasts,
    forecasts_from,
    k_step_predictions,
    known_squared_error,
    multi_step_predictions,
    observe,
    window_batches,
)
from tfrnn.series.intervals import interval_widths
from tfrnn.series.reading import SeriesFile, fill_gaps, noisy_sine, read_column, read_series
from tfrnn.series.scaling import Relative, Scaling
from tfrnn.series.scores import (
    coverage,
    following,
    mean_absolute_error,
    naive_error,
    persistence,
    root_mean_square_error,
    seasonal_naive,
)
from tfrnn.series.seasons import find_season

__all__ = [
    "Ahead",
    "Backtest",
    "Calendar",
    "Forecast",
    "Observed",
    "Relative",
    "Scaling",
    "SeriesFile",
    "backtest",
    "coverage",
    "default_num_steps",
    "fill_gaps",
    "find_season",
    "following",
    "forecast_ahead",
    "forecasts",
    "forecasts_from",
    "interval_widths",
    "k_step_predictions",
    "known_squared_error",
    "mean_absolute_error",
    "multi_step_predictions",
    "naive_error",
    "noisy_sine",
    "observe",
    "persistence",
    "read_column",
    "read_series",
    "root_mean_square_error",
    "seasonal_naive",
    "window_batches",
]
