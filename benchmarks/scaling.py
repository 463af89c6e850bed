"""Measures the cost of training as a function of each size: `python -m benchmarks.scaling`.

Each point is measured in a new process, so that its peak memory and the time to the end of its first epoch do not
depend on other points. The exponent describes the growth of the time of a training step from the previous point: it is
1 if twice the size takes twice the time.
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
TENSORFLOW_MB = 690  # TensorFlow, Keras, and the traced step of a small network


def predicted_mb(case: Case, vocab_size: int) -> float:
    """Returns the predicted peak memory of training an LSTM, in megabytes (10^6 bytes).

    The float32 values per token are: in every layer the four gates, the memory cell, its tanh, and the output twice
    (8 H); in the layer that is being computed also the projected inputs, their gradients separately and joined, and the
    gradients of the outputs (13 H). A sequence longer than LONGEST_UNROLLED stores these for one block only, and for
    all steps the outputs and their gradients, separately and joined (8 H per layer). Logits are stored three times, and
    weights eight times: the weights, their parts, the transposed parts, the gradients of two chains, their sum, the
    clipped sum, and the best weights for the checkpoint.
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
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds of training at each point")
    parser.add_argument("--only", default="", help="measure only sizes whose name contains this")
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    options = parser.parse_args()
    result = {}
    print("| size | | tokens/sec | ms per step | exponent | s to the end of the first epoch | peak MB | predicted MB |")
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
