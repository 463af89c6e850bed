"""Compares training and generation with PyTorch, Keras and the book's code: `python -m benchmarks.speed --help`.

Each implementation ("way") of a case runs in a process of its own and waits while another one runs. In a round each
runs once, in turn; ratios are taken within a round and printed as median [smallest to largest]. PyTorch's result is
that of its fastest mode, by the median. If PyTorch is not installed, or torch.compile does not work, that way is
skipped.
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import importlib.util
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.cases import GENERATION, TRAINING, Case
from tfrnn.runtime import host

TORCH = ("torch_1", "torch_2", "torch_compile")
Rounds = dict[str, list[dict[str, float]]]  # for each way, the measurements of each round


class Worker:
    """A process that runs one way for as long as it is told to."""

    def __init__(self, way: str, task: str, case: Case):
        command = [sys.executable, "-m", "benchmarks.ways", way, task, json.dumps(case._asdict())]
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (open as long as the process runs)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, encoding="utf-8"
        )
        self.ready = self._answer()

    def work(self, seconds: float) -> dict[str, float]:
        print(seconds, file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate("")

    def _answer(self) -> dict[str, float]:
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            lines = self._errors.read().strip().splitlines() or [f"ended with {self._process.returncode}"]
            raise RuntimeError(lines[-1])
        return json.loads(line)


def measure(task: str, case: Case, ways: list[str], rounds: int, seconds: float) -> Rounds:
    """Runs the ways in turn and returns their measurements; a way that cannot be built is skipped with a message."""
    workers: dict[str, Worker] = {}
    try:
        for way in ways:
            try:
                workers[way] = Worker(way, task, case)
            except RuntimeError as error:
                print(f"{way} is skipped: {error}", file=sys.stderr)
        found: Rounds = {way: [] for way in workers}
        for number in range(rounds + 1):
            for way, worker in workers.items():
                answer = worker.work(seconds)
                if number:  # round 0 is a warm-up
                    found[way].append(answer)
        return found
    finally:
        for worker in workers.values():
            worker.close()


def whole_command(rounds: int) -> Rounds:
    """Measures the seconds from the start of a process to its end.

    The processes are the default run on time_machine, and as many epochs in PyTorch with two threads, its fastest mode
    for this case.
    """
    with tempfile.TemporaryDirectory() as folder:
        commands: dict[str, Callable[[int], list[str]]] = {
            "tfrnn": lambda i: ["-m", "tfrnn.train", "--corpus=time_machine", f"--run_dir={folder}/{i}"]
        }
        if importlib.util.find_spec("torch"):
            commands["torch_2"] = lambda i: ["-m", "benchmarks.ways", "torch_2", "train_500", "{}"]
        found: Rounds = {way: [] for way in commands}
        for i in range(rounds):
            for way, command in commands.items():
                start = time.perf_counter()
                subprocess.run([sys.executable, *command(i)], check=True, capture_output=True)
                found[way].append({"seconds": time.perf_counter() - start})
    return found


def values(found: Rounds, way: str, name: str = "tokens_per_sec") -> list[float]:
    return [answer[name] for answer in found[way]]


def ratio(found: Rounds, way: str, to: str | None, name: str = "tokens_per_sec") -> str:
    """Returns the median ratio of `way` to the way `to`, with its range, computed within each round."""
    if way not in found or to not in found:
        return "-"
    ratios = [a / b for a, b in zip(values(found, way, name), values(found, to, name), strict=True)]
    return f"{statistics.median(ratios):.2f} [{min(ratios):.2f} to {max(ratios):.2f}]"


def best_of_torch(found: Rounds) -> str | None:
    return max(
        (way for way in TORCH if way in found), key=lambda way: statistics.median(values(found, way)), default=None
    )


def row(name: str, found: Rounds, columns: list[str]) -> str:
    torch = best_of_torch(found)
    cells = [ratio(found, "tfrnn", torch if column == "torch" else column) for column in columns]
    return f"| {name} | {statistics.median(values(found, 'tfrnn')):,.0f} | {' | '.join(cells)} | {torch or '-'} |"


def header(unit: str, columns: list[str]) -> str:
    names = ["case", unit, *(f"to {column}" for column in columns), "best PyTorch"]
    return f"| {' | '.join(names)} |\n|{'---|' * len(names)}"


def machine() -> str:
    """Returns a line with the processor, the number of cores, and the versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())
    packages = [name for name in ("tensorflow", "keras", "torch") if importlib.util.find_spec(name)]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return f"{model}, {host.num_cores()} cores, Python {platform.python_version()}, {versions}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds that are measured, after one to warm up")
    parser.add_argument("--seconds", type=float, default=1.5, help="seconds for each way in a round")
    parser.add_argument("--only", default="", help="measure only cases whose name contains this")
    parser.add_argument("--parts", default="training,generation,command", help="what to measure, a list with commas")
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    options = parser.parse_args()
    result: dict = {"date": datetime.date.today().isoformat(), "machine": machine()}
    print(f"{result['date']}, {result['machine']}\n")
    with_torch = importlib.util.find_spec("torch") is not None
    parts = options.parts.split(",")
    if "training" in parts:
        columns = ["torch", "keras_fit", "book", "sgemm_numpy", "sgemm_tensorflow"]
        print(header("tokens/sec", columns), flush=True)
        for case in (case for case in TRAINING if options.only in case.name):
            ways = ["tfrnn", *(TORCH if with_torch else ()), *columns[1:]]
            found = measure("train", case, ways, options.rounds, options.seconds)
            result.setdefault("training", {})[case.name] = found
            print(row(case.name, found, columns), flush=True)
    if "generation" in parts:
        print("\n" + header("characters/sec", ["torch"]), flush=True)
        for case in (case for case in GENERATION if options.only in case.name):
            ways = ["tfrnn", *(TORCH[:2] if with_torch else ())]
            found = measure("generate", case, ways, options.rounds, options.seconds)
            name = f"{case.name}, {case.batch_size} at once"
            result.setdefault("generation", {})[name] = found
            print(row(name, found, ["torch"]), flush=True)
    if "command" in parts:
        found = result["command"] = whole_command(options.rounds)
        print("\n| command | seconds | PyTorch's time relative to tfrnn's |\n|---|---|---|")
        seconds = statistics.median(values(found, "tfrnn", "seconds"))
        slower = ratio(found, "torch_2", "tfrnn", "seconds")
        print(f"| train --corpus=time_machine | {seconds:.1f} | {slower} |")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
