"""One step of a language model as a function with a signature, and the comparison of an exported step with the model.

The formats SavedModel, LiteRT and ONNX hold this function. Its inputs are `ids` [B] and the state before the step,
`state_0`, `state_1`, ... [B, H]; its outputs are `logits` [B, V] of the next token and the state after the step,
`new_state_0`, .... The state is zeros before the first step. Its tensors are in the order of the layers; an LSTM layer
has two, the hidden state and the memory cell.

Letters: T num_steps, B batch_size, V vocab_size, H units.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfrnn.errors import UserError

COMPARED_STEPS = 20
Step = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]  # one step of an exported file, run by its own runtime


def make_step(model: Any) -> tuple[Any, dict[str, Any]]:
    """Returns one step of the model as a tf.function with a signature, and the types of its inputs and outputs."""
    zero_state = model.initial_state(1)
    sizes = {f"state_{i}": tensor.shape[1] for i, tensor in enumerate(tf.nest.flatten(zero_state))}

    def step(ids: tf.Tensor, *states: tf.Tensor) -> dict[str, tf.Tensor]:
        logits, new_state = model(ids[None], tf.nest.pack_sequence_as(zero_state, list(states)), training=False)
        named_states = zip(sizes, tf.nest.flatten(new_state), strict=True)
        return {"logits": logits[0], **{f"new_{name}": tensor for name, tensor in named_states}}

    specs = [tf.TensorSpec([None, size], tf.float32, name) for name, size in sizes.items()]
    function = tf.function(step, [tf.TensorSpec([None], tf.int32, "ids"), *specs], autograph=False)
    inputs = {name: f"float32 [B, {size}]" for name, size in sizes.items()}
    outputs = {f"new_{name}": form for name, form in inputs.items()}
    interface = {
        "inputs": {"ids": "int32 [B]", **inputs},
        "outputs": {"logits": f"float32 [B, {model.vocab_size}]", **outputs},
    }
    return function, interface


def compare_with_model(model: Any, step: Step) -> str:
    """Runs two rows of tokens through an exported step and through the model, and compares their logits.

    Returns:
      A sentence that tells how much they differ.
    Raises:
      UserError: they differ by more than `logits_and_rounding_bound` allows.
    """
    ids = arbitrary_ids(model.vocab_size)
    states = {
        f"state_{i}": np.zeros([2, *tensor.shape[1:]], np.float32)
        for i, tensor in enumerate(tf.nest.flatten(model.initial_state(2)))
    }
    logits = []
    with tf.device("/CPU:0"):  # the other runtimes compute there, and a GPU may round to fewer bits
        expected, bound = logits_and_rounding_bound(model, ids)
        for ids_of_step in ids:
            outputs = step({"ids": ids_of_step, **states})
            states = {name: np.asarray(outputs[f"new_{name}"]) for name in states}
            logits.append(np.asarray(outputs["logits"]))
    differences = np.abs(np.stack(logits) - expected)
    if not np.all(differences <= bound):  # also if one is NaN
        raise UserError(
            "`format`: expected the exported step to return the model's logits up to rounding, but they differ by "
            f"{differences.max():.1g}, so nothing is exported; try another format"
        )
    return f"over {COMPARED_STEPS} steps its logits differ from the model's by at most {differences.max():.1g}"


def arbitrary_ids(vocab_size: int, num_steps: int = COMPARED_STEPS) -> np.ndarray:
    """Returns two rows of tokens to compare logits over, int32 [T, 2]."""
    return (np.arange(2 * num_steps).reshape(num_steps, 2) * 7 % (vocab_size - 1) + 1).astype(np.int32)


def logits_and_rounding_bound(model: Any, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a model's logits, and how much those of another correct float32 evaluation may differ at each step.

    CPUs and runtimes sum in different orders and approximate tanh and the sigmoid differently, so no two of them return
    the same bits, and a recurrent network carries the differences on from step to step, where they may grow. A fixed
    bound therefore fits neither every CPU nor every model. This one is measured on the model. A sum that was computed
    with rounding errors is the exact sum of slightly different terms, so evaluating a model in float32 amounts to
    evaluating exactly a model with slightly different weights (backward error analysis: Higham, Accuracy and Stability
    of Numerical Algorithms, section 3.1). For a sum of n terms the relative change of the weights is about sqrt(n) eps,
    as rounding errors are independent of each other (Higham and Mary, 2019), and a few eps more stand for the
    activations. The model is evaluated three times with its weights changed by that much, up or down at random, and the
    bound is twice the largest change of its logits at this step or an earlier one.

    Measured on models of up to 512 units: correct exports, on CPUs with AVX2 and with AVX-512, differ from the model by
    at most a tenth of the bound. Weights rounded to TensorFloat-32 or float16 exceed it more than tenfold, and weights
    rounded to bfloat16 a hundredfold.

    Args:
      model: a language model with weights.
      ids: tokens, int32 [T, B].
    Returns:
      The logits, float32 [T, B, V], and the bound, float32 [T, 1, 1].
    """
    ids, state = tf.constant(ids), model.initial_state(ids.shape[1])
    others = [variable.value for variable in model.non_trainable_variables]

    def logits(weights: list) -> np.ndarray:
        return model.stateless_call(weights, others, ids, state, training=False)[0][0].numpy()

    weights = [variable.numpy() for variable in model.trainable_variables]
    longest_sum = 2 * max([model.embedding_dim, *(tensor.shape[1] for tensor in tf.nest.flatten(state))])  # W x + U h
    relative = (math.sqrt(longest_sum) + 4) * np.finfo(np.float32).eps
    random = np.random.default_rng(0)
    unchanged, changes = model(ids, state, training=False)[0].numpy(), []
    for _ in range(3):
        factors = [1 + relative * random.choice([-1, 1], weight.shape) for weight in weights]
        changed = [np.float32(weight * factor) for weight, factor in zip(weights, factors, strict=True)]
        changes.append(np.abs(logits(changed) - unchanged).max((1, 2), keepdims=True))
    return unchanged, 2 * np.maximum.accumulate(np.max(changes, 0), 0)
