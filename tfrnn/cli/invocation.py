"""How this program was called, so that a line that is shown can be pasted."""

import shlex
import shutil
import sys
from pathlib import Path


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
