"""The processes that train one model together: which of them leads, and what they tell each other.

Every worker must call a method that communicates at the same point; each waits for the others.
"""

import numpy as np
import tensorflow as tf

from tfrnn.runs import checkpoints
from tfrnn.training.replicas import OneReplica, replica_number

_NUMBERS_PER_MESSAGE = 2**17  # int64 numbers that `broadcast` sends at once: 1 MiB


class Alone:
    """The only process of a training. The base class of `Workers`.

    Attributes:
      count: the number of processes.
      is_chief: whether this process is the chief: the one that writes the run directory and the output.
    """

    count, is_chief = 1, True

    def sum(self, numbers: list[int]) -> list[int]:
        """Returns the sum of each number over all workers, which give equally many numbers."""
        return numbers

    def broadcast(self, data: bytes) -> bytes:
        """Returns the chief's `data` in every worker."""
        return data

    def broadcast_arrays(self, arrays: dict[str, np.ndarray] | None) -> dict[str, np.ndarray] | None:
        """Returns the chief's arrays by name, or None, in every worker."""
        return arrays

    def wait_for_all(self) -> None:
        """Returns when every worker has called it."""
        self.sum([0])


class Workers(Alone):
    """One of the processes of a strategy that has several.

    Args:
      replicas: the replicas of the strategy.
    """

    def __init__(self, replicas: OneReplica):
        self._replicas = replicas
        self.count = replicas.count // len(replicas.local_replicas)
        self.is_chief = replicas.local_replicas.start == 0
        numbers = tf.TensorSpec([None], tf.int64)
        self._compiled_sum = tf.function(self._sum, autograph=False, input_signature=[numbers])

    def sum(self, numbers: list[int]) -> list[int]:
        return self._compiled_sum(tf.constant(numbers, tf.int64)).numpy().tolist()

    def broadcast(self, data: bytes) -> bytes:
        (length,) = self.sum([len(data) if self.is_chief else 0])
        padded = np.zeros(-(-length // 8), np.int64)
        if self.is_chief:
            padded.view(np.uint8)[:length] = np.frombuffer(data, np.uint8)
        for begin in range(0, len(padded), _NUMBERS_PER_MESSAGE):
            message = padded[begin : begin + _NUMBERS_PER_MESSAGE]
            message[:] = self.sum(message)  # type: ignore[arg-type]
        return padded.tobytes()[:length]

    def broadcast_arrays(self, arrays: dict[str, np.ndarray] | None) -> dict[str, np.ndarray] | None:
        packed = self.broadcast(bytes(checkpoints.pack(arrays)) if arrays else b"")
        return checkpoints.unpack(packed) if packed else None

    def _sum(self, numbers: tf.Tensor) -> tf.Tensor:
        def in_replica(numbers: tf.Tensor) -> tf.Tensor:
            # Only the first replica of each worker contributes.
            contributes = tf.equal(replica_number(), self._replicas.local_replicas.start)
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(contributes, numbers, 0))

        return self._replicas.local_value(self._replicas.run(in_replica, numbers))


def workers_of(replicas: OneReplica) -> Alone:
    """Returns the workers among whom the replicas are divided."""
    return Alone() if len(replicas.local_replicas) == replicas.count else Workers(replicas)
