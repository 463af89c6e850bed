"""The memory that a config needs, computed before any of it is allocated.

Letters: H units.
"""

import dataclasses
import math

from tfrnn.config.config import Config
from tfrnn.config.sections import Model

GATES = {"rnn": 1, "gru": 3, "lstm": 4}  # blocks of H columns in a cell's kernels: the candidate's and each gate's


def weight_shapes(model: Model, vocab_size: int) -> list[tuple[int, ...]]:
    """Returns the shapes of a language model's weights, in the order of `model.weights`."""
    columns = GATES[model.cell] * model.units
    two_biases = (model.cell, model.implementation) == ("gru", "keras")  # Keras's default, reset_after=True
    shapes: list[tuple[int, ...]] = []
    for layer in range(model.num_layers):
        inputs = model.units if layer else model.embedding_dim or vocab_size
        shapes += [(inputs, columns), (model.units, columns), (2, columns) if two_biases else (columns,)]
    embedding = [(vocab_size, model.embedding_dim)] if model.embedding_dim else []
    return [*shapes, *embedding, *([] if model.tie_weights else [(model.units, vocab_size), (vocab_size,)])]


def forecaster_shapes(model: Model, num_inputs: int, num_outputs: int, is_direct: bool) -> list[tuple[int, ...]]:
    """Returns the shapes of a forecaster's weights, in the order of `model.weights`.

    Args:
      model: the settings.
      num_inputs, num_outputs: the numbers of values that it reads and predicts at each step.
      is_direct: whether it predicts others than the next values, so that its output layer reads the inputs too.
    """
    of_cells = weight_shapes(dataclasses.replace(model, embedding_dim=0, tie_weights=False), num_inputs)[:-2]
    return [*of_cells, (model.units + (num_inputs if is_direct else 0), num_outputs), (num_outputs,)]


def weight_bytes(model: Model, vocab_size: int) -> int:
    """Returns the size of a language model's weights in bytes, as float32."""
    return 4 * sum(map(math.prod, weight_shapes(model, vocab_size)))


def min_training_bytes(config: Config, vocab_size: int) -> int:
    """Returns a lower bound on the memory that training needs, in bytes.

    Counted are five copies of the weights (the variables, their slices, the gradients, the sum of the gradients, and
    the best weights so far), the logits with their softmax and gradient, and the outputs of the layers.
    """
    values_per_token = 3 * vocab_size + config.model.num_layers * config.model.units
    tokens = config.data.batch_size * config.data.num_steps
    return 5 * weight_bytes(config.model, vocab_size) + 4 * tokens * values_per_token


def max_checkpoint_bytes(config: Config, vocab_size: int) -> int:
    """Returns an upper bound on the size of a checkpoint, in bytes.

    Counted are the weights, the best weights, four values of the optimizer for each weight, the state of every row, and
    a mebibyte for everything else.
    """
    states = 2 * 4 * config.model.num_layers * config.model.units * config.data.batch_size
    return 6 * weight_bytes(config.model, vocab_size) + states + 2**20
