"""The first minutes at a terminal, as journey.txt has them: each command in turn, in an empty folder and an empty home.

TFRNN_PYTHON names the interpreter of another environment, in which the package is installed with its console script.
`python tests/integration/test_journey.py` prints what is to be seen now.
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
    """The commands, each with what is to be seen."""
    parts = ("\n" + text).split("\n$ ")[1:]
    return [(command, shown.strip()) for command, _, shown in (part.partition("\n") for part in parts)]


def is_like(expected, seen):
    """Line by line, with any number of spaces for one: `...` is anything within a line, and alone any lines."""
    lines = (" ".join(line.split()) for line in expected.splitlines())
    patterns = ["(.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + "\n" for line in lines]
    seen = "".join(" ".join(line.split()) + "\n" for line in seen.strip().splitlines())
    return re.fullmatch("".join(patterns), seen) is not None


def environment(home):
    """A new user's, with the interpreter's environment active."""
    python = Path(os.environ.get("TFRNN_PYTHON") or sys.executable)
    folders = [str(python.parent), "/usr/bin", "/bin"]
    there = {"HOME": str(home), "LANG": "C.UTF-8"}
    if "TFRNN_PYTHON" in os.environ:
        assert (python.parent / "tfrnn").exists(), f"expected the console script tfrnn beside {python}"
    else:  # the code here, whatever is installed
        there["PYTHONPATH"] = str(Path(__file__).parents[2])
        script = home / "bin" / "tfrnn"
        script.parent.mkdir()
        script.write_text(f"#!{python}\nfrom tfrnn.__main__ import main\nmain()\n")
        script.chmod(0o755)
        folders.insert(0, str(script.parent))
    return {**there, "PATH": os.pathsep.join(folders)}


def play(command, folder, environment):
    """What is to be seen after a command."""
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
def test_each_step_shows_what_the_transcript_has(tmp_path):
    folder, home = tmp_path / "empty", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    there = environment(home)
    steps = parse(TRANSCRIPT.read_text())
    assert len(steps) >= 15
    for command, expected in steps:
        seen = play(command, folder, there)
        assert is_like(expected, seen), f"$ {command}\n{seen}\nexpected:\n{expected}"


def test_a_transcript_that_differs_is_noticed(tmp_path):
    (tmp_path / "home").mkdir()
    there = environment(tmp_path / "home")
    ((command, expected),) = parse("$ echo one; echo two >&2; exit 2\none\n...\n[status 2]\n")
    seen = play(command, tmp_path, there)
    assert seen == "one\ntwo\n[status 2]\n"
    assert is_like(expected, seen)
    assert not is_like(expected.replace("2", "1"), seen)
    assert is_like("o...\ntwo\n[status ...]", seen)
    assert not is_like("o...\n[status 2]", seen)  # a line too many


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as home:
        there = environment(Path(home))
        for command, _ in parse(TRANSCRIPT.read_text()):
            print(f"$ {command}\n{play(command, folder, there)}", flush=True)
