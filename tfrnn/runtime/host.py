"""What is known before TensorFlow loads: cores, memory and the terminal; and importing TensorFlow quietly."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfrnn.errors import UserError


@contextlib.contextmanager
def without_native_stderr() -> Iterator[None]:
    """Discards what is written to file descriptor 2 within this context, such as the log lines of C++ code."""
    saved, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(devnull)


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow without its log lines about CUDA and CPU instructions.

    TensorFlow writes some of them before it reads its log level, so the level alone does not suppress them. If the
    environment variable TF_CPP_MIN_LOG_LEVEL is set, nothing is suppressed.
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
        del os.environ["TF_CPP_MIN_LOG_LEVEL"]  # child processes must not inherit it


def import_tensorflow_for_command() -> None:
    """As `import_tensorflow_quietly`, a fifth faster, for a process that is a command of this package.

    Keras imports matplotlib's pyplot and pandas if they are installed, for functions of its own that no command calls.
    It is made to think that they are not; the commands can import them afterwards.
    """
    hidden = [package for package in ("matplotlib", "pandas") if package not in sys.modules]
    none: Any = None
    sys.modules.update(dict.fromkeys(hidden, none))  # an import of what is None here raises ImportError
    try:
        import_tensorflow_quietly()
    finally:
        for package in hidden:
            del sys.modules[package]


def num_cores() -> int:
    """Returns the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int | None:
    """Returns the memory of the machine or the limit of its container, whichever is smaller; None if unknown."""
    limits = []
    with contextlib.suppress(ValueError, OSError, AttributeError):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(ValueError, OSError):
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))  # or "max"
    return min(limits, default=None)


def check_memory(needed_bytes: int, purpose: str) -> None:
    """Raises UserError if the machine has less memory than `purpose`, the subject of the message, needs."""
    available = memory_bytes()
    if available is not None and needed_bytes > available:
        raise UserError(
            f"{purpose} needs at least {needed_bytes / 1e9:,.1f} GB, and this machine has {available / 1e9:,.1f} GB; "
            "choose smaller values"
        )


def terminal_columns() -> int:
    """Returns the width of the terminal on stderr, or 80 if it is unknown (tqdm would then show no bar)."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
