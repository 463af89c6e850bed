"""Losses in Keras's form, and the mean that is made of one: a batch's objective.

Letters: T num_steps, B batch_size, V vocab_size, D values per step.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfrnn.errors import UserError
from tfrnn.layers.model_protocol import whole

LossFunction = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # (y_true, y_pred) -> the loss of each step
_MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")  # of Keras's reductions; the others: sum, none


def cross_entropy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns the softmax cross entropy of each step in nats, float [T, B]; a loss in Keras's form.

    Args:
      targets: token ids [T, B], or [T, B, 1], of any dtype, as Keras turns them into floats.
      logits: float [T, B, V].
    """
    if len(targets.shape) == len(logits.shape) and targets.shape[-1] == 1:
        targets = targets[..., 0]
    return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(targets, tf.int32), logits)


def squared_error(targets: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
    """Returns the mean square of the D differences of each step, float [T, B]; a loss in Keras's form.

    Args:
      targets: float [T, B, D].
      predictions: float [T, B, D].
    """
    if len(targets.shape) != len(predictions.shape):
        raise UserError(
            f"expected targets of the shape of the predictions, [..., D]; got {targets.shape} and {predictions.shape}"
        )
    return tf.reduce_mean(tf.square(predictions - tf.cast(targets, predictions.dtype)), -1)


class MeanLoss:
    """The losses of a batch as a total and a count; the objective is total / count. `mean_loss` makes it.

    The totals and counts of parts of a batch, and of batches, may be added up before they are divided. So the mean over
    an epoch is exact, whatever the sizes of the batches and however they are cut.

    Call: (targets, outputs, weights=None) -> (total, count), two scalars of one dtype: float32, or float64 if the
    outputs are. `weights` broadcast to the losses, [T, B]. Booleans are a mask: what is False counts in neither. Floats
    are Keras's `sample_weight`: they multiply the losses and are counted only by the reduction
    "mean_with_sample_weight".

    Attributes:
      is_cross_entropy: whether the objective is a cross entropy per step, so that its exponential is a perplexity.
      adds_up: whether each step has a loss of its own, so that chains may compute the totals of their rows apart.
      takes_ids: whether the targets are ids, so that a fraction is a mistake.
    """

    def __init__(
        self, losses: LossFunction, reduction: str, is_cross_entropy: bool, adds_up: bool, takes_ids: bool = False
    ):
        self._losses, self._reduction = losses, reduction
        self.is_cross_entropy, self.takes_ids, self.adds_up = is_cross_entropy, takes_ids, adds_up

    def __call__(
        self, targets: tf.Tensor, outputs: tf.Tensor, weights: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        dtype = tf.float64 if outputs.dtype == tf.float64 else tf.float32
        if self.takes_ids:
            targets = whole(targets, "`targets`")
        values = self._losses(targets, tf.cast(outputs, dtype))
        mask = getattr(values, "_keras_mask", None)  # of `ignore_class`; Keras has no public name for it
        values, num_replicas = tf.cast(values, dtype), tf.distribute.get_strategy().num_replicas_in_sync
        if not values.shape.rank and (weights is not None or num_replicas > 1):
            raise UserError(
                "expected a `loss` that returns the loss of each step, [T, B]; got one that returns a single number, "
                "which can neither be weighted nor divided among replicas; let the trainer take the mean"
            )
        sample_weights = None
        if weights is not None and weights.dtype.is_bool:
            mask = weights if mask is None else mask & weights
        elif weights is not None:
            sample_weights = tf.cast(weights, dtype)
            values *= sample_weights
        if mask is not None:
            values = tf.where(mask, values, 0)
        total = tf.reduce_sum(values)
        if self._reduction == "sum":  # one objective for all replicas, whose counts are added up
            return total, tf.constant(1 / num_replicas, dtype)
        if self._reduction != "mean_with_sample_weight" or sample_weights is None:
            if mask is None:
                return total, tf.cast(tf.size(values), dtype)
            sample_weights = tf.ones([], dtype)
        counted = tf.broadcast_to(sample_weights, tf.shape(values))
        return total, tf.reduce_sum(counted if mask is None else tf.where(mask, counted, 0))


def mean_loss(loss: Any, returns_logits: bool = False) -> MeanLoss:
    """Returns a loss of Keras's, or in Keras's form, as a `MeanLoss`.

    Args:
      loss: the name, the class or an instance of a loss of keras.losses; or a function (y_true, y_pred) -> the loss of
        each step, of which the mean is taken, as in Keras.
      returns_logits: whether the outputs are logits, so that a loss of probabilities would be wrong.
    Raises:
      UserError: it is none of these, takes probabilities though the outputs are logits, or leaves the losses of the
        steps as they are.
    """
    if loss in (cross_entropy, squared_error):
        of_ids = loss is cross_entropy
        return MeanLoss(loss, _MEANS[0], is_cross_entropy=of_ids, adds_up=True, takes_ids=of_ids)
    try:
        found = keras.losses.get(loss)
    except ValueError:
        found = None
    if not callable(found):
        raise UserError(
            'expected as `loss` the name of one of keras.losses, such as "mse", a Loss of Keras\'s, or a function '
            f"(y_true, y_pred) -> the loss of each step; got {loss!r}"
        )
    if isinstance(found, keras.losses.Loss):
        losses, kind, settings, reduction = found.call, type(found), found.get_config(), found.reduction
        if kind.__call__ is not keras.losses.Loss.__call__:
            raise UserError(
                f"expected a `loss` that Keras calls by its `call`; {kind.__name__} has a `__call__` of its own; "
                "give a function (y_true, y_pred) -> the loss of each step"
            )
        if reduction not in (*_MEANS, "sum"):
            raise UserError(
                f"expected a `loss` whose mean or sum is minimized; got {kind.__name__} with `reduction={reduction}`; "
                "give `reduction=sum_over_batch_size`"
            )
    else:
        losses, kind, settings, reduction = _with_equal_ranks(found), _unwrapped(found), _defaults(found), _MEANS[0]
    if returns_logits and settings.get("from_logits") is False:
        raise UserError(
            f"expected a `loss` that takes logits, which this model returns; got {kind.__name__}, which takes "
            "probabilities; give the class of keras.losses with `from_logits=True`, or None for the model's own"
        )
    # If a loss leaves out a class, Keras's loop would measure another perplexity than that of the tokens that count.
    of_all = settings.get("ignore_class") is None and not settings.get("label_smoothing")
    is_cross_entropy = kind in _CROSS_ENTROPIES and reduction in _MEANS and of_all
    takes_ids = is_cross_entropy and kind in _OF_IDS
    return MeanLoss(_with_float_targets(losses), reduction, is_cross_entropy, adds_up=False, takes_ids=takes_ids)


def flat_metrics(given: Any, name: str = "metrics") -> list[Any]:
    """Returns the metrics in lists, at any depth, without None, as Keras takes them for a model with one output.

    Raises UserError if they are not in a list. None is an empty one.
    """
    if not isinstance(given, (list, tuple, type(None))):
        raise UserError(f"expected `{name}` as a list, since the model has one output; got {given!r}")
    found: list[Any] = []
    for part in given or ():
        found += flat_metrics(part) if isinstance(part, (list, tuple, type(None))) else [part]
    return found


def metric(given: Any, loss: MeanLoss) -> keras.metrics.Metric:
    """Returns one of Keras's metrics.

    Args:
      given: a metric, its class, a function (y_true, y_pred) -> the values of which the mean is taken, or the name of
        one of keras.metrics; "accuracy" is that of the token with the largest logit.
      loss: the loss beside it, which says of what the accuracy is.
    Raises:
      UserError: it is none of these.
    """
    if given in ("accuracy", "acc"):
        if not loss.is_cross_entropy:
            raise UserError(f'expected a metric whose targets are clear from its name; got "{given}"')
        return keras.metrics.SparseCategoricalAccuracy(name=given)
    found = check_metric(given)
    if not isinstance(found, keras.metrics.Metric):
        name = given if isinstance(given, str) else getattr(given, "__name__", "metric")
        return keras.metrics.MeanMetricWrapper(found, name=name)
    if not found.variables:
        raise UserError(
            f"expected in `metrics` one that has its variables; got {given!r}; call its `update_state` once"
        )
    return found


def check_metric(given: Any) -> Any:
    """Returns the metric, or the function of one, that Keras makes of what it is given. Raises UserError if none."""
    try:
        found = keras.metrics.get(given)
    except ValueError:
        found = None
    if not callable(found):
        raise UserError(f"expected in `metrics` one of keras.metrics, or its name; got {given!r}")
    return found


_OF_IDS = (
    cross_entropy,
    keras.losses.sparse_categorical_crossentropy,
    keras.losses.SparseCategoricalCrossentropy,
)
_CROSS_ENTROPIES = (
    *_OF_IDS,
    keras.losses.categorical_crossentropy,
    keras.losses.CategoricalCrossentropy,
)


def _with_float_targets(losses: LossFunction) -> LossFunction:
    """Returns the function as Keras calls it: with targets of the dtype of the outputs."""
    return lambda targets, outputs: losses(tf.cast(targets, outputs.dtype), outputs)


def _with_equal_ranks(losses: LossFunction) -> LossFunction:
    """Returns the function as Keras calls it: if only one of targets and outputs has a last axis of size 1, without."""

    def squeezed(values: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        return values[..., 0] if values.shape.rank == other.shape.rank + 1 and values.shape[-1] == 1 else values

    return lambda targets, outputs: losses(squeezed(targets, outputs), squeezed(outputs, targets))


def _unwrapped(function: Any) -> Any:
    return _unwrapped(function.func) if isinstance(function, functools.partial) else function


def _defaults(function: Any) -> dict[str, Any]:
    """Returns the values by name of what a function takes besides what it is given; {} if it does not say."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {parameter.name: parameter.default for parameter in parameters}
