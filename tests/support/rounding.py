"""Bounds on rounding errors that hold on any CPU, for tests that compare two ways to compute the same numbers.

Two such ways differ in the order of additions, in fused multiply-adds, and in how tanh and exp are approximated. All of
these depend on the CPU, the vector width, and the library (Eigen, oneDNN, XLA). What does not depend on them is how
often a value is rounded, so the bounds here are

    eps * number of roundings in sequence * size of the largest value.

Each rounding changes a value by at most eps / 2 of its size, in each of the two ways. Errors add up linearly at worst
as long as later steps do not enlarge them, so the weights in these tests must not make the recurrence expand: their
standard deviation is 0.5 with 4 units, a spectral norm of about 1.5, and the derivatives of tanh (at most 1) and of the
sigmoid (at most 1/4) shrink what they multiply. A wrong formula changes the results by 1e-2 and more.
"""

import keras
import numpy as np

# Eigen, XLA and numpy approximate tanh, the sigmoid and exp within a few units in the last place.
ACTIVATION_ROUNDINGS = 16
EPS = float(np.finfo(np.float32).eps)


def recurrence_roundings(num_steps: int, input_size: int, units: int, batch_size: int = 1, num_layers: int = 1) -> int:
    """Returns the number of roundings in sequence on the way to an output or a gradient of recurrent layers.

    At each step of each layer, a product with the inputs and the state sums `input_size + units` terms. The backward
    pass has as many, and the gradients of weights are summed over steps and rows.
    """
    forward = num_layers * num_steps * (input_size + units + ACTIVATION_ROUNDINGS)
    return 2 * forward + num_steps * batch_size


def assert_equal_up_to_rounding(actual, expected, roundings: int) -> None:
    """Asserts that two nested structures of tensors or arrays differ by no more than that number of roundings.

    A tensor of integers must be the same. For floats the bound is that of the less precise type of the two.
    """
    keras.tree.assert_same_structure(actual, expected)
    failures = []
    for i, (a, e) in enumerate(zip(*map(_arrays, (actual, expected)), strict=True)):
        assert a.shape == e.shape, f"tensor {i}: expected shape {e.shape}, got {a.shape}"
        if not np.issubdtype(a.dtype, np.floating):
            np.testing.assert_array_equal(a, e, f"tensor {i}")
            continue
        eps = max(np.finfo(a.dtype).eps, np.finfo(e.dtype).eps)
        size = max(1.0, float(np.max(np.abs(e), initial=0)))
        bound, error = eps * roundings * size, np.max(np.abs(a - e), initial=0)
        if not error <= bound:  # also if it is not a number
            failures.append(f"tensor {i} of shape {e.shape}: differs by {error:.2g}, bound {bound:.2g}")
    assert not failures, "; ".join(failures)


def assert_float32_sums_equal(actual, expected, num_terms: int) -> None:
    """Asserts that results of float32 sums differ by at most num_terms * EPS * the largest size of the expected values.

    n float32 numbers added in another order differ by at most n * EPS * the sum of their sizes (Higham, Accuracy and
    Stability of Numerical Algorithms, section 4.2). A training run adds up T * B terms for a gradient in each step, and
    a gradient to a weight in each of K steps, so `num_terms` is T * B * K. Values below 1 count as 1, because weights
    and losses are sums of terms of that size that may cancel. The two may be structures of other containers, such as a
    list and a tuple, and hold plain numbers.
    """
    actual, expected = keras.tree.flatten(actual), keras.tree.flatten(expected)
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        a, e = np.asarray(a, np.float64), np.asarray(e, np.float64)
        size = max(1.0, np.abs(e).max(initial=0))
        np.testing.assert_allclose(a, e, rtol=0, atol=num_terms * EPS * size, err_msg=f"array {i}")


def assert_identical(actual, expected) -> None:
    """Asserts that two nested structures of tensors or arrays are equal to the bit."""
    keras.tree.assert_same_structure(actual, expected)
    for a, e in zip(*map(_arrays, (actual, expected)), strict=True):
        np.testing.assert_array_equal(a, e)


def finite_difference_bound(delta: float, roundings: int, value: float) -> float:
    """Returns a bound on the error of the central difference (f(x + delta) - f(x - delta)) / (2 * delta) in float64.

    Its truncation error is delta ** 2 / 6 times the third derivative, which is below 1000 along a direction of length
    1 for the sums of sines of a few dozen outputs in these tests. The rounding error of f is divided by delta.
    """
    return 1000 * delta**2 / 6 + np.finfo(np.float64).eps * roundings * max(1.0, abs(value)) / delta


def _arrays(structure) -> list[np.ndarray]:
    return [np.asarray(keras.ops.convert_to_numpy(tensor)) for tensor in keras.tree.flatten(structure)]
