"""Text out of a trained model: a prefix is read, then each next token is chosen and read in turn.

Letters: B samples side by side, V vocab_size, W recent tokens that a sampler asks for.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrnn.config import trained_run
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import UserError
from tfrnn.inference import samplers
from tfrnn.inference.reading import Reading, read_prefixes
from tfrnn.inference.samplers import GREEDY, Choosing, Sampler
from tfrnn.layers.state import State, join_rows, split_rows
from tfrnn.runtime import execution, threads

SECTION = 1024  # tokens at most in one call
BY_XLA_FROM = 1000  # tokens of a few samples, from which on what XLA gains is worth the half second that it takes


def _choose_and_read(
    model: Any,
    sampler: Choosing,
    logits: tf.Tensor,
    state: State,
    recent: tf.Tensor,
    uniform: tf.Tensor,
    begin: tf.Tensor,
    end: tf.Tensor,
    slots: Any,
) -> tuple[tf.Tensor, tf.Tensor, State]:
    """Tokens number `begin` to `end` of a section, the first of [slots, B], and what comes with the last."""
    window = recent.shape[1]

    def body(i: tf.Tensor, logits: tf.Tensor, state: State, recent: tf.Tensor, tokens: tf.TensorArray) -> tuple:
        token = tf.cast(sampler.choose(samplers.without_unknown(logits), uniform[i], recent), tf.int32)
        if not token.shape.is_compatible_with(uniform.shape[1:]):
            raise UserError(
                f"a sampler must choose a token for each row, [{uniform.shape[1]}]; got shape {token.shape}"
            )
        if window:
            recent = tf.concat([recent[:, 1:], token[:, None]], 1)
        new_logits, state = model(token[None], state, training=False)
        return i + 1, new_logits[0], state, recent, tokens.write(i - begin, token)

    with model.weights_read_once():
        tokens = tf.TensorArray(tf.int32, slots, element_shape=[uniform.shape[1]])
        _, logits, state, _, tokens = tf.while_loop(lambda i, *_: i < end, body, (begin, logits, state, recent, tokens))
    return tokens.stack(), logits, state


_choose_and_read_by_xla = tf.function(_choose_and_read, autograph=False, jit_compile=True)


@execution.tf_function()
def _go_on(
    model: Any,
    sampler: Choosing,
    by_xla: bool,
    logits: tf.Tensor,
    state: State,
    recent: tf.Tensor,
    sample: tf.Tensor,
    numbers: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, State]:
    """For the numbers seed, section, begin and end, the tokens number `begin` to `end` of the section, int32
    [end - begin, B], with the logits and the state after them.

    What is drawn for a row depends on the seed, its sample and the section alone, not on the rows beside it. That is
    done for a whole section, and outside of what XLA compiles, which would draw others.
    """
    seed, section, begin, end = tf.unstack(numbers)
    rows = logits.shape[0]

    def draws(of: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_uniform([SECTION], tf.stack([tf.cast(seed, tf.int64), of * 2**31 + section]))

    section = tf.cast(section, tf.int64)
    uniform = tf.transpose(tf.map_fn(draws, sample, fn_output_signature=tf.TensorSpec([SECTION], tf.float32)))
    choose_and_read, slots = (_choose_and_read_by_xla, SECTION) if by_xla else (_choose_and_read, end - begin)
    chains = threads.num_chains(rows)
    parts = zip(
        tf.split(logits, chains),
        split_rows(state, chains),
        tf.split(recent, chains),
        tf.split(tf.ensure_shape(uniform, [SECTION, rows]), chains, 1),
        strict=True,
    )
    results = [choose_and_read(model, sampler, *part, begin, end, slots) for part in parts]
    tokens, logits_after, states = zip(*results, strict=True)
    return tf.concat(tokens, 1)[: end - begin], tf.concat(logits_after, 0), join_rows(list(states))


def _section(
    model: Any, vocabulary: Vocabulary, reading: Reading, sampler: Choosing, seed: int, by_xla: bool, length: int
) -> tuple[np.ndarray, Reading]:
    """The next tokens, int32 [n, B], up to `length` or to the end of the section, and where that leads."""
    window = getattr(sampler, "window", 0)
    if window > reading.recent.shape[1]:
        raise UserError(f"a sampler's window must be at most {reading.recent.shape[1]} tokens; got {window}")
    section, begin = divmod(reading.generated, SECTION)
    end = min(begin + length, SECTION)

    def go_on(by_xla: bool) -> tuple:
        recent = tf.constant(reading.recent[:, reading.recent.shape[1] - window :])
        numbers = tf.constant([seed, section, begin, end], tf.int32)
        return _go_on(model, sampler, by_xla, reading.logits, reading.state, recent, reading.sample, numbers)

    try:
        tokens, logits, state = go_on(by_xla)
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
        if not by_xla:
            raise
        tokens, logits, state = go_on(False)  # a cell of operations that XLA does not know
    tokens = tokens.numpy()
    return tokens, reading.advanced(tokens, logits, state, vocabulary.tokens == "word")


def _check(sampler: Choosing, length: Any, seed: Any) -> tuple[int, int]:
    """Length and seed as Python's numbers. Raises UserError where they or the sampler are none."""
    if isinstance(sampler, Sampler):
        trained_run.Sampling(**sampler._asdict())
    if isinstance(sampler, type) or not callable(getattr(sampler, "choose", None)):
        raise UserError(f"a sampler must be an object with a method choose(logits, uniform, recent); got {sampler!r}")
    if type(sampler).__hash__ is None:
        raise UserError(f"a sampler must be hashable, as it is compiled: make its dataclass frozen; got {sampler!r}")
    for name, number, bound in (("length", length, 2**31), ("seed", seed, 2**31)):
        if not isinstance(number, (int, np.integer)) or not 0 <= number < bound:
            raise UserError(f"{name} must be a whole number of at least 0 and below {bound}; got {number!r}")
    return int(length), int(seed)


def continue_texts(
    model: Any, vocabulary: Vocabulary, reading: Reading, length: int = 50, sampler: Choosing = GREEDY, seed: int = 0
) -> tuple[list[str], Reading]:
    """What comes next in each row, `length` tokens of it, and where that leads, to be continued or read on from.

    Continuing twice gives what continuing once by the sum of the lengths does (up to rounding, where that is long
    enough to be compiled by XLA). See `read_prefixes` for an example.

    Args:
      model, vocabulary, length, sampler, seed: as `generate`.
      reading: where the model stands, of B rows.
    Returns:
      The B continuations, without what stands before them, and the reading behind them.
    """
    length, seed = _check(sampler, length, seed)
    rows = len(reading.sample)
    by_xla = execution.jit_by_default() or (rows < threads.MIN_ROWS_PER_CHAIN and length >= BY_XLA_FROM)
    sections, gaps, left = [np.zeros([0, rows], np.int32)], reading.gaps, length
    while left:
        tokens, reading = _section(model, vocabulary, reading, sampler, seed, by_xla, left)
        sections.append(tokens)
        left -= len(tokens)
    tokens = np.concatenate(sections).T
    return [gap + vocabulary.decode(row) if length else "" for gap, row in zip(gaps, tokens, strict=True)], reading


def stream_on(
    model: Any, vocabulary: Vocabulary, reading: Reading, length: int = 50, sampler: Choosing = GREEDY, seed: int = 0
) -> Iterator[tuple[str, Reading]]:
    """As `continue_texts` for a reading of one row, token by token: each with the reading where it leads.

    Raises UserError where the reading has more rows; `Reading.row` takes one of them.
    """
    length, seed = _check(sampler, length, seed)
    if len(reading.sample) != 1:
        raise UserError(f"expected a reading of one row to stream, see Reading.row; got {len(reading.sample)} rows")
    for _ in range(length):
        (gap,) = reading.gaps
        tokens, reading = _section(model, vocabulary, reading, sampler, seed, False, 1)
        yield gap + vocabulary.decode(tokens[:, 0]), reading


def generate_many(
    model: Any,
    vocabulary: Vocabulary,
    prefixes: Sequence[str],
    length: int = 50,
    num_samples: int = 1,
    sampler: Choosing = GREEDY,
    seed: int = 0,
    unknown: str = "error",
) -> list[list[str]]:
    """As `generate`, for each prefix several samples, all side by side: a list for each prefix.

    >>> vocabulary = tfrnn.Vocabulary.from_text("to be or not to be")
    >>> model = tfrnn.LanguageModel(tfrnn.RNN(tfrnn.GRUCell(8)), len(vocabulary))
    >>> samples = tfrnn.generate_many(model, vocabulary, ["to ", "be"], 5, 3, tfrnn.Sampler())
    >>> [[len(sample) for sample in of_prefix] for of_prefix in samples]
    [[8, 8, 8], [7, 7, 7]]

    Args:
      model, vocabulary, length, sampler, seed, unknown: as `generate`.
      prefixes: one at least.
      num_samples: of each prefix.
    Raises:
      UserError: as `generate`; num_samples is below 1.
    """
    if num_samples < 1:
        raise UserError(f"num_samples must be at least 1; got {num_samples}")
    reading = read_prefixes(model, vocabulary, prefixes, None, unknown).repeat(num_samples)
    continued, _ = continue_texts(model, vocabulary, reading, length, sampler, seed)
    rows = iter(continued)
    return [[prefix + next(rows) for _ in range(num_samples)] for prefix in prefixes]


def generate(
    model: Any,
    vocabulary: Vocabulary,
    prefix: str,
    length: int = 50,
    sampler: Choosing = GREEDY,
    seed: int = 0,
    unknown: str = "error",
) -> str:
    """The prefix and `length` more tokens, greedy by default; compiled, with the state carried.

    >>> vocabulary = tfrnn.Vocabulary.from_text("to be or not to be")
    >>> model = tfrnn.LanguageModel(tfrnn.RNN(tfrnn.GRUCell(8)), len(vocabulary))
    >>> sampler = tfrnn.Sampler(temperature=0.8, top_p=0.9)
    >>> text = tfrnn.generate(model, vocabulary, "to be", length=20, sampler=sampler, seed=1)
    >>> text[:5], len(text)
    ('to be', 25)

    Args:
      model: a LanguageModel, trained or not.
      vocabulary: the one it was trained with.
      prefix: what to continue, cleaned as the text was.
      length: tokens to add.
      sampler: how each is chosen.
      seed: decides what a sampler with a temperature draws.
      unknown: what becomes of unknown tokens in the prefix: `error`, `unk` or `skip`.
    Raises:
      UserError: the prefix has no known token, or an unknown one where that is an error; a setting of the sampler is
        out of its range.
    """
    return generate_many(model, vocabulary, [prefix], length, 1, sampler, seed, unknown)[0][0]


def stream(
    model: Any,
    vocabulary: Vocabulary,
    prefix: str,
    length: int = 50,
    sampler: Choosing = GREEDY,
    seed: int = 0,
    unknown: str = "error",
) -> Iterator[str]:
    """Yields the tokens of the continuation as they come; joined to the prefix they are what `generate` gives.

    (Up to rounding, where that is long enough to be compiled by XLA.) Arguments and errors are those of `generate`.

    >>> vocabulary = tfrnn.Vocabulary.from_text("to be or not to be")
    >>> model = tfrnn.LanguageModel(tfrnn.RNN(tfrnn.GRUCell(8)), len(vocabulary))
    >>> pieces = list(tfrnn.stream(model, vocabulary, "to ", length=5))
    >>> "to " + "".join(pieces) == tfrnn.generate(model, vocabulary, "to ", length=5)
    True
    """
    reading = read_prefixes(model, vocabulary, [prefix], None, unknown)
    for piece, _ in stream_on(model, vocabulary, reading, length, sampler, seed):
        yield piece
