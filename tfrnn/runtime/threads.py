"""TensorFlow's threads, and chains: slices of a batch that are computed in parallel, each on a thread."""

import warnings
from typing import Any

from tfrnn.errors import UserError
from tfrnn.runtime.devices import devices_of
from tfrnn.runtime.execution import jit_by_default
from tfrnn.runtime.host import import_tensorflow_quietly, num_cores

MIN_ROWS_PER_CHAIN = 8
MAX_CHAINS = 8  # each is traced, and makes the graph larger


def set_threads(cpu_devices: int = 1) -> None:
    """Lets TensorFlow run each operation on one thread, and as many operations in parallel as there are cores.

    The matrix products of a small recurrent layer are too small to be divided between threads. Instead a batch is cut
    into chains, which run in parallel (see `Trainer`). The commands call this function; in a notebook call it before
    using TensorFlow. It has no effect once TensorFlow has started its threads, with the first tensor.

    >>> tfrnn.set_threads()

    Args:
      cpu_devices: the number of logical devices to divide the CPU into, for trying distribution strategies.
    """
    import_tensorflow_quietly()
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(num_cores())
        if cpu_devices > 1:
            (cpu,) = tf.config.list_physical_devices("CPU")
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * cpu_devices)
    except RuntimeError:
        pass


_warned = False


def warn_of_default_threads(strategy: Any = None) -> None:
    """Warns, once per process, if training on a CPU uses TensorFlow's default threads, which are slower."""
    global _warned
    import tensorflow as tf

    threading = tf.config.threading
    chosen = threading.get_intra_op_parallelism_threads() or threading.get_inter_op_parallelism_threads()
    if not chosen and num_cores() > 1 and not jit_by_default(strategy) and not _warned:
        _warned = True
        warnings.warn(
            "TensorFlow started with its default threads, with which small layers train at 75 to 90 percent of the "
            "speed; to avoid it, restart and call tfrnn.set_threads() before anything else of TensorFlow",
            stacklevel=3,
        )


def num_chains(rows: int, strategy: Any = None) -> int:
    """Returns the number of equal slices to cut a replica's rows of a batch into, for computing them in parallel.

    On a GPU it is 1. On a CPU it is the largest divisor of the number of rows that is at most the replica's number of
    cores and leaves at least MIN_ROWS_PER_CHAIN rows in each slice. On two cores two chains were 1.2 to 1.4 times as
    fast as one, for each cell with 256 units and the RNN with 512; four were no faster than two, and take longer to
    trace.

    Args:
      rows: the number of rows of a batch that the replica computes.
      strategy: the strategy that the replica belongs to; by default a single replica.
    """
    if jit_by_default(strategy):
        return 1
    cores = num_cores() // max(1, len(devices_of(strategy)))
    limit = min(cores, rows // MIN_ROWS_PER_CHAIN, MAX_CHAINS)
    return max([chains for chains in range(1, limit + 1) if rows % chains == 0], default=1)


def check_chains(chains: int, batch_size: int, replicas: int = 1) -> None:
    """Raises UserError if a batch cannot be cut into `chains` equal slices for each replica.

    0, which stands for the choice of `num_chains`, is always valid.
    """
    if chains and batch_size % (replicas * chains):
        each = f" for each of {replicas} replicas" if replicas > 1 else ""
        raise UserError(
            f"`batch_size={batch_size}` cannot be cut into `chains={chains}` equal slices{each}; give a divisor"
        )
