"""Loads a trained model from its run directory."""

import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tfrnn.config import sizes
from tfrnn.config.config import Config, ForecastConfig
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import MissingFileError, UserError
from tfrnn.models.building import build_forecaster, build_language_model
from tfrnn.models.forecaster import Forecaster
from tfrnn.models.language_model import LanguageModel
from tfrnn.runs.opening import existing, open_run
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
    run = existing(RunDir(run_dir))
    if run.is_of_series:
        forecast: Any = load_forecast(run_dir, checkpoint)  # the types are those of a run on a text
        return forecast
    return load_text_run(run_dir, checkpoint)


def load_text_run(run_dir: str | os.PathLike, checkpoint: str = "best") -> tuple[LanguageModel, Vocabulary, Config]:
    """Loads a trained language model as `load_run` does. Raises UserError if the run is one on a time series."""
    if checkpoint not in ("best", "last"):
        raise UserError(f"`checkpoint` must be one of best, last; got {checkpoint!r}")
    run, vocabulary, config = open_run(run_dir)
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
    existing(run)
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


def begin_with(model: LanguageModel, weights: Mapping[str, np.ndarray]) -> None:
    """Sets the weights of a model to those of another, whose vocabulary its own begins with.

    What belongs to the further tokens stays as it was: rows of the kernel or embedding that reads them, columns and
    biases of the layer that predicts them.

    Args:
      model: a built model.
      weights: those of the other by their names, as in `named_weights`.
    """
    for name, variable in model.named_weights.items():
        values = np.array(variable)
        values[tuple(map(slice, weights[name].shape))] = weights[name]
        variable.assign(values)


def freeze(model: LanguageModel, names: Iterable[str]) -> None:
    """Makes layers of a model keep their weights, given their names, which are among `sections.Model.layer_names`."""
    layers: dict[str, Any] = {f"rnn.{i}": cell for i, cell in enumerate(model.rnn.cells)}
    layers |= {name: layer for name in ("embedding", "dense") if (layer := getattr(model, name))}
    for name in names:
        layers[name].trainable = False
