"""Reading a text file, plain or the only member of a zip archive."""

import io
import lzma
import os
import stat
import zipfile
import zlib
from pathlib import Path

from tfrnn.errors import UserError

LARGEST = 2**33  # bytes of a file


def read_bytes(path: str | os.PathLike) -> bytes:
    """The content of a file. Raises FileNotFoundError, or UserError where it cannot be read."""
    try:
        status = Path(path).stat()
        if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode) or status.st_size > LARGEST:
            raise UserError(
                f"{path}: expected a text file of at most {LARGEST:,} bytes, got a device or one of {status.st_size:,}"
            )
        return Path(path).read_bytes()
    except (FileNotFoundError, UserError):
        raise
    except MemoryError:
        raise UserError(f"{path}: expected a text that fits into memory; take a part of it") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"{path}: expected a text file, but it cannot be read ({reason})") from None


def _unzipped(path: str | os.PathLike, data: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) != 1 or members[0].file_size > 2**30:
                raise UserError(
                    f"{path}: expected an archive of one text of at most 1 GiB; it holds {len(members)} files"
                )
            return archive.read(members[0])
    except UserError:
        raise
    # Damaged, encrypted, of another method, or cut.
    except (zipfile.BadZipFile, RuntimeError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError) as error:
        raise UserError(f"{path}: expected a zip archive of a text, but it cannot be unpacked ({error})") from None


def read_text(path: str | os.PathLike) -> str:
    """The text of a UTF-8 file, with no character changed but a byte order mark removed.

    Raises:
      FileNotFoundError: there is no such file.
      UserError: it is a folder, cannot be read, is empty, binary, or not UTF-8.
    """
    data = read_bytes(path)
    if zipfile.is_zipfile(io.BytesIO(data)):
        data = _unzipped(path, data)
    if not data:
        raise UserError(f"{path}: expected a text, but the file is empty")
    if b"\0" in data:
        raise UserError(f"{path}: expected a text, but byte {data.index(0)} is NUL, so the file is binary")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: expected UTF-8, but byte {error.start} is 0x{data[error.start]:02x}; convert the file to UTF-8"
        ) from None
