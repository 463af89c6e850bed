"""Training and generation beside the peers, in turns in one process tree: `python -m benchmarks.speed --help`.

Every way of a case works in a process of its own and waits while another works. A round lets each of them work once;
ratios are taken within a round, and shown as median [smallest to largest]. PyTorch is the better of its modes, by the
median. Where PyTorch is not installed, or torch.compile does not work, that way is left out.
"""

import argparse
import contextlib
import datetime
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

TORCH = ("torch_1", "torch_2", "torch_compile")
Rounds = dict[str, list[float]]  # of each way, what each round gave


class Worker:
    """A process that does one way's work when it is told to."""

    def __init__(self, way: str, task: str, case: Case):
        command = [sys.executable, "-m", "benchmarks.ways", way, task, json.dumps(case._asdict())]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
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
            raise RuntimeError(self._process.communicate()[1].strip().splitlines()[-1])
        return json.loads(line)


def measure(task: str, case: Case, ways: list[str], rounds: int, seconds: float) -> Rounds:
    """Lets the ways work in turns; a way that cannot be built is left out, with a line that says so."""
    workers: dict[str, Worker] = {}
    try:
        for way in ways:
            try:
                workers[way] = Worker(way, task, case)
            except RuntimeError as error:
                print(f"{way} is left out: {error}", file=sys.stderr)
        found: Rounds = {way: [] for way in workers}
        for number in range(rounds + 1):
            for way, worker in workers.items():
                speed = worker.work(seconds)["tokens_per_sec"]
                if number:  # the first round warms up
                    found[way].append(speed)
        return found
    finally:
        for worker in workers.values():
            worker.close()


def whole_command(rounds: int) -> Rounds:
    """Seconds of the default run on time_machine, and of as many epochs in PyTorch, each a process from start to end."""
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
                found[way].append(time.perf_counter() - start)
    return found


def ratio(found: Rounds, way: str, to: str | None, inverse: bool = False) -> str:
    """How `way` stands to another, round by round."""
    if to not in found:
        return "-"
    ratios = [b / a if inverse else a / b for a, b in zip(found[way], found[to], strict=True)]
    return f"{statistics.median(ratios):.2f} [{min(ratios):.2f} to {max(ratios):.2f}]"


def best_of_torch(found: Rounds) -> str | None:
    return max((way for way in TORCH if way in found), key=lambda way: statistics.median(found[way]), default=None)


def row(name: str, found: Rounds, columns: list[str]) -> str:
    torch = best_of_torch(found)
    cells = [ratio(found, "tfrnn", torch if column == "torch" else column) for column in columns]
    return f"| {name} | {statistics.median(found['tfrnn']):,.0f} | {' | '.join(cells)} | {torch or '-'} |"


def header(unit: str, columns: list[str]) -> str:
    names = ["case", unit, *(f"to {column}" for column in columns), "best PyTorch"]
    return f"| {' | '.join(names)} |\n|{'---|' * len(names)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count; one more warms up")
    parser.add_argument("--seconds", type=float, default=1.5, help="of work for each way in a round")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--parts", default="training,generation,command", help="what to measure")
    parser.add_argument("--json", type=Path, help="a file for all that was measured")
    options = parser.parse_args()
    result: dict = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, Python {platform.python_version()}",
    }
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
        print("\n| start to end | seconds | PyTorch's to tfrnn's |\n|---|---|---|")
        seconds = statistics.median(found["tfrnn"])
        print(f"| train --corpus=time_machine | {seconds:.1f} | {ratio(found, 'tfrnn', 'torch_2', inverse=True)} |")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
