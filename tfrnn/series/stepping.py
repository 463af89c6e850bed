"""A forecaster that reads a series step by step, and its own predictions after it, as TensorFlow graphs.

Letters: N steps of the series, D values of a step, T steps of a window, O windows, F inputs of a step, H units.
"""

from typing import Any

import tensorflow as tf

from tfrnn.runtime import execution


@execution.tf_function()
def observe(model: Any, values: tf.Tensor) -> tuple:
    """Returns the predictions after each step of a series [N, D], [N, D], and the states, tensors [N, H]."""

    def step(before: tuple, values_of_step: tf.Tensor) -> tuple:
        predictions, state = model(values_of_step[None, None], before[1], training=False)
        return predictions[0], state

    start = tf.zeros([1, values.shape[1]]), model.initial_state(1)
    following, state = tf.scan(step, values, start)
    return following[:, 0], tf.nest.map_structure(lambda tensor: tensor[:, 0], state)


@execution.tf_function(reduce_retracing=True)
def read_own_predictions(model: Any, observed: Any) -> tuple:
    """Advances by one step: the model reads its own predictions as if they were the next values of the series."""
    predictions, state = model(observed.following[None], observed.state, training=False)
    return predictions[0], state


@execution.tf_function(reduce_retracing=True)
def read_windows(model: Any, windows: tf.Tensor) -> tf.Tensor:
    """Returns the predictions after the last step of each window, given [T, O, F]; states start from zero."""
    return model(windows, model.initial_state(tf.shape(windows)[1]), training=False)[0][-1]
