"""Generation: a model reads a prefix; then each next token is chosen from its logits, and read in turn.

Letters: B rows (samples) side by side, V vocab_size, W recent tokens that a sampler asks for.
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
from tfrnn.models.recurrent_model import with_weights_read
from tfrnn.runtime import execution, threads

# Tokens are generated in blocks of at most this many. Each block draws its own random numbers, so that with another
# size the same seed would generate another text.
BLOCK_SIZE = 1024
# From this length on, XLA saves more time on a few samples than the half second that it takes to compile.
MIN_LENGTH_FOR_XLA = 1000


def _choose_and_read(
    model: Any,
    sampler: Choosing,
    logits: tf.Tensor,
    state: State,
    recent: tf.Tensor,
    uniform: tf.Tensor,
    begin: tf.Tensor,
    end: tf.Tensor,
    size: Any,
) -> tuple[tf.Tensor, tf.Tensor, State]:
    """Generates the tokens from `begin` to `end` of a block.

    Args:
      model, sampler: a LanguageModel, and what chooses each token.
      logits, state: the logits [B, V] of the token `begin`, and the state before it is read.
      recent: the last W tokens, int32 [B, W].
      uniform: random numbers for the whole block, [BLOCK_SIZE, B].
      begin, end: positions in the block.
      size: the number of rows of the tokens returned, at least end - begin. XLA needs a constant.
    Returns:
      Tokens, int32 [size, B], of which the first end - begin are valid; and the logits and the state after the last.
    """
    window, read = recent.shape[1], with_weights_read(model)

    def body(i: tf.Tensor, logits: tf.Tensor, state: State, recent: tf.Tensor, tokens: tf.TensorArray) -> tuple:
        token = tf.cast(sampler.choose(samplers.without_unknown(logits), uniform[i], recent), tf.int32)
        if not token.shape.is_compatible_with(uniform.shape[1:]):
            raise UserError(
                f"a sampler must choose a token for each row, [{uniform.shape[1]}]; got shape {token.shape}"
            )
        if window:
            recent = tf.concat([recent[:, 1:], token[:, None]], 1)
        next_logits, state = read(token[None], state, training=False)
        return i + 1, next_logits[0], state, recent, tokens.write(i - begin, token)

    tokens = tf.TensorArray(tf.int32, size, element_shape=[uniform.shape[1]])
    _, logits, state, _, tokens = tf.while_loop(lambda i, *_: i < end, body, (begin, logits, state, recent, tokens))
    return tokens.stack(), logits, state


choose_and_read_with_xla = tf.function(_choose_and_read, autograph=False, jit_compile=True)


@execution.tf_function()
def _generate_tokens(
    model: Any,
    sampler: Choosing,
    use_xla: bool,
    logits: tf.Tensor,
    state: State,
    recent: tf.Tensor,
    sample: tf.Tensor,
    seed_and_range: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, State]:
    """Generates some tokens of one block, for all rows.

    The random numbers of a row depend only on the seed, its sample and the block, not on the other rows. They are drawn
    for the whole block, and outside of what XLA compiles, because XLA would draw others.

    Args:
      model, sampler, logits, state, recent: as in `_choose_and_read`.
      use_xla: whether XLA compiles the loop over tokens.
      sample: which sample of its prefix each row is, int64 [B].
      seed_and_range: seed, number of the block, and positions in the block, begin and end; int32 [4].
    Returns:
      Tokens, int32 [end - begin, B], and the logits and the state after the last.
    """
    seed, block, begin, end = tf.unstack(seed_and_range)
    rows = logits.shape[0]

    def draw_for_row(row_sample: tf.Tensor) -> tf.Tensor:
        row_seed = tf.stack([tf.cast(seed, tf.int64), row_sample * 2**31 + tf.cast(block, tf.int64)])
        return tf.random.stateless_uniform([BLOCK_SIZE], row_seed)

    uniform = tf.transpose(tf.map_fn(draw_for_row, sample, fn_output_signature=tf.TensorSpec([BLOCK_SIZE], tf.float32)))
    choose_and_read, size = (choose_and_read_with_xla, BLOCK_SIZE) if use_xla else (_choose_and_read, end - begin)
    chains = threads.num_chains(rows)
    slices = zip(
        tf.split(logits, chains),
        split_rows(state, chains),
        tf.split(recent, chains),
        tf.split(tf.ensure_shape(uniform, [BLOCK_SIZE, rows]), chains, 1),
        strict=True,
    )
    results = [choose_and_read(model, sampler, *slice_, begin, end, size) for slice_ in slices]
    tokens, last_logits, states = zip(*results, strict=True)
    return tf.concat(tokens, 1)[: end - begin], tf.concat(last_logits, 0), join_rows(list(states))


def generate_within_block(
    model: Any, vocabulary: Vocabulary, reading: Reading, sampler: Choosing, seed: int, use_xla: bool, length: int
) -> tuple[np.ndarray, Reading]:
    """Generates the next tokens, `length` of them or as many as are left of the current block.

    If XLA cannot compile the cell or the sampler, they are run without it.

    Args:
      model, vocabulary, reading, sampler, seed: as in `continue_texts`.
      use_xla: whether XLA compiles the loop over tokens.
      length: the largest number of tokens to generate, at least 1.
    Returns:
      Tokens, int32 [n, B], and the reading after them.
    """
    window = getattr(sampler, "window", 0)
    if window > reading.recent.shape[1]:
        raise UserError(f"a sampler's window must be at most {reading.recent.shape[1]} tokens; got {window}")
    block, begin = divmod(reading.generated, BLOCK_SIZE)
    end = min(begin + length, BLOCK_SIZE)
    recent = tf.constant(reading.recent[:, reading.recent.shape[1] - window :])
    arguments = (
        reading.logits,
        reading.state,
        recent,
        reading.sample,
        tf.constant([seed, block, begin, end], tf.int32),
    )
    try:
        tokens, logits, state = _generate_tokens(model, sampler, use_xla, *arguments)
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
        if not use_xla:
            raise
        tokens, logits, state = _generate_tokens(model, sampler, False, *arguments)
    tokens = tokens.numpy()
    return tokens, reading.advanced(tokens, logits, state, vocabulary.tokens == "word")


def _check_arguments(sampler: Choosing, length: Any, seed: Any) -> tuple[int, int]:
    """Returns length and seed as Python's integers. Raises UserError if they or the sampler cannot be used."""
    if isinstance(sampler, Sampler):
        trained_run.Sampling(**sampler._asdict())
    if isinstance(sampler, type) or not callable(getattr(sampler, "choose", None)):
        raise UserError(f"a sampler must be an object with a method choose(logits, uniform, recent); got {sampler!r}")
    if type(sampler).__hash__ is None:
        raise UserError(f"a sampler must be hashable, as it is compiled: make its dataclass frozen; got {sampler!r}")
    for name, number in (("length", length), ("seed", seed)):
        if not isinstance(number, (int, np.integer)) or not 0 <= number < 2**31:
            raise UserError(f"{name} must be a whole number of at least 0 and below {2**31}; got {number!r}")
    return int(length), int(seed)


def continue_texts(
    model: Any, vocabulary: Vocabulary, reading: Reading, length: int = 50, sampler: Choosing = GREEDY, seed: int = 0
) -> tuple[list[str], Reading]:
    """Generates the next `length` tokens of each row, and returns them with the reading after them.

    Continuing twice generates the same text as continuing once by the sum of the lengths (up to rounding, if that is
    long enough to be compiled by XLA). See `read_prefixes` for an example.

    Args:
      model: a LanguageModel, trained or not.
      vocabulary: the vocabulary that the model was trained with.
      reading: what the model has read so far, of B rows.
      length: the number of tokens to add.
      sampler: how each token is chosen; greedy by default.
      seed: fixes the random numbers of a sampler that draws.
    Returns:
      The B continuations, without the texts before them, and a reading that can be continued again or read more.
    Raises:
      UserError: the sampler, the length or the seed cannot be used.
    """
    length, seed = _check_arguments(sampler, length, seed)
    rows = len(reading.sample)
    use_xla = execution.jit_by_default() or (rows < threads.MIN_ROWS_PER_CHAIN and length >= MIN_LENGTH_FOR_XLA)
    blocks, gaps, remaining = [np.zeros([0, rows], np.int32)], reading.gaps, length
    while remaining:
        tokens, reading = generate_within_block(model, vocabulary, reading, sampler, seed, use_xla, remaining)
        blocks.append(tokens)
        remaining -= len(tokens)
    tokens = np.concatenate(blocks).T
    return [gap + vocabulary.decode(row) if length else "" for gap, row in zip(gaps, tokens, strict=True)], reading


def stream_on(
    model: Any, vocabulary: Vocabulary, reading: Reading, length: int = 50, sampler: Choosing = GREEDY, seed: int = 0
) -> Iterator[tuple[str, Reading]]:
    """Continues a reading of one row token by token, and yields each token's text with the reading after it.

    The tokens are those of `continue_texts`, which explains the arguments.

    Raises:
      UserError: the reading has more than one row (`Reading.row` takes one of them), or as `continue_texts`.
    """
    length, seed = _check_arguments(sampler, length, seed)
    if len(reading.sample) != 1:
        raise UserError(f"expected a reading of one row to stream, see Reading.row; got {len(reading.sample)} rows")
    for _ in range(length):
        (gap,) = reading.gaps
        tokens, reading = generate_within_block(model, vocabulary, reading, sampler, seed, False, 1)
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
    """Continues each prefix several times, all side by side, and returns a list of samples for each prefix.

    Each sample is what the prefix would have alone. `generate` is this for one sample of one prefix.

    >>> vocabulary = tfrnn.Vocabulary.from_text("to be or not to be")
    >>> model = tfrnn.LanguageModel(tfrnn.RNN(tfrnn.GRUCell(8)), len(vocabulary))
    >>> samples = tfrnn.generate_many(model, vocabulary, ["to ", "be"], 5, 3, tfrnn.Sampler())
    >>> [[len(sample) for sample in of_prefix] for of_prefix in samples]
    [[8, 8, 8], [7, 7, 7]]

    Args:
      model: a LanguageModel, trained or not.
      vocabulary: the vocabulary that the model was trained with.
      prefixes: the texts to continue, at least one, cleaned as the training text was.
      length: the number of tokens to add to each.
      num_samples: the number of samples of each prefix.
      sampler: how each token is chosen; greedy by default.
      seed: fixes the random numbers of a sampler that draws.
      unknown: what to do with unknown tokens in a prefix: `error`, `unk` or `skip`.
    Raises:
      UserError: num_samples is below 1, or as `generate`.
    """
    if num_samples < 1:
        raise UserError(f"num_samples must be at least 1; got {num_samples}")
    reading = read_prefixes(model, vocabulary, prefixes, None, unknown).repeat(num_samples)
    continuations, _ = continue_texts(model, vocabulary, reading, length, sampler, seed)
    rows = iter(continuations)
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
    """Returns the prefix followed by `length` generated tokens.

    >>> vocabulary = tfrnn.Vocabulary.from_text("to be or not to be")
    >>> model = tfrnn.LanguageModel(tfrnn.RNN(tfrnn.GRUCell(8)), len(vocabulary))
    >>> sampler = tfrnn.Sampler(temperature=0.8, top_p=0.9)
    >>> text = tfrnn.generate(model, vocabulary, "to be", length=20, sampler=sampler, seed=1)
    >>> text[:5], len(text)
    ('to be', 25)

    Args:
      model: a LanguageModel, trained or not.
      vocabulary: the vocabulary that the model was trained with.
      prefix: the text to continue, cleaned as the training text was.
      length: the number of tokens to add.
      sampler: how each token is chosen; greedy by default.
      seed: fixes the random numbers of a sampler that draws.
      unknown: what to do with unknown tokens in the prefix: `error`, `unk` or `skip`.
    Raises:
      UserError: the prefix has no known token, or has an unknown one and `unknown` is `error`; a setting of the
        sampler is out of its range; the sampler, the length or the seed cannot be used.
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
    """Yields the text of each token as it is generated; joined to the prefix, they are what `generate` returns.

    (Up to rounding, if that is long enough to be compiled by XLA.) Arguments and errors are those of `generate`.

    >>> vocabulary = tfrnn.Vocabulary.from_text("to be or not to be")
    >>> model = tfrnn.LanguageModel(tfrnn.RNN(tfrnn.GRUCell(8)), len(vocabulary))
    >>> pieces = list(tfrnn.stream(model, vocabulary, "to ", length=5))
    >>> "to " + "".join(pieces) == tfrnn.generate(model, vocabulary, "to ", length=5)
    True
    """
    reading = read_prefixes(model, vocabulary, [prefix], None, unknown)
    for piece, _ in stream_on(model, vocabulary, reading, length, sampler, seed):
        yield piece
