"""The book's function for plots."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def plot(
    X: Any,  # noqa: N803
    Y: Any = None,  # noqa: N803
    xlabel: str | None = None,
    ylabel: str | None = None,
    legend: Sequence[str] = (),
    xlim: Any = None,
    ylim: Any = None,
    xscale: str = "linear",
    yscale: str = "linear",
    figsize: tuple[float, float] = (3.5, 2.5),
) -> None:
    """Plots one line, or a list of lines.

    Args:
      X: the points' x, for one line or for each line. Without Y, the points' y, drawn over their indices.
      Y: the points' y, for one line or for each line.
      xlabel, ylabel, legend, xlim, ylim, xscale, yscale: as in matplotlib.
      figsize: width and height in inches.
    """
    from matplotlib import pyplot

    def lines(values: Any) -> list:
        return list(values) if np.ndim(values[0]) else [values]

    ys = lines(X if Y is None else Y)
    xs = [range(len(y)) for y in ys] if Y is None else lines(X)
    xs = xs * len(ys) if len(xs) == 1 else xs
    _, axes = pyplot.subplots(figsize=figsize)
    for x, y in zip(xs, ys, strict=True):
        axes.plot(x, y)
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=xlim, ylim=ylim, xscale=xscale, yscale=yscale)
    axes.grid()
    if legend:
        axes.legend(legend)
