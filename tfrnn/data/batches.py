"""Batches of a text, time-major, with tf.data: sequential and random (Dive into Deep Learning, section 8.3).

The same two cut a series of numbers, and a third kind takes sequences with a label for each step.
Batch k of epoch e is a function of (seed, e, k) alone, so going on after an interruption needs two integers, and each
worker of several can cut its own rows of it.
Letters: T num_steps, B batch_size, N tokens, D values of a step of a series; n batches that are cut in one go.
"""

import abc
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrnn.data.stored_ids import StoredIds
from tfrnn.errors import UserError

READ_TOKENS = 2**16  # about so many tokens of a file are read in one go


class Batch(NamedTuple):
    """What a step reads. The one transpose to time-major is done where these are cut.

    Attributes:
      inputs: tokens, int32 [T, B]; of a series, float32 [T, B, D].
      targets: what comes after each input, as the inputs; or its label, [T, B] or [T, B, D].
      reset: bool [B], whether the row starts from a zero state.
    """

    inputs: tf.Tensor
    targets: tf.Tensor
    reset: tf.Tensor


class Batches(abc.ABC):
    """An endless sequence of epochs of batches: what sequential_batches, random_batches and labelled_batches are."""

    def __init__(self, batch_size: int, num_steps: int, seed: int):
        if batch_size < 1 or num_steps < 1:
            raise UserError(f"--batch_size and --num_steps must be at least 1; got {batch_size} and {num_steps}")
        self.batch_size, self.num_steps = batch_size, num_steps
        self._seed = seed
        self.failure: UserError | None = None  # what went wrong in reading, in another thread
        self._counted: tuple[int, int] | None = (
            None  # an epoch and its number of batches, which is asked for repeatedly
        )

    def num_batches(self, epoch: int) -> int:
        """Batches in this epoch; it may differ by one between epochs."""
        if self._counted is None or self._counted[0] != epoch:
            self._counted = epoch, int(self._num_batches(self._offset(tf.constant(epoch, tf.int64))))
        return self._counted[1]

    def epoch(self, epoch: int) -> tf.data.Dataset:
        """The batches of one epoch, counted from 0: a tf.data.Dataset of `Batch`."""
        return self.from_position(epoch, 0).take(self.num_batches(epoch))

    def from_position(self, epoch: int, batch: int, rows: range | None = None) -> tf.data.Dataset:
        """All batches from batch `batch` of epoch `epoch` on, epoch after epoch without end; of each, these rows."""
        rows = rows or range(self.batch_size)
        in_one_go = self._batches_in_one_go(len(rows))

        def batches_of(e: tf.Tensor) -> tf.data.Dataset:
            offset = self._offset(e)
            first = tf.where(e == epoch, tf.constant(batch, tf.int64), 0)
            numbers = tf.data.Dataset.range(first, self._num_batches(offset))
            if in_one_go == 1:
                return numbers.map(lambda k: self._batches(e, offset, k, rows))
            return numbers.batch(in_one_go).map(lambda k: self._batches(e, offset, k, rows)).unbatch()

        epochs = tf.data.Dataset.range(epoch, tf.int64.max)
        options = tf.data.Options()
        # There is nothing to tune, and destroying an iterator waits for the tuning thread, which sleeps longer and
        # longer: up to twenty seconds after a run of half a minute (TensorFlow 2.21).
        options.autotune.enabled = False
        return epochs.flat_map(batches_of).prefetch(2).with_options(options)

    def _offset(self, epoch: tf.Tensor) -> tf.Tensor:
        """int64: what an epoch leaves out at the beginning."""
        return tf.constant(0, tf.int64)

    def _batches_in_one_go(self, num_rows: int) -> int:
        """How many batches of so many rows are best cut together."""
        return 1

    def _shuffled_rows(self, epoch: tf.Tensor, k: tf.Tensor, rows: range, num_rows: tf.Tensor) -> tf.Tensor:
        """Which of an epoch's rows are these rows of batch k, [rows], in an order of its own for each epoch."""
        # A keyed permutation, computed where it is asked for: nothing of the corpus's size is shuffled in memory.
        # Its key must be well mixed: neighbouring epochs as keys give orders that are visibly alike.
        key = tf.random.stateless_uniform([2], [self._seed, epoch], None, None, tf.uint32)
        numbers = k[..., None] * self.batch_size + _numbers(rows)
        if len(numbers.shape) == 1:
            return tf.random.experimental.index_shuffle(numbers, key, num_rows - 1)
        shuffled = tf.random.experimental.index_shuffle(tf.reshape(numbers, [-1]), key, num_rows - 1)
        return tf.reshape(shuffled, [-1, len(rows)])

    @abc.abstractmethod
    def _num_batches(self, offset: tf.Tensor) -> tf.Tensor:
        """int64: batches in an epoch with this offset."""

    @abc.abstractmethod
    def _batches(self, epoch: tf.Tensor, offset: tf.Tensor, k: tf.Tensor, rows: range) -> Batch:
        """These rows of batch k of the epoch; of batches k, [n], each part with an axis for n before its own."""


class _Windows(Batches):
    """Batches cut from one text or series; the target of a step is what comes after it."""

    def __init__(
        self,
        ids: np.ndarray | Sequence | StoredIds,
        batch_size: int,
        num_steps: int,
        seed: int = 0,
        random_offset: bool = True,
    ):
        super().__init__(batch_size, num_steps, seed)
        self._ids = ids if isinstance(ids, StoredIds) else _tensor(ids)
        self._random_offset = random_offset
        self._largest_offset = self._offset_bound() if random_offset else 0
        needed, found = self._tokens_needed(), len(self._ids)
        if found < needed:
            series = isinstance(self._ids, tf.Tensor) and self._ids.dtype.is_floating
            what, unit = ("series", "values") if series else ("text", "tokens")
            raise UserError(
                f"{what} too short: {found} {unit}, but batches of {batch_size} rows of {num_steps} steps need "
                f"{needed}; take a longer {what} or smaller --batch_size or --num_steps"
            )

    def _offset(self, epoch: tf.Tensor) -> tf.Tensor:
        if not self._largest_offset:
            return tf.constant(0, tf.int64)
        offset = tf.random.stateless_uniform([], [self._seed, epoch], 0, self._largest_offset + 1, tf.int32)
        return tf.cast(offset, tf.int64)

    def _batches_in_one_go(self, num_rows: int) -> int:
        if isinstance(self._ids, tf.Tensor):
            return 1
        return max(1, READ_TOKENS // (num_rows * (self.num_steps + 1)))

    def _cut(self, starts: tf.Tensor, reset: tf.Tensor) -> Batch:
        """The batch whose rows begin at the tokens `starts`, [rows]; of batches, [n, rows]."""
        if isinstance(self._ids, tf.Tensor):
            window = tf.gather(self._ids, starts[..., None, :] + tf.range(self.num_steps + 1, dtype=tf.int64)[:, None])
        else:
            window = tf.numpy_function(self._read, [starts], self._ids.dtype, stateful=False)
            window = tf.linalg.matrix_transpose(tf.ensure_shape(window, [*starts.shape, self.num_steps + 1]))
            window = tf.cast(window, tf.int32)
        if len(starts.shape) == 1:  # window: [T + 1, rows], and D of a series
            return Batch(window[:-1], window[1:], reset)
        return Batch(window[:, :-1], window[:, 1:], reset)

    def _read(self, starts: np.ndarray) -> np.ndarray:
        """[..., T + 1], from a file."""
        assert isinstance(self._ids, StoredIds)
        try:
            return self._ids.read(starts, self.num_steps + 1)
        except UserError as error:
            self.failure = error
            raise

    @abc.abstractmethod
    def _offset_bound(self) -> int:
        """The largest random offset."""

    def _tokens_needed(self) -> int:
        """So many tokens give a batch with any offset."""
        return self.batch_size * self.num_steps + self._largest_offset + 1


class sequential_batches(_Windows):  # noqa: N801 (called as the book calls its function)
    """Row b is one contiguous stream: it goes on in batch k + 1 where batch k ended.

    Each epoch skips an offset uniform in [0, T], and cuts the rest into B streams of equal length, behind which one
    token more is the last target. The state is to be carried from batch to batch, and starts from zero with each epoch.
    Without an offset the streams are those of the book's first edition: N // B tokens each, the last target included.

    >>> batches = tfrnn.sequential_batches(np.arange(20), 2, 4, random_offset=False)
    >>> for inputs, targets, reset in batches.epoch(0):
    ...     print(*inputs.numpy().T.tolist(), reset.numpy().tolist())  # the two rows
    [0, 1, 2, 3] [10, 11, 12, 13] [True, True]
    [4, 5, 6, 7] [14, 15, 16, 17] [False, False]

    Args:
      ids: tokens, int32 [N], in memory or in a file; or a series of numbers, float32 [N] or [N, D].
      batch_size, num_steps: B and T.
      seed: decides the offsets.
      random_offset: whether there are offsets; without, every epoch is the same.
    Raises:
      UserError: the text is too short for one batch.
    """

    def _offset_bound(self) -> int:
        return self.num_steps

    def _tokens_needed(self) -> int:
        return super()._tokens_needed() if self._random_offset else self.batch_size * (self.num_steps + 1)

    def _stream_length(self, offset: tf.Tensor) -> tf.Tensor:
        behind = 1 if self._random_offset else 0
        return (len(self._ids) - offset - behind) // self.batch_size

    def _num_batches(self, offset: tf.Tensor) -> tf.Tensor:
        inside = 0 if self._random_offset else 1
        return (self._stream_length(offset) - inside) // self.num_steps

    def _batches(self, epoch: tf.Tensor, offset: tf.Tensor, k: tf.Tensor, rows: range) -> Batch:
        starts = offset + _numbers(rows) * self._stream_length(offset) + k[..., None] * self.num_steps
        return self._cut(starts, tf.repeat(k[..., None] == 0, len(rows), -1))


class random_batches(_Windows):  # noqa: N801
    """Windows of T tokens that never overlap, shuffled anew each epoch; every row starts from a zero state.

    Each epoch drops a number of leading tokens uniform in [0, T - 1]. Windows beyond the last full batch are
    left out of that epoch.

    >>> batches = tfrnn.random_batches(np.arange(20), 2, 4, random_offset=False)
    >>> for inputs, targets, reset in batches.epoch(0):
    ...     print(*inputs.numpy().T.tolist(), reset.numpy().tolist())  # the two rows
    [4, 5, 6, 7] [12, 13, 14, 15] [True, True]
    [0, 1, 2, 3] [8, 9, 10, 11] [True, True]

    Args:
      ids: tokens, int32 [N], in memory or in a file; or a series of numbers, float32 [N] or [N, D].
      batch_size, num_steps: B and T.
      seed: decides the offsets and the order.
      random_offset: whether leading tokens are dropped.
    Raises:
      UserError: the text is too short for one batch.
    """

    def _offset_bound(self) -> int:
        return self.num_steps - 1

    def _num_windows(self, offset: tf.Tensor) -> tf.Tensor:
        return (len(self._ids) - offset - 1) // self.num_steps

    def _num_batches(self, offset: tf.Tensor) -> tf.Tensor:
        return self._num_windows(offset) // self.batch_size

    def _batches(self, epoch: tf.Tensor, offset: tf.Tensor, k: tf.Tensor, rows: range) -> Batch:
        windows = self._shuffled_rows(epoch, k, rows, self._num_windows(offset))
        return self._cut(offset + windows * self.num_steps, tf.ones_like(windows, tf.bool))


class labelled_batches(Batches):  # noqa: N801
    """Sequences of equal length with a label for each step, shuffled anew each epoch; every row starts from zero.

    Rows beyond the last full batch are left out of that epoch.

    >>> vocabulary = tfrnn.Vocabulary.from_text("hello")
    >>> inputs, targets = vocabulary.encode("hello"), vocabulary.encode("ohlol")  # [5] each
    >>> (batch,) = tfrnn.labelled_batches(inputs[None], targets[None]).epoch(0)  # of one sequence
    >>> vocabulary.decode(batch.targets[:, 0])
    'ohlol'

    Args:
      inputs: tokens, int32 [N, T]; or series, float32 [N, T, D].
      targets: what is to be learnt of each step, [N, T] or [N, T, D].
      batch_size: B.
      seed: decides the order.
    Raises:
      UserError: the two differ in length, or there are fewer than B sequences.
    """

    def __init__(
        self, inputs: np.ndarray | Sequence, targets: np.ndarray | Sequence, batch_size: int = 1, seed: int = 0
    ):
        self._inputs, self._targets = (_tensor(rows, 2) for rows in (inputs, targets))
        if self._inputs.shape[:2] != self._targets.shape[:2]:
            raise UserError(
                "expected a label for each step of each sequence, inputs [N, T] and targets [N, T]; got shapes "
                f"{tuple(self._inputs.shape)} and {tuple(self._targets.shape)}"
            )
        num_rows, num_steps = self._inputs.shape[:2]
        super().__init__(batch_size, num_steps, seed)
        if num_rows < batch_size:
            raise UserError(f"expected at least --batch_size={batch_size} sequences; got {num_rows}")

    def _num_batches(self, offset: tf.Tensor) -> tf.Tensor:
        return tf.constant(self._inputs.shape[0] // self.batch_size, tf.int64)

    def _batches(self, epoch: tf.Tensor, offset: tf.Tensor, k: tf.Tensor, rows: range) -> Batch:
        chosen = self._shuffled_rows(epoch, k, rows, tf.constant(self._inputs.shape[0], tf.int64))
        inputs, targets = (_time_major(tf.gather(values, chosen)) for values in (self._inputs, self._targets))
        return Batch(inputs, targets, tf.ones_like(chosen, tf.bool))


def _numbers(rows: range) -> tf.Tensor:
    return tf.range(rows.start, rows.stop, dtype=tf.int64)


def _time_major(rows: tf.Tensor) -> tf.Tensor:
    """[B, T, ...] to [T, B, ...]."""
    return tf.transpose(rows, [1, 0, *range(2, len(rows.shape))])


def _tensor(values: np.ndarray | Sequence, rank: int = 1) -> tf.Tensor:
    """Tokens as int32; numbers as float32, with the last axis for the values of a step."""
    values = np.asarray(values)
    if values.dtype.kind != "f":
        if values.ndim != rank:
            raise UserError(f"expected token ids of {rank} dimensions; got shape {values.shape}")
        return tf.constant(values, tf.int32)
    if values.ndim not in (rank, rank + 1):
        raise UserError(f"expected numbers of {rank} or {rank + 1} dimensions; got shape {values.shape}")
    return tf.constant(values if values.ndim == rank + 1 else values[..., None], tf.float32)
