"""Passages of a text that are found verbatim in another, compared with trying all of them."""

from hypothesis import given
from hypothesis import strategies as st

from tfrnn.inference import memorisation
from tfrnn.inference.memorisation import find_copied

LETTERS = st.text("ab", max_size=40)


def longest_passages_by_trying_all(text, source):
    return [max(n for n in range(len(text) - i + 1) if text[i : i + n] in source) for i in range(len(text))]


@given(text=LETTERS, source=LETTERS)
def test_passages_equal_those_found_by_trying_all(text, source):
    copied = find_copied(text, source)
    expected = longest_passages_by_trying_all(text, source)
    assert copied.lengths.tolist() == expected
    assert copied.longest == max(expected, default=0)
    passage = text[copied.begin : copied.begin + copied.longest]
    assert source[copied.place : copied.place + copied.longest] == passage
    assert source.find(passage) == copied.place
    for n in (1, 2, 5):
        grams = [text[i : i + n] for i in range(len(text) - n + 1)]
        share = sum(gram in source for gram in grams) / len(grams) if grams else None
        assert copied.share(n) == share


def test_the_report_of_a_copied_text_and_of_one_with_nothing_copied():
    source = "".join(chr(0x4E00 + i) for i in range(300))
    source = source[:100] + "\n" + source[100:]
    lines = memorisation.report(source[120:220], "zyx" * 40, source)
    assert lines[0].endswith("100 characters generated and 100 characters held out")
    assert lines[2].split() == ["generated", *["100.0%"] * 10]
    assert lines[3].split() == ["held", "out", *["0.0%"] * 10]
    assert "100 characters, from character 121 of the training text (line 2): " in lines[4]
    assert lines[4].endswith("...'")
    assert lines[5] == "longest passage held out: none"


def test_the_report_without_held_out_text_and_with_a_short_text():
    lines = memorisation.report("abcdefg", "", "xxabcdefgxx")
    assert len(lines) == 4
    assert lines[2].split() == ["generated", "100.0%", *["-"] * 9]
