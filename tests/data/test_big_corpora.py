"""Texts larger than memory: whatever the pieces they are read in, the same is learnt of them as of the whole."""

import collections
import contextlib
import errno
import gzip
import hashlib
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tfrnn
from tfrnn.data import run_text, text_rules
from tfrnn.data.corpora import catalogue, passes
from tfrnn.data.corpora.cache import Cache, default_cache_dir
from tfrnn.data.corpora.files import Files, read_text
from tfrnn.data.corpora.sources import InMemory
from tfrnn.data.stored_ids import StoredIds
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import MissingFileError, UserError
from tfrnn.runtime import durable

TEXTS = st.text("\r\n \taAzZé中🦀0'\u0085\u2028\x1c\ufeff", max_size=60) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40
)
CUTS = st.lists(st.integers(0, 60), max_size=12)
RULES = st.sampled_from(sorted(text_rules.TEXT_RULES))
KINDS = st.sampled_from(["char", "word"])
CHUNKS = (1, 2, 3, 7, 64, 2**20)
STORY = "Ein Zwölftel, 日本語 and \U0001f980\r\nthe end.\r\n\n  <unk> to be or not to be\u0085<unk>s é\n" * 3


def cut(text, cuts):
    places = sorted({0, len(text), *(min(c, len(text)) for c in cuts)})
    return [text[a:b] for a, b in zip([0, *places], places, strict=False)]


class Pieces(InMemory):
    """A text as a source that comes in such pieces."""

    def __init__(self, text, cuts):
        super().__init__("pieces", text)
        self._pieces = cut(text, cuts)

    def pieces(self, on_bytes=None):
        yield from self._pieces


class Unreadable(InMemory):
    def __init__(self):
        super().__init__("unreadable", "")

    def pieces(self, on_bytes=None):
        raise AssertionError("this text was to be read no more")


def plainly(text, rule):
    """The rules as they are defined, line by line."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    letters = ["".join(c.lower() if c.isascii() and c.isalpha() else " " for c in line).split() for line in lines]
    return {
        "book": "".join(" ".join(words) for words in letters),
        "lines": " ".join(" ".join(words) for words in letters if words),
        "spaces": " ".join(lines),
        "raw": text,
    }[rule]


# Rules


@given(text=TEXTS, rule=RULES)
def test_a_rule_does_what_it_says(text, rule):
    assert text_rules.clean(text, rule) == plainly(text, rule)
    assert text_rules.clean(text, rule, "word") == plainly(text, "lines" if rule == "book" else rule)


@given(text=TEXTS, cuts=CUTS, rule=RULES, tokens=KINDS)
def test_a_text_is_cleaned_in_any_pieces(text, cuts, rule, tokens):
    pieces = list(text_rules.clean_pieces(cut(text, cuts), rule, tokens))
    assert "".join(pieces) == text_rules.clean(text, rule, tokens)
    if tokens == "word":
        assert [word for piece in pieces for word in piece.split()] == "".join(pieces).split()


@pytest.mark.parametrize("begin", [0, 1, 7, 2**20 - 1, 2**20, 2**21 + 5])
def test_a_word_may_be_long_but_not_endless(begin):
    text = "a " * (begin // 2) + " " * (begin % 2) + "é" * 2**20
    for pieces in ([text + " so"], cut(text + " so", [begin + 9, begin + 2**20])):
        assert "".join(text_rules.clean_pieces(pieces, "raw", "word")) == text + " so"
    for pieces in ([text + "é so"], [text + "é"], cut(text + "é so", [begin + 9, begin + 2**20])):
        with pytest.raises(UserError, match=r"at most 1,048,576 characters.*'éééé.*--tokens=char"):
            collections.deque(text_rules.clean_pieces(pieces, "raw", "word"), 0)
    assert text_rules.clean(text + "é", "raw") == text + "é"


def test_what_is_held_back_stays_small():
    pieces = ["- \n" * 1000] * 1000
    assert list(text_rules.clean_pieces(["So", *pieces, "it"], "lines")) == ["so", " it"]
    assert list(text_rules.clean_pieces([*pieces, "So", *pieces], "book")) == ["so"]


# Passes


@given(text=TEXTS, cuts=CUTS, rule=RULES, tokens=KINDS, numbers=st.tuples(*[st.integers(0, 70)] * 2))
def test_what_is_learnt_piece_by_piece_is_what_the_whole_tells(text, cuts, rule, tokens, numbers):
    source, whole = Pieces(text, cuts), text_rules.clean(text, rule, tokens)
    if not whole.strip():
        with pytest.raises(UserError, match=f"corpus pieces: .*{rule}.* leaves nothing of its {len(text)} characters"):
            passes.survey(source, rule, tokens)
        return
    parts, (begin, end) = text_rules.split(whole, tokens), sorted(numbers)
    survey = passes.survey(source, rule, tokens)
    assert list(survey.counts.items()) == list(collections.Counter(parts).items())
    assert survey.num_tokens == len(parts)
    assert survey.sha256 == hashlib.sha256(whole.encode()).hexdigest()
    assert survey.beginning == text_rules.join(parts, tokens)

    first = passes.count_first(source, rule, tokens, end)
    assert list(first.items()) == list(collections.Counter(parts[:end]).items())
    assert passes.take(source, rule, tokens, begin, end) == text_rules.join(parts[begin:end], tokens)
    vocabulary = Vocabulary.from_counts(first, tokens)
    assert vocabulary.id_to_token == Vocabulary.from_text(text_rules.join(parts[:end], tokens), tokens).id_to_token
    ids = [np.empty(0, np.uint8), *passes.encode(source, rule, vocabulary, len(parts))]
    assert {array.dtype for array in ids} == {vocabulary.dtype}
    assert np.concatenate(ids).tolist() == vocabulary.encode(whole, "unk").tolist()


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("tokens", ["char", "word"])
def test_a_file_is_the_same_in_chunks_of_any_size(chunk, tokens, tmp_path):
    (tmp_path / "plain").write_bytes(STORY.encode("utf-8-sig"))
    with gzip.open(tmp_path / "gzip", "wb") as file:
        file.write(STORY.encode())
    with zipfile.ZipFile(tmp_path / "zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("story.txt", STORY)
    for name in ("plain", "gzip", "zip"):
        source, told, read = Files(tmp_path / name, chunk), [], []
        assert source.sha256(told.append) == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert "".join(source.pieces(read.append)) == STORY
        assert (sum(told), sum(read)) == (source.size, source.size)
        for rule in text_rules.TEXT_RULES:
            whole = tfrnn.load_corpus(str(tmp_path / name), rule, tokens)
            assert whole == text_rules.clean(STORY, rule, tokens)
            survey = passes.survey(source, rule, tokens)
            vocabulary = Vocabulary.from_counts(survey.counts, tokens)
            assert vocabulary.to_json() == Vocabulary.from_text(whole, tokens).to_json()
            assert survey.sha256 == hashlib.sha256(whole.encode()).hexdigest()
            ids = np.concatenate(list(passes.encode(source, rule, vocabulary, survey.num_tokens)))
            assert ids.tolist() == vocabulary.encode(whole).tolist()


def test_no_more_is_read_than_is_asked_for(tmp_path):
    (tmp_path / "text").write_bytes(b"to be " * 100 + b"\xff")
    source = Files(tmp_path / "text", 8)
    vocabulary = Vocabulary.from_counts(passes.count_first(source, "raw", "word", 3), "word")
    assert vocabulary.id_to_token == ["<unk>", "to", "be"]
    assert np.concatenate(list(passes.encode(source, "raw", vocabulary, 5))).tolist() == [1, 2, 1, 2, 1]
    assert passes.take(source, "raw", "word", 3, 6) == "be to be"
    assert not list(passes.encode(Unreadable(), "raw", vocabulary, 0))
    with pytest.raises(UserError, match="byte 600 is 0xff"):
        passes.survey(source, "raw")


def test_the_beginning_of_a_long_text():
    source = Pieces("\n" * 2000 + "so it goes " * 2000, [1500, 5000])
    assert passes.survey(source, "raw").beginning == "\n" * 1000
    survey = passes.survey(source, "raw", "word")
    assert len(survey.beginning.split()) == passes.BEGINNING
    assert catalogue.prefixes_of("pieces", survey.beginning, survey.counts, "word") == ("so it goes",)


# Files


def test_a_folder_is_its_files_one_after_the_other(tmp_path):
    folder = tmp_path / "folder"
    for name, content in {
        "b.txt": b"\xef\xbb\xbfsecond, without an end",
        "a/z.txt": b"first\r\n",
        "a/empty": b"",
        "a-/x": b"before a/\n",
        "c": gzip.compress("dritte Größe".encode()),
        "z": b"last",
        ".hidden": b"\0",
        ".git/config": b"\xff",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("not of it")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "broken").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe")
    text = "before a/\nfirst\r\nsecond, without an end\ndritte Größe\nlast"
    for chunk in CHUNKS:
        source, told = Files(folder, chunk), []
        assert "".join(source.pieces(told.append)) == text
        assert sum(told) == source.size
    assert tfrnn.load_corpus(str(folder)) == text
    names = ["a-/x", "a/empty", "a/z.txt", "b.txt", "c", "z"]
    digests = [hashlib.sha256((folder / name).read_bytes()).digest() for name in names]
    assert source.sha256() == hashlib.sha256(b"".join(digests)).hexdigest()

    for content, message in ((b"ab\0", "byte 2 is NUL"), (b"a\xe4", "byte 1 is 0xe4"), (b"\x1f\x8bx", "unpacked")):
        (folder / "a" / "wrong").write_bytes(content)
        with pytest.raises(UserError, match=f"a/wrong: .*{message}.* remove it from the folder$"):
            tfrnn.load_corpus(str(folder))


def test_a_folder_without_a_text(tmp_path):
    (tmp_path / ".hidden").write_text("hidden")
    with pytest.raises(UserError, match="directory of text files, but this one holds none"):
        Files(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="all 2 files in it are empty"):
        list(Files(tmp_path).pieces())


@given(
    content=st.binary(max_size=30)
    | TEXTS.map(str.encode)
    | st.tuples(TEXTS, st.binary(max_size=2)).map(lambda pair: pair[0].encode() + pair[1]),
    chunk=st.integers(1, 9),
)
def test_any_bytes_in_any_chunks(content, chunk, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any bytes"
    path.write_bytes(content)
    try:
        expected, wrong = content.decode("utf-8"), len(content)
    except UnicodeDecodeError as error:
        expected, wrong = None, error.start
    nul = content.find(0)
    try:
        text = "".join(Files(path, chunk).pieces())
    except UserError as error:
        packed = content.startswith(b"\x1f\x8b") or b"PK\5\6" in content
        reasons = ["unpacked"] if packed else [f"byte {wrong} is 0x", f"byte {nul} is NUL"] if content else ["empty"]
        assert any(reason in str(error) for reason in reasons)  # noqa: PT017
    else:
        assert text == expected.removeprefix("\ufeff")
        assert nul < 0


def test_bytes_are_counted_in_what_was_packed(tmp_path):
    content = b"so it goes\n" * 1000 + b"caf\xe9 "
    (tmp_path / "gzip").write_bytes(gzip.compress(content[:5000]) + gzip.compress(content[5000:]))
    with zipfile.ZipFile(tmp_path / "zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("text", content)
    for name in ("gzip", "zip"):
        for chunk in (7, 2**20):
            with pytest.raises(UserError, match=r"byte 11003 is 0xe9; convert the file to UTF-8$"):
                list(Files(tmp_path / name, chunk).pieces())


def test_archives_that_cannot_be_unpacked(tmp_path):
    packed = gzip.compress(os.urandom(50).hex().encode() * 9)
    path = tmp_path / "text.gz"
    for content in (packed[:-1], packed[:30], packed[:12], packed + b"more", packed[:-8] + bytes(8), packed[:2]):
        path.write_bytes(content)
        with pytest.raises(
            UserError, match=r"text\.gz: expected a gzip file of a text, but it cannot be unpacked"
        ) as raised:
            tfrnn.load_corpus(str(path))
        assert "\n" not in str(raised.value)
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(UserError, match="the file is empty"):
        tfrnn.load_corpus(str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "a")
        archive.writestr("b", "b")
    with pytest.raises(UserError, match=r"a zip archive of a text.* holds 2 files, not one"):
        tfrnn.load_corpus(str(path))


def test_a_file_that_changes_is_refused(tmp_path):
    (tmp_path / "text").write_text("as it was")
    source = Files(tmp_path / "text", 4)
    pieces = source.pieces()
    assert next(pieces) == "as i"
    with (tmp_path / "text").open("a") as file:
        file.write("!")
    with pytest.raises(UserError, match="it has changed; start again"):
        list(pieces)
    with pytest.raises(UserError, match="it has changed; start again"):
        source.sha256()
    (tmp_path / "text").unlink()
    with pytest.raises(UserError, match="cannot be read"):
        list(source.pieces())


def test_a_pipe_is_read_once_and_kept(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    threading.Thread(target=lambda: (tmp_path / "pipe").write_text(STORY, newline="")).start()
    source = catalogue.open_corpus(str(tmp_path / "pipe"))
    assert source.sha256() == hashlib.sha256(STORY.encode()).hexdigest()
    assert ["".join(source.pieces()) for _ in range(2)] == [STORY] * 2


def test_a_whole_text_is_of_a_bounded_size(tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes([65]) * 10**6))
    with pytest.raises(UserError, match="at most 8,589,934,592 bytes, got 1,099,511,627,776; take a part"):
        read_text(tmp_path / "sparse")
    with pytest.raises(UserError, match="byte 0 is NUL"):
        catalogue.open_corpus(str(tmp_path / "sparse"))  # at once
    with (
        mock.patch("tfrnn.data.corpora.sources.LARGEST", 10**5),
        pytest.raises(UserError, match="at most 100,000 bytes"),
    ):
        tfrnn.load_corpus(str(tmp_path / "bomb.gz"))


def test_a_byte_order_mark_alone_is_no_text(tmp_path):
    (tmp_path / "mark").write_bytes(b"\xef\xbb\xbf")
    with pytest.raises(UserError, match="leaves nothing of its 0 characters"):
        passes.survey(catalogue.open_corpus(str(tmp_path / "mark")), "raw")


def test_corpora_by_name_are_sources():
    source, told = catalogue.open_corpus("sample"), []
    text = "".join(source.pieces(told.append))
    assert source.sha256() == hashlib.sha256(text.encode()).hexdigest()
    assert told == [source.size]
    survey = passes.survey(source, "book")
    assert catalogue.prefixes_of("sample", survey.beginning, survey.counts) == catalogue.CORPORA["sample"].prefixes
    with pytest.raises(MissingFileError, match="'nowhere'"):
        catalogue.open_corpus("nowhere")


@given(num_tokens=st.integers(1, 50), max_tokens=st.integers(0, 60), validation_tokens=st.integers(0, 60))
def test_bounds_are_those_of_slices(num_tokens, max_tokens, validation_tokens):
    text = list(range(num_tokens))
    end = max_tokens or num_tokens - validation_tokens
    if end <= 0:
        with pytest.raises(UserError, match=f"leaves nothing to train on of the text's {num_tokens} tokens"):
            run_text.bounds(num_tokens, max_tokens, validation_tokens)
        return
    found, held_out = run_text.bounds(num_tokens, max_tokens, validation_tokens)
    assert (text[:found], text[found:held_out]) == (text[:end], text[end:][:validation_tokens])
    assert 0 < found <= held_out <= num_tokens


# Vocabulary


def test_a_vocabulary_of_the_most_frequent():
    counts = {"b": 2, "<unk>": 9, "a": 3, "c": 2}
    assert Vocabulary.from_counts(counts, "word").id_to_token == ["<unk>", "a", "b", "c"]
    assert Vocabulary.from_counts(counts, "word", 2).id_to_token == ["<unk>", "a", "b"]
    assert Vocabulary.from_text("c b b a a", "word", 1).id_to_token == ["<unk>", "b"]


@pytest.mark.parametrize(
    ("size", "dtype"), [(1, "uint8"), (256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "int32")]
)
def test_ids_are_as_small_as_they_can_be(size, dtype):
    vocabulary = Vocabulary.from_counts({chr(0x4E00 + i): 1 for i in range(size - 1)})
    assert vocabulary.dtype == dtype
    assert vocabulary.ids(vocabulary.id_to_token[-1])[-1] == size - 1 or size == 1
    assert vocabulary.encode(vocabulary.id_to_token[-1], "unk").dtype == np.int32


# Stored ids


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_stored_ids_are_those_of_the_file(dtype, tmp_path):
    ids = np.arange(1000).astype(dtype)
    ids.tofile(tmp_path / "ids")
    stored = StoredIds(tmp_path / "ids", dtype, 5, 900)
    np.testing.assert_array_equal(np.asarray(stored), ids[5:900])
    assert np.asarray(stored).dtype == dtype
    for where in (slice(None), slice(7, 30), slice(-20, None), slice(30, 7), slice(800, 2000), slice(3, 3)):
        part = stored[where]
        assert len(part) == len(ids[5:900][where])
        np.testing.assert_array_equal(np.array(part, np.int64), ids[5:900][where].astype(np.int64))
    starts = np.array([[0, 3], [880, 20]])
    read = stored.read(starts, 15)
    assert (read.shape, read.dtype) == ((2, 2, 15), dtype)
    np.testing.assert_array_equal(read, ids[5 + starts[..., None] + np.arange(15)])
    assert stored[10:30].read(np.array(20 - 7), 7).tolist() == ids[28:35].tolist()
    assert stored.read(np.empty([0, 2], np.int64), 4).shape == (0, 2, 4)
    for wrong in ([-1], [0, 886], [2**40]):
        with pytest.raises(ValueError, match="starts from 0 to 885"):
            stored.read(np.array(wrong), 10)
    for wrong in (slice(0, 9, 2), 3):
        with pytest.raises(TypeError):
            stored[wrong]


def test_stored_ids_without_their_file(tmp_path):
    path = tmp_path / "ids"
    with pytest.raises(MissingFileError, match="the file is gone; start again"):
        StoredIds(path, np.uint16, 0, 10)
    path.write_bytes(bytes(19))
    with pytest.raises(UserError, match="20 bytes at the least, got 19"):
        StoredIds(path, np.uint16, 0, 10)
    stored = StoredIds(path, np.uint16, 0, 9)
    path.unlink()
    assert stored.read([3, 5], 2).tolist() == [[0, 0], [0, 0]]  # what is open stays
    path.write_bytes(bytes(20))
    stored = StoredIds(path, np.uint16, 0, 10)
    os.truncate(path, 4)
    for read in (lambda: stored.read([0], 10), lambda: np.asarray(stored)):
        with pytest.raises(UserError, match="cannot be read"):
            read()
    with pytest.raises(UserError, match="cannot be read"):
        StoredIds(tmp_path, np.uint8, 0, 0).read(np.array([0]), 0)


# Cache


def learn(folder, source, sha256="5a" * 32, rule="raw", tokens="char"):
    cache = Cache(folder)
    survey = cache.survey(source, sha256, rule, tokens)
    vocabulary = Vocabulary.from_counts(survey.counts, tokens)
    return survey, cache.ids(source, sha256, rule, vocabulary, survey.num_tokens)


def names_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("tokens", ["char", "word"])
def test_a_second_run_reads_no_text(tokens, tmp_path):
    source = InMemory("story", STORY)
    survey, ids = learn(tmp_path / "a" / "b", source, tokens=tokens)
    assert survey == passes.survey(source, "raw", tokens)
    assert np.asarray(ids).tolist() == Vocabulary.from_text(STORY, tokens).encode(STORY).tolist()
    again, stored = learn(tmp_path / "a" / "b", Unreadable(), tokens=tokens)
    assert again == survey
    assert list(again.counts) == list(survey.counts)
    assert np.asarray(stored).tolist() == np.asarray(ids).tolist()
    json_of = Vocabulary.from_counts(survey.counts, tokens).to_json()
    name = f"ids-{hashlib.sha256(json_of.encode()).hexdigest()[:16]}-{survey.num_tokens}.bin"
    folder = f"a/b/{'5a' * 32}-raw-{tokens}-1"
    assert names_in(tmp_path) == [f"{folder}/{name}", f"{folder}/survey.json"]
    for other in ({"sha256": "5b" * 32}, {"rule": "lines"}, {"tokens": {"char": "word", "word": "char"}[tokens]}):
        with pytest.raises(AssertionError):
            learn(tmp_path / "a" / "b", Unreadable(), **{"tokens": tokens, **other})


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-5],
        lambda data: b"",
        lambda data: b"[]",
        lambda data: b"{}",
        lambda data: data.replace(b'"num_tokens": ', b'"num_tokens": 1'),
        lambda data: data.replace(b'"sha256": "', b'"sha256": "00'),
        lambda data: json.dumps({**json.loads(data), "counts": {"a": "b"}}).encode(),
        lambda data: json.dumps({**json.loads(data), "beginning": 1}).encode(),
        lambda data: json.dumps({**json.loads(data), "counts": None}).encode(),
        lambda data: b"[" * 100_000,
        lambda data: b"\xff",
    ],
)
def test_a_damaged_survey_is_made_anew(damage, tmp_path):
    source = InMemory("story", STORY)
    survey, _ = learn(tmp_path, source)
    (file,) = tmp_path.rglob("survey.json")
    good = file.read_bytes()
    file.write_bytes(damage(good))
    assert learn(tmp_path, source)[0] == survey
    assert file.read_bytes() == good


def test_cut_ids_are_made_anew(tmp_path):
    source = InMemory("story", STORY)
    _, ids = learn(tmp_path, source)
    expected = np.asarray(ids).tolist()
    os.truncate(ids.path, 50)
    _, ids = learn(tmp_path, source)
    assert np.asarray(ids).tolist() == expected


def test_more_tokens_than_there_are(tmp_path):
    with pytest.raises(UserError, match="expected 4 tokens, got fewer"):
        Cache(tmp_path).ids(InMemory("story", "abc"), "0" * 64, "raw", Vocabulary.from_text("abc"), 4)


def test_a_full_disk_leaves_nothing(tmp_path):
    source = InMemory("story", STORY)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    message = (
        f"--cache_dir={tmp_path}: expected a folder that can be written, but No space left on device; name another"
    )
    with mock.patch.object(durable, "flush", side_effect=full), pytest.raises(UserError) as raised:
        learn(tmp_path, source)
    assert str(raised.value) == message
    assert names_in(tmp_path) == []
    learn(tmp_path, source)
    before = names_in(tmp_path)
    with mock.patch.object(durable, "flush", side_effect=full), pytest.raises(UserError, match="No space left"):
        Cache(tmp_path).ids(source, "5a" * 32, "raw", Vocabulary.from_text(STORY), 7)
    assert names_in(tmp_path) == before


def test_a_write_that_the_system_refuses_leaves_nothing(tmp_path):
    """The operating system's own error, in a process that may not make files of more than 1,000 bytes."""
    code = (
        "import resource, sys\nfrom tfrnn.data.corpora.cache import Cache\n"
        "from tfrnn.data.corpora.sources import InMemory\n"
        "from tfrnn.data.vocabulary import Vocabulary\nresource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "source, vocabulary = InMemory('a', 'a' * 5000), Vocabulary.from_text('a')\n"
        "try:\n    Cache(sys.argv[1]).ids(source, '0' * 64, 'raw', vocabulary, 5000)\n"
        "except ValueError as error:\n    print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True).stdout
    assert out == f"--cache_dir={tmp_path}: expected a folder that can be written, but File too large; name another\n"
    assert names_in(tmp_path) == []


def test_what_goes_wrong_with_the_text_is_no_fault_of_the_cache(tmp_path):
    (tmp_path / "text").write_bytes(b"so it goes \xff")
    source = Files(tmp_path / "text")
    with pytest.raises(UserError, match="byte 11 is 0xff"):
        learn(tmp_path / "cache", source)
    (tmp_path / "text").unlink()
    with pytest.raises(UserError, match="text: expected a text file, but it cannot be read"):
        learn(tmp_path / "cache", source)
    assert names_in(tmp_path) == []


def test_a_cache_that_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=f"--cache_dir={folder}: expected a folder.*; name another"):
            learn(folder, Unreadable())  # told before the text is read
    assert (tmp_path / "file").read_text() == "mine"


def test_where_the_cache_is(tmp_path):
    with mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(tmp_path), "HOME": "/home/me"}):
        assert default_cache_dir() == tmp_path / "tfrnn"
        del os.environ["XDG_CACHE_HOME"]
        assert default_cache_dir() == Path("/home/me/.cache/tfrnn")


LEARN = """
import sys
from tfrnn.data.corpora.cache import Cache
from tfrnn.data.corpora.files import Files
from tfrnn.data.vocabulary import Vocabulary

def learn(folder, path, rule="raw"):
    source, cache = Files(path), Cache(folder)
    sha256 = source.sha256()
    survey = cache.survey(source, sha256, rule)
    vocabulary = Vocabulary.from_counts(survey.counts)
    return cache.ids(source, sha256, rule, vocabulary, survey.num_tokens)
"""


def test_two_processes_at_once(tmp_path):
    (tmp_path / "text").write_bytes(STORY.encode() * 20_000)
    code = f"{LEARN}\nsys.stdin.read(1)\nlearn(*sys.argv[1:])"
    command = [sys.executable, "-c", code, tmp_path / "cache", tmp_path / "text"]
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE)) for _ in range(2)]
        for process in processes:
            process.communicate(b".")
    assert [process.returncode for process in processes] == [0, 0]
    files = names_in(tmp_path / "cache")
    assert len(files) == 2
    assert not [name for name in files if name.endswith(durable.PARTIAL)]
    source = Files(tmp_path / "text")
    _, ids = learn(tmp_path / "cache", Unreadable(), source.sha256())
    whole = STORY * 20_000
    np.testing.assert_array_equal(np.asarray(ids), Vocabulary.from_text(whole).encode(whole))


def test_memory_does_not_grow_with_the_text(tmp_path):
    """200 MB are read and stored by a process that may take 100 MB more than an idle one."""
    block = (Path(catalogue.__file__).parent / "sample.txt").read_text() + STORY
    with (tmp_path / "text").open("wb") as file:
        while file.tell() < 200 * 10**6:
            file.write(block.encode() * 40)
    code = f"""{LEARN}
import resource
from pathlib import Path
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 100_000_000,) * 2)
ids = learn(*sys.argv[1:3], "raw")
print(len(ids), "tensorflow" in sys.modules)
learn(*sys.argv[1:3], "book")
try:
    bytearray(200_000_000)
except MemoryError:
    print("no more")
"""
    command = [sys.executable, "-c", code, tmp_path / "cache", tmp_path / "text"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    blocks = (tmp_path / "text").stat().st_size // len(block.encode())
    assert done.stdout == f"{blocks * len(block)} False\nno more\n"


def test_what_others_write_is_left_alone_and_what_they_left_is_removed(tmp_path):
    learn(tmp_path, InMemory("story", STORY))
    (folder,) = tmp_path.iterdir()
    for path in folder.iterdir():
        path.unlink()
    under_way, left = folder / f"survey.json.1{durable.PARTIAL}", folder / f"ids-x.bin.1{durable.PARTIAL}"
    for path in (under_way, left):
        path.write_text("a half")
    os.utime(left, (0, 0))
    learn(tmp_path, InMemory("story", STORY))
    assert under_way.read_text() == "a half"
    assert not left.exists()
    assert len(list(folder.iterdir())) == 3
