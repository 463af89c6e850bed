"""The help of the program and its commands, in lines that a terminal holds; and what is said where a name is wrong."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from entry_points import run

import tfrnn
from tfrnn import __main__
from tfrnn.cli import flags as flags_lib
from tfrnn.cli import invocation
from tfrnn.errors import did_you_mean

COMMANDS = __main__.commands()
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def called_as_python(monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "tfrnn"])


def shown(main, *arguments):
    status, out, err = run(main, *arguments)
    assert (status, err) == (0, "")
    return out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_the_usual_flags_and_helpfull_has_all(command):
    module = COMMANDS[command]
    usual, everything = shown(module.main, "--help"), shown(module.main, "--helpfull")
    flags = module.make_flags()
    names = {name for name in flags.values if name not in ("help", "h", "helpfull")}
    in_help, in_full = (set(re.findall(r"^  --(\w+)", text, re.MULTILINE)) for text in (usual, everything))
    assert (in_full, in_help <= in_full) == (names, True)
    more = re.search(r"^(\d+) more flags, seldom needed: (.*)$", usual, re.MULTILINE)
    assert len(in_full - in_help) == (int(more[1]) if more else 0)
    assert not more or more[2] == f"python -m tfrnn.{command} --helpfull"
    assert module.EXAMPLES
    for example in module.EXAMPLES:
        assert f"\n  python -m tfrnn.{command} {example}\n" in usual
        assert flags.parse([command, *shlex.split(example)])
        flags = module.make_flags()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "--helpfull"])
def test_no_line_is_wider_than_80_columns_where_the_width_is_unknown(command, flag):
    lines = shown(COMMANDS[command].main, flag).splitlines()
    assert 60 < max(map(len, lines)) <= 80
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize(("columns", "widest"), [(10, 40), (50, 50), (90, 90), (500, 100)])
def test_help_is_as_wide_as_the_terminal(columns, widest):
    with mock.patch("tfrnn.runtime.host.terminal_columns", return_value=columns):
        lines = shown(COMMANDS["train"].main, "--helpfull").splitlines()
    to_paste = [line for line in lines if "python -m" in line]
    assert widest - 15 < max(len(line) for line in lines if line not in to_paste) <= widest


def test_help_shows_defaults_choices_and_how_to_switch_off():
    train, forecast = (" ".join(shown(COMMANDS[name].main, "--helpfull").split()) for name in ("train", "forecast"))
    assert "--units=256 " in train
    assert "--units=16 " in forecast
    assert "--cell=rnn the recurrent cell: rnn, gru or lstm " in train
    assert "--norandom_offset switches it off" in train
    assert train.count("switches it off") == 1
    assert len(shown(COMMANDS["train"].main, "--help").splitlines()) <= 50


def test_the_program_lists_its_commands_by_their_own_summaries():
    overview = shown(__main__.choose)
    assert overview == shown(__main__.choose, "--help") == shown(__main__.choose, "-h")
    assert max(map(len, overview.splitlines())) <= 80
    words = " ".join(overview.split())
    for command, module in COMMANDS.items():
        assert f" {command} {module.__doc__.splitlines()[0]} " in words
    assert f"python -m tfrnn.train {COMMANDS['train'].EXAMPLES[0]}\n" in overview
    assert shown(__main__.choose, "--version") == f"tfrnn {tfrnn.__version__}\n"


def test_a_command_of_the_program_is_the_module_of_that_name():
    for command, module in COMMANDS.items():
        assert shown(__main__.choose, command, "--help") == shown(module.main, "--help")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("trian", "expected a command, train, sample, evaluate, export or forecast; got 'trian' (did you mean train?)"),
        ("--verson", "(did you mean --version?)"),
        ("--epochs=3", "got '--epochs=3'"),
        ("train --lernrate=1", "train has no flag --lernrate (did you mean --learning_rate?); `python -m tfrnn.train"),
        ("train --lr=1", "(did you mean --learning_rate?)"),
        ("train --qqq=1", "train has no flag --qqq; "),
        ("train --cell=gur", "got 'gur' (did you mean gru?)"),
        ("train --preset=deep_lstn", "got 'deep_lstn' (did you mean deep_lstm?)"),
        ("train --corpus=time_machin", "no file 'time_machin' (did you mean time_machine?)"),
        ("train runs/first", "expected only flags, such as --name=value; got 'runs/first'"),
    ],
)
def test_a_wrong_word_is_one_line_with_the_nearest_right_one(arguments, expected):
    status, out, err = run(__main__.choose, *arguments.split())
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert expected in err


def test_nothing_is_proposed_where_nothing_is_near():
    assert did_you_mean("xyz", ["train", "sample"]) == ""
    assert did_you_mean("b" * 10**6, ["batch_size"]) == ""


def test_a_wrong_run_directory_is_told_with_those_that_are_near(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "config.json").write_text("{}")
    for given, expected in (("runs/frist", "did you mean runs/first?"), ("runs", "such as runs/first?")):
        status, _, err = run(COMMANDS["sample"].main, f"--run_dir={given}")
        assert (status, expected in err) == (2, True), err


@pytest.mark.parametrize(
    ("script", "found", "expected"),
    [
        ("/venv/bin/tfrnn", "/venv/bin/tfrnn", "tfrnn train"),
        ("/venv/bin/tfrnn", None, "/venv/bin/tfrnn train"),
        ("bin/tfrnn", "/other/bin/tfrnn", "bin/tfrnn train"),
        ("/src/tfrnn/train.py", "/venv/bin/tfrnn", "python -m tfrnn.train"),
        ("/src/tfrnn/__main__.py", None, "python -m tfrnn.train"),
    ],
)
def test_a_command_is_shown_in_the_form_in_which_it_was_called(script, found, expected, tmp_path, monkeypatch):
    for path in ("venv/bin/tfrnn", "bin/tfrnn", "other/bin/tfrnn"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("")
    monkeypatch.chdir(tmp_path)
    at = lambda path: str(tmp_path) + path if path and path.startswith("/") else path  # noqa: E731
    monkeypatch.setattr(sys, "argv", [at(script)])
    monkeypatch.setattr(invocation.shutil, "which", lambda name: at(found))
    given = {"run_dir": "a b", "stream": True, "random_offset": False, "prefix": ("x y", "z"), "epochs": 3}
    call = invocation.command_line("train", *flags_lib.as_flags(given))
    flags = "--run_dir='a b' --stream --norandom_offset --prefix='x y' --prefix=z --epochs=3"
    assert call == f"{at(expected) if expected.startswith('/') else expected} {flags}"
    assert shlex.split(call)[-6:] == flags_lib.as_flags(given)
    assert invocation.command_line() == call.partition(" train")[0].partition(".train")[0]


def test_the_program_and_its_help_are_quick():
    code = "import sys; from tfrnn import __main__ as program\ntry: program.main()\n"
    code += "finally: print({'tensorflow', 'keras'} & {*sys.modules})"
    for arguments in ([], ["--version"], ["train", "--help"], ["trian"], ["forecast", "--helpfull"]):
        process = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT)
        assert process.stdout.splitlines()[-1] == "set()", process.stderr
