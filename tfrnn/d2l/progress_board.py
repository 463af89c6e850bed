"""The board of edition 1.0 on which curves grow while a model trains."""

import collections
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tfrnn.d2l.hyperparameters import HyperParameters
from tfrnn.d2l.redrawing import Redrawing


class Point(NamedTuple):
    """A point of a curve."""

    x: float
    y: float


class ProgressBoard(HyperParameters):
    """Curves that grow point by point (section 3.2). A notebook shows them while they grow.

    The picture is redrawn at most twice a second, and in at most a tenth of the time. Outside of a notebook it is the
    figure `fig` of pyplot, as after the last point.

    Args:
      xlabel, ylabel, xlim, ylim, xscale, yscale: as in matplotlib.
      ls, colors: the style and the colour of each curve.
      fig, axes: a figure and its axes of your own; by default a new figure.
      figsize: width and height in inches.
      display: whether anything is drawn. If not, only `data` grows.
    Attributes:
      data: the points of each curve, by its label.
    """

    xlabel: str | None
    xlim: Any
    fig: Any

    def __init__(
        self,
        xlabel: str | None = None,
        ylabel: str | None = None,
        xlim: Any = None,
        ylim: Any = None,
        xscale: str = "linear",
        yscale: str = "linear",
        ls: Sequence[str] = ("-", "--", "-.", ":"),
        colors: Sequence[str] = ("C0", "C1", "C2", "C3"),
        fig: Any = None,
        axes: Any = None,
        figsize: tuple[float, float] = (3.5, 2.5),
        display: bool = True,
    ):
        self.save_hyperparameters()
        self.data: dict[str, list[Point]] = {}
        self.raw_points: dict[str, list[Point]] = collections.defaultdict(list)
        self._lines: dict[str, Any] = {}
        self._redrawing = Redrawing()

    def draw(self, x: Any, y: Any, label: str, every_n: int = 1) -> None:
        """Adds a point to the curve of a label; every_n points become one, their mean."""
        raw = self.raw_points[label]
        raw.append(Point(float(x), float(y)))
        if len(raw) < every_n:
            return
        self.data.setdefault(label, []).append(Point(*np.mean(raw, 0).tolist()))
        raw.clear()
        if self.display:
            self._add_to_picture()

    def _add_to_picture(self) -> None:
        from matplotlib import pyplot

        if self.fig is None or not (self.axes or pyplot.fignum_exists(self.fig.number)):
            self.fig, self._lines = pyplot.figure(figsize=self.figsize), {}  # the last cell's figure is closed
        axes = self.axes or self.fig.gca()
        if len(self._lines) != len(self.data):
            styles = zip(self.data, itertools.cycle(self.ls), itertools.cycle(self.colors), strict=False)
            new = [(label, ls, color) for label, ls, color in styles if label not in self._lines]
            self._lines |= {label: axes.plot([], linestyle=ls, color=color)[0] for label, ls, color in new}
            axes.set(xlabel=self.xlabel, ylabel=self.ylabel, xscale=self.xscale, yscale=self.yscale)
            axes.legend(self._lines.values(), self._lines)
        for label, line in self._lines.items():
            line.set_data(*zip(*self.data[label], strict=True))
        axes.relim()
        axes.autoscale_view()
        if self.xlim:
            axes.set_xlim(self.xlim)
        if self.ylim:
            axes.set_ylim(self.ylim)
        self._redrawing.show(self.fig)
