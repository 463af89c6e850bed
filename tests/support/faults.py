"""Interrupts training in every known way, resumes it, and compares it with the run that was never interrupted.

    python tests/support/faults.py --kills=200 --operations

kills real training processes at random moments (SIGKILL, SIGTERM, SIGINT), over a mix of settings, and with
--operations also at every operation on files that a run makes. It prints a line for each run and exits with status 1
if one differs. The short form of both is in test_faults.py.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import errno
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from entry_points import last_of_each

# Small, so that a run takes seconds, with a validation text and a state that matter.
SMALL = ["--batch_size=4", "--num_steps=8", "--max_tokens=2000", "--validation_tokens=300", "--units=16"]
LONG = "--max_tokens=60000"
# Settings of all kinds, each with as many epochs as take a few seconds.
MIX = [
    [*SMALL, f"--epochs={epochs}", *more.split()]
    for epochs, more in (
        # Epochs of a few seconds, so that most kills come in the middle of one.
        (3, f"{LONG} --cell=rnn --implementation=scratch --dropout=0.2"),
        (3, f"{LONG} --cell=gru --sampling=random --optimizer=adam --learning_rate=0.01 --dropout=0.2"),
        (3, f"{LONG} --cell=lstm --implementation=scratch --optimizer=momentum --learning_rate=0.1 --num_layers=2"),
        # Epochs of milliseconds.
        (800, "--cell=rnn --implementation=scratch"),
        (800, "--cell=rnn --sampling=random --optimizer=momentum --learning_rate=0.1"),
        (400, "--cell=gru --implementation=scratch --optimizer=adam --learning_rate=0.01 --dropout=0.2"),
        (400, "--cell=gru --dropout=0.3 --num_layers=2 --random_offset=false"),
        (400, "--cell=lstm --implementation=scratch --sampling=random --dropout=0.1 --optimizer=rmsprop"
              " --learning_rate=0.01"),
        (400, "--cell=lstm --optimizer=adamw --learning_rate=0.01 --embedding_dim=16 --tie_weights --num_layers=2"),
        (800, "--cell=rnn --tokens=word --text_rule=lines --validation_tokens=0 --batch_size=16 --dropout=0.5"),
        (100, "--cell=rnn --jit_compile=on --dropout=0.2"),
        (200, "--cell=lstm --deterministic --dropout=0.2 --optimizer=adam --learning_rate=0.01"),
        (300, "--cell=gru --batch_size=16 --chains=2 --dropout=0.2 --optimizer=adam --learning_rate=0.003 --seed=7"),
        (300, "--cell=gru --optimizer=adam --learning_rate=0.02 --schedule=plateau --plateau_patience=1 --dropout=0.2"),
        (200, "--cell=rnn --mixed_precision=float16 --optimizer=adam --learning_rate=0.01 --dropout=0.2"),
        (300, "--cell=rnn --schedule=cosine --warmup_steps=99 --early_stopping=99 --optimizer=adam"
              " --learning_rate=0.01"),
    )
]  # fmt: skip


# Comparing two runs


def outcome(run_dir: Path) -> dict[str, Any]:
    """Returns all of a finished run that must not depend on interruptions: everything but timings."""
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return {
        "metrics": [{k: v for k, v in row.items() if k not in ("tokens_per_sec", "seconds")} for row in rows],
        "config": json.loads((run_dir / "config.json").read_text()),
        "vocabulary": (run_dir / "vocabulary.json").read_text(),
        # Weights, optimizer, state, generators and the best weights, bit for bit.
        "checkpoint": max((run_dir / "checkpoints").glob("*.npz")).read_bytes(),
        "picture": (run_dir / "perplexity.png").read_bytes()[:8],
        "leftovers": sorted(str(path.relative_to(run_dir)) for path in run_dir.rglob("*.new")),
    }


def differences(run_dir: Path, twin: Path) -> list[str]:
    """Returns the names of the parts in which two finished runs differ."""
    actual, expected = outcome(run_dir), outcome(twin)
    return [name for name in expected if actual[name] != expected[name]]


def check_readable(run_dir: Path) -> None:
    """Raises an exception if a checkpoint of a run is damaged."""
    from tfrnn.runs.checkpoints import Checkpoint

    for path in (run_dir / "checkpoints").glob("*.npz"):
        with Checkpoint(path, 2**30) as checkpoint:
            checkpoint.read(checkpoint.layouts)


# Killing processes


def start(arguments: list[str], run_dir: Path, *python: str) -> subprocess.Popen:
    if LONG in arguments:
        text = run_dir.parent / "text"
        if not text.exists():
            from tfrnn import load_corpus

            text.write_text(load_corpus("sample") * 4)
        arguments = [*arguments, f"--corpus={text}", "--text_rule=book"]
    command = [sys.executable, *(python or ("-m", "tfrnn.train"))]
    flags = last_of_each([*arguments, f"--run_dir={run_dir}", "--save_every=0", "--show_every=0"])
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.Popen(command + flags, stdout=-1, stderr=-1, text=True, env=environment)


def finish(arguments: list[str], run_dir: Path) -> str:
    """Trains to the end, and returns stdout without the speed."""
    process = start(arguments, run_dir)
    out, err = process.communicate(timeout=600)
    if process.returncode:
        raise AssertionError(f"{shown(arguments)}: resumed with status {process.returncode}: {err}")
    return re.sub(r", [\d.]+ tokens/sec", "", out)


def shown(arguments: list[str]) -> str:
    return " ".join(arguments[len(SMALL) :])


def killed(arguments: list[str], run_dir: Path, number: int, seconds: float, from_start: bool) -> bool:
    """Trains, and sends the signal after `seconds`, counted from the start of the process or of training.

    Returns whether it came before the end.
    """
    process = start(arguments, run_dir)
    if not from_start:
        wait_for(process, "run directory: ")
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    hit = process.poll() is None
    if hit:
        process.send_signal(number)
    out, err = process.communicate(timeout=600)
    signalled = process.returncode in (-number, 130)  # SIGTERM and SIGINT act as usual until training begins
    if "Traceback" in err:
        raise AssertionError(err)
    if not (signalled or process.returncode == 0):
        raise AssertionError(f"{shown(arguments)}: status {process.returncode} after {number}: {err}")
    if number != signal.SIGKILL and hit and process.returncode == 0 and not out:
        assert "to resume: " in err, err
    return hit


def wait_for(process: subprocess.Popen, beginning: str) -> None:
    """Reads stderr up to a line with this beginning; `communicate` does not return what has been read."""
    while (line := process.stderr.readline()) and not line.startswith(beginning):
        pass


def twin_of(arguments: list[str], folder: Path) -> tuple[Path, str, float]:
    """Returns the run that is never interrupted, its output, and the seconds that it trains."""
    twin = folder / "twin"
    process = start(arguments, twin)
    wait_for(process, "run directory: ")
    began = time.monotonic()
    out, err = process.communicate(timeout=600)
    if process.returncode:
        raise AssertionError(f"{shown(arguments)}: {err}")
    return twin, re.sub(r", [\d.]+ tokens/sec", "", out), time.monotonic() - began


def kill_often(arguments: list[str], kills: int, seed: int, folder: Path) -> int:
    """Kills a run `kills` times at random moments and resumes it each time; starts another run when one has finished.

    Each checkpoint must be readable after a kill, and each run must end as its twin. Returns the number of runs.
    """
    random_numbers = random.Random(f"{seed} {arguments}")
    twin, twin_out, seconds = twin_of(arguments, folder)
    done = 0
    for runs in itertools.count(1):
        run_dir = folder / f"run{runs}"
        for _ in range(12):
            if done == kills:
                break
            number = random_numbers.choice(
                [signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
            )
            from_start = random_numbers.random() < 0.2
            after = random_numbers.uniform(0, 5) if from_start else random_numbers.uniform(0, seconds / 2)
            if not killed(arguments, run_dir, number, after, from_start):
                break
            done += 1
            check_readable(run_dir)
        out = finish(arguments, run_dir)
        if out != twin_out or (different := differences(run_dir, twin)):
            raise AssertionError(f"{shown(arguments)}: {different if out == twin_out else 'output'} in {run_dir}")
        check_readable(run_dir)
        if done == kills:
            return runs
        shutil.rmtree(run_dir)
    raise AssertionError


# Failing operations on files


@dataclasses.dataclass
class Fault:
    """Which operation on files fails, and how.

    at: its number, counted from 0, or its name, e.g. `write config.json.new`.
    error: the errno with which it fails (a write after half of it); None: the process dies there.
    lasting: whether all later operations that need space fail too, as on a full disk.
    """

    at: int | str
    error: int | None = errno.ENOSPC
    lasting: bool = False


class Dead(BaseException):
    """Stands for SIGKILL in a process that must survive: all later operations do nothing."""


def die() -> None:
    raise Dead


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Operations:
    """Counts the operations on files below a folder, and makes one fail.

    An operation is to open for writing, to write, to flush to the disk, to rename, to remove, or to make a folder.
    Nothing is really flushed to the disk: what a process has written survives its death, and no test cuts the power.
    """

    def __init__(self, folder: Path, fault: Fault | None = None, die: Callable[[], None] = die):
        self.folder, self.fault, self.die = os.path.abspath(folder), fault, die
        self.made: list[str] = []

    @contextlib.contextmanager
    def counted(self) -> Iterator["Operations"]:
        with contextlib.ExitStack() as stack:
            for name in ("replace", "unlink", "mkdir"):
                usual = getattr(os, name)
                stack.enter_context(mock.patch.object(os, name, self._operation(name, usual)))
            usual_open = open
            opened: dict[int, Any] = {}

            def fsync(descriptor: int) -> None:
                if path := opened.pop(descriptor, None):
                    self._step("fsync", path)

            def faulty_open(path: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
                if not set(mode) & set("wax+") or isinstance(path, int) or not self._is_ours(path):
                    return usual_open(path, mode, *rest, **more)
                self._step("open", path)
                file = usual_open(path, mode, *rest, **more)
                opened[file.fileno()] = path
                return _FaultyFile(file, lambda cut: self._step("write", path, cut))

            stack.enter_context(mock.patch.object(os, "fsync", fsync))
            stack.enter_context(mock.patch("builtins.open", faulty_open))
            yield self

    def _is_ours(self, path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(self.folder)

    def _operation(self, name: str, usual: Callable) -> Callable:
        def operation(path: Any, *rest: Any, **more: Any) -> Any:
            if self._is_ours(path):
                self._step(name, path)
            return usual(path, *rest, **more)

        return operation

    def _step(self, name: str, path: Any, cut: Callable[[], None] = lambda: None) -> None:
        now = len(self.made)
        self.made.append(f"{name} {os.path.basename(path)}")
        fault = self.fault
        if fault and fault.at == self.made[-1]:
            fault.at = now
        if fault is None or isinstance(fault.at, str) or now < fault.at:
            return
        if fault.error is None:
            if now == fault.at:
                cut()
            self.die()
        elif now > fault.at and not (fault.lasting and name != "unlink"):  # removing needs no space
            return
        cut()
        raise OSError(fault.error, os.strerror(fault.error or 0), str(path))


class _FaultyFile:
    """A file whose writes are operations, and which is a context manager."""

    def __init__(self, file: Any, step: Callable[[Callable[[], None]], None]):
        self._file, self._step = file, step

    def write(self, data: Any) -> int:
        def cut() -> None:
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        self._step(cut)
        return self._file.write(data)

    def __enter__(self) -> "_FaultyFile":
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


# Settings of a run with few operations on files, so that each can fail, if there is a call for each batch.
FEW = [*SMALL, "--max_tokens=100", "--validation_tokens=50", "--epochs=2", "--dropout=0.1", "--cell=gru"]


def operations_of_a_run(folder: Path) -> list[str]:
    process = start(FEW, folder, __file__, "--child=-1")
    _, err = process.communicate(timeout=600)
    return json.loads(err.splitlines()[-1])


def killed_at(operation: int, folder: Path, twin: Path) -> None:
    """Kills a training process at one of its operations on files, resumes it, and compares it with its twin."""
    run_dir = folder / f"killed{operation}"
    process = start(FEW, run_dir, __file__, f"--child={operation}")
    _, err = process.communicate(timeout=600)
    if process.returncode != -signal.SIGKILL:
        raise AssertionError(f"operation {operation}: status {process.returncode}: {err}")
    if (run_dir / "checkpoints").is_dir():
        check_readable(run_dir)
    finish(FEW, run_dir)
    if different := differences(run_dir, twin):
        raise AssertionError(f"operation {operation}: {different} in {run_dir}")
    shutil.rmtree(run_dir)


def child(operation: int, flags: list[str]) -> None:
    """Trains in this process, which is killed at that operation; for -1, prints the operations that it made."""
    from tfrnn import train
    from tfrnn.cli import program
    from tfrnn.training import loops

    (run_dir,) = (flag.removeprefix("--run_dir=") for flag in flags if flag.startswith("--run_dir="))
    sys.argv = ["train", *flags]
    with (
        mock.patch.object(loops, "CALL_SECONDS", 0),
        Operations(
            Path(run_dir), Fault(operation, None) if operation >= 0 else None, kill_this_process
        ).counted() as operations,
    ):
        program.run(train.main)
    print(json.dumps(operations.made), file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=0, help="at random moments, over all settings together")
    parser.add_argument("--operations", action="store_true", help="kill at every operation on files of a run")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--seed", type=int, default=0, help="decides the moments")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options, flags = parser.parse_known_args()
    if options.child is not None:
        child(options.child, flags)
        return
    if flags:
        parser.error(f"unknown arguments {flags}")
    failed, began = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        work: dict[concurrent.futures.Future, str] = {}
        for i, arguments in enumerate(MIX):
            kills = options.kills // len(MIX) + (i < options.kills % len(MIX))
            if kills:
                subfolder = Path(folder) / f"kills{i}"
                subfolder.mkdir()
                work[pool.submit(kill_often, arguments, kills, options.seed, subfolder)] = (
                    f"{kills} kills of {shown(arguments)}"
                )
        if options.operations:
            twin, _, _ = twin_of(FEW, Path(folder))
            for i, operation in enumerate(operations_of_a_run(Path(folder) / "counted")):
                work[pool.submit(killed_at, i, Path(folder), twin)] = f"killed at operation {i}, {operation}"
        for future in concurrent.futures.as_completed(work):
            error = future.exception()
            failed += error is not None
            print(f"{'DIFFERS' if error else 'same'}: {work[future]}{f': {error}' if error else ''}", flush=True)
    print(f"{len(work) - failed} of {len(work)} ended as if never interrupted, in {time.monotonic() - began:.0f} s")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
