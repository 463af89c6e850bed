"""The training loop: epochs, calls of many steps, the state carried between them, and Keras's callbacks."""

import array
import contextlib
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrnn.data.batches import Batches, as_batches
from tfrnn.errors import DivergedError, UserError
from tfrnn.inference import scoring
from tfrnn.layers.model_protocol import check_ids, check_protocol, data_errors_explained
from tfrnn.runs.checkpoints import Arrays, Layout
from tfrnn.runtime import devices, execution, threads
from tfrnn.training import losses, optimizers
from tfrnn.training.fit_arguments import check_callbacks, check_epochs
from tfrnn.training.loops import Timer, compile_eval_loop, compile_train_loop
from tfrnn.training.optimizer_strategy import acting_under, strategy_of
from tfrnn.training.replicas import replicas_of
from tfrnn.training.step import EvalStep, Sums, TrainStep, check_clip_norm, variables_of
from tfrnn.training.training_state import TrainingState
from tfrnn.training.workers import workers_of


class Trainer:
    """Trains a model on batches.

    >>> ids = np.tile([1, 2, 3], 40).astype("int32")
    >>> batches = tfrnn.sequential_batches(ids, batch_size=4, num_steps=6)
    >>> model = tfrnn.LanguageModel(keras.layers.SimpleRNNCell(8), vocab_size=4)
    >>> trainer = tfrnn.Trainer(model, keras.optimizers.Adam(0.1), clip_norm=1.0)
    >>> history = trainer.fit(batches, epochs=10).history
    >>> history["perplexity"][-1] < 1.2 < history["perplexity"][0]
    True

    Args:
      model: a keras.Model that has `initial_state(batch_size)` and, when called, `(inputs, state, training) ->
        (outputs, state)`. It must have its weights, or a `build` without arguments that makes them.
      optimizer: a Keras optimizer, or what keras.optimizers.get takes, such as "adam"; for a strategy of several
        replicas, one that was made in its scope. Under the policy mixed_float16 it is wrapped in a LossScaleOptimizer,
        as Keras does.
      clip_norm: the bound on the global norm of the gradients; 0 for none.
      strategy: a `tf.distribute` strategy. By default, a model that has weights keeps the strategy under which they
        were made, and any other gets a OneDeviceStrategy on the GPU if there is one, else on the CPU. If the strategy
        has several replicas, they divide the rows of each batch among them, and together make the update that one
        device would have made.
      loss: the name, the class or an instance of a loss of keras.losses, or a function (y_true, y_pred) -> the loss of
        each step, of which the mean is minimized. By default the model's attribute `own_loss`, else `cross_entropy`.
        What the model adds to it, regularizers and add_loss, is minimized too.
      chains: the number of slices of a replica's rows that a step computes in parallel, adding their gradients. 0: on a
        CPU at most as many as there are cores, depending on the number of rows; on a GPU one. It changes results only
        by rounding and, with dropout, by which values are dropped.
      jit_compile: whether XLA compiles a step (with several replicas, the part of a step before they communicate). By
        default only on a GPU. With XLA, dropout drops other values, and `chains` is 1 by default. A cell that uses
        operations that XLA does not support needs False.
      metrics: Keras's metrics or their names, which are computed of the outputs [T, B, ...] of all steps.

    Attributes:
      model, optimizer, strategy: the arguments.
      replicas, workers: the replicas of the strategy, and the processes among which they are divided.
      epoch, batch: the position: the number of finished epochs, and of finished batches of the current epoch.
      jit_compile: whether XLA compiles a step.
      gradient_norms: the global norm of the gradients in each training step so far, before it was clipped.
      excluded_seconds: the time spent in calls that traced and in validation, which tokens_per_sec does not count.
    Raises:
      UserError: an argument is none of these; or there are several replicas, and the optimizer was made outside of the
        strategy's scope.
    """

    def __init__(
        self,
        model: Any,
        optimizer: keras.optimizers.Optimizer | str,
        clip_norm: float = 1.0,
        strategy: tf.distribute.Strategy | None = None,
        loss: Any = None,
        chains: int = 0,
        jit_compile: bool | None = None,
        metrics: Sequence[keras.metrics.Metric | str] = (),
        **renamed: Any,
    ):
        _refuse(renamed, loss_fn="`loss`, a function in Keras's order, (y_true, y_pred) -> the loss of each step")
        check_protocol(model)
        check_clip_norm(clip_norm)
        self.model, self._clip_norm, self._chains = model, clip_norm, chains
        own_loss = getattr(model, "own_loss", losses.cross_entropy)
        self._loss = losses.mean_loss(own_loss if loss is None else loss, getattr(model, "returns_logits", False))
        self.strategy = strategy or (_strategy_of(model) if model.built else devices.one_device())
        self.replicas = replicas_of(self.strategy)
        self.workers = workers_of(self.replicas)
        with self.strategy.scope():
            optimizer = optimizers.get_with_rate(optimizer)
            self._metrics = tuple(losses.metric(metric, self._loss) for metric in losses.flat_metrics(metrics))
        if self.replicas.count > 1 and strategy_of(optimizer) is not self.strategy:
            # Its number of steps is one variable, to which every replica would add.
            raise UserError("expected an `optimizer` made within `strategy.scope()`; got one made outside of it")
        if self.replicas.count > 1:
            optimizers.check_for_replicas(optimizer)
        self.jit_compile = execution.jit_by_default(self.strategy) if jit_compile is None else jit_compile
        self.gradient_norms = array.array("f")
        self.excluded_seconds = {"tracing": 0.0, "validation": 0.0}
        with self.strategy.scope(), acting_under(self.strategy, optimizer):
            if not model.built:
                model.build()
            self.optimizer = _optimizer_of(model, optimizer)
        with self.strategy.scope(), acting_under(self.strategy, self.optimizer):
            self.optimizer.build(model.trainable_variables)
        self._state = TrainingState(model, self.optimizer, self._metrics)
        self._compile_loops()

    def _compile_loops(self) -> None:
        train_step = TrainStep(self.model, self.optimizer, self._loss, self._clip_norm, self.num_chains, self._metrics)
        eval_step = EvalStep(self.model, self._loss, self.num_chains, self._metrics)
        self._train_loop = compile_train_loop(train_step, self.replicas, self.jit_compile)
        self._eval_loop = compile_eval_loop(eval_step, self.replicas, self.jit_compile)
        self._begin_evaluation = self.replicas.begin_evaluation(self.model)
        self._train_timer, self._eval_timer = Timer(self._train_loop), Timer(self._eval_loop)

    def fit(
        self,
        batches: Any,
        epochs: int,
        validation_data: Any = None,
        callbacks: list[keras.callbacks.Callback] | None = None,
        **renamed: Any,
    ) -> keras.callbacks.History:
        """Trains for `epochs` more epochs, from the current position.

        If a callback sets `model.stop_training`, as Keras's do, training stops after the current call, which lasts
        about a second; the next `fit` resumes there.

        Args:
          batches: `Batches`; or, with rows [B, T], a tf.data.Dataset or a pair of arrays (x, y): see `as_batches`.
          epochs: the number of epochs to add.
          validation_data: held-out data, likewise. One epoch of them is read after each training epoch.
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
        _refuse(renamed, validation="`validation_data`")
        check_epochs(epochs=epochs)
        check_callbacks(callbacks)
        batches = as_batches(batches)
        validation = None if validation_data is None else as_batches(validation_data, "`validation_data`")
        self._check(batches, validation)
        last_epoch, num_batches = self.epoch + epochs, batches.num_batches(self.epoch)
        callback_list = keras.callbacks.CallbackList(
            callbacks, add_history=True, model=self.model, epochs=last_epoch, steps=num_batches, verbose=1
        )
        self.model.stop_training, self.model._initial_epoch = False, None
        self._state.begin(batches.batch_size, num_batches, batches.continues(self.epoch))
        callback_list.on_train_begin()
        self._go_where_callbacks_restored(batches)
        iterator = self._iterator(batches, *self.position)
        # The epochs of the validation batches are those of training, so that a resumed run reads the same ones.
        validation_iterator = self._iterator(validation, self.epoch, 0) if validation else None
        try:
            while self.epoch < last_epoch and not self._any_worker_stops():
                start = time.perf_counter()
                callback_list.on_epoch_begin(self.epoch)
                logs = self._train_to_end_of_epoch(iterator, batches, callback_list)
                if logs is not None and validation:
                    logs = self._validate(validation, validation_iterator, callback_list, logs)
                if logs is None:
                    break  # stopped within the epoch; the next `fit` resumes there
                self._state.finish_epoch(logs.get("val_loss", math.inf))
                callback_list.on_epoch_end(self.epoch - 1, {**logs, "seconds": time.perf_counter() - start})
        except DivergedError as error:
            try:
                callback_list.on_train_end()  # callbacks save the weights, as after a stop
            except UserError as saving_error:
                raise DivergedError(f"{error}; and {saving_error}") from None
            raise
        if self.batch == 0:  # else the training goes on within the epoch
            self._finalize_weights()
        callback_list.on_train_end()
        return self.model.history

    def _go_where_callbacks_restored(self, batches: Batches) -> None:
        """Goes to the beginning of the epoch of which Keras's BackupAndRestore restored weights and optimizer.

        It says so by an attribute of the model, which only Keras's `fit` knows.
        """
        epoch, self.model._initial_epoch = self.model._initial_epoch, None
        if epoch is not None:
            self.begin_at(epoch)
            self._state.begin(batches.batch_size, batches.num_batches(epoch))

    def _finalize_weights(self) -> None:
        """Sets the weights to their moving average if the optimizer keeps one, as Keras's fit does at its end."""
        with self.strategy.scope(), acting_under(self.strategy, self.optimizer):
            self.optimizer.finalize_variable_values(self.model.trainable_weights)

    def begin_at(self, epoch: int) -> None:
        """Moves to the beginning of an epoch, counted from 0, with the weights and the optimizer as they are."""
        self._state = TrainingState(self.model, self.optimizer, self._metrics)
        self._state.epoch = epoch

    def evaluate(
        self, batches: Any, callbacks: list[keras.callbacks.Callback] | keras.callbacks.CallbackList | None = None
    ) -> dict[str, float]:
        """Returns loss (nats per token), the metrics, perplexity and bits_per_char.

        Args:
          batches: what `fit` takes, of which epoch 0 is read, with the state carried or reset as each batch says; or
            the ids of a text, int32 [N], of which a language model predicts all but the first, each once, with the
            state carried from beginning to end.
          callbacks: Keras callbacks. Their "batch" methods are called once per call of many steps; of a text, once.
        """
        check_callbacks(callbacks)
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = keras.callbacks.CallbackList(callbacks, model=self.model)
        if not isinstance(batches, (Batches, tf.data.Dataset, tuple)):
            return self._score(batches, callbacks)
        batches = as_batches(batches)
        self._check_ids(batches)
        measures = self._evaluate(batches, self._iterator(batches, 0, 0), 0, callbacks)
        assert measures is not None
        return measures

    def _score(self, ids: Any, callback_list: Any) -> dict[str, float]:
        callback_list.on_test_begin()
        callback_list.on_test_batch_begin(0)
        scored = scoring.score(self.model, ids)
        measures = {"loss": scored.loss, "perplexity": scored.perplexity, "bits_per_char": scored.bits_per_char}
        callback_list.on_test_batch_end(0, measures)
        callback_list.on_test_end(measures)
        return measures

    @property
    def epoch(self) -> int:
        """The number of finished epochs."""
        return self._state.epoch

    @property
    def batch(self) -> int:
        """The number of finished batches of the current epoch."""
        return self._state.batch

    @property
    def position(self) -> tuple[int, int]:
        """The number of finished epochs, and of finished batches of the current epoch."""
        return self.epoch, self.batch

    @property
    def epochs_without_gain(self) -> int:
        """The number of finished epochs since the one with the lowest loss on the validation batches."""
        return self.epoch - self._state.best_epoch

    def num_chains(self, rows: int | None) -> int:
        """Returns the number of slices into which a step cuts `rows` rows of a replica; 1 if `rows` is None."""
        if rows is None:
            return 1
        if self._chains and rows % self._chains == 0:  # validation batches may be of another size
            return self._chains
        return 1 if self.jit_compile else threads.num_chains(rows, self.strategy)

    def snapshot(self) -> dict[str, np.ndarray]:
        """Returns all that is needed to resume training exactly, as arrays by name.

        These are the weights, the optimizer's variables, the seed states of dropout, the state, the position, the sums
        of the unfinished epoch, and the weights with the lowest validation loss.
        """
        return self._state.arrays()

    @property
    def layouts(self) -> dict[str, Layout]:
        """The shape and dtype of each array of a snapshot of this trainer; the state may have any number of rows."""
        return self._state.layouts()

    def restore(self, snapshot: Arrays) -> None:
        """Sets weights, optimizer, state and position to those of a snapshot.

        Raises:
          UserError: it is no snapshot of this model and optimizer, or its numbers contradict each other.
        """
        self._state.load(snapshot)

    def _check(self, batches: Batches, validation: Batches | None) -> None:
        for data in (batches, validation) if validation else (batches,):
            self._check_ids(data)
        self.replicas.rows_per_replica(batches.batch_size)
        threads.check_chains(self._chains, batches.batch_size, self.replicas.count)
        if validation:
            self.replicas.rows_per_replica(validation.batch_size, "validation_data.batch_size")
        threads.warn_of_default_threads(self.strategy)

    def _check_ids(self, batches: Batches) -> None:
        """Raises UserError if the batches have ids that the model does not know, as far as they are in memory."""
        for name, ids in batches.in_memory.items():
            if name == "inputs":
                check_ids(ids, name, self.model)
            elif self._loss.takes_ids:
                check_ids(ids, name, self.model, "num_labels")

    def _iterator(self, batches: Batches, epoch: int, batch: int) -> Iterator:
        # Each process reads only the rows of its replicas, so there is nothing to distribute; and a distributed
        # iterator would wrap the dataset into another one with a tuning thread, see Batches.from_position.
        return iter(batches.from_position(epoch, batch, self.replicas.local_rows(batches.batch_size)))

    def _any_worker_stops(self) -> bool:
        """Returns whether a callback of any worker has set `stop_training`, and sets it in this worker then.

        All workers call it at the same points. The chief's call lengths become those of all, since workers that
        communicate within a call must make equally many steps.
        """
        timers = self._train_timer, self._eval_timer
        chiefs_lengths = [timer.steps_per_call if self.workers.is_chief else 0 for timer in timers]
        stops, *lengths = self.workers.sum([int(getattr(self.model, "stop_training", False)), *chiefs_lengths])
        self._train_timer.steps_per_call, self._eval_timer.steps_per_call = lengths
        if stops:  # never set to False: a signal may have come while this worker waited for the others
            self.model.stop_training = True
        return stops > 0

    def _train_to_end_of_epoch(self, iterator: Iterator, batches: Batches, callback_list: Any) -> dict | None:
        """Trains in calls of many steps; returns the measures of the epoch, or None if it was stopped in it."""
        state, timer, num_batches = self._state, self._train_timer, batches.num_batches(self.epoch)
        steps_before, speed = len(self.gradient_norms), None
        timer.start()
        while state.batch < num_batches:
            callback_list.on_train_batch_begin(state.batch)
            num_steps = min(timer.steps_per_call, num_batches - state.batch)
            with timer.call(num_steps), _read_errors_explained(batches):
                flows = self._train_loop(iterator, tf.constant(num_steps), state.recurrent, state.sums)
                state.recurrent, state.sums, norms = flows
                self.gradient_norms.extend(norms.numpy())
                state.batch += len(norms)
                if len(norms) < num_steps:
                    raise self._diverged()
            if timer.steps_per_second:
                speed = timer.steps_per_second * batches.batch_size * batches.num_steps
            callback_list.on_train_batch_end(state.batch - 1, {**self._measures(state.sums), "tokens_per_sec": speed})
            if state.batch < num_batches and self._any_worker_stops():
                break
        self.excluded_seconds["tracing"] += timer.seconds_tracing
        if state.batch < num_batches:
            return None
        logs = {**self._measures(state.sums), "tokens_per_sec": speed, "learning_rate": self._learning_rate()}
        # None if only the validation was left to do. A LossScaleOptimizer makes no update where the norm is not finite.
        if norms := [norm for norm in self.gradient_norms[steps_before:] if math.isfinite(norm)]:
            logs["gradient_norm"] = statistics.fmean(norms)
        return logs

    def _validate(self, batches: Batches, iterator: Any, callback_list: Any, logs: dict) -> dict | None:
        """Returns the measures of an epoch with those of the validation batches, or None if it was stopped in them."""
        measures = self._evaluate(batches, iterator, self.epoch, callback_list, may_stop=True)
        if measures is None:
            return None
        return {**logs, **{f"val_{name}": value for name, value in measures.items()}}

    def _evaluate(
        self, batches: Batches, iterator: Iterator, epoch: int, callback_list: Any, may_stop: bool = False
    ) -> dict[str, float] | None:
        """Returns the measures of the batches of an epoch, or None if it `may_stop` before the last and was stopped."""
        start, timer, done, num_batches = time.perf_counter(), self._eval_timer, 0, batches.num_batches(epoch)
        zero, measures = Sums.zero(self._metrics), None
        callback_list.on_test_begin()
        state, sums = self._begin_evaluation(batches.batch_size, zero)
        timer.start()
        while done < num_batches:
            if self._any_worker_stops() and may_stop and done:
                break
            callback_list.on_test_batch_begin(done)
            num_steps = min(timer.steps_per_call, num_batches - done)
            with timer.call(num_steps), _read_errors_explained(batches):
                state, sums = self._eval_loop(iterator, tf.constant(num_steps), state, sums)
                float(self.replicas.local_value(sums).loss)  # waits until it is computed
            done += num_steps
            measures = self._measures(self.replicas.total(sums, zero))
            callback_list.on_test_batch_end(done - 1, measures)
        callback_list.on_test_end(measures)
        self.excluded_seconds["validation"] += time.perf_counter() - start
        return measures if done == num_batches else None

    def _diverged(self) -> DivergedError:
        smaller = "`learning_rate` or `clip_norm`" if self._clip_norm else "`learning_rate`, or with a `clip_norm`"
        return DivergedError(
            f"training diverged: the loss or the gradient norm was not finite in epoch {self.epoch + 1}, batch "
            f"{self.batch + 1}, at learning rate {self._learning_rate():g}; the weights are those before it. "
            f"Try a new run with a smaller {smaller}"
        )

    def _measures(self, sums: Sums) -> dict[str, float]:
        # No token counts if a loss ignores all that were read so far.
        mean, added = (float(x) / float(sums.tokens) if sums.tokens else 0.0 for x in (sums.loss, sums.added))
        for variable, value in zip(variables_of(self._metrics), sums.metrics, strict=True):
            variable.assign(value)
        # In the order of Keras's loop over a model that `compile` gave these metrics.
        measures = {"loss": mean + added}
        measures |= {metric.name: float(metric.result()) for metric in self._metrics}
        if self._loss.is_cross_entropy:
            measures |= {"perplexity": math.exp(min(mean, 700)), "bits_per_char": mean / math.log(2)}
        return measures

    def _learning_rate(self) -> float:
        return float(keras.ops.convert_to_numpy(self.optimizer.learning_rate))


@contextlib.contextmanager
def _read_errors_explained(batches: Batches) -> Iterator[None]:
    """Raises the error that occurred while the batches were read, instead of the one that TensorFlow made of it."""
    try:
        with data_errors_explained():
            yield
    except tf.errors.OpError:
        if batches.failure:
            raise batches.failure from None
        raise


def _strategy_of(model: Any) -> tf.distribute.Strategy:
    return getattr(model, "distribute_strategy", None) or tf.distribute.get_strategy()


def _optimizer_of(model: Any, optimizer: keras.optimizers.Optimizer) -> Any:
    """Returns the model's optimizer, which Keras makes of this one; callbacks find it in `model.optimizer`.

    What else the model was compiled with it keeps, for its own `fit` and `evaluate`.
    """
    if getattr(model, "optimizer", None) is not optimizer:
        if hasattr(model, "replace_optimizer"):
            model.replace_optimizer(optimizer)
        elif getattr(model, "compiled", False) and (model.loss is not None or model.get_compile_config()["metrics"]):
            raise UserError(
                "expected a model without a `loss` and `metrics` of its own, which the trainer would not use; got a "
                f"compiled {type(model).__name__}; give `optimizer=model.optimizer`, or do not compile it"
            )
        else:
            model.compile(optimizer=optimizer)
    return getattr(model, "optimizer", optimizer)


def _refuse(arguments: dict[str, Any], **renamed: str) -> None:
    """Raises a UserError for an argument that had another name in version 0.1, a TypeError for any other."""
    for name in arguments:
        if name in renamed:
            raise UserError(f"expected {renamed[name]}; got `{name}`, as it was called in version 0.1")
        raise TypeError(f"unexpected argument {name!r}")
