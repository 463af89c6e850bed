"""The replicas of a strategy: which rows are whose, and what is summed, gathered and agreed among them.

A strategy of one replica is one like others here; nothing is then sent.
Letters: R replicas, B batch_size, H units.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from tfrnn.errors import UserError

_PIECE = 2**17  # numbers of eight bytes that are sent in one go


class Replicas:
    """A strategy's replicas, as this process, one of its workers, sees them.

    Attributes:
      strategy: theirs.
      count: R, of all workers.
      here: the numbers of those that this process runs.
      num_workers: processes.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self.strategy, self.count = strategy, strategy.num_replicas_in_sync
        numbers = [0]
        if self.count > 1:
            values = strategy.experimental_distribute_values_from_function(lambda c: c.replica_id_in_sync_group)
            numbers = [int(number) for number in strategy.experimental_local_results(values)]
        self.here = range(numbers[0], numbers[-1] + 1)
        self.num_workers = self.count // len(self.here)
        self._sum_of_workers = tf.function(
            self._sum_in_graph, autograph=False, input_signature=[tf.TensorSpec([None], tf.int64)]
        )

    @property
    def is_chief(self) -> bool:
        """Whether this is the worker that keeps the run and speaks for all."""
        return self.here.start == 0

    def share(self, rows: int, what: str = "--batch_size") -> int:
        """How many of so many rows are a replica's. Raises UserError where they cannot be divided evenly."""
        if rows % self.count:
            nearest = max(self.count, rows - rows % self.count)
            raise UserError(
                f"{what}={rows} cannot be divided evenly over {self.count} replicas; give a multiple of {self.count}, "
                f"such as {nearest}"
            )
        return rows // self.count

    def rows_here(self, rows: int) -> range:
        """Which of so many rows are those of this process's replicas."""
        share = self.share(rows)
        return range(self.here.start * share, self.here.stop * share)

    def run(self, function: Any, *arguments: Any) -> Any:
        """The function in every replica; what it gives has a value for each of them."""
        return self.strategy.run(function, arguments)

    def first(self, value: Any) -> Any:
        """Of a value that all replicas have alike, this process's."""
        return tf.nest.map_structure(lambda v: self.strategy.experimental_local_results(v)[0], value)

    def own(self, tensor: tf.Tensor, axis: int = 0, of_all: bool = False) -> tf.Tensor:
        """In a replica: its rows, along the axis, of those of this process's replicas, or `of_all` replicas."""
        if self.count == 1:
            return tensor
        parts, start = (self.count, 0) if of_all else (len(self.here), self.here.start)
        size = tensor.shape[axis] // parts
        begin = [0] * len(tensor.shape)
        begin[axis] = (_number() - start) * size
        return tf.slice(tensor, begin, [size if i == axis else n for i, n in enumerate(tensor.shape)])

    def sum(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """In a replica: the sums over all replicas, sent together; all of one type."""
        if self.count == 1:
            return tensors
        flat = tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)
        flat = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, flat)
        parts = tf.split(flat, [tensor.shape.num_elements() for tensor in tensors])
        return [tf.reshape(part, tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def total(self, value: Any) -> Any:
        """Outside of them: the sum of what each has."""
        return value if self.count == 1 else self.strategy.reduce(tf.distribute.ReduceOp.SUM, value, None)

    def mean(self, tensor: tf.Tensor) -> tf.Tensor:
        """In a replica: the mean over all replicas."""
        if self.count == 1:
            return tensor
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, tensor)

    def divide(self, state: Any) -> Any:
        """Of a state, tensors [B, H], each replica's rows."""
        if self.count == 1:
            return state
        return self.run(
            lambda whole: tf.nest.map_structure(lambda t: tf.identity(self.own(t, of_all=True)), whole), state
        )

    def gather(self, state: Any) -> Any:
        """The inverse of `divide`, in every process."""
        if self.count == 1:
            return state

        def in_replica(state: Any) -> Any:
            # Placed on the replica's device, by which TensorFlow knows whose it is.
            placed = tf.nest.map_structure(tf.identity, state)
            gathered = tf.distribute.get_replica_context().all_gather(placed, 0)
            for own, whole in zip(tf.nest.flatten(state), tf.nest.flatten(gathered), strict=True):
                whole.set_shape([own.shape[0] * self.count, *own.shape[1:]])
            return gathered

        return self.first(self.run(in_replica, state))

    def agree(self, numbers: list[int]) -> list[int]:
        """The sums of the workers' whole numbers. All workers call it at the same point, and wait for each other."""
        if self.num_workers == 1:
            return numbers
        return self._sum_of_workers(tf.constant(numbers, tf.int64)).numpy().tolist()

    def broadcast(self, data: bytes = b"") -> bytes:
        """The chief's bytes, in every process."""
        if self.num_workers == 1:
            return data
        (length,) = self.agree([len(data) if self.is_chief else 0])
        padded = np.zeros(-(-length // 8), np.int64)
        if self.is_chief:
            padded.view(np.uint8)[:length] = np.frombuffer(data, np.uint8)
        for begin in range(0, len(padded), _PIECE):
            piece = padded[begin : begin + _PIECE]
            piece[:] = self.agree(piece)  # type: ignore[arg-type]
        return padded.tobytes()[:length]

    def _sum_in_graph(self, numbers: tf.Tensor) -> tf.Tensor:
        def in_replica(numbers: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            spoken = tf.where(tf.equal(_number(), self.here.start), numbers, 0)
            return context.all_reduce(tf.distribute.ReduceOp.SUM, spoken)

        return self.first(self.run(in_replica, numbers))


def _number() -> Any:
    """In a replica: its number."""
    return tf.distribute.get_replica_context().replica_id_in_sync_group
