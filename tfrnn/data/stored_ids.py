"""Token ids that stay in a file."""

import mmap
import os
import weakref
from typing import Any

import numpy as np

from tfrnn.errors import MissingFileError, UserError


class StoredIds:
    """Token ids in a file of nothing else, which is kept open; a slice of them reads nothing.

    Args:
      path: the file.
      dtype: of an id there, in the byte order of this machine.
      begin, end: which of the file's ids these are.
    Raises:
      MissingFileError: there is no such file.
      UserError: it cannot be opened, or is too short.
    """

    ndim = 1

    def __init__(self, path: str | os.PathLike, dtype: Any, begin: int, end: int):
        self.path = os.fspath(path)
        self.dtype = np.dtype(dtype)
        self.begin, self.end = int(begin), int(end)
        if not 0 <= self.begin <= self.end:
            raise ValueError(f"begin and end must be 0 <= begin <= end; got {begin} and {end}")
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            raise MissingFileError(
                f"{self.path}: expected stored token ids, but the file is gone; start again, and it is made anew"
            ) from None
        except OSError as error:
            raise self._unreadable(error) from None
        weakref.finalize(self, os.close, self._descriptor)
        expected, received = self.end * self.dtype.itemsize, os.fstat(self._descriptor).st_size
        if received < expected:
            raise UserError(
                f"{self.path}: expected stored token ids of {expected:,} bytes at the least, got {received:,}; remove "
                "the file and start again, and it is made anew"
            )

    def __len__(self) -> int:
        return self.end - self.begin

    @property
    def shape(self) -> tuple[int]:
        return (len(self),)

    def __getitem__(self, where: slice) -> "StoredIds":
        if not isinstance(where, slice) or where.step not in (None, 1):
            raise TypeError(f"stored ids are sliced without a step; got {where!r}")
        begin, end, _ = where.indices(len(self))
        return StoredIds(self.path, self.dtype, self.begin + begin, self.begin + max(begin, end))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of them, in memory."""
        if copy is False:
            raise ValueError("stored ids are copied where they become an array")
        if not len(self):  # what is empty cannot be mapped
            return np.empty(0, dtype or self.dtype)
        try:
            with mmap.mmap(self._descriptor, self.end * self.dtype.itemsize, access=mmap.ACCESS_READ) as mapped:
                return np.array(np.frombuffer(mapped, self.dtype)[self.begin :], dtype or self.dtype)
        except (OSError, ValueError) as error:  # ValueError: it has become shorter
            raise self._unreadable(error) from None

    def read(self, starts: Any, length: int) -> np.ndarray:
        """`length` ids from each start, [..., length] in `dtype`.

        They are read and not mapped: a page that is mapped, with those that the system maps around it, counts as this
        process's memory, which then seems to grow with all that has ever been read.

        Args:
          starts: int64 [...], from 0 to `len` - length.
        Raises:
          UserError: the file cannot be read.
          ValueError: a start is out of range.
        """
        starts = np.asarray(starts, np.int64)
        if length < 0 or (starts.size and not 0 <= starts.min() <= starts.max() <= len(self) - length):
            raise ValueError(f"expected starts from 0 to {len(self) - length}; got {starts.min()} to {starts.max()}")
        size = self.dtype.itemsize
        offsets = ((starts.ravel() + self.begin) * size).tolist()
        try:
            data = b"".join([os.pread(self._descriptor, length * size, offset) for offset in offsets])
        except OSError as error:
            raise self._unreadable(error) from None
        if len(data) < len(offsets) * length * size:
            raise self._unreadable("it has become shorter")
        return np.frombuffer(data, self.dtype).reshape(*starts.shape, length)

    def _unreadable(self, error: Any) -> UserError:
        reason = getattr(error, "strerror", None) or error
        return UserError(
            f"{self.path}: expected stored token ids, but they cannot be read ({reason}); make the file readable, or "
            "remove it and start again"
        )
