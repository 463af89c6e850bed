"""Errors and warnings for users: one line that says what was expected, what was received and what to do.

A message names a setting in backquotes, with its value if it has one: `units` or `units=256`. A command shows it as the
flag --units or --units=256 (`tfrnn.cli.messages`).
"""

import difflib
from collections.abc import Collection, Iterable


class UserError(ValueError):
    """A wrong setting, text or file. A command prints it as `tfrnn: error: ...` and exits with status 2."""

    _keras_call_info_injected = True  # Keras raises such an error as it is; to others it adds a page about the call


class MissingFileError(UserError, FileNotFoundError):
    """A text, corpus or run directory that does not exist."""

    def __str__(self) -> str:
        return str(self.args[0])


class DivergedError(UserError, ArithmeticError):
    """The loss or the gradient norm became NaN or infinite; the weights are those before that step."""


class RunWarning(UserWarning):
    """A problem with a run that does not stop it. A command prints it as `tfrnn: warning: ...`."""


def join_with_or(words: Iterable[str]) -> str:
    """Returns the words as an English list: `a`, `a or b`, `a, b or c`."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def did_you_mean(name: str, known_names: Collection[str], prefix: str = "") -> str:
    """Returns ` (did you mean ...?)` with the known name closest to a wrong one, or an empty string if none is close.

    A known name is also recognized by its initials, e.g. `learning_rate` by `lr`.

    Args:
      name: the name that was given.
      known_names: the valid names.
      prefix: what to show before the known name, such as `--` of a flag.
    """
    by_initials = {"".join(part[:1] for part in known.split("_")): known for known in known_names if "_" in known}
    initials = [by_initials[name]] if name in by_initials else []
    matches = initials or difflib.get_close_matches(name[:100], list(known_names), n=1)
    return f" (did you mean {prefix}{matches[0]}?)" if matches else ""
