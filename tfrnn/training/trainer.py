"""The training loop: epochs, calls of many steps, the state carried between them, and Keras's callbacks."""

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

CALL_SECONDS = 1.0  # about how long a call of many steps lasts; only between calls can training be interrupted


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
      model: has `initial_state(batch_size)` and, when called, `(inputs, state, training) -> (outputs, state)`.
      optimizer: a Keras optimizer.
      clip_norm: the bound on the global norm of the gradients; 0 for none.
      strategy: a `tf.distribute` strategy. By default, a model that has weights keeps the strategy under which they
        were made, and any other gets a OneDeviceStrategy on the GPU if there is one, else on the CPU. If the strategy
        has several replicas, they divide the rows of each batch among them, and together make the update that one
        device would have made.
      loss_fn: (outputs, targets) -> the sum of the losses, a scalar.
      chains: the number of slices of a replica's rows that a step computes in parallel, adding their gradients. 0: on a
        CPU at most as many as there are cores, depending on the number of rows; on a GPU one. It changes results only
        by rounding and, with dropout, by which values are dropped.
      jit_compile: whether XLA compiles a step (with several replicas, the part of a step before they communicate). By
        default only on a GPU. With XLA, dropout drops other values, and `chains` is 1 by default. A cell that uses
        operations that XLA does not support needs False.

    Attributes:
      epoch, batch: the position: the number of finished epochs, and of finished batches of the current epoch.
      jit_compile: whether XLA compiles a step.
      gradient_norms: the global norm of the gradients in each training step so far, before it was clipped.
      excluded_seconds: the time spent in calls that traced and in validation, which tokens_per_sec does not count.
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
        self.excluded_seconds = {"tracing": 0.0, "validation": 0.0}
        self._sums = step.Sums.zero()
        self._steps_per_call = self._eval_steps_per_call = 1
        with self.strategy.scope():
            if not model.built:
                model.build()
            if not optimizer.built:
                # An optimizer remembers the strategy under which it was made, which may be another. Keras has no public
                # way to change it, and a copy would lose what is not in the optimizer's config.
                optimizer._distribution_strategy = self.strategy
            optimizer.build(model.trainable_variables)
            self.optimizer = optimizer
            if replicas.count > 1:
                # A step sums the gradients before it clips them; Keras would sum them a second time.
                optimizer._all_reduce_sum_gradients = lambda pairs: pairs
            model.compile(optimizer=optimizer)  # callbacks find the optimizer in `model.optimizer`
        self._state = model.initial_state(0)  # `fit` makes one with the rows of its batches
        # The lowest loss on the validation batches, its epoch (0: none yet), and the weights after that epoch.
        self._best_loss, self._best_epoch, self._best_weights = sys.float_info.max, 0, model.get_weights()

        self.jit_compile = execution.jit_by_default(self.strategy) if jit_compile is None else jit_compile

        compute: Any = step.compute_gradients
        if self.jit_compile and replicas.count > 1:  # XLA cannot compile communication between replicas
            compute = tf.function(compute, autograph=False, jit_compile=True)

        def train_step(batch: Batch, state: Any, sums: step.Sums) -> tuple:
            rows = batch.reset.shape[0]
            chains = self.num_chains(rows // len(replicas.local_replicas) if rows else None)
            return step.train_step(model, optimizer, loss_fn, clip_norm, batch, state, sums, chains, replicas, compute)

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
            begin_in_replica = begin_evaluation
            begin_evaluation = tf.function(lambda rows: replicas.run(begin_in_replica, rows), autograph=False)

        self._train_steps, self._eval_steps, self._begin_evaluation = train_steps, eval_steps, begin_evaluation

    def fit(
        self,
        batches: Batches,
        epochs: int,
        validation: Batches | None = None,
        callbacks: list[keras.callbacks.Callback] | None = None,
    ) -> keras.callbacks.History:
        """Trains for `epochs` more epochs, from the current position.

        If a callback sets `model.stop_training`, as Keras's do, training stops after the current call, which lasts
        about a second; the next `fit` resumes there.

        Args:
          batches: the training batches.
          epochs: the number of epochs to add.
          validation: batches of a held-out text. One epoch of them is read after each training epoch.
          callbacks: Keras callbacks. Their "batch" methods are called once per call of many steps.
        Returns:
          Keras's History. Its `history` has a list with a value for each finished epoch: loss (nats per token),
          perplexity, bits_per_char, tokens_per_sec (of the training calls that did not trace; None if all did),
          learning_rate, gradient_norm (the mean over the steps, before clipping), seconds (of the whole epoch), and
          val_loss, val_perplexity and val_bits_per_char.
        Raises:
          DivergedError: a loss or gradient norm was not finite; the weights are those before that batch.
          UserError: a batch cannot be divided among the replicas or into the chains, or has another size than those of
            the unfinished epoch.
        """
        self.replicas.rows_per_replica(batches.batch_size)
        threads.check_chains(self._chains, batches.batch_size, self.replicas.count)
        if validation:
            self.replicas.rows_per_replica(validation.batch_size, "the batch size of the validation batches")
        threads.warn_of_default_threads(self.strategy)
        last_epoch = self.epoch + epochs
        callback_list = keras.callbacks.CallbackList(
            callbacks, add_history=True, model=self.model, epochs=last_epoch, steps=batches.num_batches(self.epoch)
        )
        self.model.stop_training = False
        iterator = self._iterator(batches, self.epoch, self.batch)
        # The epochs of the validation batches are those of training, so that a resumed run reads the same ones.
        validation_iterator = self._iterator(validation, self.epoch, 0) if validation else None
        if self.batch == 0:
            self._state = self.model.initial_state(batches.batch_size)
        elif (rows := tf.nest.flatten(self._state)[0].shape[0]) != batches.batch_size:
            raise UserError(f"expected batches of {rows} rows, as in the unfinished epoch; got {batches.batch_size}")
        elif self.batch > (num_batches := batches.num_batches(self.epoch)):
            raise UserError(
                f"expected at most {num_batches} batches in epoch {self.epoch + 1}; {self.batch} are done already"
            )
        callback_list.on_train_begin()
        try:
            while self.epoch < last_epoch and not self._any_worker_stops():
                start = time.perf_counter()
                callback_list.on_epoch_begin(self.epoch)
                steps_before = len(self.gradient_norms)
                speed = self._train_to_end_of_epoch(iterator, batches, callback_list)
                if self.batch < batches.num_batches(self.epoch):
                    break  # stopped within the epoch; position, state and sums are kept
                logs: dict[str, Any] = {
                    **_measures(self._sums),
                    "tokens_per_sec": speed,
                    "learning_rate": self._learning_rate(),
                }
                if norms := self.gradient_norms[steps_before:]:  # empty if only the validation was left to do
                    logs["gradient_norm"] = statistics.fmean(norms)
                if validation and validation_iterator:
                    sums = self._evaluate(validation, validation_iterator, self.epoch, may_stop=True)
                    if sums is None:
                        break  # the next `fit` begins this validation again
                    logs.update({f"val_{name}": value for name, value in _measures(sums).items()})
                self.epoch, self.batch, self._sums = self.epoch + 1, 0, step.Sums.zero()
                if logs.get("val_loss", math.inf) < self._best_loss:
                    self._best_loss, self._best_epoch = logs["val_loss"], self.epoch
                    self._best_weights = self.model.get_weights()
                logs["seconds"] = time.perf_counter() - start
                callback_list.on_epoch_end(self.epoch - 1, logs)
        except DivergedError as error:
            try:
                callback_list.on_train_end()  # callbacks save the weights, as after a stop
            except UserError as saving_error:
                raise DivergedError(f"{error}; and {saving_error}") from None
            raise
        callback_list.on_train_end()
        return self.model.history

    def num_chains(self, rows: int | None) -> int:
        """Returns the number of slices into which a step cuts `rows` rows of a replica; 1 if `rows` is None."""
        if rows is None:
            return 1
        if self._chains and rows % self._chains == 0:  # validation batches may be of another size
            return self._chains
        return 1 if self.jit_compile else threads.num_chains(rows, self.strategy)

    def evaluate(self, batches: Batches | np.ndarray) -> dict[str, float]:
        """Returns loss (nats per token), perplexity and bits_per_char.

        Args:
          batches: `Batches`, of which epoch 0 is read, with the state carried or reset as each batch says; or the token
            ids of a text, int32 [N], of which a language model predicts all but the first, each once, with the state
            carried from beginning to end.
        """
        if not isinstance(batches, Batches):
            scored = scoring.score(self.model, batches)
            return {"loss": scored.loss, "perplexity": scored.perplexity, "bits_per_char": scored.bits_per_char}
        sums = self._evaluate(batches, self._iterator(batches, 0, 0), 0)
        assert sums is not None
        return _measures(sums)

    @property
    def epochs_without_gain(self) -> int:
        """The number of finished epochs since the one with the lowest loss on the validation batches."""
        return self.epoch - self._best_epoch

    @property
    def position(self) -> tuple[int, int]:
        """The number of finished epochs, and of finished batches of the current epoch."""
        return self.epoch, self.batch

    def snapshot(self) -> dict[str, np.ndarray]:
        """Returns all that is needed to resume training exactly, as arrays by name.

        These are the weights, the optimizer's variables, the seed states of dropout, the state, the position, the sums
        of the unfinished epoch, and the weights with the lowest validation loss.
        """
        groups = {
            "weights": self.model.get_weights(),
            "generators": [_to_numpy(variable) for variable in step.seed_states(self.model)],
            "optimizer": [_to_numpy(variable) for variable in self.optimizer.variables],
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
        """The shape and dtype of each array of a snapshot of this trainer; the state may have any number of rows."""
        layouts = {name: Layout.of(array) for name, array in self.snapshot().items()}
        return {
            name: Layout((None, *layout.shape[1:]), layout.dtype) if name.startswith("state.") else layout
            for name, layout in layouts.items()
        }

    def restore(self, snapshot: Arrays) -> None:
        """Sets weights, optimizer, state and position to those of a snapshot.

        Raises:
          UserError: it is no snapshot of this model and optimizer, or its numbers contradict each other.
        """
        try:
            checkpoints.check({name: Layout.of(array) for name, array in snapshot.items()}, self.layouts)
        except checkpoints.UnusableError as error:
            raise UserError(f"expected a snapshot of this model and optimizer, but {error}") from None
        epoch, batch, best_epoch = (int(number) for number in (*snapshot["position"], snapshot["best_epoch"]))
        rows = {len(array) for name, array in snapshot.items() if name.startswith("state.")}
        sums_begun = snapshot["sums"][1] > 0
        valid_numbers = min(epoch, batch) >= 0 and 0 <= best_epoch <= epoch
        if not valid_numbers or len(rows) > 1 or sums_begun != (batch > 0):
            raise UserError(
                f"expected a snapshot with a valid position, got epoch {epoch}, batch {batch}, the best epoch "
                f"{best_epoch}, states of {sorted(rows)} rows and sums {snapshot['sums'].tolist()}"
            )

        def group(name: str) -> list[np.ndarray]:
            return [snapshot[f"{name}.{i}"] for i in range(sum(key.startswith(f"{name}.") for key in snapshot))]

        self.model.set_weights(group("weights"))
        for variables, name in ((step.seed_states(self.model), "generators"), (self.optimizer.variables, "optimizer")):
            for variable, value in zip(variables, group(name), strict=True):
                variable.assign(value)
        self._state = tf.nest.pack_sequence_as(self._state, [tf.constant(array) for array in group("state")])
        self._best_weights = group("best_weights")
        self.epoch, self.batch = epoch, batch
        self._sums = step.Sums(*map(tf.constant, snapshot["sums"]))
        self._best_loss, self._best_epoch = float(snapshot["best_loss"]), best_epoch

    def _iterator(self, batches: Batches, epoch: int, batch: int) -> Iterator:
        # Each process reads only the rows of its replicas, so there is nothing to distribute; and a distributed
        # iterator would wrap the dataset into another one with a tuning thread, see Batches.from_position.
        return iter(batches.from_position(epoch, batch, self.replicas.local_rows(batches.batch_size)))

    def _any_worker_stops(self) -> bool:
        """Returns whether a callback of any worker has set `stop_training`, and sets it in this worker then.

        All workers call it at the same points. The chief's call lengths become those of all, since workers that
        communicate within a call must make equally many steps.
        """
        chief_steps = [self._steps_per_call, self._eval_steps_per_call] if self.replicas.is_chief else [0, 0]
        stops, self._steps_per_call, self._eval_steps_per_call = self.replicas.sum_over_workers(
            [int(getattr(self.model, "stop_training", False)), *chief_steps]
        )
        if stops:  # never set to False: a signal may have come while this worker waited for the others
            self.model.stop_training = True
        return stops > 0

    def _train_to_end_of_epoch(self, iterator: Iterator, batches: Batches, callback_list: Any) -> float | None:
        """Trains in calls that last about CALL_SECONDS; returns tokens per second, None if every call traced."""
        num_batches = batches.num_batches(self.epoch)
        tokens_of_step = batches.batch_size * batches.num_steps
        steps_timed, traced, speed, start = 0, 0.0, None, time.perf_counter()
        while self.batch < num_batches:
            traces = self._train_steps.experimental_get_tracing_count()
            num_steps = min(self._steps_per_call, num_batches - self.batch)
            callback_list.on_train_batch_begin(self.batch)
            call_start = time.perf_counter()
            with _read_errors_explained(batches):
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
            callback_list.on_train_batch_end(self.batch - 1, {**_measures(self._sums), "tokens_per_sec": speed})
            if self.batch < num_batches and self._any_worker_stops():
                break
        self.excluded_seconds["tracing"] += traced
        return speed

    def _diverged(self) -> DivergedError:
        smaller = "--learning_rate or --clip_norm" if self._clip_norm else "--learning_rate, or with a --clip_norm"
        return DivergedError(
            f"training diverged: the loss or the gradient norm was not finite in epoch {self.epoch + 1}, batch "
            f"{self.batch + 1}, at learning rate {self._learning_rate():g}; the weights are those before it. "
            f"Try a new run with a smaller {smaller}"
        )

    def _evaluate(self, batches: Batches, iterator: Iterator, epoch: int, may_stop: bool = False) -> step.Sums | None:
        """Returns the sums over the batches of an epoch, or None if it `may_stop` before the last and was stopped."""
        start, done, num_batches = time.perf_counter(), 0, batches.num_batches(epoch)
        rows = self.replicas.rows_per_replica(batches.batch_size)
        state, sums = self._begin_evaluation(rows)
        while done < num_batches:
            if self._any_worker_stops() and may_stop and done:
                break
            traces, call_start = self._eval_steps.experimental_get_tracing_count(), time.perf_counter()
            num_steps = min(self._eval_steps_per_call, num_batches - done)
            with _read_errors_explained(batches):
                state, sums = self._eval_steps(iterator, tf.constant(num_steps), state, sums)
            float(self.replicas.local_value(sums).loss)  # waits until it is computed
            done += num_steps
            if self._eval_steps.experimental_get_tracing_count() == traces:
                seconds = time.perf_counter() - call_start
                self._eval_steps_per_call = max(1, int(CALL_SECONDS * num_steps / seconds))
        self.excluded_seconds["validation"] += time.perf_counter() - start
        if done < num_batches:
            return None
        return step.Sums(*map(self.replicas.reduce_sum, sums))

    def _learning_rate(self) -> float:
        return float(keras.ops.convert_to_numpy(self.optimizer.learning_rate))


@contextlib.contextmanager
def _read_errors_explained(batches: Batches) -> Iterator[None]:
    """Raises the error that occurred while the batches were read, instead of the one that TensorFlow made of it."""
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


def _to_numpy(variable: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable))
