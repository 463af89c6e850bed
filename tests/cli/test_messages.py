"""Messages name settings in backquotes, and the command line shows those that are its flags as flags."""

import contextlib
import dataclasses
import io
import warnings

import pytest
from entry_points import run

from tfrnn.cli import messages, program
from tfrnn.cli.flags import Flags
from tfrnn.config.settings import Section, setting
from tfrnn.errors import RunWarning, UserError
from tfrnn.runtime.threads import check_chains


@dataclasses.dataclass(frozen=True)
class Settings(Section):
    """Settings"""

    units: int = setting(1, "how many", minimum=1)
    corpus: str = setting("", "what")
    prefix: str = setting("", "which")


def shown(action, *arguments):
    """Returns what a command with these settings shows on stderr if it does this."""

    def main(argv):
        flags = Flags("train", "", [])
        flags.define(Settings)
        flags.parse(argv)
        action()

    return run(main, *arguments)[2]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("`units` must be 1", "--units must be 1"),
        ("got `units=3`, `corpus=a b.txt`; give `units`", "got --units=3, --corpus=a b.txt; give --units"),
        ("`corpus=x`: not found (`units`)", "--corpus=x: not found (--units)"),
        ("`prefix` '5': too short", "--prefix '5': too short"),
        ("`unit` is not `units`.", "`unit` is not --units."),
        ("`depth=3` is for another command", "`depth=3` is for another command"),
        ("run `pip install units` or `units x`, `--units`", "run `pip install units` or `units x`, `--units`"),
        ("`corpus=a=b`: not found", "--corpus=a=b: not found"),
        ("`corpus=a`b`c.txt`: not `units=3`", "--corpus=a`b`c.txt: not --units=3"),
        ("`corpus=`units``: not found", "--corpus=`units`: not found"),
        ("`corpus=`: not found", "--corpus=: not found"),
        ("got '`units`' and a`units`b", "got '`units`' and a`units`b"),
        ("no closing `units", "no closing `units"),
    ],
)
def test_settings_in_backquotes_are_shown_as_flags_of_the_command_and_all_else_unchanged(message, expected):
    def fail():
        raise UserError(message)

    assert shown(fail) == f"tfrnn: error: {expected}\n"
    assert shown(lambda: warnings.warn(message, RunWarning, stacklevel=1)) == f"tfrnn: warning: {expected}\n"
    assert shown(lambda: messages.note(message)) == f"{expected}\n"


def test_command_lines_to_paste_are_shown_as_they_are():
    line = "tfrnn sample --prefix='say `units` '"
    assert shown(lambda: messages.show_next_steps({"read more": line})) == f"to read more: {line}\n"


def test_a_wrong_flag_is_called_a_flag_although_the_flags_are_not_parsed_yet():
    assert shown(None, "--units=0") == "tfrnn: error: --units must be a whole number at least 1; got 0\n"


def test_one_error_names_arguments_in_python_and_flags_on_the_command_line():
    with pytest.raises(UserError) as error:
        check_chains(chains=3, batch_size=8)
    assert str(error.value) == "`batch_size=8` cannot be cut into `chains=3` equal slices; give a divisor"
    python = "`units` must be a whole number at least 1; got 0"
    with pytest.raises(UserError) as error:
        Settings(units=0)
    assert str(error.value) == python
    assert shown(lambda: Settings(units=0)) == f"tfrnn: error: {python.replace('`units`', '--units')}\n"


def test_a_terminal_is_sent_no_control_characters_and_a_pipe_all():
    text = "a\x1b[31mb\rc\x7f\x9b\td\u00e9\n"

    class Stream(io.StringIO):
        def isatty(self):
            return True

    def main(argv):
        print(text, end="")
        messages.note(text.strip())

    terminal, pipe, err = Stream(), io.StringIO(), io.StringIO()
    for stream in (terminal, pipe):
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(err):
            program.run(main)
    shown = "a\\x1b[31mb\\rc\\x7f\\x9b\td\u00e9\n"
    assert (terminal.getvalue(), pipe.getvalue(), err.getvalue()) == (shown, text, shown * 2)
