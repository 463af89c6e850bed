"""The dates of a series: parsing them, finding the step between them, and continuing them after the end.

A step is a number of months, of working days, of seconds or microseconds, or, for labels such as `d17`, of whole
numbers.
"""

import calendar
import datetime as dt
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfrnn.errors import UserError

_TIMES = ("", " %H:%M", " %H:%M:%S", "T%H:%M", "T%H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_DAYS = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y")
_STYLES = (
    *(day + time for time in _TIMES for day in _DAYS),
    "%Y%m%d", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y",
    "%Y-%m", "%Y/%m", "%m/%Y", "%m.%Y", "%b %Y", "%B %Y", "%b-%y", "%b-%Y",
)  # fmt: skip
QUARTER, WEEK, YEAR, YEAR_MONTH, LABEL = "quarter", "week", "%Y", "%Y%m", "label"
_QUARTER = re.compile(r"(?:(?P<year>\d{4})(?:-?| ))?Q(?P<quarter>[1-4])(?:(?:-?| )(?P<year_after>\d{4}))?")
_WEEK = re.compile(r"(\d{4})(-?)W(\d\d)")  # of ISO 8601
_LABEL = re.compile(r"(\D*)(\d{1,15})")
FRACTION = ".%f"  # at the end of a style whose dates differ by fractions of seconds
# Fractions of seconds, and the offset of a time zone from UTC.
_SUFFIX = re.compile(r"(:\d\d)(\.\d+)?( ?(?:Z|UTC|GMT|[+-]\d\d(?::?\d\d)?))?$")
DAY = 86_400  # seconds
SECOND = 10**6  # microseconds
_EPOCH = dt.datetime(1970, 1, 1)
_CENTURY = 36_525 * DAY  # between 1901 and 2099
MONTHS, WORKING_DAYS, SECONDS, NUMBERS = "months", "working days", "seconds", "numbers"
MICROSECONDS = "microseconds"
LAST_DAY, LAST_WORKING_DAY = "last day", "last working day"


class Calendar(NamedTuple):
    """The step between the dates of a series, and its last date.

    Attributes:
      unit: what is counted: months, working days, seconds, microseconds or numbers.
      step: how many of them lie between two dates.
      last: the last date in these units; months are counted from the year 0, seconds and days from 1970.
      style: how dates are written, as for strftime, or one of QUARTER, WEEK, LABEL; FRACTION at its end: see there.
      sample: the last date as it was written.
      in_month: if months are counted: LAST_DAY or LAST_WORKING_DAY of each; "": the day of the last date.
    """

    unit: str
    step: int
    last: int
    style: str
    sample: str
    in_month: str = ""

    def after(self, num_steps: int) -> list[str]:
        """Returns the next dates after the last one, written in the same way.

        Raises:
          UserError: one is after the year 9999.
        """
        try:
            return [self._write(self.last + i * self.step) for i in range(1, num_steps + 1)]
        except (OverflowError, ValueError):
            raise UserError(
                f"expected dates up to the year 9999; got {num_steps} steps of {self.description} after {self.sample}; "
                "take a smaller `horizon`"
            ) from None

    @property
    def description(self) -> str:
        """The step in words, e.g. `1 month`."""
        count, unit = (
            self.step,
            {MONTHS: "month", WORKING_DAYS: "working day", NUMBERS: "step"}.get(self.unit, self.unit[:-1]),
        )
        sizes = {
            SECONDS: [(7 * DAY, "week"), (DAY, "day"), (3600, "hour"), (60, "minute")],
            MICROSECONDS: [(SECOND, "second"), (1000, "millisecond")],
        }
        if self.unit in sizes:
            for size, name in sizes[self.unit]:
                if self.step % size == 0:
                    count, unit = self.step // size, name
                    break
        return f"{count} {unit}{'' if count == 1 else 's'}"

    @property
    def seasons(self) -> list[int]:
        """The numbers of steps after which a series of such dates may repeat."""
        if self.unit == MONTHS:
            return [12 // self.step] if 12 % self.step == 0 and self.step < 12 else []
        if self.unit == WORKING_DAYS:
            return [5]
        if self.unit == NUMBERS:
            return []
        if self.unit == MICROSECONDS:
            return [length // self.step for length in (SECOND, 60 * SECOND) if length % self.step == 0]
        lengths = [3600, DAY, 7 * DAY]  # an hour, a day, a week
        within = [length // self.step for length in lengths if length % self.step == 0 and length >= 2 * self.step]
        return [*within, round(365.25 * DAY / self.step)] if DAY <= self.step <= 100 * DAY else within

    def _write(self, position: int) -> str:
        if self.style == LABEL:
            match = _LABEL.fullmatch(self.sample)
            assert match is not None
            return f"{match[1]}{position:0{len(match[2]) if match[2].startswith('0') else 1}d}"
        if self.unit == MONTHS:
            year, month = divmod(position, 12)
            if self.style == QUARTER:
                match = _QUARTER.fullmatch(self.sample)
                assert match is not None
                written = self.sample.replace(match["year"] or match["year_after"], f"{year:04}")
                return re.sub(r"Q\d", f"Q{month // 3 + 1}", written)
            last_day = calendar.monthrange(year, month + 1)[1]
            if self.in_month == LAST_WORKING_DAY:
                last_day -= max(0, dt.date(year, month + 1, last_day).weekday() - 4)
            date = _parse(self.sample, self.style)
            date = date.replace(year=year, month=month + 1, day=last_day if self.in_month else min(date.day, last_day))
        elif self.unit == WORKING_DAYS:
            weeks, day = divmod(position, 5)
            date = _parse(self.sample, self.style)
            date = dt.datetime.combine((_EPOCH - dt.timedelta(3) + dt.timedelta(7 * weeks + day)).date(), date.time())
        else:
            date = _EPOCH + dt.timedelta(**{self.unit: position})
        if self.style == WEEK:
            year, week, _ = date.isocalendar()
            return _WEEK.sub(lambda match: f"{year:04}{match[2]}W{week:02}", self.sample)
        suffix = _SUFFIX.search(self.sample) if ":" in self.style else None
        fraction, offset = (part or "" for part in suffix.groups()[1:]) if suffix else ("", "")
        if self.style.endswith(FRACTION):
            # As many digits as the last date has, or as are needed.
            digits = f"{date.microsecond:06}"
            fraction = "." + digits[: max(len(fraction) - 1, len(digits.rstrip("0")), 1)].ljust(len(fraction) - 1, "0")
        return self._unpadded(date.strftime(self.style.removesuffix(FRACTION))) + fraction + offset

    def _unpadded(self, written: str) -> str:
        """Returns a date without the zeros before its day, month and hour if the last date had none."""
        year_first = self.style.startswith("%Y")
        if re.match(r"(\d{4}[-/.])?(\d|\d\d[-/.]\d)(?!\d)", self.sample):
            written = re.sub(r"(?<=[-/.])0(?=\d)" if year_first else r"(?<!\d)0(?=\d[-/.])", "", written)
        return re.sub(r"(?<= )0(?=\d:)", "", written) if re.search(r" \d:", self.sample) else written


def style_of(texts: Sequence[str], numbers_too: bool = False) -> str:
    """Returns how dates are written, a style for `parse_dates`; "" if these are no dates.

    Args:
      texts: the first dates of a column.
      numbers_too: whether bare numbers may be dates: years, or numbers of steps.
    Raises:
      UserError: the day and the month cannot be told apart.
    """
    texts = [text for text in texts if text]
    are_numbers = all(re.fullmatch(r"[+-]?[\d.,]+", text) and text.count(".") < 2 for text in texts[:3])
    if not texts or (are_numbers and not numbers_too):
        return ""
    if all(_is_quarter(text) for text in texts):
        return QUARTER
    if all(_fits(text, WEEK) for text in texts):
        return WEEK
    if numbers_too and all(re.fullmatch(r"(1[5-9]|20|21)\d\d(0[1-9]|1[0-2])", text) for text in texts):
        return YEAR_MONTH
    if numbers_too and all(re.fullmatch(r"1[5-9]\d\d|20\d\d|21\d\d", text) for text in texts):
        return YEAR
    fitting = [style for style in _STYLES if all(_fits(text, style) for text in texts)]
    if len(fitting) > 1:  # 01/02/2023 may be in January or in February
        regularity = {style: _regularity(texts, style) for style in fitting}
        if (best := max(regularity.values())) > 0.5:
            fitting = [style for style in fitting if regularity[style] == best]
    if len(fitting) > 1 and len({_parse(texts[-1], style) for style in fitting}) > 1 and len(texts) > 1:
        raise UserError(
            f"expected dates whose day and month can be told apart; got {texts[0]!r} and {texts[1]!r}; write them as "
            "2023-01-31"
        )
    if fitting:
        # If no two dates lie within a second, their fractions may be as chance has them.
        if ":" not in fitting[0] or len({parse_date(text, fitting[0]) for text in texts}) == len(texts):
            return fitting[0]
        try:
            return fitting[0] + (FRACTION if any(map(_microseconds, texts)) else "")
        except ValueError:  # finer ones
            return ""
    labels = [_LABEL.fullmatch(text) for text in texts]
    if all(labels) and len({match[1] for match in labels if match}) == 1 and (numbers_too or not texts[0].isdigit()):
        steps = {int(b[2]) - int(a[2]) for a, b in itertools.pairwise(labels) if a and b}
        return LABEL if steps and min(steps) > 0 else ""
    return ""


def parse_date(text: str, style: str) -> int:
    """Returns a date as a number that `find_calendar` takes: months of a quarter, the number of a label, seconds or,
    if they have fractions, microseconds.

    Raises:
      ValueError: it is written in another way.
    """
    if style == QUARTER:
        match = _QUARTER.fullmatch(text)
        if not match or not _is_quarter(text):
            raise ValueError
        return 12 * int(match["year"] or match["year_after"]) + 3 * (int(match["quarter"]) - 1)
    if style == LABEL:
        match = _LABEL.fullmatch(text)
        if not match:
            raise ValueError
        return int(match[2])
    since = _parse(text, style) - _EPOCH
    seconds = since.days * DAY + since.seconds
    return seconds * SECOND + _microseconds(text) if style.endswith(FRACTION) else seconds


def offset_of(text: str, style: str) -> int:
    """Returns how far a date with a time of day is ahead of UTC by what is written after it, in the units of
    `parse_date`; else 0."""
    match = _SUFFIX.search(text)
    if not match or not match[3] or match[3].strip() in ("Z", "UTC", "GMT"):
        return 0
    sign, digits = match[3].strip()[0], match[3].strip()[1:].replace(":", "").ljust(4, "0")
    seconds = (-1 if sign == "-" else 1) * 60 * (60 * int(digits[:2]) + int(digits[2:]))
    return seconds * SECOND if style.endswith(FRACTION) else seconds


def in_one_century(dates: np.ndarray, style: str) -> np.ndarray:
    """Returns dates with years of two digits so that 1968 comes before 1969, which alone would be 2068 and 1969."""
    if (
        "%y" not in style
        or style.endswith(FRACTION)
        or not len(dates)
        or not dates.min() < _seconds(2000) <= _seconds(2050) <= dates.max()
    ):
        return dates
    return np.where(dates >= _seconds(2050), dates - _CENTURY, dates)


def _seconds(year: int) -> int:
    return (dt.datetime(year, 1, 1) - _EPOCH).days * DAY


def find_calendar(dates: np.ndarray, style: str, sample: str) -> tuple[Calendar, np.ndarray]:
    """Finds the step between dates.

    Args:
      dates: what `parse_date` returned for each date, rising, int64 [N], at least two.
      style: how they are written.
      sample: the last one as it was written.
    Returns:
      The calendar, and the number of steps of each date after the first, int64 [N]: 0, 1, 2, ... if none is missing.
    Raises:
      UserError: the dates do not lie whole steps apart.
    """
    unit, positions, place_in_month = NUMBERS, dates, ""
    if style == QUARTER:
        unit = MONTHS
    elif style.endswith(FRACTION):
        unit = MICROSECONDS
    elif style != LABEL:
        unit, positions = SECONDS, dates
        days = dates // DAY
        as_days = days.astype("datetime64[D]")
        months = as_days.astype("datetime64[M]").astype(np.int64) + 1970 * 12
        first_of_month = as_days.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        last_of_month = (as_days.astype("datetime64[M]") + 1).astype("datetime64[D]").astype(np.int64) - 1
        last_working_day = last_of_month - np.maximum((last_of_month + 3) % 7 - 4, 0)  # 1970-01-01 was a Thursday
        same_time = np.ptp(dates % DAY) == 0
        if same_time and np.diff(months).min() > 0:
            if np.ptp(days - first_of_month) == 0:
                unit, positions = MONTHS, months
            elif (days == last_of_month).all():
                unit, positions, place_in_month = MONTHS, months, LAST_DAY
            elif (days == last_working_day).all():
                unit, positions, place_in_month = MONTHS, months, LAST_WORKING_DAY
        if unit == SECONDS and same_time and (np.diff(days) == 1).sum() * 2 > len(days) - 1 and len(days) >= 10:
            weekday = (days + 3) % 7
            if weekday.max() < 5:
                unit, positions = WORKING_DAYS, (days + 3) // 7 * 5 + weekday
    differences = np.diff(positions)
    counts = Counter(differences.tolist())
    step = min(counts, key=lambda difference: (-counts[difference], difference))
    steps, rest = np.divmod(positions - positions[0], step)
    if rest.any():
        place = int(np.flatnonzero(rest)[0])
        found = Calendar(unit, step, int(positions[place - 1]), style, sample, place_in_month)
        raise UserError(
            f"expected dates that lie {found.description} apart; got one after {found._write(found.last)} that does not"
        )
    return Calendar(unit, int(step), int(positions[-1]), style, sample, place_in_month), steps


def _parse(text: str, style: str) -> dt.datetime:
    if style == WEEK:
        match = _WEEK.fullmatch(text)
        if not match:
            raise ValueError
        return dt.datetime.fromisocalendar(int(match[1]), int(match[3]), 1)
    if ":" in style:
        text = _SUFFIX.sub(r"\1", text)
    return dt.datetime.strptime(text, style.removesuffix(FRACTION))


def _microseconds(text: str) -> int:
    """Returns the fraction of a second of a date with a time of day. Raises ValueError if it is finer."""
    match = _SUFFIX.search(text)
    digits = match[2][1:].rstrip("0") if match and match[2] else ""
    if len(digits) > 6:
        raise ValueError
    return int(digits.ljust(6, "0"))


def _fits(text: str, style: str) -> bool:
    try:
        _parse(text, style)
    except ValueError:
        return False
    return True


def _is_quarter(text: str) -> bool:
    match = _QUARTER.fullmatch(text)
    return match is not None and bool(match["year"]) != bool(match["year_after"])


def _regularity(texts: Sequence[str], style: str) -> float:
    """Returns the share of the commonest step between dates that rise or fall; 0 if they do neither."""
    dates = np.array([parse_date(text, style) for text in texts])
    differences = np.diff(dates)
    if not len(differences) or differences.min() * differences.max() <= 0:
        return 0.0
    days = np.abs(differences) / DAY
    common = Counter(np.where((days >= 28) & (days <= 31), 30, days).tolist()).most_common(1)[0][1]
    return common / len(differences)
