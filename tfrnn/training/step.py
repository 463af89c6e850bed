"""One step on one device: the training step, and the step that only evaluates.

Letters: T num_steps, B batch_size, V vocab_size.
A step is an object that holds what is constant, called with what flows: a batch, the state before it, and the sums so
far. The state that it returns is an input of the next step, and gradients do not flow back into earlier steps.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfrnn.data.batches import Batch
from tfrnn.layers.model_protocol import with_weights_read
from tfrnn.layers.state import State, join_rows, split_rows
from tfrnn.training.losses import LossFunction as Loss


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


class LossAndGradients(NamedTuple):
    """What the forward and the backward pass over a batch compute."""

    loss: tf.Tensor  # the sum over the batch, nats
    tokens: tf.Tensor  # the number of tokens in that sum, a scalar
    gradients: list[tf.Tensor]  # of the mean loss, one per trainable variable; dense
    state: State  # after the batch
    variable_values: list[tf.Tensor | None]  # new values of `changeable_variables`; None for an unchanged one


class Update(NamedTuple):
    """What a step changes in the variables of model and optimizer."""

    gradients: list[tf.Tensor]  # clipped
    variable_values: list[tf.Tensor | None]  # as in `LossAndGradients`


class StepResult(NamedTuple):
    """What a training step returns. If it is not finite, state and sums are those before it."""

    state: State  # after the batch
    sums: Sums  # with those of the batch
    gradient_norm: tf.Tensor  # the global norm of the gradients before they were clipped, float32
    is_finite: tf.Tensor  # whether the loss and the update were finite; if not, nothing was changed


def one_chain(rows: int | None) -> int:
    """Returns 1, the number of slices into which a step cuts a batch by default."""
    return 1


@dataclasses.dataclass(frozen=True)
class TrainStep:
    """A training step on one device: forward, backward, clip, update.

    Call: takes a batch, the state before it and the sums before it, and returns a `StepResult`. The loss is the mean
    over the batch's T * B tokens.

    Args:
      model: as for `Trainer`.
      optimizer: a Keras optimizer.
      loss_fn: (outputs, targets) -> the sum of the losses, a scalar.
      clip_norm: the bound on the global norm of the gradients; 0 for none.
      num_chains: the number of rows of a batch (None if it is unknown) -> the number of equal slices into which they
        are cut. The slices depend on each other only in the sum of their gradients, so TensorFlow can run them in
        parallel.
    """

    model: Any
    optimizer: Any
    loss_fn: Loss
    clip_norm: float
    num_chains: Callable[[int | None], int] = one_chain

    def __call__(self, batch: Batch, state: State, sums: Sums) -> StepResult:
        result, update = self.clip_and_check(self.compute_gradients(batch, state), state, sums)
        tf.cond(result.is_finite, lambda: self.apply(update), lambda: False)
        return result

    def compute_gradients(self, batch: Batch, state: State, variable_values: list | None = None) -> LossAndGradients:
        """Runs the model forward and backward.

        No variable is assigned: a variable that the model changes while it runs is returned as a value.

        Args:
          batch: what the model reads.
          state: the state before it.
          variable_values: what `changeable_variables` hold, if it is not what they were assigned: each of several
            replicas draws its dropout from another seed.
        """
        variables, changeable = self.model.trainable_variables, changeable_variables(self.model)
        before = variable_values or [tf.identity(variable.value) for variable in changeable]
        tokens = tf.size(batch.targets)
        # In this scope an assignment to a variable only sets a value, which `apply` assigns if the step is finite.
        with keras.StatelessScope(zip(changeable, before, strict=True)) as scope:
            with tf.GradientTape() as tape:
                chains = self.num_chains(batch.reset.shape[0])
                loss, state = _run_model(self.model, self.loss_fn, batch, state, chains, training=True)
                mean = loss / tf.cast(tokens, loss.dtype)
            after = [scope.get_current_value(variable) for variable in changeable]
        # Dense, because the norm of an embedding's sparse gradient would count the parts of a repeated row separately.
        pairs = zip(tape.gradient(mean, variables), variables, strict=True)
        gradients = [tf.zeros_like(v) if g is None else tf.convert_to_tensor(g) for g, v in pairs]
        changed = [None if new is old else new for new, old in zip(after, before, strict=True)]
        return LossAndGradients(loss, tokens, gradients, state, changed)

    def clip_and_check(self, computed: LossAndGradients, state: State, sums: Sums) -> tuple[StepResult, Update]:
        """Returns the result of a step, and the update to make if it is finite.

        Args:
          computed: what `compute_gradients` returned.
          state, sums: those before the step.
        """
        clipped, norm = clip(computed.gradients, self.clip_norm)
        # The rate times the norm bounds what SGD adds to a weight, which could overflow even if both are finite.
        rate = tf.cast(self.optimizer.learning_rate, norm.dtype)
        mean = computed.loss / tf.cast(computed.tokens, computed.loss.dtype)
        is_finite = tf.math.is_finite(mean) & tf.math.is_finite(rate * norm)
        if decay := getattr(self.optimizer, "weight_decay", None):  # subtracts from a weight in proportion to it
            is_finite &= tf.math.is_finite(rate * decay * tf.linalg.global_norm(self.model.trainable_variables))
        after = (computed.state, sums.add(computed.loss, computed.tokens))
        state, sums = tf.nest.map_structure(lambda new, old: tf.where(is_finite, new, old), after, (state, sums))
        return (
            StepResult(state, sums, tf.cast(norm, tf.float32), is_finite),
            Update(clipped, computed.variable_values),
        )

    def apply(self, update: Update) -> bool:
        """Changes the variables of model and optimizer; returns True, as the branch of a condition."""
        self.optimizer.apply(update.gradients, self.model.trainable_variables)
        for variable, value in zip(changeable_variables(self.model), update.variable_values, strict=True):
            if value is not None:
                variable.assign(value)
        return True


@dataclasses.dataclass(frozen=True)
class EvalStep:
    """A step that runs the model forward only.

    Call: takes a batch, the state before it and the sums before it, and returns the state and the sums after it.

    Args:
      model, loss_fn, num_chains: as for `TrainStep`.
    """

    model: Any
    loss_fn: Loss
    num_chains: Callable[[int | None], int] = one_chain

    def __call__(self, batch: Batch, state: State, sums: Sums) -> tuple[State, Sums]:
        chains = self.num_chains(batch.reset.shape[0])
        loss, state = _run_model(self.model, self.loss_fn, batch, state, chains, training=False)
        return state, sums.add(loss, tf.size(batch.targets))


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


def _run_model(
    model: Any, loss_fn: Loss, batch: Batch, state: State, chains: int, training: bool
) -> tuple[tf.Tensor, State]:
    """Runs the model over a batch, cut into `chains` slices; returns the summed loss, and the state after the batch."""
    losses, states = [], []
    run = with_weights_read(model)  # the slices share what is read
    for part, part_state in _slices(batch, _reset_rows(model, state, batch.reset), chains):
        outputs, new_state = run(part.inputs, part_state, training=training)
        losses.append(loss_fn(outputs, part.targets))
        states.append(new_state)
    return tf.add_n(losses), join_rows(states)


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
