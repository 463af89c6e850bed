"""Compares tfrnn.GRU and LSTM with Keras's layers of these names: `python -m benchmarks.layers --help`.

The layers alone: a recurrent layer of 256 units on vectors of 28 values and a Dense layer, in Keras's `fit` with
several steps per execution; no state is carried. Keras's layers are batch-major; tfrnn's are measured in both layouts.
As in benchmarks/speed.py, each runs in a process of its own, in turn, and ratios are taken within a round.
"""

import argparse
import datetime
import json
import statistics
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.machine import describe
from benchmarks.speed import measure, ratio, values

CASES = (Case("gru"), Case("lstm"))
WAYS = ("time_major", "batch_major", "keras")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="rounds that are measured, after one to warm up")
    parser.add_argument("--seconds", type=float, default=1.5, help="seconds for each layer in a round")
    parser.add_argument("--only", default="", help="measure only cases whose name contains this")
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    options = parser.parse_args()
    result: dict = {"date": datetime.date.today().isoformat(), "machine": describe()}
    print(f"{result['date']}, {result['machine']}\n")
    print("| layer | Keras's tokens/sec | time-major, to Keras's | batch-major, to Keras's |\n|---|---|---|---|")
    for case in (case for case in CASES if options.only in case.name):
        found = result[case.name] = measure("layers", case, list(WAYS), options.rounds, options.seconds)
        ratios = " | ".join(ratio(found, way, "keras") for way in WAYS[:-1])
        print(f"| {case.name} | {statistics.median(values(found, 'keras')):,.0f} | {ratios} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
