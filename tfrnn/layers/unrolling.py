"""One cell over all steps of a sequence: the fused way for the cells that it serves, else step by step.

Letters: T num_steps, B batch_size, D inputs' size, H units.
"""

from typing import Any

import tensorflow as tf

from tfrnn.layers import fused
from tfrnn.layers import time_blocks as blocks_lib
from tfrnn.layers.cell_protocol import as_tuple, output_size_of


def unroll(cell: Any, inputs: tf.Tensor, state: tuple, training: bool = False) -> tuple[tf.Tensor, tuple]:
    """Runs a cell over all steps: inputs [T, B, D] and a layer's state give outputs [T, B, H] and its state."""
    if fused.knows(cell, training):
        return fused.run(cell, inputs, state)
    takes_training = {"training": training} if getattr(cell, "_call_has_training_arg", False) else {}
    if training and hasattr(cell, "get_dropout_mask"):  # Keras's cells keep one mask for all steps of a call
        cell.get_dropout_mask(inputs[0])
        cell.get_recurrent_dropout_mask(state[0])

    def block(inputs: tf.Tensor, state: tuple) -> tuple[tf.Tensor, tuple]:
        outputs = []
        for step_inputs in tf.unstack(inputs):
            output, new_state = cell(step_inputs, list(state), **takes_training)
            outputs.append(output)
            state = as_tuple(new_state)
        return tf.stack(outputs), state

    def blocks(inputs: tf.Tensor, count: Any, size: int, state: tuple) -> tuple[tf.Tensor, tuple]:
        return blocks_lib.loop_over_blocks(block, inputs, state, count, size, output_size_of(cell))

    result = blocks_lib.over_blocks(block, blocks, inputs, state)
    if training and hasattr(cell, "reset_dropout_mask"):
        cell.reset_dropout_mask()
        cell.reset_recurrent_dropout_mask()
    return result
