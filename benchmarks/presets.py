"""Trains every preset to its end, one after the other, and prints a table of them.

    python -m benchmarks.presets [preset ...]

The presets of the lyrics read jay_lyrics, the others time_machine. seconds is the whole process, from start to end;
perplexity is the median of the last ten epochs; the sample is what the run prints last, of the lyrics its beginning
only: the model knows them by heart, and they are under copyright.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tfrnn.config.presets import PRESETS


def measure(preset: str, run_dir: Path) -> str:
    """The preset's row."""
    corpus = PRESETS[preset].get("corpus", "time_machine")
    command = [sys.executable, "-m", "tfrnn.train", f"--preset={preset}", f"--corpus={corpus}", f"--run_dir={run_dir}"]
    start = time.perf_counter()
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout.splitlines()
    seconds = time.perf_counter() - start
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    perplexity = statistics.median(row["perplexity"] for row in rows[-10:])
    speed = float(lines[0].split()[2])
    sample = lines[-1][:12] + " ..." if corpus == "jay_lyrics" else lines[-1]
    return f"| {preset} | {len(rows)} | {seconds:.0f} | {speed:,.0f} | {perplexity:.2f} | `{sample}` |"


def main() -> None:
    print("| preset | epochs | seconds | tokens/sec | perplexity | sample |\n|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for preset in sys.argv[1:] or PRESETS:
            print(measure(preset, Path(folder) / preset), flush=True)


if __name__ == "__main__":
    main()
