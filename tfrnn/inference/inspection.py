"""Inspection: hidden units and gates of a model after each token of a text.

Letters: T tokens of the text, D size of a layer's inputs, H units.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from tfrnn.errors import UserError
from tfrnn.layers import fused
from tfrnn.layers.unrolling import unroll


def activations(model: Any, ids: np.ndarray, layer: int = -1) -> np.ndarray:
    """Returns the hidden state of a layer after each token of a text, float32 [T, H].

    >>> model = tfrnn.LanguageModel([tfrnn.GRUCell(8), tfrnn.GRUCell(16)], vocab_size=28)
    >>> ids = np.arange(5)
    >>> tfrnn.activations(model, ids).shape, tfrnn.activations(model, ids, layer=0).shape
    ((5, 16), (5, 8))

    Args:
      model: a LanguageModel.
      ids: the text's tokens, int32 [T].
      layer: the number of the recurrent layer, from 0; -1 for the last.
    Raises:
      UserError: the model has no such layer.
    """
    _, outputs = _inputs_and_outputs(model, ids, layer)
    return outputs


def gates(model: Any, ids: np.ndarray, layer: int = -1) -> dict[str, np.ndarray]:
    """Returns how far each gate of a GRU or LSTM layer is open at each token of a text.

    >>> model = tfrnn.LanguageModel(tfrnn.LSTMCell(8), vocab_size=28)
    >>> {name: openness.shape for name, openness in tfrnn.gates(model, np.arange(5)).items()}
    {'input gate': (5, 8), 'forget gate': (5, 8), 'output gate': (5, 8)}

    Args:
      model: a LanguageModel.
      ids: the text's tokens, int32 [T].
      layer: the number of the recurrent layer, from 0; -1 for the last.
    Returns:
      For the name of each gate, numbers from 0 (closed) to 1 (open), float32 [T, H].
    Raises:
      UserError: the model has no such layer, or the layer's cell has no gates, or other activations than tanh and
        sigmoid.
    """
    inputs, outputs = _inputs_and_outputs(model, ids, layer)
    cell = model.rnn.cells[layer]
    if not fused.supports(cell, training=False):
        raise UserError(
            f"expected a GRU or LSTM cell, tfrnn's or Keras's, with the activations tanh and sigmoid; got {cell!r}"
        )
    hidden = np.concatenate([np.zeros_like(outputs[:1]), outputs[:-1]])
    openness = fused.open_gates(cell, tf.constant(inputs), tf.constant(hidden))
    if not openness:
        raise UserError("expected a layer of a GRU or an LSTM; got one of the simple RNN, which has no gates")
    return {name: gate.numpy() for name, gate in openness.items()}


def _inputs_and_outputs(model: Any, ids: np.ndarray, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the inputs [T, D] and the outputs [T, H] of a layer."""
    if not model.built:
        model.build()
    cells = model.rnn.cells
    if not -len(cells) <= layer < len(cells):
        raise UserError(f"`layer` must be one of the model's {len(cells)} layers, counted from 0; got {layer}")
    one_row = tf.constant(np.asarray(ids, np.int32)[:, None])
    sequence = model.embedding(one_row) if model.embedding else tf.one_hot(one_row, model.rnn.input_size)
    for cell, state in zip(cells[: layer % len(cells) + 1], model.initial_state(1), strict=False):
        inputs, (sequence, _) = sequence, unroll(cell, sequence, state)
    return inputs.numpy()[:, 0], sequence.numpy()[:, 0]
