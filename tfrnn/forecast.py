"""Trains an RNN on a time series, and shows how well it forecasts one and more steps ahead.

It trains on the first part of the series. A table compares its errors on the rest with those of persistence, which
repeats the last known value.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrnn.cli import flags as flags_lib
from tfrnn.cli import invocation, messages, program
from tfrnn.config import presets, sections, sizes
from tfrnn.config.config import Config
from tfrnn.config.settings import Section, setting
from tfrnn.errors import UserError
from tfrnn.runtime import devices, execution, host, threads

EXAMPLES = ("--cell=lstm --epochs=200", "--csv=temperatures.csv --column=celsius --k=1,7")


@dataclasses.dataclass(frozen=True)
class SeriesSettings(Section):
    """The series"""

    csv: str = setting("", "CSV file with the columns' names in line 1; default: the book's noisy sine (8.1)")
    column: str = setting("", "name of the column to forecast, if the file has several")
    noise: float = setting(0.2, "standard deviation of the sine's noise", minimum=0, maximum=1e6)
    train_fraction: float = setting(0.6, "share of the steps to train on, from the beginning", above=0, below=1)
    batch_size: int = setting(4, "number of rows the training steps are cut into", minimum=1, maximum=2**20, rare=True)
    num_steps: int = setting(
        0, "steps of each row in a batch; 0: 70, or fewer if the series is short", minimum=0, maximum=2**20, rare=True
    )
    k: str = setting(
        "1,4,16,64", "numbers of steps to forecast ahead, separated by commas",
        pattern=r"[1-9]\d{0,6}(,[1-9]\d{0,6})*", form="whole numbers of at least 1, separated by commas",
    )  # fmt: skip
    plot: str = setting("forecast.png", "PNG file to write the forecasts to")

    @property
    def ks(self) -> list[int]:
        return sorted({int(k) for k in self.k.split(",")})


DEFAULT_NUM_STEPS = 70
# The settings of training on a text that apply to a series, too.
MODEL_SETTINGS = ("cell", "implementation", "units", "num_layers", "dropout")
VALIDATION_SETTINGS = ("plateau_patience", "early_stopping")  # these need held-out steps while training
TRAINING_SETTINGS = tuple(f.name for f, _ in sections.Training.fields() if f.name not in VALIDATION_SETTINGS)
RUN_SETTINGS = ("device",)


def make_flags() -> flags_lib.Flags:
    flags = flags_lib.Flags("forecast", __doc__, EXAMPLES)
    flags.define(SeriesSettings)
    flags.define(sections.Model, MODEL_SETTINGS, presets.FORECAST_DEFAULTS)
    flags.define(sections.Training, TRAINING_SETTINGS, presets.FORECAST_DEFAULTS)
    flags.define(sections.Run, RUN_SETTINGS)
    return flags


def main(argv: Sequence[str]) -> None:
    flags = make_flags()
    given = flags.parse(argv)
    remaining = dict(given)
    series = flags.take(remaining, SeriesSettings)
    config = Config().replace(**{**presets.FORECAST_DEFAULTS, **remaining})
    if config.training.schedule == "plateau":
        raise UserError("`schedule=plateau` needs held-out steps, and forecast trains without; choose another schedule")
    run(series, config)
    other_cell = {**given, "cell": "gru" if config.model.cell == "lstm" else "lstm"}
    steps = {"try another cell": invocation.command_line("forecast", *flags_lib.as_flags(other_cell))}
    if not series.csv:
        steps["forecast a series of your own"] = invocation.command_line("forecast", "--csv=FILE", "--column=NAME")
    messages.show_next_steps(steps)


def run(settings: SeriesSettings, config: Config) -> None:
    """Trains a forecaster on the series, prints the table of errors and writes the picture."""
    memory = 5 * sizes.weight_bytes(config.model, 1)
    host.check_memory(memory, f"training with `units={config.model.units}`, `num_layers={config.model.num_layers}`")
    host.import_tensorflow_quietly()
    threads.set_threads()
    from tfrnn.plots.curves import plot_forecasts
    from tfrnn.series import forecasting, reading

    if settings.csv:
        name, values = Path(settings.csv).stem, reading.read_column(settings.csv, settings.column)
    else:
        name, values = "sine", reading.noisy_sine(noise=settings.noise, seed=config.training.seed)
    train_steps = int(settings.train_fraction * len(values))
    held_out = len(values) - train_steps
    if max(settings.ks) > min(held_out, train_steps):
        raise UserError(
            f"`k`: expected at most {min(held_out, train_steps)}, as {train_steps} of the series' {len(values)} steps "
            f"are trained on and {held_out} held out; got {max(settings.ks)}"
        )
    flags_lib.check_output_file("plot", settings.plot)
    scaling = forecasting.Scaling.fit(values[:train_steps])
    scaled = scaling.scale(values)[:, None]  # [N, 1]
    model = train(scaled[:train_steps], settings, config)
    forecasts = forecasting.forecasts(model, values, scaling, train_steps, settings.ks)
    print(f"{name}: trained on steps 1 to {train_steps}; root mean square error on the {held_out} steps after")
    print(f"{'predictions':<12}{'model':>12}{'persistence':>13}")
    for forecast in forecasts:
        errors = [
            forecasting.root_mean_square_error(predicted[train_steps:], values[train_steps:])
            for predicted in (forecast.predicted, forecast.persisted)
        ]
        remark = "" if errors[0] < errors[1] else "  does not beat persistence"
        print(f"{forecast.label:<12}{errors[0]:>12.4g}{errors[1]:>13.4g}{remark}", flush=True)
    title = f"{name}, {config.model.cell} {config.model.units}"
    plot_forecasts(values, {f.label: f.predicted for f in forecasts}, train_steps, settings.plot, title)
    messages.note(f"picture: {settings.plot}")


def train(scaled: np.ndarray, settings: SeriesSettings, config: Config) -> Any:
    """Returns a Forecaster trained on a scaled series, float32 [N, 1]."""
    from tfrnn.data.batches import sequential_batches
    from tfrnn.models.building import build_cells
    from tfrnn.models.forecaster import Forecaster
    from tfrnn.training import losses, optimizers, progress
    from tfrnn.training.trainer import Trainer

    training = config.training
    execution.set_seed(training.seed, training.deterministic)
    strategy = devices.one_device(config.run.device)
    # The rows and a random offset of up to num_steps must fit into the training steps.
    longest = max(1, (len(scaled) - 1) // (settings.batch_size + 1))
    num_steps = settings.num_steps or min(DEFAULT_NUM_STEPS, longest)
    batches = sequential_batches(scaled, settings.batch_size, num_steps, training.seed)
    with strategy.scope():
        model = Forecaster(build_cells(config.model), dropout=config.model.dropout)
        optimizer = optimizers.make_optimizer(training, training.epochs * batches.num_batches(0))
    trainer = Trainer(
        model, optimizer, training.clip_norm, strategy, losses.squared_error, training.chains, training.jit
    )
    trainer.fit(batches, training.epochs, callbacks=[progress.Progress(list, 0, "loss")])
    return model


if __name__ == "__main__":
    program.run(main)
