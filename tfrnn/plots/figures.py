"""The style that all pictures share, readable in shades of grey, and how they are shown and saved."""

import io
import os
import warnings
from typing import Any, BinaryIO

from tfrnn.errors import RunWarning

CHINESE_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "SimHei",
    "Microsoft YaHei", "PingFang SC", "Hiragino Sans GB", "Heiti TC", "Arial Unicode MS",
)  # fmt: skip
# Shade and dashes of each curve, which distinguish curves without colour.
LINES = [("0.1", "-"), ("0.45", "--"), ("0.1", ":"), ("0.6", "-"), ("0.3", "-."), ("0.7", "--")]
Target = str | os.PathLike | BinaryIO  # a path, or a file open for bytes, to which a picture is saved


class Picture:
    """A drawn picture. A notebook shows it if it is the last value of a cell.

    Attributes:
      png: the picture as bytes in the PNG format.
    """

    def __init__(self, png: bytes):
        self.png = png

    def _repr_png_(self) -> bytes:
        return self.png

    def save(self, target: Target) -> None:
        """Writes the PNG to a path, or to a file open for bytes. Raises OSError if it cannot be written."""
        if isinstance(target, (str, os.PathLike)):
            with open(target, "wb") as file:
                file.write(self.png)
        else:
            target.write(self.png)


def make_axes(xlabel: str, ylabel: str, title: str, size: tuple[float, float] = (6, 3.75)) -> tuple[Any, Any]:
    """Returns a new figure and its axes; `size` is in inches."""
    from matplotlib.figure import Figure  # pyplot would need a window system, and has global state

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_title(title, parse_math=False)  # a title may be the name of a file with a $
    axes.grid(alpha=0.3)
    return figure, axes


def set_log_scale(axes: Any) -> None:
    """Makes the vertical axis logarithmic, with readable labels however small its range is, if a value is above 0."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    if axes.lines and not any(value > 0 for line in axes.lines for value in line.get_ydata()):
        return
    axes.set_yscale("log")
    lowest, highest = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if highest > 5 * lowest else MaxNLocator(6))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())


def font_families(first_choice: str) -> list[str]:
    """Returns a font, and after it the CHINESE_FONTS that are installed, for the letters that the font lacks."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return [first_choice, *(name for name in CHINESE_FONTS if name in installed)]


def render(figure: Any, target: Target | None, warn_of_missing_letters: bool = False) -> Picture:
    """Renders a figure as a picture, and saves it if a target is given."""
    png = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # about letters that the font lacks, or values outside the axes
        figure.savefig(png, dpi=120, format="png")
    missing = [str(warning.message) for warning in caught if "missing from" in str(warning.message)]
    if missing and warn_of_missing_letters:
        warnings.warn(
            f"{len(set(missing))} letters are in none of the installed fonts, and are drawn as boxes; install a font "
            f"that has them, such as {CHINESE_FONTS[0]}",
            RunWarning,
            stacklevel=3,
        )
    picture = Picture(png.getvalue())
    if target is not None:
        picture.save(target)
    return picture
