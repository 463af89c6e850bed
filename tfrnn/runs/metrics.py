"""metrics.jsonl: one row for each finished epoch, one JSON object per line."""

import json
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfrnn.data.text_rules import NOUNS
from tfrnn.errors import RunWarning, UserError
from tfrnn.runtime import durable

FILE_NAME = "metrics.jsonl"
MAX_BYTES = 2**30  # a larger file is not read
# The fields of a row besides `epoch`, each with its types; those that may be unknown include None. If tokens are words,
# the bits are those of a word.
MEASURES = {
    "perplexity": (float,),
    "bits_per_char": (float,),
    "val_perplexity": (float, None),
    "val_bits_per_char": (float, None),
    "tokens_per_sec": (float, None),
    "learning_rate": (float,),
    "seconds": (float,),
}
SERIES_MEASURES = {"loss": (float,), "learning_rate": (float,), "seconds": (float,)}  # of a run on a time series
MEMORISED_PERPLEXITY = 1.5  # at most this on the training text: the model mostly recites it
OVERFITTING_RATIO = 1.1  # validation perplexity, relative to its best, from which on it counts as risen
DIVERGED_RATIO = 2.0  # perplexity of the training text, relative to its best, from which on the run has diverged
_OBJECT = re.compile(r"^\{.*$", re.MULTILINE)


class Metrics:
    """The metrics file of a run directory. A row that could not be written is written with the next one or by `flush`.

    Args:
      folder: the run directory.
      measures: the fields of a row besides `epoch`: MEASURES or SERIES_MEASURES.
    """

    def __init__(self, folder: Path, measures: Mapping[str, tuple] = MEASURES):
        self.path, self.measures = folder / FILE_NAME, measures
        self._lines: list[str] = []
        # The number of lines and bytes in the file; None if unknown, so that the whole file must be rewritten.
        self._written: tuple[int, int] | None = None

    def rows(self) -> list[dict[str, Any]]:
        """Returns the rows of the file in the order of their epochs, without lines that are not rows, e.g. torn ones.

        Raises:
          UserError: the file exists but cannot be read.
        """
        try:
            text = durable.read(self.path, MAX_BYTES).decode(errors="replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"{self.path}: expected lines of JSON, but it cannot be read ({error.strerror})") from None
        rows: list[dict[str, Any]] = []
        for line in _OBJECT.finditer(text):
            row = _parse_row(line[0], self.measures)
            if row and row["epoch"] > (rows[-1]["epoch"] if rows else 0):
                rows.append(row)
        return rows

    def keep(self, epochs: int) -> None:
        """Removes the rows after the first `epochs` epochs, which will be trained again, and torn lines.

        Raises:
          OSError: the file cannot be written.
        """
        rows = [row for row in self.rows() if row["epoch"] <= epochs]
        if len(rows) < epochs:
            warnings.warn(
                f"{self.path} has rows of {len(rows)} of {epochs} finished epochs; continuing without the others",
                RunWarning,
                stacklevel=2,
            )
        self._lines, self._written = [_format_row(row) for row in rows], None
        self._write()

    def add(self, row: Mapping[str, Any]) -> None:
        """Adds the row of an epoch.

        Raises:
          OSError: the file cannot be written; the row will be written with the next one.
        """
        self._lines.append(_format_row(row))
        self._write()

    def flush(self) -> None:
        """Writes all rows and flushes them to the disk.

        Raises:
          OSError: the file cannot be written.
        """
        self._write()
        durable.flush(self.path)

    def _write(self) -> None:
        """Appends the rows that the file lacks; rewrites it if something else has changed it or a write has failed."""
        written, self._written = self._written, None  # unknown, if what follows fails
        if written is None or not self.path.exists() or self.path.stat().st_size != written[1]:
            durable.write(self.path, "".join(self._lines).encode())
        elif written[0] < len(self._lines):
            durable.append(self.path, "".join(self._lines[written[0] :]).encode())
        self._written = len(self._lines), self.path.stat().st_size


def describe_held_out(rows: Sequence[Mapping[str, Any]], noun: str, characters_per_token: float = 1.0) -> str:
    """Returns a sentence about the best validation perplexity, and whether it rose from there; "" if there is none.

    Args:
      rows: the rows of all epochs.
      noun: what a token is called, such as `character`; byte pairs are measured in bits a character.
      characters_per_token: of the held-out text, if tokens are byte pairs.
    """
    held_out = [(row["val_perplexity"], row["epoch"]) for row in rows if row["val_perplexity"]]
    if not held_out:
        return ""
    (best, best_epoch), (last, _) = min(held_out), held_out[-1]
    if rows[-1]["perplexity"] > MEMORISED_PERPLEXITY or last < OVERFITTING_RATIO * best:
        bits = math.log2(best) / characters_per_token
        measured = f"perplexity {best:.4g}, {bits:.3f} bits a {noun}"
        if noun == NOUNS["bpe"]:
            measured = f"perplexity {best:.4g} a {noun}, {bits:.3f} bits a character"
        return f"on the held-out text: {measured}, with the weights of epoch {best_epoch}"
    return (
        f"the model has memorised its training text (perplexity {rows[-1]['perplexity']:.2f}), while its perplexity on "
        f"the held-out text rose from {best:.1f} (epoch {best_epoch}) to {last:.1f}. If other text matters, train on "
        "more text (`max_tokens`) or with `dropout` or `early_stopping`"
    )


def describe_failure(rows: Sequence[Mapping[str, Any]], num_different: int) -> str:
    """Returns a sentence if a run ended worse than chance, or much worse than it was before; else "".

    Args:
      rows: the rows of all epochs.
      num_different: the number of different tokens, which is the perplexity of a model that has learnt nothing.
    """
    last = rows[-1]["perplexity"]
    best, best_epoch = min((row["perplexity"], row["epoch"]) for row in rows)
    if last > num_different:
        return (
            f"this run ended worse than chance: its perplexity is {last:.4g}, and a guess among the {num_different:,} "
            f"different tokens has {num_different:,}; train for more `epochs` or `minutes`, or take a smaller "
            "`learning_rate`"
        )
    if last > DIVERGED_RATIO * best:
        return (
            f"this run diverged: its perplexity rose from {best:.4g} (epoch {best_epoch}) to {last:.4g}; take a "
            "smaller `learning_rate` or `clip_norm`"
        )
    return ""


def _format_row(row: Mapping[str, Any]) -> str:
    return json.dumps(row) + "\n"


def _parse_row(line: str, measures: Mapping[str, tuple]) -> dict[str, Any] | None:
    """Returns the row of an epoch, or None if the line is not one."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or row.keys() != {"epoch", *measures} or type(row["epoch"]) is not int:
        return None
    for name, types in measures.items():
        value = row[name]
        if not (None in types if value is None else type(value) in (int, float) and 0 <= value <= 1e308):
            return None
    return row
