"""The sampling command: many prefixes, streams, beams, conversations."""

import contextlib
import fcntl
import io
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from unittest import mock

import pytest
from entry_points import SMALL, interruptible, quiet_environment, run

import tfrnn
from tfrnn import sample, train
from tfrnn.inference.generation import TextGenerator


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "run"
    assert run(train.main, *SMALL, "--text_rule=spaces", f"--run_dir={folder}")[0] == 0
    return folder


@pytest.fixture(scope="module")
def loaded(run_dir):
    """The model of the run, and its vocabulary."""
    return tfrnn.load_run(run_dir)[:2]


def sample_run(run_dir, *flags, stdin=""):
    with mock.patch.object(sys, "stdin", io.StringIO(stdin)):
        return run(sample.main, f"--run_dir={run_dir}", *flags)


@pytest.mark.slow
def test_samples_come_prefix_by_prefix_and_streams_are_the_same(run_dir, loaded):
    flags = ["--prefix=the well", "--prefix=a", "--num_samples=2", "--length=9", "--seed=4"]
    flags += ["--top_p=0.9", "--min_p=0.05", "--repetition_penalty=1.5"]
    status, out, _ = sample_run(run_dir, *flags)
    prefixes = ["the well", "a"]
    sampler = tfrnn.Sampler(top_p=0.9, min_p=0.05, repetition_penalty=1.5)
    expected = tfrnn.generate_many(*loaded, prefixes, 9, 2, sampler, seed=4)
    assert (status, out) == (0, "".join(f"{text}\n" for samples in expected for text in samples))
    assert sample_run(run_dir, *flags, "--stream")[:2] == (0, out)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flag", "setting"),
    [
        ("--min_p=0.3", {"min_p": 0.3}),
        ("--repetition_penalty=3", {"repetition_penalty": 3.0}),
        ("--top_k=2", {"top_k": 2}),
    ],
)
def test_the_flags_of_sampling_are_those_of_the_sampler(flag, setting, run_dir, loaded):
    expected = tfrnn.generate(*loaded, "a", 20, tfrnn.Sampler(**setting), seed=4)
    assert sample_run(run_dir, "--prefix=a", "--length=20", "--seed=4", flag)[1] == f"{expected}\n"
    assert tfrnn.generate(*loaded, "a", 20, tfrnn.Sampler(), seed=4) != expected


def test_beams_come_with_their_scores_the_best_first(run_dir, loaded):
    flags = ["--prefix=the well", "--prefix=a", "--length=8"]
    status, out, err = sample_run(run_dir, *flags, "--beam_width=6", "--num_samples=2")
    beams = [beam for prefix in ("the well", "a") for beam in tfrnn.beam_search(*loaded, prefix, 8, 6)[:2]]
    assert (status, out) == (0, "".join(f"{beam.text}\n" for beam in beams))
    scores = [line.split()[1] for line in err.splitlines() if line.startswith("log-")]
    assert scores == [f"{beam.score:.4f}," for beam in beams]


@pytest.mark.slow
def test_one_beam_is_the_greedy_text(run_dir):
    flags = ["--prefix=the well", "--prefix=a", "--length=8"]
    assert sample_run(run_dir, *flags, "--beam_width=1")[1] == sample_run(run_dir, *flags, "--temperature=0")[1]


def test_a_conversation_continues_everything_that_came_before(run_dir, loaded):
    flags = ["--interactive", "--temperature=0", "--length=12"]
    status, out, err = sample_run(run_dir, *flags, stdin="\nthe well\n\na \u00dc!\nand so \n")
    text, expected = "", []
    for line in ("the well", "", "and so "):
        written = tfrnn.generate(*loaded, text + line, 12)[len(text + line) :]
        expected.append(written)
        text += line + written
    assert (status, out) == (0, "".join(f"{written}\n" for written in expected))
    errors = err.splitlines()
    assert len(errors) == 2
    assert "expected a text to continue; got an empty line" in errors[0]
    assert "unknown characters '\u00dc'" in errors[1]


def test_random_numbers_are_not_drawn_again_in_a_conversation(run_dir, loaded):
    _, out, _ = sample_run(run_dir, "--interactive", "--length=9", stdin="the well\n\n\n")
    assert "the well" + out.replace("\n", "") == tfrnn.generate(*loaded, "the well", 27, tfrnn.Sampler())


class InterruptedInput(io.StringIO):
    """Standard input from a terminal at which Ctrl-C is pressed after the last line."""

    def isatty(self):
        return True

    def readline(self, *args):
        if line := super().readline(*args):
            return line
        raise KeyboardInterrupt


class InterruptedOutput(io.StringIO):
    """Standard output at which Ctrl-C is pressed once, after five tokens."""

    num_writes = 0

    def write(self, text):
        super().write(text)
        self.num_writes += 1
        if self.num_writes == 5:
            raise KeyboardInterrupt
        return len(text)


def test_an_interruption_ends_only_the_continuation_being_written(run_dir, loaded, monkeypatch):
    data = tfrnn.load_run(run_dir)[2].data
    monkeypatch.setattr(sys, "stdin", io.StringIO("the well\n\n"))
    monkeypatch.setattr(sys, "stdout", output := InterruptedOutput())
    sample.converse(TextGenerator(*loaded), data, length=12)
    lines = output.getvalue().splitlines()
    assert [len(line) for line in lines] == [5, 12]
    assert "the well" + "".join(lines) == tfrnn.generate(*loaded, "the well", 17)


def at_a_terminal(run_dir, keys):
    """Runs the command at a terminal where a key is pressed whenever it waits; returns its status and the screen."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tfrnn.sample", f"--run_dir={run_dir}", "--interactive", "--length=10"],
        stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env=quiet_environment(),
        preexec_fn=lambda: (interruptible(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)),
    )  # fmt: skip
    os.close(slave)
    screen, keys, deadline = "", list(keys), time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([master], [], [], 0.2)[0]:
            try:
                data = os.read(master, 4096)
            except OSError:  # the command has ended
                data = b""
            if not data:
                break
            screen += data.decode(errors="replace")
        elif keys and re.search(r"> (\x1b\[\S*)?\Z", screen):
            os.write(master, keys.pop(0))
    os.close(master)
    return process.wait(30), screen


@pytest.mark.slow
@pytest.mark.parametrize(("last", "expected"), [(b"\x04", 0), (b"\x03", 130)], ids=["end_of_input", "interruption"])
def test_a_process_at_a_terminal_ends_with_its_status(run_dir, last, expected):
    status, screen = at_a_terminal(run_dir, [b"the well\r", b"\r", last])
    assert status == expected, screen
    assert screen.count("> ") == 3
    assert "Traceback" not in screen


def test_a_terminal_is_prompted_until_the_end_of_input(run_dir, loaded, monkeypatch):
    data = tfrnn.load_run(run_dir)[2].data
    master, slave = pty.openpty()
    os.write(master, b"the well\n\n\x04")
    with open(slave, encoding="utf-8") as stdin, open(os.dup(slave), "w", encoding="utf-8") as stdout:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "stdout", stdout)
        sample.converse(TextGenerator(*loaded), data, length=12)
    screen = b""
    with contextlib.suppress(OSError):  # EIO after the last output of the closed terminal
        while data := os.read(master, 4096):
            screen += data
    os.close(master)
    screen = screen.decode()
    text = tfrnn.generate(*loaded, "the well", 24)
    assert screen.count("> ") == 3
    assert f"> {text[8:20]}\r\n" in screen
    assert f"> {text[20:]}\r\n" in screen


def test_prompts_are_not_part_of_redirected_results_and_an_interruption_at_one_ends_the_command(run_dir, monkeypatch):
    monkeypatch.setattr(sys, "stdin", InterruptedInput("the well\n"))
    status, out, err = run(sample.main, f"--run_dir={run_dir}", "--interactive", "--temperature=0", "--length=12")
    assert (status, len(out), err.count("> ")) == (130, 13, 2)
    assert "Traceback" not in err
