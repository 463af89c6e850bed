"""Checkpoints: arrays by name, each checkpoint a single file with a checksum of all its bytes.

The file is an uncompressed .npz archive, which numpy.load opens as well. The archive's comment is the SHA-256, in
hexadecimal digits, of all bytes before it. The file holds only numbers, so that nothing in it can be executed.
"""

import contextlib
import errno
import hashlib
import io
import math
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np

from tfrnn.errors import RunWarning, UserError
from tfrnn.runtime import durable

NUM_KEPT = 2  # checkpoints that a run keeps
_NUM_DIGITS = 64  # of the SHA-256
_FILE_NAME = re.compile(r"(\d{8,15})-(\d{8,15})\.npz")
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '(?P<dtype><[fiu][48]|\|[iu]1)', 'fortran_order': False, "
    rb"'shape': \((?P<shape>(\d{1,12}, ?)*(\d{1,12})?)\), \} *\n"
)
Arrays = Mapping[str, np.ndarray]
Result = TypeVar("Result")


class Layout(NamedTuple):
    """The shape and the type of an array.

    Attributes:
      shape: the size of each dimension; None for any size.
      dtype: the type in numpy's notation, e.g. `<f4`.
    """

    shape: tuple[int | None, ...]
    dtype: str

    @classmethod
    def of(cls, array: np.ndarray) -> "Layout":
        """Returns the layout of an array."""
        return cls(array.shape, array.dtype.str)

    def fits(self, other: "Layout") -> bool:
        """Returns whether an array of the `other` layout, whose sizes are all known, has this layout."""
        pairs = zip(self.shape, other.shape, strict=False)
        same_shape = len(self.shape) == len(other.shape) and all(a is None or a == b for a, b in pairs)
        return same_shape and self.dtype == other.dtype

    def __str__(self) -> str:
        return f"{np.dtype(self.dtype).name} {list(self.shape)}"


class UnusableError(Exception):
    """A checkpoint is damaged, or belongs to something else."""


def check(layouts: Mapping[str, Layout], expected: Mapping[str, Layout]) -> None:
    """Checks that a checkpoint holds exactly the expected arrays.

    Args:
      layouts: the arrays that the checkpoint holds.
      expected: the arrays that it must hold.
    Raises:
      UnusableError: an array is missing, is not expected, or has another layout than expected.
    """
    if layouts.keys() != expected.keys():
        missing, unexpected = sorted(expected.keys() - layouts.keys()), sorted(layouts.keys() - expected.keys())
        problems = [("lacks the arrays", missing), ("has the unexpected arrays", unexpected)]
        raise UnusableError(f"it {' and '.join(f'{problem} {names[:5]}' for problem, names in problems if names)}")
    for name, layout in expected.items():
        if not layout.fits(layouts[name]):
            raise UnusableError(f"array {name} is {layouts[name]}, expected {layout}")


def pack(arrays: Arrays) -> memoryview:
    """Returns the content of a checkpoint file; the same arrays are always packed into the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            # ZipInfo's default date instead of the clock's, which zip refuses if it is before 1980.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), version=(1, 0), allow_pickle=False)
        archive.comment = bytes(_NUM_DIGITS)  # overwritten by the checksum below
    content = buffer.getbuffer()
    content[-_NUM_DIGITS:] = hashlib.sha256(content[:-_NUM_DIGITS]).hexdigest().encode()
    return content


def unpack(content: bytes) -> dict[str, np.ndarray]:
    """Returns the arrays that another worker has packed by `pack`. For a file, which may be damaged, see Checkpoint."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return dict(archive)


class Checkpoint:
    """An open checkpoint file whose checksum has been verified. Its arrays are read on request.

    Args:
      path: the file.
      limit: the largest size of the file, in bytes.
    Attributes:
      position: finished epochs and batches, by the file's name; None if the name is not that of a checkpoint.
      layouts: the arrays that it holds.
    Raises:
      UnusableError: the file is damaged, or is not a checkpoint.
      OSError: the file cannot be read; see durable.open_file.
    """

    def __init__(self, path: Path, limit: int):
        self.position = tuple(map(int, match.groups())) if (match := _FILE_NAME.fullmatch(path.name)) else None
        self._file = durable.open_file(path, limit)
        try:
            with _reporting_damage():
                _verify(self._file)
                self._archive = zipfile.ZipFile(self._file)
                self.layouts = {self._name_of(info): self._read_layout(info) for info in self._archive.infolist()}
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()

    def read(self, expected: Mapping[str, Layout]) -> dict[str, np.ndarray]:
        """Returns the expected arrays; the checkpoint may hold others too.

        Raises:
          UnusableError: an array is missing or has another layout, which is found before memory is taken for it; or a
            number is not finite.
        """
        check({name: layout for name, layout in self.layouts.items() if name in expected}, expected)
        arrays = {}
        for name in expected:
            shape, dtype = self.layouts[name]
            with _reporting_damage(), self._archive.open(f"{name}.npy") as member:
                _read_header(member)
                arrays[name] = np.frombuffer(member.read(), dtype).reshape(shape)  # type: ignore[arg-type]
            if not np.isfinite(arrays[name]).all():
                raise UnusableError(f"array {name} holds numbers that are not finite")
        return arrays

    @staticmethod
    def _name_of(info: zipfile.ZipInfo) -> str:
        if info.compress_type != zipfile.ZIP_STORED or not info.filename.endswith(".npy"):
            raise UnusableError(f"it holds {info.filename[:40]!r}, which is not an uncompressed array")
        return info.filename.removesuffix(".npy")

    def _read_layout(self, info: zipfile.ZipInfo) -> Layout:
        with self._archive.open(info) as member:
            shape, dtype = _read_header(member)
            if math.prod(shape) * dtype.itemsize != info.file_size - member.tell():
                raise UnusableError(f"array {info.filename[:40]!r} has another size than its header says")
        return Layout(shape, dtype.str)


@contextlib.contextmanager
def _reporting_damage() -> Iterator[None]:
    """A context in which what zipfile and numpy raise on a damaged archive becomes an UnusableError."""
    try:
        yield
    except (ArithmeticError, EOFError, LookupError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise UnusableError(" ".join(str(error).split())[:200] or type(error).__name__) from None


def _verify(file: BinaryIO) -> None:
    """Raises UnusableError unless the file ends with the SHA-256 of all bytes before it. Seeks to the beginning."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    remaining, digest = size - _NUM_DIGITS, hashlib.sha256()
    while remaining > 0:
        piece = file.read(min(remaining, 2**20))
        remaining -= len(piece)
        digest.update(piece)
        if not piece:
            break
    if file.read() != digest.hexdigest().encode():
        raise UnusableError("its checksum is not that of its content")
    file.seek(0)


def _read_header(member: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Returns the shape and type of an array of numbers as numpy writes it, without evaluating text as numpy does."""
    size = int.from_bytes(member.read(len(_MAGIC) + 2).removeprefix(_MAGIC)[:2], "little")
    match = _HEADER.fullmatch(member.read(size))
    if not match:
        raise UnusableError("it holds something other than arrays of numbers")
    return tuple(int(size) for size in match["shape"].split(b",") if size.strip()), np.dtype(match["dtype"].decode())


class Folder:
    """The folder of a run's checkpoints, each named by its position: `<epochs>-<batches>.npz`."""

    def __init__(self, path: Path):
        self.path = path
        self._verified: list[Path] = []  # known to be undamaged, the newest last

    def files(self) -> list[Path]:
        """Returns the checkpoint files, the newest first.

        Raises:
          UserError: the path is not a folder, or cannot be read.
        """
        try:
            if self.path.is_symlink():
                raise OSError(errno.ELOOP, "it is a symbolic link, which is not followed")
            names = [path.name for path in self.path.iterdir()] if self.path.exists() else []
        except OSError as error:
            raise UserError(f"{self.path}: expected a folder of checkpoints, but {error.strerror}") from None
        matches = [match for match in map(_FILE_NAME.fullmatch, names) if match]
        newest_first = sorted(matches, key=lambda match: [*map(int, match.groups())], reverse=True)
        return [self.path / match[0] for match in newest_first]

    def save(self, position: tuple[int, int], arrays: Arrays) -> None:
        """Writes a checkpoint, then removes all but the last NUM_KEPT undamaged ones.

        Raises:
          OSError: it cannot be written; the earlier ones are unchanged.
        """
        path = self.path / "{:08d}-{:08d}.npz".format(*position)
        durable.write(path, pack(arrays))
        self._verified = [*(earlier for earlier in self._verified if earlier != path), path][-NUM_KEPT:]
        if len(self._verified) < NUM_KEPT:
            return  # others may be undamaged too
        for file in self.path.iterdir():
            # A process that was killed may have left a file under its temporary name, which ends with NEW.
            is_checkpoint = _FILE_NAME.fullmatch(file.name.removesuffix(durable.PARTIAL))
            if is_checkpoint and file not in self._verified:
                with contextlib.suppress(OSError):
                    file.unlink()

    def read_newest(self, read: Callable[[Checkpoint], Result], limit: int) -> Result | None:
        """Reads the newest usable checkpoint. Each newer one that cannot be used is named in a RunWarning.

        Args:
          read: reads an open checkpoint, or raises UnusableError.
          limit: the largest size of a usable checkpoint, in bytes.
        Returns:
          What `read` returns, or None if there are no checkpoints.
        Raises:
          UserError: there are checkpoints, but none can be used.
        """
        failures: list[str] = []
        for path in self.files():
            try:
                with Checkpoint(path, limit) as checkpoint:
                    result = read(checkpoint)
            except (UnusableError, OSError) as error:
                failures.append(f"{path} cannot be used ({error})")
                continue
            for failure in failures:
                warnings.warn(f"{failure}; falling back to {path.name}", RunWarning, stacklevel=2)
            self._verified = [path]
            return result
        if failures:
            raise UserError(
                f"{failures[0]}, and {self.path} has no other that can; bring the right files back, or train a new run"
            )
        return None
