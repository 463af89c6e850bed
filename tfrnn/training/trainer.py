"""Trainer: the loop over epochs, batches and calls, with the state carried and Keras's callbacks served."""

import array
import contextlib
import math
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrnn.data.batches import Batch, Batches
from tfrnn.errors import DivergedError, UserError
from tfrnn.inference import scoring
from tfrnn.runs import checkpoints
from tfrnn.runs.checkpoints import Arrays, Layout
from tfrnn.runtime import devices, execution, threads
from tfrnn.training import losses, step
from tfrnn.training.replicas import Replicas

CALL_SECONDS = 1.0  # about so long a call of the compiled steps lasts, so that an interruption is soon noticed


class Trainer:
    """Trains a model on batches.

    >>> ids = np.tile([1, 2, 3], 40).astype("int32")
    >>> batches = tfrnn.sequential_batches(ids, batch_size=4, num_steps=6)
    >>> model = tfrnn.LanguageModel(tfrnn.RNN(keras.layers.SimpleRNNCell(8)), vocab_size=4)
    >>> trainer = tfrnn.Trainer(model, keras.optimizers.Adam(0.1), clip_norm=1.0)
    >>> history = trainer.fit(batches, epochs=10).history
    >>> history["perplexity"][-1] < 1.2 < history["perplexity"][0]
    True

    Args:
      model: with `initial_state(batch_size)` and `(inputs, state, training) -> (outputs, state)`.
      optimizer: Keras's.
      clip_norm: bound on the global norm of the gradients; 0 for none.
      strategy: of tf.distribute; by default OneDeviceStrategy on the GPU if there is one, else the CPU, and for a model
        that has weights already, the strategy under which they were made. The replicas of another one divide the rows
        of each batch among them, and together make the update that one device would have made.
      loss_fn: (outputs, targets) -> the sum of the losses, a scalar.
      chains: slices of a replica's rows that a step computes side by side, adding their gradients up; 0: as many as
        there are cores on a CPU, as far as they divide the rows well, and one on a GPU. Results do not depend on it but
        for rounding and, with dropout, for what is dropped.
      jit_compile: whether XLA compiles a step (of several replicas, each one's part before they meet), of one chain by
        default; None: on a GPU alone. A cell of operations that XLA does not know needs False. Dropout drops other
        values with it.

    Attributes:
      epoch, batch: the position, in finished epochs and finished batches of the epoch under way.
      jit_compile: whether XLA compiles a step.
      gradient_norms: of each training step since the trainer was made, before it was bounded.
      seconds_apart: time spent in calls that traced and in validation, which tokens_per_sec leaves out.
    Raises:
      ValueError: clip_norm is below 0.
    """

    def __init__(
        self,
        model: Any,
        optimizer: keras.optimizers.Optimizer,
        clip_norm: float = 1.0,
        strategy: tf.distribute.Strategy | None = None,
        loss_fn: losses.Loss = losses.cross_entropy,
        chains: int = 0,
        jit_compile: bool | None = None,
    ):
        self.model, self._clip_norm, self._chains = model, clip_norm, chains
        self.strategy = strategy or (_strategy_of(model) if model.built else devices.one_device())
        if not clip_norm >= 0:
            raise ValueError(f"clip_norm must be at least 0 (0: no bound); got {clip_norm}")
        self.replicas = replicas = Replicas(self.strategy)
        self.epoch = self.batch = 0
        self.gradient_norms = array.array("f")
        self.seconds_apart = {"tracing": 0.0, "validation": 0.0}
        self._sums = step.Sums.zero()
        self._steps_per_call = self._eval_steps_per_call = 1
        with self.strategy.scope():
            if not model.built:
                model.build()
            if not optimizer.built:
                # An optimizer remembers the strategy it was made under. On one device it may as well serve another;
                # Keras has no public way to say so, and a copy would lose what is not in the optimizer's config.
                optimizer._distribution_strategy = self.strategy
            optimizer.build(model.trainable_variables)
            self.optimizer = optimizer
            if replicas.count > 1:
                # A step sums the gradients before it bounds them; Keras would sum them once more.
                optimizer._all_reduce_sum_gradients = lambda pairs: pairs
            model.compile(optimizer=optimizer)  # callbacks look for the optimizer there
        self._state = model.initial_state(0)  # of as many rows as the batches, once there are some
        # The lowest loss on the validation batches, the epoch it came with (0: none yet), and the weights then.
        self._best_loss, self._best_epoch, self._best_weights = sys.float_info.max, 0, model.get_weights()

        self.jit_compile = execution.jit_by_default(self.strategy) if jit_compile is None else jit_compile

        find: Any = step.gradients
        if self.jit_compile and replicas.count > 1:  # XLA does not know how replicas meet
            find = tf.function(find, autograph=False, jit_compile=True)

        def train_step(batch: Batch, state: Any, sums: step.Sums) -> tuple:
            rows = batch.reset.shape[0]
            chains = self.num_chains(rows // len(replicas.here) if rows else None)
            return step.train_step(model, optimizer, loss_fn, clip_norm, batch, state, sums, chains, replicas, find)

        def eval_step(batch: Batch, state: Any, sums: step.Sums) -> tuple:
            return step.eval_step(model, loss_fn, batch, state, sums, self.num_chains(batch.reset.shape[0]))

        if self.jit_compile:
            eval_step = tf.function(eval_step, autograph=False, jit_compile=True)
            if replicas.count == 1:
                train_step = tf.function(train_step, autograph=False, jit_compile=True)

        @tf.function(autograph=False)
        def train_steps(iterator: Iterator, num_steps: tf.Tensor, state: Any, sums: step.Sums) -> tuple:
            return step.train_steps(replicas, train_step, iterator, num_steps, state, sums)

        @tf.function(autograph=False)
        def eval_steps(iterator: Iterator, num_steps: tf.Tensor, state: Any, sums: step.Sums) -> tuple:
            return step.eval_steps(replicas, eval_step, iterator, num_steps, state, sums)

        def begin_evaluation(rows: int) -> tuple:
            return model.initial_state(rows), step.Sums.zero()

        if replicas.count > 1:
            of_one = begin_evaluation
            begin_evaluation = tf.function(lambda rows: replicas.run(of_one, rows), autograph=False)

        self._train_steps, self._eval_steps, self._begin_evaluation = train_steps, eval_steps, begin_evaluation

    def fit(
        self,
        batches: Batches,
        epochs: int,
        validation: Batches | None = None,
        callbacks: list[keras.callbacks.Callback] | None = None,
    ) -> keras.callbacks.History:
        """Trains for so many more epochs, from where the trainer stands.

        Setting `model.stop_training`, as Keras's callbacks do, ends it after the call under way, which lasts about a
        second; the next `fit` goes on from there.

        Args:
          batches: what to train on.
          epochs: so many more.
          validation: batches of a text held out, of which one epoch is read after each epoch of training.
          callbacks: Keras's. A "batch" of theirs is a call of many steps.
        Returns:
          Keras's History. Its `history` has, for each finished epoch: loss (nats a token), perplexity,
          bits_per_char, tokens_per_sec (of the training calls alone, tracing left out; None where there was no other
          call), learning_rate, gradient_norm (mean over the steps, before it is bounded), seconds (of the whole
          epoch), and val_loss, val_perplexity, val_bits_per_char.
        Raises:
          DivergedError: a loss or gradient norm was not finite; the weights are those before that batch.
          UserError: a batch cannot be divided among the replicas or into the chains, or is of another size than those
            of the epoch under way.
        """
        self.replicas.share(batches.batch_size)
        threads.check_chains(self._chains, batches.batch_size, self.replicas.count)
        if validation:
            self.replicas.share(validation.batch_size, "the batch size of the validation batches")
        threads.warn_of_default_threads(self.strategy)
        last = self.epoch + epochs
        served = keras.callbacks.CallbackList(
            callbacks, add_history=True, model=self.model, epochs=last, steps=batches.num_batches(self.epoch)
        )
        self.model.stop_training = False
        iterator = self._iterator(batches, self.epoch, self.batch)
        # Validation batches follow the training epochs, so that going on after a stop reads the same ones.
        validation_iterator = self._iterator(validation, self.epoch, 0) if validation else None
        if self.batch == 0:
            self._state = self.model.initial_state(batches.batch_size)
        elif (rows := tf.nest.flatten(self._state)[0].shape[0]) != batches.batch_size:
            raise UserError(f"expected batches of {rows} rows, as in the epoch under way; got {batches.batch_size}")
        elif self.batch > (most := batches.num_batches(self.epoch)):
            raise UserError(f"expected at most {most} batches in epoch {self.epoch + 1}; {self.batch} are done already")
        served.on_train_begin()
        try:
            while self.epoch < last and not self._agree_to_stop():
                start = time.perf_counter()
                served.on_epoch_begin(self.epoch)
                steps_before = len(self.gradient_norms)
                speed = self._train_to_end_of_epoch(iterator, batches, served)
                if self.batch < batches.num_batches(self.epoch):
                    break  # stopped on the way; position, state and sums are kept
                logs: dict[str, Any] = {
                    **_measures(self._sums),
                    "tokens_per_sec": speed,
                    "learning_rate": self._learning_rate(),
                }
                if norms := self.gradient_norms[steps_before:]:  # none, where only validation was left
                    logs["gradient_norm"] = statistics.fmean(norms)
                if validation and validation_iterator:
                    sums = self._evaluate(validation, validation_iterator, self.epoch, may_stop=True)
                    if sums is None:
                        break  # the epoch's validation is begun again when training goes on
                    logs.update({f"val_{name}": value for name, value in _measures(sums).items()})
                self.epoch, self.batch, self._sums = self.epoch + 1, 0, step.Sums.zero()
                if logs.get("val_loss", math.inf) < self._best_loss:
                    self._best_loss, self._best_epoch = logs["val_loss"], self.epoch
                    self._best_weights = self.model.get_weights()
                logs["seconds"] = time.perf_counter() - start
                served.on_epoch_end(self.epoch - 1, logs)
        except DivergedError as error:
            try:
                served.on_train_end()  # as after a stop, so that the last good weights are saved
            except UserError as second:
                raise DivergedError(f"{error}; and {second}") from None
            raise
        served.on_train_end()
        return self.model.history

    def num_chains(self, rows: int | None) -> int:
        """Into how many slices a replica's share of so many rows is cut."""
        if rows is None:
            return 1
        if self._chains and rows % self._chains == 0:  # validation batches may be of another size
            return self._chains
        return 1 if self.jit_compile else threads.num_chains(rows, self.strategy)

    def evaluate(self, batches: Batches | np.ndarray) -> dict[str, float]:
        """Loss (nats a token), perplexity and bits_per_char over epoch 0 of the batches, the state carried as they say.

        Given the token ids of a text, int32 [N], in place of batches, a language model predicts all but the first of
        them, each once, with the state carried through all of it.
        """
        if not isinstance(batches, Batches):
            scored = scoring.score(self.model, batches)
            return {"loss": scored.loss, "perplexity": scored.perplexity, "bits_per_char": scored.bits_per_char}
        sums = self._evaluate(batches, self._iterator(batches, 0, 0), 0)
        assert sums is not None
        return _measures(sums)

    @property
    def epochs_without_gain(self) -> int:
        """Finished epochs since the one with the lowest loss on the validation batches."""
        return self.epoch - self._best_epoch

    @property
    def position(self) -> tuple[int, int]:
        """Finished epochs, and finished batches of the epoch under way."""
        return self.epoch, self.batch

    def snapshot(self) -> dict[str, np.ndarray]:
        """All that training goes on from, by name: weights, optimizer, generators of dropout, state, position, sums of
        the epoch under way, and the best weights by validation."""
        groups = {
            "weights": self.model.get_weights(),
            "generators": [_array(variable) for variable in step.generators(self.model)],
            "optimizer": [_array(variable) for variable in self.optimizer.variables],
            "state": [tensor.numpy() for tensor in tf.nest.flatten(self._state)],
            "best_weights": self._best_weights,
        }
        return {f"{group}.{i}": array for group, arrays in groups.items() for i, array in enumerate(arrays)} | {
            "position": np.array(self.position, np.int64),
            "sums": np.array([float(value) for value in self._sums], np.float64),
            "best_loss": np.array(self._best_loss, np.float64),
            "best_epoch": np.array(self._best_epoch, np.int64),
        }

    @property
    def layouts(self) -> dict[str, Layout]:
        """What a snapshot of this trainer holds; the state may have any number of rows."""
        found = {name: Layout.of(array) for name, array in self.snapshot().items()}
        return {
            name: Layout((None, *layout.shape[1:]), layout.dtype) if name.startswith("state.") else layout
            for name, layout in found.items()
        }

    def restore(self, snapshot: Arrays) -> None:
        """Goes back to where the snapshot was taken. Raises UserError where it is one of another model."""
        try:
            checkpoints.check({name: Layout.of(array) for name, array in snapshot.items()}, self.layouts)
        except checkpoints.UnusableError as error:
            raise UserError(f"expected a snapshot of this model and optimizer, but {error}") from None
        epoch, batch, best_epoch = (int(number) for number in (*snapshot["position"], snapshot["best_epoch"]))
        rows = {len(array) for name, array in snapshot.items() if name.startswith("state.")}
        begun = batch > 0
        if min(epoch, batch) < 0 or not 0 <= best_epoch <= epoch or len(rows) > 1 or (snapshot["sums"][1] > 0) != begun:
            raise UserError(
                f"expected a snapshot of some position, got epoch {epoch}, batch {batch}, the best epoch {best_epoch}, "
                f"states of {sorted(rows)} rows and sums {snapshot['sums'].tolist()}"
            )

        def group(name: str) -> list[np.ndarray]:
            return [snapshot[f"{name}.{i}"] for i in range(sum(key.startswith(f"{name}.") for key in snapshot))]

        self.model.set_weights(group("weights"))
        for variables, name in ((step.generators(self.model), "generators"), (self.optimizer.variables, "optimizer")):
            for variable, value in zip(variables, group(name), strict=True):
                variable.assign(value)
        self._state = tf.nest.pack_sequence_as(self._state, [tf.constant(array) for array in group("state")])
        self._best_weights = group("best_weights")
        self.epoch, self.batch = epoch, batch
        self._sums = step.Sums(*map(tf.constant, snapshot["sums"]))
        self._best_loss, self._best_epoch = float(snapshot["best_loss"]), best_epoch

    def _iterator(self, batches: Batches, epoch: int, batch: int) -> Iterator:
        # Each process cuts the rows of its own replicas, so nothing is left to distribute; and a distributed iterator
        # would wrap the dataset into another with a tuning thread of its own, see Batches.from_position.
        return iter(batches.from_position(epoch, batch, self.replicas.rows_here(batches.batch_size)))

    def _agree_to_stop(self) -> bool:
        """Whether a callback of any worker wishes training to stop. All then make calls of the chief's length."""
        own = [self._steps_per_call, self._eval_steps_per_call] if self.replicas.is_chief else [0, 0]
        stops, *steps = self.replicas.agree([int(getattr(self.model, "stop_training", False)), *own])
        self._steps_per_call, self._eval_steps_per_call = steps
        if stops:  # never back to False: a signal may have come while the others were waited for
            self.model.stop_training = True
        return stops > 0

    def _train_to_end_of_epoch(self, iterator: Iterator, batches: Batches, served: Any) -> float | None:
        """Calls of as many steps as fit CALL_SECONDS; gives tokens per second, None where every call has traced."""
        num_batches = batches.num_batches(self.epoch)
        tokens_of_step = batches.batch_size * batches.num_steps
        steps_timed, traced, speed, start = 0, 0.0, None, time.perf_counter()
        while self.batch < num_batches:
            traces = self._train_steps.experimental_get_tracing_count()
            num_steps = min(self._steps_per_call, num_batches - self.batch)
            served.on_train_batch_begin(self.batch)
            call_start = time.perf_counter()
            with _read_errors_of(batches):
                self._state, self._sums, norms = self._train_steps(
                    iterator, tf.constant(num_steps), self._state, self._sums
                )
            done = len(norms)
            self.gradient_norms.extend(norms.numpy())
            if self._train_steps.experimental_get_tracing_count() == traces:
                steps_timed += done
                seconds = time.perf_counter() - start - traced
                speed = steps_timed * tokens_of_step / seconds
                self._steps_per_call = max(1, int(CALL_SECONDS * steps_timed / seconds))
            else:
                traced += time.perf_counter() - call_start
            self.batch += done
            if done < num_steps:
                raise self._diverged()
            served.on_train_batch_end(self.batch - 1, {**_measures(self._sums), "tokens_per_sec": speed})
            if self.batch < num_batches and self._agree_to_stop():
                break
        self.seconds_apart["tracing"] += traced
        return speed

    def _diverged(self) -> DivergedError:
        smaller = "--learning_rate or --clip_norm" if self._clip_norm else "--learning_rate, or with a --clip_norm"
        return DivergedError(
            f"training diverged: the loss or the gradient norm was not finite in epoch {self.epoch + 1}, batch "
            f"{self.batch + 1}, at learning rate {self._learning_rate():g}; the weights are those before it. "
            f"Try a new run with a smaller {smaller}"
        )

    def _evaluate(self, batches: Batches, iterator: Iterator, epoch: int, may_stop: bool = False) -> step.Sums | None:
        """The sums over the batches of an epoch, in calls as in training; None where it has been stopped before."""
        start, done, num_batches = time.perf_counter(), 0, batches.num_batches(epoch)
        share = self.replicas.share(batches.batch_size)
        state, sums = self._begin_evaluation(share)
        while done < num_batches:
            if self._agree_to_stop() and may_stop and done:
                break
            traces, call_start = self._eval_steps.experimental_get_tracing_count(), time.perf_counter()
            num_steps = min(self._eval_steps_per_call, num_batches - done)
            with _read_errors_of(batches):
                state, sums = self._eval_steps(iterator, tf.constant(num_steps), state, sums)
            float(self.replicas.first(sums).loss)  # waits for it
            done += num_steps
            if self._eval_steps.experimental_get_tracing_count() == traces:
                seconds = time.perf_counter() - call_start
                self._eval_steps_per_call = max(1, int(CALL_SECONDS * num_steps / seconds))
        self.seconds_apart["validation"] += time.perf_counter() - start
        if done < num_batches:
            return None
        return step.Sums(*map(self.replicas.total, sums))

    def _learning_rate(self) -> float:
        return float(keras.ops.convert_to_numpy(self.optimizer.learning_rate))


@contextlib.contextmanager
def _read_errors_of(batches: Batches) -> Iterator[None]:
    """What went wrong in reading batches, in place of TensorFlow's words for it."""
    try:
        yield
    except tf.errors.OpError:
        if batches.failure:
            raise batches.failure from None
        raise


def _strategy_of(model: Any) -> tf.distribute.Strategy:
    return getattr(model, "distribute_strategy", None) or tf.distribute.get_strategy()


def _measures(sums: step.Sums) -> dict[str, float]:
    loss = float(sums.loss) / float(sums.tokens)
    return {"loss": loss, "perplexity": math.exp(min(loss, 700)), "bits_per_char": loss / math.log(2)}


def _array(variable: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable))
