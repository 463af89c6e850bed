"""Pictures of a run."""

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

Target = str | os.PathLike | BinaryIO  # where a picture is saved


def plot_perplexity(rows: Sequence[Mapping[str, Any]], target: Target, title: str = "") -> None:
    """Saves the training and validation perplexity over the epochs as a PNG; rows as in metrics.jsonl."""
    from matplotlib.figure import Figure  # without pyplot: no window system, no global state
    from matplotlib.ticker import LogLocator, NullLocator

    figure = Figure(figsize=(6, 3.75), layout="constrained")
    axes = figure.add_subplot()
    epochs = [row["epoch"] for row in rows]
    marker = "o" if len(rows) == 1 else None
    axes.semilogy(epochs, [row["perplexity"] for row in rows], "-", color="0.1", marker=marker, label="training")
    validation = [math.nan if row["val_perplexity"] is None else row["val_perplexity"] for row in rows]
    if not all(map(math.isnan, validation)):
        axes.semilogy(epochs, validation, "--", color="0.45", marker=marker, label="held out")
        best = min((value, epoch) for value, epoch in zip(validation, epochs, strict=True) if not math.isnan(value))
        axes.plot(*best[::-1], "o", color="0.45", label=f"best held out: {best[0]:.1f} in epoch {best[1]}")
    axes.set(xlabel="epoch", ylabel="perplexity")
    axes.set_title(title, parse_math=False)  # a file's name may hold a $
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    _save(figure, target)


def plot_forecasts(
    values: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    train_steps: int,
    target: Target,
    title: str = "",
) -> None:
    """Saves a series [N] with its predictions [N], NaN where there is none, as a PNG: a panel for each label.

    A line stands where training ended.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1 + 1.4 * len(predictions)), layout="constrained")
    panels = figure.subplots(len(predictions), sharex=True, sharey=True, squeeze=False)[:, 0]
    steps = range(1, len(values) + 1)
    for axes, (label, predicted) in zip(panels, predictions.items(), strict=True):
        axes.plot(steps, values, "-", color="0.75", linewidth=1, label="series")
        axes.plot(steps, predicted, "--", color="0.1", linewidth=1, label=label)
        axes.axvline(train_steps + 0.5, color="0.45", linewidth=1)
        axes.set(ylabel="value")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    panels[0].set_title(f"{title}; trained up to step {train_steps}", parse_math=False)
    panels[-1].set(xlabel="step")
    _save(figure, target)


def _save(figure: Any, target: Target) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a letter that the font lacks, or of values beyond the axes
        figure.savefig(target, dpi=120, format="png")
