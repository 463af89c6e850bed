"""Keras's optimizers by name, with schedules of their learning rate."""

from typing import Any

import keras

from tfrnn.config import sections
from tfrnn.errors import UserError

NOT_KERNELS = ["bias", "embeddings"]  # names of weights, as Keras's layers and ours have them


@keras.saving.register_keras_serializable("tfrnn")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly from 0 during the first `steps` steps and then follows `after`.

    Args:
      after: the learning rate after the warm-up: a number, or a schedule whose step 0 is the first step after it.
      steps: the number of steps of the warm-up.
    """

    def __init__(self, after: Any, steps: int):
        self.after, self.steps = after, steps

    def __call__(self, step: Any) -> Any:
        step = keras.ops.cast(step, "float32")
        share = keras.ops.minimum(1.0, (step + 1) / self.steps)
        return share * (self.after(keras.ops.maximum(0.0, step - self.steps)) if callable(self.after) else self.after)

    def get_config(self) -> dict[str, Any]:
        after = keras.saving.serialize_keras_object(self.after) if callable(self.after) else self.after
        return {"after": after, "steps": self.steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "WarmUp":
        after = config["after"]
        return cls(keras.saving.deserialize_keras_object(after) if isinstance(after, dict) else after, config["steps"])


def get(optimizer: Any) -> keras.optimizers.Optimizer:
    """Returns an optimizer, which may be given as whatever keras.optimizers.get takes, such as its name.

    Raises:
      UserError: it is none.
    """
    try:
        found = keras.optimizers.get(optimizer)
    except (ValueError, TypeError):
        found = None
    if not isinstance(found, keras.optimizers.Optimizer):
        raise UserError(
            f'expected as `optimizer` one of keras.optimizers, or its name, such as "adam"; got {optimizer!r}'
        )
    return found


def get_with_rate(optimizer: Any) -> keras.optimizers.Optimizer:
    """Returns an optimizer as `get` does.

    Raises:
      UserError: it is none, or has more than one learning rate.
    """
    found = get(optimizer)
    if not hasattr(found, "learning_rate"):
        raise UserError(
            f"expected an `optimizer` with one `learning_rate`; got {type(found).__name__}; a model's `fit` on arrays "
            "or a dataset takes it"
        )
    return found


def check_for_replicas(optimizer: keras.optimizers.Optimizer) -> None:
    """Raises a UserError if the optimizer cannot act on several replicas: some of its updates depend on a condition."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    for name in ("gradient_accumulation_steps", "ema_overwrite_frequency"):
        if value := getattr(optimizer, name, None):
            raise UserError(
                f"expected an `optimizer` without `{name}={value}` for several replicas: Keras has none such"
            )


def make_optimizer(settings: sections.Training, total_steps: int = 1) -> keras.optimizers.Optimizer:
    """Returns the Keras optimizer that the settings name, with its learning rate schedule.

    The schedules cosine (Loshchilov and Hutter, 2017) and exponential fall from `learning_rate` to
    `decay_to * learning_rate`. The schedule plateau is constant here: a callback (`Plateau`) lowers it.

    Args:
      settings: `optimizer`, a name in `sections.OPTIMIZERS`, `learning_rate`, `schedule`, `decay_to`, `warmup_steps`,
        and for adamw (Loshchilov and Hutter, 2019) `weight_decay` and `decayed`.
      total_steps: the number of steps of the whole training, warm-up included.
    """
    name, arguments = sections.OPTIMIZERS[settings.optimizer]
    if settings.optimizer == sections.DECOUPLED:
        arguments = {**arguments, "weight_decay": settings.weight_decay}
    rate: Any = settings.learning_rate
    decay_steps = max(1, total_steps - settings.warmup_steps)
    if settings.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, decay_steps, alpha=settings.decay_to)
    elif settings.schedule == "exponential":
        rate = keras.optimizers.schedules.ExponentialDecay(rate, decay_steps, settings.decay_to)
    if settings.warmup_steps:
        rate = WarmUp(rate, settings.warmup_steps)
    optimizer = getattr(keras.optimizers, name)(learning_rate=rate, **arguments)
    if settings.optimizer == sections.DECOUPLED and settings.decayed == "kernels":
        optimizer.exclude_from_weight_decay(var_names=NOT_KERNELS)
    return optimizer
