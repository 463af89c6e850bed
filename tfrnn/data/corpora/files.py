"""Text files, read in pieces: plain, compressed by gzip, or the only member of a zip archive."""

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

CHUNK_BYTES = 2**20  # that are read at once
# What reading raises if a file is damaged, encrypted, truncated, or compressed by an unknown method.
_READ_ERRORS = (zipfile.BadZipFile, RuntimeError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError)


class Files:
    """A Source of a UTF-8 text file, or of all the text files in a folder, one after the other.

    No character is changed; only a byte order mark at the beginning of a file is removed.

    The files of a folder are the regular files in it at any depth, in the order of their paths, except hidden ones
    (with a leading dot). A link to a folder is not followed. A line end is added after a file that does not end with
    one, if another file follows. A path that is not a regular file but can be read, e.g. a pipe, is read once, when
    this object is made, and kept in memory.

    Args:
      path: the path of the file or folder.
      chunk: the number of bytes that are read at once.
    Raises:
      FileNotFoundError: the file does not exist.
      UserError: the file cannot be read or is a device, or the folder contains no files. Reading the text raises
        UserError if the text is empty, binary, not UTF-8 or damaged, or if a file has changed.
    """

    def __init__(self, path: str | os.PathLike, chunk: int = CHUNK_BYTES):
        self.name = os.fspath(path)
        try:
            status = Path(path).stat()
            self._is_folder = stat.S_ISDIR(status.st_mode)
            if self._is_folder:
                advice = ", or remove it from the folder"
                self._files = [_File(member, member.stat(), chunk, advice) for member in _files_in(Path(path))]
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
        """Returns the SHA-256 of the bytes on disk, in hex; for a folder, that of its files' digests, in order."""
        digests = [file.digest(on_bytes) for file in self._files]
        return (hashlib.sha256(b"".join(digests)).digest() if self._is_folder else digests[0]).hex()

    def pieces(self, on_bytes: OnBytes = None) -> Iterator[str]:
        """Yields the text in pieces of at most `chunk` bytes; `on_bytes` is called with the number of bytes read."""
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
    """One file of `Files`; error messages about its content end with `advice`."""

    def __init__(self, path: Path, status: os.stat_result, chunk: int, advice: str = ""):
        self._path, self._chunk, self._advice = path, chunk, advice
        self._content: bytes | None = None  # of a path that is not a regular file
        self.size, self._modified_ns = status.st_size, status.st_mtime_ns
        if not stat.S_ISREG(status.st_mode):
            self._content = read_bytes(path)
            self.size = len(self._content)

    def digest(self, on_bytes: OnBytes) -> bytes:
        """Returns the SHA-256 of the bytes on disk."""
        sha256 = hashlib.sha256()
        for chunk in self._chunks(on_bytes, unpacked=False):
            sha256.update(chunk)
        return sha256.digest()

    def pieces(self, on_bytes: OnBytes) -> Iterator[str]:
        """Yields the text in pieces: none if the file is empty, otherwise at least one."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        begin, at_start = 0, True  # begin: the position of the chunk, in bytes of the text
        for chunk in self._chunks(on_bytes, unpacked=True):
            if 0 in chunk:
                raise self._content_error(
                    f"a text, but byte {begin + chunk.index(0)} is NUL, so the file is binary; take a text"
                )
            text = self._decoded(decoder, chunk, begin)
            begin += len(chunk)
            yield text.removeprefix("\ufeff") if at_start else text
            at_start = at_start and not text
        self._decoded(decoder, b"", begin)

    def _decoded(self, decoder: codecs.IncrementalDecoder, chunk: bytes, begin: int) -> str:
        """Decodes the next bytes; no bytes mean the end of the text."""
        before = len(decoder.getstate()[0])  # bytes at the end of the last chunk that begin a character
        try:
            return decoder.decode(chunk, not chunk)
        except UnicodeDecodeError as error:
            position, byte = begin - before + error.start, error.object[error.start]
            raise self._content_error(
                f"UTF-8, but byte {position} is 0x{byte:02x}; convert the file to UTF-8"
            ) from None

    def _content_error(self, message: str) -> UserError:
        return UserError(f"{self._path}: expected {message}{self._advice}")

    def _chunks(self, on_bytes: OnBytes, unpacked: bool) -> Iterator[bytes]:
        """Yields the bytes on disk, or the bytes of the text that they contain if `unpacked`."""
        file_format, reported = "", 0
        try:
            with open(self._path, "rb") if self._content is None else io.BytesIO(self._content) as file:
                self._check_unchanged(file)
                file_format = _format_of(file) if unpacked else ""
                stream = _unpack(file, file_format)
                while chunk := stream.read(self._chunk):
                    if on_bytes:
                        on_bytes(file.tell() - reported)
                        reported = file.tell()
                    yield chunk
                self._check_unchanged(file)
                if on_bytes and reported < self.size:  # the bytes after the text in an archive
                    on_bytes(self.size - reported)
        except UserError:
            raise
        except _READ_ERRORS as error:
            if not file_format:
                raise _unreadable(self._path, error) from None
            raise self._content_error(
                f"a {file_format} of a text, but it cannot be unpacked ({error}); pack or download it again"
            ) from None

    def _check_unchanged(self, file: BinaryIO) -> None:
        """Raises UserError if the file has changed: its SHA-256 and its text must be of the same bytes."""
        if self._content is None:
            status = os.fstat(file.fileno())
            if (status.st_size, status.st_mtime_ns) != (self.size, self._modified_ns):
                raise UserError(f"{self._path}: expected a file that does not change, but it has changed; start again")


def _format_of(file: BinaryIO) -> str:
    """Returns the format of a packed file, or an empty string if it is plain."""
    magic = file.read(2)
    file_format = "gzip file" if magic == b"\x1f\x8b" else "zip archive" if zipfile.is_zipfile(file) else ""
    file.seek(0)
    return file_format


def _unpack(file: BinaryIO, file_format: str) -> IO[bytes]:
    """Returns the stream of the bytes of the text in a file of this format."""
    if file_format == "gzip file":
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if file_format == "zip archive":
        archive = zipfile.ZipFile(file)
        members = archive.infolist()
        if len(members) != 1:
            raise zipfile.BadZipFile(f"it contains {len(members)} files, not one")
        return archive.open(members[0])
    return file


def _files_in(folder: Path) -> list[Path]:
    """Returns the regular files in a folder at any depth, in the order of their paths, without hidden ones."""

    def fail(error: OSError) -> None:
        raise error

    paths: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [Path(root, name) for name in names if not name.startswith(".")]
    return sorted(filter(Path.is_file, paths), key=lambda path: path.relative_to(folder).as_posix())


def _unreadable(path: str | os.PathLike, error: Exception) -> UserError:
    reason = error.strerror if isinstance(error, OSError) else str(error)  # a NUL in the path is a ValueError
    return UserError(f"{path}: expected a text file, but it cannot be read ({reason})")


def read_bytes(path: str | os.PathLike) -> bytes:
    """Returns the content of a file. Raises FileNotFoundError, or UserError if it cannot be read."""
    try:
        status = Path(path).stat()
        if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            raise UserError(f"{path}: expected a text file, got a device; save its output in a file")
        check_size(path, status.st_size)
        return Path(path).read_bytes()
    except (FileNotFoundError, UserError):
        raise
    except MemoryError:
        raise does_not_fit(path) from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def read_text(path: str | os.PathLike) -> str:
    """Returns the text of a file or folder. Raises FileNotFoundError or UserError as `Files` does."""
    files = Files(path)
    return joined(files, files.pieces())
