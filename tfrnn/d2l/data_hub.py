"""Files by the names of DATA_HUB (section 4.10 of edition 0.17)."""

import os
from pathlib import Path

from tfrnn.d2l import files_by_url
from tfrnn.data.corpora import english_french
from tfrnn.errors import UserError

# For each name: the URL of a file and its SHA-1. Pages add to it.
DATA_HUB = {
    "time_machine": (files_by_url.DATA_URL + "timemachine.txt", "090b5e7e70c295757f55df93cb0a180b9691891a"),
    "fra-eng": (files_by_url.DATA_URL + english_french.FILE_NAME, english_french.SHA1),
}


def download(name: str, cache_dir: str | os.PathLike = "../data") -> str:
    """Returns the path of a file of DATA_HUB in cache_dir, into which it is copied or downloaded if it is not there.

    A file of its name in the folder that TFRNN_DATA_DIR names is copied, not downloaded.

    Raises:
      UserError: DATA_HUB does not have the name, or the file has another checksum.
      MissingFileError: it cannot be downloaded.
    """
    if name not in DATA_HUB:
        raise UserError(f"expected one of {', '.join(DATA_HUB)}, the names in DATA_HUB; got {name!r}")
    return files_by_url.download(DATA_HUB[name][0], cache_dir, DATA_HUB[name][1])


def download_extract(name: str, folder: str | None = None) -> str:
    """Unpacks a zip archive of DATA_HUB where it is, and returns the folder of its files.

    Args:
      name: in DATA_HUB.
      folder: the name of the folder, if it is not that of the archive.
    """
    path = Path(download(name))
    files_by_url.extract(path)
    return str(path.parent / folder if folder else path.with_suffix(""))
