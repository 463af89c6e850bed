"""What a user can get wrong: one line that says what was expected, what was received and what to do."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A wrong setting, text or file; a command prints it as `tfrnn: error: ...` and exits with status 2."""


class MissingFileError(UserError, FileNotFoundError):
    """A text, corpus or run directory that is not there."""

    def __str__(self) -> str:
        return str(self.args[0])


class DivergedError(UserError, ArithmeticError):
    """The loss or the gradient norm became NaN or infinite; the weights are those before that step."""


class RunWarning(UserWarning):
    """Something is wrong with a run that can be gone on with; a command prints it as `tfrnn: warning: ...`."""


def in_words(names: Iterable[str]) -> str:
    """a, b or c"""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question after the nearest of the known names; empty where none is near."""
    near = difflib.get_close_matches(name[:100], list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
