"""What training costs against each size, by the exponent of its growth: `python -m benchmarks.scaling`.

Each point is a process of its own, so that its peak memory and the time to its first epoch's end are its own. The
exponent is that of the seconds of a training step, between a point and the one before it: 1 where twice the size takes
twice as long.
"""

import argparse
import json
import math
from pathlib import Path

from benchmarks.cases import Case, tokens
from benchmarks.speed import Worker
from tfrnn.layers.time_blocks import BLOCK, LONGEST_UNROLLED

BASE = Case("lstm")
AXES = {
    "num_steps": (35, 64, 128, 256, 1000),
    "units": (64, 128, 256, 512, 1024),
    "num_layers": (1, 2, 4),
    "vocab_size": (28, 100, 1000, 4000),
    "batch_size": (16, 32, 64, 128, 256),
    "chains": (1, 2, 4),
}
LARGE = Case("lstm", 1024, 3, batch_size=256)
TENSORFLOW_MB = 690  # TensorFlow and Keras, and a traced step of a small network


def predicted_mb(case: Case, vocab_size: int) -> float:
    """Megabytes (10^6 bytes) at the peak of training an LSTM.

    In float32 values, for each token: of every layer four gates, the cell, its tanh, and the output twice (8 H); of the
    layer that is worked on the projected inputs, their gradients one by one and together, and the outputs' (13 H). Of a
    long sequence that is there for one block, and for all steps the outputs and their gradients, in arrays and together
    (8 H a layer). Logits are there three times; weights eight times (themselves, their parts, those transposed,
    gradients of two chains, their sum, scaled, and the best weights for the checkpoint).
    """
    rows, units, steps, layers = case.batch_size, case.units, case.num_steps, case.num_layers
    of_layers = (8 * layers + 13) * steps if steps <= LONGEST_UNROLLED else 21 * BLOCK + 8 * layers * steps
    weights = 4 * units * (vocab_size + (2 * layers - 1) * units) + units * vocab_size
    return TENSORFLOW_MB + 4e-6 * (rows * units * of_layers + 3 * rows * steps * vocab_size + 8 * weights)


def measure(case: Case, seconds: float) -> dict[str, float]:
    worker = Worker("tfrnn", "train", case)
    done = worker.work(seconds)
    worker.close()
    speed = done["tokens_per_sec"]
    return {
        "tokens_per_sec": speed,
        "step_ms": 1000 * case.batch_size * case.num_steps / speed,
        "first_epoch": worker.ready["ready"],
        "peak_mb": done["peak_mb"],
        "predicted_mb": predicted_mb(case, tokens(case)[1]),
    }


def row(axis: str, size: int, found: dict[str, float], exponent: float | None) -> str:
    return (
        f"| {axis} | {size:,} | {found['tokens_per_sec']:,.0f} | {found['step_ms']:.1f} | "
        f"{'' if exponent is None else f'{exponent:.2f}'} | {found['first_epoch']:.1f} | {found['peak_mb']:,.0f} | "
        f"{found['predicted_mb']:,.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="of training at each point")
    parser.add_argument("--only", default="", help="of the sizes, the one whose name contains this")
    parser.add_argument("--json", type=Path, help="a file for all that was measured")
    options = parser.parse_args()
    result = {}
    print("| size | | tokens/sec | ms a step | exponent | s to the first epoch's end | peak MB | predicted MB |")
    print("|---|---|---|---|---|---|---|---|")
    for axis, sizes in AXES.items():
        if options.only not in axis:
            continue
        before: tuple[int, float] | None = None
        for size in sizes:
            found = measure(BASE._replace(**{axis: size}), options.seconds)
            step_ms = found["step_ms"]
            exponent = math.log(step_ms / before[1]) / math.log(size / before[0]) if before else None
            before = size, step_ms
            result[f"{axis} {size}"] = {**found, "exponent": exponent}
            print(row(axis, size, found, exponent), flush=True)
    if not options.only:
        found = result["large"] = measure(LARGE, options.seconds)
        print(row("1,024 units, 3 layers, batch", LARGE.batch_size, found, None))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
