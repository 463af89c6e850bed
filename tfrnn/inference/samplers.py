"""Samplers: how the next token is chosen from a model's logits.

A sampler is any object with one method, `choose(logits, uniform, recent) -> ids`. The functions here are what it is
made of, so that another takes a few lines:

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

COLDEST = 1e-6  # a lower temperature is as good as 0, and would overflow
IMPOSSIBLE = -math.inf
_DEFAULT = trained_run.Sampling()


class Choosing(Protocol):
    """What generation asks of a sampler. `<unk>` (id 0) is made impossible before it is asked.

    It is compiled: what it reads from itself is read once, so a sampler is hashable and does not change.
    """

    def choose(self, logits: tf.Tensor, uniform: tf.Tensor, recent: tf.Tensor) -> tf.Tensor:
        """Token ids, int32 [B].

        Args:
          logits: float32 [B, V].
          uniform: numbers drawn uniformly from [0, 1), float32 [B].
          recent: the last W tokens, int32 [B, W], 0 where there were fewer; W is the sampler's attribute `window`, and
            0 where it has none.
        """


class Sampler(NamedTuple):
    """The usual ways together: the penalty first, then the temperature, then the three filters; those left out do
    nothing.

    >>> sampler = tfrnn.Sampler(temperature=0.8, top_p=0.9)
    >>> sampler.top_k  # all
    0

    Args:
      temperature: divides the logits; 0 takes the likeliest token always (greedy).
      top_k: only the k likeliest tokens; 0: all.
      top_p: only the fewest likeliest tokens that together have probability p.
      min_p: only tokens with at least this share of the likeliest one's probability.
      repetition_penalty: above 1 makes tokens rarer that were among the last ones.
      repetition_window: how many last tokens these are.
    """

    temperature: float = _DEFAULT.temperature
    top_k: int = _DEFAULT.top_k
    top_p: float = _DEFAULT.top_p
    min_p: float = _DEFAULT.min_p
    repetition_penalty: float = _DEFAULT.repetition_penalty
    repetition_window: int = _DEFAULT.repetition_window

    @property
    def window(self) -> int:
        """How many last tokens it asks for."""
        return self.repetition_window if self.repetition_penalty != 1 else 0

    def choose(self, logits: tf.Tensor, uniform: tf.Tensor, recent: tf.Tensor) -> tf.Tensor:
        """Token ids, int32 [B], from logits [B, V], numbers in [0, 1) [B], and the last tokens [B, W]."""
        if self.window:
            logits = penalize(logits, recent, self.repetition_penalty)
        if self.temperature < COLDEST:
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
    """The likeliest token of each row, the first of equals; int32 [B]."""
    return tf.argmax(logits, 1, tf.int32)


def draw(logits: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """A token of each row by the softmax of the logits [B, V] and a number in [0, 1) for each row; int32 [B]."""
    probabilities = tf.nn.softmax(logits)
    reached = tf.cumsum(probabilities, 1)
    drawn = tf.raw_ops.UpperBound(sorted_inputs=reached, values=uniform[:, None] * reached[:, -1:])[:, 0]
    drawn = tf.minimum(drawn, logits.shape[1] - 1)
    # XLA's sums may rise, by a rounding step, where the probability is zero.
    return tf.where(tf.gather(probabilities, drawn, axis=1, batch_dims=1) > 0, drawn, greedy(logits))


def keep_top_k(logits: tf.Tensor, k: int) -> tf.Tensor:
    """Makes all but the k likeliest tokens impossible; of equals the first are kept (Fan et al., 2018)."""
    if k >= logits.shape[1]:
        return logits
    return _only(logits, tf.argsort(_order(logits), 1) < k)


def keep_top_p(logits: tf.Tensor, p: float) -> tf.Tensor:
    """Keeps the fewest likeliest tokens whose probabilities together reach p, of equals the first (Holtzman et al.,
    2020)."""
    order = _order(logits)
    reached_before = tf.cumsum(tf.nn.softmax(tf.gather(logits, order, axis=1, batch_dims=1)), 1, exclusive=True)
    number = tf.reduce_sum(tf.cast(reached_before < max(p, COLDEST), tf.int32), 1, keepdims=True)
    return _only(logits, tf.argsort(order, 1) < number)


def keep_min_p(logits: tf.Tensor, p: float) -> tf.Tensor:
    """Keeps tokens with at least the share p of the likeliest one's probability (Nguyen et al., 2024)."""
    if not p:
        return logits
    return _only(logits, logits >= tf.reduce_max(logits, 1, keepdims=True) + tf.math.log(p))


def penalize(logits: tf.Tensor, recent: tf.Tensor, penalty: float) -> tf.Tensor:
    """Divides the positive logits of recent tokens, and multiplies the negative ones, by the penalty (Keskar et al.,
    2019)."""
    rows, window = tf.shape(recent)[0], tf.shape(recent)[1]
    places = tf.stack([tf.repeat(tf.range(rows), window), tf.reshape(recent, [-1])], 1)  # [B * W, 2]
    among = tf.tensor_scatter_nd_update(tf.zeros_like(logits), places, tf.ones([rows * window], logits.dtype)) > 0
    return tf.where(among, tf.where(logits > 0, logits / penalty, logits * penalty), logits)


def without_unknown(logits: tf.Tensor) -> tf.Tensor:
    """float32 logits [B, V] with `<unk>`, id 0, made impossible."""
    logits = tf.cast(logits, tf.float32)
    return tf.concat([tf.fill([tf.shape(logits)[0], 1], IMPOSSIBLE), logits[:, 1:]], 1)


def _order(logits: tf.Tensor) -> tf.Tensor:
    """The ids of each row, the likeliest first, and of equals the first."""
    return tf.argsort(logits, 1, "DESCENDING", stable=True)


def _only(logits: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    return tf.where(kept, logits, IMPOSSIBLE)
