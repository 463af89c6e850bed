"""What is learnt of a text by reading it once from its beginning, however long it is."""

import collections
import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfrnn.data import text_rules
from tfrnn.data.corpora.sources import OnBytes, Source, check_size
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import UserError

BEGINNING = 1000  # tokens that a survey keeps
COUNTED = 2**18  # characters at once, which stay in a processor's cache


class Survey(NamedTuple):
    """What is known of a cleaned text.

    Attributes:
      counts: how often each token occurs, in order of first appearance.
      num_tokens: of the text.
      sha256: of the text in UTF-8, in hex.
      beginning: its first BEGINNING tokens; words are joined by one space.
    """

    counts: dict[str, int]
    num_tokens: int
    sha256: str
    beginning: str


def cleaned(source: Source, rule: str, tokens: str, on_bytes: OnBytes = None) -> Iterator[str]:
    """The source's text by the rule, in pieces.

    Raises:
      UserError: at the end, where only white space is left; and as the source and the rule do.
    """
    characters, blank = 0, True

    def raw() -> Iterator[str]:
        nonlocal characters
        for piece in source.pieces(on_bytes):
            characters += len(piece)
            yield piece

    for piece in text_rules.clean_pieces(raw(), rule, tokens):
        blank = blank and piece.isspace()
        yield piece
    if blank:
        raise UserError(
            f"corpus {source.name}: expected a text with letters, but the rule {rule!r} leaves nothing of its "
            f"{characters} characters; take another text, or a text rule that keeps what it has, such as raw"
        )


def survey(source: Source, rule: str, tokens: str = "char", on_bytes: OnBytes = None) -> Survey:
    """Reads the whole text.

    Args:
      source: the text.
      rule: a key of text_rules.TEXT_RULES.
      tokens: `char` or `word`.
      on_bytes: is told how many bytes have been read.
    Raises:
      UserError: as `cleaned`.
    """
    counts, sha256 = _COUNTS[tokens](), hashlib.sha256()
    num_tokens = 0
    beginning: list[str] = []
    for piece in cleaned(source, rule, tokens, on_bytes):
        sha256.update(piece.encode())
        part = piece.split() if tokens == "word" else piece
        beginning.extend(part[: max(0, BEGINNING - num_tokens)])
        num_tokens += len(part)
        counts.add(part)
    return Survey(counts.found(), num_tokens, sha256.hexdigest(), text_rules.join(beginning, tokens))


def count_first(source: Source, rule: str, tokens: str, num_tokens: int) -> dict[str, int]:
    """The counts of the first tokens alone, as Survey has them; no more is read."""
    counts = _COUNTS[tokens]()
    for part in _first(source, rule, tokens, num_tokens):
        counts.add(part)
    return counts.found()


def encode(
    source: Source, rule: str, vocabulary: Vocabulary, num_tokens: int, on_bytes: OnBytes = None
) -> Iterator[np.ndarray]:
    """The ids of the first tokens, 0 where one is unknown, piece by piece in `vocabulary.dtype`; no more is read."""
    return map(vocabulary.ids, _first(source, rule, vocabulary.tokens, num_tokens, on_bytes))


def take(source: Source, rule: str, tokens: str, begin: int, end: int) -> str:
    """The text of the tokens [begin, end), as far as there are such; words are joined by one space.

    Raises UserError where that is too much to be read as a whole.
    """
    parts, position, size = [], 0, 0
    for part in _first(source, rule, tokens, end):
        taken = part[max(0, begin - position) :]
        if taken:
            parts.append(text_rules.join(taken, tokens))
            size += len(parts[-1])
            check_size(source.name, size)
        position += len(part)
    return text_rules.join(parts, tokens)


def _first(
    source: Source, rule: str, tokens: str, num_tokens: int, on_bytes: OnBytes = None
) -> Iterator[str | list[str]]:
    """The first tokens of the text, piece by piece: characters as a string, words as a list."""
    left = num_tokens
    if left <= 0:
        return
    for piece in cleaned(source, rule, tokens, on_bytes):
        part = (piece.split() if tokens == "word" else piece)[:left]
        yield part
        left -= len(part)
        if not left:
            return


class _CharacterCounts:
    def __init__(self) -> None:
        self._counts = np.zeros(sys.maxunicode + 1, np.int64)  # by code point
        self._order: list[int] = []

    def add(self, characters: str) -> None:
        if characters.isascii():
            codes = np.frombuffer(characters.encode(), np.uint8)
        else:
            codes = np.frombuffer(characters.encode("utf-32-le"), np.uint32)
        for begin in range(0, len(codes), COUNTED):
            part = codes[begin : begin + COUNTED]
            counts = np.bincount(part)
            before = self._counts[: len(counts)]
            if ((counts > 0) & (before == 0)).any():
                self._order += dict.fromkeys(part[before[part] == 0].tolist())
            before += counts

    def found(self) -> dict[str, int]:
        return {chr(code): int(self._counts[code]) for code in self._order}


class _WordCounts:
    def __init__(self) -> None:
        self._counts: collections.Counter[str] = collections.Counter()

    def add(self, words: Sequence[str]) -> None:
        self._counts.update(words)

    def found(self) -> dict[str, int]:
        return dict(self._counts)


_COUNTS: dict[str, Callable[[], Any]] = {"char": _CharacterCounts, "word": _WordCounts}
