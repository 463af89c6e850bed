"""The sampling command: many prefixes, streams, beams, conversations."""

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


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "run"
    assert run(train.main, *SMALL, "--epochs=40", "--text_rule=spaces", f"--run_dir={folder}")[0] == 0
    return folder


def sampled(run_dir, *flags, stdin=""):
    with mock.patch.object(sys, "stdin", io.StringIO(stdin)):
        return run(sample.main, f"--run_dir={run_dir}", *flags)


def test_samples_come_prefix_by_prefix_and_streams_are_the_same(run_dir):
    flags = ["--prefix=the well", "--prefix=a", "--num_samples=3", "--length=20", "--top_p=0.9", "--seed=4"]
    status, out, _ = sampled(run_dir, *flags)
    model, vocabulary, _ = tfrnn.load_run(run_dir)
    expected = tfrnn.generate(model, vocabulary, "a", 20, tfrnn.Sampler(top_p=0.9), seed=4)
    assert status == 0
    assert out.startswith("the well")
    assert f"\n{expected}\n" in out
    assert len(out) == 3 * (8 + 20 + 1) + 3 * (1 + 20 + 1)
    assert sampled(run_dir, *flags, "--stream")[:2] == (0, out)
    assert sampled(run_dir, *flags, "--min_p=0.3")[1] != out
    assert sampled(run_dir, *flags, "--repetition_penalty=3")[1] != out


def test_beams_come_with_their_scores_the_best_first(run_dir):
    flags = ["--prefix=the well", "--prefix=a", "--length=8"]
    status, out, err = sampled(run_dir, *flags, "--beam_width=6", "--num_samples=2")
    model, vocabulary, _ = tfrnn.load_run(run_dir)
    beams = [beam for prefix in ("the well", "a") for beam in tfrnn.beam_search(model, vocabulary, prefix, 8, 6)[:2]]
    assert (status, out) == (0, "".join(f"{beam.text}\n" for beam in beams))
    assert [line.split()[1] for line in err.splitlines() if line.startswith("log-")] == [
        f"{beam.score:.4f}," for beam in beams
    ]
    assert sampled(run_dir, *flags, "--beam_width=1")[1] == sampled(run_dir, *flags, "--temperature=0")[1]


def test_a_conversation_goes_on_with_all_that_came_before_in_mind(run_dir):
    flags = ["--interactive", "--temperature=0", "--length=12"]
    status, out, err = sampled(run_dir, *flags, stdin="\nthe well\n\na \u00dc!\nand so \n")
    model, vocabulary, _ = tfrnn.load_run(run_dir)
    text, expected = "", []
    for line in ("the well", "", "and so "):
        written = tfrnn.generate(model, vocabulary, text + line, 12)[len(text + line) :]
        expected.append(written)
        text += line + written
    assert (status, out) == (0, "".join(f"{written}\n" for written in expected))
    errors = err.splitlines()
    assert len(errors) == 2
    assert "expected a text to go on from; got an empty line" in errors[0]
    assert "unknown characters 'Ü'" in errors[1]


def test_what_is_drawn_in_a_conversation_is_not_drawn_again(run_dir):
    _, out, _ = sampled(run_dir, "--interactive", "--length=9", stdin="the well\n\n\n")
    at_once = sampled(run_dir, "--prefix=the well", "--length=27")[1]
    assert "the well" + out.replace("\n", "") + "\n" == at_once


def test_an_interruption_ends_the_text_under_way_alone(run_dir):
    from tfrnn.inference import generation

    whole = generation.stream_on

    def interrupted(*arguments):
        for i, piece in enumerate(whole(*arguments)):
            if i == 5 and not done:
                done.append(True)
                raise KeyboardInterrupt
            yield piece

    done = []
    flags = ["--interactive", "--temperature=0", "--length=12"]
    with mock.patch.object(generation, "stream_on", interrupted):
        status, out, _ = sampled(run_dir, *flags, stdin="the well\n\n")
    assert status == 0
    assert [len(line) for line in out.splitlines()] == [5, 12]
    at_once = sampled(run_dir, "--prefix=the well", "--temperature=0", "--length=17")[1]
    assert "the well" + out.replace("\n", "") + "\n" == at_once


def at_a_terminal(run_dir, keys):
    """The command at a terminal of its own, where keys are pressed each time that it waits; status and the screen."""
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
            except OSError:  # it has ended
                data = b""
            if not data:
                break
            screen += data.decode(errors="replace")
        elif keys and re.search(r"> (\x1b\[\S*)?\Z", screen):
            os.write(master, keys.pop(0))
    os.close(master)
    return process.wait(30), screen


@pytest.mark.parametrize(("last", "expected"), [pytest.param(b"\x04", 0, marks=pytest.mark.slow), (b"\x03", 130)])
def test_at_a_terminal_it_asks_until_the_end_of_the_file_or_an_interruption(run_dir, last, expected):
    status, screen = at_a_terminal(run_dir, [b"the well\r", b"\r", last])
    assert status == expected, screen
    assert screen.count("> ") == 3
    assert "Traceback" not in screen
