"""The book's Timer and Accumulator (sections 3.1 and 3.6)."""

import itertools
import time
from typing import Any

from tfrnn.d2l.given_numbers import real_number, whole_number
from tfrnn.errors import UserError


class Timer:
    """Measures times; it starts when it is made.

    Attributes:
      times: the seconds between each start and stop.
    """

    def __init__(self) -> None:
        self.times: list[float] = []
        self.start()

    def start(self) -> None:
        """Begins to measure."""
        self._begin = time.perf_counter()

    def stop(self) -> float:
        """Returns the seconds since the start, and keeps them."""
        self.times.append(time.perf_counter() - self._begin)
        return self.times[-1]

    def avg(self) -> float:
        """Returns the mean of the times."""
        if not self.times:
            raise UserError("expected a time to take the mean of; got none; call `stop` before `avg`")
        return self.sum() / len(self.times)

    def sum(self) -> float:
        """Returns the sum of the times."""
        return sum(self.times)

    def cumsum(self) -> list[float]:
        """Returns the sums of the first one, two, ... times."""
        return list(itertools.accumulate(self.times))


class Accumulator:
    """Adds up n numbers; `accumulator[i]` is a sum.

    Args:
      n: how many.
    """

    def __init__(self, n: int):
        self.data = [0.0] * whole_number("n", n, 0)

    def add(self, *args: Any) -> None:
        """Adds one number to each sum."""
        if len(args) != len(self.data):
            raise UserError(f"expected {len(self.data)} numbers, one for each sum; got {len(args)}")
        self.data = [total + real_number("args", value) for total, value in zip(self.data, args, strict=True)]

    def reset(self) -> None:
        """Sets the sums to zero."""
        self.data = [0.0] * len(self.data)

    def __getitem__(self, idx: Any) -> Any:
        return self.data[idx]
