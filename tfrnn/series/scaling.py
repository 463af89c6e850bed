"""What forecasters read and predict: scaled values, or all relative to the last values of a series.

The book's forecaster reads the values and predicts the next one (`Scaling`). It must have seen their level before, and
a series that grows leaves it. The direct one (`Relative`) reads differences from the recent past, and predicts what is
to be added to a naive forecast: for each of the next K steps at once, from the level of the last season and the mean
course of the last seasons around their levels. What columns that are known ahead add to the values, such as a
holiday or a price, is found beforehand: the model reads and predicts the values without it.
Letters: N steps of the series, C columns that are read, of which the first D are predicted and the other I are inputs,
F inputs of the model, O origins, K the horizon.
"""

import dataclasses
import json
import re
from typing import Any, ClassVar

import numpy as np

from tfrnn.errors import UserError

SEASONS = 3  # of which the naive forecast takes the mean course
NO_SEASON = 4  # steps of the shorter mean of a series without a season
LARGEST_INPUT = 10.0  # a value far beyond all that were trained on should not carry the forecast away
LARGEST_LOG = 700.0  # of which the exponential function is finite
CLEAR = 2.0  # standard errors that an input's effect must have; a smaller one may be chance


def as_columns(values: Any) -> np.ndarray:
    """Returns a series [N] or [N, C] as float64 [N, C].

    Raises:
      UserError: it has another shape, or a value that is not finite.
    """
    values = np.asarray(values, np.float64)
    if values.ndim not in (1, 2):
        raise UserError(f"expected a series [N] or [N, columns]; got shape {values.shape}")
    values = values.reshape(len(values), -1)
    if len(rows := np.flatnonzero(~np.isfinite(values).all(1))):
        raise UserError(
            f"expected finite values; got {values[rows[0]][~np.isfinite(values[rows[0]])][0]} at index {rows[0]}; fill "
            "gaps first, e.g. by `fill_gaps`"
        )
    return values


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Scales a series to zero mean and unit variance, and predictions of it back to its unit.

    Attributes:
      mean, deviation: what is subtracted, and then divided by.
      train_steps: the number of values that they were computed from.
      step: the step between the dates as `Calendar.description` has it; "": unknown.
    """

    mean: float
    deviation: float
    train_steps: int = 0
    step: str = ""

    num_inputs: ClassVar[int] = 1
    num_outputs: ClassVar[int] = 1
    num_values: ClassVar[int] = 1
    num_columns: ClassVar[int] = 1
    num_known_ahead: ClassVar[int] = 0
    is_direct: ClassVar[bool] = False

    @classmethod
    def fit(cls, values: np.ndarray) -> "Scaling":
        """Returns the scaling by the mean and standard deviation of these values; a constant series is only shifted."""
        as_columns(values)  # is finite
        constant = np.ptp(values) == 0  # its standard deviation may be a rounding error above 0
        deviation = 1.0 if constant else float(np.std(values, dtype=np.float64))
        return cls(float(np.mean(values, dtype=np.float64)), deviation, len(values))

    def scale(self, values: np.ndarray) -> np.ndarray:
        """Returns the scaled values, float32."""
        return ((values - self.mean) / self.deviation).astype(np.float32)

    def unscale(self, values: np.ndarray) -> np.ndarray:
        """Returns scaled values in the unit of the series, float64."""
        return values.astype(np.float64) * self.deviation + self.mean

    def to_json(self) -> str:
        """Returns the content of scaling.json."""
        return json.dumps({"method": "recursive", **dataclasses.asdict(self)}, indent=2) + "\n"


@dataclasses.dataclass(frozen=True)
class Relative:
    """How a series is scaled for a direct forecaster, and its forecasts back.

    Attributes:
      train_steps: the number of leading steps that the numbers below were computed from.
      num_values: D, the number of columns that are predicted, which are the first.
      horizon: K.
      season: the number of steps in a season; 1: none.
      logs: for each column whether its logarithm is read: a positive series whose swings grow with its level.
      means, deviations: of each column, or of its logarithm, [C].
      effects: for each column that is predicted what a deviation of each input adds to it at the same step, in its
        deviations, [D, I]; [D, 0] if the inputs are not known ahead.
      input_scales: the deviation of each difference that the model reads, for each column.
      target_scales: the deviation of what is to be predicted at each number of steps ahead, [K * D].
      step: the step between the dates as `Calendar.description` has it; "": unknown.
    """

    train_steps: int
    num_values: int
    horizon: int
    season: int
    logs: tuple[bool, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    effects: tuple[tuple[float, ...], ...]
    input_scales: tuple[tuple[float, ...], ...]
    target_scales: tuple[float, ...]
    step: str = ""
    is_direct: ClassVar[bool] = True

    @classmethod
    def fit(
        cls, values: np.ndarray, horizon: int, season: int = 1, num_values: int = 0, known_ahead: bool = False
    ) -> "Relative":
        """Returns the scaling of these values, the training part of a series.

        Args:
          values: float [N, C] or [N].
          horizon: K.
          season: the number of steps in a season; 1: none.
          num_values: D; 0: all columns.
          known_ahead: whether the columns after the first D are inputs whose values are known K steps ahead, too.
            Forecasts then need them, and take account of their effects, which are found by least squares.
        Raises:
          UserError: there are too few values, one is not finite, or there are no inputs.
        """
        values = as_columns(values)
        num_steps, num_columns = values.shape
        num_values = num_values or num_columns
        if known_ahead and num_values >= num_columns:
            raise UserError(
                f"`known_ahead`: expected columns beside the {num_values} that are predicted; got none; give a smaller "
                "`num_values`"
            )
        if num_steps < (fewest := fewest_steps(horizon, season)):
            raise UserError(
                f"series too short: {num_steps} values to train on, but `horizon={horizon}` with `season={season}` "
                f"needs {fewest}; take a longer series, or a smaller `horizon` or `season`"
            )
        logs = tuple(_grows_with_level(column, season) for column in values.T)
        shifted = cls(
            train_steps=num_steps,
            num_values=num_values,
            horizon=horizon,
            season=season,
            logs=logs,
            means=(0.0,) * num_columns,
            deviations=(1.0,) * num_columns,
            effects=((),) * num_values,
            input_scales=((1.0,) * len(_differences(values[:, :1], season)),) * num_columns,
            target_scales=(1.0,) * (horizon * num_values),
        )
        if known_ahead:
            shifted = shifted._with_logs_that_inputs_explain(values)
        logged = shifted._scale(values)
        means, deviations = logged.mean(0), np.where(np.ptp(logged, 0) > 0, logged.std(0), 1.0)
        scaled = dataclasses.replace(shifted, means=_floats(means), deviations=_floats(deviations))
        if known_ahead:
            effects, _ = _effects(_surprises(scaled._scale(values), season)[season:], num_values)
            scaled = dataclasses.replace(scaled, effects=tuple(map(_floats, effects)))
        differences = _differences(scaled._read(values), season)  # each [N, C]
        input_scales = [_deviations(difference[season:]) for difference in differences]
        origins = np.arange(min(season, num_steps - 1), num_steps)
        return dataclasses.replace(
            scaled,
            input_scales=tuple(zip(*map(_floats, input_scales), strict=True)),
            target_scales=_floats(_deviations(scaled.targets(values, origins))),
        )

    @property
    def num_inputs(self) -> int:
        """F, the number of values that the model reads at each step."""
        return sum(len(scales) for scales in self.input_scales) + (2 if self.season > 1 else 0)

    @property
    def num_outputs(self) -> int:
        """K * D, the number of values that the model predicts at each step."""
        return self.horizon * self.num_values

    @property
    def num_known_ahead(self) -> int:
        """The number of inputs that forecasts need K steps ahead: I, or 0."""
        return len(self.effects[0])

    def inputs(self, values: np.ndarray) -> np.ndarray:
        """Returns what the model reads at each step, float32 [N, F], given the values [N, C].

        For each column these are the differences from the value before, from means of the recent past, from the value a
        season before and from the naive forecast of it; and the place in the season as a sine and a cosine. What known
        inputs add is taken away before.
        """
        differences = _differences(self._read(values), self.season)
        columns = [
            difference[:, column] / self.input_scales[column][i]
            for column in range(values.shape[1])
            for i, difference in enumerate(differences)
        ]
        if self.season > 1:
            angles = 2 * np.pi * (np.arange(len(values)) % self.season) / self.season
            columns += [np.sin(angles), np.cos(angles)]
        return np.clip(np.stack(columns, 1), -LARGEST_INPUT, LARGEST_INPUT).astype(np.float32)

    def targets(self, values: np.ndarray, origins: np.ndarray) -> np.ndarray:
        """Returns what the model should predict from the first `origins` values, float32 [O, K * D]; NaN: unknown."""
        read = self._read(values)[:, : self.num_values]
        places = origins[:, None] + np.arange(self.horizon)
        known = places < len(values)
        targets = read[np.where(known, places, 0)] - _naive_forecasts(read, origins, self.horizon, self.season)
        targets[~known] = np.nan
        return (targets.reshape(-1, self.num_outputs) / np.array(self.target_scales)).astype(np.float32)

    def forecasts(
        self, values: np.ndarray, origins: np.ndarray, outputs: np.ndarray, future: np.ndarray | None = None
    ) -> np.ndarray:
        """Returns forecasts in the unit of the series, float64 [O, K, D], given the model's outputs [O, K * D].

        Args:
          values: float [N, C].
          origins: the number of values that each forecast knows, [O].
          outputs: float [O, K * D].
          future: the known inputs after the last of the values, [M, I]; a forecast beyond them is NaN.
        """
        read = self._read(values)[:, : self.num_values]
        added = (outputs.astype(np.float64) * np.array(self.target_scales)).reshape(-1, self.horizon, self.num_values)
        forecasts = _naive_forecasts(read, origins, self.horizon, self.season) + added
        if self.num_known_ahead:
            inputs = values[:, self.num_values :]
            inputs = inputs if future is None else np.concatenate([inputs, future])
            places = origins[:, None] + np.arange(self.horizon)
            added_by_inputs = self._added_by(inputs)[np.minimum(places, len(inputs) - 1)]
            forecasts += np.where((places < len(inputs))[..., None], added_by_inputs, np.nan)
        return self.unscale(forecasts)

    def scale(self, values: np.ndarray) -> np.ndarray:
        """Returns columns that are predicted, [..., D], on the scale on which errors are compared, float64."""
        return self._scale(values)

    def unscale(self, scaled: np.ndarray) -> np.ndarray:
        """Returns scaled columns that are predicted, [..., D], in the unit of the series."""
        num = scaled.shape[-1]
        values = scaled * np.array(self.deviations[:num]) + np.array(self.means[:num])
        return np.where(self.logs[:num], np.exp(np.where(self.logs[:num], np.minimum(values, LARGEST_LOG), 0)), values)

    def to_json(self) -> str:
        """Returns the content of scaling.json."""
        return json.dumps({"method": "direct", **dataclasses.asdict(self)}, indent=2) + "\n"

    @property
    def num_columns(self) -> int:
        """C, the number of columns that are read."""
        return len(self.means)

    @property
    def smallest(self) -> np.ndarray:
        """What a value of 0 or less is read as if its logarithm is, [C]; the training part had none."""
        logs, means, deviations = (np.array(each) for each in (self.logs, self.means, self.deviations))
        return np.where(logs, np.exp(np.where(logs, means - 10 * deviations, 0)), 1.0)

    def _with_logs_that_inputs_explain(self, values: np.ndarray) -> "Relative":
        """Returns this with the logarithm of those columns that are predicted of which the inputs so explain more.

        What an input adds now and then makes swings grow with the level, too, or hides that they do.
        """
        grow, of_inputs = self.logs[: self.num_values], self.logs[self.num_values :]
        may = tuple(_may_have_logarithm(column) for column in values[:, : self.num_values].T)
        unexplained = []
        for logs in (may, (False,) * self.num_values):
            scaled = dataclasses.replace(self, logs=(*logs, *of_inputs))._scale(values)
            unexplained.append(_effects(_surprises(scaled, self.season)[self.season :], self.num_values)[1])
        chosen = (m and bool(g if a == b else a < b) for m, g, a, b in zip(may, grow, *unexplained, strict=True))
        return dataclasses.replace(self, logs=(*chosen, *of_inputs))

    def _read(self, values: np.ndarray) -> np.ndarray:
        """Returns scaled columns [N, C], those that are predicted without what known inputs add."""
        scaled = self._scale(values)
        if self.num_known_ahead:
            scaled[:, : self.num_values] -= self._added_by(values[:, self.num_values :])
        return scaled

    def _added_by(self, inputs: np.ndarray) -> np.ndarray:
        """Returns what known inputs [N, I] add to scaled columns, [N, D]."""
        return self._scale(inputs, self.num_values) @ np.array(self.effects).T

    def _scale(self, values: np.ndarray, first: int = 0) -> np.ndarray:
        """Returns some columns scaled, as a new array, of which the first is that with this index."""
        columns = slice(first, first + values.shape[-1])
        logs = np.array(self.logs[columns])
        values = np.asarray(values, np.float64)
        if logs.any():
            values = np.where(logs, np.log(np.maximum(np.where(logs, values, 1.0), self.smallest[columns])), values)
        return (values - np.array(self.means[columns])) / np.array(self.deviations[columns])


def from_json(text: str) -> Scaling | Relative:
    """Returns the scaling with this content of scaling.json.

    Raises:
      UserError: it is none.
    """
    try:
        data: Any = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError("it is no object")
        method = data.pop("method", None)
        if not re.fullmatch(r"([1-9]\d{0,15} [a-z]+( [a-z]+)?)?", data["step"]):
            raise ValueError("it has no known step")
        if method not in ("direct", "recursive"):
            raise ValueError("it has no known method")
        scaling = _relative(data) if method == "direct" else Scaling(**data)
        _check(scaling)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"expected the scaling of a forecast ({' '.join(str(error).split())[:200]})") from None
    return scaling


def _relative(data: dict[str, Any]) -> Relative:
    for name in ("logs", "means", "deviations", "target_scales"):
        data[name] = tuple(data[name])
    for name in ("effects", "input_scales"):
        data[name] = tuple(map(tuple, data[name]))
    return Relative(**data)


def _check(scaling: Scaling | Relative) -> None:
    """Raises ValueError if the numbers of a scaling contradict each other."""
    if isinstance(scaling, Scaling):
        counts, numbers, scales = [scaling.train_steps], [scaling.mean], [scaling.deviation]
    else:
        counts = [scaling.train_steps, scaling.num_values, scaling.horizon, scaling.season]
        numbers = [*scaling.means, *sum(scaling.effects, ())]
        scales = [*scaling.deviations, *scaling.target_scales, *sum(scaling.input_scales, ())]
    valid = all(type(count) is int and 1 <= count <= 2**40 for count in counts)
    valid = valid and all(type(number) is float and abs(number) < 1e300 for number in (*numbers, *scales))
    if valid and isinstance(scaling, Relative):
        columns, differences = scaling.num_columns, len(_differences(np.zeros([1, 1]), scaling.season))
        valid = all(type(log) is bool for log in scaling.logs)
        valid = valid and {len(scaling.logs), len(scaling.deviations), len(scaling.input_scales)} == {columns}
        num_inputs = columns - scaling.num_values
        valid = valid and len(scaling.effects) == scaling.num_values and num_inputs >= 0
        valid = valid and {len(each) for each in scaling.effects} in ({0}, {num_inputs})
        valid = valid and scaling.num_outputs == len(scaling.target_scales)
        valid = valid and all(len(each) == differences for each in scaling.input_scales)
    if not valid or min(scales) <= 0:
        raise ValueError("its numbers contradict each other")


def fewest_steps(horizon: int, season: int) -> int:
    """Returns the smallest number of values to train a direct forecaster on."""
    return 2 * season + horizon + 4


def _trailing_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Returns the mean of each value and up to width - 1 before it, [N, D]."""
    sums = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, 0)])
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(0, ends - width)
    return (sums[ends] - sums[begins]) / (ends - begins)[:, None]


def _differences(scaled: np.ndarray, season: int) -> list[np.ndarray]:
    """Returns the differences that the model reads of scaled columns, each [N, C]."""
    width = season if season > 1 else NO_SEASON
    level = _trailing_mean(scaled, width)
    differences = [
        scaled - _before(scaled, 1),
        scaled - level,
        scaled - _trailing_mean(scaled, 4 * width),
        level - _before(level, width),
    ]
    if season == 1:
        return differences
    return [*differences, scaled - _before(scaled, season), _surprises(scaled, season)]


def _surprises(scaled: np.ndarray, season: int) -> np.ndarray:
    """Returns what each value of scaled columns has beyond its naive forecast one step before, [N, C]."""
    return scaled - _naive_forecasts(scaled, np.arange(len(scaled)), 1, season)[:, 0]


def _effects(surprises: np.ndarray, num_values: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns what a unit of each input adds to each column that is predicted, [D, I]; 0 if that is not clear.

    The second value is the share of the variance that they leave unexplained, [D].
    The naive forecast is linear, so that its surprises [N, D + I] have the effects that the values have, without their
    level, trend and season. Of the least squares solution the least clear effect is left out until all are clear.
    """
    surprises = surprises - surprises.mean(0)
    inputs = surprises[:, num_values:]
    effects, unexplained = np.zeros([num_values, inputs.shape[1]]), np.ones(num_values)
    for d, surprise in enumerate(surprises[:, :num_values].T):
        kept = np.flatnonzero(inputs.std(0) > 1e-9)
        while 0 < len(kept) < len(inputs) - 1:
            read = inputs[:, kept]
            inverse = np.linalg.pinv(read.T @ read, hermitian=True)
            found = inverse @ (read.T @ surprise)
            squares = np.square(surprise - read @ found).sum()
            variance = squares / (len(inputs) - len(kept) - 1)
            clear = np.square(found) - CLEAR**2 * variance * np.diag(inverse)
            if clear.min() >= 0:
                effects[d, kept], unexplained[d] = found, squares / max(np.square(surprise).sum(), 1e-300)
                break
            kept = np.delete(kept, np.argmin(np.square(found) / np.diag(inverse)))
    return effects, unexplained


def _before(values: np.ndarray, steps: int) -> np.ndarray:
    """Returns the values this number of steps before; the first ones for want of any before them."""
    return values[np.maximum(np.arange(len(values)) - steps, 0)]


def _grows_with_level(column: np.ndarray, season: int) -> bool:
    """Returns whether a positive series is better read as its logarithm: its swings grow with its level."""
    if not _may_have_logarithm(column):
        return False
    width = season if season > 1 else NO_SEASON
    blocks = column[len(column) % width :].reshape(-1, width)
    levels, swings = blocks.mean(1), np.ptp(blocks, 1)
    if len(blocks) < 4 or not levels.std() or not swings.std():
        return False
    return bool(np.corrcoef(levels, swings)[0, 1] > 0.5)


def _may_have_logarithm(column: np.ndarray) -> bool:
    return bool(column.min() > 0 and column.max() >= 2 * column.min())


def _deviations(values: np.ndarray) -> np.ndarray:
    """Returns the deviation of each column from 0, without regard to NaN; 1 for a column of zeros."""
    if values.ndim == 2 and values.shape[0] == 0:
        return np.ones(values.shape[1])
    squares = np.sqrt(np.nanmean(np.square(values, dtype=np.float64), 0))
    return np.where(squares > 1e-9, squares, 1.0)


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _naive_forecasts(scaled: np.ndarray, origins: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """Returns the forecasts to which the model adds, [O, K, D]: the level and the mean course of the last seasons."""
    places = origins[:, None] - season + np.arange(horizon) % season  # [O, K]
    if season == 1:
        return scaled[np.maximum(places, 0)]
    level = _trailing_mean(scaled, season)
    total, count = np.zeros([*places.shape, scaled.shape[1]]), np.zeros([*places.shape, 1])
    for back in range(SEASONS):
        last = origins[:, None] - 1 - back * season  # the step up to which this level is the mean
        there = (last >= season - 1)[..., None] & np.ones_like(places, bool)[..., None]
        course = scaled[np.maximum(places - back * season, 0)] - level[np.maximum(last, 0)]
        total, count = total + np.where(there, course, 0), count + there
    return level[np.maximum(origins - 1, 0)][:, None] + total / np.maximum(count, 1)
