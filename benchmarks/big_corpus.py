"""Texts larger than one would like to keep in memory: `python -m benchmarks.big_corpus`.

Makes texts of 100 MiB and 1 GiB of the package's story, its sentences in another order each time so that nothing is
periodic, and measures the passes, their memory, training's memory, and how fast batches are read beside how fast
training takes them. About four minutes, and 2.5 GB in --folder.
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

from benchmarks.speed import machine

SIZES = {"100 MiB": 100 * 2**20, "1 GiB": 2**30}


def sentences(seed: int) -> Iterator[bytes]:
    """The story's sentences, shuffled, without end."""
    from tfrnn.data.corpora.catalogue import load_corpus

    text = load_corpus("sample", "raw")
    parts = [part.encode() for part in re.findall(r"[^.!?]+[.!?]+\s*", text)]
    order = random.Random(seed)
    while True:
        order.shuffle(parts)
        yield b"".join(parts)


def make(path: Path, size: int) -> None:
    """A text file of so many bytes, unless it is there."""
    if path.exists() and path.stat().st_size == size:
        return
    with path.open("wb") as file:
        left = size
        for piece in sentences(0):
            file.write(piece[:left])
            left -= len(piece)
            if left <= 0:
                return


def passes(corpus: str, cache: str) -> dict[str, Any]:
    """The passes over a text, as `train` makes them, by a process of its own."""
    import tfrnn
    from tfrnn.data import run_text

    config = tfrnn.Config().replace(corpus=corpus, cache_dir=cache, max_tokens=0, validation_tokens=100_000)
    size = Path(corpus).stat().st_size
    found: dict[str, Any] = {}
    start = time.perf_counter()
    read = run_text.Corpus(corpus, "raw", "char", cache)
    found["survey"] = size / 1e6 / (time.perf_counter() - start)  # with the SHA-256 of the file
    start = time.perf_counter()
    vocabulary = read.vocabulary(read.survey.num_tokens, 0)
    read.ids(vocabulary, read.survey.num_tokens)
    found["encoding"] = size / 1e6 / (time.perf_counter() - start)
    found["peak_mb"] = peak_mb()
    start = time.perf_counter()
    run_text.read(config)
    found["again_seconds"] = time.perf_counter() - start
    return found


def training(corpus: str, cache: str) -> dict[str, Any]:
    """Memory after some seconds of training, and the speed of reading batches alone, by a process of its own."""
    import tfrnn
    from tfrnn import train
    from tfrnn.data import run_text
    from tfrnn.runtime import devices, host, threads

    config = tfrnn.Config().replace(corpus=corpus, cache_dir=cache, max_tokens=0, validation_tokens=100_000)
    config, read = run_text.read(config)
    host.import_tensorflow_quietly()
    threads.set_threads()
    import keras
    import tensorflow as tf

    found: dict[str, Any] = {}
    for sampling in ("sequential", "random"):
        batches, _ = train.make_batches(config.replace(sampling=sampling), read)
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
        found[f"{sampling}_read"] = tokens / (time.perf_counter() - start)

        class Stop(keras.callbacks.Callback):
            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                self.speed = logs["tokens_per_sec"]
                self.model.stop_training = time.perf_counter() > self.end

        stop = Stop()
        stop.end = time.perf_counter() + 15
        strategy = devices.one_device()
        with strategy.scope():
            model = tfrnn.LanguageModel(tfrnn.RNN(keras.layers.SimpleRNNCell(256)), len(read.vocabulary))
            tfrnn.Trainer(model, keras.optimizers.SGD(1.0), 1.0, strategy).fit(batches, 1, callbacks=[stop])
        found[f"{sampling}_train"] = stop.speed
    found["peak_mb"] = peak_mb()
    return found


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def alone(part: str, corpus: Path, cache: Path) -> dict[str, Any]:
    """A part in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, "-m", "benchmarks.big_corpus", f"--part={part}", f"--corpus={corpus}"]
    done = subprocess.run([*command, f"--folder={cache}"], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, default=Path("big_corpus"), help="for the texts and what is made of them"
    )
    parser.add_argument("--json", type=Path, help="a file for all that was measured")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--corpus", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        part = {"passes": passes, "training": training}[options.part]
        print(json.dumps(part(options.corpus, str(options.folder))))
        return
    options.folder.mkdir(exist_ok=True)
    print(machine())
    print(
        "\n| text | survey MB/s | encoding MB/s | peak MB | again s | batches read, tokens/sec, sequential | random | "
        "to training's, sequential | random | peak MB training |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    result: dict[str, Any] = {"machine": machine()}
    for name, size in SIZES.items():
        corpus = options.folder / f"{size}.txt"
        make(corpus, size)
        p, t = (alone(part, corpus, options.folder / "cache") for part in ("passes", "training"))
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
