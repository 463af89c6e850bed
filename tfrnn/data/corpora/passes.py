"""Passes over a text of any length: each reads it once, in pieces, from its beginning."""

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

BEGINNING_TOKENS = 1000  # that a survey keeps of the text
CHARACTERS_PER_COUNT = 2**18  # so that they stay in a processor's cache while they are counted


class Survey(NamedTuple):
    """The counts of a cleaned text, and what is known of its source only after a whole reading.

    Attributes:
      counts: the number of times each token occurs, in order of first appearance.
      num_tokens: the number of tokens of the text.
      sha256: the SHA-256 of the text in UTF-8, in hex.
      beginning: the first BEGINNING_TOKENS tokens of the text; words are joined by one space.
      encoding, num_texts, num_left_out: the source's `Contents`.
    """

    counts: dict[str, int]
    num_tokens: int
    sha256: str
    beginning: str
    encoding: str
    num_texts: int
    num_left_out: int


def cleaned(source: Source, rule: str, tokens: str, on_bytes: OnBytes = None) -> Iterator[str]:
    """Yields the text of a source, cleaned by a rule, in pieces.

    Args:
      source: the text.
      rule: a key of text_rules.TEXT_RULES.
      tokens: a key of text_rules.NOUNS.
      on_bytes: is called with the number of bytes read since the last call.
    Raises:
      UserError: the text cannot be read or cleaned; or, at its end, only white space is left of it.
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
            f"{characters} characters; take another text, or a text rule that keeps its characters, e.g. raw"
        )


def survey(source: Source, rule: str, tokens: str = "char", on_bytes: OnBytes = None) -> Survey:
    """Reads a whole text and counts its tokens.

    Args:
      source: the text.
      rule: a key of text_rules.TEXT_RULES.
      tokens: one of text_rules.COUNTED.
      on_bytes: is called with the number of bytes read since the last call.
    Raises:
      UserError: the text cannot be read or cleaned, or only white space is left of it.
    """
    counts, sha256 = _COUNTS[tokens](), hashlib.sha256()
    num_tokens = 0
    beginning: list[str] = []
    for piece in cleaned(source, rule, tokens, on_bytes):
        sha256.update(piece.encode())
        part = piece if tokens == "char" else text_rules.split(piece, tokens)
        beginning.extend(part[: max(0, BEGINNING_TOKENS - num_tokens)])
        num_tokens += len(part)
        counts.add(part)
    first = text_rules.join(beginning, tokens)
    return Survey(counts.by_token(), num_tokens, sha256.hexdigest(), first, *source.contents)


def count_first(source: Source, rule: str, tokens: str, num_tokens: int) -> dict[str, int]:
    """Counts the first `num_tokens` tokens of a text, in order of first appearance; reads no further."""
    counts = _COUNTS[tokens]()
    for part in _first(source, rule, tokens, num_tokens):
        counts.add(part)
    return counts.by_token()


def encode(
    source: Source, rule: str, vocabulary: Vocabulary, num_tokens: int, on_bytes: OnBytes = None
) -> Iterator[np.ndarray]:
    """Yields the ids of the first `num_tokens` tokens in arrays of `vocabulary.dtype`, 0 for an unknown token.

    Reads no further.
    """
    return map(vocabulary.ids, _first(source, rule, vocabulary.tokens, num_tokens, on_bytes))


def encode_characters(
    source: Source, rule: str, vocabulary: Vocabulary, begin: int, end: int, on_bytes: OnBytes = None
) -> Iterator[np.ndarray]:
    """Yields the ids of the tokens of the characters [begin, end) of a text, as `encode` does, for byte pairs.

    They are the tokens of that part alone: none begins before it or ends after it.
    """
    position = 0
    for piece in cleaned(source, rule, vocabulary.tokens, on_bytes):
        part = piece[max(0, begin - position) : end - position]
        if part:
            yield vocabulary.ids(part)
        position += len(piece)
        if position >= end:
            return


def take(source: Source, rule: str, tokens: str, begin: int, end: int) -> str:
    """Returns the text of the tokens [begin, end), or as many of them as exist; words are joined by one space.

    Raises UserError if it is too large to be read as a whole.
    """
    parts: list[str] = []
    position, size, last = 0, 0, ""
    for part in _first(source, rule, tokens, end):
        taken = part[max(0, begin - position) :]
        if taken:
            gap = text_rules.gap(last, taken[0], tokens) if parts else ""
            parts.append(gap + text_rules.join(taken, tokens))
            size, last = size + len(parts[-1]), taken[-1]
            check_size(source.name, size)
        position += len(part)
    return "".join(parts)


def _first(
    source: Source, rule: str, tokens: str, num_tokens: int, on_bytes: OnBytes = None
) -> Iterator[str | list[str]]:
    """Yields the first `num_tokens` tokens of a text in pieces: characters as a string, words as a list."""
    left = num_tokens
    if left <= 0:
        return
    for piece in cleaned(source, rule, tokens, on_bytes):
        part = (piece if tokens == "char" else text_rules.split(piece, tokens))[:left]
        yield part
        left -= len(part)
        if not left:
            return


class _CharacterCounts:
    """Counts characters by code point."""

    def __init__(self) -> None:
        self._counts = np.zeros(sys.maxunicode + 1, np.int64)
        self._order: list[int] = []

    def add(self, characters: str) -> None:
        if characters.isascii():
            codes = np.frombuffer(characters.encode(), np.uint8)
        else:
            codes = np.frombuffer(characters.encode("utf-32-le"), np.uint32)
        for begin in range(0, len(codes), CHARACTERS_PER_COUNT):
            part = codes[begin : begin + CHARACTERS_PER_COUNT]
            counts = np.bincount(part)
            before = self._counts[: len(counts)]
            if ((counts > 0) & (before == 0)).any():
                self._order += dict.fromkeys(part[before[part] == 0].tolist())
            before += counts

    def by_token(self) -> dict[str, int]:
        return {chr(code): int(self._counts[code]) for code in self._order}


class _WordCounts:
    """Counts words."""

    def __init__(self) -> None:
        self._counts: collections.Counter[str] = collections.Counter()

    def add(self, words: Sequence[str]) -> None:
        self._counts.update(words)

    def by_token(self) -> dict[str, int]:
        return dict(self._counts)


_COUNTS: dict[str, Callable[[], Any]] = {"char": _CharacterCounts, "word": _WordCounts, "spaced": _WordCounts}
