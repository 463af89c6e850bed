"""The replicas of a `tf.distribute` strategy: the rows that each of them reads, and steps that they make together.

One replica is the default, and then nothing is divided or communicated. Several replicas divide the rows of a batch,
and sum their gradients before these are clipped, so that all of them make the update that one would have made.
Letters: R replicas, B batch_size, H units.
"""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrnn.data.batches import MaskedBatch
from tfrnn.errors import UserError
from tfrnn.layers.state import State
from tfrnn.training.optimizer_strategy import acting_under
from tfrnn.training.step import (
    AnyBatch,
    Computed,
    EvalStep,
    Forward,
    StepResult,
    Sums,
    TrainStep,
    Update,
    changeable_variables,
    of_those_there,
    row_axes,
    seed_states,
)

_SEED_DIFFERENCE = 7919  # between the dropout seeds of replicas r and r + 1


class OneReplica:
    """The replica of a strategy of one device, which reads whole batches. The base class of `Replicas`.

    Attributes:
      strategy: the `tf.distribute` strategy.
      count: R, the number of replicas of all workers.
      local_replicas: the numbers of the replicas that this process runs.
    """

    count, local_replicas = 1, range(1)

    def __init__(self, strategy: tf.distribute.Strategy):
        self.strategy = strategy

    def rows_per_replica(self, num_rows: int, setting: str = "batch_size") -> int:
        """Returns the number of rows that each replica reads of a batch.

        Args:
          num_rows: the rows of the batch.
          setting: what sets that number, for the error message.
        Raises:
          UserError: the rows cannot be divided evenly over the replicas.
        """
        return num_rows

    def local_rows(self, num_rows: int) -> range:
        """Returns which rows of a batch of `num_rows` rows the replicas of this process read."""
        return range(num_rows)

    def run(self, function: Callable, *arguments: Any) -> Any:
        """Calls the function in every replica; returns one value per replica, as `tf.distribute.Strategy.run` does."""
        return self.strategy.run(function, arguments)

    def local_value(self, value: Any) -> Any:
        """Returns the value of this process's first replica, given one value per replica."""
        return value

    def divide(self, state: State) -> State:
        """Divides a state, tensors [B, H], among the replicas; returns one state [B / R, H] per replica."""
        return state

    def gather(self, state: State) -> State:
        """Joins the states that `divide` returns; returns the whole state, tensors [B, H], in every process."""
        return state

    def begin_evaluation(self, model: Any) -> Callable[[int, Sums], tuple[State, Sums]]:
        """Returns a function of the number of rows and of `Sums.zero` that returns what flows before evaluation.

        That is the state and the sums, one of each per replica.
        """
        return lambda batch_size, zero: (model.initial_state(batch_size), zero)

    def total(self, sums: Sums, zero: Sums) -> Sums:
        """Returns the total of the sums of all replicas, each of which began with `zero`."""
        return sums

    def train_step(self, step: TrainStep, jit_compile: bool) -> Callable[[AnyBatch, State, Sums], StepResult]:
        """Returns the step as all replicas make it together, for use in a tf.function.

        It takes the rows of this process, the state of each replica's rows, and sums over all replicas; and returns the
        same.

        Args:
          step: the step of one device.
          jit_compile: whether XLA compiles what does not communicate.
        """
        compiled = _compiled(step.__call__, jit_compile)

        def run(*flows: Any) -> StepResult:
            with acting_under(self.strategy, step.optimizer):
                return self.run(compiled, *flows)

        return run

    def eval_step(self, step: EvalStep, jit_compile: bool) -> Callable[[AnyBatch, State, Sums], tuple[State, Sums]]:
        """Returns the step as all replicas make it, each with its own sums, for use in a tf.function."""
        compiled = _compiled(step.__call__, jit_compile)
        return functools.partial(self.run, compiled)


class Replicas(OneReplica):
    """The replicas of a strategy that has several, seen from this process, which is one of its workers."""

    def __init__(self, strategy: tf.distribute.Strategy):
        super().__init__(strategy)
        self.count = strategy.num_replicas_in_sync
        values = strategy.experimental_distribute_values_from_function(lambda c: c.replica_id_in_sync_group)
        numbers = [int(number) for number in strategy.experimental_local_results(values)]
        self.local_replicas = range(numbers[0], numbers[-1] + 1)

    def rows_per_replica(self, num_rows: int, setting: str = "batch_size") -> int:
        if num_rows % self.count:
            nearest = max(self.count, num_rows - num_rows % self.count)
            raise UserError(
                f"`{setting}={num_rows}` cannot be divided evenly over {self.count} replicas; give a multiple of "
                f"{self.count}, such as {nearest}"
            )
        return num_rows // self.count

    def local_rows(self, num_rows: int) -> range:
        share = self.rows_per_replica(num_rows)
        return range(self.local_replicas.start * share, self.local_replicas.stop * share)

    def local_value(self, value: Any) -> Any:
        return tf.nest.map_structure(lambda v: self.strategy.experimental_local_results(v)[0], value)

    def divide(self, state: State) -> State:
        def in_replica(state: State) -> State:
            return tf.nest.map_structure(lambda tensor: self._slice(tensor, 0, self.count, 0), state)

        return self.run(in_replica, state)

    def gather(self, state: State) -> State:
        def in_replica(state: State) -> State:
            # The copy lies on the replica's device, by which TensorFlow knows to which replica it belongs.
            placed = tf.nest.map_structure(tf.identity, state)
            gathered = tf.distribute.get_replica_context().all_gather(placed, 0)
            for part, whole in zip(tf.nest.flatten(state), tf.nest.flatten(gathered), strict=True):
                whole.set_shape([part.shape[0] * self.count, *part.shape[1:]])
            return gathered

        return self.local_value(self.run(in_replica, state))

    def begin_evaluation(self, model: Any) -> Callable[[int, Sums], tuple[State, Sums]]:
        def in_replica(rows: int, zero: Sums) -> tuple[State, Sums]:
            return model.initial_state(rows), tf.nest.map_structure(tf.identity, zero)

        return tf.function(lambda size, zero: self.run(in_replica, self.rows_per_replica(size), zero), autograph=False)

    def total(self, sums: Sums, zero: Sums) -> Sums:
        def total_of(value: Any, start: tf.Tensor) -> tf.Tensor:
            return self.strategy.reduce(tf.distribute.ReduceOp.SUM, value, None) - (self.count - 1) * start

        return tf.nest.map_structure(total_of, sums, zero)

    def train_step(self, step: TrainStep, jit_compile: bool) -> Callable[[AnyBatch, State, Sums], StepResult]:
        compute = _compiled(step.compute_gradients, jit_compile)

        def in_replica(batch: AnyBatch, state: State, sums: Sums) -> tuple[StepResult, Update]:
            computed = self.compute_gradients(step.model, compute, self._slice_batch(batch), state, sums.metrics)
            # The counts of this loss are those of the rows, which are equally many in each replica.
            equal_counts = step.loss.adds_up and not isinstance(batch, MaskedBatch)
            return step.clip_and_check(self._sum_over_replicas(computed, sums.metrics, equal_counts), state, sums)

        def run(batch: AnyBatch, state: State, sums: Sums) -> StepResult:
            result, update = self.run(in_replica, batch, state, sums)
            result = StepResult(result.state, *self.local_value(result[1:]))

            def apply() -> bool:
                with acting_under(self.strategy, step.optimizer, sums_gradients=False):
                    self.run(step.apply, update)
                return True

            # The condition is outside of the replicas because Keras's optimizers communicate between replicas.
            tf.cond(result.is_finite, apply, lambda: False)
            return result

        return run

    def eval_step(self, step: EvalStep, jit_compile: bool) -> Callable[[AnyBatch, State, Sums], tuple[State, Sums]]:
        compiled = _compiled(step.__call__, jit_compile)

        def in_replica(batch: AnyBatch, state: State, sums: Sums) -> tuple[State, Sums]:
            return compiled(self._slice_batch(batch), state, sums)

        return functools.partial(self.run, in_replica)

    def compute_gradients(
        self, model: Any, compute: Callable, batch: AnyBatch, state: State, metric_values: tuple = ()
    ) -> Computed:
        """Returns the gradients of one replica's rows, before any communication. Must be called in a replica.

        Each replica draws its dropout from a different seed, although the seed states are the same in all of them.

        Args:
          model: the model.
          compute: `TrainStep.compute_gradients`, or a compiled version of it.
          batch, state: this replica's rows, and the state before them.
          metric_values: what the metrics' variables hold.
        """
        values = [variable.value for variable in changeable_variables(model)]
        computed = compute(batch, state, self._shift_seeds(model, values, 1), metric_values)
        return computed._replace(variable_values=self._shift_seeds(model, computed.variable_values, -1))

    def _slice_batch(self, batch: AnyBatch) -> AnyBatch:
        """Returns one replica's rows of this process's batch. Must be called in a replica."""
        num_parts, first = len(self.local_replicas), self.local_replicas.start
        pairs = zip(batch, row_axes(batch), strict=True)
        return type(batch)(*(self._slice(tensor, axis, num_parts, first) for tensor, axis in pairs))

    def _slice(self, tensor: tf.Tensor, axis: int, num_parts: int, first: int) -> tf.Tensor:
        """Returns one replica's part of a tensor, of whose `num_parts` parts replica number `first` reads the first."""
        if num_parts == 1:
            return tf.identity(tensor)
        size = tensor.shape[axis] // num_parts
        begin = [0] * len(tensor.shape)
        begin[axis] = (replica_number() - first) * size
        return tf.identity(tf.slice(tensor, begin, [size if i == axis else n for i, n in enumerate(tensor.shape)]))

    def _shift_seeds(self, model: Any, values: list, sign: int) -> list:
        """Adds this replica's difference to the values of seed states, (seed, count), or subtracts it."""
        seeded = {id(seed_state) for seed_state in seed_states(model)}

        def shift(variable: Any, value: tf.Tensor) -> tf.Tensor:
            if value is None or id(variable.value) not in seeded:
                return value if value is None else tf.identity(value)
            difference = sign * _SEED_DIFFERENCE * tf.cast(replica_number(), value.dtype)
            return value + tf.stack([difference, tf.zeros([], value.dtype)])

        return [shift(*pair) for pair in zip(changeable_variables(model), values, strict=True)]

    def _sum_over_replicas(self, computed: Computed, metrics_before: tuple, equal_counts: bool) -> Computed:
        """Returns what one device would have computed, up to rounding, in one message. Must be called in a replica.

        Args:
          computed: what this replica computed of its rows.
          metrics_before: the values of the metrics' variables before the batch.
          equal_counts: whether `count` is the same in each replica.
        """
        context, forward = tf.distribute.get_replica_context(), computed.forward
        added = [] if forward.added is None else [forward.added]
        there = [gradient for gradient in computed.gradients if gradient is not None]
        if equal_counts:
            shares = [tensor / self.count for tensor in (*there, *added)]
        else:  # the mean over all rows is that over the replicas, weighted by their counts
            share = tf.math.divide_no_nan(forward.count, context.all_reduce(tf.distribute.ReduceOp.SUM, forward.count))
            shares = [tensor * tf.cast(share, tensor.dtype) for tensor in (*there, *added)]
        changes = [after - before for after, before in zip(forward.metrics, metrics_before, strict=True)]
        tensors = [*shares, forward.total, forward.count, *changes]
        flat = tf.concat([tf.reshape(tf.cast(tensor, tensors[0].dtype), [-1]) for tensor in tensors], 0)
        parts = tf.split(
            context.all_reduce(tf.distribute.ReduceOp.SUM, flat), [t.shape.num_elements() for t in tensors]
        )
        summed = iter([tf.cast(tf.reshape(p, t.shape), t.dtype) for p, t in zip(parts, tensors, strict=True)])
        gradients = of_those_there(lambda _: next(summed), computed.gradients)
        forward = Forward(
            added=next(summed) if added else None,
            total=next(summed),
            count=next(summed),
            metrics=tuple(before + next(summed) for before in metrics_before),
            state=forward.state,
        )
        # Values that a user's cell keeps, such as moving averages, differ between replicas; seed states do not.
        values = [
            v if v is None or v.dtype.is_integer else context.all_reduce(tf.distribute.ReduceOp.MEAN, v)
            for v in computed.variable_values
        ]
        return Computed(forward, gradients, values)


def replicas_of(strategy: tf.distribute.Strategy) -> OneReplica:
    """Returns the replicas of a strategy."""
    # Even one replica of these has the restrictions of several: none may communicate within a condition.
    mirrored = (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy)
    several = strategy.num_replicas_in_sync > 1 or isinstance(strategy, mirrored)
    return Replicas(strategy) if several else OneReplica(strategy)


def replica_number() -> Any:
    """Returns the number of the replica in which it is called."""
    return tf.distribute.get_replica_context().replica_id_in_sync_group


def _compiled(function: Callable, by_xla: bool) -> Callable:
    return tf.function(function, autograph=False, jit_compile=True) if by_xla else function
