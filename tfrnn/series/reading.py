"""Time series to forecast: a noisy sine, or a column of a CSV file.

Letters: N steps of the series.
"""

import csv
import math
import os

import numpy as np

from tfrnn.errors import MissingFileError, UserError


def noisy_sine(num_steps: int = 1000, noise: float = 0.2, seed: int = 0) -> np.ndarray:
    """Returns the book's series, float64 [N]: x_t = sin(0.01 t) + e_t, t = 1..N; e_t has the deviation `noise`."""
    t = np.arange(1, num_steps + 1)
    return np.sin(0.01 * t) + np.random.default_rng(seed).normal(0, noise, num_steps)


def read_column(path: str | os.PathLike, column: str = "") -> np.ndarray:
    """Reads a column of a CSV file whose first line has the names of the columns.

    Args:
      path: the file, UTF-8.
      column: the column's name; may be left out if the file has only one column.
    Returns:
      The numbers of the column, float64 [N].
    Raises:
      MissingFileError: the file does not exist.
      UserError: the file cannot be read, it has no such column, or a field of the column is empty or not a number.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            names = [name.strip() for name in next(rows, [])]
            index = _column_index(names, column, path)
            numbered = [(rows.line_num, row) for row in rows]
            while numbered and not numbered[-1][1]:
                numbered.pop()  # empty lines at the end are not gaps in the series
            return np.array([_number(row, names, index, f"{path}, line {line}") for line, row in numbered])
    except FileNotFoundError:
        raise MissingFileError(f"{path}: expected a CSV file, but it does not exist; name another") from None
    except UserError:
        raise
    except (OSError, ValueError, csv.Error) as error:  # ValueError: wrong encoding, or a NUL character in the path
        raise UserError(f"{path}: expected a CSV file in UTF-8; it cannot be read ({error})") from None


def _column_index(names: list[str], column: str, path: str | os.PathLike) -> int:
    """Returns the index of the column among the names in the file's first line."""
    if not names or all(_is_number(name) for name in names):
        raise UserError(f"{path}: expected the names of the columns, separated by commas, in line 1; got {names[:3]}")
    if not column and len(names) == 1:
        return 0
    if names.count(column) != 1:
        shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise UserError(f"{path}: expected `column` to name one of {shown}; got {column!r}")
    return names.index(column)


def _number(row: list[str], names: list[str], index: int, location: str) -> float:
    if len(row) > len(names):
        raise UserError(f"{location}: expected {len(names)} fields separated by commas; got {len(row)}")
    text = row[index].strip() if index < len(row) else ""
    number = float(text) if _is_number(text) else math.nan
    if not abs(number) < float(np.finfo(np.float32).max):
        field = repr(text) if text else "nothing (a gap)"
        raise UserError(
            f"{location}, column {names[index]!r}: expected a finite number; got {field}. Fill or drop such rows first"
        )
    return number


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # float() accepts underscores between digits
