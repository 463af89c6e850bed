"""One training step and one evaluation step, and many of them in one call.

Letters: T num_steps, B batch_size, V vocab_size.
A step is a function of a batch and a state: the state comes out of one step and goes into the next, and the gradient
ends where the step begins.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfrnn.data.batches import Batch
from tfrnn.layers.state import State, join_rows, split_rows
from tfrnn.training.losses import Loss
from tfrnn.training.replicas import Replicas

_APART = 7919  # between the seeds of two replicas' generators


class Sums(NamedTuple):
    """What an epoch adds up; the mean loss is exact however the epoch is cut into calls."""

    loss: tf.Tensor  # float64, nats
    tokens: tf.Tensor  # float64

    @classmethod
    def zero(cls) -> "Sums":
        return cls(tf.zeros([], tf.float64), tf.zeros([], tf.float64))

    def add(self, loss: tf.Tensor, tokens: tf.Tensor) -> "Sums":
        return Sums(self.loss + tf.cast(loss, tf.float64), self.tokens + tf.cast(tokens, tf.float64))


def clip(gradients: list[tf.Tensor], clip_norm: float) -> tuple[list[tf.Tensor], tf.Tensor]:
    """The gradients scaled so that their global norm is at most clip_norm (0: no bound), and the norm before.

    Dive into Deep Learning, equation 8.5.3; Pascanu et al., 2013.
    """
    norm = tf.linalg.global_norm(gradients)
    bounded = 0 < clip_norm < float(tf.float32.max)
    return (tf.clip_by_global_norm(gradients, clip_norm, norm)[0] if bounded else gradients), norm


class Gradients(NamedTuple):
    """What a replica finds in its rows of a batch."""

    loss: tf.Tensor  # the sum, nats
    gradients: list[tf.Tensor]  # of the mean loss over all replicas' tokens, dense
    state: State  # after the rows
    changed: list[tf.Tensor | None]  # what the model's changeable variables become; None where one stays


def gradients(
    model: Any, loss_fn: Loss, batch: Batch, state: State, chains: int = 1, replicas: int = 1, replica: Any = 0
) -> Gradients:
    """Forward and backward over the rows of one replica, which meets no other here.

    The rows are cut into `chains` equal slices, which never meet before their gradients are added up, so that they run
    side by side. In each replica the generators of dropout have a seed of their own.
    """
    variables, changeable = model.trainable_variables, changeable_variables(model)
    tokens = replicas * tf.size(batch.targets)
    losses, states = [], []
    seeded = {id(generator) for generator in generators(model)} if replicas > 1 else set()

    def shifted(variable: Any, value: tf.Tensor, sign: int) -> tf.Tensor:
        """The state of a generator, (seed, number drawn), as it is in this replica, or back; any other as it is."""
        if id(variable.value) not in seeded:
            return tf.identity(value)
        return value + tf.stack([sign * _APART * tf.cast(replica, value.dtype), tf.zeros([], value.dtype)])

    before = [shifted(variable, variable.value, 1) for variable in changeable]
    # A variable that changes on the way is a value too: it is assigned with the weights, or not at all.
    with keras.StatelessScope(zip(changeable, before, strict=True)) as scope:
        with tf.GradientTape() as tape, _cached_weights(model):
            for part, part_state in _slices(batch, _reset(model, state, batch.reset), chains):
                outputs, new_state = model(part.inputs, part_state, training=True)
                losses.append(loss_fn(outputs, part.targets))
                states.append(new_state)
            loss = tf.add_n(losses)
            mean = loss / tf.cast(tokens, loss.dtype)
        after = [scope.get_current_value(variable) for variable in changeable]
    # As dense tensors: the norm of an embedding's sparse gradient would count repeated rows apart.
    pairs = zip(tape.gradient(mean, variables), variables, strict=True)
    found = [tf.zeros_like(v) if g is None else tf.convert_to_tensor(g) for g, v in pairs]
    changed = [
        None if value is old else shifted(variable, value, -1)
        for variable, value, old in zip(changeable, after, before, strict=True)
    ]
    return Gradients(loss, found, join_rows(states), changed)


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
    find: Callable = gradients,
) -> tuple[State, Sums, tf.Tensor, tf.Tensor]:
    """Forward, backward, clip, update. Gives the state after the batch, the sums with the batch's, the gradients' norm
    before it was bounded, and whether that and the loss were finite; where they were not, all is left as it came.

    The loss is the mean over the batch's T * B tokens. Of several replicas each reads its own rows; their gradients are
    summed before they are bounded, so that all make the update that one would have made.

    Args:
      batch: the rows of this process's replicas.
      state: of the rows of each replica.
      replicas: by default those of the strategy in whose scope this is called.
      find: `gradients`, or the same compiled.
    """
    replicas = replicas or Replicas(tf.distribute.get_strategy())
    variables, changeable = model.trainable_variables, changeable_variables(model)

    def in_replica(batch: Batch, state: State, sums: Sums) -> tuple:
        own = _own(replicas, batch)
        context = tf.distribute.get_replica_context()
        found = find(model, loss_fn, own, state, chains, replicas.count, context.replica_id_in_sync_group)
        *summed, loss = replicas.sum([*found.gradients, tf.cast(found.loss, found.gradients[0].dtype)])
        tokens = replicas.count * tf.size(own.targets)
        bounded, norm = clip(summed, clip_norm)
        # The rate times the norm bounds what SGD adds to a weight, which could overflow though both are finite.
        rate = tf.cast(optimizer.learning_rate, norm.dtype)
        finite = tf.math.is_finite(loss / tf.cast(tokens, loss.dtype)) & tf.math.is_finite(rate * norm)
        if getattr(optimizer, "weight_decay", None):  # which takes from a weight in proportion to it
            finite &= tf.math.is_finite(rate * optimizer.weight_decay * tf.linalg.global_norm(variables))
        after = (found.state, sums.add(loss, tokens))
        kept = tf.nest.map_structure(lambda new, old: tf.where(finite, new, old), after, (state, sums))
        # A moving average, of a user's own cell, is averaged over the replicas; generators are the same in all.
        changed = [v if v is None or v.dtype.is_integer else replicas.mean(v) for v in found.changed]
        return *kept, tf.cast(norm, tf.float32), finite, bounded, changed

    def update(gradients: list[tf.Tensor], changed: list[tf.Tensor]) -> None:
        optimizer.apply(gradients, variables)
        for variable, value in zip(changeable, changed, strict=True):
            if value is not None:
                variable.assign(value)

    new_state, new_sums, norm, finite, bounded, changed = replicas.run(in_replica, batch, state, sums)
    new_sums, norm, finite = replicas.first((new_sums, norm, finite))

    def update_all() -> bool:
        replicas.run(update, bounded, changed)
        return True

    # The condition is outside of the replicas, since Keras's optimizers meet the other replicas on the way.
    tf.cond(finite, update_all, lambda: False)
    return new_state, Sums(*new_sums), norm, finite


def changeable_variables(model: Any) -> list[Any]:
    """Keras's variables of the model that a step may change and no optimizer does: what dropout draws from, and what a
    user's own cell keeps, such as moving averages."""
    if not isinstance(model, keras.Model):
        return []  # the book's own classes, which have no such thing
    return list(model.non_trainable_variables)


def generators(model: Any) -> list[Any]:
    """What is a variable of the model and no weight: the states of the generators that dropout draws from."""
    if not isinstance(model, keras.Model):
        return []  # the book's own classes, which have no such thing
    weights = {id(weight) for weight in model.weights}
    return [variable.value for variable in model.variables if id(variable) not in weights]


def eval_step(model: Any, loss_fn: Loss, batch: Batch, state: State, sums: Sums, chains: int = 1) -> tuple[State, Sums]:
    """Forward alone, over the rows of one replica; chains as in `gradients`."""
    losses, states = [], []
    with _cached_weights(model):
        for part, part_state in _slices(batch, _reset(model, state, batch.reset), chains):
            outputs, new_state = model(part.inputs, part_state, training=False)
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
    """So many training steps, or up to the first that was not finite; gives also the good ones' gradient norms.

    The state that goes in and comes out is that of all rows, whoever computes them.
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
    """So many evaluation steps; state and sums are those of each replica."""

    def in_replica(batch: Batch, state: State, sums: Sums) -> tuple[State, Sums]:
        return step(_own(replicas, batch), state, sums)

    _, state, sums = tf.while_loop(
        lambda done, *_: done < num_steps,
        lambda done, state, sums: (done + 1, *replicas.run(in_replica, next(iterator), state, sums)),
        (0, state, sums),
    )
    return state, sums


def _own(replicas: Replicas, batch: Batch) -> Batch:
    """In a replica: its rows of this process's batch."""
    return Batch(replicas.own(batch.inputs, 1), replicas.own(batch.targets, 1), replicas.own(batch.reset))


def _reset(model: Any, state: State, reset: tf.Tensor) -> State:
    """The state with the named rows [B] started anew."""
    fresh = model.initial_state(tf.size(reset) if reset.shape[0] is None else reset.shape[0])
    return tf.nest.map_structure(lambda new, old: tf.where(reset[:, None], new, old), fresh, state)


def _cached_weights(model: Any) -> contextlib.AbstractContextManager:
    """The model's own, for the chains to share; a user's model need not have it."""
    return getattr(model, "cached_weights", contextlib.nullcontext)()


def _slices(batch: Batch, state: State, chains: int) -> list[tuple[Batch, State]]:
    """The rows of a batch and its state in so many equal parts."""
    if chains == 1:
        return [(batch, state)]
    parts = zip(
        tf.split(batch.inputs, chains, 1),
        tf.split(batch.targets, chains, 1),
        tf.split(batch.reset, chains),
        strict=True,
    )
    return [(Batch(*part), s) for part, s in zip(parts, split_rows(state, chains), strict=True)]
