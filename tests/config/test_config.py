"""Settings: valid and wrong values, presets, and config.json."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrnn.config.config import SECTIONS, Config
from tfrnn.config.presets import DEFAULT_PRESET, PRESETS
from tfrnn.config.sections import CELLS, OPTIMIZERS
from tfrnn.config.settings import parse
from tfrnn.errors import UserError

FIELDS = {field.name: (field, kind) for section in SECTIONS for field, kind in section.fields()}
WRONG_VALUES = {
    "encoding": ["utf-nine", "", "rot13", "a\0b", 8],
    "text_rule": ["shout", "", 3],
    "word_rule": ["letters", None],
    "tokens": ["byte", None],
    "max_tokens": [-1, 1.5, "many", True],
    "validation_tokens": [-1, None],
    "vocabulary": ["all"],
    "max_vocabulary": [-1, 2.5],
    "sampling": ["seq"],
    "random_offset": [1, "maybe", None],
    "batch_size": [0, -3, 2.0, "x"],
    "num_steps": [0, "35 steps"],
    "cell": ["RNN", "rnnn", ""],
    "implementation": ["tf"],
    "merges": [0, 2.5, "many"],
    "units": [0, -1, 1e3, "big", False],
    "num_layers": [0],
    "embedding_dim": [-1],
    "embedding_initializer": ["glorot", ""],
    "tie_weights": ["maybe", 1],
    "dropout": [-0.1, 1, 1.5, "half", float("nan")],
    "optimizer": ["SGD", "lion"],
    "learning_rate": [0, -1.0, float("inf"), float("nan"), "fast", None],
    "weight_decay": [-1, float("nan")],
    "decayed": ["none", True],
    "schedule": ["linear", ""],
    "warmup_steps": [-1, 0.5],
    "decay_to": [-0.1, 1.1, float("nan")],
    "plateau_patience": [0],
    "early_stopping": [-1, 2.5],
    "clip_norm": [-1, float("nan")],
    "epochs": [0, -5, 1.5],
    "init_from": [3, "\udcff"],
    "freeze": ["bare", (1,)],
    "minutes": [-1, "long", float("nan")],
    "validation_fraction": [-0.1, 1, float("nan")],
    "epochs_per_pass": [0, 1.5],
    "chains": [-1, 1.5],
    "jit_compile": ["yes", True],
    "mixed_precision": ["mixed_float16", "half", 16],
    "seed": [-1, 2**31],
    "deterministic": ["sometimes"],
    "device": ["gpu", "gpu:", "gpu:x", "tpu:0", "CPU"],
    "strategy": ["mirrors"],
    "worker_timeout": [0, "long"],
    "cpu_devices": [0, 65, 1.5],
    "cache_dir": [3],
    "prefix": ["bare", (1,)],
    "show_every": [-1],
    "temperature": [-0.1, "warm", float("nan")],
    "save_every": [-1, float("inf")],
    "log_dir": [3, "\udcff"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG_VALUES.items() for value in values]
)
def test_a_wrong_value_is_refused_with_its_name_the_bounds_and_the_value(name, value):
    with pytest.raises(UserError, match=re.escape(f"`{name}` must be ") + ".*; got " + re.escape(repr(value)[:5])):
        Config().replace(**{name: value})


@pytest.mark.parametrize(
    ("name", "suggested"), {"rot13": "", "hex_codec": "", "uft8": "utf8", "gb1803": "gb18030"}.items()
)
def test_only_an_encoding_of_texts_is_suggested(name, suggested):
    with pytest.raises(UserError, match="an encoding of texts") as raised:
        Config().replace(encoding=name)
    hint = f" (did you mean {suggested}?)" if suggested else ""
    assert str(raised.value).endswith(f"got {name!r}{hint}")


def test_every_setting_but_the_corpus_has_wrong_values():
    assert set(WRONG_VALUES) == set(FIELDS) - {"corpus"}


def test_tied_weights_need_equal_sizes():
    assert Config().replace(tie_weights=True, units=8, embedding_dim=8).model.tie_weights
    with pytest.raises(UserError, match=r"`tie_weights` needs `embedding_dim` equal to `units`.*got 0 and 256"):
        Config().replace(tie_weights=True)


def test_every_setting_has_a_help_text_and_the_default_preset_has_the_defaults():
    for field, _ in FIELDS.values():
        assert field.metadata["help"]
    assert Config.from_preset(DEFAULT_PRESET) == Config()


@pytest.mark.parametrize("preset", PRESETS)
def test_a_setting_overrides_that_of_a_preset(preset):
    assert Config.from_preset(preset, units=7).model.units == 7


def test_an_unknown_preset_is_refused():
    with pytest.raises(UserError, match="`preset` must be one of rnn_scratch"):
        Config.from_preset("gpt")


def test_an_unknown_setting_is_refused():
    with pytest.raises(UserError, match="unknown setting hidden"):
        Config().replace(hidden=3)


def test_the_named_classes_of_cells_and_optimizers_exist():
    import keras

    from tfrnn.layers import cells

    for name, _ in OPTIMIZERS.values():
        assert hasattr(keras.optimizers, name)
    for cell in CELLS.values():
        assert hasattr(keras.layers, cell["keras"])
        assert hasattr(cells, cell["scratch"])


def test_the_settings_that_may_change_on_resume():
    changeable = {name for name, (field, _) in FIELDS.items() if field.metadata.get("may_change")}
    training = {"epochs", "minutes", "early_stopping", "chains", "jit_compile"}
    run = {"device", "strategy", "worker_timeout", "cpu_devices", "cache_dir", "log_dir"}
    assert changeable == training | run | {"prefix", "temperature", "show_every", "save_every"}


def test_contradictory_devices_and_strategies_are_refused():
    with pytest.raises(UserError, match=r"`cpu_devices` is for `strategy=mirrored`; got one_device"):
        Config().replace(cpu_devices=2)
    with pytest.raises(UserError, match=r"`strategy=mirrored` uses all devices.*got `device=gpu:1`"):
        Config().replace(strategy="mirrored", device="gpu:1")


def test_contradictory_schedules_are_refused():
    with pytest.raises(UserError, match=r"`schedule=plateau` has no warm-up.*got `warmup_steps=5`"):
        Config().replace(schedule="plateau", warmup_steps=5)
    with pytest.raises(UserError, match=r"never reaches zero; got `decay_to=0\.0`"):
        Config().replace(schedule="exponential", decay_to=0)


@given(
    units=st.integers(1, 2**14),
    learning_rate=st.floats(1e-30, 1e9),
    dropout=st.floats(0, 1, exclude_max=True),
    prefix=st.lists(st.text(), max_size=3).map(tuple),
    corpus=st.text(),
)
def test_a_config_survives_config_json(**settings):
    config = Config().replace(**settings)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_setting_that_config_json_lacks_is_that_of_runs_older_than_the_setting():
    data = Config().replace(tokens="word", text_rule="raw").to_dict()
    del data["data"]["encoding"], data["data"]["word_rule"]  # as version 0.1 wrote it
    config = Config.from_dict(data)
    assert (config.data.encoding, config.data.word_rule, config.data.token_kind) == ("auto", "spaces", "spaced")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_other_json_is_refused(data):
    with pytest.raises(UserError, match="config"):
        Config.from_dict(data)


@pytest.mark.parametrize("section", Config().to_dict())
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda settings: {**settings, "colour": 1}, "has unknown keys [colour]"),
        (lambda settings: {}, "lacks ["),
        (lambda settings: dict.fromkeys(settings, object), "must be"),
        (lambda settings: list(settings), "must be an object with"),
    ],
    ids=["unknown key", "missing keys", "wrong values", "no object"],
)
def test_a_wrong_section_of_config_json_is_refused(section, change, message):
    data = Config().to_dict()
    data[section] = change(data[section])
    with pytest.raises(UserError, match=re.escape(message)):
        Config.from_dict(data)


def is_value_or_user_error(name, text):
    field, kind = FIELDS[name]
    try:
        return type(parse(field, kind, text)) is kind
    except UserError as error:
        return str(error).startswith(f"`{name}` must be ")


@given(st.text())
def test_any_text_for_a_setting_is_a_value_of_its_type_or_a_user_error(text):
    assert [name for name in FIELDS.keys() - {"prefix"} if not is_value_or_user_error(name, text)] == []
