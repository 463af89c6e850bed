"""Reads what cells declare by Keras's cell protocol, which leaves several forms open, in one form."""

import inspect
from typing import Any

import keras

from tfrnn.errors import UserError


def validate_cells(cells: Any) -> list:
    """Returns the cells of a layer as a list, given a cell, a list of cells or keras.layers.StackedRNNCells.

    Raises UserError if there is no cell, or if one of them does not follow Keras's cell protocol.
    """
    if type(cells) is keras.layers.StackedRNNCells:  # a subclass may compute something else
        cells = cells.cells
    cells = list(cells) if isinstance(cells, (list, tuple)) else [cells]
    for cell in cells:
        if isinstance(cell, keras.layers.RNN):
            raise UserError(f"expected a cell, which computes one step; got the layer {cell!r}; give {_cell_of(cell)}")
        if not callable(cell) or not hasattr(cell, "state_size"):
            raise UserError(f"expected a cell, a layer with a `state_size` by Keras's cell protocol; got {cell!r}")
    if not cells:
        raise UserError("expected at least one cell; got an empty list")
    return cells


def _cell_of(layer: keras.layers.RNN) -> str:
    """Returns what to write in place of a layer to give its cell."""
    name = type(layer).__name__
    return f"`{name}Cell`" if hasattr(keras.layers, f"{name}Cell") else "its `cell`"


def get_state_sizes(cell: Any) -> tuple[int, ...]:
    """Returns the size of each tensor in the state of a cell."""
    return ensure_tuple(cell.state_size)


def get_output_size(cell: Any) -> int:
    """Returns the size of a cell's output: its output_size, or the first size of its state if it declares none."""
    return getattr(cell, "output_size", None) or get_state_sizes(cell)[0]


def takes_argument(layer: Any, name: str) -> bool:
    """Returns whether a layer, or another object that is called, declares an argument of this name."""
    return name in inspect.signature(getattr(layer, "call", layer)).parameters


def ensure_tuple(value: Any) -> tuple:
    """Returns a list or tuple as a tuple, and any other value as a tuple of one."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)
