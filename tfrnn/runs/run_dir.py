"""A run on disk: config.json, vocabulary.json, metrics.jsonl, checkpoints/ and perplexity.png.

A run directory is all that sampling needs. It may come from an untrusted source: it holds JSON of a closed schema and
arrays whose shapes are known beforehand, and no link in it is followed. (The one path in it, that of its corpus, is
read only by `evaluate`, if no other text is named.)
"""

import contextlib
import functools
import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfrnn.config import config as config_lib
from tfrnn.config import sizes
from tfrnn.config.config import Config
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import MissingFileError, RunWarning, UserError
from tfrnn.runs import checkpoints, metrics
from tfrnn.runs.checkpoints import Arrays, Checkpoint, Layout, UnusableError
from tfrnn.runs.metrics import Metrics
from tfrnn.runtime import durable

CONFIG, VOCABULARY, CHECKPOINTS, PLOT = "config.json", "vocabulary.json", "checkpoints", "perplexity.png"
_RUN_FILES = {
    name + suffix
    for name in (CONFIG, VOCABULARY, metrics.FILE_NAME, CHECKPOINTS, PLOT)
    for suffix in ("", durable.PARTIAL)
}
_MAX_BYTES = {CONFIG: 2**24, VOCABULARY: 2**25}  # a larger file is not read
_DIGEST = Layout((32,), "|u1")


class RunDir:
    """A run directory, which may not exist yet. Nothing is written before `create`.

    Within `with` it is locked by this process: on entering if the folder exists, else by `create`.

    Attributes:
      path: the folder.
      metrics: the rows of its finished epochs.
      existed: whether it held a run already when it was entered.
    Raises (on entering):
      UserError: the path is a file or a folder of something other than a run, or another process has locked it.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.metrics = Metrics(self.path)
        self.existed = False
        self._checkpoints = checkpoints.Folder(self.path / CHECKPOINTS)
        self._lock: durable.FolderLock | None = None
        self._settings = np.zeros(32, np.uint8)

    def __enter__(self) -> "RunDir":
        names = self._names()
        self.existed = self.exists
        if names and not self.existed:
            if names - _RUN_FILES:
                raise self._error("a new or empty folder or one of a run, but it holds other files; name another")
            # Without config.json it is a run that was killed while it was created, unless there are epochs to lose.
            if self.metrics.rows() or self._checkpoints.files():
                raise self._error(f"a run, but its {CONFIG} is missing; bring it back, or name another folder")
        if names is not None:
            self._acquire_lock()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._lock:
            self._lock.release()
            self._lock = None

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run now."""
        try:
            return os.path.lexists(self.path / CONFIG)
        except ValueError:  # a NUL character in the path
            return False

    def is_run_file(self, path: str | os.PathLike) -> bool:
        """Returns whether a path is that of a file of this run."""
        folder, file = self.path.resolve(), Path(path).resolve()
        return file.is_relative_to(folder) and file.relative_to(folder).parts[0] in _RUN_FILES

    def create(self, config: Config, vocabulary: Vocabulary) -> None:
        """Writes the settings and the vocabulary; of an existing run, the settings that may change on resume.

        Raises:
          OSError: a file cannot be written.
          UserError: another process has created a run there in the meantime, or the vocabulary is too large.
        """
        (self.path / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        self._acquire_lock()
        if self.exists and not self.existed:
            raise self._error("a new run, but another process has just begun one there; name another")
        tokens = vocabulary.to_json().encode()
        if len(tokens) > _MAX_BYTES[VOCABULARY]:
            raise self._error(
                f"a vocabulary of at most {_MAX_BYTES[VOCABULARY]:,} bytes, got {len(tokens):,} in "
                f"{len(vocabulary):,} tokens; take a shorter text, or `tokens=char`"
            )
        durable.write(self.path / VOCABULARY, tokens)
        self._settings = _digest_settings(config, vocabulary)
        text = json.dumps(config.to_dict(), ensure_ascii=False, indent=2) + "\n"
        durable.write(self.path / CONFIG, text.encode())

    @contextlib.contextmanager
    def reporting_write_errors(self) -> Iterator[None]:
        """A context in which an OSError becomes a UserError that names the run directory."""
        try:
            yield
        except OSError as error:
            remedy = "make it writable and run the command again" if self.existed else "name another"
            raise self._error(f"a folder that can be written, but {error.strerror}; {remedy}") from None

    def config(self) -> Config:
        """Returns the settings.

        Raises:
          MissingFileError: there is no config.json.
          UserError: config.json is not one of tfrnn.
        """
        try:
            data = json.loads(self._read(CONFIG))
        except UserError:
            raise
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.path / CONFIG}: expected JSON, but it cannot be read ({error})") from None
        try:
            return Config.from_dict(data)
        except UserError as error:
            raise UserError(f"{self.path / CONFIG}: {error}") from None

    def vocabulary(self, tokens: str) -> Vocabulary:
        """Returns the vocabulary.

        Args:
          tokens: what its tokens are, a key of `text_rules.NOUNS`.
        Raises:
          MissingFileError: there is no vocabulary.json.
          UserError: vocabulary.json is not one of tfrnn.
        """
        try:
            return Vocabulary.from_json(self._read(VOCABULARY), tokens)
        except UserError as error:
            if isinstance(error, MissingFileError):
                raise
            raise UserError(f"{self.path / VOCABULARY}: {error}") from None

    def check_same(self, config: Config, vocabulary: Vocabulary) -> None:
        """Checks that the run can be resumed with these settings and this vocabulary.

        Raises:
          UserError: a setting that may not change on resume, or the vocabulary, is not the run's.
        """
        previous = self.config().flat()
        for name, value in config.flat().items():
            if previous[name] != value and name in _fixed_settings():
                raise UserError(
                    f"`run_dir={self.path}`: the run was begun with `{name}={previous[name]}`, now it is {value}; "
                    f"give `{name}={previous[name]}` to resume it, or another `run_dir` for a new run"
                )
        if self.vocabulary(config.data.token_kind).id_to_token != vocabulary.id_to_token:
            raise self.changed_corpus_error(config)

    def changed_corpus_error(self, config: Config) -> UserError:
        """Returns the error to raise if the text is not the one that the run was begun with."""
        return UserError(
            f"`run_dir={self.path}`: the text of `corpus={config.data.corpus}` has changed since the run began; bring "
            "the old one back, or give another `run_dir` for a new run"
        )

    def save(self, position: tuple[int, int], arrays: Arrays) -> None:
        """Writes a checkpoint.

        Args:
          position: the numbers of finished epochs and of finished batches of the current epoch.
          arrays: what training resumes from.
        Raises:
          OSError: it cannot be written; earlier checkpoints are unchanged.
        """
        self.metrics.flush()  # first, so that a checkpoint is never newer than the rows of its epochs
        self._checkpoints.save(position, {**arrays, "settings_sha256": self._settings})

    @property
    def plot_is_outdated(self) -> bool:
        """Whether the newest checkpoint is newer than perplexity.png, or that does not exist."""
        files = self._checkpoints.files()
        plot = self.path / PLOT
        return bool(files) and (not plot.exists() or plot.stat().st_mtime_ns < files[0].stat().st_mtime_ns)

    def save_plot(self, png: bytes) -> None:
        """Writes perplexity.png.

        Raises:
          OSError: it cannot be written.
        """
        durable.write(self.path / PLOT, png)

    def load(
        self, expected: Mapping[str, Layout], config: Config, vocabulary: Vocabulary
    ) -> dict[str, np.ndarray] | None:
        """Returns the arrays of the newest usable checkpoint, or None if the run has no checkpoint.

        Args:
          expected: the layouts of the arrays.
          config, vocabulary: of the run; a checkpoint made with others is not used.
        Raises:
          UserError: there are checkpoints, but all are damaged or have other arrays; or the metrics have epochs, but
            there is no checkpoint.
        """

        def read(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
            checkpoints.check(checkpoint.layouts, {**expected, "settings_sha256": _DIGEST})
            self._check_settings(checkpoint, config, vocabulary)
            arrays = checkpoint.read(expected)
            if tuple(arrays["position"]) != checkpoint.position:
                raise UnusableError(f"its position is {arrays['position'].tolist()}, not that of its name")
            return arrays

        arrays = self._checkpoints.read_newest(read, sizes.max_checkpoint_bytes(config, len(vocabulary)))
        if arrays is None and (rows := self.metrics.rows()):
            raise self._error(
                f"a checkpoint of the {len(rows)} finished epochs, but {CHECKPOINTS} holds none; bring it back, or "
                "give another `run_dir` for a new run"
            )
        return arrays

    def load_weights(self, config: Config, vocabulary: Vocabulary, which: str) -> list[np.ndarray]:
        """Returns the weights of the model from the newest usable checkpoint.

        Args:
          config, vocabulary: of the run; a checkpoint made with others is not used.
          which: `best` for those with the lowest validation perplexity, or `last`.
        Raises:
          MissingFileError: there is no checkpoint.
          UserError: all checkpoints are damaged, or of other settings than the config's.
        """

        shapes = sizes.weight_shapes(config.model, len(vocabulary))

        def read(checkpoint: Checkpoint) -> list[np.ndarray]:
            self._check_settings(checkpoint, config, vocabulary)
            best_epoch = checkpoint.read({"best_epoch": Layout((), "<i8")})["best_epoch"]
            group = "best_weights" if which == "best" and best_epoch > 0 else "weights"
            arrays = checkpoint.read({f"{group}.{i}": Layout(shape, "<f4") for i, shape in enumerate(shapes)})
            return list(arrays.values())

        weights = self._checkpoints.read_newest(read, sizes.max_checkpoint_bytes(config, len(vocabulary)))
        if weights is None:
            raise MissingFileError(f"`run_dir={self.path}`: the run has no checkpoint yet; resume its training first")
        return weights

    def check_text(self, sha256: bytes, config: Config, vocabulary: Vocabulary) -> None:
        """Checks that the run was trained on the cleaned text with this SHA-256.

        Raises:
          UserError: the newest usable checkpoint was trained on another text.
        """

        def read(checkpoint: Checkpoint) -> bytes:
            return checkpoint.read({"corpus_sha256": _DIGEST})["corpus_sha256"].tobytes()

        if self._checkpoints.read_newest(read, sizes.max_checkpoint_bytes(config, len(vocabulary))) != sha256:
            raise self._error(
                f"the text of `corpus={config.data.corpus}` as it was trained on, but that has changed since; bring it "
                "back, or read another by `text_file`, without `memorised`"
            )

    @staticmethod
    def _check_settings(checkpoint: Checkpoint, config: Config, vocabulary: Vocabulary) -> None:
        digest = checkpoint.read({"settings_sha256": _DIGEST})["settings_sha256"]
        if not np.array_equal(digest, _digest_settings(config, vocabulary)):
            raise UnusableError(f"it was made with other settings or tokens than are in {CONFIG} and {VOCABULARY}")

    def _names(self) -> set[str] | None:
        """Returns the names of all files in the folder, or None if the folder does not exist."""
        if "\0" in str(self.path):
            raise self._error("the name of a folder, but it holds a NUL character; name another")
        try:
            if self.path.exists() and not self.path.is_dir():
                raise self._error("a folder, but it is a file; name another")
            return {path.name for path in self.path.iterdir()} if self.path.exists() else None
        except OSError as error:
            reason = error.strerror
            raise self._error(f"a folder for the run, but it cannot be read ({reason}); name another") from None

    def _acquire_lock(self) -> None:
        if self._lock:
            return
        try:
            self._lock = durable.FolderLock(self.path)
        except BlockingIOError:
            expected = "a run that no other process is training, but one is; wait for it, or name another"
            raise self._error(expected) from None
        if not self._lock.locked:
            warnings.warn(
                f"`run_dir={self.path}`: the folder cannot be locked; make sure that no other process trains in it",
                RunWarning,
                stacklevel=2,
            )

    def _read(self, name: str) -> str:
        path = self.path / name
        try:
            return durable.read(path, _MAX_BYTES[name]).decode()
        except FileNotFoundError:
            raise MissingFileError(f"`run_dir={self.path}`: expected a run of tfrnn, but it has no {name}") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(f"{path}: expected JSON, but it cannot be read ({reason})") from None

    def _error(self, expected: str) -> UserError:
        return UserError(f"`run_dir={self.path}`: expected {expected}")


@functools.cache
def _fixed_settings() -> frozenset[str]:
    """Returns the names of the settings that may not change on resume."""
    return frozenset(name for name in Config().flat() if not config_lib.may_change_on_resume(name))


def _digest_settings(config: Config, vocabulary: Vocabulary) -> np.ndarray:
    """Returns the SHA-256 of the vocabulary and of all settings that may not change, uint8 [32].

    A setting that has the value of runs older than itself is left out, since such a run's checkpoints do not know it.
    """
    before = config_lib.values_before()
    fixed = {
        name: value
        for name, value in config.flat().items()
        if name in _fixed_settings() and not (name in before and value == before[name])
    }
    return np.frombuffer(hashlib.sha256(json.dumps([fixed, vocabulary.id_to_token]).encode()).digest(), np.uint8)
