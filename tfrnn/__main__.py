"""Recurrent language models: train one on a text, sample from it, and see what it has learnt.

COMMAND --help shows the flags of a command.
"""

from collections.abc import Sequence
from types import ModuleType

from tfrnn import __version__
from tfrnn.cli import help_page, invocation, program
from tfrnn.errors import UserError, did_you_mean, join_with_or
from tfrnn.runtime import host


def commands() -> dict[str, ModuleType]:
    """Returns the module of each command by its name, in the order in which they are usually run."""
    from tfrnn import evaluate, export, forecast, sample, train

    return {module.__name__.rpartition(".")[2]: module for module in (train, sample, evaluate, export, forecast)}


def overview() -> str:
    """Returns the help page of the program: its commands and examples to begin with."""
    width = help_page.page_width(host.terminal_columns())
    modules = commands()
    examples = [f"{invocation.command_line(name)} {modules[name].EXAMPLES[0]}" for name in ("train", "sample")]
    summaries = [(name, (module.__doc__ or "").partition("\n\n")[0]) for name, module in modules.items()]
    return "\n\n".join(
        [
            f"usage: {invocation.command_line()} COMMAND [--flag=value ...]",
            help_page.wrap_paragraphs(__doc__ or "", width),
            f"Commands:\n{help_page.two_columns(summaries, width, left_width=12)}",
            "\n".join(["Examples:", *(f"  {line}" for line in examples)]),
            f"tfrnn {__version__}",
        ]
    )


def choose(argv: Sequence[str]) -> None:
    """Runs the command named by the first argument."""
    command, *rest = argv[1:] or ["--help"]
    if command in ("--help", "--helpfull", "-h"):
        print(overview())
    elif command == "--version":
        print(f"tfrnn {__version__}")
    elif module := commands().get(command):
        module.main([argv[0], *rest])
    else:
        hint = did_you_mean(command, [*commands(), "--help", "--version"])
        raise UserError(f"expected a command, {join_with_or(commands())}; got {command!r}{hint}")


def main() -> None:
    program.run(choose)


if __name__ == "__main__":
    main()
