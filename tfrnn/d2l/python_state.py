"""The values in Python that code of a reader's own can reach: whether it has changed them, and how they were before."""

import abc
import argparse
import collections
import contextlib
import dis
import functools
import operator
import pathlib
import random
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfrnn.d2l.hyperparameters import HyperParameters

_SCALARS = (type(None), bool, int, float, complex, str, bytes, np.generic, tf.DType, tf.TensorShape)
_NAMESPACES = (types.SimpleNamespace, argparse.Namespace)
_CONTAINERS = (np.ndarray, dict, list, collections.deque, set, tuple, frozenset)
_READ_ALL = {"__dict__", "__reduce__", "__reduce_ex__", "__getstate__"}  # the latter to copy an object
_LOOK_INTO_DICTS = ("keras", "tensorflow", "tfrnn")  # for layers and variables, whose values no step keeps
_LIBRARIES = {*sys.stdlib_module_names, "keras", "tensorflow", "tfrnn"} - {"__main__"}


class NotWatched:
    """An object whose attributes change nothing that a step computes."""


class Reads:
    """The attributes of some objects that were read.

    Args:
      classes: the classes whose objects these are, besides HyperParameters.
      forbids_iterators: whether reading an attribute that leads to an iterator is an error.
      misses_some: whether some reads of readers' objects are not noted, so that all their attributes count as read.
    Attributes:
      iterator: the name of such an attribute that was read, or None.
    """

    def __init__(self, classes: Iterable[type] = (), forbids_iterators: bool = False, misses_some: bool = False):
        self._classes, self._forbids_iterators, self._misses_some = set(classes), forbids_iterators, misses_some
        self._names = collections.defaultdict[int, set[str]](set)  # by the object's id
        self._looks_itself = False
        self.iterator: str | None = None

    def _lead_to_iterators(self, value: Any) -> bool:
        """Returns whether an iterator can be reached from a value without reading another attribute."""
        self._looks_itself = True
        try:
            return bool(PythonState([value], Reads(self._classes, misses_some=self._misses_some)).iterators)
        finally:
            self._looks_itself = False

    def can_tell(self, holder: Any) -> bool:
        """Returns whether what was read of an object is known."""
        if self._misses_some and _is_of_reader(type(holder).__module__):
            return False
        return isinstance(holder, HyperParameters) or type(holder) in self._classes

    def names_of(self, holder: Any) -> set[str] | None:
        """Returns the names that were read of an object; None stands for all."""
        names = self._names[id(holder)]
        return None if names & _READ_ALL else names

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Notes what is read in this context."""

        def note(holder: Any, name: str) -> Any:
            if self._looks_itself or name == "__class__":
                return object.__getattribute__(holder, name)
            if name == "__dict__" and _root(sys._getframe(1).f_globals.get("__name__")) in _LOOK_INTO_DICTS:
                return object.__getattribute__(holder, name)
            names = self._names[id(holder)]
            is_new = name not in names
            names.add(name)  # also if it is not there: it may be, later
            value = object.__getattribute__(holder, name)
            if is_new and self._forbids_iterators and self._lead_to_iterators(value):
                self.iterator = f"{type(holder).__name__}.{name}"
                raise RuntimeError(self.iterator)
            return value

        classes: list[Any] = [HyperParameters, *self._classes]
        for kind in classes:
            kind.__getattribute__ = note
        try:
            yield
        finally:
            for kind in classes:
                del kind.__getattribute__


class _Saved(NamedTuple):
    label: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]
    content: Any
    is_random: bool = False
    has_names: bool = False  # whether the content are attributes or global variables by their names


class PythonState:
    """What code can reach from some objects, as it is now.

    These are numbers, texts, arrays and other values in the attributes of a reader's objects and classes and of
    tfrnn.d2l's, in lists and dicts, in sublayers, in the globals, closures and caches of a reader's functions, in a
    reader's modules; and the states of generators of random numbers. Not among them are the state of iterators, files
    and other libraries, and the time.

    Args:
      roots: the objects.
      reads: what was read, to leave out what lies in other attributes; None leaves out nothing.
    Attributes:
      iterators: where an iterator can be reached, whose state cannot be known.
      classes: the readers' classes whose objects can be reached, and whose reads can be noted.
      calls_getattribute: whether a reader's function reads by `__getattribute__` itself, which is not noted.
    """

    def __init__(self, roots: Sequence[Any], reads: Reads | None = None):
        self._reads, self._saved, self.iterators, self.classes = reads, list[_Saved](), list[str](), set[type]()
        self.calls_getattribute = False
        self._seen: dict[int, Any] = {}  # holds the values, so that no other gets the id of one
        self._to_visit = [(type(root).__name__, root) for root in roots]
        self._save("random", random.getstate, random.setstate, is_random=True)
        self._save("numpy.random", np.random.get_state, np.random.set_state, is_random=True)
        while self._to_visit:
            label, value = self._to_visit.pop()
            if id(value) not in self._seen:
                self._seen[id(value)] = value
                if not isinstance(value, (*_SCALARS, NotWatched)):
                    self._visit(label, value)

    def holds(self, value: Any) -> bool:
        """Returns whether this very object is among the values."""
        return id(value) in self._seen

    def change(self, with_random: bool = True) -> str | None:
        """Returns the name of a value that is not as it was, or None.

        Args:
          with_random: whether the states of generators of random numbers count.
        """
        for saved in self._saved:
            if with_random or not saved.is_random:
                now = saved.read()
                if not _same(now, saved.content):
                    return _name_of(saved, now)
        return None

    def restore(self) -> None:
        """Makes all as it was."""
        for saved in self._saved:
            if not _same(saved.read(), saved.content):
                saved.write(saved.content)

    def _save(self, label: str, read: Callable[[], Any], write: Callable[[Any], Any], **kind: bool) -> Any:
        self._saved.append(_Saved(label, read, write, content := read(), **kind))
        return content

    def _visit(self, label: str, value: Any) -> None:
        children: Any = ()
        if isinstance(value, np.ndarray):
            self._save(label, value.copy, functools.partial(value.__setitem__, ...))
        elif isinstance(value, dict):
            children = self._save(label, lambda: dict(value), lambda old: _refill(value, old)).values()
        elif isinstance(value, (list, collections.deque)):
            children = self._save(label, lambda: list(value), lambda old: _refill(value, old))
        elif isinstance(value, set):
            self._save(label, lambda: frozenset(value), lambda old: _refill(value, old))
        elif isinstance(value, (tuple, frozenset)):
            children = value
        elif isinstance(value, (random.Random, np.random.RandomState)):
            get, put = ("getstate", "setstate") if isinstance(value, random.Random) else ("get_state", "set_state")
            self._save(label, getattr(value, get), getattr(value, put), is_random=True)
        elif isinstance(value, np.random.Generator):
            bits = value.bit_generator
            self._save(label, lambda: bits.state, lambda old: setattr(bits, "state", old), is_random=True)
        elif isinstance(value, types.FunctionType):
            self._visit_function(value)
        elif isinstance(value, types.MethodType):
            children = value.__self__, value.__func__
        elif isinstance(value, functools.partial):
            children = value.func, value.args, value.keywords
        elif isinstance(value, property):
            children = value.fget, value.fset
        elif isinstance(value, (staticmethod, classmethod)):
            children = (value.__func__,)
        elif isinstance(value, type):
            if _is_watched(value):
                self._visit_space(value.__name__, value)
                children = value.__mro__[1:]
        elif isinstance(value, functools._lru_cache_wrapper):
            if _is_of_reader(value.__module__):  # what it holds cannot be seen, and may be tensors of a trace
                self._save(f"the cache of {label}", lambda: value.cache_info().misses, lambda _: value.cache_clear())
                children = (value.__wrapped__,)
        elif isinstance(value, types.ModuleType):
            if _is_of_reader(value.__name__):
                self._visit_module(label, value, {name for name in vars(value) if not name.startswith("__")})
        elif isinstance(value, Iterator):
            self.iterators.append(label)
        elif _is_watched(type(value)):
            children = self._visit_object(value)
        elif _root(type(value).__module__) in ("keras", "tfrnn") and hasattr(value, "__dict__"):
            public = [name for name in vars(value) if not name.startswith("_") or name == "_trainable"]
            self._visit_space(type(value).__name__, value, public)
            children = _parts_of(value)
        if isinstance(value, _CONTAINERS) and _is_watched(type(value)):
            children = (*children, *self._visit_object(value))
        self._to_visit += [(label, child) for child in children]

    def _visit_object(self, value: Any) -> tuple:
        """Saves the attributes of an object of a watched class, visits them, and returns what else belongs to it."""
        kind = type(value)
        if _can_be_noted(kind):
            self.classes.add(kind)
        if hasattr(value, "__dict__"):
            self._visit_space(kind.__name__, value)
        self._visit_slots(kind.__name__, value)
        return kind, *_parts_of(value)

    def _visit_space(self, label: str, holder: Any, names: Any = None) -> None:
        """Saves the attributes of an object, class or module, and visits them."""
        space = vars(holder)
        if names is None and self._reads is not None and self._reads.can_tell(holder):
            names = self._reads.names_of(holder)
        left_out = _names_of_keras() if isinstance(holder, keras.layers.Layer) else frozenset[str]()

        def read() -> dict[str, Any]:
            pairs = space.items() if names is None else ((name, space[name]) for name in names if name in space)
            return {name: v for name, v in pairs if name not in left_out and not isinstance(v, NotWatched)}

        def write(old: dict[str, Any]) -> None:
            for name in read().keys() - old.keys():
                delattr(holder, name) if isinstance(holder, type) else space.pop(name)
            for name, value in old.items():
                if space.get(name, write) is not value:
                    setattr(holder, name, value) if isinstance(holder, type) else space.__setitem__(name, value)

        for name, value in self._save(label, read, write, has_names=True).items():
            if not (isinstance(holder, types.ModuleType) and isinstance(value, types.ModuleType)):
                self._to_visit.append((f"{label}.{name}", value))

    def _visit_slots(self, label: str, holder: Any) -> None:
        """Saves the attributes of an object that lie in slots of its classes, and visits them."""
        slots = [
            slot
            for kind in type(holder).__mro__
            if _is_watched(kind)
            for slot in vars(kind).values()
            if isinstance(slot, types.MemberDescriptorType)
        ]
        if self._reads is not None and self._reads.can_tell(holder):
            names = self._reads.names_of(holder)
            slots = [slot for slot in slots if names is None or slot.__name__ in names]

        def read() -> dict[str, Any]:
            values = {}
            for slot in slots:
                with contextlib.suppress(AttributeError):  # an empty slot
                    values[slot.__name__] = slot.__get__(holder)
            return values

        def write(old: dict[str, Any]) -> None:
            for slot in slots:
                if slot.__name__ in old:
                    slot.__set__(holder, old[slot.__name__])
                elif slot.__name__ in read():
                    slot.__delete__(holder)

        if slots:
            for name, value in self._save(label, read, write, has_names=True).items():
                self._to_visit.append((f"{label}.{name}", value))

    def _visit_module(self, label: str, module: types.ModuleType, names: Any) -> None:
        """Saves the global variables of these names in a reader's module and in modules that are among them."""
        found, labels = [module], [label]
        for one, of_one in zip(found, labels):  # noqa: B905 (both grow)
            self._visit_space(of_one, one, names)
            for name in names:
                value = vars(one).get(name)
                if isinstance(value, types.ModuleType) and _is_of_reader(value.__name__) and value not in found:
                    found.append(value)
                    labels.append(f"{of_one}.{name}")

    def _visit_function(self, function: types.FunctionType) -> None:
        name, space, names = function.__name__, function.__globals__, _globals_in(function.__code__)
        for cell_name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # an empty cell
                fill = functools.partial(setattr, cell, "cell_contents")
                value = self._save(f"`{cell_name}`", functools.partial(getattr, cell, "cell_contents"), fill)
                self._to_visit.append((f"`{cell_name}`", value))
        if not _is_of_reader(function.__module__):
            self._to_visit.append((name, getattr(function, "__wrapped__", None)))
            return
        self._to_visit += [(name, function.__defaults__), (name, function.__kwdefaults__)]
        self._visit_space(name, function)
        # A class that has a `__getattribute__` of its own is not noted anyway.
        self.calls_getattribute |= name != "__getattribute__" and "__getattribute__" in _names_in(function.__code__)

        for module_name in _globals_in(function.__code__, ("IMPORT_NAME",)):
            if (module := sys.modules.get(module_name)) and _is_of_reader(module_name):
                self._visit_module(module_name, module, _names_in(function.__code__))

        def read() -> dict[str, Any]:
            return {name: space[name] for name in names if name in space}

        write = functools.partial(_refill_names, space, names)
        for global_name, value in self._save("", read, write, has_names=True).items():
            if not isinstance(value, types.ModuleType):
                self._to_visit.append((f"`{global_name}`", value))
            elif _is_of_reader(value.__name__):
                self._visit_module(global_name, value, _names_in(function.__code__))


@functools.cache
def _is_of_reader(module: str | None) -> bool:
    """Returns whether a module is a reader's: no library's, and not installed. Code without a module is a reader's."""
    if module and _root(module) in _LIBRARIES:
        return False
    file = getattr(sys.modules.get(module or ""), "__file__", None) or ""
    return not {"site-packages", "dist-packages"} & set(pathlib.Path(file).parts)


def _root(module: str | None) -> str:
    """Returns the name of the package that a module belongs to."""
    return (module or "").partition(".")[0]


def _is_watched(kind: type) -> bool:
    if kind.__module__ == "types":  # as dataclasses.make_dataclass calls the module of what it makes
        return kind in _NAMESPACES or not hasattr(types, kind.__name__)
    return kind in _NAMESPACES or kind.__module__.startswith("tfrnn.d2l.") or _is_of_reader(kind.__module__)


def _can_be_noted(kind: type) -> bool:
    """Returns whether reads of a watched class's attributes can be noted: it finds them as Python does."""
    return (
        type(kind) in (type, abc.ABCMeta)
        and kind not in _NAMESPACES
        and not issubclass(kind, HyperParameters)
        and kind.__getattribute__ is object.__getattribute__
    )


@functools.cache
def _names_of_keras() -> frozenset[str]:
    """Returns the names of attributes that Keras has for itself, and that of `training`, which comes with each call."""
    names = {name for name in vars(keras.Model()) if name.startswith("_")}
    return frozenset(names | {"built", "training"}) - {"_trainable"}


def _parts_of(holder: Any) -> Iterator[Any]:
    """Yields the layers, functions and readers' objects among the attributes of an object, also in lists and dicts."""
    for value in [] if isinstance(holder, HyperParameters) else list(getattr(holder, "__dict__", {}).values()):
        items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
        for item in items:
            if isinstance(item, (keras.layers.Layer, types.FunctionType)) or _is_watched(type(item)):
                yield item


@functools.cache
def _globals_in(
    code: types.CodeType, opnames: tuple[str, ...] = ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL")
) -> frozenset[str]:
    """Returns the names of the global variables in a function's code, and in the functions that it defines."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname in opnames}
    return frozenset(names).union(*(_globals_in(c, opnames) for c in code.co_consts if isinstance(c, types.CodeType)))


def _names_in(code: types.CodeType) -> frozenset[str]:
    """Returns the names of attributes and global variables in a function's code and in the functions it defines."""
    return frozenset(code.co_names).union(*(_names_in(c) for c in code.co_consts if isinstance(c, types.CodeType)))


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape) == (other.dtype, other.shape) and one.tobytes() == other.tobytes()
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and (all(map(operator.is_, one, other)) or all(map(_same, one, other)))
    if isinstance(one, dict):
        if len(one) == len(other) and all(map(operator.is_, one, other)):  # in the same order, so much faster
            return _same(list(one.values()), list(other.values()))
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, (*_SCALARS, types.MethodType, set, frozenset)):
        return bool(one == other) or bool(one != one and other != other)  # NaN is as it was
    return False


def _name_of(saved: _Saved, now: Any) -> str:
    """Returns what has changed, e.g. `Net.count`."""
    if not saved.has_names:
        return saved.label
    names = [
        name for name in {**now, **saved.content} if not _same(now.get(name, saved), saved.content.get(name, saved))
    ]
    return f"{saved.label}.{names[0]}" if saved.label else f"`{names[0]}`"


def _refill(container: Any, old: Any) -> None:
    """Gives a list, deque, set or dict its old items, without telling a layer of Keras's that it belongs to."""
    if isinstance(container, list):
        list.__setitem__(container, slice(None), old)
        return
    kind: Any = next(k for k in (collections.OrderedDict, dict, set, collections.deque) if isinstance(container, k))
    kind.clear(container)
    (kind.extend if kind is collections.deque else kind.update)(container, old)


def _refill_names(space: dict[str, Any], names: frozenset[str], old: dict[str, Any]) -> None:
    for name in names - old.keys():
        space.pop(name, None)
    space.update(old)
