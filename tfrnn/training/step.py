"""One step on one device: the training step, and the step that only evaluates.

Letters: T num_steps, B batch_size, V vocab_size.
A step is an object that holds what is constant, called with what flows: a batch, the state before it, and the sums so
far. The state that it returns is an input of the next step, and gradients do not flow back into earlier steps.
"""

import dataclasses
import numbers
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfrnn.data.batches import Batch, MaskedBatch
from tfrnn.errors import UserError
from tfrnn.layers.cell_protocol import takes_argument
from tfrnn.layers.model_protocol import with_weights_read
from tfrnn.layers.state import State, join_rows, split_rows
from tfrnn.training.losses import MeanLoss

AnyBatch = Batch | MaskedBatch


class Sums(NamedTuple):
    """Sums over the batches of an epoch, from which the mean loss is exact however the epoch is cut into calls."""

    loss: tf.Tensor  # float64: the totals of the loss
    tokens: tf.Tensor  # float64: what is counted in them: steps of rows, unless the loss's reduction says otherwise
    added: tf.Tensor  # float64: the model's own losses, such as regularizers, times the tokens of their batches
    metrics: tuple[tf.Tensor, ...] = ()  # the values of the metrics' variables

    @classmethod
    def zero(cls, metrics: Sequence[keras.metrics.Metric] = ()) -> "Sums":
        """Returns the sums before the first batch, with the values of reset metrics."""
        for metric in metrics:
            metric.reset_state()
        values = tuple(tf.convert_to_tensor(variable.value) for variable in variables_of(metrics))
        return cls(tf.zeros([], tf.float64), tf.zeros([], tf.float64), tf.zeros([], tf.float64), values)

    def add(self, done: "Forward") -> "Sums":
        """Returns the sums after a batch."""
        loss, tokens = tf.cast(done.total, tf.float64), tf.cast(done.count, tf.float64)
        added = self.added if done.added is None else self.added + tokens * tf.cast(done.added, tf.float64)
        return Sums(self.loss + loss, self.tokens + tokens, added, done.metrics)


class Forward(NamedTuple):
    """What the forward pass over a batch computes."""

    total: tf.Tensor  # of the loss over the batch, as `MeanLoss` returns it
    count: tf.Tensor  # by which it is divided
    added: tf.Tensor | None  # the sum of the model's own losses: regularizers and add_loss; None if it has none
    state: State  # after the batch
    metrics: tuple[tf.Tensor, ...]  # the values of the metrics' variables after the batch

    def objective(self) -> tf.Tensor:
        """Returns what is minimized: the mean loss, and the model's own losses."""
        mean = tf.math.divide_no_nan(self.total, self.count)  # a replica may have nothing but padding
        return mean if self.added is None else mean + tf.cast(self.added, mean.dtype)


class Computed(NamedTuple):
    """What the forward and the backward pass over a batch compute."""

    forward: Forward
    # Of the objective, scaled as the optimizer asks, one per trainable variable; dense. None: it does not depend on it.
    gradients: list[tf.Tensor | None]
    variable_values: list[tf.Tensor | None]  # new values of `changeable_variables`; None for an unchanged one


class Update(NamedTuple):
    """What a step changes in the variables of model and optimizer."""

    gradients: list[tf.Tensor | None]  # clipped
    variable_values: list[tf.Tensor | None]  # as in `Computed`


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

    Call: takes a batch, the state before it and the sums before it, and returns a `StepResult`.

    Args:
      model: as for `Trainer`.
      optimizer: a Keras optimizer.
      loss: what is minimized, beside the model's own losses.
      clip_norm: the bound on the global norm of the gradients; 0 for none.
      num_chains: the number of rows of a batch (None if it is unknown) -> the number of equal slices into which they
        are cut. The slices depend on each other only in the sum of their gradients, so TensorFlow can run them in
        parallel. There is one if the loss of a row depends on other rows.
      metrics: Keras's metrics, with their variables, which are updated with the outputs of each step.
    """

    model: Any
    optimizer: Any
    loss: MeanLoss
    clip_norm: float
    num_chains: Callable[[int | None], int] = one_chain
    metrics: tuple[keras.metrics.Metric, ...] = ()

    def __call__(self, batch: AnyBatch, state: State, sums: Sums) -> StepResult:
        computed = self.compute_gradients(batch, state, metric_values=sums.metrics)
        result, update = self.clip_and_check(computed, state, sums)
        tf.cond(result.is_finite, lambda: self.apply(update), lambda: False)
        return result

    def compute_gradients(
        self,
        batch: AnyBatch,
        state: State,
        variable_values: list | None = None,
        metric_values: tuple[tf.Tensor, ...] = (),
    ) -> Computed:
        """Runs the model forward and backward.

        No variable is assigned: a variable that the model changes while it runs is returned as a value.

        Args:
          batch: what the model reads.
          state: the state before it.
          variable_values: what `changeable_variables` hold, if it is not what they were assigned: each of several
            replicas draws its dropout from another seed.
          metric_values: what the metrics' variables hold.
        """
        variables, changeable = self.model.trainable_variables, changeable_variables(self.model)
        before = variable_values or [tf.identity(variable.value) for variable in changeable]
        for chains in (self.num_chains(batch.reset.shape[0]), 1):
            # In this scope an assignment to a variable only sets a value, which `apply` assigns if the step is finite.
            scope = keras.StatelessScope(zip(changeable, before, strict=True), collect_losses=True)
            with scope, tf.GradientTape() as tape:
                forward = _run_model(self, batch, state, chains, metric_values, scope)
                if forward is None:
                    continue  # with one chain
                scaled = self.optimizer.scale_loss(forward.objective())
            break
        assert forward is not None  # as there was one chain at last
        after = [scope.get_current_value(variable) for variable in changeable]
        gradients = dense_gradients(tape, scaled, variables)
        changed = [None if new is old else new for new, old in zip(after, before, strict=True)]
        return Computed(forward, gradients, changed)

    def clip_and_check(self, computed: Computed, state: State, sums: Sums) -> tuple[StepResult, Update]:
        """Returns the result of a step, and the update to make if it is finite.

        Args:
          computed: what `compute_gradients` returned.
          state, sums: those before the step.
        """
        scale = self.optimizer.scale_loss(one := tf.ones([]))
        if scale is one:
            clipped, norm = clip(computed.gradients, self.clip_norm)
        else:  # the optimizer divides by the scale, but the bound is on what it then has
            clipped, norm = clip(of_those_there(lambda g: g / scale, computed.gradients), self.clip_norm)
            clipped = of_those_there(lambda g: g * scale, clipped)
        # The rate times the norm bounds what SGD adds to a weight, which could overflow even if both are finite.
        rate = tf.cast(self.optimizer.learning_rate, norm.dtype)
        is_finite = tf.math.is_finite(rate * norm)
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        if decay := getattr(optimizer, "weight_decay", None):  # subtracts from a weight in proportion to it
            pairs = zip(self.model.trainable_variables, clipped, strict=True)
            decaying = [variable for variable, gradient in pairs if gradient is not None]
            is_finite &= tf.math.is_finite(rate * decay * tf.linalg.global_norm(decaying))
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            # It makes no update of such gradients, but lowers the scale, which a scale of 1 has not caused.
            is_finite |= ~tf.math.is_finite(norm) & (scale > 1)
        is_finite &= tf.math.is_finite(computed.forward.objective())
        after = (computed.forward.state, sums.add(computed.forward))
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
      model, loss, num_chains, metrics: as for `TrainStep`.
    """

    model: Any
    loss: MeanLoss
    num_chains: Callable[[int | None], int] = one_chain
    metrics: tuple[keras.metrics.Metric, ...] = ()

    def __call__(self, batch: AnyBatch, state: State, sums: Sums) -> tuple[State, Sums]:
        for chains in (self.num_chains(batch.reset.shape[0]), 1):
            if forward := _run_model(self, batch, state, chains, sums.metrics):
                break
        assert forward is not None  # as there was one chain at last
        return forward.state, sums.add(forward)


def dense_gradients(tape: tf.GradientTape, loss: tf.Tensor, variables: Sequence[Any]) -> list[tf.Tensor | None]:
    """Returns the gradient of each variable, None where the loss does not depend on it.

    Keras's optimizers warn of such a variable and leave it as it is; by zeros they would change it: by weight decay, a
    constraint, or what they have accumulated.
    Dense, because the norm of an embedding's sparse gradient would count the parts of a repeated row separately.

    Raises UserError if the loss depends on none of the variables.
    """
    gradients = tape.gradient(loss, variables)
    if variables and all(gradient is None for gradient in gradients):
        raise UserError(
            "expected a loss that depends on a trainable weight of the model; got one that depends on none, so that "
            "nothing could be learnt; compute the `loss` of the outputs by TensorFlow's functions"
        )
    return of_those_there(tf.convert_to_tensor, gradients)


def of_those_there(function: Callable, gradients: Sequence[tf.Tensor | None]) -> list[tf.Tensor | None]:
    """Returns what the function returns of each gradient, None where there is none."""
    return [None if gradient is None else function(gradient) for gradient in gradients]


def check_clip_norm(clip_norm: float) -> None:
    """Raises UserError if it is no bound on the norm of a gradient."""
    if not isinstance(clip_norm, numbers.Real) or not clip_norm >= 0:
        raise UserError(f"expected `clip_norm` of at least 0 (0: no bound); got {clip_norm}")


def clip(gradients: list, clip_norm: float) -> tuple[list, tf.Tensor]:
    """Returns the gradients, scaled so that their global norm is at most `clip_norm`, and their norm before that.

    Source: Dive into Deep Learning, equation 8.5.3; Pascanu et al., 2013.

    Args:
      gradients: one tensor per variable, or None, which stays None.
      clip_norm: the bound; 0 for none.
    """
    norm = tf.linalg.global_norm(gradients)
    bounded = 0 < clip_norm < float(tf.float32.max)
    return (tf.clip_by_global_norm(gradients, clip_norm, norm)[0] if bounded else gradients), norm


def variables_of(metrics: Sequence[keras.metrics.Metric]) -> list[Any]:
    """Returns the variables of metrics, in their order."""
    return [variable for metric in metrics for variable in metric.variables]


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
    step: TrainStep | EvalStep,
    batch: AnyBatch,
    state: State,
    chains: int,
    metric_values: tuple[tf.Tensor, ...],
    scope: keras.StatelessScope | None = None,
) -> Forward | None:
    """Runs the model over a batch, cut into `chains` slices, of which each has its share of the rows.

    Args:
      step, batch, state, chains, metric_values: what they are in a step.
      scope: the scope in which it is called, for training; None: for evaluation, in none.
    Returns:
      What was computed; None if it needs one slice, since a loss that the model adds depends on the rows.
    """
    model, loss = step.model, step.loss
    if isinstance(batch, MaskedBatch) and not takes_argument(model, "mask"):
        raise UserError(
            "expected a model whose `call` takes a `mask`, bool [T, B], since the sequences have several lengths; "
            f"that of {type(model).__name__} does not; give sequences of one length"
        )
    if isinstance(batch, MaskedBatch):
        inputs, targets = fill_padding(batch.mask, batch.inputs, batch.targets)
        batch = batch._replace(inputs=inputs, targets=targets)
    totals, outputs, states = [], [], []
    run = with_weights_read(model)  # the slices share what is read
    for part, part_state in _slices(batch, _reset_rows(model, state, batch.reset), chains):
        masks = {"mask": part.mask} if isinstance(part, MaskedBatch) else {}
        part_outputs, new_state = run(part.inputs, part_state, training=scope is not None, **masks)
        if chains > 1 and len(_own_losses(model, scope)) > len(_regularized(model)):
            return None
        if loss.adds_up:
            totals.append(loss(part.targets, part_outputs, masks.get("mask")))
        outputs.append(part_outputs)
        states.append(new_state)
    mask = batch.mask if isinstance(batch, MaskedBatch) else None
    whole = tf.concat(outputs, 1) if step.metrics or not loss.adds_up else None
    if not loss.adds_up:
        totals.append(loss(batch.targets, whole, mask))
    total, count = (tf.add_n(parts) for parts in zip(*totals, strict=True))
    own = [tf.reduce_sum(tf.cast(value, tf.float32)) for value in _own_losses(model, scope)]
    metric_values = _updated(step.metrics, metric_values, batch.targets, whole, mask)
    return Forward(total, count, tf.add_n(own) if own else None, join_rows(states), metric_values)


def fill_padding(mask: tf.Tensor, *values: tf.Tensor) -> list[tf.Tensor]:
    """Returns values with zeros where the mask, of their first two axes, is False.

    There may be anything, such as -1 for an id, or NaN, of which the gradient would be NaN without counting.
    """
    masks = [mask[(..., *[tf.newaxis] * (len(part.shape) - 2))] for part in values]
    return [tf.where(m, part, tf.zeros([], part.dtype)) for m, part in zip(masks, values, strict=True)]


def _own_losses(model: Any, scope: keras.StatelessScope | None) -> list[tf.Tensor]:
    """Returns what the model adds to the loss: regularizers of weights, and those of activities in its last call."""
    if not isinstance(model, keras.Model):
        return []  # the book's classes, which have none
    if scope is None:
        return model.losses
    # Within a scope, Keras looks for the regularized weights among the values that the scope has.
    with keras.StatelessScope([(variable, variable.value) for variable in _regularized(model)]) as inner:
        inner.losses = scope.losses
        return model.losses


def _regularized(model: Any) -> list[Any]:
    """Returns the variables of which each adds a loss to the model's own."""
    variables = model.trainable_weights if isinstance(model, keras.Model) else []
    return [variable for variable in variables if variable.regularizer is not None]


def _updated(
    metrics: Sequence[keras.metrics.Metric],
    values: tuple[tf.Tensor, ...],
    targets: tf.Tensor,
    outputs: tf.Tensor | None,
    mask: tf.Tensor | None,
) -> tuple[tf.Tensor, ...]:
    """Returns the values of the metrics' variables after a batch; the variables keep theirs."""
    variables = variables_of(metrics)
    with keras.StatelessScope(zip(variables, values, strict=True)) as scope:
        for metric in metrics:
            metric.update_state(targets, outputs, None if mask is None else tf.cast(mask, tf.float32))
    return tuple(scope.get_current_value(variable) for variable in variables)


def _reset_rows(model: Any, state: State, reset: tf.Tensor) -> State:
    """Returns the state with the initial state in the rows for which `reset`, bool [B], is true."""
    initial = model.initial_state(tf.size(reset) if reset.shape[0] is None else reset.shape[0])
    return tf.nest.map_structure(lambda new, old: tf.where(reset[:, None], new, old), initial, state)


def _slices(batch: AnyBatch, state: State, chains: int) -> list[tuple[AnyBatch, State]]:
    """Returns `chains` pairs of a batch and a state, each with an equal part of the rows."""
    if chains == 1:
        return [(batch, state)]
    parts = zip(*(tf.split(t, chains, axis) for t, axis in zip(batch, row_axes(batch), strict=True)), strict=True)
    return [(type(batch)(*part), s) for part, s in zip(parts, split_rows(state, chains), strict=True)]


def row_axes(batch: AnyBatch) -> AnyBatch:
    """Returns the axis of the rows in each part of a batch."""
    return type(batch)(*(0 if name == "reset" else 1 for name in batch._fields))
