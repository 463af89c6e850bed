"""Time series to forecast: a noisy sine, or columns of a file of numbers.

Letters: N steps of the series, D columns, the last I of which may be inputs, M steps after its end.
"""

import array
import bz2
import codecs
import csv
import dataclasses
import gzip
import itertools
import lzma
import math
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import numpy as np

from tfrnn.errors import MissingFileError, UserError, did_you_mean
from tfrnn.series import calendars
from tfrnn.series.calendars import Calendar

# What stands for a missing value, in lower case.
GAPS = {"", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "-", "?", "."}
_SAMPLE = 1_000  # lines by which the form of a file is found
_LARGEST = float(np.finfo(np.float32).max)
_SEPARATORS = {"tab": "\t"}
_SEPARATOR_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SEPARATOR_LINE = re.compile(r"sep=.\s*", re.IGNORECASE)  # Excel's first line
_ZIP = b"PK\x03\x04"
_MAGIC: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16's, with which it begins
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# A column with one of these names may have bare numbers as dates; that it has none which are known is told.
_DATE_NAMES = {
    "date", "dates", "time", "timestamp", "datetime", "datum", "ds", "day", "week", "month", "quarter", "period",
    "year", "t", "step", "index",
}  # fmt: skip
_NO_NAME = re.compile(r"(Unnamed: \d+)?")  # as pandas calls the column of row numbers that it has written
_SPACED = re.compile(r"(?<=\d)[ '\u00a0\u2009\u202f](?=\d{3}(?!\d))")  # between the thousands of a number
_COMMA_DECIMAL = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d*),\d+([eE][+-]?\d+)?")
_COMMA_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
_YEAR = re.compile(r"(1[5-9]|20|21)\d\d")
_POINT_AND_THREE = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")
_DOT_THOUSANDS = re.compile(r"[+-]?\d{1,3}(\.\d{3})+")
_SIGNS = re.compile(r"[%\u2030$\u20ac\u00a3\u00a5\u20b9]|\b[A-Z]{3}\b")  # per cent, and currencies
_TIME_OF_DAY = re.compile(r"\d{1,2}:\d\d(:\d\d(\.\d+)?)?( ?[AaPp][Mm])?")
_PARTS_OF_DATES = {"time", "hour", "minute", "second", "month", "day", "week", "quarter"}
_HOURS_AND_MONTHS = ({*range(24)}, {*range(1, 25)}, {*range(1, 13)})
_TITLES = 20  # lines among which the names of columns are looked for
_REPEATED = 2_000  # lines with repeated dates in which it is looked for what tells them apart


def noisy_sine(num_steps: int = 1000, noise: float = 0.2, seed: int = 0) -> np.ndarray:
    """Returns the book's series, float64 [N]: x_t = sin(0.01 t) + e_t, t = 1..N; e_t has the deviation `noise`."""
    t = np.arange(1, num_steps + 1)
    return np.sin(0.01 * t) + np.random.default_rng(seed).normal(0, noise, num_steps)


@dataclasses.dataclass(frozen=True)
class SeriesFile:
    """Columns of a file of numbers.

    Attributes:
      names: the names of the columns.
      values: their numbers, float64 [N, D].
      calendar: the dates of the steps; None if the file has none.
      date_name: the name of the column of dates; "" if there is none.
      notes: sentences for the user about how the file was read.
      future: the inputs at the steps after the last value, float64 [M, I]; None if the file has no such steps.
    """

    names: tuple[str, ...]
    values: np.ndarray
    calendar: Calendar | None = None
    date_name: str = ""
    notes: tuple[str, ...] = ()
    future: np.ndarray | None = None

    @property
    def num_known_ahead(self) -> int:
        """The number of steps after the last value whose inputs are known."""
        return 0 if self.future is None else len(self.future)


def read_series(
    path: str | os.PathLike,
    columns: Sequence[str] = (),
    *,
    inputs: Sequence[str] = (),
    date_column: str = "",
    fill: str = "none",
    header: str = "auto",
    separator: str = "auto",
    decimal: str = "auto",
    comment: str = "#",
    encoding: str = "auto",
) -> SeriesFile:
    """Reads columns of a file with a line for each step, also compressed by gzip, bzip2 or xz.

    Args:
      path: the file.
      columns: the names of the columns; may be left out if only one other than the inputs has numbers. Without a header
        the columns are called column1, column2, ...
      inputs: the names of columns that are read beside those, and returned after them. The series ends with the last
        value of `columns`: what is filled lies before it, and inputs after it are those of the future.
      date_column: the name of the column of dates; by default the first that has some.
      fill: what is done with gaps, which are missing values and missing dates. `none`: the first is an error;
        `linear`, `previous`, `zero`: see `fill_gaps`; `skip`: such rows are left out.
      header: whether the first line has names: `yes`, `no`, or `auto`, which looks whether it has numbers.
      separator: what is between fields: `,`, `;`, `|`, `tab`, or `auto`, which looks.
      decimal: the decimal mark, `.` or `,`, or `auto`, which looks.
      comment: lines that begin with this are left out; "": none is.
      encoding: of the file; `auto`: UTF-8, or what a byte order mark says.
    Raises:
      MissingFileError: the file does not exist.
      UserError: the file cannot be read, it has no such column, a field is no number, or there is a gap.
    """
    try:
        return _Form(path, columns, inputs, date_column, header, separator, decimal, comment, encoding).read(fill)
    except FileNotFoundError:
        raise MissingFileError(f"{path}: expected a CSV file, but it does not exist; name another") from None
    except UserError:
        raise
    except (OSError, EOFError, LookupError, ValueError, csv.Error, lzma.LZMAError, zlib.error) as error:
        # ValueError: wrong encoding, or a NUL character in the path
        known = "UTF-8" if encoding == "auto" else encoding
        what = "; give its `encoding`, such as cp1252" if isinstance(error, UnicodeDecodeError) else ""
        if isinstance(error, csv.Error):
            what = "; look for a quotation mark that is not closed, or stands within a field"
        raise UserError(f"{path}: expected a CSV file in {known}; it cannot be read ({error}){what}") from None


def read_column(path: str | os.PathLike, column: str = "") -> np.ndarray:
    """Reads one column of a file of numbers: see `read_series`.

    Args:
      path: the file.
      column: the column's name; may be left out if only one column has numbers.
    Returns:
      The numbers of the column, float64 [N].
    Raises:
      MissingFileError: the file does not exist.
      UserError: the file cannot be read, it has no such column, or a field of the column is empty or not a number.
    """
    return read_series(path, [column] if column else []).values[:, 0]


def fill_gaps(values: np.ndarray, how: str) -> np.ndarray:
    """Returns values without gaps.

    Args:
      values: [N, D], NaN where there is a gap.
      how: `linear`: the line between the values beside a gap; `previous`: the last value before it; `zero`: 0. At the
        ends the nearest value is taken in place of one that does not exist.
    Raises:
      UserError: a column has only gaps.
    """
    filled = np.array(values, np.float64)
    for column in filled.T:
        gaps, (known,) = np.isnan(column), np.nonzero(~np.isnan(column))
        if not len(known):
            raise UserError("expected at least one value in each column; got only gaps; name another column")
        if how == "zero":
            column[gaps] = 0
        elif how == "linear":
            column[gaps] = np.interp(np.flatnonzero(gaps), known, column[known])
        else:
            before = np.searchsorted(known, np.flatnonzero(gaps)) - 1
            column[gaps] = column[known[np.maximum(before, 0)]]
    return filled


class _Form:
    """How a file is written: found by its first lines, or told."""

    def __init__(
        self,
        path: str | os.PathLike,
        columns: Sequence[str],
        inputs: Sequence[str],
        date_column: str,
        header: str,
        separator: str,
        decimal: str,
        comment: str,
        encoding: str,
    ):
        self.path, self.comment, self.decimal = path, comment, decimal
        self.notes: list[str] = []
        self.date_is_named = bool(date_column)
        with open(path, "rb") as file:
            start = file.read(8)
        if start.startswith(_ZIP):
            raise UserError(
                f"{path}: expected a CSV file; got a zip archive or a spreadsheet; unpack it, or save as CSV"
            )
        self.open: Any = next((opened for magic, opened in _MAGIC.items() if start.startswith(magic)), open)
        with self.open(path, "rb") as binary:
            start = binary.read(4)
        by_mark = next((name for mark, name in _BOMS.items() if start.startswith(mark)), "utf-8")
        self.encoding = by_mark if encoding == "auto" else encoding
        with self._text() as file:
            numbered = [each for each in itertools.islice(self._lines(file), _SAMPLE) if each[1].strip()]
        lines = [line for _, line in numbered]
        self.separator = _SEPARATORS.get(separator, separator) if separator != "auto" else _find_separator(lines)
        sample = list(csv.reader(lines[:_SAMPLE], strict=True, delimiter=self.separator))
        first = [field.strip() for field in sample[0]] if sample else []
        self.has_header = header == "yes" or (header == "auto" and not _is_data(first))
        self.names = first if self.has_header else [f"column{i}" for i in range(1, len(first) + 1)]
        if not first:
            raise UserError(
                f"{path}: expected the names of the columns, separated by {self._between}, in line 1; got {first}"
            )
        if self.has_header and (names := _names_below(numbered, sum(map(bool, first)))):
            raise UserError(
                f"{path}: expected the names of the columns in line 1; got {', '.join(filter(None, first))!r}, and in "
                f"line {names[0]} {', '.join(names[1])}; delete the lines above these names"
            )
        if not self.has_header and header == "auto":
            self.notes.append(f"{path}: line 1 has numbers, so the columns are called {', '.join(self.names[:5])}")
        has_numbers = any(_is_numeric(name) and not _YEAR.fullmatch(name) for name in first)
        if self.has_header and header == "auto" and has_numbers:
            shown = ", ".join(first[:5])
            self.notes.append(f"{path}: line 1 is read as the names {shown}; give `header=no` if it has values")
        sample = sample[self.has_header :]
        self.date_index, self.style = self._find_dates(sample, date_column)
        self.indices = self._find_columns(sample, columns, inputs)
        self.num_columns = len(self.indices) - len(inputs)
        for index, name in enumerate(self.names):
            if self.date_index is None and index not in self.indices and name.lower() in _DATE_NAMES:
                shown = next(iter(self._fields(sample, index)), "")
                self.notes.append(
                    f"{path}: column {name!r} has no dates that are known, e.g. {shown!r}, so the steps are numbered; "
                    "write them as 2023-01-31"
                )

    @property
    def _between(self) -> str:
        return _SEPARATOR_NAMES.get(self.separator, repr(self.separator))

    def _text(self) -> TextIO:
        return self.open(self.path, "rt", encoding=self.encoding, newline="")

    def _lines(self, file: TextIO) -> Iterator[tuple[int, str]]:
        """Yields the lines that are no comments, with their numbers from 1."""
        for number, line in enumerate(file, 1):
            if number == 1 and _SEPARATOR_LINE.fullmatch(line):
                continue  # the separator is found
            if not (self.comment and line.startswith(self.comment)):
                yield number, line

    def _find_dates(self, sample: list[list[str]], name: str) -> tuple[int | None, str]:
        """Returns the index of the column of dates, or None, and how they are written."""
        if name:
            index = self._index(name, "date_column")
            style = calendars.style_of(self._fields(sample, index), numbers_too=True)
            if not style:
                shown = next(iter(self._fields(sample, index)), "")
                raise UserError(
                    f"{self.path}: expected dates in `date_column={name}`, such as 2023-01-31; got {shown!r}; name "
                    "another column, or write its dates so"
                )
            return index, style
        for index, column in enumerate(self.names):
            fields = self._fields(sample, index)
            try:
                # If a later one is no date, it will be named.
                style = calendars.style_of(fields) or calendars.style_of(fields[: len(fields) // 2])
                if not style and column.lower() in _DATE_NAMES and len(self.names) > 1 and len(fields) > 2:
                    style = calendars.style_of(fields, numbers_too=True)
                    if style == calendars.LABEL and len({*np.diff([int(field) for field in fields])}) > 1:
                        style = ""  # numbers that are no steps
            except UserError as error:
                raise UserError(f"{self.path}, column {column!r}: {error}") from None
            if style:
                return index, style
        return None, ""

    @staticmethod
    def _fields(sample: list[list[str]], index: int) -> list[str]:
        return [row[index].strip() for row in sample if index < len(row)]

    def _find_columns(self, sample: list[list[str]], columns: Sequence[str], inputs: Sequence[str]) -> list[int]:
        beside = [self._index(name, "inputs") for name in inputs]
        if columns:
            return [self._index(name, "column") for name in columns] + beside
        others = [i for i in range(len(self.names)) if i != self.date_index and i not in beside]
        if len(others) > 1:
            named = [i for i in others if not _NO_NAME.fullmatch(self.names[i])]
            numeric = [i for i in named if any(_is_numeric(field) for field in self._fields(sample, i))]
            others = numeric or named
        if len(others) != 1:
            self._index("", "column")
        return others + beside

    def _index(self, name: str, setting: str) -> int:
        """Returns the index of a column by its name."""
        if not name or self.names.count(name) != 1:
            shown = ", ".join(self.names[:20]) + (", ..." if len(self.names) > 20 else "")
            likely = did_you_mean(name, self.names)
            raise UserError(f"{self.path}: expected `{setting}` to name one of {shown}; got {name!r}{likely}")
        return self.names.index(name)

    def read(self, fill: str) -> SeriesFile:
        """Reads all lines."""
        decimal = "." if self.decimal == "auto" else self.decimal
        numbers, odd = self._read_numbers(decimal)
        if odd and self.decimal == "auto" and self._is_comma_decimal(odd):
            self.notes.append(f"{self.path}: the comma is read as the decimal mark, e.g. in {odd[0][2]!r}")
            decimal = ","
            numbers, odd = self._read_numbers(decimal)
        if odd:
            raise self._field_error(*odd[0])
        if decimal == "." and self.decimal == "auto" and self.separator == ";" and self._may_be_thousands:
            self.notes.append(
                f"{self.path}: the point is read as the decimal mark, e.g. in {self._may_be_thousands!r}; give "
                "`decimal=,` if it parts the thousands"
            )
        values, dates, lines, last_date = self._in_order(*numbers)
        known = np.flatnonzero(~np.isnan(values[:, : self.num_columns]).all(1))
        end = stop = int(known[-1]) + 1 if len(known) else len(values)  # the lines with values, and with inputs
        has_inputs = len(self.indices) > self.num_columns
        if has_inputs:
            stop += int(np.cumprod(~np.isnan(values[end:, self.num_columns :]).any(1)).sum())
        if fill != "none" and stop < len(values):
            self.notes.append(
                f"{self.path}, line {lines[stop]}: from here on there are no values, so the series ends before it"
            )
            values, lines, dates = values[:stop], lines[:stop], dates[:stop]
            last_date = self._field_of(int(lines[-1]), self.date_index) if len(dates) else ""
        calendar, steps = None, np.arange(len(values))
        has_dates = self.date_index is not None and len(dates) > 1
        if has_dates and fill != "skip":
            try:
                calendar, steps = calendars.find_calendar(dates, self.style, last_date)
            except UserError as error:
                raise UserError(f"{self.path}: {error}; `fill=skip` takes the lines as they are") from None
        if fill == "none":
            gaps = np.isnan(values)
            gaps[end:, : self.num_columns] &= not has_inputs
            if gaps.any():
                row, column = np.argwhere(gaps)[0].tolist()
                line, index = int(lines[row]), self.indices[column]
                what_to_do = "fill such gaps by `fill=linear` or another `fill`, or leave the lines out by `fill=skip`"
                raise self._field_error(line, index, self._field_of(line, index), what_to_do)
        num_steps = int(steps[-1]) + 1 if len(steps) else 0
        if num_steps > len(values):
            missing = int(np.flatnonzero(np.diff(steps) > 1)[0])
            assert calendar is not None
            if fill == "none":
                date = calendar._replace(last=calendar.last - calendar.step * (num_steps - 1 - int(steps[missing])))
                raise UserError(
                    f"{self.path}, line {lines[missing + 1]}: expected dates {calendar.description} apart; "
                    f"{date.after(1)[0]} is missing, one of {num_steps - len(values)} such gaps; fill them "
                    "by `fill=linear` or another `fill`, or take the lines as they are by `fill=skip`"
                )
            if num_steps > 100 * len(values):
                raise UserError(
                    f"{self.path}: expected dates {calendar.description} apart; got {len(values)} values in "
                    f"{num_steps} such steps; `fill=skip` takes the lines as they are"
                )
        future = None
        if end < len(values):
            after = steps[end:] - steps[end - 1] - 1
            in_turn = int((after == np.arange(len(after))).sum())  # none, or the first ones
            if in_turn < len(after):
                self.notes.append(
                    f"{self.path}, line {lines[end + in_turn]}: the date before it is missing, so the known inputs end "
                    "there"
                )
            future = values[end : end + in_turn, self.num_columns :]
            if calendar:
                last = calendar.last - calendar.step * int(steps[-1] - steps[end - 1])
                calendar = calendar._replace(last=last, sample=self._field_of(int(lines[end - 1]), self.date_index))
            values, steps, lines, dates = values[:end], steps[:end], lines[:end], dates[:end]
        if fill == "skip":
            if has_dates:
                calendar = self._calendar_of_most(dates, self._field_of(int(lines[-1]), self.date_index))
            values = values[~np.isnan(values).any(1)]
        elif len(steps) and len(values) <= steps[-1]:
            all_values = np.full([int(steps[-1]) + 1, values.shape[1]], np.nan)
            all_values[steps] = values
            values = all_values
        if fill != "none" and (gaps := int(np.isnan(values).any(1).sum())):
            self.notes.append(f"{self.path}: {gaps} of {len(values)} steps had gaps, filled by `fill={fill}`")
            values = fill_gaps(values, fill)
        names = tuple(self.names[i] for i in self.indices)
        date_name = self.names[self.date_index] if calendar and self.date_index is not None else ""
        return SeriesFile(names, values, calendar, date_name, tuple(self.notes), future)

    def _in_order(
        self, values: np.ndarray, dates: np.ndarray, offsets: np.ndarray, lines: np.ndarray, last_date: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
        """Returns the values, dates and lines in the order of the dates, and the last date; or as they were read.

        The dates are in the last one's offset from UTC if hours go on while summer time begins or ends.
        """
        dates = calendars.in_one_century(dates, self.style)
        moments = dates - offsets
        order = np.argsort(moments, kind="stable")
        if len(wrong := np.flatnonzero(np.diff(moments) <= 0)):
            where = f"{self.path}, line {lines[wrong[0] + 1]}"
            if len(twice := np.flatnonzero(np.diff(moments[order]) == 0)):
                first, again = lines[order[twice[0]]], lines[order[twice[0] + 1]]
                assert self.date_index is not None
                repeated = np.isin(moments, moments[order[twice]])
                keys = self._keys(moments[repeated], lines[repeated]) if 2 * repeated.sum() >= len(lines) else ()
                if keys and not self._are_parts_of_dates(keys, lines[repeated]):
                    shown = " and ".join(repr(self.names[key]) for key in keys)
                    raise UserError(
                        f"{self.path}, line {again}: expected one line for each date; got that of line {first} again, "
                        f"with another {shown}; write a column for each {shown}, or a file of one"
                    )
                if keys:
                    parts = ", ".join(repr(self.names[index]) for index in (self.date_index, *keys))
                    self.notes.append(
                        f"{self.path}: the date is in several columns, {parts}; join them into one, such as 2024-01-31 "
                        "or 2024-01-31 15:00, to have the dates read"
                    )
                if self.date_is_named:
                    raise UserError(
                        f"{self.path}, line {again}: expected a date after that of line {first}; got the same; drop "
                        "one of the two lines, or leave `date_column` out to take the lines as they are"
                    )
                self.notes.append(
                    f"{where}: the dates do not rise and line {again} repeats that of line {first}, so they are left "
                    "out, and each line is taken as a step after the one before"
                )
                self.date_index = None
                return values, dates, lines, last_date
            if len(wrong) == len(moments) - 1:
                self.notes.append(f"{self.path}: the dates fall, so the series is read from the end")
            else:
                self.notes.append(f"{where}: the dates do not rise, so the lines are put into the order of their dates")
            values, dates, offsets, lines = values[order], dates[order], offsets[order], lines[order]
            last_date = self._field_of(int(lines[-1]), self.date_index)
        if len(dates) > 1 and np.ptp(offsets) and (np.ptp(dates % calendars.DAY) or np.diff(dates).min() <= 0):
            dates = dates - offsets + offsets[-1]
        return values, dates, lines, last_date

    def _keys(self, moments: np.ndarray, lines: np.ndarray) -> tuple[int, ...]:
        """Returns the indices of one or two columns whose fields, which recur, tell lines of the same date apart."""
        chosen = np.argsort(moments, kind="stable")[:_REPEATED]
        rows = self._rows_of(lines[chosen])
        moment_of = dict(zip(lines[chosen].tolist(), moments[chosen].tolist(), strict=True))
        used = {self.date_index, *self.indices}
        others = [i for i, name in enumerate(self.names) if i not in used and not _NO_NAME.fullmatch(name)]
        for count in (1, 2):
            for keys in itertools.combinations(others[:20], count):
                fields = {line: tuple(row[key] if key < len(row) else "" for key in keys) for line, row in rows.items()}
                apart = len({(moment_of[line], each) for line, each in fields.items()}) == len(fields)
                if apart and 2 * len({*fields.values()}) <= len(fields):
                    return keys
        return ()

    def _are_parts_of_dates(self, keys: tuple[int, ...], lines: np.ndarray) -> bool:
        """Returns whether columns have times of day, months or the like, which belong to dates in another column."""
        rows = [*self._rows_of(lines[:_REPEATED]).values()]

        def is_part(key: int) -> bool:
            fields = self._fields(rows, key)
            are_times = all(_TIME_OF_DAY.fullmatch(field) for field in fields)
            numbers = {int(field) for field in fields} if all(map(str.isdecimal, fields)) else {}
            return self.names[key].lower() in _PARTS_OF_DATES or are_times or numbers in _HOURS_AND_MONTHS

        return all(map(is_part, keys))

    def _calendar_of_most(self, dates: np.ndarray, last_date: str) -> Calendar | None:
        """Returns the calendar of dates of which some are missing, or None if the others lie no whole steps apart."""
        try:
            return calendars.find_calendar(dates, self.style, last_date)[0]
        except UserError:
            return None

    def _read_numbers(self, decimal: str) -> tuple[tuple, list[tuple[int, int, str]]]:
        """Returns values [N, D], dates, offsets and lines [N] and the last date; and fields that are no numbers."""
        values, dates, offsets, lines = array.array("d"), array.array("q"), array.array("q"), array.array("q")
        has_time = ":" in self.style
        odd: list[tuple[int, int, str]] = []
        last_date, all_thousands = "", True
        pending: list[int] = []  # numbers of empty lines, which are gaps unless they are at the end
        self._may_be_thousands = ""  # the first number, if all have a point and three figures after it
        for line, row in self._rows():
            if not any(field.strip() for field in row):
                pending.append(line)
                continue
            for empty in pending:
                if self.date_index is not None:
                    continue  # a gap in the dates will be found by the dates
                values.extend([math.nan] * len(self.indices))
                lines.append(empty)
            pending = []
            if len(row) > len(self.names) and any(field.strip() for field in row[len(self.names) :]):
                raise UserError(
                    f"{self.path}, line {line}: expected {len(self.names)} fields separated by {self._between}; got "
                    f"{len(row)}; put a field that has {self._between} in it between quotation marks, or give another "
                    "`separator`"
                )
            for index in self.indices:
                text = row[index].strip() if index < len(row) else ""
                if all_thousands and text:
                    all_thousands = _POINT_AND_THREE.fullmatch(text) is not None
                    self._may_be_thousands = (self._may_be_thousands or text) if all_thousands else ""
                number = _to_number(text, decimal)
                if number is None:
                    number = math.nan
                    if text.lower() not in GAPS:
                        odd.append((line, index, text))
                        if len(odd) > 10_000 or not _may_be_a_number(text):
                            raise self._field_error(line, index, text)
                values.append(number)
            lines.append(line)
            if self.date_index is not None:
                text = row[self.date_index].strip() if self.date_index < len(row) else ""
                try:
                    dates.append(calendars.parse_date(text, self.style))
                except ValueError:
                    raise UserError(
                        f"{self.path}, line {line}, column {self.names[self.date_index]!r}: expected a date as in the "
                        f"lines before, e.g. {last_date!r}; got {text!r}; write it in the same way, or delete the line"
                    ) from None
                offsets.append(calendars.offset_of(text, self.style) if has_time else 0)
                last_date = text
        shape = [-1, len(self.indices)]
        integers = (np.array(each, np.int64) for each in (dates, offsets, lines))
        return (np.array(values, np.float64).reshape(shape), *integers, last_date), odd

    def _field_of(self, line: int, index: int | None) -> str:
        """Returns a field as it is written; "" if the line ends before it."""
        assert index is not None
        (row,) = self._rows_of(np.array([line])).values()
        return row[index].strip() if index < len(row) else ""

    def _rows_of(self, lines: np.ndarray) -> dict[int, list[str]]:
        """Returns the fields of some lines by their numbers."""
        wanted = {*lines.tolist()}
        rows = ((number, row) for number, row in self._rows() if number in wanted)
        return dict(itertools.islice(rows, len(wanted)))

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yields the fields of each line below the header, with the line's number."""
        last_line = 0

        def counted(file: TextIO) -> Iterator[str]:
            nonlocal last_line
            for last_line, line in self._lines(file):  # noqa: B007 (it is read below)
                yield line

        with self._text() as file:
            rows = csv.reader(counted(file), strict=True, delimiter=self.separator)
            is_header = self.has_header
            for row in rows:
                if is_header and row:
                    is_header = False
                    continue
                yield last_line, row

    def _is_comma_decimal(self, odd: list[tuple[int, int, str]]) -> bool:
        """Returns whether the fields that are no numbers with a decimal point are some with a decimal comma."""
        texts = [_SPACED.sub("", text) for _, _, text in odd]
        if not all(_COMMA_DECIMAL.fullmatch(text) for text in texts):
            return False
        if all(re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", text) for text in texts):
            raise UserError(
                f"{self.path}, line {odd[0][0]}: expected to know whether the comma in {texts[0]!r} is a decimal mark "
                "or parts the thousands; give `decimal`"
            )
        return True

    def _field_error(self, line: int, index: int, text: str, what_to_do: str = "") -> UserError:
        field = repr(text) if text else "nothing (a gap)"
        what_to_do = what_to_do or "write a number, or nothing if it is missing"
        sign = _SIGNS.search(text)
        if sign and _is_numeric(_SIGNS.sub("", text).strip()):
            what_to_do = f"take {sign[0]!r} away in all lines"
        return UserError(
            f"{self.path}, line {line}, column {self.names[index]!r}: expected a finite number; got {field}; "
            f"{what_to_do}"
        )


def _names_below(lines: list[tuple[int, str]], num_names: int) -> tuple[int, list[str]] | None:
    """Returns the number and fields of the first of the lines below a title that has more names than it; or None.

    Names are texts that are neither numbers nor dates, above as many fields of which some are.
    """
    for i in range(1, min(_TITLES, len(lines) - 1)):
        separator = _find_separator([line for _, line in lines[i:]])
        rows = list(csv.reader([line for _, line in lines[i : i + 2]], delimiter=separator))
        if len(rows) < 2:
            continue  # in quotation marks
        names, fields = ([field.strip() for field in row] for row in rows)
        has_data = any(map(_is_value, fields))
        if len(names) == len(fields) > num_names and all(names) and has_data and not any(map(_is_value, names)):
            return lines[i][0], names
    return None


def _is_value(field: str) -> bool:
    return _is_data([field])


def _find_separator(lines: list[str]) -> str:
    """Returns what is between the fields of most lines as it is in the first."""
    if not lines:
        return ","
    candidates = [separator for separator in (";", "\t", "|", ",") if separator in lines[0]]
    for separator in candidates:
        with_fields = list(csv.reader(lines, delimiter=separator))
        if 2 * sum(len(row) == len(with_fields[0]) for row in with_fields) > len(lines):
            return separator
    decimal_commas = [_COMMA_DECIMAL.fullmatch(line.strip()) or line.strip().lower() in GAPS for line in lines[1:]]
    if not candidates and any("," in line for line in lines[1:]) and all(decimal_commas):
        return ";"  # one column of numbers with decimal commas
    return candidates[0] if candidates else ","


def _is_data(fields: list[str]) -> bool:
    """Returns whether the fields of a line are numbers and dates, so that it is no header."""
    if not any(fields):
        return False
    return all(_is_numeric(field) or field.lower() in GAPS or calendars.style_of([field]) for field in fields)


def _is_numeric(text: str) -> bool:
    return any(_to_number(text, decimal) is not None for decimal in ".,")


def _may_be_a_number(text: str) -> bool:
    return _to_number(text, ",") is not None


def _to_number(text: str, decimal: str) -> float | None:
    """Returns the finite number that a text is with this decimal mark, its thousands apart or not; None: it is none."""
    if decimal == "." and (number := _finite(text)) is not None:
        return number
    text = _SPACED.sub("", text)
    if decimal == ",":
        if _DOT_THOUSANDS.fullmatch(text.partition(",")[0]):
            text = text.replace(".", "")
        elif "." in text:
            return None
        return _finite(text.replace(",", ".", 1))
    if _COMMA_THOUSANDS.fullmatch(text) and (text.count(",") > 1 or "." in text):
        text = text.replace(",", "")
    elif _DOT_THOUSANDS.fullmatch(text) and text.count(".") > 1:
        text = text.replace(".", "")
    return _finite(text)


def _finite(text: str) -> float | None:
    """Returns a text as a number; None if it is none, not finite, or too large for float32."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < _LARGEST and "_" not in text else None  # float() accepts underscores
