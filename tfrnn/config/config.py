"""All settings of a training run as one value: `Config().replace(units=512)`, `--units=512`, `config.model.units`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfrnn.config.presets import DEFAULT_PRESET, PRESETS
from tfrnn.config.sections import Data, Model, Run, Training
from tfrnn.errors import UserError, did_you_mean


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a training run, in four sections."""

    data: Data = dataclasses.field(default_factory=Data)
    model: Model = dataclasses.field(default_factory=Model)
    training: Training = dataclasses.field(default_factory=Training)
    run: Run = dataclasses.field(default_factory=Run)

    def replace(self, **settings: Any) -> "Config":
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
        return Config(**sections)

    def flat(self) -> dict[str, Any]:
        """Returns the values of all settings by name, without the sections."""
        return {name: value for section in vars(self).values() for name, value in vars(section).items()}

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Returns the settings of each section as a dictionary: the content of config.json."""
        return {name: dict(vars(section)) for name, section in vars(self).items()}

    @classmethod
    def from_dict(cls, data: Any) -> "Config":
        """Returns the config with this content of config.json; the inverse of `to_dict`.

        Raises:
          UserError: a key is missing or unknown, or a value is wrong.
        """
        sections = {}
        default = cls()
        _check_keys("config", data, vars(default))
        for name, section in vars(default).items():
            values = data[name]
            if isinstance(values, dict):
                values = _later_defaults(section) | values
            _check_keys(f"config section {name}", values, vars(section))
            sections[name] = type(section)(**values)
        return cls(**sections)

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


SECTIONS = (Data, Model, Training, Run)


def may_change_on_resume(name: str) -> bool:
    """Returns whether a run may be resumed with another value of this setting."""
    fields = (field for section in SECTIONS for field, _ in section.fields())
    return any(field.name == name and field.metadata.get("may_change") for field in fields)


def _later_defaults(section: Any) -> dict[str, Any]:
    """Returns the defaults of the settings of a section that runs of earlier versions do not have."""
    return {field.name: field.default for field, _ in section.fields() if "since" in field.metadata}


def settings_to_compare(config: Config) -> dict[str, Any]:
    """Returns the settings that may not change on resume, by name.

    Those that earlier versions did not have are left out if they have their defaults, so that their runs resume.
    """
    later = {name: value for section in SECTIONS for name, value in _later_defaults(section).items()}
    return {
        name: value
        for name, value in config.flat().items()
        if not may_change_on_resume(name) and (name not in later or value != later[name])
    }


def _check_keys(name: str, data: Any, expected: Mapping[str, Any]) -> None:
    if not isinstance(data, dict):
        raise UserError(f"{name} must be an object with {', '.join(expected)}; got {type(data).__name__}")
    unknown, missing = sorted(set(data) - set(expected)), sorted(set(expected) - set(data))
    if unknown or missing:
        raise UserError(f"{name} has unknown keys [{', '.join(unknown)}] and lacks [{', '.join(missing)}]")
