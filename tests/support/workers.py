"""Starts several workers of a cluster on this machine, each in a process, with addresses of the loopback interface."""

import json
import os
import socket
import sys

from entry_points import command

SECONDS = 300  # to wait for a worker at most, on a busy machine too


def free_ports(count):
    """Returns ports that are not in use now."""
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def loopback_addresses(count):
    return [f"127.0.0.1:{port}" for port in free_ports(count)]


def tf_configs(count, chief=False):
    """Returns TF_CONFIG for each worker; with `chief` the first is a task of type chief."""
    addresses = loopback_addresses(count)
    cluster = {"chief": addresses[:1], "worker": addresses[1:]} if chief else {"worker": addresses}
    tasks = [{"type": kind, "index": i} for kind, role in cluster.items() for i in range(len(role))]
    return [json.dumps({"cluster": cluster, "task": task}) for task in tasks]


def start_training(configs, *arguments):
    """Starts `python -m tfrnn.train` once for each TF_CONFIG."""
    flags = ["tfrnn.train", "--strategy=multi_worker", "--worker_timeout=60", *arguments]
    return [command(*flags, environment={"TF_CONFIG": config}) for config in configs]


def start_training_every_cell(configs, path):
    """Starts `main` of this module once for each TF_CONFIG; the chief writes the arrays to `path`."""
    search_path = os.pathsep.join(filter(None, sys.path))
    return [
        command("workers", str(path), environment={"TF_CONFIG": config, "PYTHONPATH": search_path})
        for config in configs
    ]


def results(processes):
    """Waits for the processes; returns the exit status, stdout and stderr of each."""
    try:
        texts = [process.communicate(timeout=SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *text) for process, text in zip(processes, texts, strict=True)]


def train_every_cell(strategy):
    """Trains a small model with each cell, on sequential and on random batches.

    Returns:
      By name: losses of each epoch, and all arrays of the trainer's snapshot.
    """
    import keras
    import numpy as np
    from all_cells import CELLS

    import tfrnn

    ids = np.random.default_rng(0).integers(1, 9, 400)
    validation = tfrnn.sequential_batches(ids[:150], 12, 3, random_offset=False)
    arrays = {}
    for cell, cell_class in CELLS.items():
        keras.utils.set_random_seed(0)
        with strategy.scope():
            model = tfrnn.LanguageModel(cell_class(7), 9)
            trainer = tfrnn.Trainer(model, keras.optimizers.Adam(0.01), 0.5, strategy)
        for make_batches in (tfrnn.sequential_batches, tfrnn.random_batches):
            history = trainer.fit(make_batches(ids, 12, 3, seed=3), 2, validation).history
            for measure in ("loss", "val_loss", "gradient_norm"):
                arrays[f"{cell} {make_batches.__name__} {measure}"] = np.array(history[measure])
        snapshot = trainer.snapshot().items()
        arrays |= {f"{cell} {name}": array for name, array in snapshot if not name.startswith("best")}
    return arrays


def main():
    """Trains every cell as one of several workers."""
    from tfrnn.runtime import cluster, devices, host, threads

    host.import_tensorflow_quietly()
    cluster.from_tf_config().wait_for_all(SECONDS)
    threads.set_threads()
    strategy = devices.multi_worker()
    import numpy as np

    from tfrnn.training.replicas import replicas_of
    from tfrnn.training.workers import workers_of

    arrays = train_every_cell(strategy)
    team = workers_of(replicas_of(strategy))
    if team.is_chief:
        np.savez(sys.argv[1], **arrays)
    team.wait_for_all()  # a worker that ends first would stop the others


if __name__ == "__main__":
    main()
