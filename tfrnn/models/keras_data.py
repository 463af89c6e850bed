"""The data of Keras's verbs, batch-major: what they may be, as Keras's loop reads it, and the checks at the door.

Letters: N the number of rows, T num_steps, B batch_size, D values per step.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfrnn.data.batches import Batch, Batches, MaskedBatch, check_finite, finite
from tfrnn.errors import UserError
from tfrnn.layers.model_protocol import check_ids, whole
from tfrnn.layers.rnn import swap_time_and_batch

NAMES = ("x", "y", "sample_weight")


class Rows(NamedTuple):
    """A `Batch` with the rows first, since Keras divides the first axis of its data among replicas."""

    inputs: Any  # [B, T] or [B, T, D]
    targets: Any
    reset: Any  # int32 [B]; Keras takes the mean of its data over replicas, and booleans have none


class MaskedRows(NamedTuple):
    """A `MaskedBatch` with the rows first."""

    inputs: Any
    targets: Any
    reset: Any
    mask: Any  # int32 [B, T]


def to_rows(batch: Batch | MaskedBatch) -> Rows | MaskedRows:
    """Returns a batch with the rows first."""
    inputs, targets, reset, *mask = batch
    rows = swap_time_and_batch(inputs), swap_time_and_batch(targets), tf.cast(reset, tf.int32)
    return MaskedRows(*rows, tf.cast(swap_time_and_batch(mask[0]), tf.int32)) if mask else Rows(*rows)


def as_rows(x: Any) -> Any:
    """Returns a dataset or generator of batches with the rows first."""
    if not isinstance(x, tf.data.Dataset):
        return (to_rows(batch) for batch in x)
    rows = x.map(to_rows)
    return _with_any_number_of_rows(rows, rows.element_spec)


def _with_any_number_of_rows(dataset: tf.data.Dataset, element: Any) -> tf.data.Dataset:
    """Returns a dataset of unknown length whose batches do not say how many rows they have; any other as it is.

    At the end of such a dataset Keras's compiled loop makes one more step without data. If the number of rows is known,
    this step adds zeros to the measures of the epoch (keras issue 23084).

    Args:
      element: an element of the dataset, or its spec, whose shapes are known from the third axis on.
    """
    if dataset.cardinality() != tf.data.UNKNOWN_CARDINALITY:
        return dataset

    def relaxed(tensor: tf.Tensor, like: Any) -> tf.Tensor:
        steps = tensor.shape[1:2] if tensor.shape.rank else [None] * (len(like.shape) > 1)
        return tf.compat.v1.placeholder_with_default(tensor, [None, *steps, *like.shape[2:]])

    @tf.autograph.experimental.do_not_convert
    def relax(*parts: Any) -> Any:
        return tf.nest.map_structure(relaxed, parts if len(parts) > 1 else parts[0], element)

    return dataset.map(relax)


def as_array(rows: Any) -> Any:
    """Returns rows that are given as lists as an array; anything else as it is."""
    is_list = isinstance(rows, (list, tuple))
    if isinstance(rows, (Batch, MaskedBatch, dict)) or (is_list and any(isinstance(r, (tuple, dict)) for r in rows)):
        raise UserError(
            "expected an array of rows, `Batches`, a tf.data.Dataset or a generator of batches; got a "
            f"{type(rows).__name__} of several"
        )
    if isinstance(rows, tuple) and len(rows) > 1 and all(hasattr(part, "shape") for part in rows):
        raise UserError(f"expected x, y and sample_weight as arguments of their own; got a tuple of {len(rows)} arrays")
    if isinstance(rows, tf.RaggedTensor) or (is_list and len({np.shape(row) for row in rows}) > 1):
        raise UserError(
            "expected rows of one length, an array [N, T]; got rows of several lengths, which "
            "`tfrnn.labelled_batches` takes"
        )
    return np.asarray(rows) if is_list else rows


def readable(x: Any, others: tuple) -> tuple[Any, tuple, Any]:
    """Returns data as Keras's loop can read them, and an example of what it will read.

    Args:
      x: what `fit` takes.
      others: y and sample_weight if they are not in `x`, or only y, or nothing.
    Returns:
      x; the others; and an element of a dataset or generator, or its spec, or a tuple of the arrays.
    """
    if x is None:
        raise UserError("expected data `x`: an array of rows, `Batches`, a tf.data.Dataset or a generator; got None")
    if isinstance(x, Batches):
        x = x.epoch(0)
    others = tuple(map(as_array, others))
    if isinstance(x, tf.data.Dataset):
        is_known = all(map(_has_steps_of_known_shape, keras.tree.flatten(x.element_spec)))
        element = x.element_spec if is_known else next(iter(x), None)
        if not isinstance(element, (Batch, MaskedBatch, type(None))):
            x = _with_any_number_of_rows(x, element)
        return x, others, element
    if isinstance(x, Iterator):
        element = next(x, None)
        return _chain(element, x), others, element
    if isinstance(x, keras.utils.PyDataset):
        return x, others, x[0]
    x = as_array(x)
    return x, others, (x, *others)


def _has_steps_of_known_shape(spec: Any) -> bool:
    return not hasattr(spec, "shape") or (spec.shape.rank is not None and spec.shape[2:].is_fully_defined())


def _chain(first: Any, others: Iterable) -> Iterator:  # a generator, the only kind of iterator that Keras takes
    if first is not None:
        yield first
    yield from others


def check_values(x: Any, others: tuple, model: Any, labels_are_ids: bool) -> None:
    """Raises UserError if arrays have no rows, numbers that are not finite, or what is no id that the model knows.

    Args:
      x, others: as `readable` returned them.
      model: the model, whose attributes say how many ids it knows.
      labels_are_ids: whether `y` is of ids that the model's outputs are of.
    """
    for name, rows in zip(NAMES, (x, *others), strict=False):
        if not isinstance(rows, (np.ndarray, tf.Tensor)):
            continue
        rows = np.asarray(rows)
        if not rows.size:
            raise UserError(f"expected at least one row of one step as `{name}`; got shape {rows.shape}")
        check_finite(rows, f"`{name}`", min(rows.ndim, 2))
        if name == "x":
            check_ids(rows, name, model)
        elif name == "y" and labels_are_ids:
            check_ids(rows, name, model, "num_labels")


def check_shapes(data: Any, step_shape: tuple[int, ...] | None, needs_targets: bool) -> tuple:
    """Returns (x, y, sample_weight) of an element, or of its spec; y and sample_weight are None if they are not there.

    Args:
      data: x, or a tuple of it and of what else there is, batch-major.
      step_shape: the shape of a step of x: (D,), or () for token ids; None: any.
      needs_targets: whether y must be there.
    Raises:
      UserError: they are no rows of these steps with a target for each.
    """
    x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
    for name, rows in zip(NAMES, (x, y, weights), strict=True):
        if isinstance(rows, (tf.RaggedTensor, tf.SparseTensor, tf.RaggedTensorSpec, tf.SparseTensorSpec)):
            raise UserError(f"expected rows of one length as `{name}`; got a {type(rows).__name__}")
        if rows is not None and not (hasattr(rows, "shape") and hasattr(rows, "dtype")):
            raise UserError(f"expected one array or tensor as `{name}`; got a {type(rows).__name__} of several")
    shape = tf.TensorShape(x.shape)
    _check_steps(shape, tf.as_dtype(x.dtype), step_shape)
    if y is None:
        if not needs_targets:
            return x, y, weights
        raise UserError(
            "expected targets `y`; got None; for a language model they are `x[:, 1:]`, and the inputs `x[:, :-1]`"
        )
    if not tf.TensorShape(y.shape)[:2].is_compatible_with(shape[:2]):
        raise UserError(
            f"expected a target for each step of each row, as many as `x` of shape {tuple(shape)} has; got `y` of "
            f"shape {tuple(y.shape)}"
        )
    if weights is not None and not any(
        tf.TensorShape(weights.shape).is_compatible_with(of) for of in (shape[:1], shape[:2], [shape[0], 1])
    ):
        raise UserError(
            f"expected `sample_weight` of a row or of a step, [N] or [N, T]; got shape {tuple(weights.shape)} with `x` "
            f"of shape {tuple(shape)}"
        )
    return x, y, weights


def _check_steps(shape: tf.TensorShape, dtype: tf.DType, step_shape: tuple[int, ...] | None) -> None:
    """Raises UserError if these are not the shape and the dtype of rows of such steps."""
    if step_shape is None:
        fits, expected, rank = shape.rank is None or shape.rank > 1, "rows as `x`, [N, T] or [N, T, D]", 2
    else:
        rank = 2 + len(step_shape)
        expected = (
            f"a series as `x`, [N, T, {step_shape[0]}]" if step_shape else "token ids as `x`, whole numbers [N, T]"
        )
        fits = shape.is_compatible_with([None, None, *step_shape]) and (bool(step_shape) or dtype.is_integer)
    if not fits:
        hint = ""
        if shape.rank == rank - 1:
            one_value = "for one value per step use `x[..., None]`; " if step_shape == (1,) else ""
            hint = f"; {one_value}for one row use `x[None]`; `batch` a dataset of single rows"
        raise UserError(f"expected {expected}; got {dtype.name} of shape {tuple(shape)}{hint}")


def as_checked_tensors(*data: Any, labels_are_ids: bool) -> tuple:
    """Returns x, y and sample_weight as tensors, which fail if a number is not finite, or a label is no whole number.

    The latter if labels are ids. See data_errors_explained. XLA leaves these checks out.
    """
    x, y, weights = (
        rows if rows is None else finite(tf.convert_to_tensor(rows), f"`{name}`")
        for name, rows in zip(NAMES, data, strict=True)
    )
    return x, whole(y, "`y`") if labels_are_ids and y is not None else y, weights
