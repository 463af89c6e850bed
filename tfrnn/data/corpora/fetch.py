"""Corpora that are fetched: from TFRNN_DATA_DIR, TensorFlow Datasets' cache, or the network, in that order."""

import contextlib
import hashlib
import importlib
import importlib.resources
import logging
import os
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from tfrnn.data.corpora.files import read_bytes, read_text
from tfrnn.errors import MissingFileError, UserError

DATA_DIR = "TFRNN_DATA_DIR"
PROBE_SECONDS = 8  # without a network TFDS retries for minutes, so one question is asked before it starts


class Recorded(NamedTuple):
    """A line of a builder's checksums.tsv."""

    url: str
    size: str
    sha256: str
    file_name: str


def path_in_package(package: str, name: str) -> Path:
    return Path(str(importlib.resources.files(package) / name))


def recorded(builder: str) -> Recorded:
    """The file that the builder in this package wants."""
    return Recorded(*path_in_package(builder, "checksums.tsv").read_text().strip().split("\t"))


def fetch_text(name: str, builder: str) -> str:
    """The text of the corpus `name`, whose TFDS builder is in the package `builder`.

    Raises:
      MissingFileError: it is nowhere at hand and cannot be downloaded.
      UserError: the file in TFRNN_DATA_DIR is not the recorded one.
    """
    file = recorded(builder)
    path = Path(os.environ.get(DATA_DIR, "")) / file.file_name
    if os.environ.get(DATA_DIR) and path.exists():
        received = hashlib.sha256(read_bytes(path)).hexdigest()
        if received != file.sha256:
            raise UserError(
                f"{path}: expected the {name} corpus with SHA-256 {file.sha256}, got {received}; "
                f"replace the file by {file.url} or remove it"
            )
        return read_text(path)
    return _from_tfds(name, builder, file)


def _from_tfds(name: str, builder: str, file: Recorded) -> str:
    import tensorflow_datasets as tfds  # here, since only a corpus that is not at hand needs it

    logging.getLogger("absl").setLevel(logging.ERROR)  # it warns that what is to be downloaded is not there yet
    dataset_builder = importlib.import_module(f"{builder}.{name}_dataset_builder").Builder()
    if not dataset_builder.is_prepared():
        config = tfds.download.DownloadConfig(force_checksums_validation=True)
        try:
            _probe(file.url)
            with contextlib.redirect_stdout(sys.stderr):  # TFDS announces its download there
                dataset_builder.download_and_prepare(download_config=config)
        except Exception as error:  # whatever stops a download, the way out is the same
            cause = getattr(error, "reason", error)  # of a URLError
            reason = " ".join(str(getattr(cause, "strerror", None) or cause).split())[:200]
            now = f" (now {os.environ[DATA_DIR]}, without that file)" if os.environ.get(DATA_DIR) else ""
            raise MissingFileError(
                f"corpus {name} could not be downloaded from {file.url} ({reason}); save that file as "
                f"{file.file_name} in a folder and set {DATA_DIR} to it{now}, or use the embedded --corpus=sample"
            ) from None
    try:
        parts = [tfds.as_numpy(dataset_builder.as_dataset(split=split)) for split in dataset_builder.info.splits]
        return "".join(example["text"].decode() for part in parts for example in part)
    except Exception as error:  # a damaged file raises whatever its reader does
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"corpus {name}: expected the text in {dataset_builder.data_path}, but it cannot be read ({reason}); "
            "remove that folder, and it is made anew"
        ) from None


def _probe(url: str) -> None:
    """Raises an exception unless the URL begins to be served within PROBE_SECONDS."""
    failure: list[Any] = [TimeoutError(f"no answer within {PROBE_SECONDS} seconds")]

    def ask() -> None:
        try:
            urllib.request.urlopen(url, timeout=PROBE_SECONDS).close()
            failure.clear()
        except Exception as error:
            failure[0] = error

    thread = threading.Thread(target=ask, daemon=True)  # a name look-up has no time limit of its own
    thread.start()
    thread.join(PROBE_SECONDS)
    if failure:
        raise failure[0]
