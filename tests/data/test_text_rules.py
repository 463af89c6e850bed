"""The text rules: their definitions, and cleaning in pieces."""

import collections
import itertools

import pytest
from hypothesis import given
from texts import CUTS, KINDS, RULES, TEXTS, cut, put_together

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
        "plain": "\n".join(lines),
        "raw": text,
    }[rule]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("book", "i the ndmile zed send"),
        ("lines", "i the nd mile zed s end"),
        ("spaces", "I, the\t2nd    Émile -- Zed's end"),
        ("plain", "I, the\t2nd\n\n  Émile -- Zed's\nend"),
        ("raw", EXAMPLE),
    ],
)
def test_each_rule_on_an_example(rule, expected):
    assert text_rules.clean(EXAMPLE, rule) == expected


@given(text=TEXTS, rule=RULES)
def test_each_rule_equals_its_definition_line_by_line(text, rule):
    assert text_rules.clean(text, rule) == clean_by_definition(text, rule)
    with_words = {"book": "lines", "raw": "plain"}
    assert text_rules.clean(text, rule, "word") == clean_by_definition(text, with_words.get(rule, rule))
    assert text_rules.clean(text, rule, "spaced") == clean_by_definition(text, "lines" if rule == "book" else rule)


def test_the_rule_book_joins_lines_but_not_words():
    assert text_rules.clean("of him\nwas said", "book") == "of himwas said"
    assert text_rules.clean("of him\nwas said", "book", "word") == "of him was said"


@given(text=TEXTS, cuts=CUTS, rule=RULES, tokens=KINDS)
def test_the_cleaned_text_does_not_depend_on_the_pieces(text, cuts, rule, tokens):
    pieces = list(text_rules.clean_pieces(cut(text, cuts), rule, tokens))
    assert "".join(pieces) == text_rules.clean(text, rule, tokens)
    split = [token for piece in pieces for token in text_rules.split(piece, tokens)]
    assert split == text_rules.split("".join(pieces), tokens)


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


POEM = """June could say: "ran in" --
don't (ever) cross that well-known bridge!

 It cost 3.14 €... l'été\r\nof <unk>s"""


def test_words_keep_line_ends_as_tokens_and_part_punctuation():
    tokens = text_rules.split(POEM, "word")
    assert "|".join(map(text_rules.shown, tokens)) == (
        'June|could|say|:|"|ran|in|"|--|\n|don\'t|(|ever|)|cross|that|well|-|known|bridge|!|\n|\n|It|cost|'
        "3|.|14|€|...|l'été|\n|of|<|unk|>|s"
    )
    assert {token for token in tokens if token.isalpha()} >= {"ran", "in", "ever", "bridge", "unk"}
    assert text_rules.join(tokens, "word") == POEM.replace("\r", "").replace("\n ", "\n")


def test_a_generated_mark_touches_the_words_that_it_touched_in_the_text():
    tokens = text_rules.split('he said, "no!"', "word")
    assert [text_rules.join(pair, "word") for pair in itertools.pairwise(tokens)] == [
        "he said",
        "said,",
        ', "',
        '"no',
        "no!",
        '!"',
    ]
    assert [text_rules.gap(*pair, "word") for pair in itertools.pairwise(tokens)] == [" ", "", " ", "", "", ""]


@given(text=TEXTS)
def test_words_and_marks_put_together_are_the_text_with_single_spaces(text):
    tokens = text_rules.split(text, "word")
    assert text_rules.join(tokens, "word") == put_together(text)
    assert text_rules.split(put_together(text), "word") == tokens
    gaps = [text_rules.gap(*pair, "word") for pair in itertools.pairwise(tokens)]
    texts = [text_rules.join([token], "word") for token in tokens]
    assert "".join(itertools.chain(*zip(["", *gaps], texts, strict=False))) == put_together(text)


@given(text=TEXTS, tokens=KINDS)
def test_each_token_is_one_and_no_other_text_is(text, tokens):
    parts = text_rules.split(text, tokens)
    assert [part for part in parts if not text_rules.is_token(part, tokens)] == []
    assert text_rules.is_token(text, tokens) == (parts == [text]) or text_rules.JOINT in text


@pytest.mark.parametrize(
    ("token", "is_one"),
    [
        ("\n", True),
        ("\u2060!", True),
        ("(\u2060", True),
        ("a!", False),
        ("\u2060a", False),
        ("\u2060", False),
        ("", False),
    ],
)
def test_what_is_a_token_of_the_kind_word(token, is_one):
    assert text_rules.is_token(token, "word") is is_one
