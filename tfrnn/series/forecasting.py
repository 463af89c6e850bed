"""Predicting a time series one and more steps ahead, from many origins, and after its end with intervals.

Dive into Deep Learning, section 8.1. A forecast from an origin o knows the first o values, and predicts those after
them. Letters: N steps of the series, C columns that are read, of which the first D are predicted and the other I are
inputs, H units, O origins, K the horizon, T steps of a window.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from tfrnn.errors import UserError
from tfrnn.series import scores
from tfrnn.series.intervals import interval_widths
from tfrnn.series.scaling import Relative, Scaling, as_columns
from tfrnn.series.scores import persistence

MAX_ORIGINS = 1_000  # from which forecasts are compared with what came; of more, so many are taken evenly
_ORIGINS_AT_ONCE = 256


class Observed(NamedTuple):
    """What a forecaster returns after each step of a series that it has read."""

    following: Any  # tensor [N, D], the predictions of the next step
    state: Any  # tensors [N, H], the state after the step


def observe(model: Any, values: np.ndarray) -> Observed:
    """Returns the predictions and states of a forecaster that reads a scaled series, float32 [N, D], step by step."""
    from tfrnn.series import stepping

    if not model.built:
        model.build()
    return Observed(*stepping.observe(model, np.asarray(values, np.float32)))


def _advance(model: Any, observed: Observed) -> Observed:
    from tfrnn.series import stepping

    return Observed(*stepping.read_own_predictions(model, observed))


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
        advanced = _advance(model, advanced)
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
    advanced = _at(observed, np.array([start - 1]))
    predictions = []
    for _ in range(len(observed.following) - start):
        predictions.append(advanced.following.numpy()[0])
        advanced = _advance(model, advanced)
    return np.stack(predictions)


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


def window_batches(
    values: np.ndarray, scaling: Relative, batch_size: int = 32, num_steps: int = 0, seed: int = 0
) -> Any:
    """Returns `Batches` to train a direct forecaster on, with `known_squared_error` as its loss.

    >>> from tfrnn import series
    >>> values = np.sin(np.arange(120.0))[:, None]  # [N, C]
    >>> scaling = series.Relative.fit(values[:90], horizon=6)
    >>> model = tfrnn.Forecaster(tfrnn.GRUCell(8), scaling.num_inputs, num_outputs=scaling.num_outputs)
    >>> model.compile("adam", loss=series.known_squared_error)
    >>> history = model.fit(series.window_batches(values, scaling), epochs=1, verbose=0)
    >>> series.forecast_ahead(model, scaling, values, horizon=6).predicted.shape
    (6, 1)

    An epoch has always 10 batches of windows of the training part, each from a zero state, which are determined by the
    seed and the epoch. A long series so takes no longer than a short one. Targets beyond the training part are NaN.

    Args:
      values: the series, float [N, C], of which only the training part is read.
      scaling: what was fitted to its training part.
      batch_size: the number of windows in a batch.
      num_steps: the number of steps of a window; 0: by the length and the season.
      seed: determines the windows.
    Raises:
      UserError: the training part has no such window.
    """
    from tfrnn.series.windows import WindowBatches

    num_steps = num_steps or default_num_steps(scaling.train_steps, scaling.season)
    return WindowBatches(values, scaling, batch_size, num_steps, seed)


def known_squared_error(targets: Any, predictions: Any) -> Any:
    """Returns the mean square of the known differences of each step, float [T, B]; a loss in Keras's form.

    Args:
      targets: float [T, B, K * D]; NaN where they are unknown.
      predictions: float [T, B, K * D].
    """
    from tfrnn.series import windows

    return windows.known_squared_error(targets, predictions)


def default_num_steps(train_steps: int, season: int = 1) -> int:
    """Returns how many steps a window of a direct forecaster has by default: two seasons, within bounds."""
    return max(2, min(max(24, 2 * season), 96, (train_steps - min(season, train_steps // 3)) // 2))


def forecasts_from(
    model: Any,
    scaling: Scaling | Relative,
    values: np.ndarray,
    origins: np.ndarray,
    horizon: int,
    num_steps: int = 0,
    future: np.ndarray | None = None,
) -> np.ndarray:
    """Predicts the steps after each of several origins. Of a series without values below 0 it predicts none.

    Args:
      model: a Forecaster, trained on a series that was scaled in this way.
      scaling: a `Relative`, or a `Scaling` for a model that reads its own predictions, as in the book.
      values: the series in its own unit, [N, C] or [N].
      origins: the number of values that each forecast knows, from 1 to N, [O].
      horizon: K; for a `Relative` at most its own.
      num_steps: for a `Relative`: the number of steps before an origin that the model reads; by default that of
        `default_num_steps`.
      future: for a `Relative` whose inputs are known ahead: those after the end of the series, [M, I] or [M].
    Returns:
      Predictions in the unit of the series, [O, K, D]; NaN where inputs that are known ahead are not given.
    Raises:
      UserError: the series has other columns than the model reads or a value that is not finite, an origin is not in
        it, the horizon is longer than the model's, or `future` is not of this shape.
    """
    values = as_columns(values)
    origins = np.asarray(origins)
    if len(wrong := origins[(origins < 1) | (origins > len(values))]):
        raise UserError(f"expected origins from 1 to {len(values)}, the number of values; got {wrong[0]}")
    if values.shape[1] != scaling.num_columns:
        raise UserError(f"expected a series of {scaling.num_columns} columns; got {values.shape[1]}")
    if future is not None:
        future = as_columns(future)
        if future.shape[1] != scaling.num_known_ahead or not scaling.num_known_ahead:
            raise UserError(
                f"expected {scaling.num_known_ahead or 'no'} columns of inputs known ahead; got `future` of shape "
                f"{future.shape}"
            )
    if not isinstance(scaling, Relative):
        advanced, predictions = _at(observe(model, scaling.scale(values)), origins - 1), []
        for k in range(horizon):
            predictions.append(np.asarray(advanced.following))
            advanced = _advance(model, advanced) if k < horizon - 1 else advanced
        return np.maximum(scaling.unscale(np.stack(predictions, 1)), _floors(values, origins))
    if horizon > scaling.horizon:
        raise UserError(
            f"expected at most `horizon={scaling.horizon}`, for which the model was trained; got {horizon}; train "
            "another one"
        )
    from tfrnn.series import stepping

    if not model.built:
        model.build()
    inputs = scaling.inputs(values)
    back = np.arange(1 - (num_steps or default_num_steps(scaling.train_steps, scaling.season)), 1)
    outputs = [
        np.asarray(stepping.read_windows(model, inputs[np.maximum(part - 1 + back[:, None], 0)]))
        for part in np.split(origins, range(_ORIGINS_AT_ONCE, len(origins), _ORIGINS_AT_ONCE))
    ]
    predicted = scaling.forecasts(values, origins, np.concatenate(outputs), future)[:, :horizon]
    return np.maximum(predicted, _floors(values[:, : scaling.num_values], origins))


def _floors(values: np.ndarray, origins: np.ndarray) -> np.ndarray:
    """Returns what no forecast lies below, [O, 1, D]: 0 if no known value of a column does."""
    never_below = np.minimum.accumulate(values)[origins - 1] >= 0
    return np.where(never_below, 0, -np.inf)[:, None]


def _at(observed: Observed, steps: np.ndarray) -> Observed:
    """Returns what was observed after these steps."""
    import tensorflow as tf

    return tf.nest.map_structure(lambda tensor: tf.gather(tensor, steps), observed)


class Backtest(NamedTuple):
    """Forecasts of known values from several origins, in the unit of the series; NaN where there is none to compare.

    Attributes:
      origins: the number of values that each forecast knew, [O].
      values: what came, [O, K, D]: of each number of steps ahead only values that were not trained on.
      predicted: the forecasts, [O, K, D].
      persisted: those of persistence, the last known value, [O, K, D].
      seasonal: the seasonal naive ones, the last known value at the same place in the season, [O, K, D].
      scale: the scale of MASE, [D]: see `naive_error`.
    """

    origins: np.ndarray
    values: np.ndarray
    predicted: np.ndarray
    persisted: np.ndarray
    seasonal: np.ndarray
    scale: np.ndarray

    def errors(self, predictions: np.ndarray, k: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Returns the root mean square and the mean absolute error k steps ahead (0: of all steps), each [D]."""
        differences = predictions - self.values
        differences = differences[:, k - 1 : k] if k else differences
        return np.sqrt(np.nanmean(np.square(differences), (0, 1))), np.nanmean(np.abs(differences), (0, 1))

    def mase(self, predictions: np.ndarray, k: int = 0) -> np.ndarray:
        """Returns the mean absolute scaled error of predictions k steps ahead (0: of all), [D]."""
        return self.errors(predictions, k)[1] / self.scale


def backtest(
    model: Any,
    scaling: Scaling | Relative,
    values: np.ndarray,
    horizon: int,
    season: int = 1,
    num_steps: int = 0,
    train_steps: int = 0,
) -> Backtest:
    """Forecasts the values after the training part from each origin that allows it, at most MAX_ORIGINS.

    Args:
      model, scaling, values, horizon, num_steps: as for `forecasts_from`.
      season: the number of steps in a season for the seasonal naive forecasts; 1: none.
      train_steps: the number of leading values that were trained on; by default those that the scaling was fitted to.
    Raises:
      UserError: as for `forecasts_from`, or there are no values after those that were trained on.
    """
    values = as_columns(values)
    train_steps = train_steps or scaling.train_steps
    if len(values) <= train_steps:
        raise UserError(
            f"expected values after the {train_steps} that were trained on, to compare forecasts with; got "
            f"{len(values)} in all; give a longer series"
        )
    first = max(train_steps - horizon + 1, season, 1)
    origins = np.unique(np.linspace(first, len(values) - 1, min(MAX_ORIGINS, len(values) - first)).astype(int))
    predicted_values = values[:, : scaling.num_values]
    came = scores.following(predicted_values, origins, horizon)
    came[origins[:, None] + np.arange(horizon) < train_steps] = np.nan
    persisted, seasonal = (scores.seasonal_naive(predicted_values, origins, horizon, each) for each in (1, season))
    predicted = forecasts_from(model, scaling, values, origins, horizon, num_steps)
    scale = scores.naive_error(predicted_values[:train_steps], season)
    return Backtest(origins, came, predicted, persisted, seasonal, scale)


class Ahead(NamedTuple):
    """A forecast after the end of a series, in its unit, each [K, D]; a bound is NaN if too few errors are known."""

    predicted: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def forecast_ahead(
    model: Any,
    scaling: Scaling | Relative,
    values: np.ndarray,
    horizon: int,
    tested: Backtest | None = None,
    share: float = 0.8,
    num_steps: int = 0,
    future: np.ndarray | None = None,
) -> Ahead:
    """Predicts the steps after the end of a series, with intervals, which are cut at 0 as forecasts are.

    Args:
      model, scaling, values, horizon, num_steps, future: as for `forecasts_from`.
      tested: earlier forecasts of the model, whose errors give the intervals: see `interval_widths`. By default there
        are none.
      share: the share of the values that the intervals should hold.
    Raises:
      UserError: as for `forecasts_from`, or the inputs that are known ahead are not given for all steps.
    """
    given = 0 if future is None else len(future)
    if scaling.num_known_ahead and given < horizon:
        raise UserError(
            f"expected the inputs of the next {horizon} steps, which the model knows ahead; got those of {given}; give "
            "more of them as `future`, or a smaller `horizon`"
        )
    (predicted,) = forecasts_from(model, scaling, values, np.array([len(values)]), horizon, num_steps, future)
    if tested is None:
        return Ahead(predicted, *np.full([2, *predicted.shape], np.nan))
    widths = widths_of(scaling, tested, share)[:horizon]
    center = scaling.scale(predicted).astype(np.float64)
    floors = _floors(as_columns(values)[:, : scaling.num_values], np.array([len(values)]))[0]
    bounds = (np.maximum(scaling.unscale(center + width), floors) for width in (-widths, widths))
    return Ahead(predicted, *bounds)


def widths_of(scaling: Scaling | Relative, tested: Backtest, share: float) -> np.ndarray:
    """Returns half the widths of the intervals on the scale of the scaling, [K, D], from the errors of a backtest."""
    errors = scaling.scale(tested.predicted).astype(np.float64) - scaling.scale(tested.values)
    return interval_widths(errors, share)
