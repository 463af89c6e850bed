"""Where series come from: a noisy sine, or a column of a CSV file.

Letters: N steps of the series.
"""

import csv
import math
import os

import numpy as np

from tfrnn.errors import MissingFileError, UserError


def noisy_sine(num_steps: int = 1000, noise: float = 0.2, seed: int = 0) -> np.ndarray:
    """The book's series, float64 [N]: x_t = sin(0.01 t) + e_t, t = 1..N, with e_t of standard deviation `noise`."""
    t = np.arange(1, num_steps + 1)
    return np.sin(0.01 * t) + np.random.default_rng(seed).normal(0, noise, num_steps)


def read_column(path: str | os.PathLike, column: str = "") -> np.ndarray:
    """A column of a CSV file with a line of names, float64 [N].

    Args:
      path: the file, UTF-8.
      column: its name; may be left out where the file has a single one.
    Raises:
      MissingFileError: there is no such file.
      UserError: no such column, a gap or a text in it, or nothing below its name.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            names = [name.strip() for name in next(rows, [])]
            at = _column(names, column, path)
            numbered = [(rows.line_num, row) for row in rows]
            while numbered and not numbered[-1][1]:
                numbered.pop()  # empty lines at the end are no gap
            return np.array([_number(row, names, at, f"{path}, line {line}") for line, row in numbered])
    except FileNotFoundError:
        raise MissingFileError(f"{path}: expected a CSV file; there is none") from None
    except UserError:
        raise
    except (OSError, ValueError, csv.Error) as error:  # ValueError: of the encoding, or of a NUL in the path
        raise UserError(f"{path}: expected a CSV file in UTF-8; it cannot be read ({error})") from None


def _column(names: list[str], column: str, path: str | os.PathLike) -> int:
    """Where the column stands."""
    if not names or all(_is_number(name) for name in names):
        raise UserError(f"{path}: expected the names of the columns, separated by commas, in line 1; got {names[:3]}")
    if not column and len(names) == 1:
        return 0
    if names.count(column) != 1:
        shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise UserError(f"{path}: expected --column to name one of {shown}; got {column!r}")
    return names.index(column)


def _number(row: list[str], names: list[str], at: int, where: str) -> float:
    if len(row) > len(names):
        raise UserError(f"{where}: expected {len(names)} fields separated by commas; got {len(row)}")
    text = row[at].strip() if at < len(row) else ""
    number = float(text) if _is_number(text) else math.nan
    if not abs(number) < float(np.finfo(np.float32).max):
        what = repr(text) if text else "nothing (a gap)"
        raise UserError(
            f"{where}, column {names[at]!r}: expected a finite number; got {what}. Fill or drop such rows first"
        )
    return number


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # which Python allows between digits
