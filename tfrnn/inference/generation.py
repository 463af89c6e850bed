"""Generation: a model reads a prefix; then each next token is chosen from its logits, and read in turn.

What stays the same meanwhile is a `TextGenerator`; what changes with each token is a `SamplingState`, and with each
call a `Reading`. The public functions make a generator and call one of its methods.

Letters: B rows (samples) side by side, V vocab_size, W recent tokens that a sampler asks for.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrnn.config import trained_run
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import UserError
from tfrnn.inference import records, samplers
from tfrnn.inference.reading import MAX_RECENT, Reading, read_prefixes
from tfrnn.inference.records import Ending, Sample
from tfrnn.inference.samplers import GREEDY, Choosing, Sampler
from tfrnn.layers.model_protocol import with_weights_read
from tfrnn.layers.state import State, join_rows, split_rows
from tfrnn.runtime import execution, threads

# Tokens are generated in blocks of at most this many. Each block draws its own random numbers, so that with another
# size the same seed would generate another text.
BLOCK_SIZE = 1024
# From this length on, XLA saves more time on a few samples than the half second that it takes to compile.
MIN_LENGTH_FOR_XLA = 1000
TOKENS_BETWEEN_STOPS = 64  # generated before the texts are searched for the one at which they end


class SamplingState(NamedTuple):
    """What the next token depends on."""

    logits: tf.Tensor  # [B, V], of the next token
    state: State  # of the model, after the last token
    recent: tf.Tensor  # int32 [B, W], the last tokens


@dataclasses.dataclass(frozen=True)
class TextGenerator:
    """A model that generates texts, and all that the texts depend on besides what the model has read.

    The attributes are arguments of `generate`, which explains them.

    Raises:
      UserError: the sampler or the seed cannot be used.
    """

    model: Any
    vocabulary: Vocabulary
    sampler: Choosing = GREEDY
    seed: int = 0
    unknown: str = "error"
    stop: str = ""
    _traces: dict[tuple[int, bool], Any] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        _check_sampler(self.sampler)
        _whole_number("seed", self.seed)

    @functools.cached_property
    def _stop(self) -> str:
        """`stop` as the vocabulary writes it."""
        return records.as_written(self.vocabulary, self.stop)

    def read(self, prefixes: Sequence[str], after: Reading | None = None) -> Reading:
        """Reads texts side by side: see `read_prefixes`. An empty one begins after `stop`, or after a line end."""
        if isinstance(prefixes, (list, tuple)) and after is None:
            prefixes = [prefix or self.stop or self.vocabulary.line_end for prefix in prefixes]
        return read_prefixes(self.model, self.vocabulary, prefixes, after, self.unknown)

    def generate(self, prefixes: Sequence[str], length: int, num_samples: int = 1) -> list[list[str]]:
        """Continues each prefix several times, all side by side: see `generate_many`."""
        return [[sample.text for sample in of_prefix] for of_prefix in self.samples(prefixes, length, num_samples)]

    def samples(self, prefixes: Sequence[str], length: int, num_samples: int = 1) -> list[list[Sample]]:
        """Returns what `generate` does, with the record of each sample that came to `stop`."""
        if num_samples < 1:
            raise UserError(f"`num_samples` must be at least 1; got {num_samples}")
        reading = self.read(prefixes).repeat(num_samples)
        if self.stop:
            before = [records.as_written(self.vocabulary, prefix) for prefix in prefixes for _ in range(num_samples)]
            rows = iter(self._extend_to_stop(before, reading, length))
        else:
            rows = iter([Sample(text) for text in self.extend(reading, length)[0]])
        samples = [[next(rows) for _ in range(num_samples)] for _ in prefixes]
        return [
            [sample._replace(text=prefix + sample.text) for sample in of_prefix]
            for prefix, of_prefix in zip(prefixes, samples, strict=True)
        ]

    def _extend_to_stop(self, before: Sequence[str], reading: Reading, length: int) -> list[Sample]:
        """Returns the continuation of each row by at most `length` tokens, up to the first `stop` that ends in it."""
        length, endings = _whole_number("length", length), [Ending(self._stop, text) for text in before]
        texts = [""] * len(endings)
        while length and not all(ending.is_reached for ending in endings):
            count = min(length, TOKENS_BETWEEN_STOPS)
            pieces, reading = self.extend(reading, count)
            length -= count
            texts = [text + ending.feed(piece) for text, ending, piece in zip(texts, endings, pieces, strict=True)]
        texts = [text + ending.rest() for text, ending in zip(texts, endings, strict=True)]
        return [Sample(text, ending.record(text)) for text, ending in zip(texts, endings, strict=True)]

    def extend(self, reading: Reading, length: int) -> tuple[list[str], Reading]:
        """Generates the next `length` tokens of each row: see `continue_texts`."""
        length = _whole_number("length", length)
        rows, gaps, end = len(reading.sample), reading.gaps, reading.generated + length
        if not length:
            return [""] * rows, reading
        use_xla = execution.jit_by_default() or (rows < threads.MIN_ROWS_PER_CHAIN and length >= MIN_LENGTH_FOR_XLA)
        blocks = []
        while remaining := end - reading.generated:
            tokens, reading = self.extend_within_block(reading, remaining, use_xla)
            blocks.append(tokens)
        rows_of_tokens = np.concatenate(blocks).T
        texts = [self.vocabulary.decode_after(gap, ids) for gap, ids in zip(gaps, rows_of_tokens, strict=True)]
        return texts, reading

    def stream(self, reading: Reading, length: int, prefix: str = "") -> Iterator[tuple[str, Reading]]:
        """Continues a reading of one row token by token: see `stream_on`. `stop` may begin in the prefix."""
        length = _whole_number("length", length)
        if len(reading.sample) != 1:
            raise UserError(f"expected a reading of one row to stream, see Reading.row; got {len(reading.sample)} rows")
        ending = Ending(self._stop, records.as_written(self.vocabulary, prefix))
        for _ in range(length):
            (gap,) = reading.gaps
            tokens, reading = self.extend_within_block(reading, 1)
            yield ending.feed(self.vocabulary.decode_after(gap, tokens[:, 0])), reading
            if ending.is_reached:
                return
        if held := ending.rest():
            yield held, reading

    def extend_within_block(self, reading: Reading, length: int, use_xla: bool = False) -> tuple[np.ndarray, Reading]:
        """Generates the next tokens, `length` of them or as many as are left of the current block.

        Args:
          reading: what the model has read so far.
          length: the largest number of tokens to generate, at least 1.
          use_xla: whether XLA compiles the loop over tokens, if it can compile the cell and the sampler.
        Returns:
          Tokens, int32 [n, B], and the reading after them.
        """
        block, begin = divmod(reading.generated, BLOCK_SIZE)
        end = min(begin + length, BLOCK_SIZE)
        recent = reading.recent[:, MAX_RECENT - _window(self.sampler) :]
        before = SamplingState(reading.logits, reading.state, tf.constant(recent))
        seed_and_range = tf.constant([self.seed, block, begin, end], tf.int32)
        arguments = self.model, self.sampler, use_xla, before, reading.sample, seed_and_range
        kind = len(reading.sample), use_xla
        try:
            if kind not in self._traces:  # TensorFlow takes a third of the time of a streamed token to find it again
                self._traces[kind] = generate_tokens.trace(*arguments)
            tokens, after = self._traces[kind](*arguments)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            if not use_xla:
                raise
            return self.extend_within_block(reading, length)
        tokens = tokens.numpy()
        gaps = tuple(map(self.vocabulary.gap_after, tokens[-1]))
        return tokens, reading.advanced(tokens, after.logits, after.state, gaps)


def _window(sampler: Choosing) -> int:
    """Returns W."""
    return getattr(sampler, "window", 0)


def _check_sampler(sampler: Any) -> None:
    """Raises UserError if an object cannot be used as a sampler."""
    if isinstance(sampler, Sampler):
        trained_run.Sampling(**sampler._asdict())
    if isinstance(sampler, type) or not callable(getattr(sampler, "choose", None)):
        raise UserError(f"a sampler must be an object with a method choose(logits, uniform, recent); got {sampler!r}")
    if type(sampler).__hash__ is None:
        raise UserError(f"a sampler must be hashable, as it is compiled: make its dataclass frozen; got {sampler!r}")
    if _window(sampler) > MAX_RECENT:
        raise UserError(f"a sampler's `window` must be at most {MAX_RECENT} tokens; got {_window(sampler)}")


def _whole_number(name: str, number: Any) -> int:
    """Returns a number as a Python integer. Raises UserError if it is not one, or is out of range."""
    if not isinstance(number, (int, np.integer)) or not 0 <= number < 2**31:
        raise UserError(f"`{name}` must be a whole number of at least 0 and below {2**31}; got {number!r}")
    return int(number)


@execution.tf_function()
def generate_tokens(
    model: Any, sampler: Choosing, use_xla: bool, before: SamplingState, sample: tf.Tensor, seed_and_range: tf.Tensor
) -> tuple[tf.Tensor, SamplingState]:
    """Generates some tokens of one block, for all rows.

    The random numbers of a row depend only on the seed, its sample and the block, not on the other rows. They are drawn
    for the whole block, and outside of what XLA compiles, because XLA would draw others.

    Args:
      model, sampler: as for `generate`.
      use_xla: whether XLA compiles the loop over tokens.
      before: what the first of these tokens depends on.
      sample: which sample of its prefix each row is, int64 [B].
      seed_and_range: seed, number of the block, and positions in the block, begin and end; int32 [4].
    Returns:
      Tokens, int32 [end - begin, B], and what the token after them depends on.
    """
    seed, block, begin, end = tf.unstack(seed_and_range)
    rows = before.logits.shape[0]
    uniform = tf.ensure_shape(_draw_block(seed, block, sample), [BLOCK_SIZE, rows])
    choose_and_read: Any = functools.partial(_choose_and_read, model, sampler)
    if use_xla:
        choose_and_read = tf.function(choose_and_read, autograph=False, jit_compile=True)
        uniform = tf.roll(uniform, -begin, 0)  # not cut, since XLA needs a constant shape
    else:
        uniform = uniform[begin:end]
    chains = threads.num_chains(rows)
    parts: Any = zip(split_rows(before, chains), tf.split(uniform, chains, 1), strict=True)
    tokens, after = zip(*[choose_and_read(*part, end - begin) for part in parts], strict=True)
    return tf.concat(tokens, 1)[: end - begin], SamplingState(*join_rows(list(after)))


def _draw_block(seed: tf.Tensor, block: tf.Tensor, sample: tf.Tensor) -> tf.Tensor:
    """Returns random numbers from 0 to 1 for all tokens of a block, [BLOCK_SIZE, B]."""

    def draw_for_row(row_sample: tf.Tensor) -> tf.Tensor:
        row_seed = tf.stack([tf.cast(seed, tf.int64), row_sample * 2**31 + tf.cast(block, tf.int64)])
        return tf.random.stateless_uniform([BLOCK_SIZE], row_seed)

    return tf.transpose(tf.map_fn(draw_for_row, sample, fn_output_signature=tf.TensorSpec([BLOCK_SIZE], tf.float32)))


def _choose_and_read(
    model: Any, sampler: Choosing, before: SamplingState, uniform: tf.Tensor, length: tf.Tensor
) -> tuple[tf.Tensor, SamplingState]:
    """Chooses each token, and lets the model read it.

    Args:
      model, sampler: as for `generate`.
      before: what the first token depends on.
      uniform: a random number for each token, [N, B].
      length: the number of tokens to generate, at most N.
    Returns:
      Tokens, int32 [N, B], of which the first `length` are valid, and what the token after them depends on.
    """
    read = with_weights_read(model)

    def body(i: tf.Tensor, now: SamplingState, tokens: tf.TensorArray) -> tuple:
        token = tf.cast(sampler.choose(samplers.without_unknown(now.logits), uniform[i], now.recent), tf.int32)
        if not token.shape.is_compatible_with(uniform.shape[1:]):
            raise UserError(
                f"a sampler must choose a token for each row, [{uniform.shape[1]}]; got shape {token.shape}"
            )
        recent = tf.concat([now.recent[:, 1:], token[:, None]], 1) if now.recent.shape[1] else now.recent
        logits, state = read(token[None], now.state, training=False)
        return i + 1, SamplingState(logits[0], state, recent), tokens.write(i, token)

    tokens = tf.TensorArray(tf.int32, tf.shape(uniform)[0], element_shape=[uniform.shape[1]])
    _, after, tokens = tf.while_loop(lambda i, *_: i < length, body, (0, before, tokens))
    return tokens.stack(), after


def continue_texts(
    model: Any, vocabulary: Vocabulary, reading: Reading, length: int = 50, sampler: Choosing = GREEDY, seed: int = 0
) -> tuple[list[str], Reading]:
    """Generates the next `length` tokens of each row, and returns them with the reading after them.

    Continuing twice generates the same text as continuing once by the sum of the lengths (up to rounding, if that is
    long enough to be compiled by XLA). See `read_prefixes` for an example.

    Args:
      model: a LanguageModel, or another model of the form that `Trainer` describes; trained or not.
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
    return TextGenerator(model, vocabulary, sampler, seed).extend(reading, length)


def stream_on(
    model: Any, vocabulary: Vocabulary, reading: Reading, length: int = 50, sampler: Choosing = GREEDY, seed: int = 0
) -> Iterator[tuple[str, Reading]]:
    """Continues a reading of one row token by token, and yields each token's text with the reading after it.

    The tokens are those of `continue_texts`, which explains the arguments.

    Raises:
      UserError: the reading has more than one row (`Reading.row` takes one of them), or as `continue_texts`.
    """
    return TextGenerator(model, vocabulary, sampler, seed).stream(reading, length)


def generate_many(
    model: Any,
    vocabulary: Vocabulary,
    prefixes: Sequence[str],
    length: int = 50,
    num_samples: int = 1,
    sampler: Choosing = GREEDY,
    seed: int = 0,
    unknown: str = "error",
    stop: str = "",
) -> list[list[str]]:
    """Continues each prefix several times, all side by side, and returns a list of samples for each prefix.

    Each sample is what the prefix would have alone. `generate` is this for one sample of one prefix.

    >>> vocabulary = tfrnn.Vocabulary.from_text("to be or not to be")
    >>> model = tfrnn.LanguageModel(tfrnn.GRUCell(8), len(vocabulary))
    >>> samples = tfrnn.generate_many(model, vocabulary, ["to ", "be"], 5, 3, tfrnn.Sampler())
    >>> [[len(sample) for sample in of_prefix] for of_prefix in samples]
    [[8, 8, 8], [7, 7, 7]]

    Args:
      model: a LanguageModel, or another model of the form that `Trainer` describes; trained or not.
      vocabulary: the vocabulary that the model was trained with.
      prefixes: the texts to continue, at least one, cleaned as the training text was.
      length: the number of tokens to add to each, or, with `stop`, the largest.
      num_samples: the number of samples of each prefix.
      sampler: how each token is chosen; greedy by default.
      seed: fixes the random numbers of a sampler that draws.
      unknown: what to do with unknown tokens in a prefix: `error`, `unk` or `skip`.
      stop: a text before which a sample ends, such as a line end if the texts are lines; it may begin in the prefix,
        which then is all of the sample. An empty prefix begins after it, or else after a line end.
    Raises:
      UserError: num_samples is below 1, or as `generate`.
    """
    return TextGenerator(model, vocabulary, sampler, seed, unknown, stop).generate(prefixes, length, num_samples)


def generate(
    model: Any,
    vocabulary: Vocabulary,
    prefix: str,
    length: int = 50,
    sampler: Choosing = GREEDY,
    seed: int = 0,
    unknown: str = "error",
    stop: str = "",
) -> str:
    """Returns the prefix followed by `length` generated tokens.

    >>> vocabulary = tfrnn.Vocabulary.from_text("to be or not to be")
    >>> model = tfrnn.LanguageModel(tfrnn.GRUCell(8), len(vocabulary))
    >>> sampler = tfrnn.Sampler(temperature=0.8, top_p=0.9)
    >>> text = tfrnn.generate(model, vocabulary, "to be", length=20, sampler=sampler, seed=1)
    >>> text[:5], len(text)
    ('to be', 25)

    Args:
      model: a LanguageModel, or another model of the form that `Trainer` describes; trained or not.
      vocabulary: the vocabulary that the model was trained with.
      prefix: the text to continue, cleaned as the training text was.
      length: the number of tokens to add, or, with `stop`, the largest.
      sampler: how each token is chosen; greedy by default.
      seed: fixes the random numbers of a sampler that draws.
      unknown: what to do with unknown tokens in the prefix: `error`, `unk` or `skip`.
      stop: a text before which a sample ends, such as a line end if the texts are lines; it may begin in the prefix,
        which then is all of the sample. An empty prefix begins after it, or else after a line end.
    Raises:
      UserError: the prefix has no known token, or has an unknown one and `unknown` is `error`; a setting of the
        sampler is out of its range; the sampler, the length or the seed cannot be used.
    """
    return TextGenerator(model, vocabulary, sampler, seed, unknown, stop).generate([prefix], length)[0][0]


def stream(
    model: Any,
    vocabulary: Vocabulary,
    prefix: str,
    length: int = 50,
    sampler: Choosing = GREEDY,
    seed: int = 0,
    unknown: str = "error",
    stop: str = "",
) -> Iterator[str]:
    """Yields the text of each token as it is generated; joined to the prefix, they are what `generate` returns.

    (Up to rounding, if that is long enough to be compiled by XLA.) Arguments and errors are those of `generate`.

    >>> vocabulary = tfrnn.Vocabulary.from_text("to be or not to be")
    >>> model = tfrnn.LanguageModel(tfrnn.GRUCell(8), len(vocabulary))
    >>> pieces = list(tfrnn.stream(model, vocabulary, "to ", length=5))
    >>> "to " + "".join(pieces) == tfrnn.generate(model, vocabulary, "to ", length=5)
    True
    """
    generator = TextGenerator(model, vocabulary, sampler, seed, unknown, stop)
    for piece, _ in generator.stream(generator.read([prefix]), length, prefix):
        yield piece
