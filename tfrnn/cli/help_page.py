"""The page that --help shows: flags on the left, what they do on the right, wrapped to the terminal."""

import dataclasses
import re
import textwrap
from collections.abc import Sequence
from typing import Any

from tfrnn.config.settings import TEXTS
from tfrnn.errors import in_words

NARROWEST, WIDEST = 40, 100  # columns of a page
BESIDE = 60  # columns from which on what a flag does stands beside it, not below
LEFT = 28  # columns for the flags


def flag(field: dataclasses.Field, kind: Any, default: Any) -> tuple[str, str]:
    """A setting as its flag with the default, `...` where that is empty, and what it does."""
    shown = "" if kind is bool else "=..." if kind == TEXTS or default == "" else f"={default}"
    text, choices = field.metadata["help"], field.metadata.get("choices", ())
    if not all(re.search(rf"\b{choice}\b", text) for choice in choices):
        text += f": {in_words(choices)}"
    if kind is bool and default:
        text += f"; --no{field.name} switches it off"
    return f"--{field.name}{shown}", text


def paragraphs(text: str, width: int) -> str:
    """Each paragraph wrapped to so many columns."""
    return "\n\n".join(_wrap(" ".join(paragraph.split()), width) for paragraph in text.strip().split("\n\n"))


def columns(pairs: Sequence[tuple[str, str]], width: int, left: int = LEFT) -> str:
    """Names on the left and texts on the right; a long name, or each where the page is narrow, on a line of its own."""
    lines = []
    for name, text in pairs:
        beside = width >= BESIDE and len(name) + 4 <= left
        indent = " " * (left if width >= BESIDE else 6)
        if not beside:
            lines.append(f"  {name}")
        lines.append(_wrap(text, width, f"  {name}".ljust(left) if beside else indent, indent))
    return "\n".join(lines)


def width(terminal: int) -> int:
    """Of a page on a terminal of so many columns."""
    return min(max(terminal, NARROWEST), WIDEST)


def _wrap(text: str, width: int, first: str = "", others: str = "") -> str:
    return textwrap.fill(
        text, width, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )
