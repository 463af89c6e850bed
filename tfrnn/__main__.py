"""Recurrent language models: train one on a text, read what it writes, see what it has learnt.

A command's own --help shows its flags.
"""

from collections.abc import Sequence
from types import ModuleType

from tfrnn import __version__
from tfrnn.cli import help_page, invocation, program
from tfrnn.errors import UserError, did_you_mean, in_words
from tfrnn.runtime import host


def commands() -> dict[str, ModuleType]:
    """Each command by its name, in the order in which a model goes through them."""
    from tfrnn import evaluate, export, forecast, sample, train

    return {module.__name__.rpartition(".")[2]: module for module in (train, sample, evaluate, export, forecast)}


def overview() -> str:
    """What there is, and what to begin with."""
    width = help_page.width(host.terminal_columns())
    about = commands()
    summaries = [(name, (module.__doc__ or "").partition("\n\n")[0]) for name, module in about.items()]
    return "\n\n".join(
        [
            f"usage: {invocation.command_line()} COMMAND [--flag=value ...]",
            help_page.paragraphs(__doc__ or "", width),
            f"Commands:\n{help_page.columns(summaries, width, left=12)}",
            "To begin with:\n"
            + "\n".join(f"  {invocation.command_line(name)} {about[name].EXAMPLES[0]}" for name in ("train", "sample")),
            f"tfrnn {__version__}",
        ]
    )


def choose(argv: Sequence[str]) -> None:
    """Runs the command that the first argument names."""
    command, *rest = argv[1:] or ["--help"]
    if command in ("--help", "--helpfull", "-h"):
        print(overview())
    elif command == "--version":
        print(f"tfrnn {__version__}")
    elif module := commands().get(command):
        module.main([argv[0], *rest])
    else:
        meant = did_you_mean(command, [*commands(), "--help", "--version"])
        raise UserError(f"expected a command, {in_words(commands())}; got {command!r}{meant}")


def main() -> None:
    program.run(choose)


if __name__ == "__main__":
    main()
