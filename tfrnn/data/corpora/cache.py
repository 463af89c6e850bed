"""The cache of surveys and token ids of large texts, so that a text is read once and not in every run."""

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tfrnn.data.corpora import passes
from tfrnn.data.corpora.passes import Survey
from tfrnn.data.corpora.sources import OnBytes, Source
from tfrnn.data.stored_ids import StoredIds
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import UserError
from tfrnn.runtime import durable

SURVEY_FILE = "survey.json"
# To be increased if a text rule or the content of a file changes; a survey that lacks something is made again as it is.
FORMAT_VERSION = 1
MAX_SURVEY_BYTES = 2**32
# Of tokens, in names of folders: version 0.1's stay.
_KINDS = {"char": "char", "spaced": "word", "word": "words", "bpe": "bpe"}
ABANDONED_AFTER_SECONDS = 24 * 3600.0  # without a write, a half-written file belongs to a process that was killed


def default_cache_dir() -> Path:
    """Returns the folder of this package among the user's caches: $XDG_CACHE_HOME/tfrnn, or ~/.cache/tfrnn."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "tfrnn")


class Cache:
    """Surveys and token ids of texts, in one folder for each text, rule and kind of tokens.

    A text is identified by the SHA-256 of its source. A file that exists and is complete is read. Otherwise it is built
    again, under a temporary name that no other process uses, flushed to the disk and then renamed: several processes
    may build the same file at the same time, and none reads an incomplete one.

    Args:
      folder: the folder of the cache; it is created if it does not exist.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    def survey(self, source: Source, sha256: str, rule: str, tokens: str = "char", on_bytes: OnBytes = None) -> Survey:
        """Returns the survey of a text, from the cache or else by `passes.survey`.

        Args:
          source: the text.
          sha256: the SHA-256 of the source, in hex.
          rule: a key of text_rules.TEXT_RULES.
          tokens: a key of text_rules.NOUNS.
          on_bytes: is called with the number of bytes of the source read since the last call.
        Raises:
          UserError: the text cannot be read, nothing is left of it by the rule, or the folder cannot be written.
        """
        path = self._path(sha256, rule, tokens, SURVEY_FILE)
        survey = _read_survey(path)
        if survey is None:
            with self._create(path) as file:
                survey = passes.survey(source, rule, tokens, on_bytes)
                file.write(json.dumps(survey._asdict(), ensure_ascii=False).encode())
        return survey

    def ids(
        self,
        source: Source,
        sha256: str,
        rule: str,
        vocabulary: Vocabulary,
        num_tokens: int,
        on_bytes: OnBytes = None,
    ) -> StoredIds:
        """Returns the ids of the first tokens of a text, from the cache or else by `passes.encode`.

        Args:
          source: the text.
          sha256: the SHA-256 of the source, in hex.
          rule: a key of text_rules.TEXT_RULES.
          vocabulary: maps tokens to ids; a token that is not in it becomes 0.
          num_tokens: the number of tokens, at most as many as the text has.
          on_bytes: is called with the number of bytes of the source read since the last call.
        Returns:
          The ids, `vocabulary.dtype` [num_tokens], in a file of the cache.
        Raises:
          UserError: the text cannot be read or has fewer tokens, or the folder cannot be written.
        """
        path = self._path(sha256, rule, vocabulary.tokens, f"ids-{_digest(vocabulary)}-{num_tokens}.bin")
        size = num_tokens * vocabulary.dtype.itemsize
        if not _has_size(path, size):
            with self._create(path) as file:
                for ids in passes.encode(source, rule, vocabulary, num_tokens, on_bytes):
                    file.write(ids.data)
            if not _has_size(path, size):
                raise UserError(f"corpus {source.name}: expected {num_tokens:,} tokens, got fewer; take a longer text")
        return StoredIds(path, vocabulary.dtype, 0, num_tokens)

    def ids_of_characters(
        self,
        source: Source,
        sha256: str,
        rule: str,
        vocabulary: Vocabulary,
        begin: int,
        end: int,
        on_bytes: OnBytes = None,
    ) -> StoredIds:
        """Returns the ids of the characters [begin, end) of a text, as `ids` does, by `passes.encode_characters`."""
        stem = f"ids-{_digest(vocabulary)}-{begin}-{end}"
        path, count_path = (self._path(sha256, rule, vocabulary.tokens, stem + kind) for kind in (".bin", ".json"))
        count = _read_count(count_path)
        if not count or not _has_size(path, count * vocabulary.dtype.itemsize):
            count = 0
            with self._create(path) as file:
                for ids in passes.encode_characters(source, rule, vocabulary, begin, end, on_bytes):
                    file.write(ids.data)
                    count += len(ids)
            with self._create(count_path) as file:
                file.write(json.dumps(count).encode())
        return StoredIds(path, vocabulary.dtype, 0, count)

    @staticmethod
    def _remove_abandoned_files(folder: Path) -> None:
        """Removes the half-written files of processes that were killed some time ago."""
        for path in folder.glob(f"*{durable.PARTIAL}"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED_AFTER_SECONDS:
                    path.unlink()

    def _path(self, sha256: str, rule: str, tokens: str, name: str) -> Path:
        return self.folder / f"{sha256}-{rule}-{_KINDS[tokens]}-{FORMAT_VERSION}" / name

    @contextlib.contextmanager
    def _create(self, path: Path) -> Iterator[BinaryIO]:
        """Opens a file that gets its name when it is complete, and is removed if anything fails."""
        temporary = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._remove_abandoned_files(path.parent)
            # Its name must be unique among all machines that share the folder.
            descriptor, name = tempfile.mkstemp(durable.PARTIAL, f"{path.name}.", path.parent)
            temporary = Path(name)
            with os.fdopen(descriptor, "wb") as file:
                yield file
            durable.flush(temporary)
            os.replace(temporary, path)
        except BaseException as error:
            if temporary:
                with contextlib.suppress(OSError):
                    temporary.unlink()
            if isinstance(error, OSError) and not isinstance(error, UserError):
                reason = f"expected a folder that can be written, but {error.strerror}"
                raise UserError(f"`cache_dir={self.folder}`: {reason}; name another") from None
            raise


def _digest(vocabulary: Vocabulary) -> str:
    return hashlib.sha256(vocabulary.to_json().encode()).hexdigest()[:16]


def _read_count(path: Path) -> int:
    """Returns the number in a file, or 0 if the file does not exist or is damaged."""
    try:
        return int(durable.read(path, 100))
    except (OSError, ValueError):
        return 0


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _read_survey(path: Path) -> Survey | None:
    """Returns the survey in a file, or None if the file does not exist or is damaged, or is of version 0.1."""
    try:
        survey = Survey(**json.loads(durable.read(path, MAX_SURVEY_BYTES)))
        complete = 0 < survey.num_tokens == sum(survey.counts.values()) and min(survey.counts.values()) > 0
        sha256_is_valid = len(bytes.fromhex(survey.sha256)) == 32
        texts_are_valid = isinstance(survey.beginning, str) and isinstance(survey.encoding, str)
        numbers_are_valid = isinstance(survey.num_texts, int) and isinstance(survey.num_left_out, int)
        return survey if complete and sha256_is_valid and texts_are_valid and numbers_are_valid else None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
