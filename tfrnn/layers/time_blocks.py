"""Runs long sequences as a loop in the graph over blocks of steps, so that the size of the graph does not grow with T.

Letters: T num_steps, t steps of a block, B batch_size, H units.
"""

import itertools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrnn.runtime import execution

LONGEST_UNROLLED = 64  # steps; longer sequences run as a loop over blocks
BLOCK = 32  # steps of a block
# The same where XLA compiles the graph, for which the time grows faster than the graph does: on a GPU, a compiled step
# of two layers and 64 steps is about as fast in blocks of 16, and is compiled in a quarter of the time.
LONGEST_UNROLLED_BY_XLA = 48
BLOCK_BY_XLA = 16


def unroll_or_loop(run_block: Callable, run_blocks: Callable, sequences: list, state: tuple) -> tuple[tf.Tensor, tuple]:
    """Runs a short sequence as one block, unrolled, and a long one as a loop over blocks.

    XLA loops earlier, over shorter blocks. Neither the size of the graph nor the time to trace it grows with T. If T is
    unknown, each block is one step.

    Args:
      run_block: (sequences [t, ...], state) -> (outputs [t, B, H], state), for the steps of one block, unrolled.
      run_blocks: (sequences [num_blocks * t, ...], num_blocks, t, state) -> (outputs, state), for a loop over blocks.
      sequences: what is read step by step, [T, ...] each: the inputs, and the mask if there is one.
      state: before the first step, tensors [B, H].
    Returns:
      The outputs [T, B, H], and the state after the last step.
    """
    num_steps = sequences[0].shape[0]
    by_xla = execution.is_compiled_by_xla()
    longest, block = (LONGEST_UNROLLED_BY_XLA, BLOCK_BY_XLA) if by_xla else (LONGEST_UNROLLED, BLOCK)
    if num_steps is not None and 1 <= num_steps <= longest:
        return run_block(sequences, state)
    if num_steps is None:
        return run_blocks(sequences, tf.shape(sequences[0])[0], 1, state)
    steps_in_blocks = num_steps // block * block
    in_blocks = [sequence[:steps_in_blocks] for sequence in sequences]
    outputs, state = run_blocks(in_blocks, num_steps // block, block, state)
    if steps_in_blocks == num_steps:
        return outputs, state
    last_outputs, state = run_block([sequence[steps_in_blocks:] for sequence in sequences], state)
    return tf.concat([outputs, last_outputs], 0), state


def autodiff_loop(
    run_block: Callable, sequences: list, state: tuple, num_blocks: Any, block_steps: int, output_size: int
) -> tuple[tf.Tensor, tuple]:
    """Runs `run_block`, (sequences, state) -> (outputs, state), over all blocks; autodiff keeps what it needs.

    Args:
      run_block: for one block, as in unroll_or_loop.
      sequences: [num_blocks * block_steps, B, ...] each.
      state: before the first step, tensors [B, H].
      num_blocks: an integer or a scalar tensor.
      block_steps: the number of steps of a block.
      output_size: the size of an output.
    Returns:
      The outputs [num_blocks * block_steps, B, output_size], and the state after the last step.
    """

    def body(block: list, state: tuple) -> tuple[list, tuple]:
        outputs, state = run_block(block, state)
        return [outputs], state

    shape = [block_steps, sequences[0].shape[1], output_size]
    blocks = split_into_blocks(sequences, num_blocks, block_steps)
    (outputs,), state = loop_over_blocks(body, blocks, num_blocks, state, [shape], state[0].dtype)
    return outputs, state


def split_into_blocks(tensors: list, num_blocks: Any, block_steps: int) -> list[tf.TensorArray]:
    """Converts tensors [num_blocks * block_steps, ...] to TensorArrays of `num_blocks` blocks [block_steps, ...].

    Slices of the tensors would do, but the gradient of each slice is as large as the whole tensor.
    """
    arrays = []
    for tensor in tensors:
        array = tf.TensorArray(tensor.dtype, num_blocks, element_shape=[block_steps, *tensor.shape[1:]])
        shape = tf.concat([[num_blocks, block_steps], tf.shape(tensor)[1:]], 0)
        arrays.append(array.unstack(tf.reshape(tensor, shape)))
    return arrays


def loop_over_blocks(
    body: Callable,
    arrays: list[tf.TensorArray],
    num_blocks: Any,
    state: tuple,
    shapes: list,
    dtype: tf.DType,
    reverse: bool = False,
) -> tuple[list[tf.Tensor], tuple]:
    """Applies `body` to each block in turn, in a while loop of the graph.

    Args:
      body: (the block of each array, state) -> (outputs, state).
      arrays: each has `num_blocks` blocks, as from split_into_blocks.
      num_blocks: an integer or a scalar tensor.
      state: before the first application of `body`.
      shapes: the shape of each output of `body`, for one block.
      dtype: that of all outputs of `body`.
      reverse: whether the last block is the first to be processed.
    Returns:
      Each output of `body` for all blocks, concatenated in the order of the arrays, and the last state.
    """
    results = [tf.TensorArray(dtype, num_blocks, element_shape=shape) for shape in shapes]

    def loop_body(i: tf.Tensor, state: tuple, results: list) -> tuple:
        index = num_blocks - 1 - i if reverse else i
        outputs, new_state = body([array.read(index) for array in arrays], state)
        for after, before in zip(new_state, state, strict=True):
            after.set_shape(before.shape)
        return i + 1, new_state, [r.write(index, output) for r, output in zip(results, outputs, strict=True)]

    # XLA needs maximum_iterations to differentiate a loop.
    _, state, results = tf.while_loop(
        lambda i, *_: i < num_blocks, loop_body, (0, tuple(state), results), maximum_iterations=num_blocks
    )  # fmt: skip
    stacks = [r.stack() for r in results]
    return [tf.reshape(s, tf.concat([[-1], tf.shape(s)[2:]], 0)) for s in stacks], state


def checkpointed_loop(
    run_block: Callable, sequences: list, weights: Any, state: tuple, num_blocks: Any, block_steps: int
) -> tuple[tf.Tensor, tuple]:
    """Runs `run_block`, (sequences, state, weights) -> (outputs, state), over all blocks with gradient checkpointing.

    The forward pass keeps only the states between blocks. The backward pass runs each block again from the state
    before it (rematerialization; Chen et al., 2016, "Training Deep Nets with Sublinear Memory Cost").

    Args:
      run_block: for one block; it must take the weights as an argument, so that their gradients are found.
      sequences: [num_blocks * block_steps, B, ...] each; only those of floats have a gradient.
      weights: a nested structure of tensors.
      state: before the first step, tensors [B, H].
      num_blocks: an integer or a scalar tensor.
      block_steps: the number of steps of a block.
    Returns:
      The outputs [num_blocks * block_steps, B, H], and the state after the last step.
    """
    num_weights, num_sequences = len(tf.nest.flatten(weights)), len(sequences)

    @tf.custom_gradient
    def run_blocks(*arguments: tf.Tensor) -> tuple:
        sequences, arguments = list(arguments[:num_sequences]), arguments[num_sequences:]
        flat_weights, state = list(arguments[:num_weights]), arguments[num_weights:]

        def run_with_weights(sequences: list, state: tuple, flat_weights: list) -> tuple[tf.Tensor, tuple]:
            return run_block(sequences, state, tf.nest.pack_sequence_as(weights, flat_weights))

        def forward(block: list, state: tuple) -> tuple[list, tuple]:
            outputs, new_state = run_with_weights(block, state, flat_weights)
            return [outputs, *(tensor[None] for tensor in state)], new_state

        blocks = split_into_blocks(sequences, num_blocks, block_steps)
        shapes = [[block_steps, *state[0].shape], *([1, *tensor.shape] for tensor in state)]
        (outputs, *checkpoints), new_state = loop_over_blocks(
            forward, blocks, num_blocks, state, shapes, state[0].dtype
        )

        def gradient(d_outputs: tf.Tensor, *d_state: tf.Tensor) -> tuple:
            with_gradient = [sequence.dtype.is_floating for sequence in sequences]

            def backward(block: list, d_weights_and_state: tuple) -> tuple[list, tuple]:
                sequences, (d_outputs, *checkpoint) = block[:num_sequences], block[num_sequences:]
                d_weights, d_state = d_weights_and_state[:num_weights], d_weights_and_state[num_weights:]
                state = tuple(tensor[0] for tensor in checkpoint)
                sources = [*itertools.compress(sequences, with_gradient), *flat_weights, *state]
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(sources)
                    outputs, new_state = run_with_weights(sequences, state, flat_weights)
                d_sources = tape.gradient(
                    [outputs, *new_state], sources, [d_outputs, *d_state], tf.UnconnectedGradients.ZERO
                )
                d_sequences, d_sources = d_sources[: sum(with_gradient)], d_sources[sum(with_gradient) :]
                d_weights = tuple(total + part for total, part in zip(d_weights, d_sources[:num_weights], strict=True))
                return d_sequences, (*d_weights, *d_sources[num_weights:])

            arrays = split_into_blocks([*sequences, d_outputs], num_blocks, block_steps)
            arrays += split_into_blocks(checkpoints, num_blocks, 1)
            zeros = [tf.zeros_like(weight) for weight in flat_weights]
            shapes = [[block_steps, *sequence.shape[1:]] for sequence in itertools.compress(sequences, with_gradient)]
            d_sequences, d_weights_and_state = loop_over_blocks(
                backward, arrays, num_blocks, (*zeros, *d_state), shapes, d_outputs.dtype, reverse=True
            )
            found = iter(d_sequences)
            return *(next(found) if wanted else None for wanted in with_gradient), *d_weights_and_state

        return (outputs, *new_state), gradient

    outputs, *new_state = run_blocks(*sequences, *tf.nest.flatten(weights), *state)
    return outputs, tuple(new_state)
