"""The preset own_text: what it takes for a text and a time, and what it leaves to the user."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrnn import train
from tfrnn.config import own_text, sizes
from tfrnn.config.config import Config
from tfrnn.errors import UserError

CONFIG = Config.from_preset("own_text")
FLOPS = 1e11


def num_weights(config, vocab_size):
    return sizes.weight_bytes(config.model, vocab_size) / 4


@given(
    num_tokens=st.integers(200, 10**9),
    minutes=st.floats(0.05, 1000),
    vocab_size=st.integers(2, 6000),
    speed=st.floats(0.01, 100),
)
def test_more_time_or_more_text_never_gives_a_smaller_model(num_tokens, minutes, vocab_size, speed):
    def chosen(num_tokens, minutes):
        config = CONFIG.replace(minutes=minutes)
        config = own_text.choose_batches(config, own_text.BY_TEXT, num_tokens)
        return own_text.choose_model(config, own_text.BY_TEXT, num_tokens, vocab_size, speed * FLOPS)

    config = chosen(num_tokens, minutes)
    for more in (chosen(2 * num_tokens, minutes), chosen(num_tokens, 2 * minutes)):
        assert num_weights(more, vocab_size) >= num_weights(config, vocab_size)
    rows, steps = config.data.batch_size, config.data.num_steps
    assert rows % 4 == 0
    assert rows * steps + steps < num_tokens or num_tokens < 1000


@given(
    num_tokens=st.integers(1, 10**9),
    vocab_size=st.integers(2, 6000),
    units=st.integers(1, 2000),
)
def test_a_larger_model_or_more_different_tokens_never_give_more_passes(num_tokens, vocab_size, units):
    def passes(units, vocab_size):
        return own_text.max_passes(CONFIG.replace(units=units), num_tokens, vocab_size)

    assert 1 <= passes(2 * units, vocab_size) <= passes(units, vocab_size) <= own_text.MOST_PASSES
    assert passes(units, 10 * vocab_size) <= passes(units, vocab_size)


def test_tokens_are_embedded_if_nothing_else_is_given():
    def chosen(free=own_text.BY_TEXT, **settings):
        model = own_text.choose_model(CONFIG.replace(**settings), free, 10**6, 65, FLOPS).model
        return model.embedding_dim, model.embedding_initializer

    assert chosen() == (own_text.EMBEDDING_DIM, "normal")
    given = {"units", "num_layers", "embedding_initializer"}
    assert chosen(given, embedding_dim=7) == (7, "normal")
    assert chosen(given, embedding_dim=0) == (0, "uniform")
    assert chosen(given, embedding_dim=256, tie_weights=True) == (256, "uniform")


@given(
    num_tokens=st.integers(200, 10**9),
    passes=st.floats(0.001, 1000),
    more=st.floats(1, 100),
    optimizer=st.sampled_from(["adamw", "sgd"]),
)
def test_more_passes_never_regularize_less_and_a_weight_decays_in_some_passes(num_tokens, passes, more, optimizer):
    config = own_text.choose_batches(CONFIG.replace(optimizer=optimizer), own_text.BY_TEXT, num_tokens)

    def chosen(passes):
        return own_text.choose_regularization(config, own_text.BY_TEXT, num_tokens, passes)

    few, many = chosen(passes), chosen(more * passes)
    assert few.model.dropout <= many.model.dropout
    if optimizer == "sgd":
        assert many.training.weight_decay == config.training.weight_decay
        return
    assert few.training.weight_decay <= many.training.weight_decay
    assert (few.training.weight_decay > 0) == (few.model.dropout > 0)
    if decay := few.training.weight_decay:
        steps = 1 / (decay * own_text.LEARNING_RATE)
        in_passes = steps * config.data.batch_size * config.data.num_steps / num_tokens
        assert steps == pytest.approx(own_text.STEPS_TO_DECAY) or in_passes in (pytest.approx(1), pytest.approx(2))
        assert steps >= 0.999 * own_text.STEPS_TO_DECAY


def test_what_was_given_stays_as_it_was():
    config = CONFIG.replace(units=77, dropout=0.35, batch_size=5, weight_decay=0.5)
    free = ("num_layers", "num_steps", "learning_rate")
    chosen = own_text.choose_model(own_text.choose_batches(config, free, 10**6), free, 10**6, 65, FLOPS)
    chosen = own_text.choose_regularization(chosen, free, 10**6, 100)
    assert (chosen.model.units, chosen.model.dropout, chosen.data.batch_size) == (77, 0.35, 5)
    assert chosen.training.weight_decay == 0.5


def test_of_given_units_one_layer_is_taken_unless_layers_are_given():
    config = CONFIG.replace(units=128, minutes=600)
    for free, num_layers in ((("num_layers",), 1), ((), 3)):
        chosen = own_text.choose_model(config.replace(num_layers=3), free, 10**6, 65, FLOPS)
        assert (chosen.model.num_layers, chosen.model.units) == (num_layers, 128)


def test_the_rate_rises_in_a_tenth_of_the_steps_but_for_a_schedule_that_sets_it():
    assert own_text.choose_warmup(CONFIG, own_text.BY_TEXT, 500).training.warmup_steps == 50
    assert own_text.choose_warmup(CONFIG, own_text.BY_TEXT, 10**6).training.warmup_steps == 100
    assert own_text.choose_warmup(CONFIG.replace(warmup_steps=7), (), 500).training.warmup_steps == 7
    assert own_text.choose_warmup(CONFIG.replace(schedule="plateau"), own_text.BY_TEXT, 500).training.warmup_steps == 0


def test_a_path_is_a_text_of_ones_own_and_a_name_is_not():
    (config, free, *_), preset, _ = train.parse_flags(["train", "--corpus=my_book.txt"])
    assert (config.training.minutes, config.data.max_tokens, config.data.validation_fraction) == (10, 0, 0.1)
    assert free == {*own_text.BY_TEXT, *own_text.BY_TIME}
    assert preset == ""
    (config, free, *_), *_ = train.parse_flags(["train", "--corpus=tiny_shakespeare"])
    assert (config.training.minutes, config.data.max_tokens, free) == (0, 10_000, frozenset())


def test_any_flag_beside_it_wins():
    flags = ["train", "--corpus=my_book.txt", "--units=99", "--epochs=7", "--validation_tokens=300", "--max_tokens=900"]
    (config, free, *_), *_ = train.parse_flags(flags)
    assert (
        config.flat().items()
        >= {
            "units": 99,
            "epochs": 7,
            "minutes": 0.0,
            "max_tokens": 900,
            "validation_tokens": 300,
            "validation_fraction": 0.0,
        }.items()
    )
    assert free.isdisjoint({"units", *own_text.BY_TIME})
    (config, free, *_), *_ = train.parse_flags(["train", "--corpus=my_book.txt", "--preset=gru_concise"])
    assert (config.data.max_tokens, config.training.epochs, free) == (10_000, 500, frozenset())
    (config, free, *_), *_ = train.parse_flags(["train", "--minutes=2"])  # of the book's model on the book's text
    assert (config.model.cell, free) == ("rnn", {*own_text.BY_TIME})


@pytest.mark.parametrize(
    ("flags", "is_exact"),
    [
        (["--max_tokens=900"], False),
        (["--max_tokens=900", "--validation_tokens=30"], True),
        (["--max_tokens=900", "--validation_fraction=0.1"], True),
    ],
)
def test_what_is_to_be_held_out_is_so_exactly_if_it_is_given(flags, is_exact):
    parsed, *_ = train.parse_flags(["train", "--corpus=my_book.txt", *flags])
    assert parsed.hold_out_exactly == is_exact


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--minutes=3", "--epochs=4"], "`minutes` decides the number of epochs; got `epochs` too"),
        (["--validation_fraction=0.2", "--validation_tokens=4"], "`validation_fraction` says how much is held out"),
        (["--minutes=-1"], "must be a number at least 0"),
        (["--corpus=my_book.txt", "--optimizer=sgd"], "has a learning rate for adam and adamw; got `optimizer=sgd`"),
    ],
)
def test_contradictions_are_refused(flags, message):
    with pytest.raises(UserError, match=message):
        train.parse_flags(["train", *flags])
