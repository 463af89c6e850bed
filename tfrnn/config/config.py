"""All settings of a training run as one value: `Config().replace(units=512)`, `--units=512`, `config.model.units`.

`Config` has those of a run on a text, `ForecastConfig` those of a run on a time series.
"""

import dataclasses
from collections.abc import Container, Mapping
from typing import Any, TypeVar

from tfrnn.config.presets import DEFAULT_PRESET, PRESETS
from tfrnn.config.sections import Data, Model, Run, Series, Training
from tfrnn.errors import UserError, did_you_mean

_NO_VALUE = object()
SectionsType = TypeVar("SectionsType", bound="Sections")


class Sections:
    """The base class of frozen dataclasses of sections of settings, whose names are unique among all of them."""

    def replace(self: SectionsType, **settings: Any) -> SectionsType:
        """Returns a config with these settings changed, each given by its name, whichever section it is in.

        Raises:
          UserError: a name is unknown, a value is out of bounds, or settings contradict each other.
        """
        sections = {}
        for name, section in vars(self).items():
            changes = {f.name: settings.pop(f.name) for f in dataclasses.fields(section) if f.name in settings}
            sections[name] = dataclasses.replace(section, **changes)
        if settings:
            raise UserError(f"unknown setting {', '.join(sorted(settings))}; the settings are {', '.join(self.flat())}")
        return type(self)(**sections)

    def flat(self) -> dict[str, Any]:
        """Returns the values of all settings by name, without the sections."""
        return {name: value for section in vars(self).values() for name, value in vars(section).items()}

    def fixed(self) -> dict[str, Any]:
        """Returns the values of the settings that may not change when a run is resumed, by name.

        A setting that has the value of runs older than itself is left out, since these do not know it.
        """
        return {
            field.name: value
            for section in vars(self).values()
            for field, _ in section.fields()
            if not field.metadata.get("may_change")
            and (value := getattr(section, field.name)) != field.metadata.get("before", _NO_VALUE)
        }

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Returns the settings of each section as a dictionary: the content of config.json."""
        return {name: dict(vars(section)) for name, section in vars(self).items()}

    @classmethod
    def from_dict(cls: type[SectionsType], data: Any) -> SectionsType:
        """Returns the config with this content of config.json; the inverse of `to_dict`.

        A setting that is younger than the file has the value by which the run was begun.

        Raises:
          UserError: a key is missing or unknown, or a value is wrong.
        """
        sections = {}
        default = cls()
        _check_keys("config", data, vars(default))
        for name, section in vars(default).items():
            before = {f.name: f.metadata["before"] for f, _ in section.fields() if "before" in f.metadata}
            _check_keys(f"config section {name}", data[name], vars(section), before)
            sections[name] = type(section)(**{**before, **data[name]})
        return cls(**sections)


@dataclasses.dataclass(frozen=True)
class Config(Sections):
    """All settings of a training run on a text, in four sections."""

    data: Data = dataclasses.field(default_factory=Data)
    model: Model = dataclasses.field(default_factory=Model)
    training: Training = dataclasses.field(default_factory=Training)
    run: Run = dataclasses.field(default_factory=Run)

    @classmethod
    def from_preset(cls, preset: str = DEFAULT_PRESET, **settings: Any) -> "Config":
        """Returns the config of a preset, changed by the given settings.

        Args:
          preset: one of the names in `PRESETS`.
          **settings: settings by name; they override those of the preset.

        Raises:
          UserError: the preset or a setting is unknown, or a value is wrong.
        """
        if preset not in PRESETS:
            raise UserError(
                f"`preset` must be one of {', '.join(PRESETS)}; got {preset!r}{did_you_mean(preset, PRESETS)}"
            )
        return cls().replace(**{**PRESETS[preset], **settings})


@dataclasses.dataclass(frozen=True)
class ForecastConfig(Sections):
    """All settings of a training run on a time series, in four sections."""

    series: Series = dataclasses.field(default_factory=Series)
    model: Model = dataclasses.field(default_factory=Model)
    training: Training = dataclasses.field(default_factory=Training)
    run: Run = dataclasses.field(default_factory=Run)


SECTIONS = (Data, Model, Training, Run)


def _check_keys(name: str, data: Any, expected: Mapping[str, Any], optional: Container[str] = ()) -> None:
    if not isinstance(data, dict):
        raise UserError(f"{name} must be an object with {', '.join(expected)}; got {type(data).__name__}")
    unknown = sorted(set(data) - set(expected))
    missing = sorted(key for key in expected if key not in data and key not in optional)
    if unknown or missing:
        raise UserError(f"{name} has unknown keys [{', '.join(unknown)}] and lacks [{', '.join(missing)}]")
