"""Files that are complete or absent, and read without being led out of their folder; a folder held by one process.

What is raised here is OSError; who knows what the file is for makes a message of it.
"""

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, where a folder is not held
    fcntl = None  # type: ignore[assignment]

NEW = ".new"  # behind the name of a file that is being written


def write(path: Path, data: bytes | memoryview) -> None:
    """Makes the file, or replaces it: under another name first, flushed to the disk, then renamed.

    Killed at any moment it leaves the old file or the new one, and at most one more whose name ends with NEW.
    """
    new = path.with_name(path.name + NEW)
    try:
        new.unlink(missing_ok=True)
        with open(new, "xb") as file:  # a new file, so that no link is written through
            file.write(data)
            _flush(file)
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    _flush_folder(path.parent)


def append(path: Path, data: bytes) -> None:
    """Adds to the end of a file; a failure may leave a part of it there. Not yet flushed, see `flush`."""
    with open(path, "ab") as file:
        file.write(data)


def flush(path: Path) -> None:
    """Returns when what has been written to the file is on the disk."""
    with open(path, "r+b") as file:
        _flush(file)


def open_file(path: Path, limit: int) -> BinaryIO:
    """A file to read, if it is a regular one of at most `limit` bytes: no link, folder, pipe or device."""
    # A pipe without a writer would be waited for; a link could lead anywhere.
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
    """The content of such a file."""
    with open_file(path, limit) as file:
        return file.read()


class Hold:
    """Holds a folder for this process, until `release` or the end of the process, however that comes.

    Attributes:
      held: false where the system, or the folder's file system, cannot do that.

    Raises:
      BlockingIOError: another process holds it.
    """

    def __init__(self, folder: Path):
        self._descriptor: int | None = None
        self.held = False
        if fcntl is None:
            return
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:  # a file system that has no locks
            os.close(descriptor)
            return
        self._descriptor, self.held = descriptor, True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """What has been renamed or made there stays so after a power cut, where the system can do that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            raise
