"""Crash-safe writing of files, safe reading of untrusted ones, and a lock on a folder.

Errors are OSError; callers, who know what the file is for, turn them into messages.
"""

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, where folders are not locked
    fcntl = None  # type: ignore[assignment]

PARTIAL = ".new"  # suffix of the name of a file that is being written


def write(path: Path, data: bytes | memoryview) -> None:
    """Creates or replaces a file atomically: writes it under a temporary name, flushes it to the disk and renames it.

    A process that is killed meanwhile leaves the old file or the new one, and possibly a file whose name ends with
    `PARTIAL`.
    """
    temporary = path.with_name(path.name + PARTIAL)
    try:
        temporary.unlink(missing_ok=True)
        with open(temporary, "xb") as file:  # x: never through an existing link
            file.write(data)
            _flush(file)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _flush_folder(path.parent)


def append(path: Path, data: bytes) -> None:
    """Appends to a file without flushing it to the disk, see `flush`; on failure a part may have been written."""
    with open(path, "ab") as file:
        file.write(data)


def flush(path: Path) -> None:
    """Flushes a file to the disk, so that its content survives a power failure."""
    with open(path, "r+b") as file:
        _flush(file)


def open_file(path: Path, limit: int) -> BinaryIO:
    """Opens a regular file of at most `limit` bytes for reading.

    Raises:
      OSError: it is a link, folder, pipe or device, it is larger than `limit` bytes, or it cannot be read.
    """
    # O_NOFOLLOW: a link could lead anywhere. O_NONBLOCK: opening a pipe would wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        file = os.fdopen(os.open(path, flags), "rb")
    except IsADirectoryError:
        raise OSError(errno.EISDIR, "it is a folder") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a symbolic link, which is not followed") from None
        raise
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
        file.close()
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        raise OSError(errno.EFBIG, f"it has {status.st_size:,} bytes, more than the {limit:,} that are read")
    return file


def read(path: Path, limit: int) -> bytes:
    """Returns the content of a regular file of at most `limit` bytes; raises OSError as `open_file` does."""
    with open_file(path, limit) as file:
        return file.read()


class FolderLock:
    """An exclusive lock on a folder, held until `release` or the end of the process, however it ends.

    Args:
      folder: an existing folder.

    Attributes:
      locked: False if the operating system or the folder's file system has no locks.

    Raises:
      BlockingIOError: another process has locked the folder.
    """

    def __init__(self, folder: Path):
        self._descriptor: int | None = None
        self.locked = False
        if fcntl is None:
            return
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:  # a file system without locks
            os.close(descriptor)
            return
        self._descriptor, self.locked = descriptor, True

    def release(self) -> None:
        """Unlocks the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Flushes a folder's entries to the disk, so that new and renamed files survive a power failure, if supported."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            raise
