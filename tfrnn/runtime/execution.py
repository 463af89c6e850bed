"""How operations run: compiled or not, by XLA or not, reproducibly or not."""

from typing import Any

from tfrnn.runtime.devices import device_name, devices_of


def compiled(**options: Any):
    """As tf.function, for functions that are traced for each model they serve: TensorFlow does not warn of that."""
    import tensorflow as tf

    def decorate(function: Any) -> Any:
        traced = tf.function(function, autograph=False, **options)
        traced._omit_frequent_tracing_warning = True
        return traced

    return decorate


def jit_by_default(strategy: Any = None) -> bool:
    """Whether XLA should compile what runs long: on a GPU, where the small operations of a step cost more than their
    arithmetic. On a CPU it made a training step no faster, or slower, and takes seconds to compile."""
    return "GPU" in (devices_of(strategy) or [device_name()])[0]


def set_seed(seed: int, deterministic: bool = False) -> None:
    """Seeds Python, NumPy and TensorFlow; `deterministic` allows only operations that repeat bit for bit."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
