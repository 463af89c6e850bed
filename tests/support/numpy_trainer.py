"""A trainer of a few lines of numpy, with which the logic of a run is tested in milliseconds.

Its "training" is arithmetic that depends on all that a checkpoint must hold: weights, the optimizer's learning rate, a
state carried from batch to batch, a random generator, the position and the sums of the epoch. So a run that is resumed
from less than all of it, or from another moment, ends with other bytes than the run that was never interrupted.
"""

import math
import sys
import types
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from entry_points import run as run_command

from tfrnn import train as train_command
from tfrnn.config.config import Config
from tfrnn.data.run_text import Text
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import DivergedError
from tfrnn.runs.checkpoints import Layout
from tfrnn.runs.run_dir import RunDir
from tfrnn.training.replicas import OneReplica
from tfrnn.training.training_run import TrainingRun
from tfrnn.training.workers import Alone

CONFIG = Config().replace(
    batch_size=2, num_steps=3, epochs=2, learning_rate=0.5, save_every=0.0, show_every=0, prefix=("ab",)
)
TEXT = Text(
    Vocabulary(["<unk>", "a", "b"]), np.zeros(20, np.int32), np.zeros(9, np.int32),
    sha256="5a" * 32, rule="raw", prefixes=CONFIG.run.prefix,
)  # fmt: skip
PICTURE = types.SimpleNamespace(png=b"\x89PNG\r\n\x1a\n")


class NumpyBatches:
    """The sizes of batches, which are all that a run asks of them."""

    def __init__(self, batches_per_epoch=2, batch_size=2, num_steps=3):
        self.batches_per_epoch, self.batch_size, self.num_steps = batches_per_epoch, batch_size, num_steps

    def num_batches(self, epoch):
        return self.batches_per_epoch + epoch % 2  # as with random offsets


class NumpyTrainer:
    """As tfrnn.Trainer, but for what its steps compute.

    Args:
      learning_rate: that of the first step.
      validation_losses: epoch -> loss; by default it depends on the weights.
      diverges_at: the (epoch, batch) at which training diverges.
      chains: what num_chains returns.
      jit_compile: what it says of XLA.
      on_batch: called with (epoch, batch) before each step, e.g. to send a signal.
    """

    def __init__(
        self,
        learning_rate=0.5,
        validation_losses=None,
        diverges_at=None,
        chains=1,
        jit_compile=False,
        on_batch=None,
    ):
        self.model = types.SimpleNamespace(
            weights=np.linspace(-1, 1, 5, dtype=np.float32),
            optimizer=types.SimpleNamespace(learning_rate=learning_rate),
            stop_training=False,
        )
        self.replicas, self.workers = OneReplica(tf.distribute.get_strategy()), Alone()
        self.excluded_seconds = {"tracing": 0.0, "validation": 0.0}
        self.epoch = self.batch = 0
        self.jit_compile = jit_compile
        self._validation_losses, self._diverges_at, self._chains = validation_losses, diverges_at, chains
        self._on_batch = on_batch or (lambda epoch, batch: None)
        self._state, self._generator, self._sums = np.zeros(5, np.float32), np.array(1, np.int64), np.zeros(2)
        self._best_loss, self._best_epoch, self._best_weights = sys.float_info.max, 0, self.model.weights

    def fit(self, batches, epochs, validation=None, callbacks=None):
        last_epoch, num_batches = self.epoch + epochs, batches.num_batches(self.epoch)
        served = keras.callbacks.CallbackList(
            callbacks, add_history=True, model=self.model, epochs=last_epoch, steps=num_batches
        )
        self.model.stop_training = False
        served.on_train_begin()
        while self.epoch < last_epoch and not self.model.stop_training:
            served.on_epoch_begin(self.epoch)
            self._train_to_end_of_epoch(batches, served)
            if self.batch < batches.num_batches(self.epoch):
                break
            logs = {**self._measures(), "learning_rate": float(self.model.optimizer.learning_rate), "seconds": 0.5}
            if validation:
                loss = self._validation_losses(self.epoch) if self._validation_losses else abs(self.model.weights.sum())
                logs |= {f"val_{name}": value for name, value in _measures_of(float(loss)).items()}
            self.epoch, self.batch, self._sums = self.epoch + 1, 0, np.zeros(2)
            if logs.get("val_loss", math.inf) < self._best_loss:
                self._best_loss, self._best_epoch = logs["val_loss"], self.epoch
                self._best_weights = self.model.weights
            served.on_epoch_end(self.epoch - 1, logs)
        served.on_train_end()
        return self.model.history

    def _train_to_end_of_epoch(self, batches, served):
        if self.batch == 0:
            self._state = np.zeros(5, np.float32)
        while self.batch < batches.num_batches(self.epoch):
            served.on_train_batch_begin(self.batch)
            self._on_batch(self.epoch, self.batch)
            if (self.epoch, self.batch) == self._diverges_at:
                served.on_train_end()
                raise DivergedError(f"training diverged in epoch {self.epoch + 1}, batch {self.batch + 1}")
            self._generator = np.array(self._generator * 48271 % (2**31 - 1))
            noise = np.float32(self._generator / 2**31)  # as dropout's
            self._state = np.tanh(self._state + self.model.weights + noise)
            gradient = self._state - np.float32(self.epoch + self.batch / 10)
            self.model.weights = self.model.weights - np.float32(self.model.optimizer.learning_rate) * gradient
            self._sums = self._sums + np.array([np.square(gradient).mean(), 1.0])
            self.batch += 1
            served.on_train_batch_end(self.batch - 1, self._measures())
            if self.model.stop_training and self.batch < batches.num_batches(self.epoch):
                break

    def _measures(self):
        return {**_measures_of(self._sums[0] / self._sums[1]), "tokens_per_sec": 1000.0}

    def num_chains(self, rows):
        return self._chains

    @property
    def epochs_without_gain(self):
        return self.epoch - self._best_epoch

    @property
    def position(self):
        return self.epoch, self.batch

    def snapshot(self):
        return {
            "weights.0": self.model.weights,
            "generators.0": self._generator,
            "optimizer.0": np.array(self.model.optimizer.learning_rate, np.float64),
            "state.0": self._state,
            "best_weights.0": self._best_weights,
            "position": np.array(self.position, np.int64),
            "sums": self._sums,
            "best_loss": np.array(self._best_loss, np.float64),
            "best_epoch": np.array(self._best_epoch, np.int64),
        }

    @property
    def layouts(self):
        return {name: Layout.of(array) for name, array in self.snapshot().items()}

    def restore(self, snapshot):
        self.model.weights, self._best_weights = snapshot["weights.0"], snapshot["best_weights.0"]
        self.model.optimizer.learning_rate = float(snapshot["optimizer.0"])
        self._generator, self._state, self._sums = snapshot["generators.0"], snapshot["state.0"], snapshot["sums"]
        self.epoch, self.batch = map(int, snapshot["position"])
        self._best_loss, self._best_epoch = float(snapshot["best_loss"]), int(snapshot["best_epoch"])


def _measures_of(loss):
    return {"loss": loss, "perplexity": math.exp(min(loss, 700)), "bits_per_char": loss / math.log(2)}


def continue_prefix(model, vocabulary, prefix, num_tokens, sampler, seed):
    """A text that tells the weights, so that it is the same only if they are."""
    return f"{prefix}: {model.weights.tobytes().hex()}"


def train(
    run_dir: Path,
    text: Text = TEXT,
    trainer: NumpyTrainer | None = None,
    plot=lambda rows, title: PICTURE,
    batches: NumpyBatches | None = None,
    **settings,
):
    """Trains in a run directory as the command does. Returns whether the run is finished."""
    config = CONFIG.replace(**settings) if settings else CONFIG
    trainer, batches = trainer or NumpyTrainer(config.training.learning_rate), batches or NumpyBatches()
    with RunDir(run_dir) as run:
        if run.existed:
            run.check_same(config, text.vocabulary)
        training = TrainingRun(
            config, text, trainer, batches, batches, run,
            continue_prefix=continue_prefix, summarize=lambda model: ["five weights"], plot=plot,
        )  # fmt: skip
        finished = training.train()
        training.report(finished, resume_command="train --again")
        return finished


def command(run_dir: Path, **arguments):
    """As `train`, with messages as the command `train` shows them: exit status, stdout and stderr."""

    def main(argv):
        train_command.make_flags().parse(argv)
        train(run_dir, **arguments)

    return run_command(main)
