"""What the flags of train give, and what they leave to the text, the time, or a run that there is already."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tfrnn.config import own_text, presets, sections
from tfrnn.config.config import Config
from tfrnn.data.corpora import catalogue
from tfrnn.errors import UserError

# What a run takes from the one that it begins with: its model, and how it reads texts.
FROM_OTHER_RUN = (
    "tokens",
    "word_rule",
    "merges",
    "text_rule",
    *(f.name for f, _ in sections.Model.fields() if f.name != "dropout"),
)
# Settings that have an effect only if another one has one of these values.
NEEDS = {
    "decay_to": ("schedule", sorted(sections.DECAYING_SCHEDULES | {"plateau"})),
    "plateau_patience": ("schedule", ["plateau"]),
    "weight_decay": ("optimizer", [sections.DECOUPLED]),
    "decayed": ("optimizer", [sections.DECOUPLED]),
    "worker_timeout": ("strategy", ["multi_worker"]),
    "word_rule": ("tokens", ["word"]),
    "merges": ("tokens", ["bpe"]),
}
# What the machine decides, not a run that is resumed: it may be another one.
EXECUTION = frozenset(("device", "strategy", "worker_timeout", "cpu_devices", "cache_dir"))


class Given(NamedTuple):
    """What the flags give.

    Attributes:
      config: the settings of a new run.
      free: the names of those that were not given, and are fitted to the text and the time, see config/own_text.py, or
        taken from the run that it begins with.
      left: the names of those that a run that is resumed decides: what was not given, if no preset was named, and is
        not in EXECUTION.
      hold_out_exactly: whether `validation_tokens` or `validation_fraction` was given, so that as many are held out
        even if fewer than `max_tokens` are left to train on.
    """

    config: Config
    free: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()
    hold_out_exactly: bool = False

    def resumed(self, begun: Config, run_dir: str) -> "Given":
        """Returns what is given to a run that was begun, which decides what the flags leave to it.

        Args:
          begun: the settings by which it was begun. A later version may have other rules of texts than they name.
          run_dir: its folder.
        Raises:
          UserError: other `minutes` were given.
        """
        data, minutes, settings = self.config.data, self.config.training.minutes, begun.flat()
        if "minutes" not in self.left and minutes not in (0.0, begun.training.minutes):
            raise UserError(
                f"`run_dir={run_dir}`: the epochs of this run were fixed for `minutes={begun.training.minutes:g}`; got "
                f"{minutes:g}; give `epochs` to train it longer, or another `run_dir`"
            )
        rules = {name for name in ("text_rule", "word_rule") if getattr(data, name) == "auto"}
        config = self.config.replace(**{name: settings[name] for name in self.left | rules})
        # Version 0.1 held out less, if these flags asked for more than the text had.
        split_alike = all(getattr(data, name) == settings[name] for name in ("max_tokens", "validation_tokens"))
        return Given(config, hold_out_exactly=self.hold_out_exactly and not split_alike)

    def beginning_with(self, other: Config) -> "Given":
        """Returns what is given to a run that begins with the model of another.

        Args:
          other: the settings of the other run.
        Raises:
          UserError: the flags contradict them.
        """
        settings = other.flat()
        config = self.config.replace(**{name: settings[name] for name in self.free.intersection(FROM_OTHER_RUN)})
        for name, value in config.flat().items():
            if name in FROM_OTHER_RUN and name != "text_rule" and value != settings[name]:
                raise UserError(
                    f"`init_from={config.training.init_from}`: that run has `{name}={settings[name]}`; got {value}; "
                    "leave the flag out"
                )
        return self._replace(config=config, free=self.free.difference(FROM_OTHER_RUN))


def settings_given(flags: Mapping[str, Any], preset: str = "") -> Given:
    """Returns what flags give, by the names of their settings.

    Args:
      flags: the values of the settings that were given.
      preset: the name of the preset, "" if none was given.
    Raises:
      UserError: a value is wrong, or has no effect beside the others.
    """
    settings = dict(flags)
    is_own = settings.get("corpus", sections.Data.corpus) not in catalogue.CORPORA
    used = preset or (presets.OWN_TEXT if is_own else presets.DEFAULT_PRESET)
    if "validation_tokens" in flags and not flags.get("validation_fraction"):
        settings["validation_fraction"] = 0.0
    if "epochs" in flags:
        if flags.get("minutes"):
            raise UserError("`minutes` decides the number of epochs; got `epochs` too; leave one out")
        settings["minutes"] = 0.0
    config = Config.from_preset(used, **settings)
    _check_effect(config, flags)
    optimizer = config.training.optimizer
    if used == presets.OWN_TEXT and optimizer not in own_text.OPTIMIZERS and "learning_rate" not in flags:
        raise UserError(
            f"`preset=own_text` has a learning rate for {' and '.join(own_text.OPTIMIZERS)}; got "
            f"`optimizer={optimizer}`; give a `learning_rate` too"
        )
    chooses_embedding = used == presets.OWN_TEXT and "embedding_dim" not in flags
    if "embedding_initializer" in flags and not config.model.embedding_dim and not chooses_embedding:
        raise UserError("`embedding_initializer` needs an `embedding_dim` above 0; give one, or leave it out")
    free = {*(own_text.BY_TEXT if used == presets.OWN_TEXT else ())}
    free |= {*(FROM_OTHER_RUN if config.training.init_from else ())}
    free |= {*(own_text.BY_TIME if config.training.minutes else ())}
    left = frozenset(free if preset else config.flat()).difference(flags, EXECUTION)
    hold_out_exactly = not flags.keys().isdisjoint(("validation_tokens", "validation_fraction"))
    return Given(config, frozenset(free).difference(flags), left, hold_out_exactly)


def _check_effect(config: Config, flags: Mapping[str, Any]) -> None:
    """Raises UserError if a flag was given that has no effect beside the others."""
    data, training = config.data, config.training
    if data.validation_fraction and "validation_tokens" in flags:
        raise UserError("`validation_fraction` says how much is held out; got `validation_tokens` too; leave one out")
    if training.freeze and not training.init_from:
        raise UserError("`freeze` keeps the weights that `init_from` gives; give that too, or leave it out")
    check_needed(config.flat(), flags)
    if "encoding" in flags and data.corpus in catalogue.CORPORA:
        raise UserError(f"`encoding` is for files; got `corpus={data.corpus}`; leave one out")


def check_needed(settings: Mapping[str, Any], flags: Mapping[str, Any]) -> None:
    """Raises UserError if a flag was given that another setting leaves without effect, by NEEDS."""
    for name, (other, values) in NEEDS.items():
        if name in flags and settings[other] not in values:
            raise UserError(f"`{name}` is for `{other}={' or '.join(values)}`; got {settings[other]}; leave one out")
