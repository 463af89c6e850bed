"""Comparisons of float32 results that may differ only by rounding, with bounds that hold on any CPU."""

import numpy as np
import tensorflow as tf

EPS = float(np.finfo(np.float32).eps)


def assert_equal_but_for_rounding(actual, expected, num_terms):
    """Asserts that structures of arrays differ by at most num_terms * EPS * the largest size of the expected values.

    n float32 numbers added in another order differ by at most n * EPS * the sum of their sizes (Higham, Accuracy and
    Stability of Numerical Algorithms, section 4.2). A training run adds up T * B terms for a gradient in each step, and
    a gradient to a weight in each of K steps, so `num_terms` is T * B * K. Values below 1 count as 1, because weights
    and losses are sums of terms of that size that may cancel.
    """
    actual, expected = tf.nest.flatten(actual), tf.nest.flatten(expected)
    assert len(actual) == len(expected)
    for i, (one, other) in enumerate(zip(actual, expected, strict=True)):
        one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
        size = max(1.0, np.abs(other).max(initial=0))
        np.testing.assert_allclose(one, other, rtol=0, atol=num_terms * EPS * size, err_msg=f"array {i}")


def assert_identical(actual, expected):
    """Asserts that structures of arrays are equal to the bit."""
    tf.nest.assert_same_structure(actual, expected)
    for one, other in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
