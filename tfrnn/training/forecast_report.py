"""What `forecast` tells of a series: the next values, the errors of earlier forecasts, and the files with them."""

import csv
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfrnn.cli import messages
from tfrnn.config.config import ForecastConfig
from tfrnn.errors import UserError
from tfrnn.runs import run_dir as run_dir_lib
from tfrnn.runs.run_dir import SeriesRunDir
from tfrnn.runtime import durable
from tfrnn.series import calendars, intervals
from tfrnn.series import scaling as scaling_lib
from tfrnn.series.forecasting import Ahead, Backtest
from tfrnn.series.reading import SeriesFile

_MOST_DIGITS = 12  # of a number that is printed or written
MULTI_STEP = -1  # in place of the number of steps ahead: all those after the training part, as in the book


class ForecastReport:
    """What is told of a run on a series: its inputs before it trains, and its forecasts and their errors after.

    Args:
      config: the settings, all of them known.
      series: what was read.
      scaling: the `Relative` or `Scaling` that was fitted to it.
    """

    def __init__(self, config: ForecastConfig, series: SeriesFile, scaling: Any):
        self._config, self._series, self._scaling, self._settings = config, series, scaling, config.series
        self.name = Path(self._settings.csv).stem.removesuffix(".csv") if self._settings.csv else "sine"
        self._names = series.names[: scaling.num_values]
        self._is_recursive = self._settings.method == "recursive"
        self._is_book = self._is_recursive and not self._settings.csv

    def write(self, model: Any, run: SeriesRunDir, copies: Mapping[str, str]) -> None:
        """Prints the forecast and the table of errors, and writes the files.

        Args:
          model: the trained forecaster.
          run: its run directory, entered.
          copies: the paths for copies of the table (`output`) and of the picture (`plot`); "" for none.
        Raises:
          UserError: a file cannot be written.
        """
        from tfrnn.series import backtest, forecast_ahead

        settings, values, scaling = self._settings, self._series.values, self._scaling
        tested = backtest(model, scaling, values, settings.horizon, settings.season, settings.num_steps)
        future = self._series.future if scaling.num_known_ahead else None
        ahead = forecast_ahead(
            model, scaling, values, settings.horizon, tested, settings.interval, settings.num_steps, future
        )
        held_out = len(values) - scaling.train_steps
        if np.isnan(ahead.lower).any():
            messages.note(
                f"no interval of `interval={settings.interval:g}` is known: it needs the errors of "
                f"{intervals.fewest_errors(settings.interval)} forecasts, and {held_out} steps are held out"
            )
        dates = self.dates()
        if not self._is_book:
            self._print_ahead(dates, ahead)
        rows = self._print_errors(model, tested, held_out)
        self._write_files(run, copies, dates, ahead, tested, rows, model)

    def about_inputs(self) -> list[str]:
        """Returns sentences about what is known of the inputs ahead, and what they add to the values."""
        inputs, scaling = self._settings.inputs, self._scaling
        if not inputs:
            return []
        if not scaling.num_known_ahead and (steps := self._series.num_known_ahead):
            return [
                f"the run began without `inputs` after the last value, so those of the next {steps} steps are not "
                "read; begin another run to use them"
            ]
        if not scaling.num_known_ahead:
            return ["`inputs` are known up to the present only: there are no lines with them after the last value"]
        return [self._effect(d, i) for d in range(len(self._names)) for i in range(len(inputs))]

    def _effect(self, d: int, i: int) -> str:
        """Returns in words what an input adds to a column that is predicted."""
        name, of, scaling = self._settings.inputs[i], self._names[d], self._scaling
        column = scaling.num_values + i
        effect = scaling.effects[d][i] * scaling.deviations[d] / scaling.deviations[column]
        if effect == 0:
            return f"{name}: no clear effect on {of}"
        more = "twice as much" if scaling.logs[column] else "each 1 more"
        effect *= math.log(2) if scaling.logs[column] else 1
        if scaling.logs[d]:
            return f"{name}: {more} multiplies {of} by {math.exp(min(effect, scaling_lib.LARGEST_LOG)):.4g}"
        return f"{name}: {more} adds {effect:.4g} to {of}"

    def dates(self) -> list[str]:
        """Returns the dates of the forecast, or the numbers of its steps. Raises UserError if there are no such."""
        horizon, calendar = self._settings.horizon, self._series.calendar
        first = len(self._series.values) + 1
        return calendar.after(horizon) if calendar else [str(step) for step in range(first, first + horizon)]

    def _print_ahead(self, dates: list[str], ahead: Ahead) -> None:
        share = f"{100 * self._settings.interval:g}%"
        known = "no" if np.isnan(ahead.lower).all() else share
        season = f", season of {self._settings.season} steps" if self._settings.season > 1 else ""
        calendar = self._series.calendar
        step = f", a step of {calendar.description}" if calendar and calendar.unit != calendars.NUMBERS else ""
        steps = f"{len(dates)} steps" if len(dates) > 1 else "step"
        print(f"{self.name}: the next {steps}{step}{season}; {known} intervals from the errors below")
        shown = len(dates) if len(dates) <= 24 else 12
        columns = [[self._series.date_name or "step", *dates[:shown]]]
        for d, name in enumerate(self._names):
            digits = _digits_to_tell_apart(ahead.lower[:, d], ahead.upper[:, d])
            predicted, lower, upper = ([_number(number, digits) for number in each[:shown, d]] for each in ahead)
            cells = [f"{a:>9} [{b}, {c}]" for a, b, c in zip(predicted, lower, upper, strict=True)]
            columns.append([f"{name[:24]:>24}", *(f"{cell:>24}" for cell in cells)])
        widths = [max(map(len, column)) for column in columns]
        for date, *cells in zip(*columns, strict=True):
            aligned = (f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
            print(f"{date:<{widths[0]}}  {'  '.join(aligned)}")
        if shown < len(dates):
            print(f"... and {len(dates) - shown} more, in the file")
        print()

    def _print_errors(self, model: Any, tested: Backtest, held_out: int) -> list[list[Any]]:
        """Prints the table of errors, and returns its rows: column, k, and the errors."""
        from tfrnn.series import forecasting

        settings, scaling = self._settings, self._scaling
        rows: list[list[Any]] = []
        seasonal = settings.season > 1
        for d, name in enumerate(self._names):
            of = f"{self.name}, {name}" if len(self._names) > 1 else self.name
            print(
                f"{of}: trained on steps 1 to {scaling.train_steps}; root mean square error on the {held_out} steps "
                f"after"
            )
            head = f"{'predictions':<12}{'model':>12}{'persistence':>13}"
            print(head + (f"{'seasonal':>12}" if seasonal else "") + f"{'MASE':>8}")
            multi_step = [MULTI_STEP] if self._is_recursive else []
            for k in [*self._ks(), *multi_step, *([] if self._is_book else [0])]:
                if k == MULTI_STEP:
                    label, errors, mase = "multi-step", *self._all_at_once(model, forecasting, tested)
                else:
                    label = f"{k}-step" if k else "all"
                    kinds = (tested.predicted, tested.persisted, tested.seasonal)
                    errors = [float(tested.errors(each, k)[0][d]) for each in kinds]
                    mase = [float(tested.mase(each, k)[d]) for each in kinds]
                rows.append([name, label, *errors, *mase])
                naive = [errors[1], *([errors[2]] if seasonal else [])]
                beaten = [
                    word for word, error in zip(("persistence", "seasonal"), naive, strict=False) if errors[0] >= error
                ]
                remark = f"  does not beat {' and '.join(beaten)}" if beaten else ""
                numbers = f"{_number(errors[0]):>12}{_number(errors[1]):>13}"
                numbers += f"{_number(errors[2]):>12}" if seasonal else ""
                print(f"{label:<12}{numbers}{_number(mase[0], 3):>8}{remark}", flush=True)
            if not self._is_book:
                print(self._conclusion(rows[-1], tested), flush=True)
        return rows

    def _all_at_once(self, model: Any, forecasting: Any, tested: Backtest) -> tuple[list[float], list[float]]:
        """Returns the errors, and MASE, of the forecast of all steps after the training part, as in the book."""
        values, train_steps = self._series.values[:, 0], self._scaling.train_steps
        later = values[train_steps:]
        start = np.array([train_steps])
        (predicted,) = forecasting.forecasts_from(model, self._scaling, values, start, len(later))
        naive = [
            forecasting.scores.seasonal_naive(values, start, len(later), each)[0] for each in (1, self._settings.season)
        ]
        errors = [forecasting.scores.root_mean_square_error(each, later) for each in (predicted[:, 0], *naive)]
        absolute = [forecasting.scores.mean_absolute_error(each, later) for each in (predicted[:, 0], *naive)]
        return errors, [error / float(tested.scale[0]) for error in absolute]

    def _ks(self) -> list[int]:
        """Returns the numbers of steps ahead to show."""
        horizon, season = self._settings.horizon, self._settings.season
        if self._settings.ks:
            return [k for k in self._settings.ks if k <= horizon]
        wanted = {2**i for i in range(horizon.bit_length())} | {season, horizon}
        return sorted(k for k in wanted if k <= horizon)

    def _conclusion(self, row: list[Any], tested: Backtest) -> str:
        """Returns the last line: whether the forecast is better than the naive ones, by MASE over all steps ahead."""
        name, _, *numbers = row
        mase, persistence, seasonal = numbers[3:]
        if math.isnan(mase):
            exact, error = f"{name} repeats itself exactly in training", numbers[0]
            best, naive = min((numbers[2], "the seasonal naive forecast"), (numbers[1], "persistence"))
            if error == best == 0:
                return f"{exact}: so do forecast and values"
            verdict = "beats" if error < best else "does not beat"
            advice = "" if error < best else "; use that instead"
            return f"{exact}, and its forecast {verdict} {naive}: error {error:.3g} against {best:.3g}{advice}"
        best, naive = min((seasonal, "the seasonal naive forecast"), (persistence, "persistence"))
        if self._settings.season == 1:
            best, naive = persistence, "persistence"
        if mase >= best:
            return f"the forecast of {name} does not beat {naive}: MASE {mase:.3f} against {best:.3f}; use that instead"
        from_origins = f"from {len(tested.origins)} origins"
        return f"the forecast of {name} beats {naive}: MASE {mase:.3f} against {best:.3f}, {from_origins}"

    def _write_files(
        self,
        run: SeriesRunDir,
        copies: Mapping[str, str],
        dates: list[str],
        ahead: Ahead,
        tested: Backtest,
        rows: list[list[Any]],
        model: Any,
    ) -> None:
        from tfrnn.plots.curves import plot_ahead

        head = [self._series.date_name or "step"]
        for name in self._names:
            head += [name, f"{name}_lower", f"{name}_upper"]
        lines = _to_csv([head, *self._ahead_rows(dates, ahead)])
        names = ("error", "persistence", "seasonal_naive", "MASE", "MASE_persistence", "MASE_seasonal_naive")
        errors = _to_csv([["column", "predictions", *names], *([*row[:2], *map(_exact, row[2:])] for row in rows)])
        values = self._series.values
        title = f"{self.name}, {self._config.model.cell} {self._config.model.units}"
        if self._is_recursive:
            picture = self._book_picture(model, ahead, title)
        else:
            # The last one of which all came.
            whole = max(0, int(np.searchsorted(tested.origins, len(values) - self._settings.horizon, "right")) - 1)
            earlier = int(tested.origins[whole]), tested.predicted[whole]
            last_date = self._series.calendar.sample if self._series.calendar else ""
            picture = plot_ahead(
                values[:, : len(self._names)], *ahead, earlier, title=title, names=self._names, last_date=last_date
            )
        with run.reporting_write_errors():
            durable.write(run.path / run_dir_lib.FORECAST, lines.encode())
            durable.write(run.path / run_dir_lib.ERRORS, errors.encode())
            durable.write(run.path / run_dir_lib.FORECAST_PLOT, picture.png)
        for flag, content in (("output", lines.encode()), ("plot", picture.png)):
            if path := copies[flag]:
                try:
                    durable.write(Path(path), content)
                except OSError as error:
                    raise UserError(
                        f"`{flag}={path}`: expected a file that can be written, but {error.strerror}"
                    ) from None
        messages.note(f"forecast: {copies['output'] or run.path / run_dir_lib.FORECAST}")
        messages.note(f"picture: {copies['plot'] or run.path / run_dir_lib.FORECAST_PLOT}")

    def _book_picture(self, model: Any, ahead: Ahead, title: str) -> Any:
        """Returns the book's picture: predictions k steps ahead, each in a panel, and what comes after the end."""
        from tfrnn.plots.curves import plot_forecasts
        from tfrnn.series import forecasts

        values, train_steps = self._series.values[:, 0], self._scaling.train_steps
        unknown = np.full(len(ahead.predicted), np.nan)
        made = forecasts(model, values, self._scaling, train_steps, self._settings.ks)
        panels = {forecast.label: np.concatenate([forecast.predicted, unknown]) for forecast in made}
        panels["ahead"] = np.concatenate([np.full_like(values, np.nan), ahead.predicted[:, 0]])
        return plot_forecasts(np.concatenate([values, unknown]), panels, train_steps, title=title)

    def _ahead_rows(self, dates: list[str], ahead: Ahead) -> Iterator[list[str]]:
        for i, date in enumerate(dates):
            cells = ((each[i, d] for each in ahead) for d in range(len(self._names)))
            yield [date, *(_exact(number) for numbers in cells for number in numbers)]


def _number(number: float, digits: int = 4) -> str:
    """Returns a number for people: with about this number of digits, or - if it is unknown."""
    if math.isnan(number):
        return "-"
    before_point = len(f"{abs(number):.0f}")
    return f"{number:.{max(digits, before_point) if before_point <= _MOST_DIGITS else digits}g}"


def _digits_to_tell_apart(lower: np.ndarray, upper: np.ndarray) -> int:
    """Returns how many digits show the widths of intervals with two digits, at least four."""
    widths = (upper - lower)[upper > lower]
    if not len(widths):
        return 4
    largest = np.nanmax(np.abs([lower, upper]))
    needed = math.floor(math.log10(largest)) - math.floor(math.log10(widths.min())) + 2
    return min(max(4, needed), _MOST_DIGITS)


def _exact(number: float) -> str:
    """Returns a number for a file; nothing if it is unknown."""
    return "" if math.isnan(number) else f"{number:.{_MOST_DIGITS}g}"


def _to_csv(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
