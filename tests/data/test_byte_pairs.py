"""Byte pairs: a text is the concatenation of its tokens, which the library would divide it into, however it is cut."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from texts import CUTS, RULES, STORY, TEXTS, CutSource, cut

from tfrnn.config.config import Config
from tfrnn.data import byte_pairs, run_text, text_rules
from tfrnn.data.corpora import passes
from tfrnn.data.corpora.cache import Cache
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import UserError

TEXT = (
    'The road to Ambry goes up the hill, and the well-digger went up the road; "up, up!" he said.\n'
    "\tif road == 'up':\n        return well_10 + 10\n\n走上山坡，走上山坡。 Zwo\u0308lf, zwo\u0308lf A\u0301  \n"
) * 3
VOCABULARY = Vocabulary.from_text(TEXT, "bpe", merges=60)
KNOWN = st.text(sorted(set(TEXT)), max_size=80) | st.lists(
    st.sampled_from([*VOCABULARY.id_to_token[1:], " ", "a" * 70, "!" * 70, "\t" * 70]), max_size=25
).map("".join)


def library_of(vocabulary):
    """The library's own tokenizer of these tokens: each pair that makes one is joined, in the order of their ids."""
    ids = {token: i for i, token in enumerate(vocabulary.id_to_token)}
    merges = [
        (token[:cut], token[cut:])
        for token in vocabulary.id_to_token[1:]
        for cut in range(1, len(token))
        if token[:cut] in ids and token[cut:] in ids
    ]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=ids, merges=merges, unk_token="<unk>"))
    word, mark = r"[^\s\p{P}\p{S}]|_", r"(?!_)[\p{P}\p{S}]"
    pieces = rf"\n|(?:(?! \S)[^\S\n]){{1,64}}| ?(?:{word}){{1,64}}| ?(?:{mark}){{1,64}}"
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(pieces), "isolated")
    return tokenizer


LIBRARY = library_of(VOCABULARY)


@given(text=KNOWN)
def test_a_text_is_the_concatenation_of_its_tokens(text):
    tokens = VOCABULARY.split(text)
    assert "".join(tokens) == text
    assert VOCABULARY.decode(VOCABULARY.encode(text)) == text
    assert VOCABULARY.unknown(text) == []
    assert [token for token in tokens if not text_rules.is_token(token, "bpe")] == []


@given(text=KNOWN)
def test_a_text_is_divided_as_the_library_divides_it(text):
    assert VOCABULARY.encode(text).tolist() == LIBRARY.encode(text).ids


@given(text=TEXTS | KNOWN, cuts=CUTS, rule=RULES, positions=st.tuples(*[st.integers(0, 70)] * 2))
def test_a_text_in_pieces_has_the_tokens_of_the_whole(text, cuts, rule, positions):
    source, whole, (begin, end) = CutSource(text, cuts), text_rules.clean(text, rule, "bpe"), sorted(positions)
    if not whole.strip():
        return
    for part in ((0, len(whole)), (begin, end)):
        pieces = [np.empty(0, VOCABULARY.dtype), *passes.encode_characters(source, rule, VOCABULARY, *part)]
        assert {piece.dtype for piece in pieces} == {VOCABULARY.dtype}
        assert np.concatenate(pieces).tolist() == VOCABULARY.encode(whole[slice(*part)], "unk").tolist()


@pytest.mark.parametrize(
    "text", ["ab" * 500, "!" * 300 + "a " * 9, " \t" * 200 + "\n" * 300, "走" * 300, "a" * 64 + " b"]
)
def test_long_runs_are_cut_at_the_same_places_in_pieces_of_any_length(text):
    for length in (1, 7, 63, 64, 65, 400):
        pieces = list(text_rules.clean_pieces(cut(text, range(0, len(text), length)), "raw", "bpe"))
        split = [part for piece in pieces for part in text_rules.split(piece, "bpe")]
        assert split == text_rules.split(text, "bpe")
        assert max(map(len, split)) <= text_rules.MAX_PIECE_LENGTH + 1


def test_no_token_goes_beyond_a_word_a_run_of_marks_or_a_line():
    text = "so it goes: f(x) == 10;\n\tso it goes\n    well-known\n"
    assert text_rules.split(text, "bpe") == [
        "so", " it", " goes", ":", " f", "(", "x", ")", " ==", " 10", ";", "\n", "\t", "so", " it", " goes", "\n",
        "   ", " well", "-", "known", "\n",
    ]  # fmt: skip
    assert {" the", " road"} <= {*Vocabulary.from_text("the road up the road " * 9, "bpe").id_to_token}


def test_the_vocabulary_begins_with_all_characters_and_is_the_same_each_time():
    characters = Vocabulary.from_text(TEXT).id_to_token
    assert VOCABULARY.id_to_token[: len(characters)] == characters
    assert len(VOCABULARY) == len(characters) + 60
    code = "import sys; sys.path.insert(0, 'tests/data'); import test_byte_pairs as t; print(t.VOCABULARY.to_json())"
    environment = {"PYTHONPATH": ":".join(sys.path), "PYTHONIOENCODING": "utf-8"}
    again = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment, encoding="utf-8")
    assert again.strip() == VOCABULARY.to_json()
    assert Vocabulary.from_json(VOCABULARY.to_json(), "bpe").id_to_token == VOCABULARY.id_to_token


def test_pairs_that_occur_once_are_not_joined():
    assert Vocabulary.from_text("abcdefg", "bpe").id_to_token == Vocabulary.from_text("abcdefg").id_to_token
    assert Vocabulary.from_text("ab ab", "bpe", merges=1).id_to_token[-1] == "ab"


def test_unknown_characters_are_named_marked_or_skipped_and_accents_found():
    with pytest.raises(UserError, match="unknown tokens 'é', '日' in 'the é日'"):
        VOCABULARY.encode("the é日")
    ids = VOCABULARY.encode("the é日 the ", "unk")
    assert ids.tolist().count(0) == 2
    assert VOCABULARY.decode(VOCABULARY.encode("the é日", "skip")) == "the "
    assert VOCABULARY.decode(VOCABULARY.encode_prefix("Zw\u00f6lf")) == "Zwo\u0308lf"


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["<unk>", "a", "ab"], "must hold each of their characters; it lacks 'b'"),
        (["<unk>", "a", "!", "a!"], "must be one token; got 'a!'"),
        (["<unk>", "a", ""], "must be one token"),
        (["<unk>", "a", "a" * 66], "must be one token"),
        (["<unk>", "a", "aa", "aa"], "hold every token once"),
    ],
)
def test_a_vocabulary_of_another_form_is_refused(tokens, message):
    with pytest.raises(UserError, match=message):
        Vocabulary.from_json(json.dumps(tokens), "bpe")


def test_united_with_another_it_divides_known_text_as_before():
    united = VOCABULARY.united(Vocabulary(Vocabulary.from_text("the Ωmega").id_to_token, "bpe"))
    assert united.id_to_token[: len(VOCABULARY)] == VOCABULARY.id_to_token
    assert united.id_to_token[len(VOCABULARY) :] == ["Ω"]
    assert united.encode(TEXT).tolist() == VOCABULARY.encode(TEXT).tolist()


def test_half_a_character_is_refused():
    with pytest.raises(UserError, match=r"whole characters; got '\\ud800' at 1"):
        Vocabulary.from_text("a\ud800b", "bpe")


def test_settings_that_have_no_effect_are_refused():
    with pytest.raises(UserError, match="`merges` is for `tokens=bpe`; got `tokens=char`"):
        Vocabulary.from_text("abc", merges=3)
    with pytest.raises(UserError, match="`max_tokens=3` is not for `tokens=bpe`"):
        Vocabulary.from_text("abc", "bpe", 3)
    with pytest.raises(UserError, match="`max_vocabulary=3` is not for `tokens=bpe`"):
        Config().replace(tokens="bpe", max_vocabulary=3)


def test_without_the_package_one_line_says_what_to_install_and_a_vocabulary_works(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UserError, match=r"package tokenizers, .* `pip install tokenizers`"):
        Vocabulary.from_text("abc", "bpe")
    with pytest.raises(UserError, match="package tokenizers"):
        run_text.read(Config().replace(tokens="bpe"))
    assert Vocabulary.from_json(VOCABULARY.to_json(), "bpe").encode("the road").tolist()


@pytest.fixture
def config(tmp_path):
    (tmp_path / "text").write_text(TEXT, encoding="utf-8")
    return Config().replace(
        corpus=str(tmp_path / "text"), tokens="bpe", merges=40, max_tokens=300, validation_tokens=120,
        cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip


def test_a_runs_text_is_cut_in_characters_and_its_pairs_are_those_of_the_training_text(config):
    read, by_characters = run_text.read(config), run_text.read(config.replace(tokens="char"))
    assert read.vocabulary.decode(read.training) == TEXT[:300]
    assert read.vocabulary.decode(read.validation) == TEXT[300:420]
    assert (read.sha256, read.prefixes) == (by_characters.sha256, by_characters.prefixes)
    assert read.vocabulary.id_to_token[len(by_characters.vocabulary) :] == byte_pairs.find(TEXT[:300], 40)
    assert read.characters_per_token == (300 / len(read.training), 120 / len(read.validation))
    assert read.facts[:-1] == by_characters.facts
    assert read.facts[-1].endswith(f"; {300 / len(read.training):.2f} characters a token of what is trained on")
    again = run_text.read(config, known=read.vocabulary)
    assert again.vocabulary.id_to_token == read.vocabulary.id_to_token


def test_a_large_text_is_read_in_pieces_and_cached(config, monkeypatch):
    read = run_text.read(config)
    monkeypatch.setattr(run_text, "IN_MEMORY_LIMIT", 100)
    monkeypatch.setattr(byte_pairs, "MAX_TRAINING_CHARACTERS", 150)
    stored = run_text.read(config)
    assert "found in the first 150 characters" in stored.facts[-1]
    stored = run_text.read(config, known=read.vocabulary)
    for part in ("training", "validation"):
        np.testing.assert_array_equal(np.asarray(getattr(stored, part)), getattr(read, part))
    monkeypatch.setattr(passes, "encode_characters", None)  # which a second run does not call
    again = run_text.read(config, known=read.vocabulary)
    np.testing.assert_array_equal(np.asarray(again.training), read.training)


def test_damaged_stored_ids_are_made_again(tmp_path):
    source, cache = CutSource(STORY, [9, 40]), Cache(tmp_path)
    vocabulary = Vocabulary.from_text(STORY, "bpe", merges=9)
    arguments = source, "0" * 64, "raw", vocabulary, 5, 60
    expected = vocabulary.encode(STORY[5:60]).tolist()
    for damaged in ("nothing", ".bin", ".json"):
        for path in tmp_path.rglob(f"*{damaged}"):
            path.write_bytes(b"1")
        assert np.asarray(cache.ids_of_characters(*arguments)).tolist() == expected


def test_too_few_held_out_tokens_are_refused_where_they_are_needed(config, tmp_path):
    (tmp_path / "text").write_text("ab ab ab ab ab")
    config = config.replace(max_tokens=12, validation_tokens=2)
    assert len(run_text.read(config).validation) == 1
    with pytest.raises(UserError, match="held-out text of at least two tokens; got 1"):
        run_text.read(config.replace(early_stopping=3))
