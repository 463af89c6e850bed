"""What a training step is made of: `python -m benchmarks.steps [operations] [compilation] [chains]`.

All three tables are of the CPU, also where there is a GPU; without a name all are printed.

operations: a step in one chain, by the kinds of its operations as TensorFlow's profiler sees them, which divides the
time in operations, including those that cut batches; what TensorFlow needs between operations is in none of them. The
time of a step is measured without the profiler, and may be less than that in operations, of which some run in parallel.

compilation: what training waits for before its first step where XLA compiles it, as it does on a GPU: the nodes of the
traced graph, with those of its functions, and the CPU seconds to trace it and of the compilation, which are those of
the first call less those of the next. XLA for a CPU stands in for XLA for a GPU. It tells how the wait grows with
steps, layers and units, and where the loop over blocks bounds it; not how many seconds it is on a GPU.

chains: milliseconds per step by the number of chains, with the fastest number beside the one that the rule of
tfrnn/runtime/threads.py chooses. The rule was made on two cores: on a machine with more, this is the table to run,
which tells whether it holds there.

Every row of `operations` and `compilation`, and every number of chains, has a process of its own. Those of one row of
`chains` work in turn; the table has medians over the rounds.
"""

import argparse
import datetime
import functools
import json
import os
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from benchmarks.machine import describe
from benchmarks.speed import Rounds, Worker, in_turn, values
from tfrnn.runtime import host, threads

CELLS = ("rnn", "gru", "lstm")
SMALL, LARGE = Case(vocab_size=28), Case(units=512, num_layers=2, vocab_size=65, batch_size=64, num_steps=64)
PROFILED = tuple(SMALL._replace(cell=cell, chains=1) for cell in CELLS)
COMPILED = (
    *(SMALL._replace(cell="lstm", num_steps=steps) for steps in (16, 35, 48, 64, 65, 256)),
    *(SMALL._replace(cell="lstm", num_layers=layers) for layers in (2, 4)),
    *(SMALL._replace(cell=cell) for cell in ("rnn", "gru")),
    *(LARGE._replace(cell=cell) for cell in ("lstm", "gru")),
    SMALL._replace(cell="lstm", num_layers=4, num_steps=64),
)
IN_CHAINS = tuple(SMALL._replace(cell=cell, batch_size=rows) for cell in CELLS for rows in (32, 64, 128))
CHAINS = (1, 2, 4, 8)
SHOWN = 8  # kinds of operations, the largest; the rest are one
COLUMN = "cell, units; batch x steps, vocabulary"


def described(case: Case) -> str:
    return f"{case.name}; {case.batch_size} x {case.num_steps}, {case.vocab_size}"


def alone(way: str, case: Case, seconds: float) -> dict[str, Any]:
    """Returns what a way measures in a process of its own."""
    worker = Worker(way, "steps", case, "benchmarks.step_ways")
    try:
        return worker.work(seconds)
    finally:
        worker.close()


def operations_table(cases: Iterable[Case] = PROFILED, seconds: float = 1.0) -> dict[str, Any]:
    """Prints the table of operations, each case measured for `seconds` without and with the profiler; returns it."""
    print(f"| {COLUMN} | ms per step | ms in operations | GFLOP/s in products | operations |\n|---|---|---|---|---|")
    result = {}
    for case in cases:
        found = result[described(case)] = alone("profile", case, seconds)
        print(
            f"| {described(case)} | {found['step_ms']:.1f} | {sum(found['kinds_ms'].values()):.1f} | "
            f"{found['gflops']:.0f} | {shares(found['kinds_ms'])} |",
            flush=True,
        )
    return result


def shares(of_kinds: dict[str, float]) -> str:
    """Returns the shares of the largest kinds and of all others, given the milliseconds of each, the largest first."""
    shown, total = dict(list(of_kinds.items())[:SHOWN]), sum(of_kinds.values())
    if len(of_kinds) > SHOWN:
        shown["the rest"] = total - sum(shown.values())
    return ", ".join(f"{kind} {ms / total:.0%}" for kind, ms in shown.items())


def compilation_table(cases: Iterable[Case] = COMPILED) -> dict[str, Any]:
    """Prints the table of compilation, and returns it."""
    print(f"| {COLUMN} | nodes | CPU s to trace | CPU s to compile |\n|---|---|---|---|")
    result = {}
    for case in cases:
        found = result[described(case)] = alone("compile", case, 0.0)
        row = f"{found['nodes']:,} | {found['trace']:.1f} | {found['compile']:.1f}"
        print(f"| {described(case)} | {row} |", flush=True)
    return result


def chains_table(
    cases: Iterable[Case] = IN_CHAINS, numbers: tuple[int, ...] = CHAINS, rounds: int = 5, seconds: float = 1.0
) -> dict[str, Any]:
    """Prints the table of chains, each number of them for `seconds` in a round, and returns it."""
    names = [COLUMN, *(f"{number} chain{'s' * (number > 1)}, ms" for number in numbers), "fastest", "by the rule"]
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    result = {}
    for case in cases:
        starts = {str(n): functools.partial(Worker, "tfrnn", "train", case._replace(chains=n)) for n in numbers}
        found: Rounds = in_turn(starts, rounds, seconds)
        in_step = case.batch_size * case.num_steps
        ms = {way: statistics.median(1000 * in_step / speed for speed in values(found, way)) for way in found}
        rule = threads.num_chains(case.batch_size)
        result[described(case)] = {"rounds": found, "step_ms": ms, "rule": rule}
        cells = [f"{ms[way]:.1f}" if way in ms else "-" for way in starts]
        print(f"| {described(case)} | {' | '.join(cells)} | {min(ms, key=lambda way: ms[way])} | {rule} |", flush=True)
    return result


TABLES = {"operations": operations_table, "compilation": compilation_table, "chains": chains_table}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="table", help=f"{', '.join(TABLES)}; all if none is given")
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    options = parser.parse_args()
    if unknown := set(options.tables) - set(TABLES):
        parser.error(f"expected {', '.join(TABLES)}; got {', '.join(sorted(unknown))}")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # in the processes that it starts too
    host.import_tensorflow_quietly()
    result: dict[str, Any] = {"date": datetime.date.today().isoformat(), "machine": describe()}
    print(f"{result['date']}, {result['machine']}")
    for name in options.tables or TABLES:
        print(f"\n{name}\n")
        result[name] = TABLES[name]()
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
