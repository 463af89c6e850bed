"""One step of a model as a function, which all formats but safetensors hold, and how it is compared with the model.

Letters: B rows side by side, V vocab_size, H units.

`ids` [B] and `state_0`, `state_1`, ... [B, H] go in, `logits` [B, V] of the next token and `new_state_0`, ... come out.
The state is zeros at first, and has its tensors layer by layer, for an LSTM hidden state and memory cell.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfrnn.errors import UserError

MOST_DIFFERENCE = 1e-5  # of logits, beyond which an export is wrong
CHECKED = 20  # steps that are compared
Step = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]  # one step of an exported file, by its own runtime


def step_of(model: Any) -> tuple[Any, dict[str, Any]]:
    """One step as a function with a signature, and what goes in and out of it."""
    empty = model.initial_state(1)
    sizes = {f"state_{i}": tensor.shape[1] for i, tensor in enumerate(tf.nest.flatten(empty))}

    def step(ids: tf.Tensor, *states: tf.Tensor) -> dict[str, tf.Tensor]:
        logits, state = model(ids[None], tf.nest.pack_sequence_as(empty, list(states)), training=False)
        new = zip(sizes, tf.nest.flatten(state), strict=True)
        return {"logits": logits[0], **{f"new_{name}": tensor for name, tensor in new}}

    specs = [tf.TensorSpec([None, size], tf.float32, name) for name, size in sizes.items()]
    function = tf.function(step, [tf.TensorSpec([None], tf.int32, "ids"), *specs], autograph=False)
    inputs = {name: f"float32 [B, {size}]" for name, size in sizes.items()}
    outputs = {f"new_{name}": form for name, form in inputs.items()}
    interface = {
        "inputs": {"ids": "int32 [B]", **inputs},
        "outputs": {"logits": f"float32 [B, {model.vocab_size}]", **outputs},
    }
    return function, interface


def compared(model: Any, step: Step) -> str:
    """Runs two rows of tokens through an exported step, beside the model. Raises UserError where they differ."""
    ids = (np.arange(2 * CHECKED).reshape(CHECKED, 2) * 7 % (model.vocab_size - 1) + 1).astype(np.int32)
    with tf.device("/CPU:0"):  # where the other runtimes compute; a GPU may round more
        expected, expected_state = model(tf.constant(ids), training=False)
    states = [np.zeros([2, *tensor.shape[1:]], np.float32) for tensor in tf.nest.flatten(expected_state)]
    worst = 0.0
    for i in range(CHECKED):
        outputs = step({"ids": ids[i], **{f"state_{j}": state for j, state in enumerate(states)}})
        states = [np.asarray(outputs[f"new_state_{j}"]) for j in range(len(states))]
        worst = max(worst, float(np.abs(np.asarray(outputs["logits"]) - expected[i].numpy()).max()))
    scale = max(1.0, float(np.abs(expected.numpy()).max()))
    if not worst <= MOST_DIFFERENCE * scale:
        raise UserError(
            f"--format: expected the exported step to give the model's logits, but they differ by {worst:.1g}, so "
            "nothing is exported; try another format"
        )
    return f"over {CHECKED} steps its logits differ from the model's by at most {worst:.1g}"
