"""Which strategy a Keras optimizer acts under. Keras has no public way to say it, so its private names are used here,
and nowhere else; a Keras without them is reported at once, since training could otherwise be wrong without a word.
"""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

_STRATEGY, _SUM_GRADIENTS = "_distribution_strategy", "_all_reduce_sum_gradients"


def strategy_of(optimizer: keras.optimizers.Optimizer) -> tf.distribute.Strategy:
    """Returns the strategy in whose scope the optimizer was made, and under which it therefore acts."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    _require_private_names(optimizer)
    return getattr(optimizer, _STRATEGY)


@contextlib.contextmanager
def acting_under(
    strategy: tf.distribute.Strategy, optimizer: keras.optimizers.Optimizer, sums_gradients: bool = True
) -> Iterator[None]:
    """Returns a context in which the optimizer makes and updates its variables under `strategy`.

    After the context the optimizer is as it was. A copy of it, made in the scope of the strategy, would lose what is
    not in the optimizer's config.

    Args:
      strategy: the strategy under which the weights were made.
      optimizer: one that was made in the scope of `strategy` or, for a strategy of one device, of any.
      sums_gradients: whether `apply` sums the gradients over the replicas; False if they are sums already.
    """
    inner = getattr(optimizer, "inner_optimizer", None)  # of a LossScaleOptimizer
    inner_acting = acting_under(strategy, inner, sums_gradients) if inner else contextlib.nullcontext()
    with inner_acting, _one_acting_under(strategy, optimizer, sums_gradients):
        yield


@contextlib.contextmanager
def _one_acting_under(
    strategy: tf.distribute.Strategy, optimizer: keras.optimizers.Optimizer, sums_gradients: bool
) -> Iterator[None]:
    _require_private_names(optimizer)
    changed = {_STRATEGY: strategy}
    if not sums_gradients:
        changed[_SUM_GRADIENTS] = lambda pairs: pairs
    before = {name: vars(optimizer)[name] for name in changed if name in vars(optimizer)}
    for name, value in changed.items():
        object.__setattr__(optimizer, name, value)  # Keras's own __setattr__ would track it
    try:
        yield
    finally:
        for name in changed:
            object.__delattr__(optimizer, name)
        for name, value in before.items():
            object.__setattr__(optimizer, name, value)


def _require_private_names(optimizer: keras.optimizers.Optimizer) -> None:
    for name in (_STRATEGY, _SUM_GRADIENTS):
        if not hasattr(optimizer, name):
            raise AttributeError(
                f"expected Keras's optimizers to have {name}, as up to Keras 3.15; got {type(optimizer).__name__} "
                f"of Keras {keras.__version__} without it; install an earlier Keras"
            )
