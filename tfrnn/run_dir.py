"""A run on disk: config.json, vocabulary.json, metrics.jsonl, checkpoints/ and perplexity.png.

A run directory is enough to sample from: load_run needs nothing else. config.json has a closed schema and the
weights are plain arrays, so that loading a run executes nothing of it.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfrnn import config as config_lib
from tfrnn.config import Config
from tfrnn.errors import MissingFileError, UserError
from tfrnn.model import LanguageModel, build_language_model
from tfrnn.vocabulary import Vocabulary

CONFIG, VOCABULARY, METRICS, CHECKPOINTS = "config.json", "vocabulary.json", "metrics.jsonl", "checkpoints"
PLOT = "perplexity.png"
_OWN = {name + suffix for name in (CONFIG, VOCABULARY, METRICS, CHECKPOINTS, PLOT) for suffix in ("", ".new")}
CHECKPOINTS_KEPT = 2


class RunDir:
    """A run directory, new or begun. Nothing is written before `create`.

    Raises:
      UserError: there is to be written, but the path is a file or a folder that holds something else than a run.
    """

    def __init__(self, path: str | os.PathLike, writing: bool = True):
        self.path = Path(path)
        try:
            begun = (self.path / CONFIG).is_file()
            names = {path.name for path in self.path.iterdir()} if self.path.is_dir() else set()
        except (OSError, ValueError) as error:
            raise UserError(
                f"--run_dir {path}: expected a folder for the run, but it cannot be read ({error})"
            ) from None
        if writing and self.path.exists() and not self.path.is_dir():
            raise UserError(f"--run_dir {path}: expected a folder, but it is a file; name another")
        if writing and not begun and names - _OWN:  # our own names alone: a run that was cut off as it began
            raise UserError(
                f"--run_dir {path}: expected a new, empty or begun run, but it holds other files; name another"
            )
        self.begun = begun

    def create(self, config: Config, vocabulary: Vocabulary) -> None:
        """Writes the settings and the vocabulary, over those of a begun run where these may change."""
        try:
            (self.path / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
            self._write(VOCABULARY, vocabulary.to_json())
            self._write(CONFIG, json.dumps(config.to_dict(), ensure_ascii=False, indent=2) + "\n")
        except OSError as error:
            raise UserError(
                f"--run_dir {self.path}: expected a folder that can be written, but {error.strerror}; name another"
            ) from None

    def config(self) -> Config:
        """The settings. Raises UserError where config.json is not one of ours."""
        try:
            return Config.from_dict(json.loads(self._read(CONFIG)))
        except json.JSONDecodeError as error:
            raise UserError(f"{self.path / CONFIG}: expected JSON, but it cannot be read ({error})") from None

    def vocabulary(self, tokens: str) -> Vocabulary:
        """The vocabulary. Raises UserError where vocabulary.json is not one."""
        return Vocabulary.from_json(self._read(VOCABULARY), tokens)

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
            raise UserError(
                f"--run_dir {self.path}: the corpus {config.data.corpus} has changed since the run began, its "
                "vocabulary is another; bring the old text back, or give another --run_dir for a new run"
            )

    def metrics(self) -> list[dict[str, Any]]:
        """The finished epochs, one row each; what follows a torn line is left out."""
        path, rows = self.path / METRICS, []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                break
            if not isinstance(row, dict) or not {"epoch", "perplexity", "tokens_per_sec", "seconds"} <= set(row):
                break
            rows.append(row)
        return rows

    def add_metrics(self, row: dict[str, Any]) -> None:
        with (self.path / METRICS).open("a") as file:
            file.write(json.dumps(row) + "\n")

    def keep_metrics(self, epochs: int) -> None:
        """Drops the rows of epochs after the checkpoint, which will come again."""
        if (self.path / METRICS).exists():
            rows = [row for row in self.metrics() if row["epoch"] <= epochs]
            self._write(METRICS, "".join(json.dumps(row) + "\n" for row in rows))

    def manager(self, checkpoint: tf.train.Checkpoint) -> tf.train.CheckpointManager:
        return tf.train.CheckpointManager(checkpoint, str(self.path / CHECKPOINTS), CHECKPOINTS_KEPT)

    def check_restorable(self) -> None:
        """Raises UserError where epochs are finished, but no checkpoint is left to go on from."""
        if self.metrics() and tf.train.latest_checkpoint(str(self.path / CHECKPOINTS)) is None:
            raise UserError(
                f"--run_dir {self.path}: expected a checkpoint of the {len(self.metrics())} finished epochs, but "
                f"{CHECKPOINTS} holds none; bring it back, or give another --run_dir for a new run"
            )

    def latest_checkpoint(self) -> str:
        latest = tf.train.latest_checkpoint(str(self.path / CHECKPOINTS))
        if latest is None:
            raise MissingFileError(f"--run_dir {self.path}: the run has no checkpoint yet; let train go on first")
        return latest

    def _read(self, name: str) -> str:
        path = self.path / name
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise MissingFileError(f"--run_dir {self.path}: expected a run of tfrnn, but it has no {name}") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: expected JSON, but it cannot be read ({error})") from None

    def _write(self, name: str, text: str) -> None:
        """Whole or not at all."""
        new = self.path / (name + ".new")
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path / name)


def make_checkpoint(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, **variables: list[tf.Variable] | tf.Variable
) -> tf.train.Checkpoint:
    """All that training goes on from: weights and optimizer by their position, and what the trainer adds."""
    return tf.train.Checkpoint(
        weights=[weight.value for weight in model.weights],
        # What is a variable and no weight: the states of the generators that dropout draws from.
        generators=[v.value for v in model.variables if not any(v is weight for weight in model.weights)],
        optimizer=[variable.value for variable in optimizer.variables],
        **variables,
    )


# What TensorFlow raises where a checkpoint is damaged or is one of another model.
CHECKPOINT_ERRORS = (tf.errors.OpError, AssertionError, ValueError, IndexError, RuntimeError)


def unreadable(checkpoint: str, error: Exception) -> UserError:
    """What is said of such a checkpoint."""
    reason = " ".join(str(error).split())[:200]
    return UserError(
        f"{checkpoint}: expected a checkpoint of the model that {CONFIG} describes, but it cannot be read ({reason}); "
        "bring the right files back, or train a new run"
    )


def load_run(run_dir: str | os.PathLike, checkpoint: str = "best") -> tuple[LanguageModel, Vocabulary, Config]:
    """A trained model with its vocabulary and settings. Python's own log of TensorFlow is quiet from then on.

    Args:
      run_dir: what `python -m tfrnn.train` wrote.
      checkpoint: `best` for the weights with the lowest perplexity on the validation tokens (the last ones where
        there were no such tokens), or `last`.
    Raises:
      MissingFileError: there is no such run, or it has no checkpoint yet.
      UserError: it is no run of tfrnn.
    """
    if checkpoint not in ("best", "last"):
        raise UserError(f"--checkpoint must be one of best, last; got {checkpoint!r}")
    run = RunDir(run_dir, writing=False)
    if not run.begun:
        raise MissingFileError(f"--run_dir {run_dir}: expected a run of tfrnn, but it has no {CONFIG}")
    config = run.config()
    vocabulary = run.vocabulary(config.data.tokens)
    tf.get_logger().setLevel(logging.CRITICAL)  # what is wrong with a checkpoint is said in our own line
    latest = run.latest_checkpoint()
    model = build_language_model(config.model, len(vocabulary))
    model.build()
    try:
        has_best = float(tf.train.load_variable(latest, "best_epoch/.ATTRIBUTES/VARIABLE_VALUE")) > 0
        name = "best_weights" if checkpoint == "best" and has_best else "weights"
        reader = tf.train.Checkpoint(**{name: [weight.value for weight in model.weights]})
        reader.restore(latest).assert_existing_objects_matched().expect_partial()
    except CHECKPOINT_ERRORS as error:
        raise unreadable(latest, error) from None
    return model, vocabulary, config
