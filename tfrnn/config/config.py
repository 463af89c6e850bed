"""All settings of a training run as one value: `Config().replace(units=512)`, `--units=512`, `config.model.units`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfrnn.config.presets import DEFAULT_PRESET, PRESETS
from tfrnn.config.sections import Data, Model, Run, Training
from tfrnn.errors import UserError, did_you_mean


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a run, in four sections."""

    data: Data = dataclasses.field(default_factory=Data)
    model: Model = dataclasses.field(default_factory=Model)
    training: Training = dataclasses.field(default_factory=Training)
    run: Run = dataclasses.field(default_factory=Run)

    def replace(self, **settings: Any) -> "Config":
        """A config with these settings changed, each given by its own name. Raises UserError on a wrong one."""
        sections = {}
        for name, section in vars(self).items():
            own = {f.name: settings.pop(f.name) for f in dataclasses.fields(section) if f.name in settings}
            sections[name] = dataclasses.replace(section, **own)
        if settings:
            raise UserError(f"unknown setting {', '.join(sorted(settings))}; the settings are {', '.join(self.flat())}")
        return Config(**sections)

    def flat(self) -> dict[str, Any]:
        """Every setting by its name."""
        return {name: value for section in vars(self).values() for name, value in vars(section).items()}

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """What config.json holds: sections of settings."""
        return {name: dict(vars(section)) for name, section in vars(self).items()}

    @classmethod
    def from_dict(cls, data: Any) -> "Config":
        """The inverse of to_dict, for data from a file: nothing missing, nothing unknown, every value checked."""
        sections = {}
        expected = cls()
        _check_keys("config", data, vars(expected))
        for name, section in vars(expected).items():
            _check_keys(f"config section {name}", data[name], vars(section))
            sections[name] = type(section)(**data[name])
        return cls(**sections)

    @classmethod
    def from_preset(cls, preset: str = DEFAULT_PRESET, **settings: Any) -> "Config":
        """A preset's config, with these settings in place of its own."""
        if preset not in PRESETS:
            raise UserError(
                f"--preset must be one of {', '.join(PRESETS)}; got {preset!r}{did_you_mean(preset, PRESETS)}"
            )
        return cls().replace(**{**PRESETS[preset], **settings})


SECTIONS = (Data, Model, Training, Run)


def may_change_on_resume(name: str) -> bool:
    fields = (field for section in SECTIONS for field, _ in section.fields())
    return any(field.name == name and field.metadata.get("may_change") for field in fields)


def _check_keys(what: str, data: Any, expected: Mapping[str, Any]) -> None:
    if not isinstance(data, dict):
        raise UserError(f"{what} must be an object with {', '.join(expected)}; got {type(data).__name__}")
    unknown, missing = sorted(set(data) - set(expected)), sorted(set(expected) - set(data))
    if unknown or missing:
        raise UserError(f"{what} has unknown keys [{', '.join(unknown)}] and lacks [{', '.join(missing)}]")
