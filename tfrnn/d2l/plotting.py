"""The book's functions for plots (sections 2.4 and 3.6)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt

from tfrnn.d2l.redrawing import Redrawing

FMTS = ("-", "m--", "g-.", "r:")


def use_svg_display() -> None:
    """Lets a notebook show plots as SVG; elsewhere it does nothing."""
    try:
        from matplotlib_inline import backend_inline
    except ImportError:
        return
    backend_inline.set_matplotlib_formats("svg")


def set_figsize(figsize: tuple[float, float] = (3.5, 2.5)) -> None:
    """Sets the width and height of figures, in inches."""
    use_svg_display()
    plt.rcParams["figure.figsize"] = figsize


def set_axes(
    axes: Any, xlabel: Any, ylabel: Any, xlim: Any, ylim: Any, xscale: str, yscale: str, legend: Sequence[str] | None
) -> None:
    """Labels the axes of a plot; the arguments are as in matplotlib."""
    axes.set(xlabel=xlabel, ylabel=ylabel, xscale=xscale, yscale=yscale, xlim=xlim, ylim=ylim)
    if legend:
        axes.legend(legend)
    axes.grid()


def plot(
    X: Any,  # noqa: N803
    Y: Any = None,  # noqa: N803
    xlabel: str | None = None,
    ylabel: str | None = None,
    legend: Sequence[str] | None = None,
    xlim: Any = None,
    ylim: Any = None,
    xscale: str = "linear",
    yscale: str = "linear",
    fmts: Sequence[str] = FMTS,
    figsize: tuple[float, float] = (3.5, 2.5),
    axes: Any = None,
) -> None:
    """Plots one line, or a list of lines.

    Args:
      X: the points' x, for one line or for each line. Without Y, the points' y, drawn over their indices.
      Y: the points' y, for one line or for each line.
      xlabel, ylabel, legend, xlim, ylim, xscale, yscale: as in matplotlib.
      fmts: the style of each line.
      figsize: width and height in inches.
      axes: where to draw; by default a new figure.
    """

    def lines(values: Any) -> list:
        return list(values) if np.ndim(values[0]) else [values]

    ys = lines(X if Y is None else Y)
    xs = [range(len(y)) for y in ys] if Y is None else lines(X)
    xs = xs * len(ys) if len(xs) == 1 else xs
    axes = axes or plt.subplots(figsize=figsize)[1]
    axes.cla()
    for i, (x, y) in enumerate(zip(xs, ys, strict=True)):
        axes.plot(x, y, fmts[i % len(fmts)])
    set_axes(axes, xlabel, ylabel, xlim, ylim, xscale, yscale, legend)


class Animator:
    """Lines that grow point by point. A notebook shows them while they grow.

    Args:
      xlabel, ylabel, legend, xlim, ylim, xscale, yscale: as in matplotlib.
      fmts: the style of each line.
      nrows, ncols, figsize: of the figure; lines are drawn in its first axes.
    Attributes:
      fig, axes: the figure, and the list of its axes.
      X, Y: the points of each line; None before the first.
    """

    def __init__(
        self,
        xlabel: str | None = None,
        ylabel: str | None = None,
        legend: Sequence[str] | None = None,
        xlim: Any = None,
        ylim: Any = None,
        xscale: str = "linear",
        yscale: str = "linear",
        fmts: Sequence[str] = FMTS,
        nrows: int = 1,
        ncols: int = 1,
        figsize: tuple[float, float] = (3.5, 2.5),
    ):
        use_svg_display()
        self.fig, axes = plt.subplots(nrows, ncols, figsize=figsize)
        self.axes = np.ravel(axes).tolist()
        self.X: list[list] | None = None
        self.Y: list[list] | None = None
        self.fmts = fmts
        self._axes_settings = xlabel, ylabel, xlim, ylim, xscale, yscale, legend
        self._redrawing = Redrawing()

    def add(self, x: Any, y: Any) -> None:
        """Adds one point to each line.

        Args:
          x: of all points, or one for each line.
          y: of each line, or of the only one. A None adds no point to its line.
        """
        ys = list(y) if np.ndim(y) or isinstance(y, (list, tuple)) else [y]
        xs = list(x) if np.ndim(x) else [x] * len(ys)
        self.X, self.Y = self.X or [[] for _ in ys], self.Y or [[] for _ in ys]
        for line_x, line_y, new_x, new_y in zip(self.X, self.Y, xs, ys, strict=True):
            if new_x is not None and new_y is not None:
                line_x.append(float(new_x))
                line_y.append(float(new_y))
        self.axes[0].cla()
        for i, (line_x, line_y) in enumerate(zip(self.X, self.Y, strict=True)):
            self.axes[0].plot(line_x, line_y, self.fmts[i % len(self.fmts)])
        set_axes(self.axes[0], *self._axes_settings)
        self._redrawing.show(self.fig)
