"""What a user can get wrong: one line that says what was expected, what was received and what to do."""

import difflib
from collections.abc import Collection, Iterable


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


def did_you_mean(name: str, known: Collection[str], before: str = "") -> str:
    """A question after the known name that is nearest or has these initials, with `before` before it; or nothing."""
    by_initials = {"".join(part[:1] for part in other.split("_")): other for other in known if "_" in other}
    near = [by_initials[name]] if name in by_initials else difflib.get_close_matches(name[:100], list(known), n=1)
    return f" (did you mean {before}{near[0]}?)" if near else ""
