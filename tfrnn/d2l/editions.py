"""Which edition has which name, so that a missing name says what to import."""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING as TYPE_CHECKING  # for the modules of the editions
from typing import Any

# The modules of the editions: what they are called, and how they are imported.
EDITIONS = {
    "tfrnn.d2l": ("editions 0.17 and 2.0 have", "from tfrnn import d2l"),
    "tfrnn.d2l.v1": ("edition 1.0 has", "from tfrnn.d2l import v1 as d2l"),
    "tfrnn.d2l.first": ("the first edition has", "from tfrnn.d2l import first as d2l"),
}


def error_for(module: str) -> Callable[[str], Any]:
    """Returns a module's `__getattr__`, which raises AttributeError and says where the name is."""

    def missing(name: str) -> Any:
        if name.startswith("__"):  # Python itself asks for these
            raise AttributeError(f"module {module} has no attribute {name!r}")
        others = [other for other in EDITIONS if other != module]
        for edition, line in (EDITIONS[other] for other in others if name in importlib.import_module(other).__all__):
            raise AttributeError(f"{module} has no {name!r}, which {edition}: write `{line}`")
        raise AttributeError(
            f"{module} has no {name!r}: of the book it has what the TensorFlow pages of its recurrent chapters use; "
            "define it in a cell of your own"
        )

    return missing
