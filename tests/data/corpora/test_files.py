"""Text files and folders of them."""

import gzip
import hashlib
import os
import re
import threading
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from texts import CHUNK_SIZES, STORY, TEXTS

import tfrnn
from tfrnn.data.corpora import catalogue, passes, sources
from tfrnn.data.corpora.files import Files, read_text
from tfrnn.errors import UserError

FILES_OF_FOLDER = {
    "b.txt": b"\xef\xbb\xbfsecond, without an end",
    "a/z.txt": b"first\r\n",
    "a/empty": b"",
    "a-/x": b"before a/\n",
    "c": gzip.compress("dritte Größe".encode()),
    "z": b"last",
    ".hidden": b"\0",
    ".git/config": b"\xff",
}
TEXT_OF_FOLDER = "before a/\nfirst\r\nsecond, without an end\ndritte Größe\nlast"


@pytest.fixture
def folder(tmp_path):
    """FILES_OF_FOLDER, with links that lead out of the folder and a pipe."""
    folder = tmp_path / "folder"
    for name, content in FILES_OF_FOLDER.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("not part of it")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "broken").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.mark.parametrize("chunk", CHUNK_SIZES)
def test_a_folder_is_read_as_its_files_one_after_the_other(chunk, folder):
    source, read = Files(folder, chunk), []
    assert "".join(source.pieces(read.append)) == TEXT_OF_FOLDER
    assert sum(read) == source.size
    assert tfrnn.load_corpus(str(folder)) == TEXT_OF_FOLDER


def test_the_sha256_of_a_folder_is_that_of_its_files_digests(folder):
    names = ["a-/x", "a/empty", "a/z.txt", "b.txt", "c", "z"]
    digests = [hashlib.sha256(FILES_OF_FOLDER[name]).digest() for name in names]
    assert Files(folder).sha256() == hashlib.sha256(b"".join(digests)).hexdigest()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"ab\0", "byte 2 is NUL"), (b"a\xe4", "byte 1 is 0xe4"), (b"\x1f\x8bx", "unpacked")],
    ids=["binary", "not_utf8", "damaged"],
)
def test_a_file_of_a_folder_that_is_not_a_text_is_named(content, message, folder):
    (folder / "a" / "wrong").write_bytes(content)
    with pytest.raises(UserError, match=f"a/wrong: .*{message}.* remove it from the folder$"):
        tfrnn.load_corpus(str(folder))


def test_a_folder_without_a_text_is_refused(tmp_path):
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
def test_any_bytes_in_any_chunks_are_a_text_or_a_known_error(content, chunk, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any bytes"
    path.write_bytes(content)
    try:
        expected, bad_byte = content.decode("utf-8"), len(content)
    except UnicodeDecodeError as error:
        expected, bad_byte = None, error.start
    nul = content.find(0)
    try:
        text = "".join(Files(path, chunk).pieces())
    except UserError as error:
        packed = content.startswith(b"\x1f\x8b") or b"PK\5\6" in content
        reasons = ["unpacked"] if packed else [f"byte {bad_byte} is 0x", f"byte {nul} is NUL"] if content else ["empty"]
        assert any(reason in str(error) for reason in reasons)  # noqa: PT017
    else:
        assert text == expected.removeprefix("\ufeff")
        assert nul < 0


@pytest.mark.parametrize("chunk", [7, 2**20])
@pytest.mark.parametrize("file_format", ["gzip", "zip"])
def test_the_position_of_a_bad_byte_is_that_in_the_unpacked_text(file_format, chunk, tmp_path):
    content, path = b"so it goes\n" * 1000 + b"caf\xe9 ", tmp_path / "text"
    if file_format == "gzip":
        path.write_bytes(gzip.compress(content[:5000]) + gzip.compress(content[5000:]))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
            archive.writestr("text", content)
    with pytest.raises(UserError, match=r"byte 11003 is 0xe9; convert the file to UTF-8$"):
        list(Files(path, chunk).pieces())


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:30],
        lambda data: data[:12],
        lambda data: data + b"more",
        lambda data: data[:-8] + bytes(8),
        lambda data: data[:2],
    ],
    ids=["last_byte_missing", "30_bytes", "12_bytes", "bytes_after_it", "other_checksum", "2_bytes"],
)
def test_a_damaged_gzip_file_is_refused(damage, tmp_path):
    path = tmp_path / "text.gz"
    path.write_bytes(damage(gzip.compress(os.urandom(50).hex().encode() * 9)))
    expected = r"text\.gz: expected a gzip file of a text, but it cannot be unpacked"
    with pytest.raises(UserError, match=expected) as raised:
        tfrnn.load_corpus(str(path))
    assert "\n" not in str(raised.value)


def test_an_empty_gzip_file_is_refused(tmp_path):
    (tmp_path / "text.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(UserError, match="the file is empty"):
        tfrnn.load_corpus(str(tmp_path / "text.gz"))


def test_a_zip_archive_is_one_text_that_is_not_damaged(tmp_path):
    path = tmp_path / "text.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "some text")
    assert tfrnn.load_corpus(str(path)) == "some text"
    path.write_bytes(path.read_bytes().replace(b"some", b"same", 1))
    with pytest.raises(UserError, match="cannot be unpacked"):
        tfrnn.load_corpus(str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "a")
        archive.writestr("b", "b")
    with pytest.raises(UserError, match=r"a zip archive of a text.* contains 2 files, not one"):
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


def test_the_size_of_a_whole_text_is_limited(tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match="at most 8,589,934,592 bytes, got 1,099,511,627,776; take a part"):
        read_text(tmp_path / "sparse")
    with pytest.raises(UserError, match="byte 0 is NUL"):
        catalogue.open_corpus(str(tmp_path / "sparse"))  # without reading the rest


def test_the_size_of_an_unpacked_text_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_TEXT_BYTES", 10**5)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(b"A" * 10**6))
    with pytest.raises(UserError, match="at most 100,000 bytes"):
        tfrnn.load_corpus(str(tmp_path / "bomb.gz"))


def test_the_characters_of_a_file_are_not_changed(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbfA\r\nb\xc3\xa9\n")
    assert tfrnn.load_corpus(str(path)) == "A\r\nbé\n"
    assert tfrnn.load_corpus(str(path), "spaces") == "A bé "


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"ab\0c", "byte 2 is NUL"), (b"caf\xe9 !", "byte 3 is 0xe9"), (b" \n", "leaves nothing")],
    ids=["empty", "binary", "not_utf8", "blank"],
)
def test_a_file_that_is_not_a_text_is_refused(content, message, tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{re.escape(str(path))}.*{message}"):
        tfrnn.load_corpus(str(path))


def test_a_byte_order_mark_alone_is_not_a_text(tmp_path):
    (tmp_path / "mark").write_bytes(b"\xef\xbb\xbf")
    with pytest.raises(UserError, match="leaves nothing of its 0 characters"):
        passes.survey(catalogue.open_corpus(str(tmp_path / "mark")), "raw")
