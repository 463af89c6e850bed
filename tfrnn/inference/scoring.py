"""Scoring: how much each token of a text surprises a model that has read all tokens before it.

Letters: N tokens of the text, V vocab_size.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrnn.errors import UserError
from tfrnn.layers.model_protocol import check_ids, ensure_built
from tfrnn.layers.state import State
from tfrnn.runtime import execution

NUM_LIKELIEST = 3  # tokens that are kept of each prediction
# A text is read in calls of this many tokens; fewer for a large vocabulary, so that the logits fit into memory.
MIN_CALL_LENGTH, MAX_CALL_LENGTH = 32, 4096
MAX_LOGITS_PER_CALL = 2**22


class Score(NamedTuple):
    """How well a model predicts a text of N tokens. The first token is given; every other is predicted once.

    Attributes:
      nats: the surprisal of each predicted token, minus the natural logarithm of its probability; float32 [N - 1].
      likeliest: the ids of the three tokens (or V, if that is smaller) that the model thought likeliest at each
        position; int32 [N - 1, 3].
      probabilities: the probabilities of those tokens, float32 [N - 1, 3].
    """

    nats: np.ndarray
    likeliest: np.ndarray
    probabilities: np.ndarray

    def first(self, length: int) -> "Score":
        """Returns the score of the text's first `length` tokens."""
        return Score(*(values[: length - 1] for values in self))

    @property
    def bits(self) -> np.ndarray:
        """The surprisals in bits, float32 [N - 1]."""
        return self.nats / math.log(2)

    @property
    def loss(self) -> float:
        """The mean surprisal, in nats per token."""
        return float(self.nats.sum(dtype=np.float64)) / len(self.nats)

    @property
    def perplexity(self) -> float:
        """The exponential of the loss."""
        return math.exp(min(self.loss, 700))

    @property
    def bits_per_char(self) -> float:
        """The mean surprisal in bits per token (also called so if tokens are not characters)."""
        return self.loss / math.log(2)


def score(model: Any, ids: np.ndarray) -> Score:
    """Reads a text once, with the state carried from its beginning to its end, and returns the surprisal of each token.

    >>> vocabulary = tfrnn.Vocabulary.from_text("to be or not to be")
    >>> model = tfrnn.LanguageModel(tfrnn.GRUCell(8), len(vocabulary))
    >>> scored = tfrnn.score(model, vocabulary.encode("not to be"))
    >>> scored.bits.shape, bool(scored.perplexity > 1)
    ((8,), True)

    Args:
      model: a LanguageModel, or another model of the form that `Trainer` describes; trained or not.
      ids: the text's tokens, int32 [N].
    Raises:
      UserError: `ids` is not a sequence of at least two tokens, or has one that the model does not know.
    """
    vocab_size = getattr(model, "vocab_size", MAX_LOGITS_PER_CALL // MAX_CALL_LENGTH)  # a user's model need not tell
    call_length = max(MIN_CALL_LENGTH, min(MAX_CALL_LENGTH, MAX_LOGITS_PER_CALL // vocab_size))
    return score_in_calls(model, ids, call_length)


def score_in_calls(model: Any, ids: np.ndarray, call_length: int) -> Score:
    """Scores a text as `score` does, with calls of the model for `call_length` tokens each."""
    ids = np.asarray(ids, np.int32)
    if ids.ndim != 1 or len(ids) < 2:
        raise UserError(f"expected a text of at least two tokens, of which all but the first are predicted; got {ids}")
    ensure_built(model)
    check_ids(ids, "ids", model)
    state = model.initial_state(1)
    score_window = _score.trace(model, *[tf.TensorSpec([None], tf.int32)] * 2, state)  # one trace for all lengths
    parts = []
    for begin in range(0, len(ids) - 1, call_length):
        window = ids[begin : begin + call_length + 1]
        *part, state = score_window(model, tf.constant(window[:-1]), tf.constant(window[1:]), state)
        parts.append([tensor.numpy() for tensor in part])
    return Score(*map(np.concatenate, zip(*parts, strict=True)))


@execution.tf_function()
def _score(model: Any, inputs: tf.Tensor, targets: tf.Tensor, state: State) -> tuple:
    """Scores n tokens of one row; returns nats [n], likeliest ids and their probabilities [n, 3], and the state."""
    logits, state = model(inputs[:, None], state, training=False)
    logits = tf.cast(logits[:, 0], tf.float32)  # [n, V]
    nats = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    best = tf.math.top_k(tf.nn.softmax(logits), min(NUM_LIKELIEST, logits.shape[1]))
    return nats, best.indices, best.values, state
