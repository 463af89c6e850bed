"""KerasVerbs: compile, fit, evaluate, predict, save as Keras's models have them, for models whose state is a value.

`fit` on this package's `Batches` is a `Trainer`; on anything else it is Keras's own loop over the `train_step` that is
here. Keras's world is batch-major: `fit` makes every `Batch` batch-major before Keras reads it, and a step transposes
what it reads, once.
Letters: T num_steps, B batch_size, V vocab_size, N the number of rows of an array.
"""

import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrnn.data.batches import Batch, Batches, MaskedBatch
from tfrnn.errors import UserError
from tfrnn.layers.model_protocol import data_errors_explained
from tfrnn.layers.rnn import swap_time_and_batch
from tfrnn.models import keras_data
from tfrnn.models.keras_data import MaskedRows, Rows
from tfrnn.runtime.execution import jit_by_default
from tfrnn.training import losses, optimizers
from tfrnn.training.fit_arguments import check_callbacks, check_epochs
from tfrnn.training.keras_metrics import BitsPerChar, Perplexity
from tfrnn.training.optimizer_strategy import acting_under, strategy_of
from tfrnn.training.replicas import replicas_of
from tfrnn.training.step import check_clip_norm, clip, dense_gradients, fill_padding, of_those_there
from tfrnn.training.trainer import Trainer

_OF_TARGETS = ("accuracy", "acc", "crossentropy", "ce")  # names of which Keras makes metrics when it sees targets


class _Masked(keras.layers.Layer):
    """Returns outputs [B, T, V] with a mask [B, T], by which Keras's losses and metrics leave out steps."""

    def __init__(self) -> None:
        super().__init__(name="masked", dtype="float32")
        self.supports_masking = True

    def call(self, outputs_and_mask: tuple) -> Any:
        return outputs_and_mask[0]

    def compute_mask(self, outputs_and_mask: tuple, previous_mask: Any = None) -> Any:
        return outputs_and_mask[1]


@dataclasses.dataclass
class _Compiled:
    """What `compile` was given, and what was made of it. (Keras tracks and saves what is an attribute of the model.)"""

    arguments: dict[str, Any]
    measures: list[keras.metrics.Metric]  # those of `arguments` aside
    labels_are_ids: bool  # of the loss
    trainer: Trainer | None = None
    is_built: bool = False  # whether what Keras makes when it first sees data is made
    carried: dict[str, list[tf.Variable]] = dataclasses.field(default_factory=dict)  # the state of each kind of step


class KerasVerbs(keras.Model):
    """The base class of RecurrentModel: what a Keras model does with `compile`, `fit`, `evaluate` and `predict`.

    Data for them:
      `Batches`: the loop of `Trainer`, epoch after epoch.
      A tf.data.Dataset or a generator of `Batch`: Keras's loop. A row's state is carried on where `reset` is False.
      A tf.data.Dataset, generator or keras.utils.PyDataset of (x, y) or (x, y, sample_weight), or arrays: Keras's loop.
        Rows are [B, T], and start from a zero state.

    Attributes:
      own_loss: the loss that `compile` takes by default.
      returns_logits: whether the outputs are logits, so that a loss of probabilities is refused.
      step_shape: the shape of a step of the inputs: (D,), or () for token ids; None: the model checks its inputs.
    """

    own_loss: Any = staticmethod(losses.cross_entropy)
    returns_logits = True
    step_shape: tuple[int, ...] | None = None

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str | None = None,
        auto_scale_loss: bool = True,
        clip_norm: float = 1.0,
    ) -> None:
        """Sets how the model is trained, as Keras's `compile` does.

        Args:
          optimizer, loss_weights, metrics, weighted_metrics, run_eagerly, auto_scale_loss: as in Keras.
          loss: as in Keras. None: the model's own: the cross entropy of logits or, of a forecaster, the squared error.
            If it is a cross entropy of all tokens, the measures have perplexity and bits_per_char.
          steps_per_execution: as in Keras. (A call on `Batches` makes as many steps as take about a second.)
          jit_compile: whether XLA compiles a step. By default, or if it is "auto", only on a GPU.
          clip_norm: the bound on the global norm of the gradients; 0 for none.
        """
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        check_clip_norm(clip_norm)
        for name, given in (("metrics", metrics), ("weighted_metrics", weighted_metrics)):
            for metric in losses.flat_metrics(given, name):
                if metric not in _OF_TARGETS:
                    losses.check_metric(metric)
        strategy = self.distribute_strategy
        if jit_compile in (None, "auto"):
            jit_compile = not run_eagerly and jit_by_default(strategy)
        if strategy.num_replicas_in_sync > 1:  # XLA compiles no communication between replicas
            jit_compile = False
            if isinstance(optimizer, keras.optimizers.Optimizer) and strategy_of(optimizer) is not strategy:
                raise UserError("expected an `optimizer` made within `strategy.scope()`; got one made outside of it")
        loss = self.own_loss if loss is None else loss
        mean_loss = losses.mean_loss(loss, self.returns_logits)
        metrics, weighted_metrics = map(losses.flat_metrics, (metrics, weighted_metrics))
        names = {getattr(metric, "name", metric) for metric in (*metrics, *weighted_metrics)}
        own = (Perplexity(), BitsPerChar()) if mean_loss.is_cross_entropy else ()
        measures = [metric for metric in own if metric.name not in names]
        with strategy.scope():
            super().compile(
                None if optimizer is None else optimizers.get(optimizer),
                loss,
                loss_weights,
                metrics,
                [*weighted_metrics, *measures],
                run_eagerly,
                steps_per_execution,
                jit_compile,
                auto_scale_loss,
            )
        self._compiled = _Compiled(arguments, measures, mean_loss.takes_ids)

    def replace_optimizer(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Calls `compile` with another optimizer, and otherwise with what it was given before."""
        # A subclass's `compile` may take other arguments, and what it has set stays.
        KerasVerbs.compile(self, **{**(self._compiled.arguments if self.compiled else {}), "optimizer": optimizer})

    def get_compile_config(self) -> dict[str, Any]:
        """Returns what `compile` was given, serialized; empty if it was not called."""
        return keras.saving.serialize_keras_object(self._compiled.arguments) if self.compiled else {}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Calls `compile` with what `get_compile_config` returned, and makes the optimizer's variables."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool | None = None,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: Any = 1,
    ) -> keras.callbacks.History:
        """Trains the model, as Keras's `fit` does; see the class for what `x` may be.

        Of `Batches` the data of epoch e, counted from 0, is `x.epoch(e)`. A second `fit` goes on with the weights and
        the optimizer as they are. A state that is carried is zero before the first batch.

        Args:
          y: the targets of arrays: [N, T] for tokens, [N, T, D] for series.
          epochs: the number of the last epoch; `initial_epoch` epochs count as done.
          validation_data: what `x` may be, or (x, y) or (x, y, sample_weight) of arrays. Beside `Batches`: `Batches`, a
            tf.data.Dataset, or (x, y) of arrays; see `as_batches`.
          shuffle: whether Keras shuffles the rows of arrays in each epoch; by default it does.
          class_weight: must be None; `sample_weight` [N, T] weighs each target.
          sample_weight: [N] or [N, T], for arrays: of rows, or of targets. Keras would take [N] for the weights of the
            steps if N equals T, and fail otherwise.
          others: as in Keras.
        Returns:
          Keras's History, whose `history` has the measures of each epoch: loss, with the model's penalties
          (`model.losses`) in it; perplexity and bits_per_char of the cross entropy; the metrics; and val_... of the
          validation data. On `Batches` it also has tokens_per_sec, learning_rate, gradient_norm and seconds.
        Raises:
          UserError: the model is not compiled, an argument does not go with `x`, or the data is no data of the model.
            NaN, fractions in place of ids, and unknown ids in a dataset are noticed when they are read, but not if XLA
            compiles the step (`jit_compile`).
          DivergedError: on `Batches`, a loss or a gradient norm was not finite.
        """
        self._require_compiled("fit")
        if self.optimizer is None:
            raise UserError("expected a model compiled with an `optimizer`; got `optimizer=None`")
        _refuse_class_weight(class_weight)
        check_epochs(epochs=epochs, initial_epoch=initial_epoch)
        check_callbacks(callbacks)
        if isinstance(x, Batches):
            self._refuse_with_batches(
                y=(y, None),
                batch_size=(batch_size, None),
                validation_split=(validation_split, 0.0),
                shuffle=(shuffle, None),
                sample_weight=(sample_weight, None),
                steps_per_epoch=(steps_per_epoch, None),
                validation_steps=(validation_steps, None),
                validation_batch_size=(validation_batch_size, None),
                validation_freq=(validation_freq, 1),
                run_eagerly=(self.run_eagerly, False),
                loss_weights=(self._compiled.arguments["loss_weights"], None),
            )
            for name in ("train_step", "compute_loss", "compute_metrics"):
                if getattr(type(self), name) is not getattr(KerasVerbs, name):
                    raise UserError(
                        f"expected a dataset for a model with a `{name}` of its own, such as `batches.epoch(0)`; got "
                        "`Batches`, on which it would not be called"
                    )
            self._build_all(*x.from_position(0, 0).element_spec[:2])
            trainer = self._trainer()
            trainer.begin_at(initial_epoch)
            return trainer.fit(
                x, max(0, epochs - initial_epoch), validation_data, [_ForKerasCallbacks(callbacks, verbose)]
            )
        if validation_data is not None:
            is_arrays = type(validation_data) in (list, tuple)  # not a Batch, which is refused as data
            validation_data = self._at_the_door("test", *(validation_data if is_arrays else (validation_data,)))
        is_stream = isinstance(x, (tf.data.Dataset, Iterator))
        x, y, sample_weight = self._at_the_door("train", x, y, sample_weight)
        with data_errors_explained():
            return super().fit(
                x,
                y,
                batch_size,
                epochs,
                verbose,
                callbacks,
                validation_split,
                validation_data,
                not is_stream if shuffle is None else shuffle,
                None,
                sample_weight,
                initial_epoch,
                steps_per_epoch,
                validation_steps,
                validation_batch_size,
                validation_freq,
            )

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Returns the measures of the model, as Keras's `evaluate` does; see the class for what `x` may be.

        Of `Batches` epoch 0 is read. A state that is carried is zero before the first batch.

        Args:
          y, sample_weight: as for `fit`.
          return_dict: whether to return the measures by name (those of `fit`, without val_), or their values in order.
          others: as in Keras.
        """
        self._require_compiled("evaluate")
        if kwargs.keys() - {"_use_cached_eval_dataset"}:
            raise TypeError(f"evaluate() got unexpected arguments {sorted(kwargs)}")
        if kwargs:  # Keras's `fit` validates by this call, on data that passed the door there
            self._begin_carried("test")
            return super().evaluate(x, y, batch_size, verbose, sample_weight, steps, callbacks, return_dict, **kwargs)
        check_callbacks(callbacks)
        if isinstance(x, Batches):
            self._refuse_with_batches(
                y=(y, None), batch_size=(batch_size, None), sample_weight=(sample_weight, None), steps=(steps, None)
            )
            callback_list = keras.callbacks.CallbackList(
                callbacks, False, verbose != 0, self, verbose=verbose, epochs=1, steps=x.num_batches(0)
            )
            self._build_all(*x.from_position(0, 0).element_spec[:2])
            measures = self._trainer().evaluate(x, callback_list)
            return measures if return_dict else list(measures.values())
        x, y, sample_weight = self._at_the_door("test", x, y, sample_weight)
        with data_errors_explained():
            return super().evaluate(x, y, batch_size, verbose, sample_weight, steps, callbacks, return_dict)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> np.ndarray:
        """Returns the model's outputs, [N, T, V] or [N, T, D], as Keras's `predict` does.

        Args:
          x: arrays, or what `fit` takes. Of `Batches` epoch 0 is read; the rows of a `Batch` follow those of the one
            before it.
          others: as in Keras.
        """
        check_callbacks(callbacks)
        (x,) = self._at_the_door("predict", x)
        with data_errors_explained():
            return super().predict(x, batch_size, verbose, steps, callbacks)

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Makes one training step on arrays, as Keras's `train_on_batch` does; the arguments are those of `fit`."""
        self._require_compiled("train_on_batch")
        _refuse_class_weight(class_weight)
        x, y, sample_weight = self._at_the_door("train", x, y, sample_weight)
        with data_errors_explained():
            return super().train_on_batch(x, y, sample_weight, None, return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Returns the measures on arrays, as Keras's `test_on_batch` does; the arguments are those of `evaluate`."""
        self._require_compiled("test_on_batch")
        x, y, sample_weight = self._at_the_door("test", x, y, sample_weight)
        with data_errors_explained():
            return super().test_on_batch(x, y, sample_weight, return_dict)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Makes a training step on what Keras's loop read: clips the gradient of all weights, and updates them.

        Returns the measures so far.
        """
        variables = self.trainable_variables
        with tf.GradientTape() as tape:
            x, y, y_pred, weights, steps = self._forward(data, "train")
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=weights, training=True)
            scaled = self.optimizer.scale_loss(loss)
        if variables:
            gradients = dense_gradients(tape, scaled, variables)
            self.optimizer.apply(self._clip(gradients), variables)
        else:
            warnings.warn("no weight of the model is trainable, so that none changes", stacklevel=2)
        return self._measure(x, y, y_pred, weights, loss, steps)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Returns the measures so far, with those of what Keras's loop read."""
        x, y, y_pred, weights, steps = self._forward(data, "test")
        loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=weights, training=False)
        return self._measure(x, y, y_pred, weights, loss, steps)

    def predict_step(self, data: Any) -> tf.Tensor:
        """Returns the outputs, [B, T, V] or [B, T, D]."""
        return self._forward(data, "predict")[2]

    @property
    def _labels_are_ids(self) -> bool:
        return self.compiled and self._compiled.labels_are_ids

    def _require_compiled(self, verb: str) -> None:
        if not self.compiled:
            raise UserError(f"expected a compiled model; call `model.compile(...)` before `{verb}`")

    def _refuse_with_batches(self, **given_and_default: tuple[Any, Any]) -> None:
        for name, (given, default) in given_and_default.items():
            if given is not default and not (np.isscalar(default) and given == default):
                raise UserError(
                    f"expected no `{name}` with `Batches`, of which whole epochs are read as they are cut; "
                    "give a dataset, such as `batches.epoch(0)`"
                )

    def _trainer(self) -> Trainer:
        """Returns the trainer on Batches, which is made from what was compiled."""
        compiled = self._compiled
        if not compiled.trainer:
            # Keras's metrics of `compile`, which it makes of their names given targets and outputs.
            metrics = [metric for group in self.metrics for metric in getattr(group, "metrics", [])]
            compiled.trainer = Trainer(
                self,
                self.optimizer,
                compiled.arguments["clip_norm"],
                self.distribute_strategy,
                jit_compile=None if (jit := compiled.arguments["jit_compile"]) == "auto" else jit,
                loss=self.loss,
                metrics=[metric for metric in metrics if metric not in compiled.measures],
            )
        return compiled.trainer

    def _at_the_door(self, kind: str, x: Any, *others: Any) -> tuple:
        """Returns data as Keras's loop reads them, batch-major; makes what is needed before the first step.

        Args:
          kind: of the steps that will read them: train, test or predict.
          x, others: what a verb was given: data; then targets, weights, if they are not in `x`.
        """
        strategy = self.distribute_strategy
        if len(replicas_of(strategy).local_replicas) < strategy.num_replicas_in_sync:
            raise UserError("expected `Batches` with a strategy of several workers, under which Keras's loop fails")
        if strategy.num_replicas_in_sync > 1 and self.compiled and self._compiled.arguments["jit_compile"] is True:
            raise UserError(
                "expected `Batches` with `jit_compile=True` and several replicas; Keras's loop hangs with it"
            )
        if isinstance(x, Iterator):
            with strategy.scope():
                if tf.distribute.has_strategy():  # Keras would read some batches ahead, and forget them
                    raise UserError(
                        "expected a tf.data.Dataset with a distribution strategy; got a generator; "
                        "`tf.data.Dataset.from_generator` makes one of it"
                    )
        x, others, element = keras_data.readable(x, others)
        if isinstance(element, (Batch, MaskedBatch)):
            if isinstance(element, MaskedBatch) and strategy.num_replicas_in_sync > 1:
                raise UserError("expected `Batches` if rows of several lengths are divided among replicas")
            if isinstance(x, keras.utils.PyDataset):
                raise UserError("expected (x, y) or (x, y, sample_weight) of a PyDataset; got a Batch")
            if kind != "predict":
                self._build_all(*element[:2])
            self._prepare_carried(kind, element.reset.shape[0])
            return keras_data.as_rows(x), *others
        if element is not None:  # else a generator without batches
            inputs, targets, _ = keras_data.check_shapes(element, self.step_shape, needs_targets=kind != "predict")
            keras_data.check_values(x, others, self, labels_are_ids=self._labels_are_ids)
            if kind != "predict":
                self._build_all(inputs, targets)
        return x, *others

    def _build_all(self, *data: Any) -> None:
        """Makes the variables of model, optimizer and measures, given inputs and targets, or their specs.

        Under a strategy Keras would do it by calls on a batch, which know no state; and callbacks ask for the metrics
        before the first step.
        """
        if self._compiled.is_built:
            return
        inputs, targets = (tf.zeros([2, 2, *part.shape[2:]], part.dtype) for part in data)
        with self.distribute_strategy.scope(), acting_under(self.distribute_strategy, self.optimizer):
            if not self.built:
                self.build()
            self.optimizer.build(self.trainable_variables)
            with keras.StatelessScope([(variable, variable.value) for variable in self.variables]):
                outputs, _ = self(inputs)
                self.compute_loss(x=inputs, y=targets, y_pred=outputs)
                self.compute_metrics(inputs, targets, outputs)
        self._compiled.is_built = True

    def _prepare_carried(self, kind: str, rows: int | None) -> None:
        """Makes the variables that carry the state from step to step, for each replica its own; sets them to zero."""
        if rows is None:
            raise UserError("expected batches of a fixed number of rows, since their state is carried; got any number")
        share = replicas_of(self.distribute_strategy).rows_per_replica(rows)
        if not hasattr(self, "_compiled"):
            self._compiled = _Compiled({}, [], False)  # `predict` needs no `compile`
        carried = self._compiled.carried.get(kind)
        if carried is None or carried[0].shape[0] != share:
            with self.distribute_strategy.scope():
                self._compiled.carried[kind] = [
                    tf.Variable(
                        tensor,
                        trainable=False,
                        synchronization=tf.VariableSynchronization.ON_READ,  # each replica has a value of its own
                        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
                    )
                    for tensor in tf.nest.flatten(self.initial_state(share))
                ]
            getattr(self, f"make_{kind}_function")(force=True)  # what was traced holds the variables of before
        self._begin_carried(kind)

    def _begin_carried(self, kind: str) -> None:
        """Sets the state that is carried to that before the first step, in each replica."""
        if carried := self._compiled.carried.get(kind):
            initial = tf.nest.flatten(self.initial_state(carried[0].shape[0]))

            def assign() -> None:
                for variable, value in zip(carried, initial, strict=True):
                    variable.assign(value)

            tf.function(lambda: self.distribute_strategy.run(assign), autograph=False)()

    def _forward(self, data: Any, kind: str) -> tuple:
        """Runs the model on batch-major data; returns inputs, targets, outputs, weights, and the number of steps."""
        training = kind == "train"
        mask = None
        if isinstance(data, (Rows, MaskedRows)):
            x, y = data.inputs, data.targets
            if isinstance(data, MaskedRows):
                mask = tf.cast(data.mask, tf.bool)
                x, y = fill_padding(mask, x, y)
            x, y, weights = keras_data.as_checked_tensors(x, y, None, labels_are_ids=self._labels_are_ids)
            carried = self._compiled.carried[kind]
            initial, reset = self.initial_state(carried[0].shape[0]), tf.cast(data.reset, tf.bool)
            before = tf.nest.pack_sequence_as(initial, [tf.identity(variable) for variable in carried])
            state = tf.nest.map_structure(lambda new, old: tf.where(reset[:, None], new, old), initial, before)
            masks = {} if mask is None else {"mask": swap_time_and_batch(mask)}
            outputs, state = self(swap_time_and_batch(x), state, training=training, **masks)
            for variable, value in zip(carried, tf.nest.flatten(state), strict=True):
                variable.assign(value)
        else:
            checked = keras_data.check_shapes(data, self.step_shape, needs_targets=kind != "predict")
            x, y, weights = keras_data.as_checked_tensors(*checked, labels_are_ids=self._labels_are_ids)
            outputs, _ = self(swap_time_and_batch(x), training=training)
        if weights is not None:
            weights = tf.broadcast_to(weights if len(weights.shape) == 2 else weights[:, None], tf.shape(x)[:2])
        outputs = swap_time_and_batch(outputs)
        if mask is not None:
            outputs = _Masked()((outputs, mask))
        steps = tf.size(x[..., 0] if len(x.shape) > 2 else x) if mask is None else tf.math.count_nonzero(mask)
        return x, y, outputs, weights, steps

    def _clip(self, gradients: list[tf.Tensor | None]) -> list[tf.Tensor | None]:
        """Returns gradients whose sum over the replicas has a global norm of at most `clip_norm`, unscaled."""
        replicas, clip_norm = self.distribute_strategy.num_replicas_in_sync, self._compiled.arguments["clip_norm"]
        if not clip_norm:
            return gradients
        if replicas > 1:
            there = [gradient for gradient in gradients if gradient is not None]
            summed = iter(tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, there))
            gradients = of_those_there(lambda _: next(summed), gradients)
        scale = self.optimizer.scale_loss(tf.ones([]))
        clipped, _ = clip(of_those_there(lambda g: g / tf.cast(scale, g.dtype), gradients), clip_norm)
        # The optimizer sums them over the replicas again.
        return of_those_there(lambda g: g * tf.cast(scale / replicas, g.dtype), clipped)

    def _measure(self, x: Any, y: Any, y_pred: Any, weights: Any, loss: tf.Tensor, steps: tf.Tensor) -> dict[str, Any]:
        """Updates the measures; returns them."""
        tracker = next(metric for metric in self.metrics if metric.name == "loss")
        # Keras divides each replica's loss by their number. Weighed by steps, the mean over batches is that over steps.
        tracker.update_state(loss * self.distribute_strategy.num_replicas_in_sync, sample_weight=steps)
        return self.compute_metrics(x, y, y_pred, weights)


class _ForKerasCallbacks(keras.callbacks.CallbackList):
    """Keras's callbacks within a `Trainer`: with a progress bar, and without the measures that are not known yet."""

    def __init__(self, callbacks: Any, verbose: Any):
        self._verbose = verbose
        super().__init__(callbacks, add_progbar=verbose != 0)

    def set_params(self, params: dict[str, Any]) -> None:
        super().set_params({**params, "verbose": self._verbose} if params else params)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        super().on_train_batch_end(batch, _known(logs))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_end(epoch, _known(logs))


def _known(logs: Any) -> dict[str, Any]:
    return {name: value for name, value in (logs or {}).items() if value is not None}


def _refuse_class_weight(class_weight: Any) -> None:
    if class_weight:
        raise UserError("expected `class_weight=None`; give `sample_weight` [N, T] with the weight of each target")
