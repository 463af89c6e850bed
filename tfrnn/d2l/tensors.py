"""The book's short names for functions on tensors: those of TensorFlow, by the names that its pages print.

The pages print one text for all libraries, e.g. `d2l.reshape(d2l.arange(10), (2, 5))`.
"""

from typing import Any

import tensorflow as tf

ones, zeros, eye = tf.ones, tf.zeros, tf.eye
tensor, arange, linspace, meshgrid = tf.constant, tf.range, tf.linspace, tf.meshgrid
normal, rand = tf.random.normal, tf.random.uniform
sin, sinh, cos, cosh, tanh, exp, abs = tf.sin, tf.sinh, tf.cos, tf.cosh, tf.tanh, tf.exp, tf.abs
sigmoid, expand_dims = tf.sigmoid, tf.expand_dims
matmul, reduce_sum, argmax = tf.matmul, tf.reduce_sum, tf.argmax
transpose, concat, stack, astype = tf.transpose, tf.concat, tf.stack, tf.cast
int32, int64, float32 = tf.int32, tf.int64, tf.float32


def reshape(tensor: Any, shape: Any) -> tf.Tensor:
    """Returns a tensor with another shape, as tf.reshape does."""
    return tf.reshape(tensor, shape)  # as it is now: `compiled_steps` lets it take one number


def size(a: Any) -> int:
    """Returns the number of elements of a tensor."""
    return tf.size(a).numpy()


def numpy(x: Any, *args: Any, **kwargs: Any) -> Any:
    """Returns a tensor as an array."""
    return x.numpy(*args, **kwargs)
