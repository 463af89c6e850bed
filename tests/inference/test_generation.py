"""Generating and continuing texts.

Texts that are computed in two ways are compared as strings. They differ only if two tokens are equally likely, or a
random number meets a bound between two tokens, to within a rounding error (about 1e-6); with the fixed weights and
seeds and the short texts here no token comes that close.
"""

import dataclasses
import gc
import itertools
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import (
    ALL_CELLS,
    EACH_CELL,
    ONE_RNN,
    VOCABULARY,
    cells_together_and_slowly_one_by_one,
    name_of,
    new_model,
    rounding,
    shared_model,
    shared_word_model,
)

import tfrnn
from tfrnn.errors import UserError
from tfrnn.inference import generation, reading
from tfrnn.inference.generation import generate_many
from tfrnn.inference.samplers import GREEDY, Sampler
from tfrnn.runtime import threads

FILTERED = Sampler(0.7, 3, 0.9)
PENALIZED = Sampler(1.2, repetition_penalty=1.5, repetition_window=5)


def named(value):
    """A readable name for cells or a sampler in a test's id."""
    names = {GREEDY: "greedy", Sampler(1.0): "softmax", FILTERED: "filtered", PENALIZED: "penalized"}
    return names[value] if isinstance(value, Sampler) else name_of(value)


def combinations(quick, *values):
    """All combinations of the values, of which those not in `quick` are marked slow."""
    return [
        pytest.param(*combination, marks=() if combination in quick else pytest.mark.slow)
        for combination in itertools.product(*values)
    ]


@pytest.mark.parametrize("prefix_length", [1, 2, 40])
def test_greedy_takes_the_likeliest_token_after_everything_read(prefix_length):
    model = shared_model()
    text = ("abcde " * 20)[:prefix_length]
    for _ in range(5):
        logits, _ = model(VOCABULARY.encode(text)[:, None])
        text += VOCABULARY.id_to_token[1 + int(np.argmax(logits[-1, 0, 1:]))]
    assert tfrnn.generate(model, VOCABULARY, text[:prefix_length], 5) == text


@pytest.mark.parametrize("sampler", [GREEDY, Sampler(1.0), FILTERED], ids=named)
def test_streaming_equals_generating(sampler):
    model = shared_model()
    for seed in range(2):
        pieces = list(tfrnn.stream(model, VOCABULARY, "ab", 10, sampler, seed))
        assert len(pieces) == 10
        assert "ab" + "".join(pieces) == tfrnn.generate(model, VOCABULARY, "ab", 10, sampler, seed)


def test_a_seed_fixes_the_samples_and_samples_differ():
    model = shared_model()
    (samples,) = generate_many(model, VOCABULARY, ["ab"], 20, 4, Sampler(1.0), seed=3)
    assert len(set(samples)) == 4
    assert generate_many(model, VOCABULARY, ["ab"], 20, 4, Sampler(1.0), seed=3) == [samples]
    assert generate_many(model, VOCABULARY, ["ab"], 20, 4, Sampler(1.0), seed=4) != [samples]


@pytest.mark.parametrize(
    "sampler",
    [
        Sampler(1.0, top_p=1e-40),
        *(pytest.param(s, marks=pytest.mark.slow) for s in (Sampler(1e-4), Sampler(1e-300), Sampler(1.0, top_k=1))),
    ],
)
def test_extreme_settings_are_greedy(sampler):
    model = shared_model()
    assert tfrnn.generate(model, VOCABULARY, "ab", 20, sampler) == tfrnn.generate(model, VOCABULARY, "ab", 20)


@pytest.mark.parametrize(
    ("cells", "sampler"),
    combinations(
        [(ALL_CELLS, GREEDY), (ALL_CELLS, PENALIZED), (ONE_RNN, Sampler(1.0))],
        [ALL_CELLS, *EACH_CELL],
        [GREEDY, Sampler(1.0), PENALIZED],
    ),
    ids=named,
)
def test_continuing_in_parts_equals_continuing_at_once(cells, sampler):
    model = shared_model(cells)
    text = tfrnn.generate(model, VOCABULARY, "abc", 12, sampler, seed=2)
    reading, parts = tfrnn.read_prefixes(model, VOCABULARY, ["abc"]), []
    for length in (1, 0, 7, 4):
        (part,), reading = tfrnn.continue_texts(model, VOCABULARY, reading, length, sampler, seed=2)
        parts.append(part)
    assert "abc" + "".join(parts) == text
    assert VOCABULARY.decode(reading.recent[0, -15:]) == text


@pytest.mark.parametrize("cells", cells_together_and_slowly_one_by_one())
def test_reading_in_parts_equals_reading_at_once(cells):
    model = shared_model(cells)
    at_once = tfrnn.read_prefixes(model, VOCABULARY, ["abc de", "cab ad"])
    first = tfrnn.read_prefixes(model, VOCABULARY, ["abc", "cab "])
    in_parts = tfrnn.read_prefixes(model, VOCABULARY, [" de", "ad"], after=first)
    for part, whole in zip(tf.nest.flatten(in_parts[:2]), tf.nest.flatten(at_once[:2]), strict=True):
        np.testing.assert_allclose(part, whole, rtol=0, atol=rounding(6))
    np.testing.assert_array_equal(in_parts.recent, at_once.recent)
    with pytest.raises(UserError, match=r"one text for each of the 2 rows.*got 1"):
        tfrnn.read_prefixes(model, VOCABULARY, ["a"], after=first)


def test_text_read_after_a_generated_one_continues_it():
    model = shared_model(ALL_CELLS)
    reading = tfrnn.read_prefixes(model, VOCABULARY, ["abc"])
    (generated,), reading = tfrnn.continue_texts(model, VOCABULARY, reading, 9, PENALIZED)
    reading = tfrnn.read_prefixes(model, VOCABULARY, [" bad"], after=reading)
    at_once = tfrnn.read_prefixes(model, VOCABULARY, [f"abc{generated} bad"])
    np.testing.assert_allclose(reading.logits, at_once.logits, rtol=0, atol=rounding(16))


@pytest.mark.parametrize(
    "sampler", [PENALIZED, *(pytest.param(s, marks=pytest.mark.slow) for s in (GREEDY, Sampler(1.0)))], ids=named
)
def test_prefixes_side_by_side_are_continued_as_each_alone(sampler):
    model = shared_model()
    prefixes = ["ab", "e", "dcba" * 5, "cd", "abcde"]  # sorted by length they are neither in order nor only swapped
    together = generate_many(model, VOCABULARY, prefixes, 10, 2, sampler, seed=7)
    for prefix, samples in zip(prefixes, together, strict=True):
        assert generate_many(model, VOCABULARY, [prefix], 10, 2, sampler, seed=7) == [samples]
        assert tfrnn.generate(model, VOCABULARY, prefix, 10, sampler, seed=7) == samples[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cells", "sampler"),
    combinations([(ALL_CELLS, GREEDY), (ONE_RNN, FILTERED)], [ALL_CELLS, *EACH_CELL], [GREEDY, Sampler(1.0), FILTERED]),
    ids=named,
)
def test_xla_generates_the_same_tokens(cells, sampler):
    model = shared_model(cells)
    reading = tfrnn.read_prefixes(model, VOCABULARY, ["ab"])
    generator = generation.TextGenerator(model, VOCABULARY, sampler)
    (plain, _), (compiled, _) = (generator.extend_within_block(reading, 12, use_xla) for use_xla in (False, True))
    np.testing.assert_array_equal(compiled, plain)


@pytest.mark.slow
def test_generating_with_many_models_traces_once_each_warns_of_nothing_and_keeps_none_alive(caplog):
    traced = [generation.generate_tokens, reading.read_tokens]
    before, models = [function.tf_function.experimental_get_tracing_count() for function in traced], weakref.WeakSet()
    for _ in range(6):  # of 5 traces in 10 calls tf.function would warn
        models.add(model := new_model())
        texts = [tfrnn.generate(model, VOCABULARY, prefix, length) for prefix, length in (("ab", 3), ("cde", 4))]
        assert [len(text) for text in texts] == [5, 7]
    del model
    gc.collect()
    counts = [function.tf_function.experimental_get_tracing_count() for function in traced]
    assert [after - count for after, count in zip(counts, before, strict=True)] == [6, 6]
    assert not caplog.records
    assert not models


class UncompilableSampler:
    """A greedy sampler with an operation that XLA does not have."""

    def choose(self, logits, uniform, recent):
        return tf.ensure_shape(tf.numpy_function(lambda x: x.argmax(1), [logits], tf.int64), [logits.shape[0]])


class UncompilableCell(tfrnn.RNNCell):
    """A cell with an operation that XLA does not have."""

    def call(self, inputs, states):
        same = tf.numpy_function(lambda x: x, [inputs], tf.float32)
        return super().call(tf.ensure_shape(same, inputs.shape), states)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "sampler"),
    [
        pytest.param(tfrnn.RNNCell, UncompilableSampler(), id="sampler"),
        pytest.param(UncompilableCell, GREEDY, id="cell", marks=pytest.mark.slow),
    ],
)
def test_a_long_text_is_generated_with_xla_and_without_it_if_xla_cannot_compile_it(cell, sampler, monkeypatch):
    expected = tfrnn.generate(shared_model(), VOCABULARY, "ab", 12)
    monkeypatch.setattr(generation, "MIN_LENGTH_FOR_XLA", 12)
    num_traces = generation.generate_tokens.tf_function.experimental_get_tracing_count
    model, before = shared_model((cell,)), num_traces()
    assert tfrnn.generate(model, VOCABULARY, "ab", 11, sampler) == expected[:-1]
    assert num_traces() - before == 1
    for _ in range(2):
        assert tfrnn.generate(model, VOCABULARY, "ab", 12, sampler) == expected
        assert num_traces() - before == 2  # with XLA, and then with the trace without it


@pytest.mark.parametrize("sampler", [Sampler(1.0), pytest.param(GREEDY, marks=pytest.mark.slow)], ids=named)
def test_chains_generate_the_same_texts(sampler, monkeypatch):
    expected = generate_many(shared_model(), VOCABULARY, ["ab"], 10, 4, sampler)
    monkeypatch.setattr(threads, "num_chains", lambda rows: 2)
    assert generate_many(new_model(), VOCABULARY, ["ab"], 10, 4, sampler) == expected


@pytest.mark.slow
def test_blocks_do_not_change_a_text_and_draw_different_numbers(monkeypatch):
    monkeypatch.setattr(generation, "BLOCK_SIZE", 4)
    model = new_model()
    assert tfrnn.generate(model, VOCABULARY, "ab", 14) == tfrnn.generate(shared_model(), VOCABULARY, "ab", 14)
    text = tfrnn.generate(model, VOCABULARY, "ab", 14, Sampler(1e6))
    assert "ab" + "".join(tfrnn.stream(model, VOCABULARY, "ab", 14, Sampler(1e6))) == text
    assert len({text[begin : begin + 4] for begin in (2, 6, 10)}) == 3  # at this temperature a token is its number


@pytest.fixture(scope="module")
def model_that_expects_unk():
    model = new_model()
    model.dense.bias.assign([1e3] + [0.0] * (len(VOCABULARY) - 1))
    return model


@pytest.mark.parametrize(
    "sampler", [Sampler(1e6), *(pytest.param(s, marks=pytest.mark.slow) for s in (GREEDY, Sampler(1.0)))]
)
def test_unk_is_never_chosen(sampler, model_that_expects_unk):
    model = model_that_expects_unk
    assert "<unk>" not in tfrnn.generate(model, VOCABULARY, "a", 50, sampler)


def test_unknown_characters_of_a_prefix_are_an_error_or_skipped():
    model = shared_model()
    with pytest.raises(UserError, match="'!'"):
        tfrnn.generate(model, VOCABULARY, "a!b", 3)
    skipped = tfrnn.generate(model, VOCABULARY, "a!b", 3, unknown="skip")
    assert skipped == "a!b" + tfrnn.generate(model, VOCABULARY, "ab", 3)[2:]


@pytest.mark.parametrize(("prefix", "unknown"), [("", "error"), ("!!", "skip")])
def test_a_prefix_must_have_a_known_character(prefix, unknown):
    with pytest.raises(UserError, match="known character"):
        tfrnn.generate(shared_model(), VOCABULARY, prefix, unknown=unknown)


def test_words_are_separated_by_spaces():
    model, vocabulary = shared_word_model()
    text = tfrnn.generate(model, vocabulary, "to be", 6)
    assert len(text.split(" ")) == 8
    assert text.startswith("to be ")
    for prefix in ("to be", "to be "):
        assert prefix + "".join(tfrnn.stream(model, vocabulary, prefix, 6)) == text


@dataclasses.dataclass
class UnhashableSampler:
    k: int = 3

    def choose(self, logits, uniform, recent):
        return tf.argmax(logits, 1)


class WrongShapeSampler:
    def choose(self, logits, uniform, recent):
        return tf.argmax(logits, 1)[:, None]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("length", 2.0, "`length` must be a whole number"),
        ("length", -1, "`length` must be"),
        ("seed", 2**31, "`seed` must be"),
        ("seed", -1, "`seed` must be"),
        ("sampler", None, "an object with a method choose"),
        ("sampler", Sampler, "an object with a method choose"),
        ("sampler", UnhashableSampler(), "make its dataclass frozen"),
        ("sampler", WrongShapeSampler(), "a token for each row"),
        ("sampler", Sampler(top_p=2.0), "`top_p` must be"),
    ],
)
def test_a_wrong_argument_is_named(name, value, message):
    with pytest.raises(UserError, match=message):
        tfrnn.generate(shared_model(), VOCABULARY, "ab", **{name: value})


@pytest.mark.parametrize("prefixes", [[], [b"a"], ["a", None], b"a"])
def test_prefixes_must_be_texts(prefixes):
    with pytest.raises(UserError, match="a list of at least one text"):
        tfrnn.read_prefixes(shared_model(), VOCABULARY, prefixes)


def test_at_least_one_sample_must_be_asked_for():
    with pytest.raises(UserError, match="`num_samples` must be at least 1"):
        generate_many(shared_model(), VOCABULARY, ["a"], 3, 0)


def test_numpy_integers_are_whole_numbers():
    expected = tfrnn.generate(shared_model(), VOCABULARY, "ab", 5, Sampler(1.0), seed=3)
    text = tfrnn.generate(shared_model(), VOCABULARY, "ab", np.int64(5), Sampler(1.0), seed=np.int32(3))
    assert text == expected


def test_a_row_of_a_reading_is_continued_as_in_the_whole():
    model = shared_model()
    reading = tfrnn.read_prefixes(model, VOCABULARY, (prefix for prefix in ("ab", "cde")))
    assert len(tfrnn.read_prefixes(model, VOCABULARY, "abc").sample) == 1
    (alone,), _ = tfrnn.continue_texts(model, VOCABULARY, reading.row(-1), 9)
    assert tfrnn.continue_texts(model, VOCABULARY, reading, 9)[0][1] == alone
    with pytest.raises(IndexError):
        reading.row(2)
    with pytest.raises(UserError, match=r"a reading of one row.*got 2"):
        next(tfrnn.stream_on(model, VOCABULARY, reading, 3))


BYTE_PAIRS = tfrnn.Vocabulary(["<unk>", *" abc", " a", "ab", " ab", "bc", "  "], "bpe")


def byte_pair_model():
    keras.utils.set_random_seed(1)
    return tfrnn.LanguageModel(tfrnn.RNNCell(8), len(BYTE_PAIRS))


@pytest.mark.parametrize("prefix", ["ab ", "ab  ", "b a ", "a"])
def test_a_space_at_the_end_of_a_prefix_comes_with_the_next_byte_pair(prefix):
    model, sampler = byte_pair_model(), Sampler(3.0)
    ids = BYTE_PAIRS.encode_prefix(prefix)
    assert BYTE_PAIRS.decode(ids) == prefix.removesuffix(" ")
    (samples,) = generate_many(model, BYTE_PAIRS, [prefix], 3, 30, sampler)
    read = tfrnn.read_prefixes(model, BYTE_PAIRS, [prefix]).repeat(30)
    texts, after = tfrnn.continue_texts(model, BYTE_PAIRS, read, 3, sampler)
    assert samples == [prefix + text for text in texts]
    for text, row in zip(texts, after.recent[:, -3:], strict=True):
        assert BYTE_PAIRS.decode([*ids, *row]) == prefix + text
    begun = {BYTE_PAIRS.id_to_token[i] for i in after.recent[:, -3]}
    assert len(begun) > 1
    assert all(token.startswith(" ") for token in begun) == prefix.endswith(" ")
    assert "".join(tfrnn.stream(model, BYTE_PAIRS, prefix, 3, sampler)) == texts[0]
    assert [beam.text[: len(prefix)] for beam in tfrnn.beam_search(model, BYTE_PAIRS, prefix, 3, 2)] == [prefix] * 2
    assert all(np.isfinite(beam.score) for beam in tfrnn.beam_search(model, BYTE_PAIRS, prefix, 3, 2))


def test_a_text_that_is_read_after_such_a_space_has_it():
    model = byte_pair_model()
    in_parts = tfrnn.read_prefixes(model, BYTE_PAIRS, ["bc"], tfrnn.read_prefixes(model, BYTE_PAIRS, ["ab "]))
    at_once = tfrnn.read_prefixes(model, BYTE_PAIRS, ["ab bc"])
    np.testing.assert_allclose(in_parts.logits, at_once.logits, atol=rounding(4))
    np.testing.assert_array_equal(in_parts.recent, at_once.recent)
