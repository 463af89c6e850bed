"""The text of a run: how it is split, and what settings leave to it. Reading it is tested by the commands."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrnn.config.config import Config
from tfrnn.data import run_text
from tfrnn.errors import UserError


@given(num_tokens=st.integers(1, 50), max_tokens=st.integers(0, 60), validation_tokens=st.integers(0, 60))
def test_split_bounds_are_those_of_slices(num_tokens, max_tokens, validation_tokens):
    text = list(range(num_tokens))
    data = Config().replace(max_tokens=max_tokens, validation_tokens=validation_tokens).data
    expected_end = max_tokens or num_tokens - validation_tokens
    if expected_end <= 0:
        with pytest.raises(UserError, match=f"leaves nothing to train on of the text's {num_tokens} tokens"):
            run_text.split_bounds(num_tokens, data)
        return
    end, held_out_end = run_text.split_bounds(num_tokens, data)
    assert (text[:end], text[end:held_out_end]) == (text[:expected_end], text[expected_end:][:validation_tokens])
    assert 0 < end <= held_out_end <= num_tokens


@given(
    num_tokens=st.integers(1, 10**9),
    fraction=st.floats(0.001, 0.9),
    max_tokens=st.just(0) | st.integers(1, 10**9) | st.integers(1, 20),
)
def test_a_fraction_is_held_out_up_to_a_limit_and_at_most_max_tokens_of_the_rest_are_trained_on(
    num_tokens, fraction, max_tokens
):
    data = Config().replace(max_tokens=max_tokens, validation_fraction=fraction).data
    end, held_out_end = run_text.split_bounds(num_tokens, data)
    held_out = min(int(num_tokens * fraction), 500_000)
    assert held_out_end - end == held_out
    assert end == min(max_tokens or num_tokens, num_tokens - held_out)


def test_a_text_has_the_rule_and_the_prefixes_that_the_settings_leave_to_it(tmp_path):
    (tmp_path / "text").write_text("A well, and a road to it. " * 9)
    config = Config().replace(corpus=str(tmp_path / "text"), max_tokens=90, validation_tokens=90)
    left = run_text.read(config)
    assert (left.rule, left.prefixes) == ("plain", ("A well, and ",))
    chosen = run_text.read(config.replace(text_rule="book", prefix=("A Road",)))
    assert (chosen.rule, chosen.prefixes) == ("book", ("a road",))


@pytest.fixture
def text_of_200(tmp_path):
    (tmp_path / "text").write_text("A well, and a road to it. " * 9)
    (tmp_path / "text").write_text((tmp_path / "text").read_text()[:200])
    return Config().replace(corpus=str(tmp_path / "text"))


def lines_of(config, *arguments):
    """What is said of a text, but its name."""
    first, *lines = run_text.read(config, *arguments).facts
    assert first == f"text: {config.data.corpus}"
    return lines


def test_what_is_read_is_said_in_a_line_for_each_fact(text_of_200):
    facts = ["encoding: UTF-8", "characters: 200", "different characters: 14"]
    assert lines_of(text_of_200.replace(max_tokens=90, validation_tokens=50)) == [
        *facts,
        "trained on: 90 characters, the first",
        "held out: 50 characters, the next",
        "left out: 60 characters, the last, since `max_tokens=90`; `max_tokens=0` trains on all that are not held out",
    ]
    assert lines_of(text_of_200.replace(max_tokens=0, validation_tokens=50)) == [
        *facts,
        "trained on: 150 characters, the first",
        "held out: 50 characters, the last",
        "left out: nothing",
    ]
    assert lines_of(text_of_200.replace(max_tokens=180))[3:] == [
        "trained on: 180 characters, the first",
        "held out: 20 characters, the last; fewer than `validation_tokens=5000`, since the text ends",
        "left out: nothing",
    ]
    assert lines_of(text_of_200)[3:] == [
        "trained on: 200 characters, all of them",
        "held out: nothing, since the text ends before `max_tokens=10000`",
        "left out: nothing",
    ]
    assert lines_of(text_of_200.replace(validation_tokens=20), True)[3:] == [
        "trained on: 180 characters, the first; fewer than `max_tokens=10000`, so that those can be held out",
        "held out: 20 characters, the last",
        "left out: nothing",
    ]
    assert lines_of(text_of_200.replace(validation_tokens=0))[4] == "held out: nothing, since `validation_tokens=0`"
    assert lines_of(text_of_200.replace(validation_tokens=0), True)[3:] == [
        "trained on: 200 characters, all of them",
        "held out: nothing, since `validation_tokens=0`",
        "left out: nothing",
    ]


@pytest.mark.parametrize("is_given", [False, True])
def test_a_fraction_is_said_to_be_of_the_whole_text(is_given, text_of_200):
    fraction = text_of_200.replace(validation_fraction=0.1)
    of_it = ", `validation_fraction=0.1` of the whole text, at most 500,000"
    assert lines_of(fraction.replace(max_tokens=0), is_given)[3:] == [
        "trained on: 180 characters, the first",
        f"held out: 20 characters, the last{of_it}",
        "left out: nothing",
    ]
    for max_tokens in (181, 200, 300):
        fewer = f"fewer than `max_tokens={max_tokens}`, so that those can be held out"
        assert lines_of(fraction.replace(max_tokens=max_tokens), is_given)[3:] == [
            f"trained on: 180 characters, the first; {fewer}",
            f"held out: 20 characters, the last{of_it}",
            "left out: nothing",
        ]
    assert lines_of(fraction.replace(max_tokens=90), is_given)[3:] == [
        "trained on: 90 characters, the first",
        f"held out: 20 characters, the next{of_it}",
        "left out: 90 characters, the last, since `max_tokens=90`; `max_tokens=0` trains on all that are not held out",
    ]


@pytest.mark.parametrize(
    ("line", "step", "is_told"),
    [("{}ona\n", 1, True), ("{}ona\n", 11, False), ("{}ona 1\n", 1, False), ("{}ona ", 1, False)],
    ids=["in order", "shuffled", "a log", "one line"],
)
def test_names_in_alphabetical_order_are_told(line, step, is_told, tmp_path):
    letters = "AbcDefGhijklmnoPqrstuvwXyz"
    (tmp_path / "text").write_text("".join(line.format(letters[i * step % 26]) for i in range(26)))
    config = Config().replace(corpus=str(tmp_path / "text"), max_tokens=0, validation_fraction=0.1)
    notes = run_text.read(config).notes
    assert any("in alphabetical order" in note for note in notes) == is_told
    assert not run_text.read(config.replace(validation_fraction=0.0, validation_tokens=0)).notes


def test_a_fraction_that_is_given_must_be_of_a_token_at_least(text_of_200):
    small = text_of_200.replace(validation_fraction=0.001)
    with pytest.raises(UserError, match=r"`validation_fraction=0\.001`: expected .* one token; got a text of 200"):
        run_text.read(small, True)
    assert "held out: nothing, since `validation_fraction=0.001` of the whole text is none" in lines_of(small)


def test_what_is_read_is_said_of_words_and_of_texts_that_a_rule_cleans(text_of_200, tmp_path):
    words = lines_of(text_of_200.replace(tokens="word", max_tokens=40, validation_tokens=9))
    assert words[1:4] == [
        "words, marks and line ends: 69",
        "different words, marks and line ends: 9",
        "trained on: 40 words, marks and line ends, the first",
    ]
    assert lines_of(text_of_200.replace(text_rule="book"))[1] == "characters: 185 that the text rule book leaves"
    facts = run_text.read(Config()).facts
    assert (facts[0], facts[1]) == ("text: sample", "encoding: UTF-8")


def test_what_is_left_out_of_a_folder_is_said(text_of_200, tmp_path):
    (tmp_path / ".hidden").write_text("hidden")
    (tmp_path / "more").write_bytes("é".encode("utf-16"))
    text = run_text.read(text_of_200.replace(corpus=str(tmp_path)))
    assert text.facts[:3] == (f"text: {tmp_path} (2 texts)", "encoding: UTF-16, UTF-8", "characters: 202")
    assert text.facts[-1] == "left out: 1 hidden or special files and folders"


def test_what_is_read_is_said_of_the_whole_text_also_from_the_cache(tmp_path, monkeypatch):
    """A part of a large text is trained on, and its second reading is of the cache."""
    monkeypatch.setattr(run_text, "IN_MEMORY_LIMIT", 1000)
    with tarfile.open(tmp_path / "tar", "w") as archive:
        for name, content in {
            "a.txt": b"a b" * 999, "._a.txt": b"\0", "b.txt": ("é" * 99).encode("utf-16"), ".DS_Store": b"\0",
        }.items():  # fmt: skip
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    config = Config().replace(corpus=str(tmp_path / "tar"), max_tokens=90, validation_tokens=50, vocabulary="training")
    first, cached = (run_text.read(config.replace(cache_dir=str(tmp_path / "cache"))).facts for _ in range(2))
    monkeypatch.setattr(run_text, "IN_MEMORY_LIMIT", 10**9)
    assert first == cached == run_text.read(config).facts
    assert first[:3] == (f"text: {tmp_path}/tar (2 texts)", "encoding: UTF-8, UTF-16", "characters: 3,097")
    assert first[-1] == "left out: 2 hidden or special files and folders"


@given(num_tokens=st.integers(50, 200), max_tokens=st.integers(0, 220), validation_tokens=st.integers(0, 220))
def test_what_is_to_be_held_out_exactly_is_held_out_or_refused(
    num_tokens, max_tokens, validation_tokens, tmp_path_factory
):
    path = tmp_path_factory.getbasetemp() / "exactly"
    path.write_text("ab" * (num_tokens // 2) + "a" * (num_tokens % 2))
    config = Config().replace(corpus=str(path), max_tokens=max_tokens, validation_tokens=validation_tokens)
    try:
        text = run_text.read(config, True)
    except UserError as error:
        end = min(max_tokens or num_tokens, num_tokens - validation_tokens)
        assert (end <= 0, "leaves nothing to train on" in str(error)) == (True, True)  # noqa: PT017
        return
    assert len(text.validation) == validation_tokens
    assert len(text.training) == min(max_tokens or num_tokens, num_tokens - validation_tokens)
    again = run_text.read(config.replace(max_tokens=text.max_tokens))  # as `evaluate` reads it
    assert (len(again.training), len(again.validation)) == (len(text.training), len(text.validation))
