"""A run on disk: config.json, vocabulary.json, metrics.jsonl, checkpoints/ and perplexity.png.

A run directory is all that sampling needs. It may come from an untrusted source: it holds JSON of a closed schema and
arrays whose shapes are known beforehand, and no link in it is followed. (The one path in it, that of its corpus or
series, is read only by `evaluate` and `forecast`, if no other is named.)
"""

import contextlib
import hashlib
import itertools
import json
import math
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tfrnn.config import sizes
from tfrnn.config.config import Config, ForecastConfig
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import MissingFileError, RunWarning, UserError
from tfrnn.runs import checkpoints, metrics
from tfrnn.runs.checkpoints import Arrays, Checkpoint, Layout, UnusableError
from tfrnn.runs.metrics import Metrics
from tfrnn.runtime import durable

CONFIG, VOCABULARY, CHECKPOINTS, PLOT = "config.json", "vocabulary.json", "checkpoints", "perplexity.png"
SCALING, LOSS_PLOT, FORECAST, FORECAST_PLOT = "scaling.json", "loss.png", "forecast.csv", "forecast.png"
ERRORS = "errors.csv"
SERIES_SECTION = "series"  # of config.json in place of that of the text, if the run is one on a time series
_MAX_BYTES = {CONFIG: 2**24}  # a larger file is not read
_MAX_BYTES_OF_OTHERS = 2**25
_DIGEST = Layout((32,), "|u1")

RunDirType = TypeVar("RunDirType", bound="RunDir")


class RunDir:
    """A run directory, which may not exist yet. Nothing is written before `create`.

    That of a run on a text; `SeriesRunDir` is that of a run on a time series.

    Within `with` it is locked by this process: on entering if the folder exists, else by `create`.

    Args:
      path: the folder.
      setting: the name of the setting that names it, for messages.
    Attributes:
      path: the folder.
      metrics: the rows of its finished epochs.
      shown: the setting that names it, for messages.
      existed: whether it held a run already when it was entered.
    Raises (on entering):
      UserError: the path is a file or a folder of something other than a run, or another process has locked it.
    """

    config_class: type[Config] | type[ForecastConfig] = Config
    side_file, plot = VOCABULARY, PLOT  # what belongs to the weights, and the picture
    files: tuple[str, ...] = (CONFIG, VOCABULARY, metrics.FILE_NAME, CHECKPOINTS, PLOT)
    measures: Mapping[str, tuple] = metrics.MEASURES

    def __init__(self, path: str | os.PathLike, setting: str = "run_dir"):
        self.path = Path(path)
        self.shown = f"`{setting}={self.path}`"
        self.metrics = Metrics(self.path, self.measures)
        self.existed = False
        self._checkpoints = checkpoints.Folder(self.path / CHECKPOINTS)
        self._lock: durable.FolderLock | None = None
        self._settings = np.zeros(32, np.uint8)

    def __enter__(self: RunDirType) -> RunDirType:
        is_there = self.check()
        self.existed = self.exists
        if is_there:
            self._acquire_lock()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._lock:
            self._lock.release()
            self._lock = None

    def check(self) -> bool:
        """Returns whether the folder exists. Raises UserError if it can hold no run: see the class."""
        names = self._names()
        if names and not self.exists:
            if names - self._all_files():
                raise self._error("a new or empty folder or one of a run, but it holds other files; name another")
            # Without config.json it is a run that was killed while it was created, unless there are epochs to lose.
            if self.metrics.rows() or self._checkpoints.files():
                raise self._error(f"a run, but its {CONFIG} is missing; bring it back, or name another folder")
        if self.path.parts[:1] == ("~",) and not os.path.lexists("~"):
            raise self._error("a folder, but a shell leaves ~ as it is after =: write $HOME in its place")
        return names is not None

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run now."""
        try:
            return os.path.lexists(self.path / CONFIG)
        except ValueError:  # a NUL character in the path
            return False

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint, complete or not. Raises UserError if their folder cannot be read."""
        return bool(self._checkpoints.files())

    def is_run_file(self, path: str | os.PathLike) -> bool:
        """Returns whether a path is that of a file of this run."""
        folder, file = self.path.resolve(), Path(path).resolve()
        return file.is_relative_to(folder) and file.relative_to(folder).parts[0] in self._all_files()

    def create(self, config: Any, vocabulary: Any) -> None:
        """Writes the settings and the vocabulary; of an existing run, the settings that may change on resume.

        Raises:
          OSError: a file cannot be written.
          UserError: another process has created a run there in the meantime, or the vocabulary is too large.
        """
        (self.path / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        self._acquire_lock()
        if self.exists and not self.existed:
            raise self._error("a new run, but another process has just begun one there; name another")
        self._write_side_file(vocabulary)
        self._settings = self._digest_settings(config, vocabulary)
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

    def config(self) -> Any:
        """Returns the settings, of `config_class`.

        Raises:
          MissingFileError: there is no config.json.
          UserError: config.json is not one of tfrnn, or of the other kind of runs.
        """
        data = self._read_config()
        if self.is_of_series != (self.config_class is ForecastConfig):
            kinds = ("forecast, on a time series", "train, on a text")
            got, expected = kinds if self.is_of_series else kinds[::-1]
            raise self._error(f"a run of {expected}; got one of {got}; name another")
        try:
            return self.config_class.from_dict(data)
        except UserError as error:
            raise UserError(f"{self.path / CONFIG}: {error}") from None

    @property
    def is_of_series(self) -> bool:
        """Whether the run is one on a time series. Raises as `config` does."""
        data = self._read_config()
        return isinstance(data, dict) and SERIES_SECTION in data

    def _read_config(self) -> Any:
        try:
            return json.loads(self._read(CONFIG))
        except UserError:
            raise
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.path / CONFIG}: expected JSON, but it cannot be read ({error})") from None

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

    def check_same(self, config: Any, vocabulary: Any) -> None:
        """Checks that the run can be resumed with these settings and this vocabulary.

        Raises:
          UserError: a setting that may not change on resume, or the vocabulary, is not the run's.
        """
        previous = self.config()
        fixed, before, now = {*previous.fixed(), *config.fixed()}, previous.flat(), config.flat()
        for name, value in now.items():
            if before[name] != value and name in fixed:
                raise self.changed_setting_error(name, before[name], value)
        self._check_same_side(config, vocabulary)

    def changed_setting_error(self, name: str, before: Any, now: Any) -> UserError:
        """Returns the error to raise if a setting that may not change on resume is not as it was before."""
        if before in ("", ()):
            return UserError(
                f"{self.shown}: the run was begun without `{name}`, now it is {_in_words(now)}; leave it out to resume "
                "the run, or give another `run_dir` for a new run"
            )
        given = " ".join(f"`{name}={value}`" for value in (before if isinstance(before, tuple) else [before]))
        return UserError(
            f"{self.shown}: the run was begun with {given}, now it is {_in_words(now)}; give {given} to resume it, or "
            "another `run_dir` for a new run"
        )

    def changed_corpus_error(self, config: Any) -> UserError:
        """Returns the error to raise if the text is not the one that the run was begun with."""
        return UserError(
            f"{self.shown}: the text of `corpus={config.data.corpus}` has changed since the run began; bring "
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
        plot = self.path / self.plot
        return bool(files) and (not plot.exists() or plot.stat().st_mtime_ns < files[0].stat().st_mtime_ns)

    def save_plot(self, png: bytes) -> None:
        """Writes the picture of the training.

        Raises:
          OSError: it cannot be written.
        """
        durable.write(self.path / self.plot, png)

    def load(self, expected: Mapping[str, Layout], config: Any, vocabulary: Any) -> dict[str, np.ndarray] | None:
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

        arrays = self._checkpoints.read_newest(read, self._max_checkpoint_bytes(config, vocabulary))
        if arrays is None and (rows := self.metrics.rows()):
            raise self._error(
                f"a checkpoint of the {len(rows)} finished epochs, but {CHECKPOINTS} holds none; bring it back, or "
                "give another `run_dir` for a new run"
            )
        return arrays

    def load_weights(self, config: Any, vocabulary: Any, which: str) -> list[np.ndarray]:
        """Returns the weights of the model from the newest usable checkpoint.

        Args:
          config, vocabulary: of the run; a checkpoint made with others is not used.
          which: `best` for those with the lowest validation perplexity, or `last`.
        Raises:
          MissingFileError: there is no checkpoint.
          UserError: all checkpoints are damaged, or of other settings than the config's.
        """

        shapes = self._weight_shapes(config, vocabulary)

        def read(checkpoint: Checkpoint) -> list[np.ndarray]:
            self._check_settings(checkpoint, config, vocabulary)
            best_epoch = checkpoint.read({"best_epoch": Layout((), "<i8")})["best_epoch"]
            group = "best_weights" if which == "best" and best_epoch > 0 else "weights"
            arrays = checkpoint.read({f"{group}.{i}": Layout(shape, "<f4") for i, shape in enumerate(shapes)})
            return list(arrays.values())

        weights = self._checkpoints.read_newest(read, self._max_checkpoint_bytes(config, vocabulary))
        if weights is None:
            raise self.no_checkpoint_error()
        return weights

    def no_checkpoint_error(self) -> MissingFileError:
        """Returns the error to raise if the weights are needed and there is no checkpoint."""
        return MissingFileError(f"{self.shown}: the run has no checkpoint yet; resume its training first")

    def check_text(self, sha256: bytes, config: Config, vocabulary: Vocabulary, otherwise: str) -> None:
        """Checks that the run was trained on the cleaned text with this SHA-256, if it has a checkpoint.

        Args:
          sha256: that of the text.
          config, vocabulary: of the run.
          otherwise: what to do if the text cannot be brought back, for the message.
        Raises:
          UserError: the newest usable checkpoint was trained on another text.
        """

        if self._trained_on(config, vocabulary) not in (None, sha256):
            raise self._error(
                f"the text of `corpus={config.data.corpus}` as it was trained on, but that has changed since; bring it "
                f"back, or {otherwise}"
            )

    def _trained_on(self, config: Any, vocabulary: Any) -> bytes | None:
        """Returns the SHA-256 of what the newest usable checkpoint was trained on; None if there is no checkpoint."""

        def read(checkpoint: Checkpoint) -> bytes:
            return checkpoint.read({"corpus_sha256": _DIGEST})["corpus_sha256"].tobytes()

        return self._checkpoints.read_newest(read, self._max_checkpoint_bytes(config, vocabulary))

    def _check_settings(self, checkpoint: Checkpoint, config: Any, vocabulary: Any) -> None:
        digest = checkpoint.read({"settings_sha256": _DIGEST})["settings_sha256"]
        if not np.array_equal(digest, self._digest_settings(config, vocabulary)):
            raise UnusableError(
                f"it was made with other settings or {self._side_name} than are in {CONFIG} and {self.side_file}"
            )

    # What differs between the runs on texts and those on series: the file that belongs to the weights, and their sizes.

    _side_name = "tokens"

    def _write_side_file(self, vocabulary: Any) -> None:
        tokens = vocabulary.to_json().encode()
        if len(tokens) > _MAX_BYTES_OF_OTHERS:
            raise self._error(
                f"a vocabulary of at most {_MAX_BYTES_OF_OTHERS:,} bytes, got {len(tokens):,} in "
                f"{len(vocabulary):,} tokens; take a shorter text, or `tokens=char`"
            )
        durable.write(self.path / VOCABULARY, tokens)

    def _check_same_side(self, config: Any, vocabulary: Any) -> None:
        if self.vocabulary(config.data.token_kind).id_to_token != vocabulary.id_to_token:
            raise self.changed_corpus_error(config)

    def _max_checkpoint_bytes(self, config: Any, vocabulary: Any) -> int:
        return sizes.max_checkpoint_bytes(config, len(vocabulary))

    def _weight_shapes(self, config: Any, vocabulary: Any) -> list[tuple[int, ...]]:
        return sizes.weight_shapes(config.model, len(vocabulary))

    def _digest_settings(self, config: Any, vocabulary: Any) -> np.ndarray:
        return _digest(config, vocabulary.id_to_token)

    def _all_files(self) -> set[str]:
        return {name + suffix for name in self.files for suffix in ("", durable.PARTIAL)}

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
                f"{self.shown}: the folder cannot be locked; make sure that no other process trains in it",
                RunWarning,
                stacklevel=2,
            )

    def _read(self, name: str) -> str:
        path = self.path / name
        try:
            return durable.read(path, _MAX_BYTES.get(name, _MAX_BYTES_OF_OTHERS)).decode()
        except FileNotFoundError:
            raise MissingFileError(f"{self.shown}: expected a run of tfrnn, but it has no {name}") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(f"{path}: expected JSON, but it cannot be read ({reason})") from None

    def _error(self, expected: str) -> UserError:
        return UserError(f"{self.shown}: expected {expected}")


class SeriesRunDir(RunDir):
    """The directory of a run on a time series: scaling.json in place of the vocabulary, loss.png and the forecast.

    What the methods of RunDir call the vocabulary is here the scaling of the series (`tfrnn.series`).
    """

    config_class = ForecastConfig
    side_file, plot = SCALING, LOSS_PLOT
    files = (CONFIG, SCALING, metrics.FILE_NAME, CHECKPOINTS, LOSS_PLOT, FORECAST, FORECAST_PLOT, ERRORS)
    measures = metrics.SERIES_MEASURES
    _side_name = "scaling"

    def scaling_json(self) -> str:
        """Returns the content of scaling.json. Raises MissingFileError if there is none."""
        return self._read(SCALING)

    def changed_corpus_error(self, config: Any) -> UserError:
        what = f"`csv={config.series.csv}`" if config.series.csv else "the sine"
        return self._error(
            f"{what} to begin with the values that the run was trained on, but they have changed; bring the old ones "
            "back, or give another `run_dir` for a new run"
        )

    def check_values(self, values: np.ndarray, config: Any, scaling: Any) -> None:
        """Checks that a series [N, C] begins with the values that the run was trained on, if it has a checkpoint.

        Raises:
          UserError: it does not.
        """
        trained_on = self._trained_on(config, scaling)
        changed = trained_on is not None and trained_on != training_sha256(values, scaling.train_steps)
        if changed or len(values) < scaling.train_steps:
            raise self.changed_corpus_error(config)

    def _write_side_file(self, scaling: Any) -> None:
        durable.write(self.path / SCALING, scaling.to_json().encode())

    def _check_same_side(self, config: Any, scaling: Any) -> None:
        if self.scaling_json() != scaling.to_json():
            raise self.changed_corpus_error(config)

    def _max_checkpoint_bytes(self, config: Any, scaling: Any) -> int:
        states = 2 * 4 * config.model.num_layers * config.model.units * config.series.batch_size
        return 6 * 4 * sum(map(math.prod, self._weight_shapes(config, scaling))) + states + 2**20

    def _weight_shapes(self, config: Any, scaling: Any) -> list[tuple[int, ...]]:
        return sizes.forecaster_shapes(config.model, scaling.num_inputs, scaling.num_outputs, scaling.is_direct)

    def _digest_settings(self, config: Any, scaling: Any) -> np.ndarray:
        return _digest(config, json.loads(scaling.to_json()))


def training_sha256(values: np.ndarray, train_steps: int) -> bytes:
    """Returns the SHA-256 of the values of a series [N, C] that are trained on."""
    return hashlib.sha256(np.ascontiguousarray(values[:train_steps], "<f8").tobytes()).digest()


def default_path(name: str, source: str) -> str:
    """Returns runs/<name>-<first file of the source>-<time>, with a number at the end if that exists."""
    first = Path(source.split(",")[0])
    stem = (first.parent.name if any(c in first.name for c in "*?[") else first.stem) or "texts"
    stem = "".join(filter(str.isprintable, stem))[:50]
    path = f"runs/{name}-{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    numbered = itertools.chain([path], (f"{path}-{i}" for i in itertools.count(2)))
    return next(candidate for candidate in numbered if not Path(candidate).exists())


def _in_words(value: Any) -> str:
    """Returns the value of a setting as a message shows it."""
    shown = ", ".join(value) if isinstance(value, tuple) else str(value)
    return shown or "not given"


def _digest(config: Any, of_weights: Any) -> np.ndarray:
    """Returns the SHA-256 of what belongs to the weights and of all settings that may not change, uint8 [32]."""
    return np.frombuffer(hashlib.sha256(json.dumps([config.fixed(), of_weights]).encode()).digest(), np.uint8)
