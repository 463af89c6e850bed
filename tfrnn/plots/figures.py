"""What all pictures share: one style, readable in grey, and how they are shown and saved."""

import io
import os
import warnings
from typing import Any, BinaryIO

from tfrnn.errors import RunWarning

OTHER_FONTS = (  # with Chinese letters
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "SimHei",
    "Microsoft YaHei", "PingFang SC", "Hiragino Sans GB", "Heiti TC", "Arial Unicode MS",
)  # fmt: skip
# Shades and dashes, which tell curves apart without colour.
LINES = [("0.1", "-"), ("0.45", "--"), ("0.1", ":"), ("0.6", "-"), ("0.3", "-."), ("0.7", "--")]
Target = str | os.PathLike | BinaryIO  # where a picture is saved


class Picture:
    """A drawn picture, which a notebook shows where it is the last value of a cell.

    Attributes:
      png: its bytes, as a PNG.
    """

    def __init__(self, png: bytes):
        self.png = png

    def _repr_png_(self) -> bytes:
        return self.png

    def save(self, target: Target) -> None:
        """Writes the PNG to a path, or to a file that is open for bytes. Raises OSError."""
        if isinstance(target, (str, os.PathLike)):
            with open(target, "wb") as file:
                file.write(self.png)
        else:
            target.write(self.png)


def axes(xlabel: str, ylabel: str, title: str, size: tuple[float, float] = (6, 3.75)) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # without pyplot: no window system, no global state

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_title(title, parse_math=False)  # a file's name may hold a $
    axes.grid(alpha=0.3)
    return figure, axes


def log_scale(axes: Any) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    axes.set_yscale("log")
    lowest, highest = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if highest > 5 * lowest else MaxNLocator(6))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())


def fonts(usual: str) -> list[str]:
    """The usual font, and those of OTHER_FONTS that are installed, for the letters that it lacks."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return [usual, *(name for name in OTHER_FONTS if name in installed)]


def finish(figure: Any, target: Target | None, tells_missing: bool = False) -> Picture:
    """The picture, saved where a target is given."""
    drawn = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # of a letter that the font lacks, or of values beyond the axes
        figure.savefig(drawn, dpi=120, format="png")
    missing = [str(warning.message) for warning in caught if "missing from" in str(warning.message)]
    if missing and tells_missing:
        warnings.warn(
            f"{len(set(missing))} letters are in no font that is installed here, and are boxes in the picture; install "
            f"one that has them, such as {OTHER_FONTS[0]}",
            RunWarning,
            stacklevel=3,
        )
    picture = Picture(drawn.getvalue())
    if target is not None:
        picture.save(target)
    return picture
