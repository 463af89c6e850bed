"""Passes over a text: whatever the pieces it is read in, they find what the whole text tells."""

import collections
import gzip
import hashlib
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from texts import CHUNK_SIZES, CUTS, RULES, STORY, TEXTS, TOKENS, CutSource, UnreadableSource

import tfrnn
from tfrnn.data import text_rules
from tfrnn.data.corpora import catalogue, passes
from tfrnn.data.corpora.files import Files
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import UserError


def encode(source, rule, vocabulary, num_tokens):
    return np.concatenate([np.empty(0, vocabulary.dtype), *passes.encode(source, rule, vocabulary, num_tokens)])


@given(text=TEXTS, cuts=CUTS, rule=RULES, tokens=TOKENS, positions=st.tuples(*[st.integers(0, 70)] * 2))
def test_passes_over_pieces_find_what_the_whole_text_tells(text, cuts, rule, tokens, positions):
    source, whole = CutSource(text, cuts), text_rules.clean(text, rule, tokens)
    if not whole.strip():
        with pytest.raises(UserError, match=f"corpus pieces: .*{rule}.* leaves nothing of its {len(text)} characters"):
            passes.survey(source, rule, tokens)
        return
    parts, (begin, end) = text_rules.split(whole, tokens), sorted(positions)
    survey = passes.survey(source, rule, tokens)
    assert list(survey.counts.items()) == list(collections.Counter(parts).items())
    assert survey.num_tokens == len(parts)
    assert survey.sha256 == hashlib.sha256(whole.encode()).hexdigest()
    assert survey.beginning == text_rules.join(parts, tokens)

    counts = passes.count_first(source, rule, tokens, end)
    assert list(counts.items()) == list(collections.Counter(parts[:end]).items())
    assert passes.take(source, rule, tokens, begin, end) == text_rules.join(parts[begin:end], tokens)
    vocabulary = Vocabulary.from_counts(counts, tokens)
    assert vocabulary.id_to_token == Vocabulary.from_text(text_rules.join(parts[:end], tokens), tokens).id_to_token
    pieces = list(passes.encode(source, rule, vocabulary, len(parts)))
    assert {piece.dtype for piece in pieces} == {vocabulary.dtype}
    assert np.concatenate(pieces).tolist() == vocabulary.encode(whole, "unk").tolist()


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The story in files of each format, by the name of the format."""
    folder = tmp_path_factory.mktemp("packed")
    (folder / "plain").write_bytes(STORY.encode("utf-8-sig"))
    with gzip.open(folder / "gzip", "wb") as file:
        file.write(STORY.encode())
    with zipfile.ZipFile(folder / "zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("story.txt", STORY)
    return {name: folder / name for name in ("plain", "gzip", "zip")}


@pytest.mark.parametrize("chunk", CHUNK_SIZES)
@pytest.mark.parametrize("file_format", ["plain", "gzip", "zip"])
def test_a_file_is_the_same_in_chunks_of_any_size(file_format, chunk, packed):
    source, hashed, read = Files(packed[file_format], chunk), [], []
    assert source.sha256(hashed.append) == hashlib.sha256(packed[file_format].read_bytes()).hexdigest()
    assert "".join(source.pieces(read.append)) == STORY
    assert (sum(hashed), sum(read)) == (source.size, source.size)


@pytest.mark.parametrize("rule", text_rules.TEXT_RULES)
@pytest.mark.parametrize("tokens", text_rules.COUNTED)
@pytest.mark.parametrize("file_format", ["plain", "gzip", "zip"])
def test_passes_over_a_file_equal_the_loaded_corpus(file_format, tokens, rule, packed):
    source = Files(packed[file_format], 7)
    whole = tfrnn.load_corpus(str(packed[file_format]), rule, tokens)
    assert whole == text_rules.clean(STORY, rule, tokens)
    survey = passes.survey(source, rule, tokens)
    vocabulary = Vocabulary.from_counts(survey.counts, tokens)
    assert vocabulary.to_json() == Vocabulary.from_text(whole, tokens).to_json()
    assert survey.sha256 == hashlib.sha256(whole.encode()).hexdigest()
    assert encode(source, rule, vocabulary, survey.num_tokens).tolist() == vocabulary.encode(whole).tolist()


def test_no_more_is_read_than_is_needed(tmp_path):
    (tmp_path / "text").write_bytes(b"to be " * 100 + b"\xff")
    source = Files(tmp_path / "text", 8)
    vocabulary = Vocabulary.from_counts(passes.count_first(source, "raw", "word", 3), "word")
    assert vocabulary.id_to_token == ["<unk>", "to", "be"]
    assert encode(source, "raw", vocabulary, 5).tolist() == [1, 2, 1, 2, 1]
    assert passes.take(source, "raw", "word", 3, 6) == "be to be"
    assert encode(UnreadableSource(), "raw", vocabulary, 0).tolist() == []
    with pytest.raises(UserError, match="byte 600 is 0xff"):
        passes.survey(source, "raw")


def test_a_survey_keeps_a_bounded_beginning():
    source = CutSource("\n" * 2000 + "so it goes " * 2000, [1500, 5000])
    assert passes.survey(source, "raw").beginning == "\n" * passes.BEGINNING_TOKENS
    survey = passes.survey(source, "raw", "spaced")
    assert len(survey.beginning.split()) == passes.BEGINNING_TOKENS
    assert catalogue.prefixes_of("pieces", survey.beginning, survey.counts, "spaced") == ("so it goes",)
    survey = passes.survey(CutSource("so it goes, " * 500, [1500, 5000]), "raw", "word")
    assert len(text_rules.split(survey.beginning, "word")) == passes.BEGINNING_TOKENS
    assert catalogue.prefixes_of("pieces", survey.beginning, survey.counts, "word") == ("so it goes",)
