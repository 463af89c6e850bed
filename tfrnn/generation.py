"""Text out of a trained model: a prefix is read, then each next token is chosen and read in turn.

Letters: P tokens of the prefix, B samples side by side, V vocab_size.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrnn import runtime
from tfrnn.errors import UserError
from tfrnn.rnn import State, join_rows, split_rows
from tfrnn.vocabulary import Vocabulary

SECTION = 4096  # tokens at most in one call
BY_XLA_FROM = 1000  # tokens of a few samples, from which on what XLA gains is worth the half second that it takes
COLDEST = 1e-6  # a lower temperature is as good as 0, and would overflow


class Sampler(NamedTuple):
    """How a token is chosen from logits.

    temperature: divides the logits; 0 takes the likeliest token always (greedy).
    top_k: only the k likeliest tokens; 0 for all.
    top_p: only the smallest set of likeliest tokens whose probabilities reach p; 1 for all (Holtzman et al., 2020).
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def choose(self, logits: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """Token ids, int32 [B], from logits [B, V] and numbers [B] drawn uniformly from [0, 1).

        `<unk>` (id 0) is never chosen.
        """
        logits = tf.cast(logits, tf.float32)
        greedy = self.temperature < COLDEST
        logits = logits if greedy else logits / self.temperature
        logits = tf.concat([tf.fill([tf.shape(logits)[0], 1], logits.dtype.min), logits[:, 1:]], 1)
        if greedy:
            return tf.argmax(logits, 1, tf.int32)
        if self.top_k and self.top_k < logits.shape[1]:
            smallest_kept = tf.math.top_k(logits, self.top_k).values[:, -1:]
            logits = tf.where(logits < smallest_kept, logits.dtype.min, logits)
        if self.top_p < 1:
            largest_first = tf.sort(logits, 1, "DESCENDING")
            reached_before = tf.cumsum(tf.nn.softmax(largest_first), 1, exclusive=True)
            kept = tf.where(reached_before < max(self.top_p, COLDEST), largest_first, logits.dtype.max)
            logits = tf.where(logits < tf.reduce_min(kept, 1, keepdims=True), logits.dtype.min, logits)
        reached = tf.cumsum(tf.nn.softmax(logits), 1)
        return tf.raw_ops.UpperBound(sorted_inputs=reached, values=uniform[:, None] * reached[:, -1:])[:, 0]


GREEDY = Sampler()


@tf.function(autograph=False)
def _read(model: Any, ids: tf.Tensor) -> tuple[tf.Tensor, State]:
    """The logits [B, V] of the token after the prefixes, int32 [P, B], and the state then."""
    logits, state = model(ids, model.initial_state(tf.shape(ids)[1]), training=False)
    return logits[-1], state


def _choose_and_read(
    model: Any,
    sampler: Sampler,
    logits: tf.Tensor,
    state: State,
    uniform: tf.Tensor,
    begin: tf.Tensor,
    end: tf.Tensor,
    slots: Any,
) -> tuple[tf.Tensor, tf.Tensor, State]:
    """Tokens number `begin` to `end` of a section, the first of [slots, B], and what comes with the last."""

    def body(i: tf.Tensor, logits: tf.Tensor, state: State, tokens: tf.TensorArray) -> tuple:
        token = sampler.choose(logits, uniform[i])
        new_logits, state = model(token[None], state, training=False)
        return i + 1, new_logits[0], state, tokens.write(i - begin, token)

    with model.weights_read_once():
        tokens = tf.TensorArray(tf.int32, slots, element_shape=[uniform.shape[1]])
        _, logits, state, tokens = tf.while_loop(lambda i, *_: i < end, body, (begin, logits, state, tokens))
    return tokens.stack(), logits, state


_choose_and_read_by_xla = tf.function(_choose_and_read, autograph=False, jit_compile=True)


@tf.function(autograph=False)
def _go_on(
    model: Any,
    sampler: Sampler,
    by_xla: bool,
    logits: tf.Tensor,
    state: State,
    numbers: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, State]:
    """For the numbers seed, section, begin and end, the tokens number `begin` to `end` of the section, int32
    [end - begin, B], with the logits and the state after them.

    A section's random numbers are drawn together, outside of what XLA compiles, which would draw others.
    """
    seed, section, begin, end = tf.unstack(numbers)
    rows = logits.shape[0]
    uniform = tf.random.stateless_uniform([SECTION, rows], tf.stack([seed, section]))
    choose_and_read, slots = (_choose_and_read_by_xla, SECTION) if by_xla else (_choose_and_read, end - begin)
    chains = runtime.num_chains(rows)
    parts = zip(tf.split(logits, chains), split_rows(state, chains), tf.split(uniform, chains, 1), strict=True)
    results = [choose_and_read(model, sampler, *part, begin, end, slots) for part in parts]
    tokens, logits_after, states = zip(*results, strict=True)
    return tf.concat(tokens, 1)[: end - begin], tf.concat(logits_after, 0), join_rows(list(states))


def _section(
    model: Any, sampler: Sampler, by_xla: bool, logits: tf.Tensor, state: State, seed: int, first: int, last: int
) -> tuple[tf.Tensor, tf.Tensor, State]:
    """Tokens number `first` to `last` of the continuation, which are in one section."""
    section = first // SECTION
    numbers = tf.constant([seed, section, first - section * SECTION, last - section * SECTION])
    try:
        return _go_on(model, sampler, by_xla, logits, state, numbers)
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
        if not by_xla:
            raise
        return _go_on(model, sampler, False, logits, state, numbers)  # a cell of operations that XLA does not know


def _start(
    model: Any, vocabulary: Vocabulary, prefix: str, length: int, rows: int, unknown: str
) -> tuple[tf.Tensor, State]:
    ids = vocabulary.encode_prefix(prefix, unknown)
    if length < 0:
        raise UserError(f"length must be at least 0; got {length}")
    if not model.built:
        model.build()
    _read.get_concrete_function(model, tf.TensorSpec([None, None], tf.int32))  # one trace for all lengths
    return _read(model, tf.tile(tf.constant(ids)[:, None], [1, rows]))


def generate_many(
    model: Any,
    vocabulary: Vocabulary,
    prefix: str,
    length: int = 50,
    num_samples: int = 1,
    sampler: Sampler = GREEDY,
    seed: int = 0,
    unknown: str = "error",
) -> list[str]:
    """As `generate`, with several samples in one call."""
    logits, state = _start(model, vocabulary, prefix, length, num_samples, unknown)
    by_xla = runtime.jit_by_default() or (num_samples < runtime.FEWEST_ROWS and length >= BY_XLA_FROM)
    sections = [np.zeros([0, num_samples], np.int32)]
    for first in range(0, length, SECTION):
        last = min(first + SECTION, length)
        tokens, logits, state = _section(model, sampler, by_xla, logits, state, seed, first, last)
        sections.append(tokens.numpy())
    continued = prefix + _gap(vocabulary, prefix)
    return [continued + vocabulary.decode(row) for row in np.concatenate(sections).T]


def generate(
    model: Any,
    vocabulary: Vocabulary,
    prefix: str,
    length: int = 50,
    sampler: Sampler = GREEDY,
    seed: int = 0,
    unknown: str = "error",
) -> str:
    """The prefix and `length` more tokens, greedy by default; compiled, with the state carried.

    Args:
      model: a LanguageModel, trained or not.
      vocabulary: the one it was trained with.
      prefix: what to continue, cleaned as the text was.
      length: tokens to add.
      sampler: how each is chosen.
      seed: decides what a sampler with a temperature draws.
      unknown: what becomes of unknown tokens in the prefix: `error`, `unk` or `skip`.
    Raises:
      UserError: the prefix has no known token, or an unknown one where that is an error.
    """
    return generate_many(model, vocabulary, prefix, length, 1, sampler, seed, unknown)[0]


def stream(
    model: Any,
    vocabulary: Vocabulary,
    prefix: str,
    length: int = 50,
    sampler: Sampler = GREEDY,
    seed: int = 0,
    unknown: str = "error",
) -> Iterator[str]:
    """Yields the tokens of the continuation as they come; joined to the prefix they are what `generate` gives.

    (Up to rounding, where that is long enough to be compiled by XLA.)
    """
    logits, state = _start(model, vocabulary, prefix, length, 1, unknown)
    for i in range(length):
        tokens, logits, state = _section(model, sampler, False, logits, state, seed, i, i + 1)
        yield _gap(vocabulary, "" if i else prefix) + vocabulary.decode(tokens.numpy()[:, 0])


def _gap(vocabulary: Vocabulary, before: str) -> str:
    """The space between words, unless the text before brings it."""
    return " " if vocabulary.tokens == "word" and not before[-1:].isspace() else ""
