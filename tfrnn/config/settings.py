"""A setting: its default, bounds and help in one place. Sections of them are checked when they are made.

Flags, notebook arguments and config.json are made from the fields of sections, see config.py.
"""

import dataclasses
import math
import re
from typing import Any, get_type_hints

from tfrnn.errors import UserError, did_you_mean

TEXTS = tuple[str, ...]


def setting(default: Any, help: str, **bounds: Any) -> Any:
    """A field with its help and bounds: choices, pattern (and its form in words), minimum,
    maximum, above, below; may_change on resume; rare, where few need it, so that --helpfull alone shows it."""
    return dataclasses.field(default=default, metadata={"help": help, **bounds})


class Section:
    """A frozen dataclass of settings, each checked when the section is made."""

    def __post_init__(self) -> None:
        for field, kind in self.fields():
            checked = _check(field, kind, getattr(self, field.name))
            object.__setattr__(self, field.name, checked)  # frozen: 1 given for a float becomes 1.0

    @classmethod
    def fields(cls) -> list[tuple[dataclasses.Field, Any]]:
        """The fields and their types, in order; what flags are made from."""
        kinds = get_type_hints(cls)
        return [(field, kinds[field.name]) for field in dataclasses.fields(cls)]  # type: ignore[arg-type]


_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def parse(field: dataclasses.Field, kind: Any, text: str) -> Any:
    """The value of a setting given as text. Raises UserError where the text is no such value."""
    try:
        value = _BOOLEANS[text.lower()] if kind is bool else kind(text) if kind in (int, float) else text
    except (ValueError, KeyError):
        value = text
    return _check(field, kind, value)


def _check(field: dataclasses.Field, kind: Any, value: Any) -> Any:
    """The value, of the field's type and within its bounds; a list becomes a tuple and an int a float if need be."""
    bounds = field.metadata
    if kind is float and type(value) is int and abs(value) < 1e300:
        value = float(value)
    if kind == TEXTS and type(value) is list:
        value = tuple(value)
    good = type(value) is (tuple if kind == TEXTS else kind)
    if type(value) is tuple:
        good = good and all(type(item) is str for item in value)
    if kind is float:
        good = good and math.isfinite(value)
    if type(value) in (str, tuple):
        good = good and _is_unicode("".join(value)) if good else False
    good = (
        good
        and value in bounds.get("choices", (value,))
        and ("pattern" not in bounds or re.fullmatch(bounds["pattern"], value) is not None)
        and ("minimum" not in bounds or value >= bounds["minimum"])
        and ("maximum" not in bounds or value <= bounds["maximum"])
        and ("above" not in bounds or value > bounds["above"])
        and ("below" not in bounds or value < bounds["below"])
    )
    if not good:
        meant = did_you_mean(value, bounds.get("choices", ())) if type(value) is str else ""
        raise UserError(f"--{field.name} must be {_expected(field, kind)}; got {value!r}{meant}")
    return value


def _is_unicode(text: str) -> bool:
    """Whether the text can be written as UTF-8: a file name of other bytes cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _expected(field: dataclasses.Field, kind: Any) -> str:
    bounds = field.metadata
    if "choices" in bounds:
        return f"one of {', '.join(bounds['choices'])}"
    if "form" in bounds:
        return bounds["form"]
    if "pattern" in bounds:
        return bounds["pattern"].replace("|", " or ").replace(r"\d{1,3}", "N")
    limits = [
        f"{word} {bounds[key]}"
        for key, word in (("minimum", "at least"), ("above", "above"), ("below", "below"), ("maximum", "at most"))
        if key in bounds
    ]
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text in UTF-8"}
    return " ".join([names.get(kind, "a list of texts in UTF-8"), " and ".join(limits)]).strip()
