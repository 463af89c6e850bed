"""Corpora by name or path, their rules and their prefixes."""

import hashlib

import pytest

import tfrnn
from tfrnn.data.corpora import catalogue, passes
from tfrnn.errors import MissingFileError, UserError


def test_the_story_in_the_package():
    text = tfrnn.load_corpus("sample")
    assert len(text) > 16_000
    assert set(text) == set("abcdefghijklmnopqrstuvwxyz ")
    assert "public domain" not in text
    passages = [text[i : i + 40] for i in range(len(text) - 39)]
    assert len(set(passages)) == len(passages)  # nothing is repeated
    assert [prefix for prefix in catalogue.CORPORA["sample"].prefixes if prefix not in text[:10_000]] == []


def test_a_named_corpus_is_a_source():
    source, read = catalogue.open_corpus("sample"), []
    text = "".join(source.pieces(read.append))
    assert source.sha256() == hashlib.sha256(text.encode()).hexdigest()
    assert read == [source.size]
    survey = passes.survey(source, "book")
    assert catalogue.prefixes_of("sample", survey.beginning, survey.counts) == catalogue.CORPORA["sample"].prefixes


@pytest.mark.parametrize(
    ("name", "beginning", "known", "tokens", "prefixes"),
    [
        ("jay_lyrics", "wo yao dai ni", "woyaodin ", "char", ("wo yao dai n",)),
        ("time_machine", "the time machine by wells", {"the"}, "word", ("the time machine",)),
        ("a/file", "abc" * 10, "abc", "char", ("abcabcabcabc",)),
        ("a/file", "To be or not", {"To"}, "word", ("To be or",)),
    ],
    ids=["named_corpus_by_another_rule", "named_corpus_in_words", "file", "file_in_words"],
)
def test_default_prefixes_are_the_beginning_of_the_text(name, beginning, known, tokens, prefixes):
    assert catalogue.prefixes_of(name, beginning, known, tokens) == prefixes


@pytest.mark.parametrize(
    ("corpus", "title"),
    {
        "time_machine": "The Time Machine",
        "texts/my_diary.txt": "my diary",
        "a.txt.gz,b.2.txt": "a, b.2",
        "letters/*.txt": "letters",
        "*.txt": "a text",
    }.items(),
)
def test_a_corpus_has_a_title(corpus, title):
    assert catalogue.title_of(corpus) == title


@pytest.mark.parametrize("load", [tfrnn.load_corpus, catalogue.open_corpus])
def test_a_missing_file_is_named_with_the_known_corpora(load):
    with pytest.raises(MissingFileError, match=r"sample, time_machine.*'no_such_file'"):
        load("no_such_file")


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="directory"):
        tfrnn.load_corpus(str(tmp_path))


def test_a_rule_that_leaves_nothing_is_refused(tmp_path):
    (tmp_path / "digits").write_text("1 2 3")
    with pytest.raises(UserError, match="leaves nothing"):
        tfrnn.load_corpus(str(tmp_path / "digits"), "book")


def test_an_unknown_rule_is_refused():
    with pytest.raises(UserError, match="text_rule"):
        tfrnn.load_corpus("sample", "shout")


@pytest.fixture
def texts(tmp_path, monkeypatch):
    """A folder with texts, of which one has a comma in its name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep").mkdir()
    for name in ("a.txt", "b.txt", "deep/c.txt", "Poe, E. A..txt", "[x].txt"):
        (tmp_path / name).write_text(name)


@pytest.mark.parametrize(
    ("corpus", "paths"),
    [
        ("a.txt", ["a.txt"]),
        ("b.txt,a.txt", ["b.txt", "a.txt"]),
        ("Poe, E. A..txt", ["Poe, E. A..txt"]),
        ("b.txt,Poe, E. A..txt,deep", ["b.txt", "Poe, E. A..txt", "deep"]),
        ("?.txt", ["a.txt", "b.txt"]),
        ("deep,?.txt", ["deep", "a.txt", "b.txt"]),
        ("**/?.txt", ["a.txt", "b.txt", "deep/c.txt"]),
        ("[x].txt", ["[x].txt"]),
        ("", [""]),
    ],
)
def test_a_corpus_names_paths_in_its_order(corpus, paths, texts):
    assert catalogue.paths_of(corpus) == paths


def test_several_texts_are_read_in_their_order(texts):
    assert tfrnn.load_corpus("b.txt,deep,a.txt") == "b.txt\ndeep/c.txt\na.txt"
    source = catalogue.open_corpus("b.txt,deep,a.txt")
    assert (len("".join(source.pieces())), source.contents.num_texts) == (22, 3)


@pytest.mark.parametrize(
    ("corpus", "files"),
    [
        ("b.txt,?.txt", ["b.txt", "a.txt"]),
        ("?.txt,b.txt", ["a.txt", "b.txt"]),
        ("deep,deep/c.txt", ["deep/c.txt"]),
        ("deep/c.txt,a.txt,deep", ["deep/c.txt", "a.txt"]),
        ("deep/**", ["deep/c.txt"]),
        ("**/?.txt,deep,link.txt", ["a.txt", "b.txt", "deep/c.txt"]),
        ("**,deep", ["Poe, E. A..txt", "[x].txt", "a.txt", "b.txt", "deep/c.txt"]),
    ],
)
def test_a_file_is_read_once_where_it_comes_first(corpus, files, texts, tmp_path):
    (tmp_path / "link.txt").symlink_to("a.txt")
    source = catalogue.open_corpus(corpus)
    assert "".join(source.pieces()).split("\n") == files
    assert source.size == sum(map(len, files))
    assert source.contents.num_texts == len(files)


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ("a,b.txt", "there is no file 'a'"),
        ("b.txt,a", "there is no file 'a'"),
        ("b.txt,", "there is no file ''"),
        ("?.bak", r"nothing matches '\?\.bak'; correct it"),
        ("a.txt,?.txt,./a.txt", "each path once; got 'a.txt' twice"),
        ("deep,deep/", "each path once; got 'deep' twice"),
        ("a.txt,sample", "one of sample, .* alone; got sample among others"),
    ],
)
def test_paths_that_cannot_be_meant_are_refused(corpus, message, texts):
    with pytest.raises(UserError, match=message):
        catalogue.open_corpus(corpus)
