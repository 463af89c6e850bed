"""Trains an RNN on a time series and forecasts what comes next, with intervals.

It trains on the first part of the series, and compares its forecasts of the rest with what came and with naive
forecasts. The forecast after the end, the table of errors, a picture and the model are in the run directory. The same
command with the same --run_dir resumes; --run_dir alone forecasts again, also if the file has grown.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrnn.cli import flags as flags_lib
from tfrnn.cli import invocation, messages, program
from tfrnn.config import presets, sections, sizes
from tfrnn.config.config import ForecastConfig
from tfrnn.config.settings import Section, setting
from tfrnn.errors import UserError
from tfrnn.runs import given as given_lib
from tfrnn.runs import run_dir as run_dir_lib
from tfrnn.runs.run_dir import SeriesRunDir
from tfrnn.runtime import devices, execution, host, threads
from tfrnn.series import reading, seasons
from tfrnn.series import scaling as scaling_lib
from tfrnn.series.forecasting import default_num_steps
from tfrnn.series.reading import SeriesFile
from tfrnn.training.forecast_report import ForecastReport

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
# The settings that say how a file is read.
FILE_SETTINGS = ("column", "inputs", "date_column", "fill", "header", "separator", "decimal", "comment", "encoding")
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
    if output.output and output.plot and Path(output.output).resolve() == Path(output.plot).resolve():
        raise UserError(f"`plot={output.plot}`: expected another file than that of `output`; name another")
    if not output.run_dir:
        stem = Path(given.get("csv", "").replace("\0", "")).stem or "sine"
        output = dataclasses.replace(output, run_dir=run_dir_lib.default_path(given.get("cell", "gru"), stem))
        argv = [*argv, f"--run_dir={output.run_dir}"]
    with SeriesRunDir(output.run_dir) as run:
        finished = forecast(run, remaining, output, invocation.command_line("forecast", *argv[1:]))
    steps = {}
    if not finished:
        return  # how to resume has been told
    if not given.get("csv") and not run.existed:
        other_cell = {**given, "cell": "gru" if given.get("cell") == "lstm" else "lstm"}
        other_cell.pop("run_dir", None)  # which is now that of this cell
        steps["try another cell"] = invocation.command_line("forecast", *flags_lib.as_flags(other_cell))
        steps["forecast a series of your own"] = invocation.command_line("forecast", "--csv=FILE", "--column=NAME")
    elif not run.existed:
        again = (f"--run_dir={output.run_dir}", "--csv=FILE")
        steps["forecast again when the series has grown"] = invocation.command_line("forecast", *again)
    messages.show_next_steps(steps)


def forecast(run: SeriesRunDir, given: dict[str, Any], output: Output, resume_command: str = "") -> bool:
    """Trains or resumes a run, and forecasts if it is finished: prints the table and writes the files.

    Returns whether it is finished.

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
    if run.existed:
        try:
            scaling = scaling_lib.from_json(run.scaling_json())
        except UserError as error:
            raise UserError(f"{run.path / run_dir_lib.SCALING}: {error}") from None
        run.check_same(config, scaling)
        series = _read(config, output)
        run.check_values(series.values, config, scaling)
        if len(series.values) == scaling.train_steps:
            raise UserError(
                f"expected values after the {scaling.train_steps} that were trained on, to compare forecasts with; got "
                f"none in `csv={config.series.csv}`; give a longer file"
            )
        if series.calendar and scaling.step and series.calendar.description != scaling.step:
            raise UserError(
                f"`csv={config.series.csv}`: expected dates {scaling.step} apart, as the run was trained on; got some "
                f"{series.calendar.description} apart; give another file, or another `run_dir` for a new run"
            )
        if scaling.num_known_ahead:
            _check_known_ahead(series, config.series.horizon, config.series.csv)
    else:
        series = _read(config, output)
        config, scaling = fit(config, series)
    report = ForecastReport(config, series, scaling)
    report.dates()  # errors in them are told now
    for note in (*series.notes, *report.about_inputs()):
        messages.note(note)
    shapes = sizes.forecaster_shapes(config.model, scaling.num_inputs, scaling.num_outputs, scaling.is_direct)
    host.check_memory(
        5 * 4 * sum(map(math.prod, shapes)),
        f"training with `units={config.model.units}`, `num_layers={config.model.num_layers}`",
    )
    host.import_tensorflow_for_command()
    threads.set_threads()
    from tfrnn.training.forecast_run import ForecastRun, TrainingSeries

    training_series = TrainingSeries(report.name, scaling, series.values)
    trainer, batches = make_trainer(config, scaling, series.values)
    training = ForecastRun(config, training_series, trainer, batches, run)
    finished = training.train()
    if finished:
        report.write(
            _as_read_later(trainer.model, config, scaling), run, {"output": output.output, "plot": output.plot}
        )
    else:
        training.report(False, resume_command)
    return finished


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
    given_lib.check_needed(config.flat(), given)
    if not series.csv and (of_file := [name for name in FILE_SETTINGS if name in given]):
        raise UserError(f"`{of_file[0]}` is of a file; got no file; give `csv`, too")
    if series.csv and "noise" in given:
        raise UserError("`noise` is of the sine, which is forecast without `csv`; got both; leave one of them out")
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
        settings.column,
        inputs=settings.inputs,
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
                f"on and {held_out} held out; got {max(steps, 1)}; take less, a longer series or another "
                "`train_fraction`"
            )
    season = settings.season
    num_columns = series.values.shape[1] - len(settings.inputs)
    training = series.values[:train_steps, :num_columns]
    if settings.method == "recursive":
        furthest = min(largest, settings.horizon or largest)
        ks = settings.k or ",".join(k for k in BOOKS_KS.split(",") if int(k) <= furthest)
        config = config.replace(k=ks)
        asked, season = max(config.series.ks), season or 1
        scaling: Any = scaling_lib.Scaling.fit(series.values[:train_steps, 0])
    else:
        if not season:
            candidates = series.calendar.seasons if series.calendar else []
            season = seasons.find_season(training, candidates)
    if settings.horizon and asked > settings.horizon:
        raise UserError(f"`k`: expected at most `horizon={settings.horizon}`; got {asked}")
    num_known_ahead = series.num_known_ahead
    horizon = settings.horizon or max(asked, _default_horizon(season, train_steps, held_out, num_known_ahead))
    if num_known_ahead:
        _check_known_ahead(series, horizon, settings.csv)
    if settings.method == "recursive":
        horizon, longest = settings.horizon or asked, max(1, (train_steps - 1) // (settings.batch_size + 1))
        num_steps = settings.num_steps or min(70, longest)  # the rows and a random offset of up to num_steps must fit
        if train_steps < (needed := settings.batch_size * num_steps + num_steps + 1):
            raise UserError(
                f"series too short: {train_steps} values, but batches of {settings.batch_size} rows of {num_steps} "
                f"steps need {needed}; take a longer series or smaller `batch_size` or `num_steps`"
            )
    else:
        num_steps = settings.num_steps or default_num_steps(train_steps, season)
        if train_steps <= num_steps:
            raise UserError(
                f"series too short: {train_steps} values to train on, but `num_steps={num_steps}` needs {num_steps + 1}"
            )
        scaling = scaling_lib.Relative.fit(
            series.values[:train_steps], horizon, season, num_columns, known_ahead=num_known_ahead > 0
        )
    found: dict[str, Any] = {"horizon": horizon, "season": season, "num_steps": num_steps}
    if settings.csv:
        found["csv"] = settings.csv
        found["column"] = settings.column or series.names[:num_columns]
    step = series.calendar.description if series.calendar else ""
    return config.replace(**found), dataclasses.replace(scaling, step=step)


def _check_known_ahead(series: SeriesFile, horizon: int, csv: str) -> None:
    """Raises UserError if there are inputs after the last value for fewer steps than are forecast."""
    if (got := series.num_known_ahead) < horizon:
        raise UserError(
            f"`csv={csv}`: expected `inputs` for the next {horizon} steps, in lines after the last value without gaps; "
            f"got {got}; add such lines, or take a smaller `horizon` in a new run"
        )


def _default_horizon(season: int, train_steps: int, held_out: int, num_known_ahead: int) -> int:
    """Returns about a season, or as far as inputs are known, within what the series allows and a picture shows well."""
    wanted = num_known_ahead or (season * max(1, round(12 / season)) if season > 1 else 12)
    return max(
        1, min(wanted, LONGEST_DEFAULT_HORIZON, held_out // 2, train_steps - scaling_lib.fewest_steps(0, season))
    )


if __name__ == "__main__":
    program.run(main)
