"""Losses, summed over a batch; the trainer divides their sum over an epoch by the number of tokens once.

Letters: T num_steps, B batch_size, V vocab_size, D values per step.
"""

from collections.abc import Callable

import tensorflow as tf

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # (outputs, targets) -> the sum of the losses, a scalar


def cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Returns the softmax cross entropy, summed over steps and rows: a scalar, in nats.

    Args:
      logits: float [T, B, V].
      targets: int [T, B].
    """
    return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))


def squared_error(predictions: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Returns the sum of the squared differences: a scalar, in the square of the series' unit.

    Args:
      predictions: float [T, B, D].
      targets: float [T, B, D].
    """
    return tf.reduce_sum(tf.square(predictions - targets))
