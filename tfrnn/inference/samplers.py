"""Samplers: how the next token is chosen from a model's logits.

A sampler is any object with a method `choose(logits, uniform, recent) -> ids`. `Sampler` is made of the functions of
this module, from which another sampler takes a few lines:

>>> from tfrnn import samplers
>>> class TwoLikeliest:
...     def choose(self, logits, uniform, recent):
...         return samplers.draw(samplers.keep_top_k(logits, 2), uniform)
>>> TwoLikeliest().choose(np.log([[0.1, 0.4, 0.2, 0.3]]), np.array([0.9]), None).numpy()
array([3], dtype=int32)

Letters: B rows side by side, V vocab_size, W recent tokens.
"""

import math
from typing import NamedTuple, Protocol

import tensorflow as tf

from tfrnn.config import trained_run

MIN_TEMPERATURE = 1e-6  # a lower one is treated as 0: dividing by it would overflow
MIN_TOP_P = 1e-6
_DEFAULT = trained_run.Sampling()


class Choosing(Protocol):
    """The protocol of a sampler. `<unk>` (id 0) has probability 0 in the logits that it receives.

    `choose` is compiled, and reads the sampler's attributes only once, so a sampler must be hashable and must not
    change.
    """

    def choose(self, logits: tf.Tensor, uniform: tf.Tensor, recent: tf.Tensor) -> tf.Tensor:
        """Returns a token id for each row, int32 [B].

        Args:
          logits: float32 [B, V].
          uniform: numbers drawn uniformly from [0, 1), float32 [B].
          recent: the last W tokens, int32 [B, W], 0 before the first; W is the sampler's attribute `window`, or 0 if
            it has none.
        """


class Sampler(NamedTuple):
    """Draws a token after a repetition penalty, a temperature and three filters, applied in this order.

    By default the penalty and the filters do nothing.

    >>> sampler = tfrnn.Sampler(temperature=0.8, top_p=0.9)
    >>> sampler.top_k  # all
    0

    Args:
      temperature: divides the logits; 0 always takes the likeliest token (greedy).
      top_k: keeps only the k likeliest tokens; 0 keeps all.
      top_p: keeps only the fewest likeliest tokens whose probabilities together reach p.
      min_p: keeps only tokens with at least this share of the likeliest token's probability.
      repetition_penalty: if above 1, makes recent tokens less likely.
      repetition_window: the number of last tokens that count as recent.
    """

    temperature: float = _DEFAULT.temperature
    top_k: int = _DEFAULT.top_k
    top_p: float = _DEFAULT.top_p
    min_p: float = _DEFAULT.min_p
    repetition_penalty: float = _DEFAULT.repetition_penalty
    repetition_window: int = _DEFAULT.repetition_window

    @property
    def window(self) -> int:
        """The number of recent tokens that `choose` needs, W."""
        return self.repetition_window if self.repetition_penalty != 1 else 0

    def choose(self, logits: tf.Tensor, uniform: tf.Tensor, recent: tf.Tensor) -> tf.Tensor:
        """Returns a token id for each row, int32 [B].

        Args:
          logits: float32 [B, V].
          uniform: numbers drawn uniformly from [0, 1), float32 [B].
          recent: the last W tokens, int32 [B, W].
        """
        if self.window:
            logits = penalize(logits, recent, self.repetition_penalty)
        if self.temperature < MIN_TEMPERATURE:
            return greedy(logits)
        logits = logits / self.temperature
        if self.top_k:
            logits = keep_top_k(logits, self.top_k)
        if self.top_p < 1:
            logits = keep_top_p(logits, self.top_p)
        if self.min_p:
            logits = keep_min_p(logits, self.min_p)
        return draw(logits, uniform)


GREEDY = Sampler(temperature=0.0)


def greedy(logits: tf.Tensor) -> tf.Tensor:
    """Returns the likeliest token of each row, int32 [B]; of equals the first."""
    return tf.argmax(logits, 1, tf.int32)


def draw(logits: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Draws a token for each row, int32 [B], from the softmax of the logits [B, V] by numbers in [0, 1), [B]."""
    probabilities = tf.nn.softmax(logits)
    cumulative = tf.cumsum(probabilities, 1)
    drawn = tf.raw_ops.UpperBound(sorted_inputs=cumulative, values=uniform[:, None] * cumulative[:, -1:])[:, 0]
    drawn = tf.minimum(drawn, logits.shape[1] - 1)
    # XLA's sums may increase, by a rounding error, at a token whose probability is zero.
    return tf.where(tf.gather(probabilities, drawn, axis=1, batch_dims=1) > 0, drawn, greedy(logits))


def keep_top_k(logits: tf.Tensor, k: int) -> tf.Tensor:
    """Sets the logits of all but the k likeliest tokens to -inf; of equals the first are kept (Fan et al., 2018)."""
    if k >= logits.shape[1]:
        return logits
    return _mask(logits, tf.argsort(_sort_by_likelihood(logits), 1) < k)


def keep_top_p(logits: tf.Tensor, p: float) -> tf.Tensor:
    """Sets the logits of all but the fewest likeliest tokens whose probabilities together reach p to -inf; of equals
    the first are kept (Holtzman et al., 2020)."""
    order = _sort_by_likelihood(logits)
    sum_before = tf.cumsum(tf.nn.softmax(tf.gather(logits, order, axis=1, batch_dims=1)), 1, exclusive=True)
    num_kept = tf.reduce_sum(tf.cast(sum_before < max(p, MIN_TOP_P), tf.int32), 1, keepdims=True)
    return _mask(logits, tf.argsort(order, 1) < num_kept)


def keep_min_p(logits: tf.Tensor, p: float) -> tf.Tensor:
    """Sets the logits of tokens with less than the share p of the likeliest token's probability to -inf (Nguyen et
    al., 2024)."""
    if not p:
        return logits
    return _mask(logits, logits >= tf.reduce_max(logits, 1, keepdims=True) + tf.math.log(p))


def penalize(logits: tf.Tensor, recent: tf.Tensor, penalty: float) -> tf.Tensor:
    """Makes recent tokens less likely: divides their positive logits by the penalty, and multiplies their negative ones
    by it (Keskar et al., 2019).

    Args:
      logits: [B, V].
      recent: token ids, int32 [B, W].
      penalty: above 1 to make them less likely.
    """
    rows, window = tf.shape(recent)[0], tf.shape(recent)[1]
    indices = tf.stack([tf.repeat(tf.range(rows), window), tf.reshape(recent, [-1])], 1)  # [B * W, 2]
    is_recent = tf.tensor_scatter_nd_update(tf.zeros_like(logits), indices, tf.ones([rows * window], logits.dtype)) > 0
    return tf.where(is_recent, tf.where(logits > 0, logits / penalty, logits * penalty), logits)


def without_unknown(logits: tf.Tensor) -> tf.Tensor:
    """Returns the logits [B, V] in float32, with that of `<unk>`, id 0, set to -inf."""
    logits = tf.cast(logits, tf.float32)
    return tf.concat([tf.fill([tf.shape(logits)[0], 1], -math.inf), logits[:, 1:]], 1)


def _sort_by_likelihood(logits: tf.Tensor) -> tf.Tensor:
    """Returns the ids of each row, the likeliest first; equals stay in their order."""
    return tf.argsort(logits, 1, "DESCENDING", stable=True)


def _mask(logits: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    return tf.where(kept, logits, -math.inf)
