"""How operations run: as graphs, compiled by XLA or not, reproducibly or not."""

from typing import Any

from tfrnn.runtime.devices import device_name, devices_of


def tf_function(**options: Any):
    """Returns a decorator like tf.function, without AutoGraph and without the warning about frequent retracing.

    It is for functions that are traced once for each model that they are called with, which is no mistake.

    Args:
      **options: arguments of tf.function.
    """
    import tensorflow as tf

    def decorate(function: Any) -> Any:
        traced = tf.function(function, autograph=False, **options)
        traced._omit_frequent_tracing_warning = True
        return traced

    return decorate


def jit_by_default(strategy: Any = None) -> bool:
    """Returns whether XLA should compile long computations by default: on a GPU, but not on a CPU.

    On a GPU launching the small operations of a step costs more than their arithmetic. On a CPU XLA made training steps
    no faster or even slower, and takes seconds to compile.

    Args:
      strategy: the strategy whose devices run the computation; by default the device that TensorFlow chooses.
    """
    return "GPU" in (devices_of(strategy) or [device_name()])[0]


def set_seed(seed: int, deterministic: bool = False) -> None:
    """Seeds the random number generators of Python, NumPy and TensorFlow.

    Args:
      seed: the seed.
      deterministic: whether to allow only operations that repeat bit for bit, also on a GPU.
    """
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
