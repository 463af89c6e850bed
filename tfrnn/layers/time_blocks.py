"""Many time steps as a loop in the graph over blocks of steps, so that neither its size nor the time to trace it grows.

Letters: T steps, t of a block, B batch_size, H units.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

LONGEST_UNROLLED = 64  # steps; a longer sequence is a loop in the graph, over blocks of
BLOCK = 32  # steps


def over_blocks(block: Callable, blocks: Callable, inputs: tf.Tensor, state: tuple) -> tuple[tf.Tensor, tuple]:
    """Applies `block`, (inputs [t, ...], state) -> (outputs [t, B, H], state), to inputs [T, ...].

    Many steps go through `blocks`, (inputs, count, size, state) -> the same, in a loop, so that neither the size of the
    graph nor the time to trace it grows with T; where T is unknown, each block is one step.
    """
    num_steps = inputs.shape[0]
    if num_steps is not None and 1 <= num_steps <= LONGEST_UNROLLED:
        return block(inputs, state)
    if num_steps is None:
        return blocks(inputs, tf.shape(inputs)[0], 1, state)
    whole = num_steps // BLOCK * BLOCK
    outputs, state = blocks(inputs[:whole], num_steps // BLOCK, BLOCK, state)
    if whole == num_steps:
        return outputs, state
    last, state = block(inputs[whole:], state)
    return tf.concat([outputs, last], 0), state


def loop_over_blocks(
    block: Callable, inputs: tf.Tensor, state: tuple, count: Any, size: int, output_size: int
) -> tuple[tf.Tensor, tuple]:
    """`block`, (inputs, state) -> (outputs, state), over `count` blocks of `size` steps, its gradient by autodiff."""

    def one(parts: list, state: tuple) -> tuple[list, tuple]:
        outputs, state = block(parts[0], state)
        return [outputs], state

    shape = [size, inputs.shape[1], output_size]
    (outputs,), state = loop(one, in_blocks([inputs], count, size), count, state, [shape])
    return outputs, state


def in_blocks(x: list, count: Any, size: int) -> list[tf.TensorArray]:
    """Tensors [count * size, ...] as arrays of blocks [size, ...]; of slices, each gradient would be as large as x."""
    arrays = []
    for p in x:
        array = tf.TensorArray(p.dtype, count, element_shape=[size, *p.shape[1:]])
        arrays.append(array.unstack(tf.reshape(p, tf.concat([[count, size], tf.shape(p)[1:]], 0))))
    return arrays


def loop(
    block: Callable, arrays: list[tf.TensorArray], count: Any, state: tuple, shapes: list, backwards: bool = False
) -> tuple[list[tf.Tensor], tuple]:
    """Applies `block`, (parts, state) -> (outputs, state), to the arrays' entries in turn, `backwards` the last first.

    `shapes` are those of a block's outputs. Gives the outputs of all blocks one behind the other, in the arrays' order,
    and the last state.
    """
    results = [tf.TensorArray(state[0].dtype, count, element_shape=shape) for shape in shapes]

    def body(i: tf.Tensor, state: tuple, results: list) -> tuple:
        at = count - 1 - i if backwards else i
        outputs, new_state = block([array.read(at) for array in arrays], state)
        for new, old in zip(new_state, state, strict=True):
            new.set_shape(old.shape)
        return i + 1, new_state, [r.write(at, output) for r, output in zip(results, outputs, strict=True)]

    # The number of iterations is said apart for XLA.
    _, state, results = tf.while_loop(
        lambda i, *_: i < count, body, (0, tuple(state), results), maximum_iterations=count
    )  # fmt: skip
    stacks = [r.stack() for r in results]
    return [tf.reshape(s, tf.concat([[-1], tf.shape(s)[2:]], 0)) for s in stacks], state


def run_again_going_back(
    block: Callable, inputs: tf.Tensor, weights: list, state: tuple, count: Any, size: int
) -> tuple[tf.Tensor, tuple]:
    """`block`, (inputs, state, weights) -> (outputs, state), over `count` blocks of `size` steps in a loop.

    On the way back each block is run again from the state before it, so that the states between blocks are all that is
    kept of the way there (Chen et al., 2016).
    """
    num = len(tf.nest.flatten(weights))

    @tf.custom_gradient
    def run_blocks(inputs: tf.Tensor, *arguments: tf.Tensor) -> tuple:
        flat_weights, state = list(arguments[:num]), arguments[num:]

        def with_weights(inputs: tf.Tensor, state: tuple, flat_weights: list) -> tuple[tf.Tensor, tuple]:
            return block(inputs, state, tf.nest.pack_sequence_as(weights, flat_weights))

        def forward(parts: list, state: tuple) -> tuple[list, tuple]:
            outputs, new_state = with_weights(parts[0], state, flat_weights)
            return [outputs, *(before[None] for before in state)], new_state

        shapes = [[size, *state[0].shape], *([1, *before.shape] for before in state)]
        (outputs, *befores), new_state = loop(forward, in_blocks([inputs], count, size), count, state, shapes)

        def gradient(d_outputs: tf.Tensor, *d_state: tf.Tensor) -> tuple:
            of_inputs = [] if inputs.dtype.is_integer else [inputs]

            def backward(parts: list, d: tuple) -> tuple[list, tuple]:
                inputs, d_outputs, *befores = parts
                sources = [inputs][: len(of_inputs)] + flat_weights + [before[0] for before in befores]
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(sources)
                    state = tuple(sources[len(of_inputs) + num :])
                    outputs, new_state = with_weights(inputs, state, flat_weights)
                more = tape.gradient(
                    [outputs, *new_state], sources, [d_outputs, *d[num:]], tf.UnconnectedGradients.ZERO
                )
                d_inputs, more = more[: len(of_inputs)], more[len(of_inputs) :]
                d_weights = [total + one for total, one in zip(d[:num], more[:num], strict=True)]
                return d_inputs, (*d_weights, *more[num:])

            arrays = in_blocks([inputs, d_outputs], count, size) + in_blocks(befores, count, 1)
            nothing = [tf.zeros_like(weight) for weight in flat_weights]
            shapes = [[size, *part.shape[1:]] for part in of_inputs]
            d_inputs, d = loop(backward, arrays, count, (*nothing, *d_state), shapes, backwards=True)
            return *(d_inputs or [None]), *d

        return (outputs, *new_state), gradient

    outputs, *new_state = run_blocks(inputs, *tf.nest.flatten(weights), *state)
    return outputs, tuple(new_state)
