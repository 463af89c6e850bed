"""Files that the pages of edition 1.0 download and unpack; those at hand are not downloaded."""

import hashlib
import os
import zipfile
from pathlib import Path

from tfrnn.data.corpora import catalogue, english_french, fetch
from tfrnn.data.corpora.files import read_bytes
from tfrnn.errors import MissingFileError, UserError
from tfrnn.runtime import durable

DATA_URL = "http://d2l-data.s3-accelerate.amazonaws.com/"
# The corpora whose files are recorded in this package.
BUILDERS = [corpus.builder for corpus in catalogue.CORPORA.values() if corpus.builder.startswith("tfrnn.")]


def download(url: str, folder: str | os.PathLike = "../data", sha1_hash: str | None = None) -> str:
    """Returns the path of the file of a URL in a folder, into which it is copied or downloaded if it is not there.

    A file of that name in the folder that TFRNN_DATA_DIR names is copied, not downloaded.

    Args:
      url: where the file is; the last part is its name.
      folder: where to save it.
      sha1_hash: its SHA-1. A file whose SHA-256 is recorded in tfrnn is accepted with that, too.
    Raises:
      MissingFileError: it cannot be downloaded.
      UserError: the file has another checksum.
    """
    name = url.rsplit("/", 1)[-1]
    path, data_dir = Path(folder, name), os.environ.get(fetch.DATA_DIR)
    if path.exists() and _is_right(read_bytes(path), name, sha1_hash):
        return str(path)
    at_hand = data_dir and Path(data_dir, name)
    source, content = (
        (at_hand, read_bytes(at_hand)) if at_hand and at_hand.exists() else (url, fetch.fetch_bytes(url, name))
    )
    if not _is_right(content, name, sha1_hash):
        received = hashlib.sha1(content).hexdigest()
        raise UserError(f"{source}: expected a file with SHA-1 {sha1_hash}, got {received}; replace or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write(path, content)
    return str(path)


def _is_right(content: bytes, name: str, sha1_hash: str | None) -> bool:
    if sha1_hash in (None, hashlib.sha1(content).hexdigest()):
        return True
    if name == english_french.FILE_NAME:
        return english_french.is_archive(content)
    recorded = {file.file_name: file.sha256 for file in map(fetch.recorded_file, BUILDERS)}
    return recorded.get(name) == hashlib.sha256(content).hexdigest()


def extract(filename: str | os.PathLike, folder: str | os.PathLike | None = None) -> None:
    """Unpacks a zip archive, by default into the folder that it is in.

    The pages expect its files in a folder of the archive's name; if the archive itself has none, it is made.
    """
    path = Path(filename)
    target = path.parent if folder is None else Path(folder)
    if not path.exists():
        raise MissingFileError(f"{path}: expected a zip archive; got no such file; download it first")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: expected a zip archive; got another file")
    with zipfile.ZipFile(path) as archive:
        within = all(name.split("/")[0] == path.stem for name in archive.namelist())
        archive.extractall(target if within else target / path.stem)
