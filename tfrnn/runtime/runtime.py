"""Device, strategy, threads, chains, seeds and log noise: what is set once, before a model is made."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfrnn.errors import UserError

FEWEST_ROWS = 8  # of a chain's slice of a batch
MOST_CHAINS = 8  # each is traced, and makes the graph larger


@contextlib.contextmanager
def without_native_stderr() -> Iterator[None]:
    """Nothing that C++ code writes to file descriptor 2 is seen; Python's exceptions are."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow without what it writes about CUDA and CPU instructions.

    Part of that is written before its own log level is read, so the level alone does not help. A user who sets
    TF_CPP_MIN_LOG_LEVEL sees it all.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    waiting = "loading TensorFlow ..." if "tensorflow" not in sys.modules and sys.stderr.isatty() else ""
    print(end=waiting, file=sys.stderr, flush=True)
    try:
        with without_native_stderr():
            import keras  # noqa: F401
            import tensorflow as tf

            tf.config.list_physical_devices()
    finally:
        print(end=f"\r{' ' * len(waiting)}\r" if waiting else "", file=sys.stderr, flush=True)
        del os.environ["TF_CPP_MIN_LOG_LEVEL"]  # a process that this one starts decides for itself


def num_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int | None:
    """What this process may use: the machine's memory, or what a container has of it; None where that is unknown."""
    found = []
    with contextlib.suppress(ValueError, OSError, AttributeError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(ValueError, OSError):
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))  # or "max"
    return min(found, default=None)


def terminal_columns() -> int:
    """The width of the terminal behind stderr; 80 where it does not say, for which tqdm would show nothing."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def check_memory(needed: int, what: str) -> None:
    """Raises UserError where `what` needs more bytes than there are."""
    there = memory_bytes()
    if there is not None and needed > there:
        raise UserError(
            f"{what} needs {needed / 1e9:,.1f} GB at the least, and this machine has {there / 1e9:,.1f} GB; take less"
        )


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


def remark_on_threads(strategy: Any = None) -> None:
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


def jit_by_default(strategy: Any = None) -> bool:
    """Whether XLA should compile what runs long: on a GPU, where the small operations of a step cost more than their
    arithmetic. On a CPU it made a training step no faster, or slower, and takes seconds to compile."""
    return "GPU" in (devices_of(strategy) or [device_name()])[0]


def devices_of(strategy: Any) -> tuple[str, ...]:
    """The devices on which this process runs replicas of a strategy; none of the default one, which names none."""
    try:
        return strategy.extended.worker_devices
    except (AttributeError, RuntimeError):
        return ()


def num_chains(rows: int, strategy: Any = None) -> int:
    """Into how many equal slices, computed side by side, a step should cut a replica's rows of a batch: on a GPU one.

    On a CPU one for each core of the replica's, as far as that divides the rows into slices of FEWEST_ROWS at least.
    Two chains on two cores gave 1.2 to 1.4 times the speed of one for each cell at 256 units and the RNN at 512; four
    gave no more than two beyond the noise, and take longer to trace.
    """
    if jit_by_default(strategy):
        return 1
    cores = num_cores() // max(1, len(devices_of(strategy)))
    most = min(cores, rows // FEWEST_ROWS, MOST_CHAINS)
    return max([chains for chains in range(1, most + 1) if rows % chains == 0], default=1)


def check_chains(chains: int, batch_size: int, replicas: int = 1) -> None:
    """Raises UserError where a batch cannot be cut into so many equal slices for each replica; 0 is num_chains' own
    choice."""
    if chains and batch_size % (replicas * chains):
        each = f" for each of {replicas} replicas" if replicas > 1 else ""
        raise UserError(
            f"--batch_size={batch_size} cannot be cut into --chains={chains} equal slices{each}; give a divisor"
        )


def compiled(**options: Any):
    """As tf.function, for functions that are traced for each model they serve: TensorFlow does not warn of that."""
    import tensorflow as tf

    def decorate(function: Any) -> Any:
        traced = tf.function(function, autograph=False, **options)
        traced._omit_frequent_tracing_warning = True
        return traced

    return decorate


def set_seed(seed: int, deterministic: bool = False) -> None:
    """Seeds Python, NumPy and TensorFlow; `deterministic` allows only operations that repeat bit for bit."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def device_name(device: str = "auto") -> str:
    """`auto`, `cpu` or `gpu:N` as TensorFlow names it, such as /CPU:0. Raises UserError where it is not there."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if device == "cpu" or (device == "auto" and not gpus):
        return "/CPU:0"
    number = 0 if device == "auto" else int(device.removeprefix("gpu:"))
    if number >= len(gpus):
        raise UserError(f"--device={device}: TensorFlow sees {len(gpus)} GPUs here; use --device=auto or cpu")
    return f"/GPU:{number}"


def one_device(device: str = "auto"):
    """tf.distribute.OneDeviceStrategy on that device."""
    import tensorflow as tf

    return tf.distribute.OneDeviceStrategy(device_name(device))


def mirrored(device: str = "auto"):
    """tf.distribute.MirroredStrategy on all GPUs, or, for `cpu` and where there are none, all devices of the CPU."""
    import tensorflow as tf

    if device != "cpu" and (gpus := tf.config.list_logical_devices("GPU")):
        return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus])
    # By default CPU devices meet in collective operations, of which a process can have one set of devices only.
    cpus = [cpu.name for cpu in tf.config.list_logical_devices("CPU")]
    return tf.distribute.MirroredStrategy(cpus, tf.distribute.ReductionToOneDevice())


def multi_worker(device: str = "auto"):
    """tf.distribute.MultiWorkerMirroredStrategy over the workers of TF_CONFIG, each with all its GPUs, if it has some.

    Returns when all of them are there. Raises UserError where this worker's own address cannot be taken.
    """
    import tensorflow as tf

    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.UnknownError as error:  # its server does not start
        raise UserError(
            f"--strategy=multi_worker: expected an address of this machine that is free, for this worker in TF_CONFIG, "
            f"but {error.message}; end who uses it, or take another port"
        ) from None
