"""Looking inside: what the hidden units and the gates of a model do while it reads a text.

Letters: T tokens of the text, B rows, D inputs' size, H units.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from tfrnn.errors import UserError
from tfrnn.layers.unrolling import unroll
from tfrnn.models.transfer import read_weights

# The gates of each kind of cell by their names, in the order of their columns.
GATES = {"gru": ("update gate", "reset gate"), "lstm": ("input gate", "forget gate", "", "output gate")}


def activations(model: Any, ids: np.ndarray, layer: int = -1) -> np.ndarray:
    """What a layer's hidden units are after each token of a text, float32 [T, H].

    >>> rnn = tfrnn.RNN([tfrnn.GRUCell(8), tfrnn.GRUCell(16)])
    >>> model = tfrnn.LanguageModel(rnn, vocab_size=28)
    >>> ids = np.arange(5)
    >>> tfrnn.activations(model, ids).shape, tfrnn.activations(model, ids, layer=0).shape
    ((5, 16), (5, 8))

    Args:
      model: a LanguageModel.
      ids: the text's tokens, int32 [T].
      layer: which recurrent layer, from 0; -1 for the last.
    Raises:
      UserError: there is no such layer.
    """
    _, outputs = _inputs_and_outputs(model, ids, layer)
    return outputs


def gates(model: Any, ids: np.ndarray, layer: int = -1) -> dict[str, np.ndarray]:
    """How far the gates of a GRU or LSTM layer are open while it reads a text: for each by its name, float32 [T, H] in
    [0, 1].

    >>> model = tfrnn.LanguageModel(tfrnn.RNN(tfrnn.LSTMCell(8)), vocab_size=28)
    >>> {name: opened.shape for name, opened in tfrnn.gates(model, np.arange(5)).items()}
    {'input gate': (5, 8), 'forget gate': (5, 8), 'output gate': (5, 8)}

    Args:
      model: a LanguageModel.
      ids: the text's tokens, int32 [T].
      layer: which recurrent layer, from 0; -1 for the last.
    Raises:
      UserError: there is no such layer, its cells have no gates, or other activations than tanh and sigmoid.
    """
    inputs, outputs = _inputs_and_outputs(model, ids, layer)
    weights = read_weights(model.rnn.cells[layer])
    if weights.kind not in GATES:
        raise UserError("expected a layer of a GRU or an LSTM; got one of the simple RNN, which has no gates")
    if weights.activations != ("tanh", "sigmoid"):
        raise UserError(f"expected a cell with the activations tanh and sigmoid; got {weights.activations}")
    before = np.concatenate([np.zeros_like(outputs[:1]), outputs[:-1]])  # the hidden state that each step begins with
    columns = inputs @ weights.kernel + before @ weights.recurrent_kernel + weights.bias + weights.state_bias
    opened = np.split(tf.sigmoid(columns).numpy(), len(weights.bias) // outputs.shape[1], 1)
    return {name: gate for name, gate in zip(GATES[weights.kind], opened, strict=False) if name}


def _inputs_and_outputs(model: Any, ids: np.ndarray, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """What the layer reads, [T, D], and what it gives, [T, H]."""
    if not model.built:
        model.build()
    cells = model.rnn.cells
    if not -len(cells) <= layer < len(cells):
        raise UserError(f"layer must be one of the model's {len(cells)} layers, from 0 on; got {layer}")
    read = tf.constant(np.asarray(ids, np.int32)[:, None])
    sequence = model.embedding(read) if model.embedding else tf.one_hot(read, model.rnn.input_size)
    for cell, state in zip(cells[: layer % len(cells) + 1], model.initial_state(1), strict=False):
        inputs, (sequence, _) = sequence, unroll(cell, sequence, state)
    return inputs.numpy()[:, 0], sequence.numpy()[:, 0]
