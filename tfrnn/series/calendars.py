"""The dates of a series: parsing them, finding the step between them, and continuing them after the end.

A step is a number of months, of working days, of seconds, or, for labels such as `d17`, of whole numbers.
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

_TIMES = ("", " %H:%M", " %H:%M:%S", "T%H:%M", "T%H:%M:%S")
_DAYS = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y")
_STYLES = (
    *(day + time for time in _TIMES for day in _DAYS),
    "%Y%m%d", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y",
    "%Y-%m", "%Y/%m", "%m/%Y", "%m.%Y", "%b %Y", "%B %Y", "%b-%y", "%b-%Y",
)  # fmt: skip
QUARTER, YEAR, LABEL = "quarter", "%Y", "label"
_QUARTER = re.compile(r"(\d{4})(-?| )Q([1-4])")
_LABEL = re.compile(r"(\D*)(\d{1,15})")
_SUFFIX = re.compile(r"(:\d\d)(\.\d+)?(Z|[+-]\d\d:?\d\d)?$")  # fractions of seconds and the offset of a time zone
_DAY = 86_400  # seconds
_EPOCH = dt.datetime(1970, 1, 1)
MONTHS, WORKING_DAYS, SECONDS, NUMBERS = "months", "working days", "seconds", "numbers"


class Calendar(NamedTuple):
    """The step between the dates of a series, and its last date.

    Attributes:
      unit: what is counted: months, working days, seconds or numbers.
      step: how many of them lie between two dates.
      last: the last date in these units; months are counted from the year 0, seconds and days from 1970.
      style: how dates are written, as for strftime, or one of QUARTER, LABEL.
      sample: the last date as it was written.
    """

    unit: str
    step: int
    last: int
    style: str
    sample: str

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
            {MONTHS: "month", WORKING_DAYS: "working day", NUMBERS: "step"}.get(self.unit, "second"),
        )
        if self.unit == SECONDS:
            for size, name in ((7 * _DAY, "week"), (_DAY, "day"), (3600, "hour"), (60, "minute")):
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
        lengths = [3600, _DAY, 7 * _DAY]  # an hour, a day, a week
        within = [length // self.step for length in lengths if length % self.step == 0 and length >= 2 * self.step]
        return [*within, round(365.25 * _DAY / self.step)] if _DAY <= self.step <= 100 * _DAY else within

    def _write(self, position: int) -> str:
        if self.style == LABEL:
            match = _LABEL.fullmatch(self.sample)
            assert match is not None
            return f"{match[1]}{position:0{len(match[2]) if match[2].startswith('0') else 1}d}"
        if self.unit == MONTHS:
            year, month = divmod(position, 12)
            if self.style == QUARTER:
                return _QUARTER.sub(lambda match: f"{year}{match[2]}Q{month // 3 + 1}", self.sample)
            last_day = calendar.monthrange(year, month + 1)[1]
            date = _parse(self.sample, self.style)
            at_end = date.day == calendar.monthrange(date.year, date.month)[1] and date.day > 27
            date = date.replace(year=year, month=month + 1, day=last_day if at_end else min(date.day, last_day))
        elif self.unit == WORKING_DAYS:
            weeks, day = divmod(position, 5)
            date = _parse(self.sample, self.style)
            date = dt.datetime.combine((_EPOCH - dt.timedelta(3) + dt.timedelta(7 * weeks + day)).date(), date.time())
        else:
            date = _EPOCH + dt.timedelta(seconds=position)
        suffix = _SUFFIX.search(self.sample)
        return date.strftime(self.style) + ("".join(part or "" for part in suffix.groups()[1:]) if suffix else "")


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
    if all(_QUARTER.fullmatch(text) for text in texts):
        return QUARTER
    if numbers_too and all(re.fullmatch(r"1[5-9]\d\d|20\d\d|21\d\d", text) for text in texts):
        return YEAR
    fitting = [style for style in _STYLES if all(_fits(text, style) for text in texts)]
    if len(fitting) > 1:  # 01/02/2023 may be in January or in February
        regular = [style for style in fitting if _is_regular(texts, style)]
        fitting = regular or fitting
    if len(fitting) > 1 and len({_parse(texts[-1], style) for style in fitting}) > 1 and len(texts) > 1:
        raise UserError(
            f"expected dates whose day and month can be told apart; got {texts[0]!r} and {texts[1]!r}; write them as "
            "2023-01-31"
        )
    if fitting:
        return fitting[0]
    labels = [_LABEL.fullmatch(text) for text in texts]
    if all(labels) and len({match[1] for match in labels if match}) == 1 and (numbers_too or not texts[0].isdigit()):
        steps = {int(b[2]) - int(a[2]) for a, b in itertools.pairwise(labels) if a and b}
        return LABEL if steps and min(steps) > 0 else ""
    return ""


def parse_date(text: str, style: str) -> int:
    """Returns a date as a number that `find_calendar` takes: months of a quarter, the number of a label, or seconds.

    Raises:
      ValueError: it is written in another way.
    """
    if style == QUARTER:
        match = _QUARTER.fullmatch(text)
        if not match:
            raise ValueError
        return 12 * int(match[1]) + 3 * (int(match[3]) - 1)
    if style == LABEL:
        match = _LABEL.fullmatch(text)
        if not match:
            raise ValueError
        return int(match[2])
    seconds = _parse(text, style) - _EPOCH
    return seconds.days * _DAY + seconds.seconds


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
    unit, positions = NUMBERS, dates
    if style == QUARTER:
        unit = MONTHS
    elif style != LABEL:
        unit, positions = SECONDS, dates
        days = dates // _DAY
        as_days = days.astype("datetime64[D]")
        months = as_days.astype("datetime64[M]").astype(np.int64) + 1970 * 12
        first_of_month = as_days.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        first_of_next = (as_days.astype("datetime64[M]") + 1).astype("datetime64[D]").astype(np.int64)
        in_month, to_end = days - first_of_month, first_of_next - days
        same_time = np.ptp(dates % _DAY) == 0
        if same_time and np.diff(months).min() > 0 and (np.ptp(in_month) == 0 or np.ptp(to_end) == 0):
            unit, positions = MONTHS, months
        elif same_time and (np.diff(days) == 1).sum() * 2 > len(days) - 1 and len(days) >= 10:
            weekday = (days + 3) % 7  # 1970-01-01 was a Thursday
            if weekday.max() < 5:
                unit, positions = WORKING_DAYS, (days + 3) // 7 * 5 + weekday
    differences = np.diff(positions)
    counts = Counter(differences.tolist())
    step = min(counts, key=lambda difference: (-counts[difference], difference))
    steps, rest = np.divmod(positions - positions[0], step)
    if rest.any():
        place = int(np.flatnonzero(rest)[0])
        found = Calendar(unit, step, int(positions[place - 1]), style, sample)
        raise UserError(
            f"expected dates that lie {found.description} apart; got one after {found._write(found.last)} that does not"
        )
    return Calendar(unit, int(step), int(positions[-1]), style, sample), steps


def _parse(text: str, style: str) -> dt.datetime:
    if "%H" in style:
        text = _SUFFIX.sub(r"\1", text)
    return dt.datetime.strptime(text, style)


def _fits(text: str, style: str) -> bool:
    try:
        _parse(text, style)
    except ValueError:
        return False
    return True


def _is_regular(texts: Sequence[str], style: str) -> bool:
    """Returns whether the dates rise or fall, the commonest step being that of more than half of them."""
    dates = np.array([parse_date(text, style) for text in texts])
    differences = np.diff(dates)
    if not len(differences) or differences.min() * differences.max() <= 0:
        return False
    days = np.abs(differences) / _DAY
    common = Counter(np.where((days >= 28) & (days <= 31), 30, days).tolist()).most_common(1)[0][1]
    return 2 * common > len(differences)
