"""A setting: its default, bounds and help in one place; and sections of settings, validated when they are made.

Flags, arguments in Python and config.json are made from the fields of sections, see config.py.
"""

import dataclasses
import math
import re
from typing import Any, get_type_hints

from tfrnn.errors import UserError, did_you_mean

TEXTS = tuple[str, ...]


def setting(default: Any, help: str, **bounds: Any) -> Any:
    """Returns a dataclass field for a setting.

    Args:
      default: the default value.
      help: what the setting does, as --help shows it.
      **bounds: the valid values and how the setting is used, any of:
        choices: the valid values.
        pattern: a regular expression that a text must match.
        form: the pattern in words, for error messages.
        minimum, maximum: inclusive bounds.
        above, below: exclusive bounds.
        may_change: whether a run may be resumed with another value.
        several: whether the flag may be given more than once; the values are joined by commas.
        rare: whether the flag is shown only by --helpfull.
        before: the value in a run whose config.json lacks the setting, because it is older than the setting.
    """
    return dataclasses.field(default=default, metadata={"help": help, **bounds})


class Section:
    """The base class of frozen dataclasses of settings; making one raises UserError if a value is wrong."""

    def __post_init__(self) -> None:
        for field, kind in self.fields():
            value = _validated(field, kind, getattr(self, field.name))
            object.__setattr__(self, field.name, value)  # the dataclass is frozen, and 1 given for a float becomes 1.0

    @classmethod
    def fields(cls) -> list[tuple[dataclasses.Field, Any]]:
        """Returns the fields with their types, in order."""
        kinds = get_type_hints(cls)
        return [(field, kinds[field.name]) for field in dataclasses.fields(cls)]  # type: ignore[arg-type]


_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def parse(field: dataclasses.Field, kind: Any, text: str) -> Any:
    """Returns the value of a setting that is given as text, e.g. as a flag.

    Raises:
      UserError: the text is not a valid value of the setting.
    """
    try:
        value = _BOOLEANS[text.lower()] if kind is bool else kind(text) if kind in (int, float) else text
    except (ValueError, KeyError):
        value = text
    return _validated(field, kind, value)


def _validated(field: dataclasses.Field, kind: Any, value: Any) -> Any:
    """Returns a valid value as the field's type: a list becomes a tuple and an int a float. Else raises UserError."""
    bounds = field.metadata
    if kind is float and type(value) is int and abs(value) < 1e300:
        value = float(value)
    if kind == TEXTS and type(value) is list:
        value = tuple(value)
    valid = type(value) is (tuple if kind == TEXTS else kind)
    if kind is float:
        valid = valid and math.isfinite(value)
    if kind == TEXTS:
        valid = valid and all(type(item) is str for item in value)
    if kind in (str, TEXTS):
        valid = valid and _is_utf8("".join(value))
    valid = (
        valid
        and value in bounds.get("choices", (value,))
        and ("pattern" not in bounds or re.fullmatch(bounds["pattern"], value) is not None)
        and ("minimum" not in bounds or value >= bounds["minimum"])
        and ("maximum" not in bounds or value <= bounds["maximum"])
        and ("above" not in bounds or value > bounds["above"])
        and ("below" not in bounds or value < bounds["below"])
    )
    if not valid:
        hint = did_you_mean(value, bounds.get("choices", ())) if type(value) is str else ""
        raise UserError(f"`{field.name}` must be {_expected(field, kind)}; got {value!r}{hint}")
    return value


def _is_utf8(text: str) -> bool:
    """Returns whether the text can be encoded as UTF-8, which a file name of other bytes cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _expected(field: dataclasses.Field, kind: Any) -> str:
    """Returns the valid values of a field in words."""
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
