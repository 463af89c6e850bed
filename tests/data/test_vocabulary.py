"""The vocabulary: order, encoding and decoding, JSON."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from texts import TEXTS, TOKENS

from tfrnn.data import text_rules
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import UserError


def test_tokens_are_ordered_by_frequency_then_first_appearance():
    assert Vocabulary.from_text("bab cc a").id_to_token == ["<unk>", "b", "a", " ", "c"]
    assert Vocabulary.from_text("to be or not to be", "word").id_to_token[1:] == ["to", "be", "or", "not"]


def test_max_tokens_keeps_the_most_frequent():
    counts = {"b": 2, "<unk>": 9, "a": 3, "c": 2}
    assert Vocabulary.from_counts(counts, "word").id_to_token == ["<unk>", "a", "b", "c"]
    assert Vocabulary.from_counts(counts, "word", 2).id_to_token == ["<unk>", "a", "b"]
    assert Vocabulary.from_text("c b b a a", "word", 1).id_to_token == ["<unk>", "b"]


@pytest.mark.parametrize(
    ("size", "dtype"), [(1, "uint8"), (256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "int32")]
)
def test_ids_have_the_smallest_dtype(size, dtype):
    vocabulary = Vocabulary.from_counts({chr(0x4E00 + i): 1 for i in range(size - 1)})
    assert vocabulary.dtype == dtype
    assert vocabulary.ids(vocabulary.id_to_token[-1])[-1] == size - 1 or size == 1
    assert vocabulary.encode(vocabulary.id_to_token[-1], "unk").dtype == np.int32


@pytest.mark.parametrize("tokens", text_rules.COUNTED)
def test_decode_inverts_encode_after_a_round_trip_through_json(tokens):
    text = "so 日本 much\u0301 to say"
    vocabulary = Vocabulary.from_text(text, tokens)
    restored = Vocabulary.from_json(vocabulary.to_json(), tokens)
    assert restored.id_to_token == vocabulary.id_to_token
    ids = restored.encode(text)
    assert ids.dtype == np.int32
    assert restored.decode(ids) == text
    assert len(vocabulary) == len(set(text_rules.split(text, tokens))) + 1


def test_unknown_characters_are_named_marked_or_skipped():
    vocabulary = Vocabulary.from_text("abc")
    with pytest.raises(UserError, match="unknown characters 'é', '日' in 'aé日é'"):
        vocabulary.encode("aé日é")
    np.testing.assert_array_equal(vocabulary.encode("aéb", unknown="unk"), [1, 0, 2])
    np.testing.assert_array_equal(vocabulary.encode("aéb", unknown="skip"), [1, 2])
    assert vocabulary.unknown("éaé日") == ["é", "日"]
    assert (vocabulary.id_of("b"), vocabulary.id_of("é")) == (2, 0)


def test_an_unknown_policy_is_refused():
    with pytest.raises(UserError, match="error, skip, unk"):
        Vocabulary.from_text("abc").encode("abc", unknown="ignore")


@pytest.mark.parametrize("text", ["{}", "[1]", "[", '["a"]', '["<unk>", "a", "a"]', "[]", '["<unk>", "ab"]'])
def test_json_of_anything_else_is_refused(text):
    with pytest.raises(UserError, match="vocabulary"):
        Vocabulary.from_json(text)


@pytest.mark.parametrize("tokens", ["char", "word", "spaced"])
@pytest.mark.parametrize(
    ("written", "typed"), [("cafe\u0301", "caf\u00e9"), ("caf\u00e9", "cafe\u0301"), ("\u1112\u1161", "\ud558")]
)
def test_a_prefix_finds_accents_composed_or_decomposed_as_the_text_has_them(written, typed, tokens):
    vocabulary = Vocabulary.from_text(f"{written} so", tokens)
    ids = vocabulary.encode(f"so {written}")
    np.testing.assert_array_equal(vocabulary.encode_prefix(f"so {typed}"), ids)
    with pytest.raises(UserError, match="unknown"):
        vocabulary.encode(f"so {typed}")


def test_a_known_character_is_taken_as_it_is_typed_beside_one_that_is_not_known():
    vocabulary = Vocabulary.from_text("e\u0301 \u00fc so")
    assert vocabulary.decode(vocabulary.encode_prefix("\u00e9\u00fc")) == "e\u0301\u00fc"


def test_a_mark_in_a_prefix_is_that_which_the_text_has():
    vocabulary = Vocabulary.from_text("so it goes! (well, well)", "word")
    assert vocabulary.decode(vocabulary.encode_prefix("so ! ( so")) == "so! (so"
    with pytest.raises(UserError, match=r"unknown words '\?' in `prefix` 'so\?': expected only .*'!'.*`unknown=skip`"):
        vocabulary.encode_prefix("so?")
    with pytest.raises(UserError, match=r"in `prefix` 'so\?': .*; give another$"):
        vocabulary.encode_prefix("so?", what_to_do="give another")


def test_a_line_end_that_is_typed_as_two_characters_is_told():
    with pytest.raises(UserError, match=r"; a line end is a single character, which bash writes as \$'\\n'$"):
        Vocabulary.from_text("ROMEO:\n").encode_prefix(r"ROMEO:\n", what_to_do="leave them out")
    assert len(Vocabulary.from_text(r"puts 'a\n'").encode_prefix(r"'\n")) == 3


@given(text=TEXTS, tokens=TOKENS, cut=st.integers(0, 60))
def test_a_text_continued_token_by_token_is_the_text(text, tokens, cut):
    parts = text_rules.split(text, tokens)
    vocabulary = Vocabulary.from_text(text, tokens)
    ids = [vocabulary.id_of(part) for part in parts]
    whole, gap = vocabulary.decode(ids[:cut]), vocabulary.gap_after(ids[:cut][-1]) if ids[:cut] else ""
    assert whole + vocabulary.decode_after(gap, ids[cut:]) == vocabulary.decode(ids)
    for i in ids[cut:]:
        whole, gap = whole + vocabulary.decode_after(gap, [i]), vocabulary.gap_after(i)
    assert whole == text_rules.join(parts, tokens)


def test_another_kind_of_tokens_is_refused():
    with pytest.raises(UserError, match="`tokens` must be char, word, spaced or bpe; got 'byte'"):
        Vocabulary.from_text("abc", "byte")
