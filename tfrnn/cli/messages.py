"""Messages for the user, on stderr; stdout is for results."""

import sys
from collections.abc import Mapping
from typing import Any


def note(text: str) -> None:
    """Prints a message to stderr."""
    print(text, file=sys.stderr, flush=True)


def show_next_steps(steps: Mapping[str, str]) -> None:
    """Prints what the user can do next, below all results.

    Args:
      steps: command lines to paste, by their purpose, e.g. `read more`.
    """
    sys.stdout.flush()
    for purpose, line in steps.items():
        note(f"to {purpose}: {line}")


def show_error(error: Any) -> None:
    """Prints a user's error as one line."""
    note(f"tfrnn: error: {one_line(error)}")


def one_line(message: Any) -> str:
    """Returns a message as one printable line, without line ends and control characters, shortened in the middle."""
    text = " ".join(str(message).splitlines())
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text if len(text) <= 1000 else f"{text[:350]} ... {text[-600:]}"
