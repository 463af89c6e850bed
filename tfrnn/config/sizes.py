"""How much memory a config takes, known before any of it is allocated.

Letters: H units.
"""

import math

from tfrnn.config.config import Config
from tfrnn.config.sections import Model

GATES = {"rnn": 1, "gru": 3, "lstm": 4}  # a candidate, and what gates it: blocks of H columns in a cell's kernels


def weight_shapes(model: Model, vocab_size: int) -> list[tuple[int, ...]]:
    """The shapes of a language model's weights, in their order."""
    columns = GATES[model.cell] * model.units
    resets_after = (model.cell, model.implementation) == ("gru", "keras")  # which has two biases
    shapes: list[tuple[int, ...]] = []
    for layer in range(model.num_layers):
        inputs = model.units if layer else model.embedding_dim or vocab_size
        shapes += [(inputs, columns), (model.units, columns), (2, columns) if resets_after else (columns,)]
    embedding = [(vocab_size, model.embedding_dim)] if model.embedding_dim else []
    return [*shapes, *embedding, *([] if model.tie_weights else [(model.units, vocab_size), (vocab_size,)])]


def weight_bytes(model: Model, vocab_size: int) -> int:
    """Bytes of the weights as float32."""
    return 4 * sum(map(math.prod, weight_shapes(model, vocab_size)))


def min_training_bytes(config: Config, vocab_size: int) -> int:
    """Bytes that training takes at least.

    Five copies of the weights (themselves, their parts, gradients, the sum of these, and the best ones); logits with
    their softmax and gradient; outputs of the layers.
    """
    of_token = 3 * vocab_size + config.model.num_layers * config.model.units
    return 5 * weight_bytes(config.model, vocab_size) + 4 * config.data.batch_size * config.data.num_steps * of_token


def max_checkpoint_bytes(config: Config, vocab_size: int) -> int:
    """Bytes that a checkpoint takes at most.

    Weights, the best of them, four values of an optimizer for each, the states, and a megabyte for what is small.
    """
    states = 2 * 4 * config.model.num_layers * config.model.units * config.data.batch_size
    return 6 * weight_bytes(config.model, vocab_size) + states + 2**20
