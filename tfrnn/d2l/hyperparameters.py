"""How the classes of edition 1.0 get their methods and attributes (section 3.2)."""

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any


def add_to_class(Class: type) -> Callable[[Any], None]:  # noqa: N803 (the book's name)
    """Returns a decorator that makes a function, or a class, an attribute of a class that is defined already."""

    def add(function: Any) -> None:
        setattr(Class, function.__name__, function)

    return add


class HyperParameters:
    """A class whose `__init__` saves its arguments as attributes by one call."""

    def save_hyperparameters(self, ignore: Sequence[str] = ()) -> None:
        """Saves the local variables of the calling function as attributes, and as the dict `hparams`.

        Args:
          ignore: names to leave out. Names that begin with an underscore are left out too.
        """
        frame = inspect.currentframe()
        assert frame
        assert frame.f_back
        left_out = {"self", *ignore}
        values = frame.f_back.f_locals.items()
        self.hparams = {name: value for name, value in values if name not in left_out and not name.startswith("_")}
        for name, value in self.hparams.items():
            setattr(self, name, value)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
