"""How a command runs: a user's error becomes one line on stderr and exit status 2."""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from tfrnn.cli.messages import note, one_line, show_error
from tfrnn.errors import RunWarning, UserError


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Runs a command: a user's error becomes one line on stderr and exit status 2."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    # Bytes of another encoding are no reason to stop.
    for stream, errors in (
        (sys.stdin, "surrogateescape"),
        (sys.stdout, "backslashreplace"),
        (sys.stderr, "backslashreplace"),
    ):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    with contextlib.redirect_stderr(_Stderr(sys.stderr)), warnings.catch_warnings():  # type: ignore[type-var]
        warnings.simplefilter("always", RunWarning)
        warnings.showwarning = _show_warning  # type: ignore[assignment]
        try:
            main(sys.argv)
            sys.stdout.flush()
        except UserError as error:
            show_error(error)
            sys.exit(2)
        except KeyboardInterrupt:
            note("tfrnn: interrupted")
            sys.exit(130)
        except BrokenPipeError:  # the reader of our results has gone, as `head` does
            _to_nowhere(sys.stdout)
            sys.exit(0)
        except OSError as error:  # standard output cannot be written, or the system is at its end
            note(f"tfrnn: error: cannot go on: {one_line(error)}; put that right, and call it again")
            _to_nowhere(sys.stdout)
            sys.exit(2)


class _Stderr:
    """Standard error as messages need it: that one cannot be written, on a full disk say, must never end training."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except OSError:
            _to_nowhere(self._stream)  # else what it has buffered would fail once more at the end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _to_nowhere(stream: Any) -> None:
    with contextlib.suppress(OSError, ValueError):  # ValueError: it is no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


_show_others = warnings.showwarning


def _show_warning(message: Warning | str, category: type[Warning], *rest: Any) -> None:
    if issubclass(category, RunWarning):
        note(f"tfrnn: warning: {one_line(message)}")
    else:
        _show_others(message, category, *rest)
