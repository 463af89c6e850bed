"""The board of edition 1.0 on which curves grow while a model trains."""

import collections
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tfrnn.d2l.given_numbers import real_number, whole_number
from tfrnn.d2l.hyperparameters import HyperParameters
from tfrnn.d2l.plotting import FIGSIZE, new_figure, plt, set_axes
from tfrnn.d2l.redrawing import Redrawing


class Point(NamedTuple):
    """A point of a curve."""

    x: float
    y: float


class ProgressBoard(HyperParameters):
    """Curves that grow point by point (section 3.2). A notebook shows them while they grow.

    The picture is redrawn at most twice a second, and in at most a tenth of the time. Outside of a notebook it is the
    figure `fig` of pyplot, as after the last point. A second training of a model begins a line of its own.

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
        figsize: tuple[float, float] = FIGSIZE,
        display: bool = True,
    ):
        self.save_hyperparameters()
        self.data: dict[str, list[Point]] = {}
        self.raw_points: dict[str, list[Point]] = collections.defaultdict(list)
        self._lines: dict[str, Any] = {}
        self._shown_as = ""  # the settings of the axes, as they were last set
        self._redrawing = Redrawing()

    def draw(self, x: Any, y: Any, label: str, every_n: int = 1) -> None:
        """Adds a point to the curve of a label; every_n points become one, their mean."""
        raw = self.raw_points[label]
        raw.append(Point(real_number("x", x), real_number("y", y)))
        if len(raw) < whole_number("every_n", every_n, 0):
            return
        self.data.setdefault(label, []).append(Point(*np.mean(raw, 0).tolist()))
        raw.clear()
        if self.display:
            self._add_to_picture()

    def _add_to_picture(self) -> None:
        if self.fig is None or not (self.axes or plt.fignum_exists(self.fig.number)):
            self.fig, self._lines, self._shown_as = new_figure(self.figsize)[0], {}, ""  # the last cell's is closed
        axes = self.axes or self.fig.gca()
        if len(self._lines) != len(self.data):
            styles = zip(self.data, itertools.cycle(self.ls), itertools.cycle(self.colors), strict=False)
            new = [(label, ls, color) for label, ls, color in styles if label not in self._lines]
            self._lines |= {label: axes.plot([], linestyle=ls, color=color)[0] for label, ls, color in new}
            axes.legend(self._lines.values(), self._lines)
        for label, line in self._lines.items():
            line.set_data(*_with_gaps(np.array(self.data[label])))
        settings = self.xlabel, self.ylabel, self.xlim, self.ylim, self.xscale, self.yscale
        if self._shown_as != str(settings):  # the next training has other limits
            set_axes(axes, *settings, legend=None)
            self._shown_as = str(settings)
        axes.relim()
        axes.autoscale_view()
        self._redrawing.show(self.fig)


def _with_gaps(points: np.ndarray) -> np.ndarray:
    """Returns points [N, 2] as x and y, [2, M], with a NaN where a curve begins anew, as in a second training.

    That is where x goes back by more than half of the way from the first point.
    """
    x, first = points[:, 0], points[0, 0]
    anew = np.flatnonzero((x[:-1] > first) & (2 * x[1:] < x[:-1] + first)) + 1
    return np.insert(points, anew, np.nan, axis=0).T
