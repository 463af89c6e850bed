"""Compiles a step of a reader's own model where TensorFlow can, and runs it as it is where it cannot."""

import contextlib
import contextvars
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

_points: contextvars.ContextVar[list] = contextvars.ContextVar("points")


def draw_later(draw: Callable[[Any], None], value: Any) -> None:
    """Called while a step is being compiled: each time the compiled step has run, draw(its value) follows."""
    if not tf.is_tensor(value):
        raise TypeError(f"it plots {value!r}, which Python computes")
    _points.get().append((draw, value))


@contextlib.contextmanager
def as_when_not_compiled() -> Iterator[None]:
    """Lets symbolic tensors of known shape do what others do, and TensorFlow forbids them.

    Python can loop over them, so that `for X in inputs` is unrolled, and reverse them; tf.reshape takes one number as
    a shape.
    """
    iterate, length, reshape = tf.Tensor.__iter__, tf.Tensor.__len__, tf.reshape
    tf.Tensor.__iter__ = lambda t: iter(tf.unstack(t)) if tf.is_symbolic_tensor(t) else iterate(t)
    tf.Tensor.__len__ = lambda t: t.shape[0] if tf.is_symbolic_tensor(t) else length(t)
    tf.reshape = lambda tensor, shape, name=None: reshape(tensor, [shape] if isinstance(shape, int) else shape, name)
    try:
        yield
    finally:
        tf.Tensor.__iter__, tf.Tensor.__len__, tf.reshape = iterate, length, reshape


class CompiledStep:
    """Calls `step(batch)`: as it is for the first batch, which makes the weights, and compiled from then on.

    The step stays as it is if TensorFlow cannot compile it, and if it changes numbers, texts or lists that the holders
    have as public attributes: compiled, it would change them only once. A warning says so. Nothing says so of what it
    changes elsewhere, or reads from Python, such as the epoch: that stays as it was when the step was compiled.

    Args:
      step: called with a batch, a structure of tensors or arrays. It returns a tensor or None.
      name: what the step is, for the warning.
      *holders: the objects whose attributes are watched.
    """

    def __init__(self, step: Callable[[Any], Any], name: str, *holders: Any):
        self._step, self._name, self._holders = step, name, holders
        self._is_first, self._can_be_compiled = True, True
        self._compiled: dict[tuple, tuple] = {}  # for the shapes of a batch: the function, and who draws its points

    def __call__(self, batch: Any) -> Any:
        if self._is_first:
            return self._run_first(batch)
        if not self._can_be_compiled or tf.config.functions_run_eagerly():
            return self._step(batch)
        compiled = self._compiled_for(batch)
        if compiled is None:
            return self._step(batch)
        function, draws = compiled
        result, values = function(*tf.nest.flatten(batch))
        for draw, value in zip(draws, values, strict=True):
            draw(value)
        return result

    def _compiled_for(self, batch: Any) -> tuple | None:
        try:
            shapes = tuple((leaf.dtype, *leaf.shape) for leaf in tf.nest.flatten(batch))
            if shapes not in self._compiled:
                self._compiled[shapes] = self._compile(batch)
            return self._compiled[shapes]
        except Exception as error:  # of any kind: the step itself is not at fault, as it ran for the first batch
            self._do_not_compile(" ".join(str(error).split())[:200])
            return None

    def _run_first(self, batch: Any) -> Any:
        self._is_first, before = False, self._attributes()
        result = self._step(batch)
        if changed := [name for name, value in self._attributes().items() if before.get(name) != value]:
            self._do_not_compile(f"it changes {', '.join(changed)}")
        elif others := [leaf for leaf in tf.nest.flatten(batch) if not isinstance(leaf, (tf.Tensor, np.ndarray))]:
            self._do_not_compile(f"a batch has {others[0]!r}, which is no tensor")
        return result

    def _compile(self, batch: Any) -> tuple[Callable, list[Callable]]:
        points: list = []

        def step(*leaves: tf.Tensor) -> tuple:
            token = _points.set(points)
            try:
                return self._step(tf.nest.pack_sequence_as(batch, leaves)), [value for _, value in points]
            finally:
                _points.reset(token)

        specs = [tf.TensorSpec(leaf.shape, leaf.dtype) for leaf in tf.nest.flatten(batch)]
        with as_when_not_compiled():
            function = tf.function(step, autograph=False).get_concrete_function(*specs)
        return function, [draw for draw, _ in points]

    def _attributes(self) -> dict[str, Any]:
        """Returns the numbers and texts among the holders' attributes, and the lengths of lists and dicts."""
        return {
            f"{type(holder).__name__}.{name}": len(value) if isinstance(value, (list, dict)) else value
            for holder in self._holders
            for name, value in vars(holder).items()
            if isinstance(value, (bool, int, float, str, list, dict)) and not name.startswith("_") and name != "built"
        }

    def _do_not_compile(self, reason: str) -> None:
        self._can_be_compiled = False
        # The level is that of the line that calls `fit`.
        warnings.warn(f"{self._name} runs without being compiled, more slowly: {reason}", stacklevel=6)
