"""The losses are those of their formulas, summed."""

import numpy as np
import tensorflow as tf
from rounding import assert_float32_sums_equal

from tfrnn.training import losses

T, B, V = 5, 3, 7
random = np.random.default_rng(0)


def test_cross_entropy_is_that_of_the_softmax_of_the_logits():
    logits = random.normal(size=[T, B, V])
    targets = random.integers(0, V, [T, B])
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = -np.log(np.take_along_axis(probabilities, targets[..., None], -1)).sum()
    actual = losses.cross_entropy(tf.constant(logits, tf.float32), tf.constant(targets))
    assert_float32_sums_equal(actual, expected, num_terms=T * B * V)


def test_squared_error_is_the_sum_of_the_squared_differences():
    predictions, targets = random.normal(size=[2, T, B, 2])
    actual = losses.squared_error(tf.constant(predictions, tf.float32), tf.constant(targets, tf.float32))
    assert_float32_sums_equal(actual, ((predictions - targets) ** 2).sum(), num_terms=T * B * 2)
