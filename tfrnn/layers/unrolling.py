"""Runs one cell over all steps of a sequence: by the fused implementation if it supports the cell, else step by step.

Letters: T num_steps, t steps of a block, B batch_size, D inputs' size, H units.
"""

from typing import Any

import tensorflow as tf

from tfrnn.layers import fused, time_blocks
from tfrnn.layers.cell_protocol import ensure_tuple, get_output_size, takes_argument


def unroll(
    cell: Any,
    inputs: tf.Tensor,
    state: tuple,
    training: bool = False,
    weights: fused.Weights | None = None,
    mask: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tuple]:
    """Runs a cell over all steps of a sequence.

    Args:
      cell: any cell of Keras's protocol.
      inputs: [T, B, D]; token ids, integers [T, B], only if `fused` supports the cell.
      state: the cell's state before the first step, a tuple of tensors [B, H].
      training: whether the cell's dropout is active.
      weights: what `fused.read_weights` has read of the cell, if it has been called.
      mask: booleans [T, B]; a step where it is False leaves the row's state as it was.
    Returns:
      The outputs [T, B, H], and the cell's state after the last step. The output of a masked step is the row's output
      before it, zeros if there is none.
    """
    if fused.supports(cell, training):
        return fused.run_all_steps(cell, inputs, state, weights, mask)
    options = {"training": training} if takes_argument(cell, "training") else {}
    _forget_dropout_masks(cell)  # of a call of the cell alone
    if training and hasattr(cell, "get_dropout_mask"):  # Keras's cells keep one mask for all steps of a call
        cell.get_dropout_mask(inputs[0])
        cell.get_recurrent_dropout_mask(state[0])

    def run_block(sequences: list, state: tuple) -> tuple[tf.Tensor, tuple]:
        outputs = []
        for step_inputs, *step_mask in zip(*map(tf.unstack, sequences), strict=True):
            output, new_state = cell(step_inputs, list(state if mask is None else state[1:]), **options)
            new_state = ensure_tuple(new_state)
            state = _where(step_mask[0], (output, *new_state), state) if step_mask else new_state
            outputs.append(state[0] if step_mask else output)
        return tf.stack(outputs), state

    def run_blocks(sequences: list, num_blocks: Any, block_steps: int, state: tuple) -> tuple[tf.Tensor, tuple]:
        return time_blocks.autodiff_loop(run_block, sequences, state, num_blocks, block_steps, get_output_size(cell))

    if mask is None:
        result = time_blocks.unroll_or_loop(run_block, run_blocks, [inputs], state)
    else:  # the last output is carried along with the state
        no_output = tf.zeros([tf.shape(inputs)[1], get_output_size(cell)], state[0].dtype)
        no_output.set_shape([inputs.shape[1], None])
        outputs, (_, *new_state) = time_blocks.unroll_or_loop(
            run_block, run_blocks, [inputs, mask], (no_output, *state)
        )
        result = outputs, tuple(new_state)
    _forget_dropout_masks(cell)
    return result


def _forget_dropout_masks(cell: Any) -> None:
    """Lets a cell of Keras's draw new masks when they are needed next; its SimpleRNNCell draws them in any call."""
    if hasattr(cell, "reset_dropout_mask"):
        cell.reset_dropout_mask()
        cell.reset_recurrent_dropout_mask()


def _where(mask: tf.Tensor, tensors: tuple, others: tuple) -> tuple:
    """Returns the rows of each tensor where the mask [B] is true, and those of the other tensor elsewhere."""

    def where(tensor: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        return tf.where(tf.reshape(mask, [-1, *[1] * (len(tensor.shape) - 1)]), tensor, other)

    return tuple(map(where, tensors, others))
