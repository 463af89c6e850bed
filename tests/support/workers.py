"""Several workers on this machine, each a process, on addresses of the loopback interface."""

import json
import socket
import sys

from entry_points import command

SECONDS = 120  # that a worker may take


def free_ports(count):
    """So many ports that nobody has at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def configs(count, chief=False):
    """TF_CONFIG of each of so many workers, with a task of type chief or without."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    cluster = {"chief": addresses[:1], "worker": addresses[1:]} if chief else {"worker": addresses}
    tasks = [{"type": kind, "index": i} for kind, role in cluster.items() for i in range(len(role))]
    return [json.dumps({"cluster": cluster, "task": task}) for task in tasks]


def start(count, *arguments, config=None, chief=False):
    """Processes of `python -m tfrnn.train` as workers of one cluster."""
    flags = ["tfrnn.train", "--strategy=multi_worker", "--worker_timeout=60", *arguments]
    made = config or configs(count, chief)
    return [command(*flags, environment={"TF_CONFIG": c}) for c in made]


def results(workers):
    """Exit status, stdout and stderr of each, when all have ended."""
    return [(w.returncode, *texts) for w in workers for texts in [w.communicate(timeout=SECONDS)]]


def main():
    """As one of them, trains a model with every cell; the chief writes what has come of it into the file named."""
    from tfrnn.runtime import cluster, devices, host, threads

    host.import_tensorflow_quietly()
    cluster.from_tf_config().wait_for_all(SECONDS)
    threads.set_threads()
    strategy = devices.multi_worker()
    import numpy as np

    from tests.training.test_replicas import CELLS, trained, trainer_of  # which already computes

    found = {f"{cell}.{i}": x for cell in CELLS for i, x in enumerate(trained(trainer_of(strategy, cell)))}
    trainer = trainer_of(strategy)
    if trainer.replicas.is_chief:
        np.savez(sys.argv[1], **found)
    trainer.replicas.agree([0])  # all end together


if __name__ == "__main__":
    main()
