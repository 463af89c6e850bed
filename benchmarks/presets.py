"""Trains every preset of the book to its end, one after the other, and prints a table.

    python -m benchmarks.presets [preset ...]

The presets for the lyrics read jay_lyrics, the others time_machine. The column "seconds" is the time of the whole
process; "perplexity" is the median of the last ten epochs; "sample" is the last line that the run prints. Samples of
the lyrics are cut short, because the lyrics are under copyright and the model has memorised them.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tfrnn.config.presets import OWN_TEXT, PRESETS


def measure(preset: str, run_dir: Path) -> str:
    """Trains one preset and returns its row of the table."""
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
        for preset in sys.argv[1:] or [name for name in PRESETS if name != OWN_TEXT]:
            print(measure(preset, Path(folder) / preset), flush=True)


if __name__ == "__main__":
    main()
