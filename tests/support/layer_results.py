"""Recurrent layers with random weights, and what they compute: outputs, state and gradients."""

import numpy as np
import tensorflow as tf


def normal(*shape, seed=0, dtype="float32"):
    """Returns numbers of a standard normal distribution that depend on the shape and the seed alone."""
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def with_random_weights(layer, input_size):
    """Builds a layer or cell, with weights of standard deviation 0.5: see rounding.py for why not more."""
    layer.build((None, None, input_size))
    layer.set_weights([0.5 * normal(*weight.shape) for weight in layer.weights])
    return layer


def random_state(layer, batch_size):
    """Returns a random state that fits an RNN."""
    return tf.nest.map_structure(
        lambda t: tf.constant(normal(*t.shape, seed=9, dtype=t.dtype.as_numpy_dtype)), layer.initial_state(batch_size)
    )


def own_steps(layer, inputs, state):
    """Computes what an RNN must: the cells' own calls, layer by layer and step by step."""
    sequence, new_state = tf.unstack(inputs), []
    for cell, cell_state in zip(layer.cells, state, strict=True):
        cell_state, outputs = list(cell_state), []
        for step_inputs in sequence:
            output, cell_state = cell(step_inputs, cell_state)
            outputs.append(output)
        sequence = outputs
        new_state.append(tuple(cell_state))
    return tf.stack(sequence), tuple(new_state)


def sum_of_sines(tensors):
    """Returns a number whose derivative by each value is another: the sum of sin over all values of the tensors."""
    return tf.add_n([tf.reduce_sum(tf.sin(tensor)) for tensor in tf.nest.flatten(tensors)])


def outputs_and_gradients(call, weights, inputs, state, compiled=False):
    """Returns outputs and state of call(inputs, state), and the gradients of their sum of sines.

    The gradients are those by the inputs (unless they are token ids), the initial state and the weights.
    """
    inputs = tf.convert_to_tensor(inputs)

    def run(inputs, state):
        sources = [[] if inputs.dtype.is_integer else [inputs], state]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            outputs, new_state = call(inputs, state)
            loss = sum_of_sines([outputs, new_state])
        gradients = tape.gradient(loss, [*tf.nest.flatten(sources), *weights])
        return outputs, new_state, [tf.convert_to_tensor(gradient) for gradient in gradients]

    return (tf.function(run, autograph=False) if compiled else run)(inputs, state)
