"""The page that --help shows: flags on the left and their help on the right, wrapped to the terminal."""

import dataclasses
import re
import textwrap
from collections.abc import Sequence
from typing import Any

from tfrnn.config.settings import TEXTS
from tfrnn.errors import join_with_or

MIN_WIDTH, MAX_WIDTH = 40, 100  # of a page, in characters
MIN_TWO_COLUMN_WIDTH = 60  # narrower pages have the help below the flag
LEFT_WIDTH = 28  # of the column of flags


def describe_flag(field: dataclasses.Field, kind: Any, default: Any) -> tuple[str, str]:
    """Returns a setting as a flag with its default (`...` if that is empty), and its help with choices."""
    value = "" if kind is bool else "=..." if kind == TEXTS or default == "" else f"={default}"
    text, choices = field.metadata["help"], field.metadata.get("choices", ())
    if not all(re.search(rf"\b{choice}\b", text) for choice in choices):
        text += f": {join_with_or(choices)}"
    if kind is bool and default:
        text += f"; --no{field.name} switches it off"
    return f"--{field.name}{value}", text


def wrap_paragraphs(text: str, width: int) -> str:
    """Returns a text with each paragraph wrapped to lines of at most `width` characters."""
    return "\n\n".join(_wrap(" ".join(paragraph.split()), width) for paragraph in text.strip().split("\n\n"))


def two_columns(pairs: Sequence[tuple[str, str]], width: int, left_width: int = LEFT_WIDTH) -> str:
    """Returns names in a left column and texts in a right one.

    A name that does not fit into the left column is on a line above its text, and so is each name on a narrow page.
    """
    lines = []
    for name, text in pairs:
        same_line = width >= MIN_TWO_COLUMN_WIDTH and len(name) + 4 <= left_width
        indent = " " * (left_width if width >= MIN_TWO_COLUMN_WIDTH else 6)
        if not same_line:
            lines.append(f"  {name}")
        lines.append(_wrap(text, width, f"  {name}".ljust(left_width) if same_line else indent, indent))
    return "\n".join(lines)


def page_width(terminal_columns: int) -> int:
    """Returns the width of a page on a terminal of this width."""
    return min(max(terminal_columns, MIN_WIDTH), MAX_WIDTH)


def _wrap(text: str, width: int, first_indent: str = "", indent: str = "") -> str:
    wrapper = textwrap.TextWrapper(
        width, initial_indent=first_indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return wrapper.fill(text)
