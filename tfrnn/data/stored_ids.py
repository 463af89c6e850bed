"""Token ids that are kept in a file and read on demand."""

import mmap
import os
import weakref
from typing import Any

import numpy as np

from tfrnn.errors import MissingFileError, UserError


class StoredIds:
    """Token ids in a file that contains nothing else; slicing them reads nothing.

    The file is kept open, so that its ids stay readable if it is removed.

    Args:
      path: the file.
      dtype: the type of an id in the file, in the byte order of this machine.
      begin, end: the range of the file's ids that these are.
    Raises:
      MissingFileError: the file does not exist.
      UserError: the file cannot be opened, or is too short.
    """

    ndim = 1

    def __init__(self, path: str | os.PathLike, dtype: Any, begin: int, end: int):
        self.path = os.fspath(path)
        self.dtype = np.dtype(dtype)
        self.begin, self.end = int(begin), int(end)
        if not 0 <= self.begin <= self.end:
            raise ValueError(f"`begin` and `end` must be 0 <= begin <= end; got {begin} and {end}")
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            raise MissingFileError(
                f"{self.path}: expected stored token ids, but the file does not exist; start again to rebuild it"
            ) from None
        except OSError as error:
            raise self._unreadable(error) from None
        weakref.finalize(self, os.close, self._descriptor)
        expected, received = self.end * self.dtype.itemsize, os.fstat(self._descriptor).st_size
        if received < expected:
            raise UserError(
                f"{self.path}: expected stored token ids of at least {expected:,} bytes, got {received:,}; remove "
                "the file and start again to rebuild it"
            )

    def __len__(self) -> int:
        """The number of ids."""
        return self.end - self.begin

    @property
    def shape(self) -> tuple[int]:
        """The shape of the ids as an array, [N]."""
        return (len(self),)

    def __getitem__(self, key: slice) -> "StoredIds":
        """A slice of the ids, without a step; it reads nothing."""
        if not isinstance(key, slice) or key.step not in (None, 1):
            raise TypeError(f"stored ids are sliced without a step; got {key!r}")
        begin, end, _ = key.indices(len(self))
        return StoredIds(self.path, self.dtype, self.begin + begin, self.begin + max(begin, end))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All ids, in memory."""
        if copy is False:
            raise ValueError("stored ids must be copied to become an array")
        if not len(self):  # an empty file cannot be mapped
            return np.empty(0, dtype or self.dtype)
        try:
            with mmap.mmap(self._descriptor, self.end * self.dtype.itemsize, access=mmap.ACCESS_READ) as mapped:
                return np.array(np.frombuffer(mapped, self.dtype)[self.begin :], dtype or self.dtype)
        except (OSError, ValueError) as error:  # ValueError: the file has become shorter
            raise self._unreadable(error) from None

    def read(self, starts: Any, length: int) -> np.ndarray:
        """Reads windows of `length` ids.

        The file is read and not mapped: mapped pages count as memory of this process, which would seem to grow with
        everything that it has read.

        Args:
          starts: the position of the first id of each window, int64 [...], from 0 to len(self) - length.
          length: the number of ids in a window.
        Returns:
          The ids, `dtype` [..., length].
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
