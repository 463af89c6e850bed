"""Threads of TensorFlow, and chains: the slices of a batch that are computed side by side on them."""

import warnings
from typing import Any

from tfrnn.errors import UserError
from tfrnn.runtime.devices import devices_of
from tfrnn.runtime.execution import jit_by_default
from tfrnn.runtime.host import import_tensorflow_quietly, num_cores

MIN_ROWS_PER_CHAIN = 8  # of a chain's slice of a batch
MAX_CHAINS = 8  # each is traced, and makes the graph larger


def set_threads(cpu_devices: int = 1) -> None:
    """One thread for an operation, and as many operations side by side as there are cores.

    The products of a small recurrent layer are too small to be divided between threads; the chains that a batch is cut
    into run side by side (`Trainer`'s chains). The commands call this; in a notebook it is to be called before anything
    else of TensorFlow. Nothing is changed once TensorFlow has started its threads, with the first tensor.

    >>> tfrnn.set_threads()

    Args:
      cpu_devices: so many logical devices are made of the CPU, each with these threads, to try strategies on.
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


_remarked = False


def warn_of_default_threads(strategy: Any = None) -> None:
    """Warns once where training on a CPU has TensorFlow's own threads, nobody having set any."""
    global _remarked
    import tensorflow as tf

    threading = tf.config.threading
    own = not (threading.get_intra_op_parallelism_threads() or threading.get_inter_op_parallelism_threads())
    if own and num_cores() > 1 and not jit_by_default(strategy) and not _remarked:
        _remarked = True
        warnings.warn(
            "TensorFlow started with its own threads, with which small layers train at three quarters to nine "
            "tenths of the speed; to avoid it, restart and call tfrnn.set_threads() before anything else of TensorFlow",
            stacklevel=3,
        )


def num_chains(rows: int, strategy: Any = None) -> int:
    """Into how many equal slices, computed side by side, a step should cut a replica's rows of a batch: on a GPU one.

    On a CPU one for each core of the replica's, as far as that divides the rows into slices of MIN_ROWS_PER_CHAIN at least.
    Two chains on two cores gave 1.2 to 1.4 times the speed of one for each cell at 256 units and the RNN at 512; four
    gave no more than two beyond the noise, and take longer to trace.
    """
    if jit_by_default(strategy):
        return 1
    cores = num_cores() // max(1, len(devices_of(strategy)))
    most = min(cores, rows // MIN_ROWS_PER_CHAIN, MAX_CHAINS)
    return max([chains for chains in range(1, most + 1) if rows % chains == 0], default=1)


def check_chains(chains: int, batch_size: int, replicas: int = 1) -> None:
    """Raises UserError where a batch cannot be cut into so many equal slices for each replica; 0 is num_chains' own
    choice."""
    if chains and batch_size % (replicas * chains):
        each = f" for each of {replicas} replicas" if replicas > 1 else ""
        raise UserError(
            f"--batch_size={batch_size} cannot be cut into --chains={chains} equal slices{each}; give a divisor"
        )
