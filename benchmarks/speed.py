"""Compares training and generation with PyTorch, Keras and the book's code: `python -m benchmarks.speed --help`.

Each implementation ("way") of a case runs in a process of its own and waits while another one runs. In a round each
runs once, in turn; ratios are taken within a round and printed as median [smallest to largest]. PyTorch's result is
that of its fastest mode, by the median. If PyTorch is not installed, or torch.compile does not work, that way is
skipped.

--quick measures in three minutes what a row of the table of machines in benchmarks/README.md has, and prints the row.
"""

import argparse
import contextlib
import datetime
import functools
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import machine
from benchmarks.cases import GENERATION, TRAINING, Case
from tfrnn.runtime import host

TORCH = ("torch_1", "torch_2", "torch_all", "torch_compile")
PARTS = "training,generation,command"
QUICK = (Case("rnn"), Case("gru"), Case("lstm"))
QUICK_GENERATION = Case("rnn", batch_size=1)
MACHINES_HEADER = (
    f"| machine | to PyTorch: {', '.join(case.name for case in QUICK)} | to Keras's `fit` | of NumPy's sgemm "
    "| generation, to PyTorch | measured |\n|---|---|---|---|---|---|"
)
Rounds = dict[str, list[dict[str, float]]]  # for each way, the measurements of each round


class Worker:
    """A process that runs one way for as long as it is told to.

    Args:
      way, task, case: what it runs.
      module: the program that has such ways.
    """

    def __init__(self, way: str, task: str, case: Case, module: str = "benchmarks.ways"):
        command = [sys.executable, "-m", module, way, task, json.dumps(case._asdict())]
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
        self._errors.close()

    def _answer(self) -> dict[str, float]:
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            lines = self._errors.read().strip().splitlines() or [f"ended with {self._process.returncode}"]
            raise RuntimeError(lines[-1])
        return json.loads(line)


def measure(task: str, case: Case, ways: list[str], rounds: int, seconds: float) -> Rounds:
    """Runs the ways of a case in turn, as `in_turn`."""
    return in_turn({way: functools.partial(Worker, way, task, case) for way in ways}, rounds, seconds)


def in_turn(starts: dict[str, Callable[[], Worker]], rounds: int, seconds: float) -> Rounds:
    """Lets workers work in turn and returns their measurements; one that cannot start is skipped with a message."""
    workers: dict[str, Worker] = {}
    try:
        for way, start in starts.items():
            try:
                workers[way] = start()
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


def ratios(found: Rounds, way: str, to: str, name: str = "tokens_per_sec") -> list[float]:
    """Returns the ratio of `way` to the way `to` in each round."""
    return [a / b for a, b in zip(values(found, way, name), values(found, to, name), strict=True)]


def ratio(found: Rounds, way: str, to: str | None, name: str = "tokens_per_sec") -> str:
    """Returns the median ratio of `way` to the way `to`, with its range, computed within each round."""
    if way not in found or to not in found:
        return "-"
    of_rounds = ratios(found, way, to, name)
    return f"{statistics.median(of_rounds):.2f} [{min(of_rounds):.2f} to {max(of_rounds):.2f}]"


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


def machine_row(date: str, described: str, training: dict[str, Rounds], generation: Rounds) -> str:
    """Returns the row of a machine in the table of README.md: medians of ratios, a dash for what was not measured.

    Args:
      date, described: when and on which machine it was measured.
      training: the measurements of each case of QUICK.
      generation: those of QUICK_GENERATION.
    """

    def median(found: Rounds, to: str | None, form: str) -> str:
        return format(statistics.median(ratios(found, "tfrnn", to)), form) if to in found else "-"

    cells = [
        ", ".join(median(found, best_of_torch(found), ".2f") for found in training.values()),
        ", ".join(median(found, "keras_fit", ".2f") for found in training.values()),
        ", ".join(median(found, "sgemm_numpy", ".0%") for found in training.values()),
        median(generation, best_of_torch(generation), ".1f"),
    ]
    return f"| {described} | {' | '.join(cells)} | {date} |"


def torch_ways() -> list[str]:
    """Returns the ways of PyTorch that can be measured here; none, with a message, if it is not installed."""
    if not importlib.util.find_spec("torch"):
        print("PyTorch is not installed, so that nothing is compared with it: pip install torch", file=sys.stderr)
        return []
    return [way for way in TORCH if way != "torch_all" or host.num_cores() > 2]


def measure_quickly(rounds: int, seconds: float, date: str, described: str) -> dict:
    """Prints the row of this machine, and returns what was measured for it."""
    torch = [way for way in torch_ways() if way != "torch_compile"]  # which takes half a minute to compile a case
    ways = ["tfrnn", *torch, "keras_fit", "sgemm_numpy"]
    training = {case.name: measure("train", case, ways, rounds, seconds) for case in QUICK}
    generation = measure("generate", QUICK_GENERATION, ["tfrnn", *torch], rounds, seconds)
    print(f"{MACHINES_HEADER}\n{machine_row(date, described, training, generation)}")
    return {"training": training, "generation": {QUICK_GENERATION.name: generation}}


def measure_all(rounds: int, seconds: float, parts: list[str], only: str) -> dict:
    """Prints the tables of these parts, of the cases whose names contain `only`, and returns what was measured."""
    result: dict = {}
    torch = torch_ways()
    if "training" in parts:
        columns = ["torch", "keras_fit", "book", "sgemm_numpy", "sgemm_tensorflow"]
        print(header("tokens/sec", columns), flush=True)
        for case in (case for case in TRAINING if only in case.name):
            found = measure("train", case, ["tfrnn", *torch, *columns[1:]], rounds, seconds)
            result.setdefault("training", {})[case.name] = found
            print(row(case.name, found, columns), flush=True)
    if "generation" in parts:
        print("\n" + header("characters/sec", ["torch"]), flush=True)
        for case in (case for case in GENERATION if only in case.name):
            ways = ["tfrnn", *(way for way in torch if way != "torch_compile")]
            found = measure("generate", case, ways, rounds, seconds)
            name = f"{case.name}, {case.batch_size} at once"
            result.setdefault("generation", {})[name] = found
            print(row(name, found, ["torch"]), flush=True)
    if "command" in parts:
        found = result["command"] = whole_command(rounds)
        print("\n| command | seconds | PyTorch's time relative to tfrnn's |\n|---|---|---|")
        median = statistics.median(values(found, "tfrnn", "seconds"))
        print(f"| train --corpus=time_machine | {median:.1f} | {ratio(found, 'torch_2', 'tfrnn', 'seconds')} |")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="print only the row of this machine, in three minutes")
    parser.add_argument("--rounds", type=int, help="rounds that are measured, after one to warm up; 5, or 3 if quick")
    parser.add_argument("--seconds", type=float, help="seconds for each way in a round; 1.5, or 0.5 if quick")
    parser.add_argument("--only", default="", help="measure only cases whose name contains this")
    parser.add_argument("--parts", help=f"what to measure, a list with commas; by default {PARTS}")
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    options = parser.parse_args()
    if options.quick and (options.only or options.parts):
        parser.error("--quick measures what is in a row; got --only or --parts; leave them out")
    rounds = options.rounds or (3 if options.quick else 5)
    seconds = options.seconds or (0.5 if options.quick else 1.5)
    date, described = datetime.date.today().isoformat(), machine.describe()
    if options.quick:
        measured = measure_quickly(rounds, seconds, date, described)
    else:
        print(f"{date}, {described}\n")
        measured = measure_all(rounds, seconds, (options.parts or PARTS).split(","), options.only)
    if options.json:
        result = {"date": date, "machine": described, **measured}
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
