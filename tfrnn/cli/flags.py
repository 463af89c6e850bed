"""Command-line flags made from sections of settings, and settings written as flags."""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from absl import flags

from tfrnn.cli import foreign_flags, help_page, messages
from tfrnn.cli.invocation import command_line
from tfrnn.config import settings
from tfrnn.errors import UserError, did_you_mean
from tfrnn.runtime import host

SectionType = TypeVar("SectionType", bound=settings.Section)


class _SettingParser(flags.ArgumentParser):
    """Parses the value of a setting by `settings.parse`, which has its bounds and messages."""

    def __init__(self, field: Any, kind: Any):
        self._field, self._kind = field, kind

    def parse(self, argument: Any) -> Any:
        return settings.parse(self._field, self._kind, argument) if isinstance(argument, str) else argument

    def flag_type(self) -> str:
        return str(self._kind)


class Flags:
    """The flags of one command.

    Args:
      command: the name of the command, e.g. `train`.
      about: what the command does, in paragraphs; shown by --help.
      examples: command lines without the command, to show by --help.
    """

    def __init__(self, command: str, about: str | None, examples: Sequence[str]):
        self.values = flags.FlagValues()
        self.values.set_gnu_getopt(True)
        self._command, self._about, self._examples = command, about or "", examples
        self._joined: set[str] = set()  # the flags whose values are joined by commas if they are given several times
        self._groups: list[tuple[str, list[tuple[str, str]], list[tuple[str, str]]]] = []  # title, all, usual
        flags.DEFINE_boolean("help", False, "show the usual flags", short_name="h", flag_values=self.values)
        flags.DEFINE_boolean("helpfull", False, "show all flags", flag_values=self.values)

    def define(
        self,
        section: type[settings.Section],
        names: Sequence[str] = (),
        defaults: Mapping[str, Any] | None = None,
        title: str = "",
    ) -> None:
        """Defines a flag for each field of a section.

        Args:
          section: the section of settings.
          names: the fields to define flags for; by default all.
          defaults: the defaults to show if they differ from those of the fields.
          title: the title of these flags in the help; by default the section's docstring.
        """
        fields = [(field, kind) for field, kind in section.fields() if not names or field.name in names]
        shown = {field.name: field.default for field, _ in fields} | dict(defaults or {})
        all_flags = {field.name: help_page.describe_flag(field, kind, shown[field.name]) for field, kind in fields}
        usual = [all_flags[field.name] for field, _ in fields if not field.metadata.get("rare")]
        self._groups.append((title or section.__doc__ or "", list(all_flags.values()), usual))
        for field, kind in fields:
            self._define(field, kind)

    def _define(self, field: Any, kind: Any) -> None:
        if field.metadata.get("several"):
            self._joined.add(field.name)
        # No flag has a default here, since `parse` returns only the flags that were given.
        if kind is bool:
            flag = flags.BooleanFlag(field.name, None, field.metadata["help"])
            flag.parser = _SettingParser(field, kind)
            flags.DEFINE_flag(flag, self.values)
        elif kind == settings.TEXTS or field.metadata.get("several"):
            flags.DEFINE_multi_string(field.name, None, field.metadata["help"], flag_values=self.values)
        else:
            parser = _SettingParser(field, kind)
            flags.DEFINE(parser, field.name, None, field.metadata["help"], self.values, flags.ArgumentSerializer())

    def parse(self, argv: Sequence[str]) -> dict[str, Any]:
        """Returns the values of the flags that were given, by name. Shows the help and exits if --help is among them.

        From now on messages show settings as flags of this command.

        Args:
          argv: the program and its arguments, as `sys.argv`.

        Raises:
          UserError: a flag is unknown or given twice, a value is wrong, or an argument is not a flag.
        """
        messages.show_settings_as(set(self.values))
        see_help = f"`{command_line(self._command)} --help` lists the flags"
        try:
            arguments = self.values(argv)[1:]
        except flags.UnrecognizedFlagError as error:
            if answer := foreign_flags.answer(error.flagname, error.flagvalue, set(self.values)):
                raise UserError(f"{answer}; {see_help}") from None
            hint = did_you_mean(error.flagname, list(self.values), "--")
            raise UserError(f"{self._command} has no flag --{error.flagname}{hint}; {see_help}") from None
        except flags.IllegalFlagValueError as error:
            raise UserError(str(error.__context__ or error)) from None
        except flags.Error as error:
            raise UserError(f"{error}; {see_help}") from None
        if arguments:
            hint = self._hint_about(arguments[0])
            raise UserError(f"expected only flags, such as --name=value; got {arguments[0]!r}{hint}; {see_help}")
        given = {name: self.values[name] for name in self.values if self.values[name].present}
        if "help" in given or "helpfull" in given:
            print(self._help(full="helpfull" in given))
            sys.exit(0)
        for name, flag in given.items():
            if flag.present > 1 and not isinstance(flag.value, list):
                raise UserError(f"--{name}: expected it once; got it {flag.present} times; leave all but one out")
        return {name: self._value(name) for name in given}

    def _hint_about(self, argument: str) -> str:
        """Returns what to do if an argument that is no flag is the path of a run or a text; else an empty string."""
        if "run_dir" in self.values and os.path.isfile(os.path.join(argument, "config.json")):
            return f"; for a run give --run_dir={shlex.quote(argument)}"
        if not self._joined or not os.path.exists(argument):
            return ""
        name = min(self._joined)
        if not self.values[name].present:
            return f"; for a text give --{name}={shlex.quote(argument)}"
        return f"; for several texts put commas between them, or quote a pattern: --{name}='*.txt'"

    def _value(self, name: str) -> Any:
        """Returns the value of a flag that was given; of one that may be repeated a tuple, or a text with commas."""
        value = self.values[name].value
        if isinstance(value, list):
            return ",".join(value) if name in self._joined else tuple(value)
        return value

    @staticmethod
    def take(given: dict[str, Any], section: type[SectionType]) -> SectionType:
        """Returns a section made from the given flags, and removes these from `given`."""
        return section(**{field.name: given.pop(field.name) for field, _ in section.fields() if field.name in given})

    def _help(self, full: bool) -> str:
        width = help_page.page_width(host.terminal_columns())
        command = command_line(self._command)
        parts = [
            f"usage: {command} [--flag=value ...]",
            help_page.wrap_paragraphs(self._about, width),
            "\n".join(f"  {command} {example}" for example in self._examples),
        ]
        for title, all_flags, usual in self._groups:
            if shown := all_flags if full else usual:
                parts.append(f"{title}:\n{help_page.two_columns(shown, width)}")
        hidden = sum(len(all_flags) - len(usual) for _, all_flags, usual in self._groups)
        if hidden and not full:
            parts.append(f"{hidden} more flags, seldom needed: {command} --helpfull")
        return "\n\n".join(parts)


def as_flags(given: Mapping[str, Any]) -> list[str]:
    """Returns values by name, as `Flags.parse` returns them, as arguments of a command."""
    arguments = []
    for name, value in given.items():
        if isinstance(value, bool):
            arguments.append(f"--{name}" if value else f"--no{name}")
        else:
            arguments += [f"--{name}={item}" for item in (value if isinstance(value, tuple) else (value,))]
    return arguments


def check_output_file(flag: str, path: str) -> None:
    """Raises UserError if the file that a flag names cannot be written; called before the work for it is done."""
    file = Path(path)
    try:
        changed = file if file.exists() else file.parent  # what the process needs permission to write to
        writable = not file.is_dir() and file.parent.is_dir() and os.access(changed, os.W_OK)
    except OSError:  # the name is too long
        writable = False
    if not writable or not path or "\0" in path:
        raise UserError(f"`{flag}={path}`: expected a file that can be written, in a folder that exists")
