"""How operations run: as graphs, compiled by XLA or not, reproducibly or not."""

from collections.abc import Callable
from typing import Any

from tfrnn.runtime.devices import device_name, devices_of


class TracedFunction:
    """A tf.function that is traced for each model that it is called with, which is no mistake.

    TensorFlow warns of frequent retracing if many calls trace. It does not count explicit traces, and here every trace
    is explicit.
    """

    def __init__(self, tf_function: Any):
        self.tf_function = tf_function

    def trace(self, *arguments: Any) -> Any:
        """Returns the function that runs for such arguments, and is called with them; traced if it is not yet.

        Args:
          *arguments: as for a call, in which a tf.TensorSpec may stand for tensors of several shapes.
        """
        import tensorflow as tf

        eager = tf.config.functions_run_eagerly()  # then tf.function calls the Python function, e.g. for a debugger
        return self.tf_function if eager else self.tf_function.get_concrete_function(*arguments)

    def __call__(self, *arguments: Any) -> Any:
        return self.trace(*arguments)(*arguments)


def tf_function(**options: Any) -> Callable[[Callable], TracedFunction]:
    """Returns a decorator like tf.function, without AutoGraph and without the warning about frequent retracing.

    Args:
      **options: arguments of tf.function.
    """
    import tensorflow as tf

    return lambda function: TracedFunction(tf.function(function, autograph=False, **options))


def jit_by_default(strategy: Any = None) -> bool:
    """Returns whether XLA should compile long computations by default: on a GPU, but not on a CPU.

    On a GPU launching the small operations of a step costs more than their arithmetic. On a CPU XLA made training steps
    no faster or even slower, and takes seconds to compile.

    Args:
      strategy: the strategy whose devices run the computation; by default the device that TensorFlow chooses.
    """
    return "GPU" in (devices_of(strategy) or [device_name()])[0]


def is_compiled_by_xla() -> bool:
    """Returns whether XLA compiles the graph that is being traced, or one that it is part of.

    TensorFlow has no public name for this.
    """
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_util

    return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


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
