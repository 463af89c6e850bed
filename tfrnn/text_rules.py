"""How a text is cleaned, and what counts as a token.

A rule turns a whole text into the text that a model reads:

book    each line: every run of other characters than A-Z and a-z becomes one space, the ends are stripped,
        all is lowered; the lines are joined with nothing between (Dive into Deep Learning, section 8.2)
lines   the same, but with one space between lines
spaces  every line end becomes a space, the rest is kept (the book's lyrics)
raw     nothing is changed
"""

import re
from collections.abc import Callable, Iterable, Sequence

from tfrnn.errors import UserError

_NOT_LETTERS = re.compile("[^A-Za-z]+")
_LINE_END = re.compile("\r\n|\r|\n")


def clean_lines(text: str) -> list[str]:
    """Each line of a text by the rule `book`."""
    return [_NOT_LETTERS.sub(" ", line).strip().lower() for line in _LINE_END.split(text)]


TEXT_RULES: dict[str, Callable[[str], str]] = {
    "book": lambda text: "".join(clean_lines(text)),
    "lines": lambda text: " ".join(line for line in clean_lines(text) if line),
    "spaces": lambda text: _LINE_END.sub(" ", text),
    "raw": lambda text: text,
}


def clean(text: str, rule: str, tokens: str = "char") -> str:
    """The text as the rule leaves it.

    With words as tokens, `book` acts as `lines`: the book splits line by line, so no words are glued there.
    """
    return TEXT_RULES["lines" if (rule, tokens) == ("book", "word") else rule](text)


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
