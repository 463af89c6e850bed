"""Measures reading and training on large texts: `python -m benchmarks.big_corpus`.

The texts have 100 MiB and 1 GiB. They are made of the sentences of the package's story, shuffled in each repetition so
that nothing is periodic. Measured are the speed and memory of the passes over a text, the memory of training, and the
speed of reading batches compared with the speed of training. Takes about four minutes, and 2.5 GB in --folder.
"""

import argparse
import json
import random
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import describe

SIZES = {"100 MiB": 100 * 2**20, "1 GiB": 2**30}


def sentences(seed: int) -> Iterator[bytes]:
    """Yields the story with its sentences shuffled, in another order each time, without end."""
    from tfrnn.data.corpora.catalogue import load_corpus

    text = load_corpus("sample", "raw")
    parts = [part.encode() for part in re.findall(r"[^.!?]+[.!?]+\s*", text)]
    order = random.Random(seed)
    while True:
        order.shuffle(parts)
        yield b"".join(parts)


def make_text(path: Path, size: int) -> None:
    """Writes a text file of `size` bytes, unless it exists."""
    if path.exists() and path.stat().st_size == size:
        return
    with path.open("wb") as file:
        remaining = size
        for piece in sentences(0):
            file.write(piece[:remaining])
            remaining -= len(piece)
            if remaining <= 0:
                return


def measure_passes(corpus: str, cache: str) -> dict[str, Any]:
    """Measures the passes over a text that `train` makes."""
    import tfrnn
    from tfrnn.data import run_text

    config = tfrnn.Config().replace(corpus=corpus, cache_dir=cache, max_tokens=0, validation_tokens=100_000)
    size = Path(corpus).stat().st_size
    measured: dict[str, Any] = {}
    start = time.perf_counter()
    surveyed = run_text.SurveyedCorpus(corpus, "raw", "char", cache)
    measured["survey"] = size / 1e6 / (time.perf_counter() - start)  # including the SHA-256 of the file
    start = time.perf_counter()
    vocabulary = surveyed.vocabulary(surveyed.survey.num_tokens, 0)
    surveyed.ids(vocabulary, 0, surveyed.survey.num_tokens)
    measured["encoding"] = size / 1e6 / (time.perf_counter() - start)
    measured["peak_mb"] = peak_mb()
    start = time.perf_counter()
    run_text.read(config)
    measured["again_seconds"] = time.perf_counter() - start
    return measured


def measure_training(corpus: str, cache: str) -> dict[str, Any]:
    """Measures the speed of reading batches, and the speed and memory of 15 seconds of training."""
    import tfrnn
    from tfrnn import train
    from tfrnn.data import run_text
    from tfrnn.runtime import devices, host, threads

    config = tfrnn.Config().replace(corpus=corpus, cache_dir=cache, max_tokens=0, validation_tokens=100_000)
    text = run_text.read(config)
    host.import_tensorflow_quietly()
    threads.set_threads()
    import keras
    import tensorflow as tf

    measured: dict[str, Any] = {}
    for sampling in ("sequential", "random"):
        batches, _ = train.make_batches(config.replace(sampling=sampling), text)
        iterator = iter(batches.from_position(0, 0))

        @tf.function(autograph=False)
        def read_many(iterator: Any, count: tf.Tensor) -> tf.Tensor:
            def body(i: tf.Tensor, total: tf.Tensor) -> tuple:
                return i + 1, total + next(iterator).targets[0, 0]

            return tf.while_loop(lambda i, _: i < count, body, (0, 0))[1]

        read_many(iterator, tf.constant(10))
        start, count = time.perf_counter(), 20_000
        read_many(iterator, tf.constant(count)).numpy()
        tokens = count * batches.batch_size * batches.num_steps
        measured[f"{sampling}_read"] = tokens / (time.perf_counter() - start)

        class StopAtEnd(keras.callbacks.Callback):
            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                self.speed = logs["tokens_per_sec"]
                self.model.stop_training = time.perf_counter() > self.end

        stop = StopAtEnd()
        stop.end = time.perf_counter() + 15
        strategy = devices.one_device()
        with strategy.scope():
            model = tfrnn.LanguageModel(keras.layers.SimpleRNNCell(256), len(text.vocabulary))
            tfrnn.Trainer(model, keras.optimizers.SGD(1.0), 1.0, strategy).fit(batches, 1, callbacks=[stop])
        measured[f"{sampling}_train"] = stop.speed
    measured["peak_mb"] = peak_mb()
    return measured


def peak_mb() -> float:
    """Returns the peak memory of this process in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def run_in_process(part: str, corpus: Path, cache: Path) -> dict[str, Any]:
    """Runs a part in a new process, so that its peak memory does not include another part's."""
    command = [sys.executable, "-m", "benchmarks.big_corpus", f"--part={part}", f"--corpus={corpus}"]
    done = subprocess.run([*command, f"--folder={cache}"], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, default=Path("big_corpus"), help="where the texts and the cache are written"
    )
    parser.add_argument("--json", type=Path, help="the file to write all measurements to")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--corpus", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        measure = {"passes": measure_passes, "training": measure_training}[options.part]
        print(json.dumps(measure(options.corpus, str(options.folder))))
        return
    options.folder.mkdir(exist_ok=True)
    print(describe())
    print(
        "\n| text | survey MB/s | encoding MB/s | peak MB | again s | batches read, tokens/sec, sequential | random | "
        "to training's, sequential | random | peak MB training |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    result: dict[str, Any] = {"machine": describe()}
    for name, size in SIZES.items():
        corpus = options.folder / f"{size}.txt"
        make_text(corpus, size)
        p, t = (run_in_process(part, corpus, options.folder / "cache") for part in ("passes", "training"))
        result[name] = {"passes": p, "training": t}
        print(
            f"| {name} | {p['survey']:.0f} | {p['encoding']:.0f} | {p['peak_mb']:.0f} | {p['again_seconds']:.1f} | "
            f"{t['sequential_read']:,.0f} | {t['random_read']:,.0f} | "
            f"{t['sequential_read'] / t['sequential_train']:.1f} | {t['random_read'] / t['random_train']:.1f} | "
            f"{t['peak_mb']:.0f} |",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
