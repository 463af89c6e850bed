"""What a text is read from, again and again, piece by piece."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from tfrnn.errors import UserError

LARGEST = 2**33  # bytes of a text that is read as a whole

OnBytes = Callable[[int], object] | None  # is told how many bytes have been read since it was told last


class Source(Protocol):
    """A text that can be read again and again.

    Attributes:
      name: as the user gave it.
      size: bytes that are read for all of it.
    """

    name: str
    size: int

    def sha256(self, on_bytes: OnBytes = None) -> str:
        """Of its bytes, in hex."""

    def pieces(self, on_bytes: OnBytes = None) -> Iterator[str]:
        """The text in pieces of any length."""


class InMemory:
    """A text that has been read, as a Source; its bytes are those of UTF-8."""

    def __init__(self, name: str, text: str):
        self.name, self._text = name, text
        self.size = len(text.encode())

    def sha256(self, on_bytes: OnBytes = None) -> str:
        if on_bytes:
            on_bytes(self.size)
        return hashlib.sha256(self._text.encode()).hexdigest()

    def pieces(self, on_bytes: OnBytes = None) -> Iterator[str]:
        if on_bytes:
            on_bytes(self.size)
        yield self._text


def check_size(path: str | os.PathLike, size: int) -> None:
    """Raises UserError where so many bytes are too many to be read as a whole."""
    if size > LARGEST:
        raise UserError(f"{path}: expected a text of at most {LARGEST:,} bytes, got {size:,}; take a part of it")


def does_not_fit(path: str | os.PathLike) -> UserError:
    return UserError(f"{path}: expected a text that fits into memory; take a part of it")


def joined(source: Source, pieces: Iterable[str]) -> str:
    """The pieces of a source as one text. Raises UserError where it is too large for that."""
    check_size(source.name, source.size)
    parts, size = [], 0
    try:
        for piece in pieces:
            size += len(piece)
            check_size(source.name, size)  # a small archive may hold much
            parts.append(piece)
        return "".join(parts)
    except MemoryError:
        raise does_not_fit(source.name) from None
