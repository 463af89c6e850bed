"""Trains an RNN on a time series and forecasts what comes next, with intervals.

It trains on the first part of the series, and compares its forecasts of the rest with what came and with naive
forecasts. The forecast after the end, the table of errors, a picture and the model are in the run directory. The same
command with the same --run_dir resumes; --run_dir alone forecasts again, also if the file has grown.
"""

import csv
import dataclasses
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrnn.cli import flags as flags_lib
from tfrnn.cli import invocation, messages, program
from tfrnn.config import presets, sections, sizes
from tfrnn.config.config import ForecastConfig
from tfrnn.config.settings import Section, setting
from tfrnn.errors import UserError
from tfrnn.runs import run_dir as run_dir_lib
from tfrnn.runs.run_dir import SeriesRunDir
from tfrnn.runtime import devices, durable, execution, host, threads
from tfrnn.series import calendars, intervals, reading, seasons
from tfrnn.series import scaling as scaling_lib
from tfrnn.series.forecasting import Ahead, Backtest, default_num_steps
from tfrnn.series.reading import SeriesFile

EXAMPLES = (
    "--csv=sales.csv --horizon=24 --output=next.csv",
    "--run_dir=runs/sales --csv=newer.csv",
)
# The settings of training on a text that apply to a series, too.
MODEL_SETTINGS = ("cell", "implementation", "units", "num_layers", "dropout")
VALIDATION_SETTINGS = ("plateau_patience", "early_stopping")  # these need held-out steps while training
TEXT_SETTINGS = ("minutes", "init_from", "freeze")
TRAINING_SETTINGS = tuple(
    field.name for field, _ in sections.Training.fields() if field.name not in VALIDATION_SETTINGS + TEXT_SETTINGS
)
RUN_SETTINGS = ("device", "save_every")
LONGEST_DEFAULT_HORIZON = 60
BOOKS_KS = "1,4,16,64"  # section 8.1


@dataclasses.dataclass(frozen=True)
class Output(Section):
    """What is written"""

    run_dir: str = setting("", "folder of the run; by default a new one in runs/")
    output: str = setting("", "CSV file to write the forecast to as well: dates, values, lower and upper bounds")
    plot: str = setting("", "PNG file to write the picture to as well")


def make_flags() -> flags_lib.Flags:
    flags = flags_lib.Flags("forecast", __doc__, EXAMPLES)
    flags.define(sections.Series)
    flags.define(Output)
    flags.define(sections.Model, MODEL_SETTINGS, presets.FORECAST_METHODS["direct"])
    flags.define(sections.Training, TRAINING_SETTINGS, presets.FORECAST_METHODS["direct"])
    flags.define(sections.Run, RUN_SETTINGS)
    return flags


def main(argv: Sequence[str]) -> None:
    flags = make_flags()
    given = flags.parse(argv)
    remaining = dict(given)
    output = flags.take(remaining, Output)
    for flag in ("output", "plot"):
        if flag in given:
            flags_lib.check_output_file(flag, given[flag])
    if not output.run_dir:
        stem = Path(given.get("csv", "").replace("\0", "")).stem or "sine"
        output = dataclasses.replace(output, run_dir=run_dir_lib.default_path(given.get("cell", "gru"), stem))
        argv = [*argv, f"--run_dir={output.run_dir}"]
    with SeriesRunDir(output.run_dir) as run:
        forecast(run, remaining, output, invocation.command_line("forecast", *argv[1:]))
    steps = {}
    if not given.get("csv") and not run.existed:
        other_cell = {**given, "cell": "gru" if given.get("cell") == "lstm" else "lstm"}
        other_cell.pop("run_dir", None)  # which is now that of this cell
        steps["try another cell"] = invocation.command_line("forecast", *flags_lib.as_flags(other_cell))
        steps["forecast a series of your own"] = invocation.command_line("forecast", "--csv=FILE", "--column=NAME")
    elif not run.existed:
        again = (f"--run_dir={output.run_dir}", "--csv=FILE")
        steps["forecast again when the series has grown"] = invocation.command_line("forecast", *again)
    messages.show_next_steps(steps)


def forecast(run: SeriesRunDir, given: dict[str, Any], output: Output, resume_command: str = "") -> None:
    """Trains or resumes a run, and forecasts if it is finished: prints the table and writes the files.

    Args:
      run: the run directory, entered.
      given: the settings that were given, by name; all others are those of the run, or found.
      output: what is written where.
      resume_command: the command that is shown to resume an interrupted run.
    Raises:
      UserError: the settings, the series or the run directory do not allow it.
      DivergedError: training diverged.
    """
    config = _config(run, given)
    series = _read(config, output)
    if run.existed:
        try:
            scaling = scaling_lib.from_json(run.scaling_json())
        except UserError as error:
            raise UserError(f"{run.path / run_dir_lib.SCALING}: {error}") from None
        if len(series.values) < scaling.train_steps:
            raise run.changed_corpus_error(config)
    else:
        config, scaling = fit(config, series)
    run_series = _RunSeries(config, series, scaling)
    run_series.dates()  # errors in them are told now
    for note in series.notes:
        messages.note(note)
    shapes = sizes.forecaster_shapes(config.model, scaling.num_inputs, scaling.num_outputs, scaling.is_direct)
    host.check_memory(
        5 * 4 * sum(map(math.prod, shapes)),
        f"training with `units={config.model.units}`, `num_layers={config.model.num_layers}`",
    )
    host.import_tensorflow_quietly()
    threads.set_threads()
    from tfrnn.training.forecast_run import ForecastRun, TrainingSeries

    training_series = TrainingSeries(run_series.name, scaling, series.values)
    if run.existed:
        run.check_same(config, scaling)
    trainer, batches = make_trainer(config, scaling, series.values)
    training = ForecastRun(config, training_series, trainer, batches, run)
    if training.train():
        run_series.report(_as_read_later(trainer.model, config, scaling), run, output)
    else:
        training.report(False, resume_command)


def make_trainer(config: ForecastConfig, scaling: Any, values: np.ndarray) -> tuple[Any, Any]:
    """Returns a trainer with a new forecaster, before its first step, and the batches.

    Args:
      config: the settings, all of them known.
      scaling: the scaling of the series, as `method` asks for.
      values: the series, [N, C].
    """
    from tfrnn.data.batches import sequential_batches
    from tfrnn.models.building import build_forecaster
    from tfrnn.series import known_squared_error, window_batches
    from tfrnn.training import losses, optimizers
    from tfrnn.training.trainer import Trainer

    training, series = config.training, config.series
    execution.set_seed(training.seed, training.deterministic)
    strategy = devices.one_device(config.run.device)
    batches: Any
    if series.method == "direct":
        batches = window_batches(values, scaling, series.batch_size, series.num_steps, training.seed)
        loss = known_squared_error
    else:
        scaled = scaling.scale(values[: scaling.train_steps])
        batches = sequential_batches(scaled, series.batch_size, series.num_steps, training.seed)
        loss = losses.squared_error
    with strategy.scope():
        model = build_forecaster(config.model, scaling, dtype=training.dtype_policy)
        optimizer = optimizers.make_optimizer(training, training.epochs * batches.num_batches(0))
    trainer = Trainer(
        model, optimizer, training.clip_norm, strategy, loss, training.chains, training.jit
    )  # fmt: skip
    return trainer, batches


def _as_read_later(model: Any, config: ForecastConfig, scaling: Any) -> Any:
    """Returns a trained model as it is read from its run: in float32, whatever it was trained in."""
    from tfrnn.models.building import build_forecaster

    if config.training.mixed_precision == "float32":
        return model
    read = build_forecaster(config.model, scaling, initialized=False)
    read.build()
    read.set_weights(model.get_weights())
    return read


def _config(run: SeriesRunDir, given: dict[str, Any]) -> ForecastConfig:
    """Returns the settings: of the run if there is one, else the defaults, changed by those that were given."""
    if run.existed:
        config = run.config()
        # What is found by itself has been found.
        found = {"method": "auto", "horizon": 0, "season": 0, "num_steps": 0, "k": ""}
        given = {name: value for name, value in given.items() if not (name in found and value == found[name])}
        config = config.replace(**given)
    else:
        method = given.get("method", "auto")
        if method == "auto":
            method = "direct" if given.get("csv") else "recursive"
        config = ForecastConfig().replace(**{**presets.FORECAST_METHODS[method], **given, "method": method})
    series = config.series
    if config.training.schedule == "plateau":
        raise UserError("`schedule=plateau` needs held-out steps, and forecast trains without; choose another schedule")
    if not series.csv and (series.column or series.inputs):
        raise UserError(f"`column` and `inputs` are of a file; got {(*series.column, *series.inputs)[0]}; give `csv`")
    if series.method == "recursive" and (len(series.column) > 1 or series.inputs):
        raise UserError(
            "`method=recursive` forecasts one column from itself; got more; take `method=direct`, or one `column`"
        )
    return config


def _read(config: ForecastConfig, output: Output) -> SeriesFile:
    settings = config.series
    if not settings.csv:
        values = reading.noisy_sine(noise=settings.noise, seed=config.training.seed)
        return SeriesFile(("sine",), values[:, None])
    for flag in ("output", "plot"):
        if (path := getattr(output, flag)) and Path(path).resolve() == Path(settings.csv).resolve():
            raise UserError(f"`{flag}={path}`: expected another file than that of the series; name another")
    return reading.read_series(
        settings.csv,
        [*settings.column, *settings.inputs],
        date_column=settings.date_column,
        fill=settings.fill,
        header=settings.header,
        separator=settings.separator,
        decimal=settings.decimal,
        comment=settings.comment,
        encoding=settings.encoding,
    )


def fit(config: ForecastConfig, series: SeriesFile) -> tuple[ForecastConfig, Any]:
    """Finds the settings that depend on the series, and scales it.

    Returns:
      The config with these settings, and a `Relative` or a `Scaling`.
    Raises:
      UserError: the series is too short for what is asked for.
    """
    settings = config.series
    num_values = len(series.values)
    train_steps = int(settings.train_fraction * num_values)
    held_out, asked = num_values - train_steps, max(settings.ks, default=0)
    largest = min(held_out, train_steps)
    for name, steps in (("k", asked), ("horizon", settings.horizon)):
        if steps > largest or largest < 1:
            raise UserError(
                f"`{name}`: expected at most {largest}, as {train_steps} of the series' {num_values} steps are trained "
                f"on and {held_out} held out; got {max(steps, 1)}"
            )
    season = settings.season
    training = series.values[:train_steps, : len(settings.column) or 1]
    if settings.method == "recursive":
        ks = settings.k or ",".join(k for k in BOOKS_KS.split(",") if int(k) <= largest)
        config = config.replace(k=ks)
        asked, season = max(config.series.ks), season or 1
        scaling: Any = scaling_lib.Scaling.fit(series.values[:train_steps, 0])
    else:
        if not season:
            candidates = series.calendar.seasons if series.calendar else []
            season = seasons.find_season(training, candidates)
    if settings.horizon and asked > settings.horizon:
        raise UserError(f"`k`: expected at most `horizon={settings.horizon}`; got {asked}")
    horizon = settings.horizon or max(asked, _default_horizon(season, train_steps, held_out))
    if settings.method == "recursive":
        horizon, longest = settings.horizon or asked, max(1, (train_steps - 1) // (settings.batch_size + 1))
        num_steps = settings.num_steps or min(70, longest)  # the rows and a random offset of up to num_steps must fit
        if train_steps < (needed := settings.batch_size * num_steps + num_steps + 1):
            raise UserError(
                f"series too short: {train_steps} values, but batches of {settings.batch_size} rows of {num_steps} "
                f"steps need {needed}; take a longer series or smaller `batch_size` or `num_steps`"
            )
    else:
        num_values = len(settings.column) or series.values.shape[1]
        num_steps = settings.num_steps or default_num_steps(train_steps, season)
        if train_steps <= num_steps:
            raise UserError(
                f"series too short: {train_steps} values to train on, but `num_steps={num_steps}` needs {num_steps + 1}"
            )
        scaling = scaling_lib.Relative.fit(series.values[:train_steps], horizon, season, num_values)
    found: dict[str, Any] = {"horizon": horizon, "season": season, "num_steps": num_steps}
    if settings.csv:
        found["csv"] = settings.csv
        found["column"] = settings.column or series.names
    return config.replace(**found), scaling


def _default_horizon(season: int, train_steps: int, held_out: int) -> int:
    """Returns about a season, as far as the series allows it, and not more than a picture shows well."""
    wanted = season * max(1, round(12 / season)) if season > 1 else 12
    return max(
        1, min(wanted, LONGEST_DEFAULT_HORIZON, held_out // 2, train_steps - scaling_lib.fewest_steps(0, season))
    )


class _RunSeries:
    """A run's series, and what is told of its forecasts."""

    def __init__(self, config: ForecastConfig, series: SeriesFile, scaling: Any):
        self._config, self._series, self._scaling, self._settings = config, series, scaling, config.series
        self.name = Path(self._settings.csv).stem.removesuffix(".csv") if self._settings.csv else "sine"
        self._names = series.names[: scaling.num_values]
        self._is_book = self._settings.method == "recursive"

    def report(self, model: Any, run: SeriesRunDir, output: Output) -> None:
        """Prints the forecast and the table of errors, and writes the files."""
        from tfrnn.series import backtest, forecast_ahead

        settings, values, scaling = self._settings, self._series.values, self._scaling
        tested = backtest(model, scaling, values, settings.horizon, settings.season, settings.num_steps)
        ahead = forecast_ahead(
            model, scaling, values, settings.horizon, tested, settings.interval, settings.num_steps
        )  # fmt: skip
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
        self._write(run, output, dates, ahead, tested, rows, model)

    def dates(self) -> list[str]:
        """Returns the dates of the forecast, or the numbers of its steps. Raises UserError if there are no such."""
        horizon, calendar = self._settings.horizon, self._series.calendar
        first = len(self._series.values) + 1
        return calendar.after(horizon) if calendar else [str(step) for step in range(first, first + horizon)]

    def _print_ahead(self, dates: list[str], ahead: Ahead) -> None:
        share = f"{100 * self._settings.interval:g}%"
        season = f", season of {self._settings.season} steps" if self._settings.season > 1 else ""
        calendar = self._series.calendar
        step = f", a step of {calendar.description}" if calendar and calendar.unit != calendars.NUMBERS else ""
        print(f"{self.name}: the next {len(dates)} steps{step}{season}; {share} intervals from the errors below")
        width = max(len(self._series.date_name or "step"), *(len(date) for date in dates))
        columns = [f"{name[:24]:>24}" for name in self._names]
        print(f"{self._series.date_name or 'step':<{width}}  {'  '.join(columns)}")
        shown = len(dates) if len(dates) <= 24 else 12
        for i in range(shown):
            cells = [
                f"{_number(ahead.predicted[i, d]):>9} [{_number(ahead.lower[i, d])}, {_number(ahead.upper[i, d])}]"
                for d in range(len(self._names))
            ]
            print(f"{dates[i]:<{width}}  {'  '.join(f'{cell:>24}' for cell in cells)}")
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
            for k in [*self._ks(), 0]:
                if k == 0 and self._is_book:
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
                numbers = f"{errors[0]:>12.4g}{errors[1]:>13.4g}" + (f"{errors[2]:>12.4g}" if seasonal else "")
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
            exact = numbers[0] == 0
            return f"{name} repeats itself exactly in training: " + (
                "so do forecast and values" if exact else f"mean error of the forecast {numbers[0]:.3g}"
            )
        best, naive = min((seasonal, "the seasonal naive forecast"), (persistence, "persistence"))
        if self._settings.season == 1:
            best, naive = persistence, "persistence"
        if mase >= best:
            return f"the forecast of {name} does not beat {naive}: MASE {mase:.3f} against {best:.3f}; use that instead"
        from_origins = f"from {len(tested.origins)} origins"
        return f"the forecast of {name} beats {naive}: MASE {mase:.3f} against {best:.3f}, {from_origins}"

    def _write(
        self,
        run: SeriesRunDir,
        output: Output,
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
        if self._is_book:
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
            if path := getattr(output, flag):
                try:
                    durable.write(Path(path), content)
                except OSError as error:
                    raise UserError(
                        f"`{flag}={path}`: expected a file that can be written, but {error.strerror}"
                    ) from None
        messages.note(f"forecast: {output.output or run.path / run_dir_lib.FORECAST}")
        messages.note(f"picture: {output.plot or run.path / run_dir_lib.FORECAST_PLOT}")

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
    """Returns a number for people: with about four digits, or - if it is unknown."""
    return "-" if math.isnan(number) else f"{number:.{digits}g}"


def _exact(number: float) -> str:
    """Returns a number for a file; nothing if it is unknown."""
    return "" if math.isnan(number) else f"{number:.9g}"


def _to_csv(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


if __name__ == "__main__":
    program.run(main)
