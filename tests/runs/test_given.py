"""What flags give to a new run, to one that begins with another, and to one that is resumed."""

import pytest

from tfrnn.config.config import Config
from tfrnn.errors import UserError
from tfrnn.runs.given import EXECUTION, settings_given, settings_resumed

# Flags of a run, each of which needs others to have an effect.
RUNS = [
    {"optimizer": "adamw", "weight_decay": 0.01, "decayed": "all"},
    {"schedule": "cosine", "decay_to": 0.2, "warmup_steps": 5},
    {"schedule": "plateau", "plateau_patience": 3, "decay_to": 0.1, "validation_tokens": 300},
    {"schedule": "exponential", "decay_to": 0.5},
    {"tie_weights": True, "embedding_dim": 32, "units": 32, "embedding_initializer": "normal"},
    {"tokens": "word", "word_rule": "marks", "max_vocabulary": 9},
    {"tokens": "bpe", "merges": 60},
    {"corpus": "my_book.txt", "encoding": "cp1252", "epochs": 9, "weight_decay": 0.3},
    {"corpus": "my_book.txt", "minutes": 0.5, "validation_fraction": 0.2},
]


@pytest.mark.parametrize("flags", RUNS, ids=[", ".join(flags) for flags in RUNS])
def test_a_run_is_resumed_by_any_of_its_own_flags(flags):
    begun = settings_given(flags).config
    for resumed in ({}, flags, *({name: value} for name, value in flags.items())):
        given = settings_resumed(resumed, "", begun, "run")
        assert (given.config, given.free) == (begun, frozenset()), resumed


def test_a_run_with_other_weights_is_resumed_by_any_of_its_own_flags():
    other = Config().replace(units=7)
    flags = {"init_from": "runs/other", "freeze": ("rnn.0",), "units": 7}
    begun = settings_given(flags, other=other).config
    for name, value in flags.items():
        assert settings_resumed({name: value}, "", begun, "run").config == begun


@pytest.mark.parametrize(
    ("flags", "begun", "message"),
    [
        ({"weight_decay": 0.1}, {}, "`weight_decay` is for `optimizer=adamw`; got sgd"),
        ({"weight_decay": 0.1, "optimizer": "sgd"}, {"optimizer": "adamw"}, "for `optimizer=adamw`; got sgd"),
        ({"encoding": "cp1252"}, {}, "`encoding` is for files; got `corpus=sample`"),
        ({"freeze": ("dense",)}, {}, "`freeze` keeps the weights that `init_from` gives"),
        ({"embedding_initializer": "normal"}, {}, "needs an `embedding_dim` above 0"),
        ({"validation_tokens": 5}, {"validation_fraction": 0.1}, "`validation_fraction` says how much"),
        ({"minutes": 3.0}, {"minutes": 2.0}, "fixed for `minutes=2`; got 3"),
    ],
)
def test_a_flag_that_the_run_leaves_without_effect_is_refused(flags, begun, message):
    with pytest.raises(UserError, match=message):
        settings_resumed(flags, "", Config().replace(**begun), "run")


def test_the_machine_decides_where_a_run_is_executed_and_the_run_all_else():
    begun = Config().replace(device="cpu", cache_dir="cache", show_every=3, text_rule="book", word_rule="marks")
    resumed = settings_resumed({"epochs": 900}, "", begun, "run").config
    changed = {name for name, value in resumed.flat().items() if value != begun.flat()[name]}
    assert changed == {"epochs", "device", "cache_dir"} <= {*EXECUTION, "epochs"}


OTHER = Config.from_preset(
    "own_text", corpus="novels.txt", encoding="cp1252", text_rule="raw", tokens="word", max_vocabulary=99, units=16
)
TEXT_OF_OTHER = {"corpus": "novels.txt", "encoding": "cp1252", "max_vocabulary": 99}


@pytest.mark.parametrize("preset", ["", "own_text", "gru_concise"])
@pytest.mark.parametrize("more", [{"learning_rate": 0.0005}, {"minutes": 1.0}, {"epochs": 3, "num_steps": 9}])
def test_without_a_text_that_of_the_other_run_is_taken_as_if_it_were_given(preset, more):
    flags = {"init_from": "runs/novels", **more}
    taken, given = (settings_given({**flags, **text}, preset, OTHER) for text in ({}, TEXT_OF_OTHER))
    assert taken == given
    assert taken.config.data.corpus == "novels.txt"
    assert (taken.config.training.optimizer == "adamw") == (preset != "gru_concise")
    begun = taken.config.replace(**dict.fromkeys(taken.free & {"epochs", "batch_size", "epochs_per_pass"}, 5))
    begun = begun.replace(word_rule="marks")
    assert settings_resumed(flags, preset, begun, "run").config == begun


def test_another_text_is_read_by_its_own_settings_and_a_preset_may_name_one():
    flags = {"init_from": "runs/novels", "corpus": "letters.txt"}
    data = settings_given(flags, "", OTHER).config.data
    assert (data.corpus, data.encoding, data.max_vocabulary) == ("letters.txt", "auto", 0)
    assert (data.text_rule, data.tokens) == ("raw", "word")
    other = Config()
    assert settings_given({"init_from": "x"}, "jay_gru_concise", other).config.data.corpus == "jay_lyrics"
    assert settings_given({"init_from": "x"}, "", other) == settings_given(
        {"init_from": "x", "corpus": "sample"}, "", other
    )


def test_a_flag_of_the_model_must_be_the_other_runs():
    with pytest.raises(UserError, match="that run has `units=16`; got 9; leave the flag out"):
        settings_given({"init_from": "runs/novels", "units": 9}, "", OTHER)
    with pytest.raises(UserError, match="that run has `tokens=word`; got bpe"):
        settings_given({"init_from": "runs/novels", "tokens": "bpe"}, "", OTHER)
    settings_given({"init_from": "runs/novels", "units": 16, "tokens": "word"}, "", OTHER)


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        (["nosuchlayer"], "`freeze` must be one of rnn.0, rnn.1, dense; got 'nosuchlayer'$"),
        (["dense", "rnn2"], r"got 'rnn2' \(did you mean rnn\.\d\?\)$"),
        (["embedding"], "got 'embedding'"),
        (["rnn.0", "dense", "rnn.1"], "`freeze` leaves nothing to train; the layers are rnn.0, rnn.1, dense; leave"),
    ],
)
def test_layers_to_freeze_are_those_of_the_other_run_and_not_all(freeze, message):
    other = Config().replace(num_layers=2)
    flags = {"init_from": "runs/other", "freeze": tuple(freeze)}
    with pytest.raises(UserError, match=message):
        settings_given(flags, other=other)
    begun = settings_given({**flags, "freeze": ("rnn.1",)}, other=other).config
    for preset in ("", "gru_concise"):
        with pytest.raises(UserError, match=message):
            settings_resumed(flags, preset, begun, "run")
