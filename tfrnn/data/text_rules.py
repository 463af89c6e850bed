"""How a text is cleaned, and what counts as a token.

A rule turns a whole text into the text that a model reads:

book    each line: every run of other characters than A-Z and a-z becomes one space, the ends are stripped,
        all is lowered; the lines are joined with nothing between (Dive into Deep Learning, section 8.2)
lines   the same, but with one space between lines
spaces  every line end becomes a space, the rest is kept (the book's lyrics)
raw     nothing is changed
"""

import re
import string
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from tfrnn.errors import UserError

LONGEST_WORD = 2**20  # characters
_LINE_END = re.compile("\r\n|\r|\n")
_LOWERED = bytes(ord(chr(i).lower()) if chr(i) in string.ascii_letters else ord(" ") for i in range(256))
# By one byte each: a letter lowered, \n for what makes the run vanish that holds it, a space for what else is there.
_LINES_APART = _LOWERED
_LINES_GLUED = bytes(ord("\n") if chr(i) in "\r\n" else byte for i, byte in enumerate(_LOWERED))


def _letters(pieces: Iterable[str], table: bytes) -> Iterator[str]:
    """Every run of other characters as one space, or as nothing: at both ends, and where the table says so."""
    held = b"\n"  # the run that may go on in the next piece, as one byte; that at the beginning vanishes
    for piece in pieces:
        mapped = held + piece.encode("ascii", "replace").translate(table)
        body = mapped.rstrip(b" \n")
        run = mapped[len(body) :]
        held = b"\n" if b"\n" in run else run[:1]
        if body:
            data = np.frombuffer(body, np.uint8)
            in_run = data < ord("a")
            begins = in_run.copy()
            begins[1:] &= ~in_run[:-1]
            kept = begins | ~in_run
            runs = np.flatnonzero(begins)
            kept[runs[np.searchsorted(runs, np.flatnonzero(data == ord("\n")), "right") - 1]] = False
            yield data[kept].tobytes().decode("ascii")


def _spaces(pieces: Iterable[str]) -> Iterator[str]:
    held = ""  # \r, which may be the first half of a line end
    for piece in pieces:
        text = held + piece
        held = "\r" if text.endswith("\r") else ""
        yield text[: len(text) - len(held)].replace("\r\n", " ").replace("\r", " ").replace("\n", " ")
    if held:
        yield " "


# By name, each from pieces of a text to pieces of what is left of it.
TEXT_RULES: dict[str, Callable[[Iterable[str]], Iterator[str]]] = {
    "book": lambda pieces: _letters(pieces, _LINES_GLUED),
    "lines": lambda pieces: _letters(pieces, _LINES_APART),
    "spaces": _spaces,
    "raw": iter,
}


def _whole_words(pieces: Iterable[str]) -> Iterator[str]:
    """The same text, with no cut inside a word. Raises UserError where a word is too long to be held."""
    held = ""  # behind the last white space
    for piece in pieces:
        for begin in range(0, len(piece), LONGEST_WORD):
            text = held + piece[begin : begin + LONGEST_WORD]
            # A longer word does not fit into a part, so it was held, or a part of it.
            if held and len(text.split(maxsplit=1)[0]) > LONGEST_WORD:
                raise UserError(
                    f"--tokens=word: expected words of at most {LONGEST_WORD:,} characters, got a longer one, which "
                    f"begins with {text[:20]!r}; take --tokens=char"
                )
            held = "" if text[-1].isspace() else text.rsplit(maxsplit=1)[-1]
            yield text[: len(text) - len(held)]
    yield held


def clean_pieces(pieces: Iterable[str], rule: str, tokens: str = "char") -> Iterator[str]:
    """The text as the rule leaves it, piece by piece, whatever the pieces it comes in.

    With words as tokens, `book` acts as `lines`: the book splits line by line, so no words are glued there. Then no
    piece ends inside a word either, so that the tokens of the pieces are those of the whole.

    Raises:
      UserError: with words as tokens, where one is longer than LONGEST_WORD.
    """
    cleaned = TEXT_RULES["lines" if (rule, tokens) == ("book", "word") else rule](pieces)
    return filter(None, _whole_words(cleaned) if tokens == "word" else cleaned)


def clean(text: str, rule: str, tokens: str = "char") -> str:
    """The whole text as the rule leaves it, see `clean_pieces`."""
    return "".join(clean_pieces([text], rule, tokens))


def clean_lines(text: str) -> list[str]:
    """Each line of a text by the rule `book`."""
    return [clean(line, "book") for line in _LINE_END.split(text)]


def clean_prefix(prefix: str, rule: str, tokens: str = "char") -> str:
    """As `clean`, but a trailing space is kept, since the next character depends on it."""
    cleaned = clean(prefix, rule, tokens)
    ends_with_space = prefix[-1:].isspace() and cleaned and not cleaned[-1].isspace()
    return cleaned + " " if ends_with_space else cleaned


def clean_prefixes(prefixes: Iterable[str], rule: str, tokens: str = "char") -> tuple[str, ...]:
    """Each prefix cleaned. Raises UserError where nothing is left of one."""
    cleaned = tuple(clean_prefix(prefix, rule, tokens) for prefix in prefixes)
    for prefix, left in zip(prefixes, cleaned, strict=True):
        if not left:
            raise UserError(
                f"--prefix {prefix!r}: expected a text to go on from, but the text rule {rule!r} leaves nothing of it; "
                "give one with letters"
            )
    return cleaned


def split(text: str, tokens: str = "char") -> list[str]:
    """The tokens of a cleaned text: its characters, or its words (what white space separates)."""
    return text.split() if tokens == "word" else list(text)


def join(parts: Sequence[str], tokens: str = "char") -> str:
    """The inverse of `split`, for words up to white space."""
    return (" " if tokens == "word" else "").join(parts)
