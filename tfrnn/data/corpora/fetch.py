"""Corpora that are fetched: from TFRNN_DATA_DIR, the cache of TensorFlow Datasets, or the network, in that order."""

import contextlib
import hashlib
import importlib
import importlib.resources
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tfrnn.data.corpora.files import read_bytes, read_text
from tfrnn.errors import MissingFileError, UserError

DATA_DIR = "TFRNN_DATA_DIR"
CONNECT_SECONDS = 3.05  # for each address of a host; longer than the 3 seconds after which TCP asks again
ANSWER_SECONDS = 10.0  # without a byte from the server


class RecordedFile(NamedTuple):
    """A line of a builder's checksums.tsv: the file that the builder downloads."""

    url: str
    size: str
    sha256: str
    file_name: str


def path_in_package(package: str, name: str) -> Path:
    """Returns the path of a file in an installed package."""
    return Path(str(importlib.resources.files(package) / name))


def recorded_file(builder: str) -> RecordedFile:
    """Returns the file that the builder in the package `builder` downloads."""
    return RecordedFile(*path_in_package(builder, "checksums.tsv").read_text().strip().split("\t"))


def fetch_text(
    name: str, builder: str, cache_dir: str | os.PathLike | None = None, answer_seconds: float = ANSWER_SECONDS
) -> str:
    """Returns the text of a named corpus.

    Args:
      name: the name of the corpus.
      builder: the package of its builder of TensorFlow Datasets.
      cache_dir: the cache of TensorFlow Datasets; None: TFDS_DATA_DIR or ~/tensorflow_datasets.
      answer_seconds: how long to wait for a server that sends nothing.
    Raises:
      MissingFileError: the file is neither in TFRNN_DATA_DIR nor in the cache, and cannot be downloaded.
      UserError: the file in TFRNN_DATA_DIR has another SHA-256 than recorded.
    """
    file = recorded_file(builder)
    path = Path(os.environ.get(DATA_DIR, "")) / file.file_name
    if os.environ.get(DATA_DIR) and path.exists():
        received = hashlib.sha256(read_bytes(path)).hexdigest()
        if received != file.sha256:
            raise UserError(
                f"{path}: expected the {name} corpus with SHA-256 {file.sha256}, got {received}; "
                f"replace the file by {file.url} or remove it"
            )
        return read_text(path)
    with _keep_stdout_and_log_clean():
        dataset_builder = importlib.import_module(f"{builder}.{name}_dataset_builder").Builder(data_dir=cache_dir)
        return _read_with_tfds(name, dataset_builder, file, answer_seconds)


@contextlib.contextmanager
def _keep_stdout_and_log_clean() -> Iterator[None]:
    """Redirects what TensorFlow Datasets prints to stderr, and hides its warnings about folders not yet prepared."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logger.setLevel(level)


def _read_with_tfds(name: str, dataset_builder: Any, file: RecordedFile, answer_seconds: float) -> str:
    """Returns the text from the cache of TensorFlow Datasets; downloads it first if the cache does not have it."""
    import tensorflow_datasets as tfds  # slow to import, and not needed if the file is in TFRNN_DATA_DIR

    if not dataset_builder.is_prepared():
        try:
            _prepare(dataset_builder, file, answer_seconds)
        except Exception as error:  # whatever stops a download, the ways out are the same
            data_dir = os.environ.get(DATA_DIR)
            current = f" (now {data_dir}, without that file)" if data_dir else ""
            raise MissingFileError(
                f"corpus {name} could not be downloaded from {file.url} ({_reason(error)}); save that file as "
                f"{file.file_name} in a folder and set {DATA_DIR} to it{current}, or use the embedded `corpus=sample`"
            ) from None
    try:
        parts = [tfds.as_numpy(dataset_builder.as_dataset(split=split)) for split in dataset_builder.info.splits]
        return "".join(example["text"].decode() for part in parts for example in part)
    except Exception as error:  # a damaged file raises whatever its reader raises
        raise UserError(
            f"corpus {name}: expected the text in {dataset_builder.data_path}, but it cannot be read "
            f"({_reason(error)}); remove that folder to rebuild it"
        ) from None


def _prepare(dataset_builder: Any, file: RecordedFile, answer_seconds: float) -> None:
    """Downloads the file and lets TensorFlow Datasets verify it and write the dataset to its cache.

    The download manager of TensorFlow Datasets has no time limit and retries ten times, so that without a network
    minutes would pass. It is given the file as one that was downloaded by hand; it verifies the checksum of these too.
    """
    import tensorflow_datasets as tfds

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, file.file_name).write_bytes(_download(file.url, answer_seconds))
        # A dataset that was prepared elsewhere, which try_download_gcs allows, would have no checksum.
        config = tfds.download.DownloadConfig(
            manual_dir=folder, force_checksums_validation=True, try_download_gcs=False
        )
        dataset_builder.download_and_prepare(download_config=config)


def fetch_bytes(url: str, file_name: str, answer_seconds: float = ANSWER_SECONDS) -> bytes:
    """Returns the bytes of a file from the network.

    Args:
      url: where it is.
      file_name: its name in the folder that TFRNN_DATA_DIR names, for the message.
      answer_seconds: how long to wait for a server that sends nothing.
    Raises:
      MissingFileError: it cannot be downloaded.
    """
    try:
        return _download(url, answer_seconds)
    except Exception as error:  # whatever stops a download, the ways out are the same
        raise MissingFileError(
            f"{url} could not be downloaded ({_reason(error)}); save that file as {file_name} in a folder and set "
            f"{DATA_DIR} to it"
        ) from None


def _download(url: str, answer_seconds: float) -> bytes:
    import requests

    response = requests.get(url, timeout=(CONNECT_SECONDS, answer_seconds))
    response.raise_for_status()
    return response.content


def _reason(error: BaseException) -> str:
    """Returns the message of the error that began a chain of errors, on one line of at most 200 characters."""
    while error.__context__:
        error = error.__context__
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
