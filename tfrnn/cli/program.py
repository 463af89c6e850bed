"""Runs a command: handles errors, interruption, and standard streams that are closed or cannot be written."""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from tfrnn.cli.messages import harmless, note, one_line, show_error, show_settings_as
from tfrnn.errors import RunWarning, UserError


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Runs a command with `sys.argv`; a UserError becomes one line on stderr and exit status 2.

    The exit status is 130 after Ctrl-C, 0 if the reader of stdout has gone, and 2 if stdout cannot be written.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    # Bytes in another encoding should not raise an error.
    for stream, errors in (
        (sys.stdin, "surrogateescape"),
        (sys.stdout, "backslashreplace"),
        (sys.stderr, "backslashreplace"),
    ):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    stdout = _Terminal(sys.stdout) if sys.stdout.isatty() else sys.stdout
    with (
        contextlib.redirect_stdout(stdout),  # type: ignore[type-var]
        contextlib.redirect_stderr(_BestEffortStream(sys.stderr)),  # type: ignore[type-var]
        warnings.catch_warnings(),
    ):
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
        except BrokenPipeError:  # the reader of stdout has gone, e.g. `head`
            _redirect_to_devnull(sys.stdout)
            sys.exit(0)
        except OSError as error:  # stdout cannot be written, or the system has run out of a resource
            note(f"tfrnn: error: cannot continue: {one_line(error)}; correct that and run the command again")
            _redirect_to_devnull(sys.stdout)
            sys.exit(2)
        finally:
            show_settings_as(())  # settings are flags in this command only


class _BestEffortStream:
    """A stream that ignores failures to write, e.g. on a full disk, so that a lost message never stops training."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, write: Callable[[], Any]) -> None:
        try:
            write()
        except OSError:
            _redirect_to_devnull(self._stream)  # else flushing its buffer at exit would fail again

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Terminal:
    """A terminal that is sent no control characters: a text, or a model of it, may contain any."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(harmless(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _redirect_to_devnull(stream: Any) -> None:
    with contextlib.suppress(OSError, ValueError):  # ValueError: the stream is not a file
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, stream.fileno())
        os.close(devnull)


_default_showwarning = warnings.showwarning


def _show_warning(message: Warning | str, category: type[Warning], *rest: Any) -> None:
    if issubclass(category, RunWarning):
        note(f"tfrnn: warning: {one_line(message)}")
    else:
        _default_showwarning(message, category, *rest)
