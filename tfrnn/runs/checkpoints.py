"""Checkpoints: arrays by name, each checkpoint one file with a checksum of every byte of it.

The file is an uncompressed .npz, which numpy.load opens as well; the archive's comment is the SHA-256, in hexadecimal
digits, of all bytes before it. Nothing in it can be executed: it holds numbers alone.
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

KEPT = 2
_DIGITS = 64  # of the SHA-256
_NAME = re.compile(r"(\d{8,15})-(\d{8,15})\.npz")
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '(?P<dtype><[fiu][48]|\|[iu]1)', 'fortran_order': False, "
    rb"'shape': \((?P<shape>(\d{1,12}, ?)*(\d{1,12})?)\), \} *\n"
)
Arrays = Mapping[str, np.ndarray]
Result = TypeVar("Result")


class Layout(NamedTuple):
    """What an array must be; a dimension of None may have any size."""

    shape: tuple[int | None, ...]
    dtype: str

    @classmethod
    def of(cls, array: np.ndarray) -> "Layout":
        return cls(array.shape, array.dtype.str)

    def fits(self, other: "Layout") -> bool:
        """Whether an array of the other layout, which has every size, is as this one says."""
        pairs = zip(self.shape, other.shape, strict=False)
        same_shape = len(self.shape) == len(other.shape) and all(a is None or a == b for a, b in pairs)
        return same_shape and self.dtype == other.dtype

    def __str__(self) -> str:
        return f"{np.dtype(self.dtype).name} {list(self.shape)}"


class UnusableError(Exception):
    """A checkpoint is damaged, or is one of something else."""


def check(found: Mapping[str, Layout], expected: Mapping[str, Layout]) -> None:
    """Raises UnusableError unless exactly the expected arrays are there, as expected."""
    if found.keys() != expected.keys():
        missing, more = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
        what = [f"{name} {shown[:5]}" for name, shown in (("lacks the arrays", missing), ("has beside", more)) if shown]
        raise UnusableError(f"it {' and '.join(what)}")
    for name, layout in expected.items():
        if not layout.fits(found[name]):
            raise UnusableError(f"array {name} is {found[name]}, expected {layout}")


def pack(arrays: Arrays) -> memoryview:
    """The content of a checkpoint file; the same arrays always give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            # With the date of ZipInfo's own: a clock before 1980 would be an error.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), version=(1, 0), allow_pickle=False)
        archive.comment = bytes(_DIGITS)  # its place
    content = buffer.getbuffer()
    content[-_DIGITS:] = hashlib.sha256(content[:-_DIGITS]).hexdigest().encode()
    return content


def unpack(content: bytes) -> dict[str, np.ndarray]:
    """The inverse of `pack`, for what another worker has packed; of a file see Checkpoint."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return dict(archive)


class Checkpoint:
    """A checkpoint file of at most `limit` bytes, open, its checksum verified; arrays are read when they are asked for.

    Attributes:
      position: epochs and batches, by its name; None where the name tells none.
      layouts: what it holds.

    Raises:
      UnusableError: it is damaged, or no checkpoint.
      OSError: it cannot be read, see durable.open_file.
    """

    def __init__(self, path: Path, limit: int):
        self.position = tuple(map(int, match.groups())) if (match := _NAME.fullmatch(path.name)) else None
        self._file = durable.open_file(path, limit)
        try:
            with _damage_is_told():
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
        """These arrays. Raises UnusableError, before it takes memory, where they are others than expected, and where a
        number is not finite."""
        check({name: layout for name, layout in self.layouts.items() if name in expected}, expected)
        arrays = {}
        for name in expected:
            shape, dtype = self.layouts[name]
            with _damage_is_told(), self._archive.open(f"{name}.npy") as member:
                _read_header(member)
                arrays[name] = np.frombuffer(member.read(), dtype).reshape(shape)  # type: ignore[arg-type]
            if not np.isfinite(arrays[name]).all():
                raise UnusableError(f"array {name} holds numbers that are not finite")
        return arrays

    @staticmethod
    def _name_of(info: zipfile.ZipInfo) -> str:
        if info.compress_type != zipfile.ZIP_STORED or not info.filename.endswith(".npy"):
            raise UnusableError(f"it holds {info.filename[:40]!r}, which is no uncompressed array")
        return info.filename.removesuffix(".npy")

    def _read_layout(self, info: zipfile.ZipInfo) -> Layout:
        with self._archive.open(info) as member:
            shape, dtype = _read_header(member)
            if math.prod(shape) * dtype.itemsize != info.file_size - member.tell():
                raise UnusableError(f"array {info.filename[:40]!r} has another size than it says")
        return Layout(shape, dtype.str)


@contextlib.contextmanager
def _damage_is_told() -> Iterator[None]:
    """What zipfile and numpy raise where an archive is not as it should be, as one exception."""
    try:
        yield
    except (ArithmeticError, EOFError, LookupError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise UnusableError(" ".join(str(error).split())[:200] or type(error).__name__) from None


def _verify(file: BinaryIO) -> None:
    """Raises UnusableError where the last bytes are not the SHA-256 of those before; goes back to the beginning."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    left, digest = size - _DIGITS, hashlib.sha256()
    while left > 0:
        piece = file.read(min(left, 2**20))
        left -= len(piece)
        digest.update(piece)
        if not piece:
            break
    if file.read() != digest.hexdigest().encode():
        raise UnusableError("its checksum is not that of its content")
    file.seek(0)


def _read_header(member: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Of an array of numbers, as numpy writes it; its own reader would evaluate the text."""
    size = int.from_bytes(member.read(len(_MAGIC) + 2).removeprefix(_MAGIC)[:2], "little")
    match = _HEADER.fullmatch(member.read(size))
    if not match:
        raise UnusableError("it holds something else than arrays of numbers")
    return tuple(int(size) for size in match["shape"].split(b",") if size.strip()), np.dtype(match["dtype"].decode())


class Folder:
    """The checkpoints of a run, each named by its position: `<epochs>-<batches>.npz`."""

    def __init__(self, path: Path):
        self.path = path
        self._whole: list[Path] = []  # what is known to be whole, the newest last

    def files(self) -> list[Path]:
        """The checkpoints, the newest first. Raises UserError where there is something else than a folder of them."""
        try:
            if self.path.is_symlink():
                raise OSError(errno.ELOOP, "it is a symbolic link, which is not followed")
            names = [path.name for path in self.path.iterdir()] if self.path.exists() else []
        except OSError as error:
            raise UserError(f"{self.path}: expected a folder of checkpoints, but {error.strerror}") from None
        found = [(match, self.path / match[0]) for match in map(_NAME.fullmatch, names) if match]
        return [path for _, path in sorted(found, key=lambda item: [*map(int, item[0].groups())], reverse=True)]

    def save(self, position: tuple[int, int], arrays: Arrays) -> None:
        """Writes a checkpoint, then drops all but the last KEPT that are whole. Raises OSError."""
        path = self.path / "{:08d}-{:08d}.npz".format(*position)
        durable.write(path, pack(arrays))
        self._whole = [*(other for other in self._whole if other != path), path][-KEPT:]
        if len(self._whole) < KEPT:
            return  # others may be whole too
        for other in self.path.iterdir():
            ours = _NAME.fullmatch(other.name.removesuffix(durable.PARTIAL))  # NEW: of a process that was killed
            if ours and other not in self._whole:
                with contextlib.suppress(OSError):
                    other.unlink()

    def newest(self, use: Callable[[Checkpoint], Result], limit: int) -> Result | None:
        """What `use` makes of the newest checkpoint that is whole and serves; None where there is none at all.

        `use` raises UnusableError where a checkpoint does not serve; one of more than `limit` bytes does not either.
        Each of these is named in a RunWarning.
        Raises:
          UserError: there are some, but none serves.
        """
        passed: list[str] = []
        for path in self.files():
            try:
                with Checkpoint(path, limit) as checkpoint:
                    result = use(checkpoint)
            except (UnusableError, OSError) as error:
                passed.append(f"{path} cannot be used ({error})")
                continue
            for remark in passed:
                warnings.warn(f"{remark}; going back to {path.name}", RunWarning, stacklevel=2)
            self._whole = [path]
            return result
        if passed:
            raise UserError(
                f"{passed[0]}, nor has another whole one been found in {self.path}; bring the right files back, or "
                "train a new run"
            )
        return None
