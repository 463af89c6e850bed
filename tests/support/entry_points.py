"""The commands, called as a user calls them."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from unittest import mock

from tfrnn.cli import program

SMALL = ["--units=16", "--batch_size=4", "--num_steps=8", "--max_tokens=600", "--validation_tokens=200", "--epochs=3"]


def run(main, *arguments):
    """A command in this process: exit status, stdout, stderr."""
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
    """This process's, as a user's is: without what the tests' own import of TensorFlow may have set."""
    return {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}


def command(*arguments, environment=None, **kwargs):
    """A command in a process of its own, which SIGINT interrupts, though these tests may be a job that it does not."""
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=-1,
        stderr=-1,
        text=True,
        env=quiet_environment() | (environment or {}),
        preexec_fn=interruptible,
        **kwargs,
    )


def interruptible():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def metrics(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def without_timings(rows):
    return [{k: v for k, v in row.items() if k not in ("tokens_per_sec", "seconds")} for row in rows]
