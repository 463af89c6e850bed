"""SavedModel of a forecast: from the values of a series to those that come next, for TensorFlow without tfrnn.

It holds the scaling (`tfrnn.series.scaling`) beside the model, as TensorFlow's operations. Letters: N steps of the
series, C columns that are read, of which the first D are predicted, K the horizon, T steps of a window, F inputs.
"""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrnn.config.config import ForecastConfig
from tfrnn.errors import UserError
from tfrnn.formats.saved_model import next_steps as next_steps
from tfrnn.series import forecasts_from, scaling
from tfrnn.series.scaling import Relative, Scaling

_TOLERANCE = 1e-3  # of what is compared, on the scale of the scaling; the same operations differ by far less


def write(model: Any, folder: Path, of_series: Relative | Scaling, config: ForecastConfig) -> dict[str, Any]:
    """Writes the signature `forecast`. Returns the types of its inputs and outputs, and the columns."""
    horizon, num_steps = config.series.horizon, config.series.num_steps

    def forecast(values: tf.Tensor, future: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        if isinstance(of_series, Relative):
            predicted = _direct(model, of_series, values, num_steps, future)[:horizon]
        else:
            predicted = _recursive(model, of_series, values, horizon)
        never_below = tf.reduce_min(values[:, : of_series.num_values], 0) >= 0
        return {"predicted": tf.where(never_below, tf.maximum(predicted, 0), predicted)}

    module = tf.Module()
    module.weights = [weight.value for weight in model.weights]
    signature = [tf.TensorSpec([None, of_series.num_columns], tf.float64, "values")]
    inputs = {"values": f"float64 [N, {of_series.num_columns}], in their own unit, the newest last"}
    if isinstance(of_series, Relative) and of_series.num_known_ahead:
        signature.append(tf.TensorSpec([of_series.horizon, of_series.num_known_ahead], tf.float64, "future"))
        inputs["future"] = f"float64 [{of_series.horizon}, {of_series.num_known_ahead}], the inputs after those"
    module.forecast = tf.function(forecast, signature, autograph=False)
    tf.saved_model.save(module, str(folder), {"forecast": module.forecast})
    interface = {
        "inputs": inputs,
        "outputs": {"predicted": f"float64 [{horizon}, {of_series.num_values}], the values that come next"},
    }
    return {"forecast": interface, "columns": [*config.series.column, *config.series.inputs]}


def check(model: Any, folder: Path, of_series: Relative | Scaling, config: ForecastConfig) -> str:
    """Loads the SavedModel and compares its forecasts of series that wander at random with the model's.

    Returns a sentence that tells how much they differ. Raises UserError if it is more than by rounding.
    """
    loaded = tf.saved_model.load(str(folder)).signatures["forecast"]
    steps = np.random.default_rng(0).normal(0, 0.1, [of_series.train_steps, of_series.num_columns])
    series: Any = of_series.unscale(np.cumsum(steps, 0))
    horizon, num_steps, differences = config.series.horizon, config.series.num_steps, []
    future = None
    if isinstance(of_series, Relative) and of_series.num_known_ahead:
        future = series[np.arange(of_series.horizon) % len(series), of_series.num_values :]
    given = {} if future is None else {"future": tf.constant(future)}
    for num_values in {of_series.train_steps, max(1, of_series.train_steps // 3), 2}:
        values = series[:num_values]
        (expected,) = forecasts_from(model, of_series, values, np.array([num_values]), horizon, num_steps, future)
        predicted = loaded(values=tf.constant(values), **given)["predicted"].numpy()
        differences.append(np.abs(of_series.scale(predicted) - of_series.scale(expected)).max())
    if not max(differences) <= _TOLERANCE:  # also if one is NaN
        raise UserError(
            "`format`: expected the exported forecast to be the model's up to rounding, but they differ by "
            f"{max(differences):.1g} deviations, so nothing is exported"
        )
    return f"its forecasts differ from the model's by at most {max(differences):.1g} deviations of the series"


def _recursive(model: Any, of_series: Scaling, values: tf.Tensor, horizon: int) -> tf.Tensor:
    """Returns a forecast [K, 1]: the model reads its own predictions."""
    scaled = tf.cast((values - of_series.mean) / of_series.deviation, tf.float32)
    outputs, state = model(scaled[:, None], model.initial_state(1), training=False)

    def body(k: tf.Tensor, newest: tf.Tensor, state: Any, made: tf.TensorArray) -> tuple:
        following, state = model(newest[None], state, training=False)
        return k + 1, following[0], state, made.write(k, following[0])

    made = tf.TensorArray(tf.float32, horizon, element_shape=[1, 1]).write(0, outputs[-1])
    *_, made = tf.while_loop(lambda k, *_: k < horizon, body, (1, outputs[-1], state, made))
    return tf.cast(made.stack()[:, 0], tf.float64) * of_series.deviation + of_series.mean


def _direct(model: Any, of_series: Relative, values: tf.Tensor, num_steps: int, future: tf.Tensor | None) -> tf.Tensor:
    """Returns a forecast [K, D]: all steps at once, added to the naive forecast."""
    num_predicted, num_values = of_series.num_values, tf.shape(values)[0]
    scaled = _scaled(of_series, values)
    effects = np.reshape(of_series.effects, [num_predicted, -1]).T  # [I, D]
    if future is not None:
        without = scaled[:, :num_predicted] - tf.matmul(scaled[:, num_predicted:], effects)
        scaled = tf.concat([without, scaled[:, num_predicted:]], 1)
    window = tf.gather(_inputs(of_series, scaled), tf.maximum(num_values - num_steps + tf.range(num_steps), 0))
    outputs = model(window[:, None], model.initial_state(1), training=False)[0][-1]
    added = tf.cast(outputs, tf.float64) * np.array(of_series.target_scales)
    naive = _naive_forecasts(scaled[:, :num_predicted], num_values[None], of_series.horizon, of_series.season)
    forecast = naive[0] + tf.reshape(added, [of_series.horizon, num_predicted])
    if future is not None:
        forecast += tf.matmul(_scaled(of_series, future, num_predicted), effects)
    unscaled = forecast * np.array(of_series.deviations[:num_predicted]) + np.array(of_series.means[:num_predicted])
    logs = np.array(of_series.logs[:num_predicted])
    return tf.where(logs, tf.exp(tf.where(logs, tf.minimum(unscaled, scaling.LARGEST_LOG), 0)), unscaled)


def _scaled(of_series: Relative, values: tf.Tensor, first: int = 0) -> tf.Tensor:
    """Returns columns scaled, [N, C] or those from this one on."""
    of_columns = of_series.means, of_series.deviations, of_series.logs
    means, deviations, logs = (np.array(each[first:]) for each in of_columns)
    logged = tf.math.log(tf.maximum(tf.where(logs, values, 1), of_series.smallest[first:]))
    return (tf.where(logs, logged, values) - means) / deviations


def _inputs(of_series: Relative, scaled: tf.Tensor) -> tf.Tensor:
    """Returns what the model reads at each step, float32 [N, F]: see `Relative.inputs`."""
    season, steps = of_series.season, tf.range(tf.shape(scaled)[0])

    def before(values: tf.Tensor, count: int) -> tf.Tensor:
        return tf.gather(values, tf.maximum(steps - count, 0))

    width = season if season > 1 else scaling.NO_SEASON
    level = _trailing_mean(scaled, width)
    differences = [
        scaled - before(scaled, 1),
        scaled - level,
        scaled - _trailing_mean(scaled, 4 * width),
        level - before(level, width),
    ]
    if season > 1:
        surprise = scaled - _naive_forecasts(scaled, steps, 1, season)[:, 0]
        differences += [scaled - before(scaled, season), surprise]
    by_column = tf.stack(differences, 2) / np.array(of_series.input_scales).T[None].transpose(0, 2, 1)
    inputs = tf.reshape(by_column, [-1, len(differences) * of_series.num_columns])
    if season > 1:
        angles = 2 * np.pi * tf.cast(steps % season, tf.float64)[:, None] / season
        inputs = tf.concat([inputs, tf.sin(angles), tf.cos(angles)], 1)
    return tf.cast(tf.clip_by_value(inputs, -scaling.LARGEST_INPUT, scaling.LARGEST_INPUT), tf.float32)


def _trailing_mean(values: tf.Tensor, width: int) -> tf.Tensor:
    sums = tf.concat([tf.zeros_like(values[:1]), tf.cumsum(values)], 0)
    ends = tf.range(1, tf.shape(values)[0] + 1)
    begins = tf.maximum(0, ends - width)
    return (tf.gather(sums, ends) - tf.gather(sums, begins)) / tf.cast(ends - begins, tf.float64)[:, None]


def _naive_forecasts(scaled: tf.Tensor, origins: tf.Tensor, horizon: int, season: int) -> tf.Tensor:
    """Returns the forecasts to which the model adds, [O, K, D]."""
    places = origins[:, None] - season + np.arange(horizon) % season
    if season == 1:
        return tf.gather(scaled, tf.maximum(places, 0))
    level = _trailing_mean(scaled, season)
    total, count = tf.zeros([], tf.float64), tf.zeros([], tf.float64)
    for back in range(scaling.SEASONS):
        last = origins[:, None] - 1 - back * season
        there = tf.cast(last >= season - 1, tf.float64)[..., None]
        course = tf.gather(scaled, tf.maximum(places - back * season, 0)) - tf.gather(level, tf.maximum(last, 0))
        total, count = total + there * course, count + there
    return tf.gather(level, tf.maximum(origins - 1, 0))[:, None] + total / tf.maximum(count, 1)
