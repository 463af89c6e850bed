"""Compares one device with several replicas on this machine, and measures what they send.

    python -m benchmarks.replicas

Each configuration ("way") runs in one process, or in one process per worker, connected by the loopback interface. The
model, the seed and the global batches are the same, so the losses must agree. The program also times the sum over all
workers without training, for vectors of several sizes. docs/cluster.md uses these times: a sum over R workers in a ring
takes 2 (R - 1) messages one after the other, and each worker sends 2 (R - 1) / R times its bytes.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from benchmarks.machine import describe

BATCH_SIZE = 48  # divisible by 2, 3 and 4
CASES = (Case("rnn", batch_size=BATCH_SIZE), Case("gru", 512, 2, batch_size=BATCH_SIZE))
WAYS = ("one_device", "mirrored 2", "mirrored 4", "workers 2", "workers 3", "workers 4")
# One core per worker, as if a core were a machine: one worker with half of the rows, and two workers.
PINNED = ("one_device half", "workers 2 pinned")
TOKENS = 100_000  # of The Time Machine; an epoch of them takes long compared with the agreement that precedes it
MESSAGES = (10**3, 10**5, 10**6, 10**7)  # numbers of float32 values whose sum is timed


def work(way: str, case: Case, seconds: float) -> dict[str, Any]:
    """Trains in one process of a configuration; returns the measurements in the chief, and {} in the other workers."""
    from tfrnn.runtime import cluster, devices, execution, host, threads

    kind, *count = way.split()
    number = 0
    if kind == "workers":
        workers = cluster.from_tf_config()
        number = workers.rank
        workers.wait_for_all(120)
    if way in PINNED:
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[number]})
        case = case._replace(batch_size=case.batch_size // (2 if kind == "one_device" else 1))
    host.import_tensorflow_quietly()
    threads.set_threads(int(count[0]) if kind == "mirrored" else 1)
    import keras

    import tfrnn

    make = {"one_device": devices.one_device, "mirrored": devices.mirrored, "workers": devices.multi_worker}[kind]
    strategy = make()
    text = tfrnn.load_corpus("time_machine")
    vocabulary = tfrnn.Vocabulary.from_text(text)
    execution.set_seed(0)
    with strategy.scope():
        cell = {"rnn": keras.layers.SimpleRNNCell, "gru": keras.layers.GRUCell, "lstm": keras.layers.LSTMCell}[
            case.cell
        ]
        model = tfrnn.LanguageModel([cell(case.units) for _ in range(case.num_layers)], len(vocabulary))
        # At the book's rate of 1, rounding alone changes the loss of an RNN's epoch by some hundredths.
        trainer = tfrnn.Trainer(model, keras.optimizers.SGD(0.1), 1.0, strategy)
    batches = tfrnn.sequential_batches(vocabulary.encode(text[:TOKENS]), case.batch_size, case.num_steps)
    loss = trainer.fit(batches, 1).history["loss"][-1]
    speeds: list[float] = []
    end = time.perf_counter() + seconds
    while trainer.workers.sum([int(time.perf_counter() < end)])[0]:
        speeds += [s for s in trainer.fit(batches, 1).history["tokens_per_sec"] if s]
    speed = sorted(speeds)[len(speeds) // 2]
    parameters = sum(weight.size for weight in model.get_weights())
    found = {
        "loss": loss,
        "tokens_per_sec": speed,
        "step_ms": 1000 * case.batch_size * case.num_steps / speed,
        "bytes_a_step": 4 * (parameters + 1) if trainer.replicas.count > 1 else 0,
        "replicas": trainer.replicas.count,
    }
    if trainer.workers.count > 1:
        found["sum_ms"] = {size: sum_ms(trainer.replicas, size) for size in (parameters, *MESSAGES)}
        found["parameters"] = parameters
    trainer.workers.wait_for_all()
    return found if trainer.workers.is_chief else {}


def sum_ms(replicas: Any, size: int) -> float:
    """Returns the mean milliseconds of a sum of `size` float32 values over all replicas, with many sums in one call."""
    import tensorflow as tf

    def mean_over_replicas(values: tf.Tensor) -> tf.Tensor:
        # The quotient lies on the replica's device, by which TensorFlow knows to which replica it belongs.
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values / replicas.count)

    @tf.function(autograph=False)
    def sums(count: tf.Tensor) -> tf.Tensor:
        def body(i: tf.Tensor, values: Any) -> tuple:
            return i + 1, replicas.run(mean_over_replicas, values)

        start = replicas.run(lambda: tf.ones([size]))
        return replicas.local_value(tf.while_loop(lambda i, _: i < count, body, (0, start))[1])

    count = max(5, min(300, 3 * 10**7 // size))
    sums(tf.constant(3))
    start = time.perf_counter()
    sums(tf.constant(count)).numpy()
    return 1000 * (time.perf_counter() - start) / count


def measure(way: str, case: Case, seconds: float) -> dict[str, Any]:
    """Runs the processes of a configuration, and returns what its chief measures."""
    kind, *count = way.split()
    number = int(count[0]) if kind == "workers" else 1
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    command = [sys.executable, "-m", "benchmarks.replicas", f"--way={way}", f"--case={json.dumps(case)}"]
    processes = []
    for index in range(number):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = os.environ | ({"TF_CONFIG": json.dumps(task)} if kind == "workers" else {})
        processes.append(subprocess.Popen([*command, f"--seconds={seconds}"], stdout=subprocess.PIPE, env=environment))
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    return json.loads(outputs[0].splitlines()[-1])


def print_plan(alone: dict[str, Any], pair: dict[str, Any], rows: int) -> None:
    """Prints the model's predictions for more workers, from the measurements of one pinned worker and of two.

    Args:
      alone: measurements of one worker on one core.
      pair: measurements of two workers with one core each.
      rows: rows per worker.
    """
    size = pair["bytes_a_step"]
    latency = pair["sum_ms"][str(MESSAGES[0])] / 2  # ms per message; a sum over two workers takes two messages
    rate = size / (pair["sum_ms"][str(pair["parameters"])] - 2 * latency)  # bytes per ms

    def summing(workers: int) -> float:
        return 2 * (workers - 1) * latency + 2 * (workers - 1) / workers * size / rate

    print(
        f"\nmodel: {alone['step_ms']:.1f} ms of computing, {latency:.2f} ms per message, {rate / 1e6:.2f} GB/s; ",
        end="",
    )
    print(
        f"for two workers it predicts {alone['step_ms'] + summing(2):.1f} ms per step, measured {pair['step_ms']:.1f}\n"
    )
    print("| workers | rows per batch | ms per step | of which the sum, ms | speed relative to one | efficiency |")
    print("|---|---|---|---|---|---|")
    for workers in (2, 4, 8, 16, 32, 64, 128, 256):
        step = alone["step_ms"] + summing(workers)
        gain = workers * alone["step_ms"] / step
        print(
            f"| {workers} | {workers * rows:,} | {step:.0f} | {summing(workers):.0f} | {gain:.1f} | "
            f"{100 * gain / workers:.0f}% |"
        )
    print(f"limit for any number of workers: {alone['step_ms'] / (2 * latency):.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds of training in each configuration")
    parser.add_argument(
        "--only", default="", help="measure only configurations whose name contains this, and one_device"
    )
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(work(options.way, Case(*json.loads(options.case)), options.seconds)))
        return
    print(describe())
    result: dict[str, dict[str, Any]] = {}
    for case in CASES:
        print(f"\n{case.name}, batches of {case.batch_size} rows of {case.num_steps} steps\n")
        print("| configuration | loss of epoch 1 | tokens/sec | to one | ms/step | bytes summed per step | sum alone |")
        print("|---|---|---|---|---|---|---|")
        found = result[case.name] = {}
        for way in WAYS + PINNED:
            if options.only not in way and not way.startswith("one_device"):
                continue
            one = found[way] = measure(way, case, options.seconds)
            ratio = (
                one["tokens_per_sec"] / found["one_device half" if way in PINNED else "one_device"]["tokens_per_sec"]
            )
            alone = f"{one['sum_ms'][str(one['parameters'])]:.2f} ms" if "sum_ms" in one else ""
            print(
                f"| {way} | {one['loss']:.6f} | {one['tokens_per_sec']:,.0f} | {ratio:.2f} | {one['step_ms']:.1f} | "
                f"{one['bytes_a_step']:,} | {alone} |",
                flush=True,
            )
        if "workers 2 pinned" in found:
            print_plan(found["one_device half"], found["workers 2 pinned"], case.batch_size // 2)
    if options.json:
        options.json.write_text(json.dumps({"machine": describe(), **result}, indent=1))


if __name__ == "__main__":
    main()
