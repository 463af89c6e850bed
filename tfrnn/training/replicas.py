"""The replicas of a `tf.distribute` strategy: the rows that each of them reads, and sums over replicas and workers.

A strategy of one replica is handled alike; nothing is communicated then.
Letters: R replicas, B batch_size, H units.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from tfrnn.errors import UserError

_NUMBERS_PER_MESSAGE = 2**17  # int64 numbers that `broadcast` sends at once: 1 MiB


class Replicas:
    """The replicas of a strategy, seen from this process, which is one of its workers.

    Attributes:
      strategy: the `tf.distribute` strategy.
      count: R, the number of replicas of all workers.
      local_replicas: the numbers of the replicas that this process runs.
      num_workers: the number of processes.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self.strategy, self.count = strategy, strategy.num_replicas_in_sync
        numbers = [0]
        if self.count > 1:
            values = strategy.experimental_distribute_values_from_function(lambda c: c.replica_id_in_sync_group)
            numbers = [int(number) for number in strategy.experimental_local_results(values)]
        self.local_replicas = range(numbers[0], numbers[-1] + 1)
        self.num_workers = self.count // len(self.local_replicas)
        self._compiled_sum_over_workers = tf.function(
            self._sum_over_workers, autograph=False, input_signature=[tf.TensorSpec([None], tf.int64)]
        )

    @property
    def is_chief(self) -> bool:
        """Whether this process is the chief: the worker that writes the run directory and the output."""
        return self.local_replicas.start == 0

    def rows_per_replica(self, num_rows: int, setting: str = "--batch_size") -> int:
        """Returns the number of rows that each replica reads of a batch.

        Args:
          num_rows: the rows of the batch.
          setting: what sets that number, for the error message.
        Raises:
          UserError: the rows cannot be divided evenly over the replicas.
        """
        if num_rows % self.count:
            nearest = max(self.count, num_rows - num_rows % self.count)
            raise UserError(
                f"{setting}={num_rows} cannot be divided evenly over {self.count} replicas; give a multiple of "
                f"{self.count}, such as {nearest}"
            )
        return num_rows // self.count

    def local_rows(self, num_rows: int) -> range:
        """Returns which rows of a batch of `num_rows` rows the replicas of this process read."""
        share = self.rows_per_replica(num_rows)
        return range(self.local_replicas.start * share, self.local_replicas.stop * share)

    def run(self, function: Any, *arguments: Any) -> Any:
        """Calls the function in every replica; returns one value per replica, as `tf.distribute.Strategy.run` does."""
        return self.strategy.run(function, arguments)

    def local_value(self, value: Any) -> Any:
        """Returns the value of this process's first replica, given one value per replica."""
        return tf.nest.map_structure(lambda v: self.strategy.experimental_local_results(v)[0], value)

    def slice_rows(self, tensor: tf.Tensor, axis: int = 0, of_all: bool = False) -> tf.Tensor:
        """Returns the rows of one replica. Must be called in a replica.

        Args:
          tensor: the rows of this process's replicas or, with `of_all`, of the replicas of all workers.
          axis: the axis along which the rows lie.
          of_all: whether the tensor has the rows of all workers.
        """
        if self.count == 1:
            return tensor
        num_parts, first = (self.count, 0) if of_all else (len(self.local_replicas), self.local_replicas.start)
        size = tensor.shape[axis] // num_parts
        begin = [0] * len(tensor.shape)
        begin[axis] = (_replica_number() - first) * size
        return tf.slice(tensor, begin, [size if i == axis else n for i, n in enumerate(tensor.shape)])

    def all_reduce_sum(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the sum of each tensor over all replicas, in one message. Must be called in a replica.

        All tensors must have the same dtype.
        """
        if self.count == 1:
            return tensors
        flat = tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)
        flat = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, flat)
        parts = tf.split(flat, [tensor.shape.num_elements() for tensor in tensors])
        return [tf.reshape(part, tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def all_reduce_mean(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns the mean of the tensor over all replicas. Must be called in a replica."""
        if self.count == 1:
            return tensor
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, tensor)

    def reduce_sum(self, value: Any) -> Any:
        """Returns the sum of one value per replica. Must be called outside of the replicas."""
        return value if self.count == 1 else self.strategy.reduce(tf.distribute.ReduceOp.SUM, value, None)

    def divide(self, state: Any) -> Any:
        """Divides a state, tensors [B, H], among the replicas; returns one state [B / R, H] per replica."""
        if self.count == 1:
            return state
        return self.run(
            lambda whole: tf.nest.map_structure(lambda t: tf.identity(self.slice_rows(t, of_all=True)), whole), state
        )

    def gather(self, state: Any) -> Any:
        """Joins the states that `divide` returns; returns the whole state, tensors [B, H], in every process."""
        if self.count == 1:
            return state

        def in_replica(state: Any) -> Any:
            # The copy lies on the replica's device, by which TensorFlow knows to which replica it belongs.
            placed = tf.nest.map_structure(tf.identity, state)
            gathered = tf.distribute.get_replica_context().all_gather(placed, 0)
            for part, whole in zip(tf.nest.flatten(state), tf.nest.flatten(gathered), strict=True):
                whole.set_shape([part.shape[0] * self.count, *part.shape[1:]])
            return gathered

        return self.local_value(self.run(in_replica, state))

    def sum_over_workers(self, numbers: list[int]) -> list[int]:
        """Returns the sum of each number over all workers.

        Every worker must call it at the same point, with equally many numbers; each waits for the others.
        """
        if self.num_workers == 1:
            return numbers
        return self._compiled_sum_over_workers(tf.constant(numbers, tf.int64)).numpy().tolist()

    def wait_for_all_workers(self) -> None:
        """Returns when every worker has called it."""
        self.sum_over_workers([0])

    def broadcast(self, data: bytes = b"") -> bytes:
        """Returns the chief's `data` in every worker. Every worker must call it at the same point."""
        if self.num_workers == 1:
            return data
        (length,) = self.sum_over_workers([len(data) if self.is_chief else 0])
        padded = np.zeros(-(-length // 8), np.int64)
        if self.is_chief:
            padded.view(np.uint8)[:length] = np.frombuffer(data, np.uint8)
        for begin in range(0, len(padded), _NUMBERS_PER_MESSAGE):
            message = padded[begin : begin + _NUMBERS_PER_MESSAGE]
            message[:] = self.sum_over_workers(message)  # type: ignore[arg-type]
        return padded.tobytes()[:length]

    def _sum_over_workers(self, numbers: tf.Tensor) -> tf.Tensor:
        def in_replica(numbers: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            # Only the first replica of each worker contributes.
            contribution = tf.where(tf.equal(_replica_number(), self.local_replicas.start), numbers, 0)
            return context.all_reduce(tf.distribute.ReduceOp.SUM, contribution)

        return self.local_value(self.run(in_replica, numbers))


def _replica_number() -> Any:
    """Returns the number of the replica in which it is called."""
    return tf.distribute.get_replica_context().replica_id_in_sync_group
