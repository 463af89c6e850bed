"""Runs one cell over all steps of a sequence: by the fused implementation if it supports the cell, else step by step.

Letters: T num_steps, t steps of a block, B batch_size, D inputs' size, H units.
"""

from typing import Any

import tensorflow as tf

from tfrnn.layers import fused, time_blocks
from tfrnn.layers.cell_protocol import ensure_tuple, get_output_size, takes_argument


def unroll(
    cell: Any, inputs: tf.Tensor, state: tuple, training: bool = False, weights: fused.Weights | None = None
) -> tuple[tf.Tensor, tuple]:
    """Runs a cell over all steps of a sequence.

    Args:
      cell: any cell of Keras's protocol.
      inputs: [T, B, D]; token ids, integers [T, B], only if `fused` supports the cell.
      state: the cell's state before the first step, a tuple of tensors [B, H].
      training: whether the cell's dropout is active.
      weights: what `fused.read_weights` has read of the cell, if it has been called.
    Returns:
      The outputs [T, B, H], and the cell's state after the last step.
    """
    if fused.supports(cell, training):
        return fused.run_all_steps(cell, inputs, state, weights)
    options = {"training": training} if takes_argument(cell, "training") else {}
    if training and hasattr(cell, "get_dropout_mask"):  # Keras's cells keep one mask for all steps of a call
        cell.get_dropout_mask(inputs[0])
        cell.get_recurrent_dropout_mask(state[0])

    def run_block(inputs: tf.Tensor, state: tuple) -> tuple[tf.Tensor, tuple]:
        outputs = []
        for step_inputs in tf.unstack(inputs):
            output, new_state = cell(step_inputs, list(state), **options)
            outputs.append(output)
            state = ensure_tuple(new_state)
        return tf.stack(outputs), state

    def run_blocks(inputs: tf.Tensor, num_blocks: Any, block_steps: int, state: tuple) -> tuple[tf.Tensor, tuple]:
        return time_blocks.autodiff_loop(run_block, inputs, state, num_blocks, block_steps, get_output_size(cell))

    result = time_blocks.unroll_or_loop(run_block, run_blocks, inputs, state)
    if training and hasattr(cell, "reset_dropout_mask"):
        cell.reset_dropout_mask()
        cell.reset_recurrent_dropout_mask()
    return result
