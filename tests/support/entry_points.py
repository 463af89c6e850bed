"""Runs the commands as a user does: in this process or in a new one."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from unittest import mock

from tfrnn.cli import program

# Flags of a small training run, which takes a second or two, mostly for tracing.
SMALL = [
    "--units=16",
    "--batch_size=4",
    "--num_steps=8",
    "--max_tokens=600",
    "--validation_tokens=200",
    "--epochs=3",
    "--chains=1",
]


REPEATABLE = {"--prefix", "--corpus", "--column", "--inputs", "--freeze"}


def last_of_each(arguments):
    """Arguments without a flag's value before another value of it, so that a test can change one of SMALL."""
    names = [argument.partition("=")[0] for argument in arguments]
    later = [names[i + 1 :] for i in range(len(names))]
    repeatable = [name in REPEATABLE or not name.startswith("--") for name in names]
    return [arguments[i] for i, name in enumerate(names) if repeatable[i] or name not in later[i]]


def run(main, *arguments):
    """Runs a command in this process with the last value of each flag; returns its exit status, stdout and stderr."""
    return run_as_given(main, *last_of_each(arguments))


def run_as_given(main, *arguments):
    """Runs a command in this process; returns its exit status, stdout and stderr."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["command", *arguments]),
    ):
        try:
            program.run(main)
        except SystemExit as error:
            status = error.code
    return status, out.getvalue(), err.getvalue()


def quiet_environment():
    """Returns this process's environment without what importing TensorFlow in the tests may have set."""
    return {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}


def command(*arguments, environment=None, **kwargs):
    """Starts a module in a new process, which SIGINT interrupts even if the tests ignore it, as background jobs do.

    Of each flag the last value is given.
    """
    return subprocess.Popen(
        [sys.executable, "-m", *last_of_each(arguments)],
        stdout=-1,
        stderr=-1,
        text=True,
        env=quiet_environment() | (environment or {}),
        preexec_fn=interruptible,
        **kwargs,
    )


def interruptible():
    """Restores the default action of SIGINT, which background jobs ignore."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def metrics(run_dir):
    """Returns the rows of metrics.jsonl."""
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def without_timings(rows):
    """Returns rows of metrics without what differs between equal runs."""
    return [{k: v for k, v in row.items() if k not in ("tokens_per_sec", "seconds")} for row in rows]
