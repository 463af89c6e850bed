"""A new user's first commands show what journey.txt has: each command in turn, in an empty folder with an empty home.

TFRNN_PYTHON can name the interpreter of another environment in which the package is installed with its console script.
`python tests/integration/test_journey.py` prints what the commands show now.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

TRANSCRIPT = Path(__file__).with_name("journey.txt")


def parse(text):
    """Returns the commands of a transcript, each with the output expected."""
    parts = ("\n" + text).split("\n$ ")[1:]
    return [(command, output.strip()) for command, _, output in (part.partition("\n") for part in parts)]


def matches(expected, output):
    """Whether an output matches the one expected, up to the number of spaces.

    `...` in a line stands for any characters, and on a line of its own for any number of lines.
    """
    lines = (" ".join(line.split()) for line in expected.splitlines())
    patterns = ["(.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + "\n" for line in lines]
    output = "".join(" ".join(line.split()) + "\n" for line in output.strip().splitlines())
    return re.fullmatch("".join(patterns), output) is not None


def new_environment(home):
    """Returns the environment variables of a new user, with the interpreter's environment active."""
    python = Path(os.environ.get("TFRNN_PYTHON") or sys.executable)
    folders = [str(python.parent), "/usr/bin", "/bin"]
    variables = {"HOME": str(home), "LANG": "C.UTF-8"}
    if "TFRNN_PYTHON" in os.environ:
        assert (python.parent / "tfrnn").exists(), f"expected the console script tfrnn next to {python}"
    else:  # the code in this folder, even if another version is installed
        variables["PYTHONPATH"] = str(Path(__file__).parents[2])
        script = home / "bin" / "tfrnn"
        script.parent.mkdir()
        script.write_text(f"#!{python}\nfrom tfrnn.__main__ import main\nmain()\n")
        script.chmod(0o755)
        folders.insert(0, str(script.parent))
    return {**variables, "PATH": os.pathsep.join(folders)}


def play(command, folder, environment):
    """Runs a command; returns its output and, if it is not 0, its exit status as a last line."""
    process = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        stdout=-1,
        stderr=subprocess.STDOUT,
        text=True,
    )
    status = f"[status {process.returncode}]\n" if process.returncode else ""
    return process.stdout + status


@pytest.mark.slow
def test_each_command_shows_what_the_transcript_has(tmp_path):
    folder, home = tmp_path / "empty", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    environment = new_environment(home)
    steps = parse(TRANSCRIPT.read_text())
    assert len(steps) >= 15
    for command, expected in steps:
        output = play(command, folder, environment)
        assert matches(expected, output), f"$ {command}\n{output}\nexpected:\n{expected}"  # later steps need this one


def test_a_transcript_that_differs_is_noticed(tmp_path):
    (tmp_path / "home").mkdir()
    environment = new_environment(tmp_path / "home")
    ((command, expected),) = parse("$ echo one; echo two >&2; exit 2\none\n...\n[status 2]\n")
    output = play(command, tmp_path, environment)
    assert output == "one\ntwo\n[status 2]\n"
    assert matches(expected, output)
    assert not matches(expected.replace("2", "1"), output)
    assert matches("o...\ntwo\n[status ...]", output)
    assert not matches("o...\n[status 2]", output)  # the output has one line more


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as home:
        environment = new_environment(Path(home))
        for command, _ in parse(TRANSCRIPT.read_text()):
            print(f"$ {command}\n{play(command, folder, environment)}", flush=True)
