"""What the commands share: flags made from settings, help, what to do next, errors as one line with exit status 2."""

import contextlib
import io
import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from absl import flags

from tfrnn.cli import help_page
from tfrnn.config import settings
from tfrnn.errors import RunWarning, UserError, did_you_mean
from tfrnn.runtime import runtime

Made = TypeVar("Made", bound=settings.Section)


class _SettingParser(flags.ArgumentParser):
    """Parses a setting as config does, so that its bounds and messages are written once."""

    def __init__(self, field: Any, kind: Any):
        self._field, self._kind = field, kind

    def parse(self, argument: Any) -> Any:
        return settings.parse(self._field, self._kind, argument) if isinstance(argument, str) else argument

    def flag_type(self) -> str:
        return str(self._kind)


class Flags:
    """The flags of one command.

    Args:
      command: its name, such as `train`.
      about: what it does, in paragraphs; shown by --help.
      examples: flags to try it with.
    """

    def __init__(self, command: str, about: str | None, examples: Sequence[str]):
        self.values = flags.FlagValues()
        self.values.set_gnu_getopt(True)
        self._command, self._about, self._examples = command, about or "", examples
        self._groups: list[tuple[str, list[tuple[str, str]], list[tuple[str, str]]]] = []  # title, all, the usual
        flags.DEFINE_boolean("help", False, "shows the usual flags", short_name="h", flag_values=self.values)
        flags.DEFINE_boolean("helpfull", False, "shows all flags", flag_values=self.values)

    def define(
        self,
        section: type[settings.Section],
        names: Sequence[str] = (),
        defaults: Mapping[str, Any] | None = None,
        title: str = "",
    ) -> None:
        """A flag for each field of the section, whose docstring is their title in the help.

        Args:
          section: the settings.
          names: those of them that the command has; by default all.
          defaults: shown in place of the fields' own.
          title: in place of the docstring.
        """
        fields = [(field, kind) for field, kind in section.fields() if not names or field.name in names]
        shown = {field.name: field.default for field, _ in fields} | dict(defaults or {})
        everything = {field.name: help_page.flag(field, kind, shown[field.name]) for field, kind in fields}
        usual = [everything[field.name] for field, _ in fields if not field.metadata.get("rare")]
        self._groups.append((title or section.__doc__ or "", list(everything.values()), usual))
        for field, kind in fields:
            self._define(field, kind)

    def _define(self, field: Any, kind: Any) -> None:
        # What was given is all that `parse` tells, so no flag has a default here.
        if kind is bool:
            flag = flags.BooleanFlag(field.name, None, field.metadata["help"])
            flag.parser = _SettingParser(field, kind)
            flags.DEFINE_flag(flag, self.values)
        elif kind == settings.TEXTS:
            flags.DEFINE_multi_string(field.name, None, field.metadata["help"], flag_values=self.values)
        else:
            parser = _SettingParser(field, kind)
            flags.DEFINE(parser, field.name, None, field.metadata["help"], self.values, flags.ArgumentSerializer())

    def parse(self, argv: Sequence[str]) -> dict[str, Any]:
        """The flags that were given, by name; shows the help and exits where that was asked for.

        Raises UserError on an unknown flag, a wrong value or an argument that is no flag.
        """
        lists_them = f"`{call(self._command)} --help` lists the flags"
        try:
            rest = self.values(argv)[1:]
        except flags.UnrecognizedFlagError as error:
            meant = did_you_mean(error.flagname, list(self.values), "--")
            raise UserError(f"{self._command} has no flag --{error.flagname}{meant}; {lists_them}") from None
        except flags.IllegalFlagValueError as error:
            raise UserError(str(error.__context__ or error)) from None
        except flags.Error as error:
            raise UserError(f"{error}; {lists_them}") from None
        if rest:
            raise UserError(f"expected flags alone, such as --name=value; got {rest[0]!r}; {lists_them}")
        given = {name: self.values[name] for name in self.values if self.values[name].present}
        if "help" in given or "helpfull" in given:
            print(self._help(full="helpfull" in given))
            sys.exit(0)
        return {name: tuple(flag.value) if isinstance(flag.value, list) else flag.value for name, flag in given.items()}

    @staticmethod
    def take(given: dict[str, Any], section: type[Made]) -> Made:
        """The section that the given flags make, which are taken out of them."""
        return section(**{field.name: given.pop(field.name) for field, _ in section.fields() if field.name in given})

    def _help(self, full: bool) -> str:
        width = help_page.width(runtime.terminal_columns())
        called = call(self._command)
        parts = [
            f"usage: {called} [--flag=value ...]",
            help_page.paragraphs(self._about, width),
            "\n".join(f"  {called} {example}" for example in self._examples),
        ]
        for title, everything, usual in self._groups:
            if shown := everything if full else usual:
                parts.append(f"{title}:\n{help_page.columns(shown, width)}")
        hidden = sum(len(everything) - len(usual) for _, everything, usual in self._groups)
        if hidden and not full:
            parts.append(f"{hidden} more flags, seldom needed: {called} --helpfull")
        return "\n\n".join(parts)


def call(command: str = "", *arguments: str) -> str:
    """A command as the user can paste it, in the form in which this program was called: by the console script, as the
    shell finds it, or by the interpreter, as it was called."""
    script = Path(sys.argv[0])
    if script.stem != "tfrnn":
        return " ".join(map(_quoted, [sys.orig_argv[0], "-m", f"tfrnn.{command}".rstrip("."), *arguments]))
    found = shutil.which("tfrnn")
    by_name = found is not None and script.exists() and script.samefile(found)
    return " ".join(map(_quoted, [script.stem if by_name else sys.argv[0], *filter(None, [command]), *arguments]))


def _quoted(word: str) -> str:
    """A word as a shell takes it; of a flag the value alone."""
    name, equals, value = word.partition("=")
    return f"{name}={shlex.quote(value)}" if equals and shlex.quote(name) == name else shlex.quote(word)


def as_flags(given: Mapping[str, Any]) -> list[str]:
    """What was given, as `Flags.parse` tells it, written as flags again."""
    texts = []
    for name, value in given.items():
        if isinstance(value, bool):
            texts.append(f"--{name}" if value else f"--no{name}")
        else:
            texts += [f"--{name}={one}" for one in (value if isinstance(value, tuple) else (value,))]
    return texts


def next_steps(steps: Mapping[str, str]) -> None:
    """What to do next, each with a line to paste, below all results."""
    sys.stdout.flush()
    for what, line in steps.items():
        note(f"to {what}: {line}")


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
            note(f"tfrnn: error: cannot go on: {_one_line(error)}; put that right, and call it again")
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


def _one_line(message: Any) -> str:
    """Without line ends and what else moves a terminal, and without the middle of a very long one."""
    text = " ".join(str(message).splitlines())
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text if len(text) <= 1000 else f"{text[:350]} ... {text[-600:]}"


_show_others = warnings.showwarning


def _show_warning(message: Warning | str, category: type[Warning], *rest: Any) -> None:
    if issubclass(category, RunWarning):
        note(f"tfrnn: warning: {_one_line(message)}")
    else:
        _show_others(message, category, *rest)


def check_output(flag: str, path: str) -> None:
    """Raises UserError where a file cannot be written there, before the work for it is done."""
    file = Path(path)
    try:
        good = not file.is_dir() and file.parent.is_dir() and os.access(file if file.exists() else file.parent, os.W_OK)
    except OSError:  # a name that is too long
        good = False
    if not good or not path or "\0" in path:
        raise UserError(f"--{flag}={path}: expected a file that can be written, in a folder that is there")


def show_error(error: Any) -> None:
    """A user's error as one line."""
    note(f"tfrnn: error: {_one_line(error)}")


def note(text: str) -> None:
    """A line for the person at the terminal; stdout is for results."""
    print(text, file=sys.stderr, flush=True)
