"""What the flags of train give, and what they leave to the text, the time, or a run that there is already."""

from collections.abc import Collection, Container, Mapping
from typing import Any, NamedTuple

from tfrnn.config import own_text, presets, sections
from tfrnn.config.config import Config
from tfrnn.data.corpora import catalogue
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import UserError, did_you_mean

# What a run takes from the one that it begins with: its model, and how it reads texts.
FROM_OTHER_RUN = (
    "tokens",
    "word_rule",
    "merges",
    "text_rule",
    *(f.name for f, _ in sections.Model.fields() if f.name != "dropout"),
)
# What it takes, too, if no text is given.
TEXT_OF_OTHER_RUN = ("corpus", "encoding", "vocabulary", "max_vocabulary")
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
      config: the settings of the run.
      free: the names of those that were not given, and are fitted to the text and the time, see config/own_text.py.
      hold_out_exactly: whether `validation_tokens` or `validation_fraction` was given, so that as many are held out
        even if fewer than `max_tokens` are left to train on.
    """

    config: Config
    free: frozenset[str] = frozenset()
    hold_out_exactly: bool = False


def settings_given(flags: Mapping[str, Any], preset: str = "", other: Config | None = None) -> Given:
    """Returns what flags give to a new run.

    Args:
      flags: the values of the settings that were given, by their names.
      preset: the name of the preset, "" if none was given.
      other: the settings of the run that it begins with, if `init_from` was given.
    Raises:
      UserError: a value is wrong, has no effect beside the others, or contradicts the other run.
    """
    settings = _with_implied(flags)
    taken = _taken_from(other, flags, preset) if other else {}
    corpus = {**taken, **settings}.get("corpus", sections.Data.corpus)
    used = preset or (presets.DEFAULT_PRESET if corpus in catalogue.CORPORA else presets.OWN_TEXT)
    config = Config.from_preset(used, **{**taken, **settings})
    free = _fitted(used, config.training.minutes).difference(flags, taken)
    _check_effect(config, flags, free)
    optimizer = config.training.optimizer
    if "learning_rate" in free and optimizer not in own_text.OPTIMIZERS:
        raise UserError(
            f"`preset=own_text` has a learning rate for {' and '.join(own_text.OPTIMIZERS)}; got "
            f"`optimizer={optimizer}`; give a `learning_rate` too"
        )
    return Given(config, free, _holds_out_exactly(flags))


def settings_resumed(flags: Mapping[str, Any], preset: str, begun: Config, run_dir: str) -> Given:
    """Returns what flags give to a run that was begun, which decides what they leave to it.

    That is all but the preset, if one was named, and what the machine decides.

    Args:
      flags, preset: as for `settings_given`.
      begun: the settings by which the run was begun. A later version may have other rules of texts than they name.
      run_dir: its folder.
    Raises:
      UserError: a value is wrong or has no effect beside the others, or other `minutes` were given.
    """
    settings, before = _with_implied(flags), begun.flat()
    if preset:
        left = _fitted(preset, settings.get("minutes", presets.PRESETS[preset].get("minutes", 0.0)))
        taken = _names_taken(flags, preset) if flags.get("init_from") else []
        config = Config.from_preset(preset, **{**{name: before[name] for name in (*left, *taken)}, **settings})
    else:
        machine = Config().flat()
        config = begun.replace(**{**{name: machine[name] for name in EXECUTION}, **flags})
    minutes = config.training.minutes
    if (preset or "minutes" in flags) and minutes not in (0.0, begun.training.minutes):
        raise UserError(
            f"`run_dir={run_dir}`: the epochs of this run were fixed for `minutes={begun.training.minutes:g}`; got "
            f"{minutes:g}; give `epochs` to train it longer, or another `run_dir`"
        )
    rules = [name for name in ("text_rule", "word_rule") if getattr(config.data, name) == "auto"]
    config = config.replace(**{name: before[name] for name in rules})
    _check_effect(config, flags)
    # Version 0.1 held out less, if these flags asked for more than the text had.
    split_alike = all(getattr(config.data, name) == before[name] for name in ("max_tokens", "validation_tokens"))
    return Given(config, hold_out_exactly=_holds_out_exactly(flags) and not split_alike)


def _holds_out_exactly(flags: Mapping[str, Any]) -> bool:
    return not flags.keys().isdisjoint(("validation_tokens", "validation_fraction"))


def check_unchanged(config: Config, known: Vocabulary, other: Config, vocabulary: Vocabulary) -> None:
    """Checks that a run can begin again with another run's weights.

    Args:
      config, known: the settings and the vocabulary of the run.
      other, vocabulary: those of the other run now.
    Raises:
      UserError: the other run is not the one with which the run began.
    """
    settings, others = config.flat(), other.flat()
    same = all(settings[name] == others[name] for name in FROM_OTHER_RUN if name != "text_rule")
    if not same or known.id_to_token[: len(vocabulary)] != vocabulary.id_to_token:
        raise UserError(
            f"`init_from={config.training.init_from}`: expected the run whose weights this one began with, but it has "
            "other settings or tokens now; bring it back, or give another `run_dir` for a new run"
        )


def _with_implied(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that were given, with those that follow from them."""
    settings = dict(flags)
    if "validation_tokens" in flags and not flags.get("validation_fraction"):
        settings["validation_fraction"] = 0.0
    if "epochs" in flags:
        if flags.get("minutes"):
            raise UserError("`minutes` decides the number of epochs; got `epochs` too; leave one out")
        settings["minutes"] = 0.0
    return settings


def _fitted(preset: str, minutes: float) -> frozenset[str]:
    """Returns the names of the settings that are fitted to the text and the time if they are not given."""
    by_text = own_text.BY_TEXT if preset == presets.OWN_TEXT else ()
    return frozenset((*by_text, *(own_text.BY_TIME if minutes else ())))


def _names_taken(flags: Mapping[str, Any], preset: str) -> list[str]:
    """Returns the names of the settings that are taken from the run to begin with."""
    has_text = "corpus" in {**presets.PRESETS.get(preset, {}), **flags}
    names = FROM_OTHER_RUN if has_text else (*FROM_OTHER_RUN, *TEXT_OF_OTHER_RUN)
    return [name for name in names if name not in flags]


def _taken_from(other: Config, flags: Mapping[str, Any], preset: str) -> dict[str, Any]:
    """Returns the settings that are taken from the run to begin with. Raises UserError if flags contradict it."""
    settings = other.flat()
    for name in FROM_OTHER_RUN:
        if name in flags and name != "text_rule" and flags[name] != settings[name]:
            raise UserError(
                f"`init_from={flags['init_from']}`: that run has `{name}={settings[name]}`; got {flags[name]}; leave "
                "the flag out"
            )
    return {name: settings[name] for name in _names_taken(flags, preset)}


def _check_effect(config: Config, flags: Mapping[str, Any], free: Container[str] = ()) -> None:
    """Raises UserError if a flag was given that has no effect beside the others.

    Args:
      config: the settings that result.
      flags: those that were given.
      free: the names of those that are not fixed yet.
    """
    data, training = config.data, config.training
    if data.validation_fraction and "validation_tokens" in flags:
        raise UserError("`validation_fraction` says how much is held out; got `validation_tokens` too; leave one out")
    if training.freeze and not training.init_from:
        raise UserError("`freeze` keeps the weights that `init_from` gives; give that too, or leave it out")
    _check_frozen(training.freeze, config.model.layer_names)
    check_needed(config.flat(), flags)
    if "encoding" in flags and data.corpus in catalogue.CORPORA:
        raise UserError(f"`encoding` is for files; got `corpus={data.corpus}`; leave one out")
    if "embedding_initializer" in flags and not config.model.embedding_dim and "embedding_dim" not in free:
        raise UserError("`embedding_initializer` needs an `embedding_dim` above 0; give one, or leave it out")


def _check_frozen(frozen: Collection[str], layers: Collection[str]) -> None:
    """Raises UserError if layers are to keep their weights that a model does not have, or all that it has."""
    shown = ", ".join(layers)
    for name in frozen:
        if name not in layers:
            raise UserError(f"`freeze` must be one of {shown}; got {name!r}{did_you_mean(name, layers)}")
    if set(layers) == set(frozen):
        raise UserError(f"`freeze` leaves nothing to train; the layers are {shown}; leave one of them out")


def check_needed(settings: Mapping[str, Any], flags: Mapping[str, Any]) -> None:
    """Raises UserError if a flag was given that another setting leaves without effect, by NEEDS."""
    for name, (other, values) in NEEDS.items():
        if name in flags and settings[other] not in values:
            raise UserError(f"`{name}` is for `{other}={' or '.join(values)}`; got {settings[other]}; leave one out")
