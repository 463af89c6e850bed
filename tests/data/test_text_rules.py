"""The text rules: their definitions, and cleaning in pieces."""

import collections

import pytest
from hypothesis import given
from texts import CUTS, RULES, TEXTS, TOKENS, cut

from tfrnn.data import text_rules
from tfrnn.errors import UserError

EXAMPLE = "I, the\t2nd\r\n\n  Émile -- Zed's\nend"


def clean_by_definition(text, rule):
    """The rules line by line, as their definitions say."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    letters = ["".join(c.lower() if c.isascii() and c.isalpha() else " " for c in line).split() for line in lines]
    return {
        "book": "".join(" ".join(words) for words in letters),
        "lines": " ".join(" ".join(words) for words in letters if words),
        "spaces": " ".join(lines),
        "raw": text,
    }[rule]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("book", "i the ndmile zed send"),
        ("lines", "i the nd mile zed s end"),
        ("spaces", "I, the\t2nd    Émile -- Zed's end"),
        ("raw", EXAMPLE),
    ],
)
def test_each_rule_on_an_example(rule, expected):
    assert text_rules.clean(EXAMPLE, rule) == expected


@given(text=TEXTS, rule=RULES)
def test_each_rule_equals_its_definition_line_by_line(text, rule):
    assert text_rules.clean(text, rule) == clean_by_definition(text, rule)
    assert text_rules.clean(text, rule, "word") == clean_by_definition(text, "lines" if rule == "book" else rule)


def test_the_rule_book_joins_lines_but_not_words():
    assert text_rules.clean("of him\nwas said", "book") == "of himwas said"
    assert text_rules.clean("of him\nwas said", "book", "word") == "of him was said"


@given(text=TEXTS, cuts=CUTS, rule=RULES, tokens=TOKENS)
def test_the_cleaned_text_does_not_depend_on_the_pieces(text, cuts, rule, tokens):
    pieces = list(text_rules.clean_pieces(cut(text, cuts), rule, tokens))
    assert "".join(pieces) == text_rules.clean(text, rule, tokens)
    if tokens == "word":
        assert [word for piece in pieces for word in piece.split()] == "".join(pieces).split()


@pytest.mark.parametrize("rule", text_rules.TEXT_RULES)
def test_a_cut_at_any_place_changes_nothing_even_within_a_line_end(rule):
    for place in range(len(EXAMPLE) + 1):
        assert "".join(text_rules.clean_pieces(cut(EXAMPLE, [place]), rule)) == text_rules.clean(EXAMPLE, rule), place


@pytest.mark.parametrize("begin", [0, 1, 7, 2**20 - 1, 2**20, 2**21 + 5])
def test_the_length_of_a_word_is_limited(begin):
    text = "a " * (begin // 2) + " " * (begin % 2) + "é" * text_rules.MAX_WORD_LENGTH
    for pieces in ([text + " so"], cut(text + " so", [begin + 9, begin + 2**20])):
        assert "".join(text_rules.clean_pieces(pieces, "raw", "word")) == text + " so"
    for pieces in ([text + "é so"], [text + "é"], cut(text + "é so", [begin + 9, begin + 2**20])):
        with pytest.raises(UserError, match=r"at most 1,048,576 characters.*'éééé.*`tokens=char`"):
            collections.deque(text_rules.clean_pieces(pieces, "raw", "word"), 0)
    assert text_rules.clean(text + "é", "raw") == text + "é"


def test_a_run_over_many_pieces_is_held_as_one_character():
    pieces = ["- \n" * 1000] * 1000
    assert list(text_rules.clean_pieces(["So", *pieces, "it"], "lines")) == ["so", " it"]
    assert list(text_rules.clean_pieces([*pieces, "So", *pieces], "book")) == ["so"]


@pytest.mark.parametrize("rule", text_rules.TEXT_RULES)
def test_a_prefix_keeps_a_space_at_its_end(rule):
    assert text_rules.clean_prefix("so be it ", rule) == "so be it "
    assert text_rules.clean_prefix("so be it", rule) == "so be it"


def test_a_prefix_of_which_nothing_is_left_is_named():
    with pytest.raises(UserError, match="'123'"):
        text_rules.clean_prefixes(["ok", "123"], "book")
