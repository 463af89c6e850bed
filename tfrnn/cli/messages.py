"""Lines for the person at the terminal, on stderr; stdout is for results."""

import sys
from collections.abc import Mapping
from typing import Any


def note(text: str) -> None:
    """A line for the person at the terminal; stdout is for results."""
    print(text, file=sys.stderr, flush=True)


def next_steps(steps: Mapping[str, str]) -> None:
    """What to do next, each with a line to paste, below all results."""
    sys.stdout.flush()
    for what, line in steps.items():
        note(f"to {what}: {line}")


def show_error(error: Any) -> None:
    """A user's error as one line."""
    note(f"tfrnn: error: {one_line(error)}")


def one_line(message: Any) -> str:
    """Without line ends and what else moves a terminal, and without the middle of a very long one."""
    text = " ".join(str(message).splitlines())
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text if len(text) <= 1000 else f"{text[:350]} ... {text[-600:]}"
