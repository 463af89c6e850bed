"""What Keras's cell protocol lets a cell say of itself in several ways, in one way."""

from typing import Any

import keras


def checked_cells(cell: Any) -> list:
    """A list of cells. Raises ValueError where there is none or what is given is none."""
    if isinstance(cell, keras.layers.StackedRNNCells):
        cell = cell.cells
    cells = list(cell) if isinstance(cell, (list, tuple)) else [cell]
    for one in cells:
        if not callable(one) or not hasattr(one, "state_size"):
            raise ValueError(f"a cell must be a layer with a state_size, by Keras's cell protocol; got {one!r}")
    if not cells:
        raise ValueError("RNN needs at least one cell; got an empty list")
    return cells


def state_sizes(cell: Any) -> tuple[int, ...]:
    return as_tuple(cell.state_size)


def output_size_of(cell: Any) -> int:
    return getattr(cell, "output_size", None) or state_sizes(cell)[0]


def as_tuple(value: Any) -> tuple:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)
