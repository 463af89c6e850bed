"""Time series: reading them, scaling them, and predicting them one and more steps ahead (section 8.1 of the book).

Input: a CSV file or values [N], and a trained `Forecaster`. Output: predictions k steps ahead, the naive predictions to
compare them with (persistence: the value k steps before), and root mean square errors, all in the unit of the series.
"""

from tfrnn.series.forecasting import (
    Forecast,
    Observed,
    Scaling,
    forecasts,
    k_step_predictions,
    multi_step_predictions,
    observe,
    persistence,
    root_mean_square_error,
)
from tfrnn.series.reading import noisy_sine, read_column

__all__ = [
    "Forecast",
    "Observed",
    "Scaling",
    "forecasts",
    "k_step_predictions",
    "multi_step_predictions",
    "noisy_sine",
    "observe",
    "persistence",
    "read_column",
    "root_mean_square_error",
]
