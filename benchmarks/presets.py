"""Trains every preset of the book to its end, one run after the other, and prints a table.

The presets for the lyrics read jay_lyrics, the others time_machine. With several seeds or numbers of chains, which
change the order in which sums are rounded, each preset is trained with each pair of them, and numbers are medians
[smallest to largest] over these runs.

The column "seconds" is the time of the whole process; "perplexity" is the median of the last ten epochs; "at the end"
is that of the last epoch, which the run prints; "within" says how many runs end with at most what the book reports for
TensorFlow and 0.1 more, since it reports one decimal; "sample" is the last line of the first run. Samples of the lyrics
are cut short, because the lyrics are under copyright and the model has memorised them.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfrnn.config.presets import OWN_TEXT, PRESETS

NAMES = [name for name in PRESETS if name != OWN_TEXT]
# What the book reports for TensorFlow, rounded to one decimal; of the other presets it reports nothing.
PUBLISHED = {
    "rnn_scratch": 1.0,
    "rnn_concise": 1.3,
    "gru_scratch": 1.1,
    "gru_concise": 1.0,
    "lstm_scratch": 1.1,
    "lstm_concise": 1.0,
    "deep_lstm": 1.0,
}
MARGIN = 0.1
LAST = 10  # epochs of which the median is taken
COLUMNS = ("preset", "epochs", "seconds", "tokens/sec", "perplexity", "at the end", "within", "sample")


def measure(preset: str, run_dir: Path, *flags: str) -> dict[str, Any]:
    """Trains one preset with further flags, and returns what its row has of this run."""
    corpus = PRESETS[preset].get("corpus", "time_machine")
    command = [sys.executable, "-m", "tfrnn.train", f"--preset={preset}", f"--corpus={corpus}", f"--run_dir={run_dir}"]
    start = time.perf_counter()
    done = subprocess.run([*command, *flags], check=True, stdout=subprocess.PIPE, encoding="utf-8")
    lines, seconds = done.stdout.splitlines(), time.perf_counter() - start
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return {
        "epochs": len(rows),
        "seconds": seconds,
        "tokens_per_sec": float(lines[0].split()[2]),
        "perplexity": statistics.median(row["perplexity"] for row in rows[-LAST:]),
        "at_the_end": rows[-1]["perplexity"],
        "sample": lines[-1][:12] + " ..." if corpus == "jay_lyrics" else lines[-1],
    }


def row(preset: str, runs: Sequence[dict[str, Any]]) -> str:
    """Returns the row of a preset, given what was measured of its runs."""

    def over_runs(name: str, form: str) -> str:
        values = [run[name] for run in runs]
        spread = f" [{min(values):{form}} to {max(values):{form}}]" if len(runs) > 1 else ""
        return f"{statistics.median(values):{form}}{spread}"

    within = "-"
    if preset in PUBLISHED:
        bound = PUBLISHED[preset] + MARGIN
        within = f"{sum(run['at_the_end'] <= bound for run in runs)} of {len(runs)} ({bound:.1f})"
    cells = [
        preset,
        str(runs[0]["epochs"]),
        over_runs("seconds", ".0f"),
        over_runs("tokens_per_sec", ",.0f"),
        over_runs("perplexity", ".2f"),
        over_runs("at_the_end", ".2f"),
        within,
        f"`{runs[0]['sample']}`",
    ]
    return f"| {' | '.join(cells)} |"


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", help=f"those to train; by default {', '.join(NAMES)}")
    parser.add_argument("--seeds", type=_numbers, default=[0], help="of the runs of each preset, a list with commas")
    parser.add_argument("--chains", type=_numbers, default=[0], help="likewise; 0: as the command chooses")
    parser.add_argument("--epochs", type=int, help="of each run, to try it; by default those of the preset")
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    options = parser.parse_args()
    if unknown := [name for name in options.presets if name not in NAMES]:
        parser.error(f"expected presets of {', '.join(NAMES)}; got {unknown[0]}")
    further = [f"--epochs={options.epochs}"] if options.epochs else []
    measured = {}
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for preset in options.presets or NAMES:
        runs = measured[preset] = []
        for seed, chains in itertools.product(options.seeds, options.chains):
            with tempfile.TemporaryDirectory() as folder:
                flags = [f"--seed={seed}", f"--chains={chains}", *further]
                runs.append({"seed": seed, "chains": chains, **measure(preset, Path(folder) / preset, *flags)})
        print(row(preset, runs), flush=True)
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
