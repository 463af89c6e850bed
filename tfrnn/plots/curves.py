"""Curves: perplexity and gradient norms during training, and forecasts of a series."""

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
      rows: one mapping for each epoch, as in metrics.jsonl, with the keys epoch, perplexity and, if a text was held
        out, val_perplexity.
      target: a path or a file open for bytes, to which the picture is saved as a PNG.
      title: the title of the picture.
      epochs: the last epoch of the horizontal axis; by default that of the rows.
    """
    figure, axes = figures.make_axes("epoch", "perplexity", title)
    marker = "o" if len(rows) == 1 else None
    row_epochs = [row["epoch"] for row in rows]
    solid, dashed = ({"color": shade, "linestyle": dashes, "marker": marker} for shade, dashes in LINES[:2])
    axes.plot(row_epochs, [row["perplexity"] for row in rows], **solid, label="training")
    held_out = [math.nan if row.get("val_perplexity") is None else row["val_perplexity"] for row in rows]
    if measured := [(value, epoch) for value, epoch in zip(held_out, row_epochs, strict=True) if not math.isnan(value)]:
        axes.plot(row_epochs, held_out, **dashed, label="held out")
        value, epoch = min(measured)
        axes.plot(epoch, value, "o", color=dashed["color"], label=f"best held out: {value:.1f} in epoch {epoch}")
    if epochs:
        axes.set_xlim(0, epochs)
    figures.set_log_scale(axes)
    axes.legend(frameon=False)
    return figures.render(figure, target)


def plot_curves(
    curves: Mapping[str, Sequence[float]],
    xlabel: str,
    ylabel: str,
    target: Target | None = None,
    title: str = "",
    xscale: str = "linear",
    yscale: str = "log",
) -> Picture:
    """Draws several curves over 1, 2, ..., distinguished by shade and dashes.

    >>> picture = tfrnn.plot_curves({"RNN": [9.0, 4.0], "GRU": [8.0, 3.0]}, "epoch", "perplexity")

    Args:
      curves: the values of each curve, by its label.
      xlabel: the label of the horizontal axis, with its unit.
      ylabel: the label of the vertical axis, with its unit.
      target: a path or a file open for bytes, to which the picture is saved as a PNG.
      title: the title of the picture.
      xscale: `linear` or `log`.
      yscale: `linear` or `log`.
    """
    figure, axes = figures.make_axes(xlabel, ylabel, title)
    styles = itertools.product((None, "o", "x", "s"), LINES)  # markers for more curves than lines
    for (label, values), (marker, (shade, dashes)) in zip(curves.items(), itertools.cycle(styles)):
        axes.plot(range(1, len(values) + 1), values, color=shade, linestyle=dashes, marker=marker, label=label)
    axes.set_xscale(xscale)
    if yscale == "log":
        figures.set_log_scale(axes)
    axes.legend(frameon=False)
    return figures.render(figure, target)


def plot_forecasts(
    values: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    train_steps: int,
    target: Target | None = None,
    title: str = "",
) -> Picture:
    """Draws a series and predictions of it, in one panel for each label, with a line where the training data ends.

    Args:
      values: the series, [N].
      predictions: by its label, the prediction of each step, [N]; NaN for steps that are not predicted.
      train_steps: the number of leading steps that were trained on.
      target: a path or a file open for bytes, to which the picture is saved as a PNG.
      title: the title of the picture.
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
    return figures.render(figure, target)


def plot_ahead(
    values: np.ndarray,
    predicted: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    earlier: tuple[int, np.ndarray] | None = None,
    target: Target | None = None,
    title: str = "",
    names: Sequence[str] = ("value",),
    last_date: str = "",
) -> Picture:
    """Draws the end of a series and the forecast after it with its intervals, in one panel for each column.

    Args:
      values: the series, [N, D].
      predicted, lower, upper: the forecast of the K steps after it and the bounds of its intervals, [K, D].
      earlier: an earlier forecast to compare with what came: the number of values that it knew, and its predictions
        [K, D].
      target: a path or a file open for bytes, to which the picture is saved as a PNG.
      title: the title of the picture.
      names: the names of the columns.
      last_date: the date of the last value, to name in the label of the axis.
    """
    from matplotlib.figure import Figure

    num_steps, horizon = len(values), len(predicted)
    first = max(0, num_steps - max(4 * horizon, 48))
    figure = Figure(figsize=(8, 1 + 2.4 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), sharex=True, squeeze=False)[:, 0]
    for d, (axes, name) in enumerate(zip(panels, names, strict=True)):
        axes.plot(range(first + 1, num_steps + 1), values[first:, d], "-", color="0.1", linewidth=1, label="known")
        marker = "o" if horizon == 1 else None  # a line through one point is not seen, nor is an area
        if earlier is not None:
            steps = range(earlier[0] + 1, earlier[0] + 1 + len(earlier[1]))
            dots = {"linewidth": 1.5, "marker": marker, "markerfacecolor": "none"}
            axes.plot(steps, earlier[1][:, d], ":", color="0.1", label="forecast\nbefore it came", **dots)
        steps = range(num_steps + 1, num_steps + 1 + horizon)
        if horizon == 1:
            axes.vlines(steps, lower[:, d], upper[:, d], color="0.85", linewidth=6, label="interval")
        else:
            axes.fill_between(steps, lower[:, d], upper[:, d], color="0.85", label="interval")
        axes.plot(steps, predicted[:, d], "--", color="0.45", marker=marker, label="forecast")
        axes.set(ylabel=name[:24])
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    panels[0].set_title(title, parse_math=False)
    panels[-1].set(xlabel=f"step ({num_steps} is {last_date})" if last_date else "step")
    return figures.render(figure, target)


def plot_gradient_norms(
    norms: Sequence[float], clip_norm: float, target: Target | None = None, title: str = ""
) -> Picture:
    """Draws the global norm of the gradients at each training step, before clipping.

    Args:
      norms: the norm of each step, as in `Trainer.gradient_norms`.
      clip_norm: the bound to which they are clipped, drawn as a line; 0 for none.
      target: a path or a file open for bytes, to which the picture is saved as a PNG.
      title: the title of the picture.

    Raises:
      UserError: no norm is above 0.
    """
    if not np.any(np.asarray(norms) > 0):
        raise UserError("expected the norms of at least one training step; got none above 0")
    figure, axes = figures.make_axes("training step", "global norm", title)
    axes.plot(range(1, len(norms) + 1), norms, ".", color="0.3", markersize=2, label="norm of the gradients")
    if clip_norm:
        above = 100 * float(np.mean(np.asarray(norms) > clip_norm))
        label = f"bound {clip_norm:g}: {above:.0f}% above, scaled down to it"
        axes.axhline(clip_norm, color="0.1", linestyle="--", linewidth=1, label=label)
    figures.set_log_scale(axes)
    axes.legend(frameon=False)
    return figures.render(figure, target)
