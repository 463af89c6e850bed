"""Keras's optimizers by name, and schedules of their learning rate."""

from typing import Any

import keras

from tfrnn.config import sections


@keras.saving.register_keras_serializable("tfrnn")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises from zero in `steps` steps, to go on as `after` says, a number or a schedule."""

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


def make_optimizer(settings: sections.Training, total_steps: int = 1) -> keras.optimizers.Optimizer:
    """Keras's optimizer by its name in config.OPTIMIZERS, with the schedule of its learning rate.

    In `total_steps`, warm-up included, cosine (Loshchilov and Hutter, 2017) and exponential fall to the share
    `decay_to`. Plateau is a callback's (Keras's ReduceLROnPlateau), so constant here.
    """
    name, arguments = sections.OPTIMIZERS[settings.optimizer]
    rate: Any = settings.learning_rate
    decay_steps = max(1, total_steps - settings.warmup_steps)
    if settings.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, decay_steps, alpha=settings.decay_to)
    elif settings.schedule == "exponential":
        rate = keras.optimizers.schedules.ExponentialDecay(rate, decay_steps, settings.decay_to)
    if settings.warmup_steps:
        rate = WarmUp(rate, settings.warmup_steps)
    return getattr(keras.optimizers, name)(learning_rate=rate, **arguments)
