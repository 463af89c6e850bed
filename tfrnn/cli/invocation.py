"""The command line that this program was started with, so that messages can show commands to paste."""

import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

LONG_PREFIX = 80  # characters; a longer prefix is not repeated in a command line to paste
_PREFIX = re.compile(r"--?prefix(?==|\Z)")


def command_line(command: str = "", *arguments: str) -> str:
    """Returns a command line to paste into a shell, in the form in which this program was started.

    That is the console script `tfrnn`, by its name if the shell finds it and else by its path, or the interpreter.

    Args:
      command: the command, e.g. `train`; by default that which lists the commands.
      *arguments: the arguments of the command, unquoted.
    """
    script = Path(sys.argv[0])
    if script.stem != "tfrnn":
        return " ".join(map(_quoted, [sys.orig_argv[0], "-m", f"tfrnn.{command}".rstrip("."), *arguments]))
    on_path = shutil.which("tfrnn")
    by_name = on_path is not None and script.exists() and script.samefile(on_path)
    return " ".join(map(_quoted, [script.stem if by_name else sys.argv[0], *filter(None, [command]), *arguments]))


def without_long_prefixes(arguments: Sequence[str]) -> list[str]:
    """Returns arguments without flags --prefix=TEXT or --prefix TEXT, with one dash or two, whose text is long."""
    kept, rest = [], list(arguments)
    while rest:
        flag = rest[: 2 if _PREFIX.fullmatch(rest[0]) else 1]
        del rest[: len(flag)]
        text = flag[1] if len(flag) == 2 else flag[0].partition("=")[2]
        if not (_PREFIX.match(flag[0]) and len(text) > LONG_PREFIX):
            kept += flag
    return kept


def _quoted(word: str) -> str:
    """Returns a word quoted for a shell if need be; of a flag only the value is quoted."""
    name, equals, value = word.partition("=")
    return f"{name}={shlex.quote(value)}" if equals and shlex.quote(name) == name else shlex.quote(word)
