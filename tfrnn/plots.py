"""Pictures of a run."""

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from tfrnn.errors import RunWarning, UserError

OTHER_FONTS = (  # with Chinese letters
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "SimHei",
    "Microsoft YaHei", "PingFang SC", "Hiragino Sans GB", "Heiti TC", "Arial Unicode MS",
)  # fmt: skip
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


def plot_unit(
    tokens: Sequence[str],
    activations: np.ndarray,
    target: Target,
    title: str = "",
    per_line: int = 80,
    between: str = "",
) -> None:
    """Saves a text as a PNG, each character on a ground of the colour of one hidden unit's activation after it.

    That is the picture of Karpathy, Johnson and Fei-Fei (2016). Blue is below zero, red above, light near zero.

    Args:
      tokens: a text of N tokens.
      activations: of the unit after each of them, [N], in [-1, 1].
      target: the file.
      per_line: characters; a longer line is broken.
      between: what stands between tokens: a space, for words, which are then not broken.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    _check_lengths("activations", tokens, activations)
    lines: list[list[tuple[str, float]]] = [[]]
    for token, value in zip(tokens, activations, strict=True):
        if between and len(lines[-1]) + len(token) > per_line:
            lines.append([])
        for character in token + between:
            if len(lines[-1]) >= per_line and not between:
                lines.append([])
            lines[-1].append(("\u21b5" if character == "\n" else character, value))
            if character == "\n":
                lines.append([])
    columns = max(map(len, lines))
    figure = Figure(figsize=(1.2 + columns * 0.105, 0.8 + len(lines) * 0.22), layout="constrained")
    axes = figure.add_subplot()
    colours, norm = colormaps["RdBu_r"], Normalize(-1.6, 1.6)  # without the darkest, on which no text is read
    fonts = _fonts("monospace")
    for row, line in enumerate(lines):
        for column, (character, value) in enumerate(line):
            axes.add_patch(_square(column, row, colours(norm(value))))
            axes.text(
                column + 0.5, row + 0.5, character, ha="center", va="center", family=fonts, fontsize=9,
                parse_math=False,
            )  # fmt: skip
    axes.set(xlim=(0, columns), ylim=(len(lines), 0))
    axes.set_axis_off()
    axes.set_title(title, parse_math=False)
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=axes, shrink=min(1, 5 / len(lines)), aspect=10, pad=0.01)
    bar.set_ticks([-1, 0, 1])
    bar.set_label("activation")
    _save(figure, target, tells_missing=True)


def plot_gates(
    tokens: Sequence[str], gates: Mapping[str, np.ndarray], target: Target, title: str = "", units: int = 40
) -> None:
    """Saves as a PNG how far gates [T, H] are open over a text of T tokens: a panel for each, with the first units as
    rows."""
    from matplotlib.figure import Figure

    for name, opened in gates.items():
        _check_lengths(name, tokens, opened)
    figure = Figure(figsize=(2 + 0.13 * len(tokens), 1 + 2.2 * len(gates)), layout="constrained")
    panels = figure.subplots(len(gates), sharex=True, squeeze=False)[:, 0]
    for axes, (name, opened) in zip(panels, gates.items(), strict=True):
        image = axes.imshow(opened[:, :units].T, aspect="auto", vmin=0, vmax=1, cmap="cividis", interpolation="nearest")
        axes.set(ylabel=f"{name}\nhidden unit")
    panels[0].set_title(title, parse_math=False)
    shown = ["\u21b5" if token == "\n" else "\u2423" if token == " " else token for token in tokens]
    upright = 90 if max(map(len, shown)) > 1 else 0
    panels[-1].set_xticks(range(len(tokens)), shown, parse_math=False, family=_fonts("sans-serif"), rotation=upright)
    panels[-1].set(xlabel="token read")
    figure.colorbar(image, ax=list(panels), shrink=0.6, aspect=30, label="0 closed, 1 open")
    _save(figure, target, tells_missing=True)


def plot_gradient_norms(norms: Sequence[float], clip_norm: float, target: Target, title: str = "") -> None:
    """Saves the norm of each step's gradients before it was bounded as a PNG, with the bound as a line (0: none)."""
    from matplotlib.figure import Figure

    if not np.any(np.asarray(norms) > 0):
        raise UserError("expected the norms of a training step at least; got none above zero")
    figure = Figure(figsize=(6, 3.75), layout="constrained")
    axes = figure.add_subplot()
    axes.semilogy(range(1, len(norms) + 1), norms, ".", color="0.3", markersize=2, label="norm of the gradients")
    if clip_norm:
        above = 100 * float(np.mean(np.asarray(norms) > clip_norm))
        label = f"bound {clip_norm:g}: {above:.0f}% above, scaled down to it"
        axes.axhline(clip_norm, color="0.1", linestyle="--", linewidth=1, label=label)
    axes.set(xlabel="training step", ylabel="global norm")
    axes.set_title(title, parse_math=False)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    _save(figure, target)


def _square(column: int, row: int, colour: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column, row), 1, 1, facecolor=colour, edgecolor="none")


def _check_lengths(name: str, tokens: Sequence[str], values: np.ndarray) -> None:
    if not len(tokens) or len(tokens) != len(values):
        raise UserError(f"expected {name} for each token of a text; got {len(tokens)} tokens and {len(values)} values")


def _fonts(usual: str) -> list[str]:
    """The usual font, and those of OTHER_FONTS that are installed, for the letters that it lacks."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return [usual, *(name for name in OTHER_FONTS if name in installed)]


def _save(figure: Any, target: Target, tells_missing: bool = False) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # of a letter that the font lacks, or of values beyond the axes
        figure.savefig(target, dpi=120, format="png")
    missing = [str(warning.message) for warning in caught if "missing from" in str(warning.message)]
    if missing and tells_missing:
        warnings.warn(
            f"{len(set(missing))} letters are in no font that is installed here, and are boxes in the picture; install "
            f"one that has them, such as {OTHER_FONTS[0]}",
            RunWarning,
            stacklevel=3,
        )
