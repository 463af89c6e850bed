"""Curves: what happened while training, and forecasts of a series."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrnn.errors import UserError
from tfrnn.plots import figures
from tfrnn.plots.figures import LINES, Picture, Target


def plot_perplexity(
    rows: Sequence[Mapping[str, Any]], target: Target | None = None, title: str = "", epochs: int | None = None
) -> Picture:
    """Draws the training and validation perplexity over the epochs.

    Args:
      rows: a mapping for each epoch, as in metrics.jsonl, with epoch, perplexity and perhaps val_perplexity.
      target: where it is saved as a PNG, if anywhere.
      title: what stands above it.
      epochs: where the axis ends; by default with the rows.
    """
    figure, axes = figures.axes("epoch", "perplexity", title)
    marker = "o" if len(rows) == 1 else None
    numbers = [row["epoch"] for row in rows]
    first, second = ({"color": shade, "linestyle": dashes, "marker": marker} for shade, dashes in LINES[:2])
    axes.plot(numbers, [row["perplexity"] for row in rows], **first, label="training")
    held_out = [math.nan if row.get("val_perplexity") is None else row["val_perplexity"] for row in rows]
    if known := [(value, epoch) for value, epoch in zip(held_out, numbers, strict=True) if not math.isnan(value)]:
        axes.plot(numbers, held_out, **second, label="held out")
        value, epoch = min(known)
        axes.plot(epoch, value, "o", color=second["color"], label=f"best held out: {value:.1f} in epoch {epoch}")
    if epochs:
        axes.set_xlim(0, epochs)
    figures.log_scale(axes)
    axes.legend(frameon=False)
    return figures.finish(figure, target)


def plot_curves(
    curves: Mapping[str, Sequence[float]],
    xlabel: str,
    ylabel: str,
    target: Target | None = None,
    title: str = "",
    xscale: str = "linear",
    yscale: str = "log",
) -> Picture:
    """Draws several curves over 1, 2, ..., told apart by shade and dashes.

    >>> picture = tfrnn.plot_curves({"RNN": [9.0, 4.0], "GRU": [8.0, 3.0]}, "epoch", "perplexity")

    Args:
      curves: the values of each, by its label.
      xlabel: what is counted along the horizontal axis, with its unit.
      ylabel: what the values are, with their unit.
      target: where it is saved as a PNG, if anywhere.
      title: what stands above it.
      xscale: linear or log.
      yscale: linear or log.
    """
    figure, axes = figures.axes(xlabel, ylabel, title)
    styles = itertools.product((None, "o", "x", "s"), LINES)  # markers, when the lines are used up
    for (label, values), (marker, (shade, dashes)) in zip(curves.items(), itertools.cycle(styles)):
        axes.plot(range(1, len(values) + 1), values, color=shade, linestyle=dashes, marker=marker, label=label)
    axes.set_xscale(xscale)
    if yscale == "log":
        figures.log_scale(axes)
    axes.legend(frameon=False)
    return figures.finish(figure, target)


def plot_forecasts(
    values: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    train_steps: int,
    target: Target | None = None,
    title: str = "",
) -> Picture:
    """Draws a series with predictions of it, a panel for each label. A line stands where training ended.

    Args:
      values: the series, [N].
      predictions: what was predicted for each of its steps, [N], by its label; NaN where there is none.
      train_steps: how many leading steps were trained on.
      target: where it is saved as a PNG, if anywhere.
      title: what stands above it.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1 + 1.4 * len(predictions)), layout="constrained")
    panels = figure.subplots(len(predictions), sharex=True, sharey=True, squeeze=False)[:, 0]
    steps = range(1, len(values) + 1)
    for axes, (label, predicted) in zip(panels, predictions.items(), strict=True):
        axes.plot(steps, values, "-", color="0.75", linewidth=1, label="series")
        axes.plot(steps, predicted, "--", color=LINES[0][0], linewidth=1, label=label)
        axes.axvline(train_steps + 0.5, color=LINES[1][0], linewidth=1)
        axes.set(ylabel="value")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    panels[0].set_title("; ".join(filter(None, [title, f"trained up to step {train_steps}"])), parse_math=False)
    panels[-1].set(xlabel="step")
    return figures.finish(figure, target)


def plot_gradient_norms(
    norms: Sequence[float], clip_norm: float, target: Target | None = None, title: str = ""
) -> Picture:
    """Draws the norm of each step's gradients before it was bounded.

    Args:
      norms: as in `Trainer.gradient_norms`.
      clip_norm: the bound, drawn as a line; 0 for none.
      target: where it is saved as a PNG, if anywhere.
      title: what stands above it.

    Raises:
      UserError: no norm is above zero.
    """
    if not np.any(np.asarray(norms) > 0):
        raise UserError("expected the norms of a training step at least; got none above zero")
    figure, axes = figures.axes("training step", "global norm", title)
    axes.plot(range(1, len(norms) + 1), norms, ".", color="0.3", markersize=2, label="norm of the gradients")
    if clip_norm:
        above = 100 * float(np.mean(np.asarray(norms) > clip_norm))
        label = f"bound {clip_norm:g}: {above:.0f}% above, scaled down to it"
        axes.axhline(clip_norm, color="0.1", linestyle="--", linewidth=1, label=label)
    figures.log_scale(axes)
    axes.legend(frameon=False)
    return figures.finish(figure, target)
