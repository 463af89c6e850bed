"""Sources: texts that can be read any number of times, in pieces."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from tfrnn.errors import UserError

MAX_TEXT_BYTES = 2**33  # of a text that is read as a whole

OnBytes = Callable[[int], object] | None  # is called with the number of bytes read since the last call


class Contents(NamedTuple):
    """What the bytes of a source contain, which a whole reading finds.

    Attributes:
      encoding: that of the texts, as people write it; of several, all of them.
      num_texts: the number of texts that are not empty.
      num_left_out: the number of files in archives that are left out.
    """

    encoding: str = "UTF-8"
    num_texts: int = 1
    num_left_out: int = 0


class Source(Protocol):
    """A text that can be read any number of times.

    Attributes:
      name: the name or path that the user gave.
      size: the number of bytes that are read for the whole text.
      contents: what the last whole reading found.
    """

    name: str
    size: int
    contents: Contents

    def sha256(self, on_bytes: OnBytes = None) -> str:
        """Returns the SHA-256 of the bytes, in hex; `on_bytes` is called with the number of bytes read."""

    def pieces(self, on_bytes: OnBytes = None) -> Iterator[str]:
        """Yields the text in pieces of any length; `on_bytes` is called with the number of bytes read."""


class InMemory:
    """A Source of a text that is in memory; its bytes are the text in UTF-8."""

    def __init__(self, name: str, text: str):
        self.name, self._text, self.contents = name, text, Contents()
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
    """Raises UserError if a text of `size` bytes is too large to be read as a whole."""
    if size > MAX_TEXT_BYTES:
        raise UserError(f"{path}: expected a text of at most {MAX_TEXT_BYTES:,} bytes, got {size:,}; take a part of it")


def does_not_fit(path: str | os.PathLike) -> UserError:
    """Returns the error for a text that does not fit into memory."""
    return UserError(f"{path}: expected a text that fits into memory; take a part of it")


def joined(source: Source, pieces: Iterable[str]) -> str:
    """Joins the pieces of a source to one text. Raises UserError if it is too large."""
    check_size(source.name, source.size)
    parts, size = [], 0
    try:
        for piece in pieces:
            size += len(piece)
            check_size(source.name, size)  # a small archive may contain a large text
            parts.append(piece)
        return "".join(parts)
    except MemoryError:
        raise does_not_fit(source.name) from None
