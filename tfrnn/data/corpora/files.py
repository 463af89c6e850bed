"""Text files, read in pieces: plain, compressed, or in an archive; in any encoding."""

import bz2
import codecs
import contextlib
import gzip
import hashlib
import io
import itertools
import lzma
import operator
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from tfrnn.data.corpora import encodings
from tfrnn.data.corpora.sources import Contents, OnBytes, check_size, does_not_fit, joined
from tfrnn.errors import UserError

CHUNK_BYTES = 2**19  # that are read at once
GUESS_BYTES = 2**15  # before a byte that is not UTF-8, and after it, by which the encoding is guessed
# What reading raises if a file is damaged, encrypted, truncated, or compressed by an unknown method.
_READ_ERRORS = (
    zipfile.BadZipFile, tarfile.TarError, RuntimeError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError,
)  # fmt: skip
# The formats of compressed files, with how they begin.
_COMPRESSED = {
    "a gzip file": re.compile(rb"\x1f\x8b"),
    "a bzip2 file": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),  # a text may begin with BZh
    "an xz file": re.compile(rb"\xfd7zXZ\0"),
}
_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257
_ZIP_MAGIC, _FIRST_NAME_AT = b"PK\3\4", 30
_FIRST_NAMES_IN_DOCUMENTS = (b"[Content_Types].xml", b"_rels/.rels", b"mimetype")
_UNPACK, _SAVE_AS_TEXT = "unpack it first", "save its text in a file of its own"
_OFFICE = "an office document or an e-book"
# What is no text and cannot be unpacked, by its first bytes, with what to do.
_NO_TEXTS = {
    b"%PDF": ("a PDF document", _SAVE_AS_TEXT),
    b"{\\rt": ("a document in RTF", _SAVE_AS_TEXT),
    b"\xd0\xcf\x11\xe0": ("a document of an old office program", _SAVE_AS_TEXT),
    b"7z\xbc\xaf": ("a 7z archive", _UNPACK),
    b"Rar!": ("a RAR archive", _UNPACK),
    b"\x28\xb5\x2f\xfd": ("a zstd file", _UNPACK),
}


class Files:
    """A Source of text files: of one, of several, of the files in a folder or an archive, one after the other.

    No character is changed; only a byte order mark at the beginning of a file is removed.

    The files of a folder, and of a zip archive, are the regular files in it at any depth, in the order of their paths;
    those of a tar archive are in its own order. Hidden ones are left out: those with a leading dot, and the folder
    __MACOSX. A link to a folder is not followed. A line end is added after a file that does not end with one, if
    another file follows. A file that is there several times, e.g. by itself and in a folder, is read once, where it
    comes first. A path that is not a regular file but can be read, e.g. a pipe, is read when this object is made, and
    kept in memory.

    Attributes:
      name: the paths.
      size: the number of bytes on disk.
      contents: what the last whole reading found; of an archive it counts the files in it.
      num_left_out_of_folders: the number of hidden files and folders, and of what is no regular file, in folders.

    Args:
      path: the path of the file or folder; or several.
      chunk: the number of bytes that are read at once, at least 4.
      encoding: the encoding of the files; `auto`: UTF-8, or what a byte order mark tells.
    Raises:
      FileNotFoundError: a file does not exist.
      UserError: a file cannot be read or is a device, or a folder contains no files. Reading the text raises UserError
        if it is empty, binary, in another encoding or damaged, or if a file has changed.
    """

    def __init__(self, path: str | os.PathLike | Sequence[str], chunk: int = CHUNK_BYTES, encoding: str = "auto"):
        paths = [os.fspath(path)] if isinstance(path, (str, os.PathLike)) else list(path)
        self.name = ", ".join(paths)
        self.contents = Contents("", 0)
        self.num_left_out_of_folders = 0
        self._encoding = encoding
        self._files: list[_File] = []
        self._is_one_file = len(paths) == 1
        known: set[str] = set()
        for one in paths:
            try:
                members, advice = [Path(one)], ""
                if stat.S_ISDIR(Path(one).stat().st_mode):
                    self._is_one_file = False
                    members, num_left_out = _files_in(Path(one))
                    self.num_left_out_of_folders += num_left_out
                    advice = ", or remove it from the folder"
                    if not members:
                        raise UserError(
                            f"{one}: expected a text file or a directory of text files, but this one holds none"
                        )
                for member in members:
                    if (real := os.path.realpath(member)) not in known:
                        known.add(real)
                        self._files.append(_File(member, member.stat(), chunk, encoding, advice))
            except (FileNotFoundError, UserError):
                raise
            except (OSError, ValueError) as error:
                raise _unreadable(one, error) from None
        self.size = sum(file.size for file in self._files)

    def sha256(self, on_bytes: OnBytes = None) -> str:
        """Returns the SHA-256 of the bytes on disk, in hex; of several files, that of their digests, in order.

        If an encoding is given, it is that of the encoding's name and this.
        """
        digests = [file.digest(on_bytes) for file in self._files]
        digest = digests[0] if self._is_one_file else hashlib.sha256(b"".join(digests)).digest()
        if self._encoding != "auto":
            digest = hashlib.sha256(codecs.lookup(self._encoding).name.encode() + digest).digest()
        return digest.hex()

    def pieces(self, on_bytes: OnBytes = None) -> Iterator[str]:
        """Yields the text in pieces of about `chunk` bytes; `on_bytes` is called with the number of bytes read."""
        found: dict[str, None] = {}
        num_texts, empty, last = 0, True, "\n"
        for file in self._files:
            for _, text in itertools.groupby(file.pieces(on_bytes), operator.itemgetter(0)):
                num_texts += 1
                between = "" if last in "\r\n" else "\n"
                for _, piece in text:
                    empty = False
                    found[file.encoding] = None
                    if piece:
                        yield between + piece
                        between, last = "", piece[-1]
        if empty:
            which = "the file is" if self._is_one_file else f"all {len(self._files)} files in it are"
            raise UserError(f"{self.name}: expected a text, but {which} empty")
        self.contents = Contents(", ".join(found), num_texts, sum(file.num_left_out for file in self._files))


class _File:
    """One file of `Files`; error messages about its content end with `advice`.

    Attributes:
      size: the number of bytes on disk.
      encoding: the encoding of the text in it that was read last, as people write it.
      num_left_out: the number of files in an archive that were left out when it was read last.
    """

    def __init__(self, path: Path, status: os.stat_result, chunk: int, encoding: str, advice: str = ""):
        self._path, self._chunk, self._encoding, self._advice = path, chunk, encoding, advice
        self._content: bytes | None = None  # of a path that is not a regular file
        self.encoding, self.num_left_out = "", 0
        self.size, self._modified_ns = status.st_size, status.st_mtime_ns
        if not stat.S_ISREG(status.st_mode):
            self._content = read_bytes(path)
            self.size = len(self._content)

    def digest(self, on_bytes: OnBytes) -> bytes:
        """Returns the SHA-256 of the bytes on disk."""
        sha256 = hashlib.sha256()
        for _, chunk in self._chunks(on_bytes, unpacked=False):
            sha256.update(chunk)
        return sha256.digest()

    def pieces(self, on_bytes: OnBytes) -> Iterator[tuple[str, str]]:
        """Yields the texts in pieces, each with the name of its text in an archive: of an empty text none."""
        with contextlib.closing(self._chunks(on_bytes, unpacked=True)) as parts:  # also if it is no text
            for member, chunks in itertools.groupby(parts, operator.itemgetter(0)):
                for piece in self._decoded(member, (chunk for _, chunk in chunks)):
                    yield member, piece

    def _decoded(self, member: str, chunks: Iterator[bytes]) -> Iterator[str]:
        """Yields a text in pieces, at least one."""
        head = b""
        while len(head) < encodings.MARK_BYTES and (chunk := next(chunks, b"")):
            head += chunk
        encoding = encodings.by_mark(head) if self._encoding == "auto" else self._encoding
        self.encoding = encodings.title(encoding)
        decoder = codecs.getincrementaldecoder(encoding)()
        may_have_nul_bytes = encodings.has_nul_bytes(encoding)
        is_guessed = self._encoding == "auto" and encoding == "utf-8"
        begin, at_start, last = 0, True, b""  # begin: the position of the chunk, in bytes of the text
        if no_text := _no_text(head):
            kind, advice = no_text
            raise self._error(member, f"a text, got {kind}; {advice}")
        if marked := encodings.other_mark(head, encoding):
            found = f"it begins with the byte order mark of {marked}"
            raise self._error(member, f"{self.encoding}, but {found}; leave `encoding` out")
        for chunk in itertools.chain([head], chunks):
            if 0 in chunk and not may_have_nul_bytes:
                raise self._binary(member, f"byte {begin + chunk.index(0)}", chunk)
            if is_guessed and (place := encodings.japanese_escape(chunk)) >= 0:
                found = f"UTF-8, but byte {begin + place} begins an escape sequence of Japanese text"
                raise self._error(member, f"{found}; it is probably in ISO-2022-JP: give `encoding=iso2022_jp`")
            text = self._decode(member, decoder, chunk, begin, last)
            if "\0" in text:
                raise self._binary(member, "a character", b"")
            begin += len(chunk)
            yield text.removeprefix("\ufeff") if at_start else text
            at_start, last = at_start and not text, chunk
        self._decode(member, decoder, b"", begin, last)

    def _decode(self, member: str, decoder: codecs.IncrementalDecoder, chunk: bytes, begin: int, last: bytes) -> str:
        """Decodes the next bytes, after the chunk `last`; no bytes mean the end of the text."""
        before = len(decoder.getstate()[0])  # bytes at the end of the last chunk that begin a character
        try:
            return decoder.decode(chunk, not chunk)
        except UnicodeDecodeError as error:
            position, byte = begin - before + error.start, error.object[error.start]
            found = f"byte {position} is 0x{byte:02x}"
            likely = ""
            if self._encoding == "auto" and self.encoding == "UTF-8":
                place = len(last) - before + error.start
                around = (last + chunk)[max(0, place - GUESS_BYTES) : place + GUESS_BYTES]
                likely = encodings.guess(around)
        except UnicodeError as error:  # UTF-16 and UTF-32 without a byte order mark
            found, likely = str(error), ""
        if likely:
            advice = f"it is probably in {encodings.title(likely)}: give `encoding={likely}`"
        else:
            advice = f"give {'its' if self._encoding == 'auto' else 'another'} `encoding`, or convert the file to UTF-8"
        raise self._error(member, f"{self.encoding}, but {found}; {advice}")

    def _binary(self, member: str, place: str, part: bytes) -> UserError:
        """Returns the error for a text with a NUL character."""
        likely = encodings.guess(part[:GUESS_BYTES])
        if likely.startswith("utf_"):
            advice = f"it is probably in {encodings.title(likely)}: give `encoding={likely}`"
            return self._error(member, f"{self.encoding}, but {place} is NUL; {advice}")
        return self._error(member, f"a text, but {place} is NUL, so the file is binary; take a text")

    def _error(self, member: str, message: str) -> UserError:
        name = f"{self._path}: {member}" if member else self._path
        return UserError(f"{name}: expected {message}{self._advice}")

    def _chunks(self, on_bytes: OnBytes, unpacked: bool) -> Generator[tuple[str, bytes], None, None]:
        """Yields the bytes on disk, or those of the texts in them if `unpacked`, each with the name of its text."""
        file_format, reported = "", 0
        try:
            with open(self._path, "rb") if self._content is None else io.BytesIO(self._content) as file:
                self._check_unchanged(file)
                file_format = _format_of(file) if unpacked else ""
                self.num_left_out = 0
                for member, stream in _unpack(file, file_format):
                    if stream is None:
                        self.num_left_out += 1
                        continue
                    while chunk := stream.read(self._chunk):
                        if on_bytes and file.tell() > reported:  # an archive is not read from the front to the back
                            on_bytes(file.tell() - reported)
                            reported = file.tell()
                        yield member, chunk
                self._check_unchanged(file)
                if on_bytes and reported < self.size:  # the bytes after the text in an archive
                    on_bytes(self.size - reported)
        except UserError:
            raise
        except _READ_ERRORS as error:
            if not file_format:
                raise _unreadable(self._path, error) from None
            raise self._error(
                "", f"{file_format} of a text, but it cannot be unpacked ({error}); pack or download it again"
            ) from None

    def _check_unchanged(self, file: BinaryIO) -> None:
        """Raises UserError if the file has changed: its SHA-256 and its text must be of the same bytes."""
        if self._content is None:
            status = os.fstat(file.fileno())
            if (status.st_size, status.st_mtime_ns) != (self.size, self._modified_ns):
                raise UserError(f"{self._path}: expected a file that does not change, but it has changed; start again")


def _format_of(file: BinaryIO) -> str:
    """Returns the format of a packed file, or an empty string if it is plain."""
    beginning = file.read(tarfile.BLOCKSIZE)
    file_format = _compression_of(beginning)
    if not file_format and _is_tar(beginning):
        file_format = "a tar archive"
    if not file_format and zipfile.is_zipfile(file):
        file_format = "a zip archive"
    file.seek(0)
    return file_format


def _compression_of(beginning: bytes) -> str:
    return next((name for name, magic in _COMPRESSED.items() if magic.match(beginning)), "")


def _is_tar(beginning: bytes) -> bool:
    return beginning[_TAR_MAGIC_AT:].startswith(_TAR_MAGIC)


def _no_text(head: bytes) -> tuple[str, str] | None:
    """Returns what is no text by its first bytes, with what to do; None if it may be a text.

    A packed file comes here only if it is within another, or is a zip archive without its end.
    """
    if head.startswith(_ZIP_MAGIC):
        if head.startswith(_FIRST_NAMES_IN_DOCUMENTS, _FIRST_NAME_AT):
            return _OFFICE, _SAVE_AS_TEXT
        return "a zip archive that is damaged or within another", _UNPACK
    if packed := _compression_of(head) or ("a tar archive" if _is_tar(head) else ""):
        return f"{packed} within another", _UNPACK
    return _NO_TEXTS.get(head[: encodings.MARK_BYTES])


def _unpack(file: BinaryIO, file_format: str) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yields the streams of the bytes of the texts in a file of this format, with their names if it is an archive.

    In place of a file in an archive that is left out it yields None.
    """
    if file_format == "a zip archive":
        yield from _members_of_zip(zipfile.ZipFile(file))
        return
    stream = _decompressed(file, file_format)
    is_tar = file_format == "a tar archive"
    if stream is not file:
        is_tar = _is_tar(stream.read(tarfile.BLOCKSIZE))
        stream.seek(0)
    if is_tar:
        yield from _members_of_tar(stream)
    else:
        yield "", stream


def _decompressed(file: BinaryIO, file_format: str) -> IO[bytes]:
    """Returns the stream of the bytes in a compressed file; of another file itself."""
    if file_format == "a gzip file":
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if file_format == "a bzip2 file":
        return cast(IO[bytes], bz2.BZ2File(file))
    return cast(IO[bytes], lzma.LZMAFile(file)) if file_format == "an xz file" else file


def _members_of_zip(archive: zipfile.ZipFile) -> Iterator[tuple[str, IO[bytes] | None]]:
    names = archive.namelist()
    if "[Content_Types].xml" in names or "mimetype" in names:
        raise UserError(f"{archive.filename or 'the file'}: expected a text, got {_OFFICE}; {_SAVE_AS_TEXT}")
    files = [member for member in archive.infolist() if not member.is_dir()]
    members = [member for member in files if not _is_hidden(member.filename)]
    if not members:
        raise zipfile.BadZipFile("it contains no file")
    yield from ((member.filename, None) for member in files if _is_hidden(member.filename))
    for member in sorted(members, key=operator.attrgetter("filename")):
        with archive.open(member) as stream:
            yield member.filename if len(members) > 1 else "", stream


def _members_of_tar(file: IO[bytes]) -> Iterator[tuple[str, IO[bytes] | None]]:
    empty = True
    with tarfile.open(fileobj=file, mode="r|") as archive:
        for member in archive:
            if member.isfile() and not _is_hidden(member.name):
                empty = False
                yield member.name, cast(IO[bytes], archive.extractfile(member))
            elif not member.isdir():
                yield member.name, None
    if empty:
        raise tarfile.ReadError("it contains no file")


def _is_hidden(path: str) -> bool:
    """Returns whether a path in a folder or an archive is not of a text of the user's: hidden, or added by a Mac."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(path).parts)


def _files_in(folder: Path) -> tuple[list[Path], int]:
    """Returns the regular files in a folder at any depth, in the order of their paths, without hidden ones.

    Also returns the number of hidden files and folders, links to folders and special files, which are left out.
    """

    def fail(error: OSError) -> None:
        raise error

    paths: list[Path] = []
    num_left_out = 0
    for root, folders, names in os.walk(folder, onerror=fail):
        entered = [name for name in folders if not _is_hidden(name) and not Path(root, name).is_symlink()]
        files = [path for name in names if not _is_hidden(name) and (path := Path(root, name)).is_file()]
        num_left_out += len(folders) - len(entered) + len(names) - len(files)
        folders[:] = entered
        paths += files
    return sorted(paths, key=lambda path: path.relative_to(folder).as_posix()), num_left_out


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
    """Returns the text of a file or folder in UTF-8. Raises FileNotFoundError or UserError as `Files` does."""
    files = Files(path)
    return joined(files, files.pieces())
