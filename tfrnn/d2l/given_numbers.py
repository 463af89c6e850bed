"""Numbers that a reader gives, Python's, NumPy's or TensorFlow's, or one line that says what is wrong with them."""

import operator
from typing import Any

from tfrnn.errors import UserError


def whole_number(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """Returns a whole number as an int.

    Args:
      name: what it is called in the message.
      value: what was given.
      least, most: the bounds; by default there is no upper one.
    Raises:
      UserError: it is not whole, or out of bounds.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise UserError(f"expected `{name}` as a whole number {bounds}; got {_in_a_line(value)}")
    return number


def real_number(name: str, value: Any) -> float:
    """Returns a number as a float. Raises UserError, which calls it by this name, if it is none."""
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise UserError(f"expected `{name}` as a number; got {_in_a_line(value)}") from error


def learning_rate(value: Any) -> Any:
    """Returns what Keras's optimizers take as `lr`: a number as a float, or a schedule or function as it is.

    Raises UserError for anything else.
    """
    return value if callable(value) and not isinstance(value, type) else real_number("lr", value)


def _in_a_line(value: Any) -> str:
    return " ".join(repr(value).split())[:100]
