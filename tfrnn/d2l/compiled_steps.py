"""Compiles a step of a reader's own model where TensorFlow can, and runs it as it is where it cannot."""

import contextlib
import contextvars
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrnn.d2l.python_state import NotWatched, PythonState, Reads

MAX_CHANGES = 2  # after which a step is compiled again in any case
MIN_CALLS = 20  # of a compiled step that make it worth to compile it again after more changes
_points: contextvars.ContextVar[list] = contextvars.ContextVar("points")


def draw_later(draw: Callable[[Any], None], value: Any) -> None:
    """Called while a step is being compiled: each time the compiled step has run, draw(its value) follows.

    The value is a tensor, or a number in Python, which must be one of the values that the step reads.
    """
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


class NotCompiledError(Exception):
    """Says why a function must not be compiled."""


def traced(trace: Callable[[], Any], holders: Sequence[Any]) -> tuple[Any, PythonState]:
    """Lets TensorFlow trace a function, and returns what trace() returns and the Python values that were read.

    Args:
      trace: traces the function, which has run before.
      holders: the objects that the function uses.
    Raises:
      NotCompiledError: the function cannot be traced, or would compute something else once it is compiled. All Python
        values are then as before.
    """
    before, printed = PythonState(holders), io.StringIO()
    reads = Reads(before.classes, bool(before.iterators), before.calls_getattribute)
    # Those that it can reach without reading an attribute; the others are found when they are read.
    if before.iterators and (found := PythonState(holders, reads).iterators):
        raise NotCompiledError(f"it can take from an iterator, {found[0]}")
    failure = None
    try:
        with contextlib.redirect_stdout(printed), as_when_not_compiled(), reads.noted():
            result = trace()
    except Exception as error:  # of any kind: the function itself is not at fault, as it has run before
        failure = error
    if failure or reads.iterator:
        before.restore()
        reason = f"it can take from an iterator, {reads.iterator}" if reads.iterator else str(failure)
        raise NotCompiledError(" ".join(reason.split())[:200]) from failure
    if (name := before.change()) or printed.getvalue():
        before.restore()
        raise NotCompiledError(f"it changes {name}" if name else "it prints")
    return result, PythonState(holders, reads)


class CompiledStep(NotWatched):
    """Calls `step(batch)`: as it is for the first batch, which makes the weights, and compiled from then on.

    It computes what the step as it is would compute. If Python values that the step reads have changed, such as the
    epoch, it is compiled again, unless they change often (MAX_CHANGES, MIN_CALLS). The step stays as it is then, if
    TensorFlow cannot compile it, if it changes Python values (it counts, draws random numbers, keeps a tensor), if it
    prints, if it plots a number that it has computed in Python, or if it reads what leads to an iterator. A warning
    says so. PythonState says what Python values are.

    Args:
      step: called with a batch, a structure of tensors or arrays. It returns a structure of tensors, or None.
      name: what the step is, for the warning.
      *holders: the objects that the step uses.
    """

    def __init__(self, step: Callable[[Any], Any], name: str, *holders: Any):
        self._step, self._name, self._holders = step, name, holders
        self._is_first, self._can_be_compiled = True, True
        self._compiled: dict[tuple, _Compiled] = {}  # for the shapes of a batch
        self._num_changes = 0  # of the values that it reads
        self._num_calls = 0  # since the last of them

    def __call__(self, batch: Any) -> Any:
        is_first, self._is_first = self._is_first, False
        if is_first or not self._can_be_compiled or tf.config.functions_run_eagerly():
            return self._step(batch)
        try:
            compiled = self._compiled_for(batch)
        except NotCompiledError as error:
            self.do_not_compile(str(error))
            return self._step(batch)
        self._num_calls += 1
        result, tensors = compiled.function(*tf.nest.flatten(batch))
        values = iter(tensors)
        for draw, value in compiled.points:
            draw(next(values) if tf.is_tensor(value) else value)
        return result

    def _compiled_for(self, batch: Any) -> "_Compiled":
        """Returns the step compiled for the shapes of a batch."""
        leaves = tf.nest.flatten(batch)
        if others := [leaf for leaf in leaves if not isinstance(leaf, (tf.Tensor, np.ndarray))]:
            raise NotCompiledError(f"a batch has {others[0]!r}, which is no tensor")
        shapes = tuple((leaf.dtype, *leaf.shape) for leaf in leaves)
        if shapes in self._compiled and (name := self._compiled[shapes].reads.change(with_random=False)):
            self._num_changes += 1
            if self._num_changes > MAX_CHANGES and self._num_calls < MIN_CALLS:
                raise NotCompiledError(f"it reads {name}, which changes too often")
            self._compiled, self._num_calls = {}, 0
        if shapes not in self._compiled:
            (function, points), reads = traced(lambda: self._compile(batch), self._holders)
            for _, value in points:
                if not tf.is_tensor(value) and not reads.holds(value):  # it may come from the time
                    raise NotCompiledError(f"it plots {value!r}, which Python computes")
            self._compiled[shapes] = _Compiled(function, points, reads)
        return self._compiled[shapes]

    def _compile(self, batch: Any) -> tuple[Callable, list]:
        points: list = []

        def step(*leaves: tf.Tensor) -> tuple:
            token = _points.set(points)
            try:
                result = self._step(tf.nest.pack_sequence_as(batch, leaves))
                return result, [value for _, value in points if tf.is_tensor(value)]
            finally:
                _points.reset(token)

        specs = [tf.TensorSpec(leaf.shape, leaf.dtype) for leaf in tf.nest.flatten(batch)]
        function = tf.function(step, autograph=False).get_concrete_function(*specs)
        return function, points

    def do_not_compile(self, reason: str) -> None:
        """Leaves the step as it is from now on, and says why."""
        self._can_be_compiled = False
        # The level is that of the line that calls `fit`.
        warnings.warn(f"{self._name} runs without being compiled, more slowly: {reason}", stacklevel=6)


class _Compiled(NamedTuple):
    function: Callable
    points: list  # pairs of who draws and a value, a tensor of the function or a number that Python has
    reads: PythonState  # the values that it was compiled for
