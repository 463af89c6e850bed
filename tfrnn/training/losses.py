"""Losses, summed over a batch: the mean is taken once, over all tokens.

Letters: T num_steps, B batch_size, V vocab_size, D values of a step.
"""

from collections.abc import Callable

import tensorflow as tf

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # (outputs, targets) -> the sum of the losses, a scalar


def cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Softmax cross entropy from logits [T, B, V] and targets, int [T, B], summed, in nats: a scalar."""
    return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))


def squared_error(predictions: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Squares of the differences, summed: a scalar, in the square of the series' unit. Both are [T, B, D]."""
    return tf.reduce_sum(tf.square(predictions - targets))
