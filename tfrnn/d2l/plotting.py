"""The book's functions for plots (sections 2.4 and 3.6), and its Animator."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt

from tfrnn.d2l.given_numbers import real_number
from tfrnn.d2l.redrawing import Redrawing
from tfrnn.errors import UserError

FIGSIZE = 3.5, 2.5
FMTS = ("-", "m--", "g-.", "r:")


def use_svg_display() -> None:
    """Lets a notebook show plots as SVG; elsewhere it does nothing."""
    try:
        from matplotlib_inline import backend_inline
    except ImportError:
        return
    backend_inline.set_matplotlib_formats("svg")


def set_figsize(figsize: tuple[float, float] = FIGSIZE) -> None:
    """Sets the width and height of figures, in inches."""
    use_svg_display()
    plt.rcParams["figure.figsize"] = figsize


def new_figure(figsize: tuple[float, float] = FIGSIZE, nrows: int = 1, ncols: int = 1) -> tuple[Any, Any]:
    """Returns a new figure and its axes. Labels find room in it: so small a figure would cut them off."""
    return plt.subplots(nrows, ncols, figsize=figsize, layout="constrained")


def set_axes(
    axes: Any, xlabel: Any, ylabel: Any, xlim: Any, ylim: Any, xscale: str, yscale: str, legend: Sequence[str] | None
) -> None:
    """Labels the axes of a plot; the arguments are as in matplotlib."""
    limits = {name: limit for name, limit in {"xlim": xlim, "ylim": ylim}.items() if limit is not None}
    axes.set(xlabel=xlabel, ylabel=ylabel, xscale=xscale, yscale=yscale, **limits)  # a limit None ends the autoscaling
    if legend:
        axes.legend(legend)
    axes.grid(True, alpha=0.3)


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
    figsize: tuple[float, float] = FIGSIZE,
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

    ys = _lines("X" if Y is None else "Y", X if Y is None else Y)
    xs = [range(len(y)) for y in ys] if Y is None else _lines("X", X)
    xs = xs * len(ys) if len(xs) == 1 else xs
    points = [len(x) for x in xs], [len(y) for y in ys]
    if points[0] != points[1]:
        raise UserError(f"expected `X` with as many points in each line as `Y`; got {points[0]} and {points[1]}")
    axes = axes or new_figure(figsize)[1]
    axes.cla()
    for i, (x, y) in enumerate(zip(xs, ys, strict=True)):
        axes.plot(x, y, fmts[i % len(fmts)])
    set_axes(axes, xlabel, ylabel, xlim, ylim, xscale, yscale, legend)


def _lines(name: str, values: Any) -> list:
    """Returns the coordinates of each line, given those of one or of several."""
    try:
        is_empty = not len(values)
    except TypeError:
        is_empty = True
    if is_empty:
        raise UserError(f"expected `{name}` as the points of one line, or of each line; got {values!r}")
    return list(values) if np.ndim(values[0]) else [values]


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
        figsize: tuple[float, float] = FIGSIZE,
    ):
        use_svg_display()
        self.fig, axes = new_figure(figsize, nrows, ncols)
        self.axes = np.ravel(axes).tolist()
        self.X: list[list] | None = None
        self.Y: list[list] | None = None
        self.fmts = fmts
        self._settings = xlabel, ylabel, legend, xlim, ylim, xscale, yscale
        self._redrawing = Redrawing()

    def add(self, x: Any, y: Any) -> None:
        """Adds one point to each line.

        Args:
          x: of all points, or one for each line.
          y: of each line, or of the only one. A None adds no point to its line.
        """
        ys = list(y) if np.ndim(y) or isinstance(y, (list, tuple)) else [y]
        xs = list(x) if np.ndim(x) else [x] * len(ys)
        num_lines = len(ys) if self.X is None else len(self.X)
        if not len(xs) == len(ys) == num_lines > 0:
            raise UserError(f"expected x and y of {num_lines or 'some'} lines; got {len(xs)} x and {len(ys)} y")
        self.X, self.Y = self.X or [[] for _ in ys], self.Y or [[] for _ in ys]
        for line_x, line_y, new_x, new_y in zip(self.X, self.Y, xs, ys, strict=True):
            if new_x is not None and new_y is not None:
                line_x.append(real_number("x", new_x))
                line_y.append(real_number("y", new_y))
        plot(self.X, self.Y, *self._settings, self.fmts, axes=self.axes[0])
        self._redrawing.show(self.fig)
