"""SavedModel: one step of the model and a loop that generates text, for TensorFlow without tfrnn.

Letters: P tokens of a prefix, B batch_size.
"""

from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrnn.config.config import Config
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.formats.exported_step import compare_with_model, make_step
from tfrnn.inference import samplers


def write(model: Any, folder: Path, vocabulary: Vocabulary, config: Config) -> dict[str, Any]:
    """Writes the signatures `step` and `generate`. Returns the types of their inputs and outputs."""
    module = tf.Module()
    module.weights = [weight.value for weight in model.weights]
    step, interface = make_step(model)

    def generate(prefix: tf.Tensor, length: tf.Tensor, temperature: tf.Tensor, seed: tf.Tensor) -> dict:
        rows = tf.shape(prefix)[1]
        logits, state = model(prefix, model.initial_state(rows), training=False)
        uniform = tf.random.stateless_uniform([length, rows], tf.stack([seed, 0]))

        def body(i: tf.Tensor, logits: tf.Tensor, state: Any, tokens: tf.TensorArray) -> tuple:
            known = samplers.without_unknown(logits)
            drawn = samplers.draw(known / tf.maximum(temperature, samplers.MIN_TEMPERATURE), uniform[i])
            token = tf.where(temperature < samplers.MIN_TEMPERATURE, samplers.greedy(known), drawn)
            logits, state = model(token[None], state, training=False)
            return i + 1, logits[0], state, tokens.write(i + 1, token)

        # An empty TensorArray cannot be stacked, so that a length of 0 needs a first element that is not returned.
        tokens = tf.TensorArray(tf.int32, length + 1, element_shape=[None]).write(0, tf.zeros([rows], tf.int32))
        *_, tokens = tf.while_loop(lambda i, *_: i < length, body, (0, logits[-1], state, tokens))
        return {"ids": tokens.stack()[1:]}

    inputs = [
        tf.TensorSpec([None, None], tf.int32, "prefix"),
        tf.TensorSpec([], tf.int32, "length"),
        tf.TensorSpec([], tf.float32, "temperature"),
        tf.TensorSpec([], tf.int32, "seed"),
    ]
    module.step, module.generate = step, tf.function(generate, inputs, autograph=False)
    signatures = {"step": module.step, "generate": module.generate}
    tf.saved_model.save(module, str(folder), signatures)
    described = {
        "prefix": "int32 [P, B], P at least 1",
        "length": "int32, at least 0",
        "temperature": "float32, at least 0; 0 is greedy",
        "seed": "int32",
    }
    return {"step": interface, "generate": {"inputs": described, "outputs": {"ids": "int32 [length, B]"}}}


def check(model: Any, folder: Path) -> str:
    """Loads the SavedModel and compares its signature `step` with the model, see compare_with_model."""
    with tf.device("/CPU:0"):  # a step runs where its weights are
        loaded = tf.saved_model.load(str(folder))
    step = loaded.signatures["step"]
    return compare_with_model(model, lambda inputs: step(**{name: tf.constant(x) for name, x in inputs.items()}))


def next_steps(folder: Path) -> dict[str, str]:
    """Returns a line of Python that loads the SavedModel as `model`."""
    return {"load it in Python": f"import tensorflow as tf; model = tf.saved_model.load({str(folder)!r})"}
