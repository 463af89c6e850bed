"""metrics.jsonl: a row for each finished epoch, one JSON object a line."""

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfrnn.errors import RunWarning, UserError
from tfrnn.runtime import durable

NAME = "metrics.jsonl"
LARGEST = 2**30  # bytes that are read
# What a row has beside its epoch's number; the None of those that may be unknown.
MEASURES = {
    "perplexity": (float,),
    "bits_per_char": (float,),
    "val_perplexity": (float, None),
    "val_bits_per_char": (float, None),
    "tokens_per_sec": (float, None),
    "learning_rate": (float,),
    "seconds": (float,),
}
BY_HEART = 1.5  # a training perplexity below which a model mostly recites
RISEN = 1.1  # times the best perplexity on held-out text, from which on it counts as risen
_OBJECT = re.compile(r"^\{.*$", re.MULTILINE)


class Metrics:
    """The file in a run directory. A row that could not be written is written with the next, or by `flush`."""

    def __init__(self, folder: Path):
        self.path = folder / NAME
        self._lines: list[str] = []
        self._in_file: tuple[int, int] | None = None  # so many lines and bytes; None: not known, to be written anew

    def rows(self) -> list[dict[str, Any]]:
        """What is in the file, by the numbers of the epochs; a line that is no row, torn say, is left out.

        Raises UserError where it cannot be read.
        """
        try:
            text = durable.read(self.path, LARGEST).decode(errors="replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"{self.path}: expected lines of JSON, but it cannot be read ({error.strerror})") from None
        rows: list[dict[str, Any]] = []
        for line in _OBJECT.finditer(text):
            row = _row(line[0])
            if row and row["epoch"] > (rows[-1]["epoch"] if rows else 0):
                rows.append(row)
        return rows

    def keep(self, epochs: int) -> None:
        """Drops the rows of later epochs, which will come again, and what is torn. Raises OSError."""
        rows = [row for row in self.rows() if row["epoch"] <= epochs]
        if len(rows) < epochs:
            warnings.warn(
                f"{self.path} has whole rows of {len(rows)} of {epochs} finished epochs; going on without the others",
                RunWarning,
                stacklevel=2,
            )
        self._lines, self._in_file = [_line(row) for row in rows], None
        self._write()

    def add(self, row: Mapping[str, Any]) -> None:
        """Adds an epoch's row. Raises OSError."""
        self._lines.append(_line(row))
        self._write()

    def flush(self) -> None:
        """Returns when all rows are on the disk. Raises OSError."""
        self._write()
        durable.flush(self.path)

    def _write(self) -> None:
        """What of the rows is not in the file yet; all of it, where the file is not as it was left."""
        known, self._in_file = self._in_file, None
        if known is None or not self.path.exists() or self.path.stat().st_size != known[1]:
            durable.write(self.path, "".join(self._lines).encode())
        elif known[0] < len(self._lines):
            durable.append(self.path, "".join(self._lines[known[0] :]).encode())
        self._in_file = len(self._lines), self.path.stat().st_size


def learnt_by_heart(rows: Sequence[Mapping[str, Any]]) -> str:
    """A remark where the training text is known by heart and other text has become harder; else nothing."""
    held_out = [(row["val_perplexity"], row["epoch"]) for row in rows if row["val_perplexity"]]
    if not held_out or rows[-1]["perplexity"] > BY_HEART:
        return ""
    (best, epoch), (now, _) = min(held_out), held_out[-1]
    if now < RISEN * best:
        return ""
    return (
        f"the model has learnt its text by heart: perplexity {rows[-1]['perplexity']:.2f} there, while on the held-out "
        f"text it rose from {best:.1f} (epoch {epoch}) to {now:.1f}. Where other text matters: more of it "
        "(--max_tokens), --dropout, --early_stopping"
    )


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row) + "\n"


def _row(line: str) -> dict[str, Any] | None:
    """An epoch's row, if the line is one."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or row.keys() != {"epoch", *MEASURES} or type(row["epoch"]) is not int:
        return None
    for name, kinds in MEASURES.items():
        value = row[name]
        if not (None in kinds if value is None else type(value) in (int, float) and 0 <= value <= 1e308):
            return None
    return row
