"""What has been learnt of a text, kept in files, so that it is read once and not by every run."""

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

SURVEY = "survey.json"
FORMAT = 1  # to be counted up where a rule, or what is written, becomes another
LARGEST_SURVEY = 2**32  # bytes
SECONDS_OF_REST = 24 * 3600.0  # after which nobody is writing to a file any more


def default_cache_dir() -> Path:
    """Where the user's caches are: $XDG_CACHE_HOME/tfrnn, or ~/.cache/tfrnn."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "tfrnn")


class Cache:
    """Surveys and token ids of texts, in a folder for each text, rule and kind of tokens.

    A text is known by its source's SHA-256. What is there and whole is read, else it is made anew: under a name of this
    process's own, flushed, then renamed, so that others may do the same at the same time, and none reads a half.

    Args:
      folder: is made where it is not there.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    def survey(self, source: Source, sha256: str, rule: str, tokens: str = "char", on_bytes: OnBytes = None) -> Survey:
        """As passes.survey.

        Args:
          source: the text.
          sha256: of the source, in hex.
          rule, tokens, on_bytes: as for passes.survey.
        Raises:
          UserError: as passes.survey, or the folder cannot be written.
        """
        path = self._path(sha256, rule, tokens, SURVEY)
        found = _read_survey(path)
        if found is None:
            with self._written(path) as file:
                found = passes.survey(source, rule, tokens, on_bytes)
                file.write(json.dumps(found._asdict(), ensure_ascii=False).encode())
        return found

    def ids(
        self,
        source: Source,
        sha256: str,
        rule: str,
        vocabulary: Vocabulary,
        num_tokens: int,
        on_bytes: OnBytes = None,
    ) -> StoredIds:
        """The ids of the first tokens of the text, in `vocabulary.dtype`.

        Args:
          source: the text.
          sha256: of the source, in hex.
          rule: a key of text_rules.TEXT_RULES.
          vocabulary: what is not in it becomes 0.
          num_tokens: not more than the text has.
          on_bytes: is told how many bytes of the source have been read.
        Raises:
          UserError: as passes.encode, the text has fewer tokens, or the folder cannot be written.
        """
        name = f"ids-{hashlib.sha256(vocabulary.to_json().encode()).hexdigest()[:16]}-{num_tokens}.bin"
        path = self._path(sha256, rule, vocabulary.tokens, name)
        size = num_tokens * vocabulary.dtype.itemsize
        if not _has_size(path, size):
            with self._written(path) as file:
                for ids in passes.encode(source, rule, vocabulary, num_tokens, on_bytes):
                    file.write(ids.data)
            if not _has_size(path, size):
                raise UserError(f"corpus {source.name}: expected {num_tokens:,} tokens, got fewer; take a longer text")
        return StoredIds(path, vocabulary.dtype, 0, num_tokens)

    @staticmethod
    def _remove_what_was_cut_off(folder: Path) -> None:
        """What processes that were killed while they wrote have left there, some time ago."""
        for left in folder.glob(f"*{durable.PARTIAL}"):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > SECONDS_OF_REST:
                    left.unlink()

    def _path(self, sha256: str, rule: str, tokens: str, name: str) -> Path:
        return self.folder / f"{sha256}-{rule}-{tokens}-{FORMAT}" / name

    @contextlib.contextmanager
    def _written(self, path: Path) -> Iterator[BinaryIO]:
        """A file that takes its name when all is written, and is removed where something fails."""
        new = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._remove_what_was_cut_off(path.parent)
            # A new file of a name that nobody else has, on no machine that shares the folder.
            descriptor, name = tempfile.mkstemp(durable.PARTIAL, f"{path.name}.", path.parent)
            new = Path(name)
            with os.fdopen(descriptor, "wb") as file:
                yield file
            durable.flush(new)
            os.replace(new, path)
        except BaseException as error:
            if new:
                with contextlib.suppress(OSError):
                    new.unlink()
            if isinstance(error, OSError) and not isinstance(error, UserError):
                reason = f"expected a folder that can be written, but {error.strerror}"
                raise UserError(f"--cache_dir={self.folder}: {reason}; name another") from None
            raise


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _read_survey(path: Path) -> Survey | None:
    """What the file holds; None where there is none, or it is damaged."""
    try:
        found = Survey(**json.loads(durable.read(path, LARGEST_SURVEY)))
        whole = 0 < found.num_tokens == sum(found.counts.values()) and min(found.counts.values()) > 0
        return found if whole and len(bytes.fromhex(found.sha256)) == 32 and isinstance(found.beginning, str) else None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
