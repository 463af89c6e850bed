"""Calls a model by the protocol that Trainer describes: `(inputs, state, training) -> (outputs, state)`."""

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfrnn.errors import UserError
from tfrnn.layers.cell_protocol import takes_argument


def check_protocol(model: Any) -> None:
    """Raises UserError if the model does not follow the protocol."""
    if not callable(model) or not hasattr(model, "initial_state"):
        raise UserError(
            "expected a model with a method `initial_state(batch_size)`, whose call is `(inputs, state, training) -> "
            f"(outputs, state)`, such as tfrnn.LanguageModel; got {type(model).__name__}"
        )


def check_ids(ids: Any, name: str, model: Any, setting: str = "vocab_size") -> None:
    """Raises UserError if there are ids for which the model has no row, or no output, or that are fractions.

    Args:
      ids: numbers of any shape; of anything else nothing is checked.
      name: what they are called in the message.
      model: one whose attribute `setting` says how many ids it knows; nothing is checked if it has none.
      setting: `vocab_size`, or `num_labels` for targets.
    """
    ids, bound = np.asarray(ids), getattr(model, setting, None)
    if bound is None or ids.dtype.kind not in "iuf" or not ids.size:
        return
    if ids.dtype.kind == "f" and len(fractions := ids[ids != np.round(ids)]):
        raise UserError(_NO_IDS.format(f"`{name}`", fractions[0]))
    lowest, highest = int(ids.min()), int(ids.max())
    if lowest < 0 or highest >= bound:
        raise UserError(
            f"expected ids from 0 to {bound - 1} in `{name}`, as `{setting}={bound}`; got "
            f"{lowest if lowest < 0 else highest}"
        )


def whole(ids: tf.Tensor, name: str) -> tf.Tensor:
    """Returns ids of which TensorFlow says, when they are computed, by this name that one is a fraction."""
    if not ids.dtype.is_floating:
        return ids
    with tf.control_dependencies([tf.debugging.assert_equal(ids, tf.round(ids), f"{name} : fractions")]):
        return tf.identity(ids)


_NO_IDS = "expected ids, whole numbers, in {}; got {}; round them, or give a model of numbers a loss of numbers"
# What TensorFlow says on a CPU of an id without a row, and of a target without a logit; and of what `finite` checks.
_UNKNOWN_ID = re.compile(
    r"(?:indices\S* = |a label value of )(-?\d+) (?:is not in|which is outside the valid range of) \[0, (\d+)\)"
)
_FRACTION = re.compile(r"(`\w+`) : fractions")
_NOT_FINITE = re.compile(r"(`\w+`) : Tensor had (NaN|-?Inf)")


@contextlib.contextmanager
def data_errors_explained() -> Iterator[None]:
    """Raises UserError for an id that is unknown or a fraction and for NaN, instead of the error of TensorFlow's.

    For data that are known only when they are read. On a GPU, and with XLA, TensorFlow does not notice.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        if found := _UNKNOWN_ID.search(str(error)):
            raise UserError(f"expected ids from 0 to {int(found[2]) - 1} in the data; got {found[1]}") from None
        if found := _FRACTION.search(str(error)):
            raise UserError(_NO_IDS.format(found[1], "fractions")) from None
        if found := _NOT_FINITE.search(str(error)):
            raise UserError(
                f"expected finite numbers in {found[1]}; got {found[2]}; fill such gaps, or leave out what has them"
            ) from None
        raise


def with_weights_read(model: Any) -> Callable[..., tuple]:
    """Returns a function, `(inputs, state, training=False) -> (outputs, state)`, that calls the model.

    All its calls use the weights that are read here, if the model has a method `read_weights`, as RecurrentModel does.
    Any other model of the form that Trainer describes reads its weights in each call.
    """
    if hasattr(model, "read_weights") and takes_argument(model, "weights"):  # a subclass may have a `call` without it
        return functools.partial(model, weights=model.read_weights())
    return model


def ensure_built(model: Any) -> None:
    """Makes the weights of a model of token ids if it has none yet, by calling it on one token.

    Raises UserError if it does not follow the protocol.
    """
    check_protocol(model)
    if not getattr(model, "built", True):
        model(tf.zeros([1, 1], tf.int32), model.initial_state(1))
