"""A training run on a time series: as one on a text, with the loss in place of the perplexity."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrnn.cli import messages
from tfrnn.plots.curves import plot_curves
from tfrnn.plots.figures import Picture
from tfrnn.runs import run_dir
from tfrnn.training.training_run import TrainingRun


@dataclasses.dataclass(frozen=True)
class TrainingSeries:
    """What a run is trained on: in the place of a `Text`, with the scaling in that of its vocabulary.

    Attributes:
      name: what the series is called.
      vocabulary: the scaling that belongs to the weights.
      values: the series, float64 [N, C].
      facts, notes: lines for the user before training; the command has said what it read.
    """

    name: str
    vocabulary: Any
    values: np.ndarray
    facts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """The SHA-256 of the values that are trained on, in hex."""
        return run_dir.training_sha256(self.values, self.vocabulary.train_steps).hex()


class ForecastRun(TrainingRun):
    """Trains, saves and resumes a run on a time series. The forecast is made by the command when it is finished.

    Args:
      config, text, trainer, batches, run: as for TrainingRun, `text` being a TrainingSeries.
    """

    _measure = "loss"
    _characters_per_token = 1.0, 1.0
    _text: Any

    def __init__(self, config: Any, text: Any, trainer: Any, batches: Any, run: Any):
        super().__init__(
            config,
            text,
            trainer,
            batches,
            None,
            run,
            summarize=_summary,
            plot=plot_loss,  # type: ignore[arg-type]
        )

    @property
    def _source(self) -> str:
        return self._text.name

    def _note_excluded(self) -> None:
        """Does nothing: no speed is told."""

    def _when_finished_before(self) -> None:
        messages.note(f"run directory: {self._run.path}")
        messages.note(f"this run is finished after {self._trainer.epoch} epochs; what follows is its forecast")
        if self._run.plot_is_outdated:
            self._save_plot()


def plot_loss(rows: Sequence[Mapping[str, Any]], title: str = "") -> Picture:
    """Draws the loss over the epochs, given the rows of metrics.jsonl."""
    return plot_curves({"training": [row["loss"] for row in rows]}, "epoch", "mean squared error", title=title)


def name_of(csv: str) -> str:
    """Returns what a series is called: the stem of its file, or sine."""
    return Path(csv).stem.removesuffix(".csv") if csv else "sine"


def _summary(model: Any) -> list[str]:
    return [f"the model has {sum(int(np.prod(weight.shape)) for weight in model.weights):,} numbers to learn"]
