"""The machine as it is before TensorFlow loads: cores, memory, the terminal, and an import without its log lines."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from tfrnn.errors import UserError


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


def check_memory(needed: int, what: str) -> None:
    """Raises UserError where `what` needs more bytes than there are."""
    there = memory_bytes()
    if there is not None and needed > there:
        raise UserError(
            f"{what} needs at least {needed / 1e9:,.1f} GB, and this machine has {there / 1e9:,.1f} GB; take less"
        )


def terminal_columns() -> int:
    """The width of the terminal behind stderr; 80 where it does not say, for which tqdm would show nothing."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
