"""Scoring: how much each token of a text surprises a model that has read all before it.

Letters: N tokens of the text, V vocab_size.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrnn.errors import UserError
from tfrnn.layers.state import State
from tfrnn.runtime import execution

LIKELIEST = 3  # alternatives that are kept of each prediction
_MOST_LOGITS = 2**22  # in one call
_SHORTEST_CALL, _LONGEST_CALL = 32, 4096  # tokens


class Score(NamedTuple):
    """What a model makes of a text; the first token is given, every other is predicted once.

    Attributes:
      nats: surprisal of each predicted token, minus the logarithm of its probability; float32 [N - 1].
      likeliest: ids of the three likeliest tokens there (of all, where V is smaller), int32 [N - 1, 3].
      probabilities: theirs, float32 [N - 1, 3].
    """

    nats: np.ndarray
    likeliest: np.ndarray
    probabilities: np.ndarray

    def first(self, length: int) -> "Score":
        """The score of the text's first `length` tokens."""
        return Score(*(values[: length - 1] for values in self))

    @property
    def bits(self) -> np.ndarray:
        """The surprisals in bits, float32 [N - 1]."""
        return self.nats / math.log(2)

    @property
    def loss(self) -> float:
        """The mean surprisal, in nats a token."""
        return float(self.nats.sum(dtype=np.float64)) / len(self.nats)

    @property
    def perplexity(self) -> float:
        """The exponential of the loss."""
        return math.exp(min(self.loss, 700))

    @property
    def bits_per_char(self) -> float:
        """The loss in bits (a token; where tokens are words, it is still called so)."""
        return self.loss / math.log(2)


def score(model: Any, ids: np.ndarray) -> Score:
    """Reads a text once, from a zero state that is carried through all of it.

    >>> vocabulary = tfrnn.Vocabulary.from_text("to be or not to be")
    >>> model = tfrnn.LanguageModel(tfrnn.RNN(tfrnn.GRUCell(8)), len(vocabulary))
    >>> scored = tfrnn.score(model, vocabulary.encode("not to be"))
    >>> scored.bits.shape, bool(scored.perplexity > 1)
    ((8,), True)

    Args:
      model: a LanguageModel, trained or not.
      ids: the text's tokens, int32 [N].
    Raises:
      UserError: fewer than two tokens.
    """
    ids = np.asarray(ids, np.int32)
    if ids.ndim != 1 or len(ids) < 2:
        raise UserError(f"expected a text of two tokens at least, of which all but the first are predicted; got {ids}")
    if not model.built:
        model.build()
    length = max(_SHORTEST_CALL, min(_LONGEST_CALL, _MOST_LOGITS // model.vocab_size))
    state = model.initial_state(1)
    _score.get_concrete_function(model, *[tf.TensorSpec([None], tf.int32)] * 2, state)  # one trace for all lengths
    parts = []
    for begin in range(0, len(ids) - 1, length):
        window = ids[begin : begin + length + 1]
        *part, state = _score(model, tf.constant(window[:-1]), tf.constant(window[1:]), state)
        parts.append([tensor.numpy() for tensor in part])
    return Score(*map(np.concatenate, zip(*parts, strict=True)))


@execution.tf_function()
def _score(model: Any, inputs: tf.Tensor, targets: tf.Tensor, state: State) -> tuple:
    logits, state = model(inputs[:, None], state, training=False)
    logits = tf.cast(logits[:, 0], tf.float32)  # [n, V]
    nats = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    best = tf.math.top_k(tf.nn.softmax(logits), min(LIKELIEST, logits.shape[1]))
    return nats, best.indices, best.values, state
