"""Texts in files, read piece by piece: plain, compressed by gzip, or the only member of a zip archive."""

import codecs
import gzip
import hashlib
import io
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

from tfrnn.data.corpora.sources import OnBytes, check_size, does_not_fit, joined
from tfrnn.errors import UserError

CHUNK = 2**20  # bytes that are read at once
# Damaged, encrypted, of another method, or cut.
_DAMAGED = (zipfile.BadZipFile, RuntimeError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError)


class Files:
    """A UTF-8 text file, or those of a folder one after the other, as a Source; no character is changed, but a byte
    order mark at a file's beginning removed.

    A folder's files are the regular ones in it at any depth, in the order of their paths, without the hidden ones (a
    leading dot). A link to a folder is not followed. Where a file does not end with a line end, one is put behind it,
    if another follows. What is no regular file but can be read, such as a pipe, is read once, here, and kept in memory.

    Args:
      path: of the file or folder.
      chunk: bytes that are read at once.
    Raises:
      FileNotFoundError: there is no such file.
      UserError: it cannot be read, is a device, or a folder without files. To read its text may find it empty, binary,
        not UTF-8, damaged, or another than it was.
    """

    def __init__(self, path: str | os.PathLike, chunk: int = CHUNK):
        self.name = os.fspath(path)
        try:
            status = Path(path).stat()
            self._is_folder = stat.S_ISDIR(status.st_mode)
            if self._is_folder:
                advice = ", or remove it from the folder"
                self._files = [_File(found, found.stat(), chunk, advice) for found in _files_in(Path(path))]
            else:
                self._files = [_File(Path(path), status, chunk)]
        except (FileNotFoundError, UserError):
            raise
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from None
        if not self._files:
            raise UserError(f"{path}: expected a text file or a directory of text files, but this one holds none")
        self.size = sum(file.size for file in self._files)

    def sha256(self, on_bytes: OnBytes = None) -> str:
        """Of the bytes on the disk, in hex; of a folder, the SHA-256 over those of its files, one after the other."""
        digests = [file.digest(on_bytes) for file in self._files]
        return (hashlib.sha256(b"".join(digests)).digest() if self._is_folder else digests[0]).hex()

    def pieces(self, on_bytes: OnBytes = None) -> Iterator[str]:
        """The text in pieces of at most `chunk` bytes."""
        empty, last = True, "\n"
        for file in self._files:
            between = "" if last in "\r\n" else "\n"
            for piece in file.pieces(on_bytes):
                empty = False
                if piece:
                    yield between + piece
                    between, last = "", piece[-1]
        if empty:
            which = f"all {len(self._files)} files in it are" if self._is_folder else "the file is"
            raise UserError(f"{self.name}: expected a text, but {which} empty")


class _File:
    """One file of `Files`; what is wrong with its content is told with the advice."""

    def __init__(self, path: Path, status: os.stat_result, chunk: int, advice: str = ""):
        self._path, self._chunk, self._advice = path, chunk, advice
        self._kept: bytes | None = None
        self.size, self._changed = status.st_size, status.st_mtime_ns
        if not stat.S_ISREG(status.st_mode):
            self._kept = read_bytes(path)
            self.size = len(self._kept)

    def digest(self, on_bytes: OnBytes) -> bytes:
        """SHA-256."""
        sha256 = hashlib.sha256()
        for chunk in self._chunks(on_bytes, unpacked=False):
            sha256.update(chunk)
        return sha256.digest()

    def pieces(self, on_bytes: OnBytes) -> Iterator[str]:
        """The text; none where the file is empty, one at the least where it is not."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        begin, at_start = 0, True  # of the chunk, in bytes of the text
        for chunk in self._chunks(on_bytes, unpacked=True):
            if 0 in chunk:
                raise self._refused(
                    f"a text, but byte {begin + chunk.index(0)} is NUL, so the file is binary; take a text"
                )
            text = self._decoded(decoder, chunk, begin)
            begin += len(chunk)
            yield text.removeprefix("\ufeff") if at_start else text
            at_start = at_start and not text
        self._decoded(decoder, b"", begin)

    def _decoded(self, decoder: codecs.IncrementalDecoder, chunk: bytes, begin: int) -> str:
        """Of the next bytes; of none at the end."""
        before = len(decoder.getstate()[0])  # bytes of a character that the last chunk has cut
        try:
            return decoder.decode(chunk, not chunk)
        except UnicodeDecodeError as error:
            where, byte = begin - before + error.start, error.object[error.start]
            raise self._refused(f"UTF-8, but byte {where} is 0x{byte:02x}; convert the file to UTF-8") from None

    def _refused(self, message: str) -> UserError:
        return UserError(f"{self._path}: expected {message}{self._advice}")

    def _chunks(self, on_bytes: OnBytes, unpacked: bool) -> Iterator[bytes]:
        """The file's bytes, or those of the text in it."""
        form, told = "", 0
        try:
            with open(self._path, "rb") if self._kept is None else io.BytesIO(self._kept) as file:
                self._check_same(file)
                form = _form_of(file) if unpacked else ""
                stream = _unpacked(file, form)
                while chunk := stream.read(self._chunk):
                    if on_bytes:
                        on_bytes(file.tell() - told)
                        told = file.tell()
                    yield chunk
                self._check_same(file)
                if on_bytes and told < self.size:  # what lies behind the text in an archive
                    on_bytes(self.size - told)
        except UserError:
            raise
        except _DAMAGED as error:
            if not form:
                raise _unreadable(self._path, error) from None
            raise self._refused(
                f"a {form} of a text, but it cannot be unpacked ({error}); pack or fetch it anew"
            ) from None

    def _check_same(self, file: BinaryIO) -> None:
        """What is known of a file, such as its SHA-256, must be true of what is read of it later."""
        if self._kept is None:
            status = os.fstat(file.fileno())
            if (status.st_size, status.st_mtime_ns) != (self.size, self._changed):
                raise UserError(f"{self._path}: expected a file that stays as it is, but it has changed; start again")


def _form_of(file: BinaryIO) -> str:
    """What the file is; nothing where it is plain."""
    magic = file.read(2)
    form = "gzip file" if magic == b"\x1f\x8b" else "zip archive" if zipfile.is_zipfile(file) else ""
    file.seek(0)
    return form


def _unpacked(file: BinaryIO, form: str) -> IO[bytes]:
    if form == "gzip file":
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if form == "zip archive":
        archive = zipfile.ZipFile(file)
        members = archive.infolist()
        if len(members) != 1:
            raise zipfile.BadZipFile(f"it holds {len(members)} files, not one")
        return archive.open(members[0])
    return file


def _files_in(folder: Path) -> list[Path]:
    def fail(error: OSError) -> None:
        raise error

    found: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(root, name) for name in names if not name.startswith(".")]
    return sorted(filter(Path.is_file, found), key=lambda path: path.relative_to(folder).as_posix())


def _unreadable(path: str | os.PathLike, error: Exception) -> UserError:
    reason = error.strerror if isinstance(error, OSError) else str(error)  # a NUL in the path is a ValueError
    return UserError(f"{path}: expected a text file, but it cannot be read ({reason})")


def read_bytes(path: str | os.PathLike) -> bytes:
    """The content of a file. Raises FileNotFoundError, or UserError where it cannot be read."""
    try:
        status = Path(path).stat()
        if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            raise UserError(f"{path}: expected a text file, got a device; save what it gives in a file")
        check_size(path, status.st_size)
        return Path(path).read_bytes()
    except (FileNotFoundError, UserError):
        raise
    except MemoryError:
        raise does_not_fit(path) from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def read_text(path: str | os.PathLike) -> str:
    """The text of `Files`, in memory. Raises as it does."""
    files = Files(path)
    return joined(files, files.pieces())
