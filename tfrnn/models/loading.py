"""Loads a trained model from its run directory."""

import math
import os
from typing import Any

from tfrnn.config import sizes
from tfrnn.config.config import Config, ForecastConfig
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import MissingFileError, UserError, did_you_mean
from tfrnn.models.building import build_forecaster, build_language_model
from tfrnn.models.forecaster import Forecaster
from tfrnn.models.language_model import LanguageModel
from tfrnn.runs.run_dir import CONFIG, SCALING, RunDir, SeriesRunDir
from tfrnn.runtime import host
from tfrnn.series import scaling as scaling_lib


def load_run(run_dir: str | os.PathLike, checkpoint: str = "best") -> tuple[LanguageModel, Vocabulary, Config]:
    """Loads a trained model with its vocabulary and settings.

    A run from an untrusted source is safe to load: nothing in it is executed.

    After `python -m tfrnn.train --run_dir=runs/first`:

    >>> model, vocabulary, config = tfrnn.load_run("runs/first")
    >>> config.data.corpus, config.model.cell, len(vocabulary)
    ('sample', 'rnn', 28)

    Of a run that `python -m tfrnn.forecast` wrote it returns a Forecaster, the scaling of its series (`series.Scaling`
    or `series.Relative`) and its `ForecastConfig`, with which `series.forecast_ahead` forecasts again.

    Args:
      run_dir: the run directory that `python -m tfrnn.train` or `python -m tfrnn.forecast` wrote.
      checkpoint: `best` for the weights with the lowest perplexity on the validation tokens (the last weights if no
        tokens were held out), or `last`.
    Returns:
      The model, its vocabulary and its settings.
    Raises:
      MissingFileError: the run does not exist, or has no checkpoint yet.
      UserError: the folder is not a run of tfrnn, or all of its checkpoints are damaged.
    """
    run = _existing(RunDir(run_dir))
    if run.is_of_series:
        forecast: Any = load_forecast(run_dir, checkpoint)  # the types are those of a run on a text
        return forecast
    return load_text_run(run_dir, checkpoint)


def load_text_run(run_dir: str | os.PathLike, checkpoint: str = "best") -> tuple[LanguageModel, Vocabulary, Config]:
    """Loads a trained language model as `load_run` does. Raises UserError if the run is one on a time series."""
    if checkpoint not in ("best", "last"):
        raise UserError(f"`checkpoint` must be one of best, last; got {checkpoint!r}")
    run = _existing(RunDir(run_dir))
    config = run.config()
    if not config.run.prefix:
        raise UserError(f"{run.path / CONFIG}: expected at least one prefix, as train writes it; got none")
    vocabulary = run.vocabulary(config.data.tokens)
    num_bytes = 2 * sizes.weight_bytes(config.model, len(vocabulary))
    host.check_memory(num_bytes, f"the model that {run.path / CONFIG} describes")
    weights = run.load_weights(config, vocabulary, checkpoint)
    model = build_language_model(config.model, len(vocabulary), initialized=False)
    model.build()
    model.set_weights(weights)
    return model, vocabulary, config


def load_forecast(
    run_dir: str | os.PathLike, checkpoint: str = "best"
) -> tuple[Forecaster, scaling_lib.Scaling | scaling_lib.Relative, ForecastConfig]:
    """Loads a trained forecaster as `load_run` does. Raises UserError if the run is one on a text."""
    if checkpoint not in ("best", "last"):
        raise UserError(f"`checkpoint` must be one of best, last; got {checkpoint!r}")
    run = SeriesRunDir(run_dir)
    _existing(run)
    config = run.config()
    try:
        scaling = scaling_lib.from_json(run.scaling_json())
    except MissingFileError:
        raise
    except UserError as error:
        raise UserError(f"{run.path / SCALING}: {error}") from None
    num_bytes = 4 * sum(
        map(
            math.prod, sizes.forecaster_shapes(config.model, scaling.num_inputs, scaling.num_outputs, scaling.is_direct)
        )
    )
    host.check_memory(2 * num_bytes, f"the model that {run.path / CONFIG} describes")
    weights = run.load_weights(config, scaling, checkpoint)
    model = build_forecaster(config.model, scaling, initialized=False)
    model.build()
    model.set_weights(weights)
    return model, scaling, config


def _existing(run: RunDir) -> RunDir:
    """Returns the run, or raises MissingFileError if there is none."""
    if not run.exists:
        raise MissingFileError(
            f"`run_dir={run.path}`: expected the folder of a run that train has begun, but {_why_missing(run)}; name "
            "another, or train first"
        )
    return run


def _why_missing(run: RunDir) -> str:
    """Returns the reason why the run does not exist, with a run of a similar name if there is one."""
    if os.path.isdir(run.path):
        runs = sorted(path.parent.name for path in run.path.glob(f"*/{CONFIG}"))
        return f"it has no {CONFIG}" + (f" (did you mean one in it, such as {run.path / runs[0]}?)" if runs else "")
    if os.path.exists(run.path):
        return "it is a file"
    runs = [str(path.parent) for path in run.path.parent.glob(f"*/{CONFIG}")] if os.path.isdir(run.path.parent) else []
    return f"there is no such folder{did_you_mean(str(run.path), runs)}"
