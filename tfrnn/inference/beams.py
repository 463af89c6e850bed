"""Beam search: the likeliest continuation as a whole, where greedy takes the likeliest token at each step.

Letters: W width, V vocab_size, B rows.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import UserError
from tfrnn.inference import samplers
from tfrnn.inference.reading import read_prefixes
from tfrnn.layers.state import State
from tfrnn.runtime import execution


class Beam(NamedTuple):
    """A continuation found by beam search.

    Attributes:
      text: with its prefix.
      score: its log-probability after the prefix, in nats; `<unk>` is taken to be impossible.
    """

    text: str
    score: float


def beam_search(
    model: Any, vocabulary: Vocabulary, prefix: str, length: int = 50, width: int = 4, unknown: str = "error"
) -> list[Beam]:
    """The likeliest continuations of `length` tokens, the likeliest first.

    After each token only the `width` likeliest beginnings are gone on with (Lowerre, 1976). With a width of 1 that is
    greedy; over two steps a width of V finds the likeliest pair of all.

    >>> vocabulary = tfrnn.Vocabulary.from_text("to be or not to be")
    >>> model = tfrnn.LanguageModel(tfrnn.RNN(tfrnn.GRUCell(8)), len(vocabulary))
    >>> best, second = tfrnn.beam_search(model, vocabulary, "to ", length=5, width=2)
    >>> len(best.text), best.score >= second.score
    (8, True)

    Args:
      model: a LanguageModel, trained or not.
      vocabulary: the one it was trained with.
      prefix: what to continue, cleaned as the text was.
      length: tokens to add.
      width: beginnings kept. At most so many continuations are given.
      unknown: what becomes of unknown tokens in the prefix: `error`, `unk` or `skip`.
    Raises:
      UserError: the prefix has no known token, or an unknown one where that is an error; length or width is below 1.
    """
    if not all(isinstance(number, (int, np.integer)) and number >= 1 for number in (length, width)):
        raise UserError(f"length and width must be whole numbers of at least 1; got {length} and {width}")
    reading = read_prefixes(model, vocabulary, [prefix], None, unknown)
    scores, tokens, parents = _search(model, reading.logits, reading.state, tf.constant(length), width=width)
    paths, rows = [], np.arange(width)
    for step_tokens, step_parents in zip(tokens.numpy()[::-1], parents.numpy()[::-1], strict=True):
        paths.append(step_tokens[rows])
        rows = step_parents[rows]
    continuations = np.stack(paths[::-1], 1)  # [W, length]
    return [
        Beam(prefix + reading.gaps[0] + vocabulary.decode(ids), float(score))
        for score, ids in zip(scores.numpy(), continuations, strict=True)
        if np.isfinite(score)  # fewer than W, where there are not so many continuations
    ]


@execution.tf_function()
def _search(model: Any, logits: tf.Tensor, state: State, length: tf.Tensor, width: int) -> tuple:
    """Scores [W], tokens [length, W], and which beam of the step before each goes on, [length, W]."""
    vocab_size = logits.shape[1]

    def body(i: tf.Tensor, logits: tf.Tensor, state: State, scores: tf.Tensor, tokens: Any, parents: Any) -> tuple:
        log_probabilities = tf.nn.log_softmax(samplers.without_unknown(logits))
        reached = scores[:, None] + tf.cast(log_probabilities, tf.float64)  # [W, V]
        scores, best = tf.math.top_k(tf.reshape(reached, [-1]), width)
        parent, token = best // vocab_size, best % vocab_size
        state = tf.nest.map_structure(lambda tensor: tf.gather(tensor, parent), state)
        new_logits, state = model(token[None], state, training=False)
        return i + 1, new_logits[0], state, scores, tokens.write(i, token), parents.write(i, parent)

    first = tf.constant([0.0] + [-np.inf] * (width - 1), tf.float64)  # all beams begin as the same one
    repeated = tf.nest.map_structure(lambda tensor: tf.repeat(tensor, width, 0), (logits, state))
    with model.weights_read_once():
        arrays = [tf.TensorArray(tf.int32, length, element_shape=[width]) for _ in range(2)]
        _, _, _, scores, tokens, parents = tf.while_loop(lambda i, *_: i < length, body, (0, *repeated, first, *arrays))
    return scores, tokens.stack(), parents.stack()
