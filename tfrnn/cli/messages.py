"""Messages for the user, on stderr, in which settings are shown as flags; stdout is for results."""

import re
import sys
from collections.abc import Container, Mapping
from typing import Any

# `name` or `name=value`, between spaces or punctuation, so that a backquote within a value does not end it.
_SETTING = re.compile(r"(?<![^\s(])`((\w+)(?:=.*?)?)`(?=[,;:.?)]*(?:\s|$))")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_flags: Container[str] = ()


def show_settings_as(flags: Container[str]) -> None:
    """Shows settings in all later messages as flags if they are among `flags`, the names of the command's flags."""
    global _flags
    _flags = flags


def note(text: str) -> None:
    """Prints a message to stderr; a setting in backquotes, such as `units=8`, is shown as the flag --units=8."""
    _print(_SETTING.sub(lambda setting: f"--{setting[1]}" if setting[2] in _flags else setting[0], text))


def show_next_steps(steps: Mapping[str, str]) -> None:
    """Prints what the user can do next, below all results.

    Args:
      steps: command lines to paste, by their purpose, e.g. `read more`.
    """
    sys.stdout.flush()
    for purpose, line in steps.items():
        _print(f"to {purpose}: {line}")


def show_error(error: Any) -> None:
    """Prints a user's error as one line."""
    note(f"tfrnn: error: {one_line(error)}")


def one_line(message: Any) -> str:
    """Returns a message as one printable line, without line ends and control characters, shortened in the middle."""
    text = " ".join(str(message).splitlines())
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text if len(text) <= 1000 else f"{text[:350]} ... {text[-600:]}"


def harmless(text: str) -> str:
    """Returns a text as a terminal may show it: control characters other than line ends and tabs as escapes."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def _print(text: str) -> None:
    print(harmless(text), file=sys.stderr, flush=True)
