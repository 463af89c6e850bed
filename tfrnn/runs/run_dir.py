"""A run on disk: config.json, vocabulary.json, metrics.jsonl, checkpoints/ and perplexity.png.

A run directory is enough to sample from. It may come from a stranger: what it holds is JSON of a closed schema and
arrays whose shapes are known beforehand, and no link in it is followed. (The one path in it, that of its corpus, is
read by `evaluate` alone, if no other text is named.)
"""

import contextlib
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
_OWN = {name + suffix for name in (CONFIG, VOCABULARY, metrics.NAME, CHECKPOINTS, PLOT) for suffix in ("", durable.PARTIAL)}
_LARGEST = {CONFIG: 2**24, VOCABULARY: 2**25}  # bytes that are read
_DIGEST = Layout((32,), "|u1")


class RunDir:
    """A run directory, new or begun. Nothing is written before `create`.

    Within `with` it is held by this process, from the beginning or, where it is new, from `create` on.

    Raises (on entering):
      UserError: the path is a file or a folder of something else than a run, or another process holds it.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.metrics = Metrics(self.path)
        self._checkpoints = checkpoints.Folder(self.path / CHECKPOINTS)
        self._held: durable.FolderLock | None = None
        self.begun_before = False  # when it was entered
        self._settings = np.zeros(32, np.uint8)

    def __enter__(self) -> "RunDir":
        names = self._names()
        self.begun_before = self.begun
        if names and not self.begun:
            if names - _OWN:
                raise self._error("a new, empty or begun run, but it holds other files; name another")
            # Our own names alone: a run that was cut off as it began, unless it went on to checkpoints.
            if self.metrics.rows() or self._checkpoints.files():
                raise self._error(f"a run, but its {CONFIG} is missing; bring it back, or name another folder")
        if names is not None:
            self._hold()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._held:
            self._held.release()
            self._held = None

    @property
    def begun(self) -> bool:
        """Whether there is a run."""
        return self._exists(CONFIG)

    def owns(self, path: str | os.PathLike) -> bool:
        """Whether a path is that of a file of the run."""
        own, other = self.path.resolve(), Path(path).resolve()
        return other.is_relative_to(own) and other.relative_to(own).parts[0] in _OWN

    def create(self, config: Config, vocabulary: Vocabulary) -> None:
        """Writes the settings and the vocabulary, over those of a begun run where these may change. Raises OSError."""
        (self.path / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        self._hold()
        if self.begun and not self.begun_before:
            raise self._error("a new run, but another process has just begun one there; name another")
        tokens = vocabulary.to_json().encode()
        if len(tokens) > _LARGEST[VOCABULARY]:
            raise self._error(
                f"a vocabulary of at most {_LARGEST[VOCABULARY]:,} bytes, got {len(tokens):,} in {len(vocabulary):,} "
                "tokens; take a shorter text, or --tokens=char"
            )
        durable.write(self.path / VOCABULARY, tokens)
        self._settings = _settings_of(config, vocabulary)
        written = json.dumps(config.to_dict(), ensure_ascii=False, indent=2) + "\n"
        durable.write(self.path / CONFIG, written.encode())

    @contextlib.contextmanager
    def must_write(self) -> Iterator[None]:
        """Within it an OSError is a user's error."""
        try:
            yield
        except OSError as error:
            what = "put that right and begin again" if self.begun_before else "name another"
            raise self._error(f"a folder that can be written, but {error.strerror}; {what}") from None

    def config(self) -> Config:
        """The settings. Raises UserError where config.json is not one of ours."""
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
        """The vocabulary. Raises UserError where vocabulary.json is not one."""
        try:
            return Vocabulary.from_json(self._read(VOCABULARY), tokens)
        except UserError as error:
            if isinstance(error, MissingFileError):
                raise
            raise UserError(f"{self.path / VOCABULARY}: {error}") from None

    def check_same(self, config: Config, vocabulary: Vocabulary) -> None:
        """Raises UserError where a begun run has another setting or vocabulary than this."""
        begun = self.config().flat()
        for name, value in config.flat().items():
            if begun[name] != value and not config_lib.may_change_on_resume(name):
                raise UserError(
                    f"--run_dir {self.path}: the run was begun with --{name}={begun[name]}, now it is {value}; "
                    f"give --{name}={begun[name]} to go on, or another --run_dir for a new run"
                )
        if self.vocabulary(config.data.tokens).id_to_token != vocabulary.id_to_token:
            raise self.changed(f"the text of --corpus={config.data.corpus}")

    def changed(self, what: str) -> UserError:
        """What is said where something is not as it was when the run began."""
        return UserError(
            f"--run_dir {self.path}: {what} has changed since the run began; bring the old one back, or give another "
            "--run_dir for a new run"
        )

    def save(self, position: tuple[int, int], arrays: Arrays) -> None:
        """Writes a checkpoint of so many epochs and batches. Raises OSError; what was there is then still there."""
        self.metrics.flush()  # a checkpoint is never newer than the rows of its epochs
        self._checkpoints.save(position, {**arrays, "settings_sha256": self._settings})

    @property
    def picture_is_old(self) -> bool:
        """Whether there is a checkpoint that is newer than perplexity.png, or no such picture."""
        files = self._checkpoints.files()
        picture = self.path / PLOT
        return bool(files) and (not picture.exists() or picture.stat().st_mtime_ns < files[0].stat().st_mtime_ns)

    def save_plot(self, png: bytes) -> None:
        """Writes perplexity.png. Raises OSError."""
        durable.write(self.path / PLOT, png)

    def load(
        self, expected: Mapping[str, Layout], config: Config, vocabulary: Vocabulary
    ) -> dict[str, np.ndarray] | None:
        """The arrays of the newest whole checkpoint; None where the run has none.

        Raises:
          UserError: there are checkpoints, but none is whole and as expected; or there are none of finished epochs.
        """

        def use(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
            checkpoints.check(checkpoint.layouts, {**expected, "settings_sha256": _DIGEST})
            self._check_settings(checkpoint, config, vocabulary)
            arrays = checkpoint.read(expected)
            if tuple(arrays["position"]) != checkpoint.position:
                raise UnusableError(f"it is of position {arrays['position'].tolist()}")
            return arrays

        arrays = self._checkpoints.newest(use, sizes.max_checkpoint_bytes(config, len(vocabulary)))
        if arrays is None and (rows := self.metrics.rows()):
            raise self._error(
                f"a checkpoint of the {len(rows)} finished epochs, but {CHECKPOINTS} holds none; bring it back, or "
                "give another --run_dir for a new run"
            )
        return arrays

    def load_weights(self, config: Config, vocabulary: Vocabulary, which: str) -> list[np.ndarray]:
        """The model's weights of the newest whole checkpoint, `best` or `last`.

        Raises:
          MissingFileError: there is no checkpoint.
          UserError: none is whole, or of the model that the config describes.
        """

        shapes = sizes.weight_shapes(config.model, len(vocabulary))

        def use(checkpoint: Checkpoint) -> list[np.ndarray]:
            self._check_settings(checkpoint, config, vocabulary)
            best_epoch = checkpoint.read({"best_epoch": Layout((), "<i8")})["best_epoch"]
            group = "best_weights" if which == "best" and best_epoch > 0 else "weights"
            arrays = checkpoint.read({f"{group}.{i}": Layout(shape, "<f4") for i, shape in enumerate(shapes)})
            return list(arrays.values())

        weights = self._checkpoints.newest(use, sizes.max_checkpoint_bytes(config, len(vocabulary)))
        if weights is None:
            raise MissingFileError(f"--run_dir {self.path}: the run has no checkpoint yet; let train go on first")
        return weights

    def check_text(self, sha256: bytes, config: Config, vocabulary: Vocabulary) -> None:
        """Raises UserError where the newest whole checkpoint was not trained on the cleaned text of this SHA-256."""

        def use(checkpoint: Checkpoint) -> bytes:
            return checkpoint.read({"corpus_sha256": _DIGEST})["corpus_sha256"].tobytes()

        if self._checkpoints.newest(use, sizes.max_checkpoint_bytes(config, len(vocabulary))) != sha256:
            raise self._error(
                f"the text of --corpus={config.data.corpus} as it was trained on, but that has changed since; bring it "
                "back, or read another by --text_file, without --memorised"
            )

    @staticmethod
    def _check_settings(checkpoint: Checkpoint, config: Config, vocabulary: Vocabulary) -> None:
        found = checkpoint.read({"settings_sha256": _DIGEST})["settings_sha256"]
        if not np.array_equal(found, _settings_of(config, vocabulary)):
            raise UnusableError(f"it was made with other settings or tokens than are in {CONFIG} and {VOCABULARY}")

    def _names(self) -> set[str] | None:
        """What is in the folder; None where there is no such folder yet."""
        if "\0" in str(self.path):
            raise self._error("the name of a folder, but it holds a NUL character; name another")
        try:
            if self.path.exists() and not self.path.is_dir():
                raise self._error("a folder, but it is a file; name another")
            return {path.name for path in self.path.iterdir()} if self.path.exists() else None
        except OSError as error:
            reason = error.strerror
            raise self._error(f"a folder for the run, but it cannot be read ({reason}); name another") from None

    def _hold(self) -> None:
        if self._held:
            return
        try:
            self._held = durable.FolderLock(self.path)
        except BlockingIOError:
            other = "a run that no other process is training, but one is; wait for it, or name another"
            raise self._error(other) from None
        if not self._held.locked:
            warnings.warn(
                f"--run_dir {self.path}: cannot be locked there; see to it that no other process trains in it",
                RunWarning,
                stacklevel=2,
            )

    def _exists(self, name: str) -> bool:
        try:
            return os.path.lexists(self.path / name)
        except ValueError:  # a NUL in the path
            return False

    def _read(self, name: str) -> str:
        path = self.path / name
        try:
            return durable.read(path, _LARGEST[name]).decode()
        except FileNotFoundError:
            raise MissingFileError(f"--run_dir {self.path}: expected a run of tfrnn, but it has no {name}") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(f"{path}: expected JSON, but it cannot be read ({reason})") from None

    def _error(self, text: str) -> UserError:
        return UserError(f"--run_dir {self.path}: expected {text}")


def _settings_of(config: Config, vocabulary: Vocabulary) -> np.ndarray:
    """The SHA-256 of all settings that may not change, and of the vocabulary."""
    fixed = {name: value for name, value in config.flat().items() if not config_lib.may_change_on_resume(name)}
    return np.frombuffer(hashlib.sha256(json.dumps([fixed, vocabulary.id_to_token]).encode()).digest(), np.uint8)
