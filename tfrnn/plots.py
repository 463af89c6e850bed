"""Pictures of a run."""

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any


def plot_perplexity(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike, title: str = "") -> None:
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a letter that the font lacks, or of values beyond the axes
        figure.savefig(path, dpi=120, format="png")
