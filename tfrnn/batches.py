"""Batches of a text, time-major, with tf.data: sequential and random (Dive into Deep Learning, section 8.3).

The same two cut a series of numbers, and a third kind takes sequences with a label for each step.
Batch k of epoch e is a function of (seed, e, k) alone, so going on after an interruption needs two integers.
Letters: T num_steps, B batch_size, N tokens, D values of a step of a series.
"""

import abc
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrnn.errors import UserError


class Batch(NamedTuple):
    """What a step reads. The one transpose to time-major is done where these are cut."""

    inputs: tf.Tensor  # int32 [T, B]; float32 [T, B, D] of a series
    targets: tf.Tensor  # the token, or the values, after each input; or its label
    reset: tf.Tensor  # bool [B], whether the row starts from a zero state


class Batches(abc.ABC):
    """An endless sequence of epochs of batches."""

    def __init__(self, batch_size: int, num_steps: int, seed: int):
        if batch_size < 1 or num_steps < 1:
            raise UserError(f"--batch_size and --num_steps must be at least 1; got {batch_size} and {num_steps}")
        self.batch_size, self.num_steps = batch_size, num_steps
        self._seed = seed
        self._counted: tuple[int, int] | None = (
            None  # an epoch and its number of batches, which is asked for repeatedly
        )

    def num_batches(self, epoch: int) -> int:
        """Batches in this epoch; it may differ by one between epochs."""
        if self._counted is None or self._counted[0] != epoch:
            self._counted = epoch, int(self._num_batches(self._offset(tf.constant(epoch, tf.int64))))
        return self._counted[1]

    def epoch(self, epoch: int) -> tf.data.Dataset:
        """The batches of one epoch."""
        return self.from_position(epoch, 0).take(self.num_batches(epoch))

    def from_position(self, epoch: int, batch: int) -> tf.data.Dataset:
        """All batches from batch `batch` of epoch `epoch` on, epoch after epoch without end."""

        def batches_of(e: tf.Tensor) -> tf.data.Dataset:
            offset = self._offset(e)
            first = tf.where(e == epoch, tf.constant(batch, tf.int64), 0)
            last = tf.cast(self._num_batches(offset), tf.int64)
            return tf.data.Dataset.range(first, last).map(lambda k: self._batch(e, offset, tf.cast(k, tf.int32)))

        epochs = tf.data.Dataset.range(epoch, tf.int64.max)
        options = tf.data.Options()
        # There is nothing to tune, and destroying an iterator waits for the tuning thread, which sleeps longer and
        # longer: up to twenty seconds after a run of half a minute (TensorFlow 2.21).
        options.autotune.enabled = False
        return epochs.flat_map(batches_of).prefetch(2).with_options(options)

    def _offset(self, epoch: tf.Tensor) -> tf.Tensor:
        """int32: what an epoch leaves out at the beginning."""
        return tf.constant(0)

    def _shuffled_rows(self, epoch: tf.Tensor, k: tf.Tensor, num_rows: tf.Tensor) -> tf.Tensor:
        """Which of an epoch's rows are in batch k, [B], in an order of its own for each epoch."""
        # A keyed permutation, computed where it is asked for: nothing of the corpus's size is shuffled in memory.
        # Its key must be well mixed: neighbouring epochs as keys give orders that are visibly alike.
        key = tf.random.stateless_uniform([2], [self._seed, epoch], None, None, tf.uint32)
        return tf.random.experimental.index_shuffle(k * self.batch_size + tf.range(self.batch_size), key, num_rows - 1)

    @abc.abstractmethod
    def _num_batches(self, offset: tf.Tensor) -> tf.Tensor:
        """int32: batches in an epoch with this offset."""

    @abc.abstractmethod
    def _batch(self, epoch: tf.Tensor, offset: tf.Tensor, k: tf.Tensor) -> Batch:
        """Batch k of the epoch."""


class _Windows(Batches):
    """Batches cut from one text or series; the target of a step is what comes after it."""

    def __init__(self, ids: npt.ArrayLike, batch_size: int, num_steps: int, seed: int = 0, random_offset: bool = True):
        super().__init__(batch_size, num_steps, seed)
        self._ids = _tensor(ids)
        self._random_offset = random_offset
        self._largest_offset = self._offset_bound() if random_offset else 0
        needed, found = self._tokens_needed(), self._ids.shape[0]
        if found < needed:
            what, unit = ("series", "values") if self._ids.dtype.is_floating else ("text", "tokens")
            raise UserError(
                f"{what} too short: {found} {unit}, but batches of {batch_size} rows of {num_steps} steps need "
                f"{needed}; take a longer {what} or smaller --batch_size or --num_steps"
            )

    def _offset(self, epoch: tf.Tensor) -> tf.Tensor:
        if not self._largest_offset:
            return tf.constant(0)
        return tf.random.stateless_uniform([], [self._seed, epoch], 0, self._largest_offset + 1, tf.int32)

    def _cut(self, starts: tf.Tensor, reset: tf.Tensor) -> Batch:
        """A batch whose row b begins at token starts[b]."""
        window = tf.gather(self._ids, starts[None, :] + tf.range(self.num_steps + 1)[:, None])  # [T + 1, B]
        return Batch(window[:-1], window[1:], reset)

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

    Args:
      ids: tokens, int32 [N]; or a series of numbers, float32 [N] or [N, D].
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
        return (self._ids.shape[0] - offset - behind) // self.batch_size

    def _num_batches(self, offset: tf.Tensor) -> tf.Tensor:
        inside = 0 if self._random_offset else 1
        return (self._stream_length(offset) - inside) // self.num_steps

    def _batch(self, epoch: tf.Tensor, offset: tf.Tensor, k: tf.Tensor) -> Batch:
        starts = offset + tf.range(self.batch_size) * self._stream_length(offset) + k * self.num_steps
        return self._cut(starts, tf.fill([self.batch_size], k == 0))


class random_batches(_Windows):  # noqa: N801
    """Windows of T tokens that never overlap, shuffled anew each epoch; every row starts from a zero state.

    Each epoch drops a number of leading tokens uniform in [0, T - 1]. Windows beyond the last full batch are
    left out of that epoch.

    Args and Raises: as sequential_batches; the seed also decides the order.
    """

    def _offset_bound(self) -> int:
        return self.num_steps - 1

    def _num_windows(self, offset: tf.Tensor) -> tf.Tensor:
        return (self._ids.shape[0] - offset - 1) // self.num_steps

    def _num_batches(self, offset: tf.Tensor) -> tf.Tensor:
        return self._num_windows(offset) // self.batch_size

    def _batch(self, epoch: tf.Tensor, offset: tf.Tensor, k: tf.Tensor) -> Batch:
        windows = self._shuffled_rows(epoch, k, self._num_windows(offset))
        return self._cut(offset + windows * self.num_steps, tf.fill([self.batch_size], True))


class labelled_batches(Batches):  # noqa: N801
    """Sequences of equal length with a label for each step, shuffled anew each epoch; every row starts from zero.

    Rows beyond the last full batch are left out of that epoch.

    Args:
      inputs: tokens, int32 [N, T]; or series, float32 [N, T, D].
      targets: what is to be learnt of each step, [N, T] or [N, T, D].
      batch_size: B.
      seed: decides the order.
    Raises:
      UserError: the two differ in length, or there are fewer than B sequences.
    """

    def __init__(self, inputs: npt.ArrayLike, targets: npt.ArrayLike, batch_size: int = 1, seed: int = 0):
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
        return tf.constant(self._inputs.shape[0] // self.batch_size)

    def _batch(self, epoch: tf.Tensor, offset: tf.Tensor, k: tf.Tensor) -> Batch:
        rows = self._shuffled_rows(epoch, k, tf.constant(self._inputs.shape[0]))
        inputs, targets = (_time_major(tf.gather(values, rows)) for values in (self._inputs, self._targets))
        return Batch(inputs, targets, tf.fill([self.batch_size], True))


def _time_major(rows: tf.Tensor) -> tf.Tensor:
    return tf.transpose(rows, [1, 0, *range(2, len(rows.shape))])


def _tensor(values: npt.ArrayLike, rank: int = 1) -> tf.Tensor:
    """Tokens as int32; numbers as float32, with the last axis for the values of a step."""
    values = np.asarray(values)
    if values.dtype.kind != "f":
        if values.ndim != rank:
            raise UserError(f"expected token ids of {rank} dimensions; got shape {values.shape}")
        return tf.constant(values, tf.int32)
    if values.ndim not in (rank, rank + 1):
        raise UserError(f"expected numbers of {rank} or {rank + 1} dimensions; got shape {values.shape}")
    return tf.constant(values if values.ndim == rank + 1 else values[..., None], tf.float32)
