"""One training step, one evaluation step, and loops that make many of them in one call.

Letters: T num_steps, B batch_size, V vocab_size.
A step is a function of a batch and a state. The state that it returns is an input of the next step, and gradients do
not flow back into earlier steps.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfrnn.data.batches import Batch
from tfrnn.layers.state import State, join_rows, split_rows
from tfrnn.models.recurrent_model import with_weights_read
from tfrnn.training.losses import Loss
from tfrnn.training.replicas import Replicas

_SEED_DIFFERENCE = 7919  # between the dropout seeds of replicas r and r + 1


class Sums(NamedTuple):
    """Sums over the batches of an epoch, from which the mean loss is exact however the epoch is cut into calls."""

    loss: tf.Tensor  # float64, nats
    tokens: tf.Tensor  # float64

    @classmethod
    def zero(cls) -> "Sums":
        """Returns the sums before the first batch."""
        return cls(tf.zeros([], tf.float64), tf.zeros([], tf.float64))

    def add(self, loss: tf.Tensor, tokens: tf.Tensor) -> "Sums":
        """Returns the sums after a batch with this summed loss and this number of tokens."""
        return Sums(self.loss + tf.cast(loss, tf.float64), self.tokens + tf.cast(tokens, tf.float64))


def clip(gradients: list[tf.Tensor], clip_norm: float) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Returns the gradients, scaled so that their global norm is at most `clip_norm`, and their norm before that.

    Source: Dive into Deep Learning, equation 8.5.3; Pascanu et al., 2013.

    Args:
      gradients: one tensor per variable.
      clip_norm: the bound; 0 for none.
    """
    norm = tf.linalg.global_norm(gradients)
    bounded = 0 < clip_norm < float(tf.float32.max)
    return (tf.clip_by_global_norm(gradients, clip_norm, norm)[0] if bounded else gradients), norm


class ReplicaResult(NamedTuple):
    """What one replica computes from its rows of a batch, before it communicates with others."""

    loss: tf.Tensor  # the sum over the rows, nats
    gradients: list[tf.Tensor]  # of the mean loss over the tokens of all replicas; dense
    state: State  # after the batch
    variable_values: list[tf.Tensor | None]  # new values of `changeable_variables`; None for an unchanged one


def compute_gradients(
    model: Any, loss_fn: Loss, batch: Batch, state: State, chains: int = 1, replicas: int = 1, replica: Any = 0
) -> ReplicaResult:
    """Runs the model forward and backward over the rows of one replica, without communication.

    No variable is assigned: a variable that the model changes while it runs is returned as a value.

    Args:
      model: as for `Trainer`.
      loss_fn: (outputs, targets) -> the sum of the losses, a scalar.
      batch: the rows of this replica.
      state: the state of these rows before the batch.
      chains: the number of equal slices into which the rows are cut. The slices depend on each other only in the sum
        of their gradients, so TensorFlow can run them in parallel.
      replicas: the number of replicas.
      replica: the number of this replica. Each replica draws its dropout from a different seed.
    """
    variables, changeable = model.trainable_variables, changeable_variables(model)
    tokens = replicas * tf.size(batch.targets)
    losses, states = [], []
    seeded = {id(seed_state) for seed_state in seed_states(model)} if replicas > 1 else set()

    def shift_seed(variable: Any, value: tf.Tensor, sign: int) -> tf.Tensor:
        """Adds this replica's difference to a seed state, (seed, count), or subtracts it; other values stay."""
        if id(variable.value) not in seeded:
            return tf.identity(value)
        return value + tf.stack([sign * _SEED_DIFFERENCE * tf.cast(replica, value.dtype), tf.zeros([], value.dtype)])

    before = [shift_seed(variable, variable.value, 1) for variable in changeable]
    # In this scope an assignment to a variable only sets a value, which `train_step` assigns if the step is finite.
    with keras.StatelessScope(zip(changeable, before, strict=True)) as scope:
        with tf.GradientTape() as tape:
            run = with_weights_read(model)  # inside the tape; the chains share what is read
            for part, part_state in _slices(batch, _reset_rows(model, state, batch.reset), chains):
                outputs, new_state = run(part.inputs, part_state, training=True)
                losses.append(loss_fn(outputs, part.targets))
                states.append(new_state)
            loss = tf.add_n(losses)
            mean = loss / tf.cast(tokens, loss.dtype)
        after = [scope.get_current_value(variable) for variable in changeable]
    # Dense, because the norm of an embedding's sparse gradient would count the parts of a repeated row separately.
    pairs = zip(tape.gradient(mean, variables), variables, strict=True)
    gradients = [tf.zeros_like(v) if g is None else tf.convert_to_tensor(g) for g, v in pairs]
    variable_values = [
        None if value is value_before else shift_seed(variable, value, -1)
        for variable, value, value_before in zip(changeable, after, before, strict=True)
    ]
    return ReplicaResult(loss, gradients, join_rows(states), variable_values)


def train_step(
    model: Any,
    optimizer: Any,
    loss_fn: Loss,
    clip_norm: float,
    batch: Batch,
    state: State,
    sums: Sums,
    chains: int = 1,
    replicas: Replicas | None = None,
    compute: Callable = compute_gradients,
) -> tuple[State, Sums, tf.Tensor, tf.Tensor]:
    """Makes one training step: forward, backward, clip, update.

    The loss is the mean over the batch's T * B tokens. Each of several replicas reads its own rows; their gradients
    are summed before they are clipped, so that all replicas make the update that one would have made.

    Args:
      model: as for `Trainer`.
      optimizer: a Keras optimizer.
      loss_fn: (outputs, targets) -> the sum of the losses, a scalar.
      clip_norm: the bound on the global norm of the gradients; 0 for none.
      batch: the rows of this process's replicas.
      state: the state of each replica's rows before the batch.
      sums: the sums before the batch.
      chains: as for `compute_gradients`.
      replicas: by default the replicas of the strategy in whose scope this is called.
      compute: `compute_gradients`, or a compiled version of it.
    Returns:
      The state after the batch; the sums with the batch's; the norm of the gradients before they were clipped; and
      whether the loss and the update were finite. If not, state, sums, weights and optimizer are unchanged.
    """
    replicas = replicas or Replicas(tf.distribute.get_strategy())
    variables, changeable = model.trainable_variables, changeable_variables(model)

    def in_replica(batch: Batch, state: State, sums: Sums) -> tuple:
        part = _slice_batch(replicas, batch)
        context = tf.distribute.get_replica_context()
        result = compute(model, loss_fn, part, state, chains, replicas.count, context.replica_id_in_sync_group)
        *summed, loss = replicas.all_reduce_sum([*result.gradients, tf.cast(result.loss, result.gradients[0].dtype)])
        tokens = replicas.count * tf.size(part.targets)
        clipped, norm = clip(summed, clip_norm)
        # The rate times the norm bounds what SGD adds to a weight, which could overflow even if both are finite.
        rate = tf.cast(optimizer.learning_rate, norm.dtype)
        finite = tf.math.is_finite(loss / tf.cast(tokens, loss.dtype)) & tf.math.is_finite(rate * norm)
        if getattr(optimizer, "weight_decay", None):  # it subtracts from a weight in proportion to the weight
            finite &= tf.math.is_finite(rate * optimizer.weight_decay * tf.linalg.global_norm(variables))
        after = (result.state, sums.add(loss, tokens))
        state_and_sums = tf.nest.map_structure(lambda new, old: tf.where(finite, new, old), after, (state, sums))
        # Values that a user's cell keeps, such as moving averages, differ between replicas; seed states do not.
        values = [v if v is None or v.dtype.is_integer else replicas.all_reduce_mean(v) for v in result.variable_values]
        return *state_and_sums, tf.cast(norm, tf.float32), finite, clipped, values

    def update(gradients: list[tf.Tensor], values: list[tf.Tensor]) -> None:
        optimizer.apply(gradients, variables)
        for variable, value in zip(changeable, values, strict=True):
            if value is not None:
                variable.assign(value)

    new_state, new_sums, norm, finite, clipped, values = replicas.run(in_replica, batch, state, sums)
    new_sums, norm, finite = replicas.local_value((new_sums, norm, finite))

    def update_all() -> bool:
        replicas.run(update, clipped, values)
        return True

    # The condition is outside of the replicas because Keras's optimizers communicate between replicas.
    tf.cond(finite, update_all, lambda: False)
    return new_state, Sums(*new_sums), norm, finite


def changeable_variables(model: Any) -> list[Any]:
    """Returns the Keras variables that a step may change and the optimizer does not.

    These are the seed states of dropout, and what a user's cell keeps, such as moving averages.
    """
    if not isinstance(model, keras.Model):
        return []  # the book's classes, which have none
    return list(model.non_trainable_variables)


def seed_states(model: Any) -> list[Any]:
    """Returns the state variables of the model's random seed generators, from which dropout draws.

    They are the variables of the model that are no weights.
    """
    if not isinstance(model, keras.Model):
        return []  # the book's classes, which have none
    weights = {id(weight) for weight in model.weights}
    return [variable.value for variable in model.variables if id(variable) not in weights]


def eval_step(model: Any, loss_fn: Loss, batch: Batch, state: State, sums: Sums, chains: int = 1) -> tuple[State, Sums]:
    """Runs the model forward over the rows of one replica; returns the state after the batch and the sums with it.

    Args:
      model: as for `Trainer`.
      loss_fn: (outputs, targets) -> the sum of the losses, a scalar.
      batch: the rows of this replica.
      state: the state of these rows before the batch.
      sums: the sums before the batch.
      chains: the number of equal slices into which the rows are cut.
    """
    losses, states = [], []
    run = with_weights_read(model)  # the chains share what is read
    for part, part_state in _slices(batch, _reset_rows(model, state, batch.reset), chains):
        outputs, new_state = run(part.inputs, part_state, training=False)
        losses.append(loss_fn(outputs, part.targets))
        states.append(new_state)
    return join_rows(states), sums.add(tf.add_n(losses), tf.size(batch.targets))


def train_steps(
    replicas: Replicas,
    step: Callable[[Batch, State, Sums], tuple[State, Sums, tf.Tensor, tf.Tensor]],
    iterator: Iterator[Batch],
    num_steps: tf.Tensor,
    state: State,
    sums: Sums,
) -> tuple[State, Sums, tf.Tensor]:
    """Makes `num_steps` training steps, or fewer if one of them is not finite.

    Args:
      replicas: the replicas that make the steps.
      step: (batch, state, sums) -> what `train_step` returns.
      iterator: the batches, with the rows of this process's replicas.
      num_steps: an int32 scalar.
      state: the state of all B rows.
      sums: the sums before the first step.
    Returns:
      The state of all B rows and the sums after the last finite step, and the gradient norm of each finite step.
    """

    def body(done: tf.Tensor, finite: tf.Tensor, state: State, sums: Sums, norms: tf.TensorArray) -> tuple:
        state, sums, norm, finite = step(next(iterator), state, sums)
        return done + tf.cast(finite, tf.int32), finite, state, sums, norms.write(done, norm)

    norms = tf.TensorArray(tf.float32, num_steps, element_shape=[])
    done, _, state, sums, norms = tf.while_loop(
        lambda done, finite, *_: finite & (done < num_steps), body, (0, True, replicas.divide(state), sums, norms)
    )
    return replicas.gather(state), sums, norms.stack()[:done]


def eval_steps(
    replicas: Replicas,
    step: Callable[[Batch, State, Sums], tuple[State, Sums]],
    iterator: Iterator[Batch],
    num_steps: tf.Tensor,
    state: State,
    sums: Sums,
) -> tuple[State, Sums]:
    """Makes `num_steps` evaluation steps; returns the state and the sums of each replica after the last step.

    Args:
      replicas: the replicas that make the steps.
      step: (batch, state, sums) -> what `eval_step` returns.
      iterator: the batches, with the rows of this process's replicas.
      num_steps: an int32 scalar.
      state: the state of each replica's rows.
      sums: the sums of each replica.
    """

    def in_replica(batch: Batch, state: State, sums: Sums) -> tuple[State, Sums]:
        return step(_slice_batch(replicas, batch), state, sums)

    _, state, sums = tf.while_loop(
        lambda done, *_: done < num_steps,
        lambda done, state, sums: (done + 1, *replicas.run(in_replica, next(iterator), state, sums)),
        (0, state, sums),
    )
    return state, sums


def _slice_batch(replicas: Replicas, batch: Batch) -> Batch:
    """Returns one replica's rows of this process's batch. Must be called in a replica."""
    return Batch(
        replicas.slice_rows(batch.inputs, 1), replicas.slice_rows(batch.targets, 1), replicas.slice_rows(batch.reset)
    )


def _reset_rows(model: Any, state: State, reset: tf.Tensor) -> State:
    """Returns the state with the initial state in the rows for which `reset`, bool [B], is true."""
    initial = model.initial_state(tf.size(reset) if reset.shape[0] is None else reset.shape[0])
    return tf.nest.map_structure(lambda new, old: tf.where(reset[:, None], new, old), initial, state)


def _slices(batch: Batch, state: State, chains: int) -> list[tuple[Batch, State]]:
    """Returns `chains` pairs of a batch and a state, each with an equal part of the rows."""
    if chains == 1:
        return [(batch, state)]
    parts = zip(
        tf.split(batch.inputs, chains, 1),
        tf.split(batch.targets, chains, 1),
        tf.split(batch.reset, chains),
        strict=True,
    )
    return [(Batch(*part), s) for part, s in zip(parts, split_rows(state, chains), strict=True)]
