"""Pictures of a text: which batch reads which part of it, and hidden units and gates after each token."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfrnn.errors import UserError
from tfrnn.plots import figures
from tfrnn.plots.figures import Picture, Target


def plot_batches(
    tokens: Sequence[str], batches: Iterable[Any], target: Target | None = None, title: str = ""
) -> Picture:
    """Draws which tokens of a short text each row of each batch reads, with one line for each row.

    A vertical bar marks a row that begins from a zero state.

    >>> batches = tfrnn.sequential_batches(np.arange(20), batch_size=2, num_steps=4).epoch(0)
    >>> picture = tfrnn.plot_batches("to be or not to be, is", batches)

    Args:
      tokens: the N tokens of the text.
      batches: batches of the positions 0 to N - 1 instead of ids, as made by sequential_batches(numpy.arange(N), ...).
      target: a path or a file open for bytes, to which the picture is saved as a PNG.
      title: the title of the picture.

    Raises:
      UserError: there is no batch, or the batches have numbers that are not positions in the text.
    """
    batches = [(np.asarray(batch.inputs), np.asarray(batch.reset)) for batch in batches]
    if not batches or max(int(inputs.max()) for inputs, _ in batches) >= len(tokens):
        raise UserError(
            f"expected batches of positions in a text of {len(tokens)} tokens, made from numpy.arange; got others"
        )
    rows = batches[0][0].shape[1]
    figure, axes = figures.make_axes("position in the text", "row", title, (1.2 + 0.15 * len(tokens), 0.9 + 0.4 * rows))
    fonts = figures.font_families("monospace")
    for row in range(rows):
        for column, token in enumerate(tokens):
            axes.text(column + 0.5, row + 0.65, _visible(token), color="0.6", **_letter_style(fonts))
        for number, (inputs, reset) in enumerate(batches):
            positions = inputs[:, row]
            for position in positions:
                axes.add_patch(_square(position, row + 0.3, str(0.92 - 0.1 * (number % 4)), 0.7))
                axes.text(position + 0.5, row + 0.65, _visible(tokens[position]), color="0", **_letter_style(fonts))
            axes.text(positions[0] + 0.2, row + 0.28, f"batch {number}", fontsize=6, color="0.2", va="bottom")
            if reset[row]:
                axes.plot([positions[0]] * 2, [row + 0.3, row + 1], color="0", linewidth=2.5, solid_capstyle="butt")
    axes.set(xlim=(-0.2, len(tokens)), ylim=(rows + 0.1, 0))
    axes.set_yticks([row + 0.65 for row in range(rows)], map(str, range(rows)))
    axes.grid(False)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(left=False)
    return figures.render(figure, target, warn_of_missing_letters=True)


def plot_unit(
    tokens: Sequence[str],
    activations: np.ndarray,
    target: Target | None = None,
    title: str = "",
    per_line: int = 80,
    between: str = "",
) -> Picture:
    """Draws a text with each character on a background for the activation of one hidden unit after it.

    The larger the activation, the darker the background (Karpathy, Johnson and Fei-Fei, 2016).

    Args:
      tokens: the N tokens of the text.
      activations: the activation of the unit after each token, [N], in [-1, 1].
      target: a path or a file open for bytes, to which the picture is saved as a PNG.
      title: the title of the picture.
      per_line: the number of characters after which a line is broken.
      between: what separates tokens: a space for words, which are then not broken; nothing for characters.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize
    from matplotlib.figure import Figure

    _check_lengths("activations", tokens, activations)
    lines: list[list[tuple[str, float]]] = [[]]
    for token, value in zip(tokens, activations, strict=True):
        if between and len(lines[-1]) + len(token) > per_line:
            lines.append([])
        for character in token + between:
            if len(lines[-1]) >= per_line and not between:
                lines.append([])
            lines[-1].append((_visible(character) if character == "\n" else character, value))
            if character == "\n":
                lines.append([])
    columns = max(map(len, lines))
    figure = Figure(figsize=(1.2 + columns * 0.105, 0.8 + len(lines) * 0.22), layout="constrained")
    axes = figure.add_subplot()
    # From light to dark, without the darkest, on which text is not readable.
    colours, norm = ListedColormap(colormaps["YlGnBu"](np.linspace(0, 0.6, 256))), Normalize(-1, 1)
    fonts = figures.font_families("monospace")
    for row, line in enumerate(lines):
        for column, (character, value) in enumerate(line):
            axes.add_patch(_square(column, row, colours(norm(value))))
            axes.text(column + 0.5, row + 0.5, character, **_letter_style(fonts))
    axes.set(xlim=(0, columns), ylim=(len(lines), 0))
    axes.set_axis_off()
    axes.set_title(title, parse_math=False)
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=axes, shrink=min(1, 5 / len(lines)), aspect=10, pad=0.01)
    bar.set_ticks([-1, 0, 1])
    bar.set_label("activation")
    return figures.render(figure, target, warn_of_missing_letters=True)


def plot_gates(
    tokens: Sequence[str],
    gates: Mapping[str, np.ndarray],
    target: Target | None = None,
    title: str = "",
    units: int = 40,
) -> Picture:
    """Draws how far gates are open at each token of a text, in one panel for each gate, with one row for each unit.

    Args:
      tokens: the T tokens of the text.
      gates: for the name of each gate, numbers from 0 (closed) to 1 (open), [T, H], as `gates` returns them.
      target: a path or a file open for bytes, to which the picture is saved as a PNG.
      title: the title of the picture.
      units: the number of units that are shown, from the first on.

    Raises:
      UserError: there are no tokens, or a gate does not have one row for each token.
    """
    from matplotlib.figure import Figure

    for name, gate in gates.items():
        _check_lengths(name, tokens, gate)
    figure = Figure(figsize=(2 + 0.13 * len(tokens), 1 + 2.2 * len(gates)), layout="constrained")
    panels = figure.subplots(len(gates), sharex=True, squeeze=False)[:, 0]
    for axes, (name, gate) in zip(panels, gates.items(), strict=True):
        image = axes.imshow(gate[:, :units].T, aspect="auto", vmin=0, vmax=1, cmap="cividis", interpolation="nearest")
        axes.set(ylabel=f"{name}\nhidden unit")
    panels[0].set_title(title, parse_math=False)
    shown = list(map(_visible, tokens))
    upright = 90 if max(map(len, shown)) > 1 else 0
    panels[-1].set_xticks(
        range(len(tokens)), shown, parse_math=False, family=figures.font_families("sans-serif"), rotation=upright
    )
    panels[-1].set(xlabel="token read")
    figure.colorbar(image, ax=list(panels), shrink=0.6, aspect=30, label="0 closed, 1 open")
    return figures.render(figure, target, warn_of_missing_letters=True)


def _square(column: float, row: float, colour: Any, height: float = 1) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column, row), 1, height, facecolor=colour, edgecolor="none")


def _letter_style(fonts: list[str]) -> dict[str, Any]:
    return {"ha": "center", "va": "center", "family": fonts, "fontsize": 9, "parse_math": False}


def _visible(token: str) -> str:
    return {"\n": "\u21b5", " ": "\u2423"}.get(token, token)


def _check_lengths(name: str, tokens: Sequence[str], values: np.ndarray) -> None:
    if not len(tokens) or len(tokens) != len(values):
        raise UserError(f"expected {name} for each token of a text; got {len(tokens)} tokens and {len(values)} values")
