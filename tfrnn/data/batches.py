"""Batches of a text, time-major, with tf.data: sequential and random (Dive into Deep Learning, section 8.3).

Both kinds also cut a series of numbers; a third kind takes sequences with a label for each step. Batch k of epoch e is
a function of (seed, e, k) alone. Training therefore resumes from two integers, and each of several workers can cut its
own rows of a batch. `as_batches` takes what Keras's fit takes: arrays and datasets, whose rows are [B, T].
Letters: T num_steps, B batch_size, N the number of tokens, D the number of values in a step of a series, n the number
of batches that are cut together.
"""

import abc
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrnn.data import window_counts
from tfrnn.data.stored_ids import StoredIds
from tfrnn.errors import UserError

TOKENS_PER_READ = 2**16  # of a file, about
KERAS_BATCH_SIZE = 32  # of arrays that are given without one, as in Keras's fit


class Batch(NamedTuple):
    """One batch, time-major: what one training step reads.

    Attributes:
      inputs: tokens, int32 [T, B]; or values of a series, float32 [T, B, D].
      targets: the token or values after each input, in the shape of the inputs; or a label for each step, [T, B] or
        [T, B, D].
      reset: bool [B], whether the row starts from a zero state.
    """

    inputs: tf.Tensor
    targets: tf.Tensor
    reset: tf.Tensor


class MaskedBatch(NamedTuple):
    """A batch of sequences of several lengths, padded at their ends.

    Attributes:
      inputs, targets, reset: as in `Batch`.
      mask: bool [T, B], False for padding, which counts neither in the loss nor in the state.
    """

    inputs: tf.Tensor
    targets: tf.Tensor
    reset: tf.Tensor
    mask: tf.Tensor


class Batches(abc.ABC):
    """An endless sequence of epochs of batches.

    `sequential_batches`, `random_batches`, `labelled_batches` and `as_batches` return objects of this class.

    Attributes:
      batch_size, num_steps: B and T.
      failure: the error that stopped reading from a file, or None. tf.data reads in another thread and reports an
        error there without its type.
    """

    def __init__(self, batch_size: int, num_steps: int):
        if batch_size < 1 or num_steps < 1:
            raise UserError(f"`batch_size` and `num_steps` must be at least 1; got {batch_size} and {num_steps}")
        self.batch_size, self.num_steps = batch_size, num_steps
        self.failure: UserError | None = None

    @property
    def in_memory(self) -> dict[str, tf.Tensor]:
        """What is in memory of the batches' parts, by their names, `inputs` and `targets`; {} if they are read."""
        return {}

    @abc.abstractmethod
    def num_batches(self, epoch: int) -> int:
        """Returns the number of batches in an epoch, counted from 0; it may differ by one between epochs."""

    def continues(self, epoch: int) -> bool:
        """Returns whether an epoch continues where the one before it ended, with its state."""
        return False

    def epoch(self, epoch: int) -> tf.data.Dataset:
        """Returns the batches of one epoch, counted from 0, as a tf.data.Dataset of `Batch` or `MaskedBatch`."""
        n = self.num_batches(epoch)
        return self.from_position(epoch, 0).take(n).apply(tf.data.experimental.assert_cardinality(n))

    @abc.abstractmethod
    def from_position(self, epoch: int, batch: int, rows: range | None = None) -> tf.data.Dataset:
        """Returns all batches from a position on, epoch after epoch without end.

        Args:
          epoch, batch: the position of the first batch, both counted from 0.
          rows: the rows of each batch that are cut; None: all.
        Returns:
          A tf.data.Dataset of `Batch` or `MaskedBatch`.
        """


class _CutBatches(Batches):
    """Batches cut from arrays or files, which `_cut_batches` cuts, given a pass over them and a number."""

    def __init__(self, batch_size: int, num_steps: int, seed: int, epochs_per_pass: int = 1):
        super().__init__(batch_size, num_steps)
        if epochs_per_pass < 1:
            raise UserError(f"`epochs_per_pass` must be at least 1; got {epochs_per_pass}")
        self._seed, self._epochs_per_pass = seed, epochs_per_pass
        self._last_count: tuple[int, int] | None = None  # an epoch and its number of batches

    def num_batches(self, epoch: int) -> int:
        if self._last_count is None or self._last_count[0] != epoch:
            first, end = self._numbers(tf.constant(epoch, tf.int64))
            self._last_count = epoch, int(end - first)
        return self._last_count[1]

    def _numbers(self, epoch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the numbers of an epoch's first batch and of that after its last, both counted within the pass."""
        num_batches, piece = (
            self._num_batches(self._offset(epoch // self._epochs_per_pass)),
            epoch % self._epochs_per_pass,
        )
        return piece * num_batches // self._epochs_per_pass, (piece + 1) * num_batches // self._epochs_per_pass

    def from_position(self, epoch: int, batch: int, rows: range | None = None) -> tf.data.Dataset:
        rows = rows or range(self.batch_size)
        batches_per_read = self._batches_per_read(len(rows))

        def batches_of_epoch(e: tf.Tensor) -> tf.data.Dataset:
            number = e // self._epochs_per_pass
            offset, (first, end) = self._offset(number), self._numbers(e)
            numbers = tf.data.Dataset.range(first + tf.where(e == epoch, tf.constant(batch, tf.int64), 0), end)
            if batches_per_read == 1:
                return numbers.map(lambda k: self._cut_batches(number, offset, k, rows))
            return numbers.batch(batches_per_read).map(lambda k: self._cut_batches(number, offset, k, rows)).unbatch()

        epochs = tf.data.Dataset.range(epoch, tf.int64.max)
        options = tf.data.Options()
        # There is nothing to tune, and destroying an iterator waits for the tuning thread, which sleeps longer and
        # longer: up to twenty seconds after a run of half a minute (TensorFlow 2.21).
        options.autotune.enabled = False
        return epochs.flat_map(batches_of_epoch).prefetch(2).with_options(options)

    def _offset(self, number: tf.Tensor) -> tf.Tensor:
        """Returns the number of tokens that a pass, counted from 0, skips at the beginning, int64."""
        return tf.constant(0, tf.int64)

    def _batches_per_read(self, num_rows: int) -> int:
        """Returns the number of batches of `num_rows` rows that are best cut together."""
        return 1

    def _shuffled_rows(self, number: tf.Tensor, k: tf.Tensor, rows: range, num_rows: tf.Tensor) -> tf.Tensor:
        """Returns which of a pass's `num_rows` rows are these rows of batch k, [rows]; another order each pass."""
        # A keyed permutation computes each index on demand: nothing of the size of the corpus is shuffled in memory.
        # Its key must be well mixed: neighbouring numbers as keys produce orders that are visibly alike.
        key = tf.random.stateless_uniform([2], [self._seed, number], None, None, tf.uint32)
        numbers = k[..., None] * self.batch_size + _row_numbers(rows)
        if len(numbers.shape) == 1:
            return tf.random.experimental.index_shuffle(numbers, key, num_rows - 1)
        shuffled = tf.random.experimental.index_shuffle(tf.reshape(numbers, [-1]), key, num_rows - 1)
        return tf.reshape(shuffled, [-1, len(rows)])

    @abc.abstractmethod
    def _num_batches(self, offset: tf.Tensor) -> tf.Tensor:
        """Returns the number of batches in a pass with this offset, int64."""

    @abc.abstractmethod
    def _cut_batches(self, number: tf.Tensor, offset: tf.Tensor, k: tf.Tensor, rows: range) -> Batch | MaskedBatch:
        """Returns these rows of batch k of a pass; for several k, [n], every part has a leading axis of length n."""


class _Windows(_CutBatches):
    """Batches cut from one text or series; the target of a step is the token or values after it."""

    sampling: str  # `sequential` or `random`

    def __init__(
        self,
        ids: np.ndarray | Sequence | StoredIds,
        batch_size: int,
        num_steps: int,
        seed: int,
        random_offset: bool,
        epochs_per_pass: int,
    ):
        super().__init__(batch_size, num_steps, seed, epochs_per_pass)
        self._ids = ids if isinstance(ids, StoredIds) else _as_tensor(ids, "the series")
        self._random_offset = random_offset
        self._largest_offset = window_counts.largest_offset(self.sampling, num_steps) if random_offset else 0
        is_series = isinstance(self._ids, tf.Tensor) and self._ids.dtype.is_floating
        kind, unit = ("series", "values") if is_series else ("text", "tokens")
        window_counts.check_length(len(self._ids), self.sampling, batch_size, num_steps, random_offset, kind, unit)
        fewest = int(self._num_batches(tf.constant(self._largest_offset, tf.int64)))
        if fewest < epochs_per_pass:
            raise UserError(f"`epochs_per_pass` must be at most {fewest}, the batches of a pass; got {epochs_per_pass}")

    def _offset(self, number: tf.Tensor) -> tf.Tensor:
        if not self._largest_offset:
            return tf.constant(0, tf.int64)
        offset = tf.random.stateless_uniform([], [self._seed, number], 0, self._largest_offset + 1, tf.int32)
        return tf.cast(offset, tf.int64)

    @property
    def in_memory(self) -> dict[str, tf.Tensor]:
        return {"inputs": self._ids} if isinstance(self._ids, tf.Tensor) else {}

    def _batches_per_read(self, num_rows: int) -> int:
        if isinstance(self._ids, tf.Tensor):
            return 1
        return max(1, TOKENS_PER_READ // (num_rows * (self.num_steps + 1)))

    def _cut_windows(self, starts: tf.Tensor, reset: tf.Tensor) -> Batch:
        """Returns the batch whose rows begin at the tokens `starts`, [rows]; for several batches, [n, rows]."""
        if isinstance(self._ids, tf.Tensor):
            window = tf.gather(self._ids, starts[..., None, :] + tf.range(self.num_steps + 1, dtype=tf.int64)[:, None])
        else:
            window = tf.numpy_function(self._read, [starts], self._ids.dtype, stateful=False)
            window = tf.linalg.matrix_transpose(tf.ensure_shape(window, [*starts.shape, self.num_steps + 1]))
            window = tf.cast(window, tf.int32)
        if len(starts.shape) == 1:  # window: [T + 1, rows], with a last axis D for a series
            return Batch(window[:-1], window[1:], reset)
        return Batch(window[:, :-1], window[:, 1:], reset)

    def _read(self, starts: np.ndarray) -> np.ndarray:
        """Reads the windows that begin at `starts` from the file, [..., T + 1]."""
        assert isinstance(self._ids, StoredIds)
        try:
            return self._ids.read(starts, self.num_steps + 1)
        except UserError as error:
            self.failure = error
            raise


class _SequentialBatches(_Windows):
    """What `sequential_batches` returns."""

    sampling = "sequential"

    def continues(self, epoch: int) -> bool:
        return epoch % self._epochs_per_pass > 0

    # The last target is the token after the streams if there are offsets, else the last token of each stream.
    def _stream_length(self, offset: tf.Tensor) -> tf.Tensor:
        tokens_after_streams = 1 if self._random_offset else 0
        return (len(self._ids) - offset - tokens_after_streams) // self.batch_size

    def _num_batches(self, offset: tf.Tensor) -> tf.Tensor:
        targets_only = 0 if self._random_offset else 1
        return (self._stream_length(offset) - targets_only) // self.num_steps

    def _cut_batches(self, number: tf.Tensor, offset: tf.Tensor, k: tf.Tensor, rows: range) -> Batch:
        starts = offset + _row_numbers(rows) * self._stream_length(offset) + k[..., None] * self.num_steps
        return self._cut_windows(starts, tf.repeat(k[..., None] == 0, len(rows), -1))


class _RandomBatches(_Windows):
    """What `random_batches` returns."""

    sampling = "random"

    def _num_windows(self, offset: tf.Tensor) -> tf.Tensor:
        return (len(self._ids) - offset - 1) // self.num_steps

    def _num_batches(self, offset: tf.Tensor) -> tf.Tensor:
        return self._num_windows(offset) // self.batch_size

    def _cut_batches(self, number: tf.Tensor, offset: tf.Tensor, k: tf.Tensor, rows: range) -> Batch:
        windows = self._shuffled_rows(number, k, rows, self._num_windows(offset))
        return self._cut_windows(offset + windows * self.num_steps, tf.ones_like(windows, tf.bool))


class _LabelledBatches(_CutBatches):
    """What `labelled_batches` returns."""

    def __init__(self, inputs: Any, targets: Any, batch_size: int, seed: int, mask: Any):
        self._inputs, lengths = _padded(inputs, "`inputs`", mask)
        self._targets, target_lengths = _padded(targets, "`targets`", mask)
        if lengths.shape != target_lengths.shape:
            raise UserError(
                "expected a label for each step of each sequence, inputs [N, T] and targets [N, T]; got "
                f"{len(lengths)} sequences of inputs and {len(target_lengths)} of targets"
            )
        if len(different := np.flatnonzero(lengths != target_lengths)):
            row = different[0]
            raise UserError(
                "expected a label for each step of each sequence, inputs [N, T] and targets [N, T]; got "
                f"{lengths[row]} inputs and {target_lengths[row]} targets in row {row}"
            )
        super().__init__(batch_size, self._inputs.shape[1], seed)
        if len(lengths) < batch_size:
            raise UserError(f"expected at least `batch_size={batch_size}` sequences; got {len(lengths)}")
        self._lengths = tf.constant(lengths) if lengths.min() < self.num_steps else None

    @property
    def in_memory(self) -> dict[str, tf.Tensor]:
        return {"inputs": self._inputs, "targets": self._targets}

    def _num_batches(self, offset: tf.Tensor) -> tf.Tensor:
        return tf.constant(self._inputs.shape[0] // self.batch_size, tf.int64)

    def _cut_batches(self, number: tf.Tensor, offset: tf.Tensor, k: tf.Tensor, rows: range) -> Batch | MaskedBatch:
        chosen = self._shuffled_rows(number, k, rows, tf.constant(self._inputs.shape[0], tf.int64))
        inputs, targets = (_to_time_major(tf.gather(values, chosen)) for values in (self._inputs, self._targets))
        reset = tf.ones_like(chosen, tf.bool)
        if self._lengths is None:
            return Batch(inputs, targets, reset)
        mask = _to_time_major(tf.sequence_mask(tf.gather(self._lengths, chosen), self.num_steps))
        return MaskedBatch(inputs, targets, reset, mask)


class _DatasetBatches(Batches):
    """What `as_batches` returns of a dataset."""

    def __init__(self, dataset: tf.data.Dataset, name: str):
        self._dataset = dataset = _time_major_dataset(dataset, name)
        count = int(dataset.cardinality())
        if count == tf.data.INFINITE_CARDINALITY:
            raise UserError(f"expected {name} of finitely many batches for an epoch; got an infinite one; `take` some")
        shapes, num_batches = None, 0
        # What is known without reading is not read.
        known = count >= 0 and all(spec.shape.is_fully_defined() for spec in dataset.element_spec)
        for batch in dataset.take(1) if known else dataset:
            shapes, num_batches = shapes or [tensor.shape for tensor in batch], num_batches + 1
            if (shape := batch.inputs.shape) != shapes[0]:
                raise UserError(
                    f"expected {name} whose batches have one shape, [T, B] or [T, B, D]; got {tuple(shapes[0])} "
                    f"and, in batch {num_batches - 1}, {tuple(shape)}; cut them with `drop_remainder=True`"
                )
        if not shapes or 0 in shapes[0]:
            raise UserError(f"expected {name} with at least one batch of one step; got none")
        super().__init__(shapes[0][1], shapes[0][0])
        self._num_batches, self._shapes = count if known else num_batches, shapes

    def num_batches(self, epoch: int) -> int:
        return self._num_batches

    def from_position(self, epoch: int, batch: int, rows: range | None = None) -> tf.data.Dataset:
        rows = rows or range(self.batch_size)

        @tf.autograph.experimental.do_not_convert
        def these_rows(batch: Batch | MaskedBatch) -> Batch | MaskedBatch:
            named = zip(batch._fields, batch, self._shapes, strict=True)
            parts = [tf.ensure_shape(part, shape) for _, part, shape in named]
            if not isinstance(batch, MaskedBatch):  # whose padding may be anything
                parts = [finite(part, f"`{name}`") for name, part in zip(batch._fields, parts, strict=True)]
            these = slice(rows.start, rows.stop)
            return type(batch)(*(part[these] if len(part.shape) == 1 else part[:, these] for part in parts))

        return self._dataset.skip(batch).concatenate(self._dataset.repeat()).map(these_rows).prefetch(2)


def _time_major_dataset(dataset: tf.data.Dataset, name: str) -> tf.data.Dataset:
    """Returns a dataset of batches, given one of batches or of pairs (x, y) with rows [B, T]."""
    spec = dataset.element_spec
    if isinstance(spec, (Batch, MaskedBatch)):
        return dataset
    if not isinstance(spec, tuple) or len(spec) != 2 or not all(isinstance(part, tf.TensorSpec) for part in spec):
        raise UserError(
            f"expected {name} of `Batch`, or of pairs (x, y) of tensors [B, T]; got elements {spec}; for sequences of "
            "several lengths see `labelled_batches`"
        )

    @tf.autograph.experimental.do_not_convert
    def to_batch(x: tf.Tensor, y: tf.Tensor) -> Batch:
        if x.shape.rank not in (2, 3) or y.shape.rank not in (2, 3):
            raise UserError(
                f"expected {name} of pairs (x, y) whose shapes are [B, T] or [B, T, D]; got {x.shape} and {y.shape}; "
                "`batch` the dataset if they have no B"
            )
        inputs, targets = (_to_time_major(_as_numbers_of_steps(values, 2)) for values in (x, y))
        return Batch(inputs, targets, tf.ones(tf.shape(x)[:1], tf.bool))

    return dataset.map(to_batch)


def sequential_batches(
    ids: np.ndarray | Sequence | StoredIds,
    batch_size: int,
    num_steps: int,
    seed: int = 0,
    random_offset: bool = True,
    epochs_per_pass: int = 1,
) -> Batches:
    """Cuts a text into batches whose rows continue from batch to batch.

    Row b is one contiguous stream of tokens: in batch k + 1 it continues where batch k ended. The state must be carried
    from batch to batch, and starts from zero in each epoch.

    Each epoch skips an offset that is uniform in [0, T], and cuts the rest into B streams of equal length; the token
    after a stream is its last target. Without an offset the streams are those of the book's first edition: N // B
    tokens each, including the last target.

    >>> batches = tfrnn.sequential_batches(np.arange(20), 2, 4, random_offset=False)
    >>> for inputs, targets, reset in batches.epoch(0):
    ...     print(*inputs.numpy().T.tolist(), reset.numpy().tolist())  # the two rows
    [0, 1, 2, 3] [10, 11, 12, 13] [True, True]
    [4, 5, 6, 7] [14, 15, 16, 17] [False, False]

    Args:
      ids: tokens, int32 [N], in memory or in a file; or a series of numbers, float32 [N] or [N, D].
      batch_size, num_steps: B and T.
      seed: determines the offsets.
      random_offset: whether epochs skip an offset; if not, every epoch is the same.
      epochs_per_pass: the number of epochs into which a pass over the text is divided; only the first of them starts
        from zero states.
    Returns:
      `Batches`, with inputs and targets of shape [T, B], or [T, B, D] for a series.
    Raises:
      UserError: the text is too short for one batch.
    """
    return _SequentialBatches(ids, batch_size, num_steps, seed, random_offset, epochs_per_pass)


def random_batches(
    ids: np.ndarray | Sequence | StoredIds,
    batch_size: int,
    num_steps: int,
    seed: int = 0,
    random_offset: bool = True,
    epochs_per_pass: int = 1,
) -> Batches:
    """Cuts a text into windows of T tokens that do not overlap, in a new random order each epoch.

    Every row starts from a zero state. Each epoch skips an offset that is uniform in [0, T - 1]. Windows after the last
    full batch are left out of that epoch.

    >>> batches = tfrnn.random_batches(np.arange(20), 2, 4, random_offset=False)
    >>> for inputs, targets, reset in batches.epoch(0):
    ...     print(*inputs.numpy().T.tolist(), reset.numpy().tolist())  # the two rows
    [4, 5, 6, 7] [12, 13, 14, 15] [True, True]
    [0, 1, 2, 3] [8, 9, 10, 11] [True, True]

    Args:
      ids: tokens, int32 [N], in memory or in a file; or a series of numbers, float32 [N] or [N, D].
      batch_size, num_steps: B and T.
      seed: determines the offsets and the order.
      random_offset: whether epochs skip an offset.
      epochs_per_pass: the number of epochs into which a pass over the text is divided, for long texts.
    Returns:
      `Batches`, with inputs and targets of shape [T, B], or [T, B, D] for a series.
    Raises:
      UserError: the text is too short for one batch.
    """
    return _RandomBatches(ids, batch_size, num_steps, seed, random_offset, epochs_per_pass)


def labelled_batches(inputs: Any, targets: Any, batch_size: int = 1, seed: int = 0, mask: Any = None) -> Batches:
    """Makes batches of sequences with a label for each step, in a new random order each epoch.

    Every row is one sequence and starts from a zero state. Sequences after the last full batch are left out of that
    epoch.

    >>> vocabulary = tfrnn.Vocabulary.from_text("hello")
    >>> inputs, targets = vocabulary.encode("hello"), vocabulary.encode("ohlol")  # [5] each
    >>> (batch,) = tfrnn.labelled_batches(inputs[None], targets[None]).epoch(0)  # of one sequence
    >>> vocabulary.decode(batch.targets[:, 0])
    'ohlol'

    Sequences of several lengths are padded at their ends to the longest, and the batches say where, as `MaskedBatch`.

    >>> (batch,) = tfrnn.labelled_batches([[1, 2, 3], [4]], [[2, 3, 4], [5]], batch_size=2).epoch(0)
    >>> sorted(np.sum(batch.mask, 0).tolist())  # the lengths of the two rows
    [1, 3]

    Args:
      inputs: tokens, int32 [N, T]; or series, float32 [N, T, D]. For sequences of several lengths, a list of N of them,
        or a tf.RaggedTensor.
      targets: the label of each step, [N, T] or [N, T, D], or likewise.
      batch_size: B.
      seed: determines the order.
      mask: bool [N, T], False for the steps of padded arrays that are padding, at whichever end.
    Returns:
      `Batches`, with inputs and targets of shape [T, B] or [T, B, D].
    Raises:
      UserError: inputs and targets differ in length, a sequence is empty, a number is NaN or infinite, or there are
        fewer than B sequences.
    """
    return _LabelledBatches(inputs, targets, batch_size, seed, mask)


def as_batches(data: Any, name: str = "`batches`") -> Batches:
    """Returns as `Batches` what a trainer takes: batches, a dataset, or arrays.

    Args:
      data: `Batches`, which are returned. Or a finite tf.data.Dataset, which is read again in each epoch, of `Batch` or
        of pairs (x, y) with rows [B, T] or [B, T, D], which start from zero states. All its batches must have one
        shape; if the dataset does not say so, it is read once to find out. Or a pair of arrays (x, y) of N rows, which
        are cut by `labelled_batches` into batches of 32, or one of N if N is smaller.
      name: what the data are called in messages.
    Raises:
      UserError: they are none of these.
    """
    if isinstance(data, Batches):
        return data
    if isinstance(data, tf.data.Dataset):
        return _DatasetBatches(data, name)
    if isinstance(data, tuple) and len(data) == 2:
        x, y = data
        num_rows = x.shape[0] if hasattr(x, "shape") else len(x)
        batch_size = min(KERAS_BATCH_SIZE, num_rows)
        if num_rows % max(1, batch_size):
            raise UserError(
                f"expected {name} (x, y) of a multiple of {batch_size} rows; got {num_rows}; give "
                "`labelled_batches(x, y, batch_size)`, which leaves out a rest that changes from epoch to epoch"
            )
        return _LabelledBatches(x, y, batch_size, 0, None)
    raise UserError(
        f"expected {name} as `Batches`, a tf.data.Dataset, or a pair of arrays (x, y) [N, T]; got "
        f"{type(data).__name__}; see `sequential_batches`, `random_batches` and `labelled_batches`"
    )


def _row_numbers(rows: range) -> tf.Tensor:
    return tf.range(rows.start, rows.stop, dtype=tf.int64)


def _to_time_major(rows: tf.Tensor) -> tf.Tensor:
    """Transposes [B, T, ...] to [T, B, ...]."""
    return tf.transpose(rows, [1, 0, *range(2, len(rows.shape))])


def _as_tensor(values: Any, name: str, rank: int = 1) -> tf.Tensor:
    """Returns token ids as int32, of this rank; or numbers as float32, with one more axis for the values of a step."""
    values = np.asarray(values)
    is_float = values.dtype.kind == "f"
    if not is_float and values.ndim != rank:
        raise UserError(f"expected token ids of {rank} dimensions; got shape {values.shape}")
    if values.ndim not in (rank, rank + 1):
        raise UserError(f"expected numbers of {rank} or {rank + 1} dimensions; got shape {values.shape}")
    check_finite(values, name, rank)
    return _as_numbers_of_steps(values, rank)


def check_finite(values: np.ndarray, name: str, rank: int) -> None:
    """Raises UserError if numbers are NaN or infinite, and names the first; of other values nothing is checked.

    Args:
      values: an array whose first axes are steps, if `rank` is 1, or rows and steps, if it is 2.
      name: what they are called in the message.
      rank: see `values`.
    """
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    place = np.argwhere(~np.isfinite(values))[0]
    where = f"step {place[0]}" if rank == 1 else f"row {place[0]}, step {place[1]}"
    what = "NaN" if np.isnan(values[tuple(place)]) else "an infinite number"
    raise UserError(f"{name} has {what} at {where} (counted from 0); fill such gaps, or leave out what has them")


def finite(values: tf.Tensor, name: str) -> tf.Tensor:
    """Returns values of which TensorFlow says, when they are computed, by this name that one is NaN or infinite."""
    return tf.debugging.check_numerics(values, name) if values.dtype.is_floating else values


def _as_numbers_of_steps(values: Any, rank: int) -> tf.Tensor:
    """Returns ids as int32; or numbers as float32, with one more axis for the values of a step if of this rank."""
    values = tf.convert_to_tensor(values)
    if not values.dtype.is_floating:
        return tf.cast(values, tf.int32)
    values = tf.cast(values, tf.float32)
    return values[..., None] if values.shape.rank == rank else values


def _padded(values: Any, name: str, mask: Any) -> tuple[tf.Tensor, np.ndarray]:
    """Returns N sequences, padded with zeros at their ends to the longest, T; and their lengths, [N].

    Args:
      values: an array [N, T] or [N, T, D], a list of N sequences, or a ragged tensor of them.
      name: what they are called in messages.
      mask: bool [N, T], False for the steps that are left out; None: all are there.
    """
    is_array = isinstance(values, (np.ndarray, tf.Tensor)) and len(values.shape) > 1
    if is_array and mask is None and 0 not in values.shape:
        return _as_tensor(values, name, 2), np.full(values.shape[0], values.shape[1])
    if isinstance(values, tf.RaggedTensor):
        lengths, values = values.row_lengths().numpy(), values.to_tensor().numpy()
        rows = [row[:length] for row, length in zip(values, lengths, strict=True)]
    else:
        rows = [np.asarray(row) for row in values]
    if mask is not None:
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.ndim != 2 or [len(row) for row in mask] != [len(row) for row in rows]:
            raise UserError(f"expected a `mask`, bool [N, T], of the shape of {name}; got {mask.dtype} {mask.shape}")
        rows = [row[there] for row, there in zip(rows, mask, strict=True)]
    if any(row.ndim == 0 for row in rows):
        raise UserError(f"expected {name} as N sequences, [N, T] or [N, T, D]; got shape {np.shape(values)}")
    lengths = np.array([len(row) for row in rows], np.int64)
    if not len(lengths) or not lengths.all():
        empty = f"an empty sequence in row {np.argmin(lengths)}" if len(lengths) else "none"
        raise UserError(f"expected {name} as sequences of at least one step; got {empty}; leave out empty ones")
    if len({row.shape[1:] for row in rows}) > 1:
        raise UserError(
            f"expected {name} whose steps have equally many values; got {sorted({r.shape[1:] for r in rows})}"
        )
    padded = np.zeros([len(rows), lengths.max(), *rows[0].shape[1:]], np.result_type(*{row.dtype for row in rows}))
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return _as_tensor(padded, name, 2), lengths
