"""Token ids that stay in a file."""

import os
from typing import Any

import numpy as np

from tfrnn.errors import MissingFileError, UserError


class StoredIds:
    """Token ids in a file of nothing else; a slice of them reads nothing.

    Args:
      path: the file.
      dtype: of an id there, in the byte order of this machine.
      begin, end: which of the file's ids these are.
    """

    ndim = 1

    def __init__(self, path: str | os.PathLike, dtype: Any, begin: int, end: int):
        self.path = os.fspath(path)
        self.dtype = np.dtype(dtype)
        self.begin, self.end = int(begin), int(end)
        if not 0 <= self.begin <= self.end:
            raise ValueError(f"begin and end must be 0 <= begin <= end; got {begin} and {end}")

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
        """All of them, in memory. Raises as `read`."""
        if copy is False:
            raise ValueError("stored ids are copied where they become an array")
        return np.array(self._mapped(), self.dtype if dtype is None else dtype)

    def read(self, starts: Any, length: int) -> np.ndarray:
        """`length` ids from each start, [..., length] in `dtype`.

        Args:
          starts: int64 [...], from 0 to `len` - length.
        Raises:
          MissingFileError: the file is gone.
          UserError: it cannot be read, or is too short.
          ValueError: a start is out of range.
        """
        starts = np.asarray(starts, np.int64)
        if length < 0 or (starts.size and not 0 <= starts.min() <= starts.max() <= len(self) - length):
            raise ValueError(f"expected starts from 0 to {len(self) - length}; got {starts.min()} to {starts.max()}")
        if not starts.size:
            return np.empty((*starts.shape, length), self.dtype)
        return np.lib.stride_tricks.sliding_window_view(self._mapped(), length)[starts]

    def _mapped(self) -> np.ndarray:
        """[N], for this call only: the pages that are read are given back with the mapping."""
        try:
            with open(self.path, "rb") as file:
                expected, received = self.end * self.dtype.itemsize, os.fstat(file.fileno()).st_size
                if received < expected:
                    raise UserError(
                        f"{self.path}: expected stored token ids of {expected:,} bytes at the least, got "
                        f"{received:,}; remove the file and start again, and it is made anew"
                    )
                if not len(self):  # what is empty cannot be mapped
                    return np.empty(0, self.dtype)
                offset = self.begin * self.dtype.itemsize
                return np.asarray(np.memmap(file, self.dtype, "r", offset, self.shape))
        except FileNotFoundError:
            raise MissingFileError(
                f"{self.path}: expected stored token ids, but the file is gone; start again, and it is made anew"
            ) from None
        except OSError as error:
            raise UserError(
                f"{self.path}: expected stored token ids, but they cannot be read ({error.strerror}); "
                "make the file readable, or remove it and start again"
            ) from None
