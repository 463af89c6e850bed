"""Beam search: the likeliest continuation as a whole, whereas greedy generation takes the likeliest token at each step.

Letters: W width, V vocab_size, B rows.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import UserError
from tfrnn.inference import samplers
from tfrnn.inference.reading import read_prefixes
from tfrnn.layers.model_protocol import with_weights_read
from tfrnn.layers.state import State
from tfrnn.runtime import execution


class Beam(NamedTuple):
    """A continuation found by beam search.

    Attributes:
      text: the prefix and its continuation.
      score: the log-probability of the continuation given the prefix, in nats; `<unk>` is taken to be impossible.
    """

    text: str
    score: float


def beam_search(
    model: Any, vocabulary: Vocabulary, prefix: str, length: int = 50, width: int = 4, unknown: str = "error"
) -> list[Beam]:
    """Searches the likeliest continuations of `length` tokens, and returns them in order, the likeliest first.

    After each token only the `width` likeliest sequences so far are continued (Lowerre, 1976). A width of 1 is greedy
    generation; over two steps a width of V finds the likeliest of all pairs.

    >>> vocabulary = tfrnn.Vocabulary.from_text("to be or not to be")
    >>> model = tfrnn.LanguageModel(tfrnn.GRUCell(8), len(vocabulary))
    >>> best, second = tfrnn.beam_search(model, vocabulary, "to ", length=5, width=2)
    >>> len(best.text), best.score >= second.score
    (8, True)

    Args:
      model: a LanguageModel, or another model of the form that `Trainer` describes; trained or not.
      vocabulary: the vocabulary that the model was trained with.
      prefix: the text to continue, cleaned as the training text was.
      length: the number of tokens to add.
      width: the number of sequences kept after each token, W.
      unknown: what to do with unknown tokens in the prefix: `error`, `unk` or `skip`.
    Returns:
      W continuations, or all of them if there are fewer.
    Raises:
      UserError: the prefix has no known token, or has an unknown one and `unknown` is `error`; length or width is
        below 1.
    """
    if not all(isinstance(number, (int, np.integer)) and number >= 1 for number in (length, width)):
        raise UserError(f"`length` and `width` must be whole numbers of at least 1; got {length} and {width}")
    reading = read_prefixes(model, vocabulary, [prefix], None, unknown)
    scores, tokens, parents = _search(model, reading.logits, reading.state, tf.constant(length, tf.int32), int(width))
    reversed_tokens, beams = [], np.arange(width)
    for step_tokens, step_parents in zip(tokens.numpy()[::-1], parents.numpy()[::-1], strict=True):
        reversed_tokens.append(step_tokens[beams])
        beams = step_parents[beams]
    continuations = np.stack(reversed_tokens[::-1], 1)  # [W, length]
    return [
        Beam(prefix + vocabulary.decode_after(reading.gaps[0], ids), float(score))
        for score, ids in zip(scores.numpy(), continuations, strict=True)
        if np.isfinite(score)  # with fewer than W continuations the last beams are impossible ones
    ]


@execution.tf_function()
def _search(model: Any, logits: tf.Tensor, state: State, length: tf.Tensor, width: int) -> tuple:
    """Returns the scores [W], and for each step the tokens and the beams of the step before that they continue, both
    [length, W]."""
    vocab_size, read = logits.shape[1], with_weights_read(model)

    def body(i: tf.Tensor, logits: tf.Tensor, state: State, scores: tf.Tensor, tokens: Any, parents: Any) -> tuple:
        log_probabilities = tf.nn.log_softmax(samplers.without_unknown(logits))
        candidate_scores = scores[:, None] + tf.cast(log_probabilities, tf.float64)  # [W, V]
        scores, best = tf.math.top_k(tf.reshape(candidate_scores, [-1]), width)
        parent, token = best // vocab_size, best % vocab_size
        state = tf.nest.map_structure(lambda tensor: tf.gather(tensor, parent), state)
        next_logits, state = read(token[None], state, training=False)
        return i + 1, next_logits[0], state, scores, tokens.write(i, token), parents.write(i, parent)

    first_scores = tf.constant([0.0] + [-np.inf] * (width - 1), tf.float64)  # all beams begin as the same one
    repeated = tf.nest.map_structure(lambda tensor: tf.repeat(tensor, width, 0), (logits, state))
    arrays = [tf.TensorArray(tf.int32, length, element_shape=[width]) for _ in range(2)]
    _, _, _, scores, tokens, parents = tf.while_loop(
        lambda i, *_: i < length, body, (0, *repeated, first_scores, *arrays)
    )
    return scores, tokens.stack(), parents.stack()
