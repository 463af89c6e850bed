"""Batches of windows of a series for a direct forecaster, with the targets of all steps ahead.

Letters: N steps of the series, C columns, T num_steps, B batch_size, F inputs and K * D outputs of the model.
"""

import numpy as np
import tensorflow as tf

from tfrnn.data.batches import Batch, Batches
from tfrnn.errors import UserError
from tfrnn.series.scaling import Relative, as_columns

BATCHES_PER_EPOCH = 10


class WindowBatches(Batches):
    """What `series.window_batches` returns: windows that end anywhere in the training part."""

    def __init__(self, values: np.ndarray, scaling: Relative, batch_size: int, num_steps: int, seed: int):
        super().__init__(batch_size, num_steps)
        self._values, self._scaling, self._seed = as_columns(values)[: scaling.train_steps], scaling, seed
        self._inputs = scaling.inputs(self._values)
        # The first windows that have a season before them, if there are such; a window ends before the last value, so
        # that it has a target.
        self._ends = (
            max(num_steps, min(scaling.season + num_steps, (num_steps + len(self._values)) // 2)),
            len(self._values) - 1,
        )
        if self._ends[0] > self._ends[1]:
            raise UserError(
                f"series too short: {len(self._values)} values to train on, but a window of `num_steps={num_steps}` "
                f"needs {num_steps + 1}; take a longer series or smaller `num_steps`"
            )

    def num_batches(self, epoch: int) -> int:
        return BATCHES_PER_EPOCH

    def from_position(self, epoch: int, batch: int, rows: range | None = None) -> tf.data.Dataset:
        rows = rows or range(self.batch_size)

        def batches():  # type: ignore[no-untyped-def]
            first, current = batch, epoch
            while True:
                if first < BATCHES_PER_EPOCH:
                    yield from self._cut(current, first, rows)
                first, current = 0, current + 1

        def spec(dtype: tf.DType, *sizes: int) -> tf.TensorSpec:
            return tf.TensorSpec([*sizes], dtype)

        signature = (
            spec(tf.float32, self.num_steps, len(rows), self._scaling.num_inputs),
            spec(tf.float32, self.num_steps, len(rows), self._scaling.num_outputs),
            spec(tf.bool, len(rows)),
        )
        options = tf.data.Options()
        options.autotune.enabled = False  # see Batches of a text
        dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
        return dataset.map(Batch).with_options(options)

    def _cut(self, epoch: int, first: int, rows: range) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Returns the batches of an epoch from the first one on."""
        shape = BATCHES_PER_EPOCH, self.batch_size
        lowest, highest = self._ends
        ends = np.random.default_rng([self._seed, epoch]).integers(lowest, highest + 1, shape)
        ends = ends[first:, rows.start : rows.stop]
        # The number of values that are known after each step of each window, [batches, T, B].
        known = ends[:, None] + np.arange(1 - self.num_steps, 1)[:, None]
        used, where = np.unique(known, return_inverse=True)
        targets = self._scaling.targets(self._values, used)
        reset = np.ones(len(rows), bool)
        return [
            (self._inputs[each - 1], targets[place], reset)
            for each, place in zip(known, where.reshape(known.shape), strict=True)
        ]


def known_squared_error(targets: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
    """See `series.known_squared_error`."""
    targets = tf.cast(targets, predictions.dtype)
    known = tf.math.is_finite(targets)
    squares = tf.square(tf.where(known, predictions - tf.where(known, targets, 0), 0))
    counts = tf.reduce_sum(tf.cast(known, predictions.dtype), -1)
    return tf.reduce_sum(squares, -1) / tf.maximum(counts, 1)
