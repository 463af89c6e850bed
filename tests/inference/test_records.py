"""Records: where a text ends, in one piece or in many, and how many records are new."""

import hypothesis.strategies as st
import pytest
from hypothesis import example, given
from small_models import VOCABULARY, shared_model

import tfrnn
from tfrnn.inference import records
from tfrnn.inference.generation import TextGenerator
from tfrnn.inference.records import Ending, Sample
from tfrnn.inference.samplers import Sampler

TEXTS = st.text("ab\n", max_size=8)


@example(stop="aa", before="aaaa", pieces=["a"])  # the record is what `records.split` makes of it
@given(stop=TEXTS, before=TEXTS, pieces=st.lists(st.text("ab\n", max_size=4), max_size=6))
def test_a_text_ends_where_the_first_stop_ends_that_is_not_all_in_the_prefix(stop, before, pieces):
    whole, beginning = before + "".join(pieces), max(0, len(before) - len(stop) + 1)
    end = whole.find(stop, beginning) if stop else -1
    ending = Ending(stop, before)
    passed = [ending.feed(piece) for piece in pieces]
    passed = "".join([*passed, ending.rest()])
    assert ending.is_reached == (end >= 0)
    assert passed == (whole[len(before) : end] if end >= 0 else whole[len(before) :])
    assert ending.record(passed) == (whole[:end].split(stop)[-1] if end >= 0 else None)


def test_what_passes_is_what_cannot_belong_to_the_stop():
    ending = Ending("aab")
    assert [ending.feed(piece) for piece in "aaaab"] == ["", "", "a", "a", ""]
    assert ending.feed("more") == ending.rest() == ""


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        (["ana", "bea", " bea\n", "cleo"], "4 samples: 1 are in the training text, 3 are new, 2 of them different"),
        (["ana", "an", None], "3 samples: 1 are in the training text, 1 are new, 1 of them different; 1 cut"),
        (["", " ", "eva"], "3 samples: 0 are in the training text, 1 are new, 1 of them different; 2 empty, not"),
        ([None, "", None], "3 samples: 0 are in the training text, 0 are new, 0 of them different; 2 cut at"),
    ],
)
def test_only_complete_records_count(samples, told):
    known = records.split("ana\n ida \n\ncl", "\n")
    assert known == {"ana", "ida", "cl", ""}
    line = records.describe([Sample("its text", record) for record in samples], known, 9)
    assert line.startswith(told)
    assert ("cut at `length=9`, not counted" in line) == (None in samples)


def test_a_stop_may_begin_in_the_prefix_and_a_stream_ends_there_too():
    model, sampler = shared_model(), Sampler(1.0)
    (free,) = tfrnn.generate_many(model, VOCABULARY, ["ab"], 40, 8, sampler)
    for row, text in enumerate(free):
        for stop in (text[1:3], text[1:4], text[5:7], "ab"):
            generator = TextGenerator(model, VOCABULARY, sampler, stop=stop)
            sample = generator.samples(["ab"], 40, 8)[0][row]
            end = text.find(stop, max(0, 3 - len(stop)))
            assert sample == ((text[: max(2, end)], text[:end].split(stop)[-1]) if end >= 0 else (text, None))
            reading = generator.read(["ab"]).repeat(8).row(row)
            assert "ab" + "".join(piece for piece, _ in generator.stream(reading, 40, "ab")) == sample.text


def test_an_empty_prefix_begins_after_the_stop_and_not_within_it():
    model, sampler = shared_model(), Sampler(1.0)
    (free,) = tfrnn.generate_many(model, VOCABULARY, ["aa"], 40, 20, sampler)
    (samples,) = tfrnn.generate_many(model, VOCABULARY, [""], 40, 20, sampler, stop="aa")
    assert samples == [text[2:].split("aa")[0] for text in free]
    assert any(text[2] == "a" != text[3] for text in free)


@pytest.mark.parametrize("kind", ["char", "bpe", "word", "spaced"])
@pytest.mark.parametrize("known", ["\u00e9t\u00e9", "e\u0301te\u0301"], ids=["composed", "decomposed"])
def test_a_text_is_written_with_the_accents_of_the_vocabulary(kind, known):
    vocabulary = tfrnn.Vocabulary.from_text(f"un {known} ici", kind, **({"merges": 0} if kind == "bpe" else {}))
    for typed in ("\u00e9t\u00e9", "e\u0301te\u0301"):
        assert records.as_written(vocabulary, f"un {typed} ") == f"un {known} "
        assert records.as_written(vocabulary, f"{typed} \u00fc") in (f"{known} \u00fc", f"{typed} \u00fc")


def test_a_stop_is_found_with_its_accents_composed_or_decomposed():
    vocabulary = tfrnn.Vocabulary(["<unk>", "e", "\u0301", "a", "b", "c", "d"])
    model, sampler = shared_model(), Sampler(1.0)
    found = [tfrnn.generate(model, vocabulary, "ab", 40, sampler, stop=stop) for stop in ("e\u0301", "\u00e9")]
    whole = tfrnn.generate(model, vocabulary, "ab", 40, sampler)
    assert found == [whole.split("e\u0301")[0]] * 2
    assert len(found[0]) < len(whole)
