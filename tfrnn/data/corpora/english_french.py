"""English and French sentences from Tatoeba, in pairs, as manythings.org/anki gives them out (CC BY 2.0 France).

A text of lines `English<TAB>French`, for Dive into Deep Learning's section on machine translation. It is not in this
package.
"""

import hashlib
import io
import os
import zipfile
from pathlib import Path

from tfrnn.data.corpora import fetch
from tfrnn.data.corpora.files import read_bytes
from tfrnn.errors import UserError
from tfrnn.runtime import durable

# The book's archive, of which the book records the SHA-1, and another one with the same pairs.
URL = "http://d2l-data.s3-accelerate.amazonaws.com/fra-eng.zip"
FILE_NAME, MEMBER = "fra-eng.zip", "fra.txt"
SHA1 = "94646ad1522d915e7b0f9296181140edcf86a4f5"
SHA256 = "036e7dc4e83d393db24720ca0c7b7ddcb4b6b6053960438a5c0e1d6d8f2528f5"


def is_archive(content: bytes) -> bool:
    """Returns whether these are the bytes of one of the two recorded archives."""
    return hashlib.sha256(content).hexdigest() == SHA256 or hashlib.sha1(content).hexdigest() == SHA1


def read_pairs(cache_dir: str | os.PathLike | None = None) -> str:
    """Returns the text of all pairs, 167,130 lines in the recorded archives.

    The archive is read from the folder that TFRNN_DATA_DIR names if it is there, else from the cache, else it is
    downloaded. Its checksum is verified.

    Args:
      cache_dir: where a download is kept; None: TFDS_DATA_DIR or ~/tensorflow_datasets, as for the other corpora.
    Raises:
      MissingFileError: the archive is in none of these, and cannot be downloaded.
      UserError: the archive has another checksum.
    """
    cache_dir = cache_dir or os.environ.get("TFDS_DATA_DIR") or Path("~/tensorflow_datasets").expanduser()
    cached = Path(cache_dir, "english_french", FILE_NAME)
    at_hand = Path(os.environ.get(fetch.DATA_DIR, ""), FILE_NAME)
    if os.environ.get(fetch.DATA_DIR) and at_hand.exists():
        return _text(read_bytes(at_hand), at_hand)
    if cached.exists():
        return _text(read_bytes(cached), cached)
    content = fetch.fetch_bytes(URL, FILE_NAME)
    text = _text(content, URL)
    cached.parent.mkdir(parents=True, exist_ok=True)
    durable.write(cached, content)
    return text


def _text(content: bytes, source: str | os.PathLike) -> str:
    if not is_archive(content):
        raise UserError(
            f"{source}: expected the English-French pairs with SHA-256 {SHA256} or SHA-1 {SHA1}, got SHA-256 "
            f"{hashlib.sha256(content).hexdigest()}; replace the file by {URL} or remove it"
        )
    return zipfile.ZipFile(io.BytesIO(content)).read(MEMBER).decode()
