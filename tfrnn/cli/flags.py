"""Flags made from sections of settings, and written as text again."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from absl import flags

from tfrnn.cli import help_page
from tfrnn.cli.invocation import call
from tfrnn.config import settings
from tfrnn.errors import UserError, did_you_mean
from tfrnn.runtime import host

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
            raise UserError(f"expected only flags, such as --name=value; got {rest[0]!r}; {lists_them}")
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
        width = help_page.width(host.terminal_columns())
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


def as_flags(given: Mapping[str, Any]) -> list[str]:
    """What was given, as `Flags.parse` tells it, written as flags again."""
    texts = []
    for name, value in given.items():
        if isinstance(value, bool):
            texts.append(f"--{name}" if value else f"--no{name}")
        else:
            texts += [f"--{name}={one}" for one in (value if isinstance(value, tuple) else (value,))]
    return texts


def check_output(flag: str, path: str) -> None:
    """Raises UserError where a file cannot be written there, before the work for it is done."""
    file = Path(path)
    try:
        good = not file.is_dir() and file.parent.is_dir() and os.access(file if file.exists() else file.parent, os.W_OK)
    except OSError:  # a name that is too long
        good = False
    if not good or not path or "\0" in path:
        raise UserError(f"--{flag}={path}: expected a file that can be written, in a folder that exists")
