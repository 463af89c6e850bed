"""Text files and folders of them."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import re
import tarfile
import threading
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from texts import CHUNK_SIZES, STORY, TEXTS

import tfrnn
from tfrnn.data.corpora import catalogue, encodings, files, passes, sources
from tfrnn.data.corpora.files import Files, read_text
from tfrnn.errors import UserError

UTF16_OR_UTF32 = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")  # the beginnings of such texts with a mark
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
    assert tfrnn.load_corpus(str(folder), "raw") == TEXT_OF_FOLDER
    assert tfrnn.load_corpus(str(folder)) == TEXT_OF_FOLDER.replace("\r\n", "\n")


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
        if files._no_text(content) or content.startswith(UTF16_OR_UTF32):
            return
        packed = files._compression_of(content) or b"PK\5\6" in content
        reasons = ["unpacked"] if packed else [f"byte {bad_byte} is 0x", f"byte {nul} is NUL"] if content else ["empty"]
        assert any(reason in str(error) for reason in reasons)  # noqa: PT017
    else:
        if content.startswith(UTF16_OR_UTF32):
            expected, nul = content.decode(encodings.by_mark(content)), -1
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
    with pytest.raises(UserError, match=r"byte 11003 is 0xe9; it is probably in Windows-1252: give `encoding=cp1252`$"):
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


MADE_BY_A_MAC = {"__MACOSX/books/._a.txt": b"\0\1", "books/.DS_Store": b"\0", "books/._a.txt": b"\0"}


def pack_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("books") if hasattr(archive, "mkdir") else archive.writestr("books/", b"")
        for name, content in files.items():
            archive.writestr(name, content)


def pack_tar(path, files, mode="w"):
    with tarfile.open(path, mode) as archive:
        folder = tarfile.TarInfo("books")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


PACKERS = {
    "zip": pack_zip,
    "tar": pack_tar,
    "tar.gz": lambda path, files: pack_tar(path, files, "w:gz"),
    "tar.bz2": lambda path, files: pack_tar(path, files, "w:bz2"),
    "tar.xz": lambda path, files: pack_tar(path, files, "w:xz"),
}


@pytest.mark.parametrize("chunk", [4, 2**20])
@pytest.mark.parametrize("file_format", PACKERS)
def test_an_archive_is_read_as_a_folder_without_what_a_mac_adds(file_format, chunk, tmp_path):
    path = tmp_path / "a file"  # its bytes tell what it is, not its name
    PACKERS[file_format](path, {"books/a.txt": "größer".encode(), **MADE_BY_A_MAC})
    source, read = Files(path, chunk), []
    assert "".join(source.pieces(read.append)) == "größer"
    assert (source.contents, sum(read)) == (("UTF-8", 1, len(MADE_BY_A_MAC)), source.size)
    several = {"books/b.txt": "größer\n".encode("utf-16"), "books/a.txt": b"\xef\xbb\xbffirst", "c": b"", "d": b"."}
    PACKERS[file_format](path, {**several, **MADE_BY_A_MAC})
    source = Files(path, chunk)
    assert "".join(source.pieces()) == ("first\ngrößer\n." if file_format == "zip" else "größer\nfirst\n.")
    assert (source.contents.num_texts, sorted(source.contents.encoding.split(", "))) == (3, ["UTF-16", "UTF-8"])
    found = source.contents
    next(source.pieces())
    assert source.contents == found  # a reading of a part tells nothing of the whole
    PACKERS[file_format](path, {**several, "books/picture": b"\x89PNG\0"})
    with pytest.raises(UserError, match=r"a file: books/picture: expected .* but byte (4 is NUL|0 is 0x89)"):
        list(Files(path, chunk).pieces())
    PACKERS[file_format](path, MADE_BY_A_MAC)
    with pytest.raises(UserError, match="it contains no file"):
        list(Files(path, chunk).pieces())
    PACKERS[file_format](path, several)
    path.write_bytes(path.read_bytes()[: min(path.stat().st_size // 2, 1100)])
    with pytest.raises(UserError, match=r"unpacked|damaged"):
        list(Files(path, chunk).pieces())


def packed_by(file_format, path, files):
    PACKERS[file_format](path, files)
    return path.read_bytes()


WITHIN = {
    "zip": "a zip archive that is damaged or within another",
    "tar": "a tar archive within another",
    "tar.gz": "a gzip file within another",
    "tar.bz2": "a bzip2 file within another",
    "tar.xz": "an xz file within another",
}


@pytest.mark.parametrize("outer", PACKERS)
@pytest.mark.parametrize("inner", WITHIN)
def test_an_archive_within_another_is_told(inner, outer, tmp_path):
    content = packed_by(inner, tmp_path / "inner", {"a.txt": b"some text"})
    for beside, name in (({}, "(inner: )?"), ({"a.txt": b"text"}, "inner: ")):
        PACKERS[outer](tmp_path / "outer", {**beside, "inner": content})
        with pytest.raises(UserError, match=f"outer: {name}expected a text, got {WITHIN[inner]}; unpack it first$"):
            read_text(tmp_path / "outer")


def test_a_zip_archive_without_its_end_and_documents_in_one_are_told(tmp_path):
    content = packed_by("zip", tmp_path / "cut", {"a.txt": STORY.encode()})
    (tmp_path / "cut").write_bytes(content[:-30])
    with pytest.raises(UserError, match=f"cut: expected a text, got {WITHIN['zip']}; unpack it first$"):
        read_text(tmp_path / "cut")
    for first in ("[Content_Types].xml", "mimetype"):
        with zipfile.ZipFile(tmp_path / "document", "w") as document:
            document.writestr(first, b"<xml>")
        pack_zip(tmp_path / "zip", {"a.docx": (tmp_path / "document").read_bytes(), "b.txt": b"text"})
        with pytest.raises(UserError, match=r"zip: a\.docx: expected a text, got an office document or an e-book;"):
            read_text(tmp_path / "zip")


def test_a_text_about_bzip2_is_no_bzip2_file(tmp_path):
    (tmp_path / "text").write_text("BZh is how they begin")
    assert read_text(tmp_path / "text") == "BZh is how they begin"


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_file_is_its_text(compress, tmp_path):
    (tmp_path / "text").write_bytes(compress(STORY.encode()))
    assert read_text(tmp_path / "text") == STORY
    (tmp_path / "text").write_bytes(compress(STORY.encode() * 9)[:-5])
    with pytest.raises(UserError, match="cannot be unpacked"):
        read_text(tmp_path / "text")


def test_a_document_is_refused(tmp_path):
    for name, content in (("pdf", b"%PDF-1.7 ..."), ("rtf", b"{\\rtf1 ...}"), ("doc", b"\xd0\xcf\x11\xe0\xa1\xb1")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=r"expected a text, got a .*document.*; save its text in a file of its own"):
            read_text(tmp_path / name)
    for name, content in (
        ("7z archive", b"7z\xbc\xaf\x27\x1c"),
        ("RAR archive", b"Rar!\x1a\x07"),
        ("zstd file", b"(\xb5/\xfd.."),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"expected a text, got a {name}; unpack it first"):
            read_text(tmp_path / name)
    pack_zip(tmp_path / "docx", {"[Content_Types].xml": b"<xml>", "word/document.xml": b"<xml>"})
    with pytest.raises(UserError, match=r"docx: expected a text, got an office document"):
        read_text(tmp_path / "docx")


SENTENCES = {
    "cp1252": "Im Frühling gehen die Mädchen über die große Brücke; „Schön!“, rief der König – für alle.\n",
    "latin-1": "L'été, où les élèves s'ennuient déjà, le garçon naïf rêve d'une forêt à côté de l'hôtel.\n",
    "cp1250": "Zażółć gęślą jaźń, a potem pójdź do źródła i weź łódź. Wczoraj był piękny dzień.\n",
    "iso8859-2": "Zażółć gęślą jaźń, a potem pójdź do źródła i weź łódź. Wczoraj był piękny dzień.\n",
    "cp437": "Im Garten war es still; in den Träumen der Kinder und in den Wäldern hörte man schöne Töne.\n",
    "cp850": "Árvore não há; el niño pequeño está aquí, y mañana también. Después cantó una canción.\n",
    "mac_roman": "L'été, où les élèves s'ennuient déjà, le garçon naïf rêve d'une forêt – « à côté de l'hôtel ».\n",
    "cp1254": "İstanbul'da bir varmış bir yokmuş, çok güzel bir kız yaşarmış; dağın ardındaki ağaç görünürdü.\n",
    "cp866": "Мой дядя самых честных правил, когда не в шутку занемог, он уважать себя заставил.\n",
    "koi8-r": "Мой дядя самых честных правил, когда не в шутку занемог, он уважать себя заставил.\n",
    "cp1251": "Мой дядя самых честных правил, когда не в шутку занемог, он уважать себя заставил.\n",
    "gb18030": "床前明月光，疑是地上霜。举头望明月，低头思故乡。春眠不觉晓，处处闻啼鸟。\n",
    "big5": "床前明月光，疑是地上霜。舉頭望明月，低頭思故鄉。春眠不覺曉，處處聞啼鳥。\n",
    "shift_jis": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n",
    "euc_jp": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n",
    "iso2022_jp": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n",
    "euc_kr": "나는 학교에 갑니다. 오늘은 날씨가 아주 좋습니다. 옛날 옛적에 호랑이가 살았습니다.\n",
    "utf-16-le": "Im Frühling gehen die Mädchen über die große Brücke.\n",
    "utf-32-be": "Im Frühling gehen die Mädchen über die große Brücke.\n",
}


@pytest.mark.parametrize("encoding", SENTENCES)
def test_another_encoding_is_named_and_then_read(encoding, tmp_path):
    text, path = SENTENCES[encoding] * 30, tmp_path / "text"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(UserError, match=r"it is probably in .*: give `encoding=") as error:
        read_text(path)
    suggested = re.search("`encoding=(.*)`", str(error.value))[1]
    for name in (encoding, suggested):
        for chunk in (4, 1001, 2**20):
            source = Files(path, chunk, name)
            assert "".join(source.pieces()) == text
        assert source.sha256() != Files(path).sha256()  # the ids of a large text depend on its encoding


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        ("Tegnap nagyon szép idő volt, és a gyerekek a kertben játszottak. Űrhajó.\n", "iso8859-2", "cp1250"),
        ("Im Frühling gehen die Mädchen über die große Brücke; sie grüßen.\n", "mac_iceland", "mac_roman"),
        ("おじいさんは山へしばかりに、おばあさんは川へせんたくに行きました。\n", "euc_jis_2004", "euc_jp"),
    ],
)
def test_the_commonest_of_encodings_that_read_a_text_alike_is_named(text, encoding, name):
    assert (text.encode(encoding), encodings.guess(30 * text.encode(encoding))) == (text.encode(name), name)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("chunk", [4, 5, 2**20])
def test_a_byte_order_mark_tells_the_encoding(encoding, chunk, tmp_path):
    (tmp_path / "text").write_bytes(STORY.encode(encoding))
    source = Files(tmp_path / "text", chunk)
    assert "".join(source.pieces()) == STORY
    assert source.contents.encoding == encoding.removesuffix("-sig").upper()
    (tmp_path / "text").write_bytes("a\0b".encode(encoding))
    with pytest.raises(UserError, match="NUL"):
        list(Files(tmp_path / "text", chunk).pieces())


@pytest.mark.parametrize(
    ("mark", "encoding", "name"),
    [
        ("utf-8", "cp1252", "UTF-8"),
        ("utf-8", "gb18030", "UTF-8"),
        ("utf-8", "shift_jis", "UTF-8"),
        ("utf-16-le", "utf-16-be", "UTF-16"),
        ("utf-16-be", "utf-16-le", "UTF-16"),
        ("utf-16-be", "latin-1", "UTF-16"),
        ("utf-32-le", "utf-16-le", "UTF-32"),
    ],
)
def test_a_byte_order_mark_of_another_encoding_than_the_given_one_is_refused(mark, encoding, name, tmp_path):
    (tmp_path / "text").write_bytes(("\ufeff" + STORY).encode(mark))
    with pytest.raises(UserError, match=f"begins with the byte order mark of {name}; leave `encoding` out$"):
        list(Files(tmp_path / "text", encoding=encoding).pieces())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32-be", "gb18030"])
def test_a_byte_order_mark_of_the_given_encoding_is_removed(encoding, tmp_path):
    (tmp_path / "text").write_bytes(("\ufeff" + STORY).encode(encoding))
    for chunk in (4, 5, 2**20):
        assert "".join(Files(tmp_path / "text", chunk, encoding).pieces()) == STORY


def test_colours_of_a_terminal_are_no_japanese(tmp_path):
    (tmp_path / "log").write_text(text := "\x1b[31mfailed\x1b[0m \x1b(B $B\n" * 9)
    assert read_text(tmp_path / "log") == text


def test_a_text_in_utf8_but_for_a_byte_is_not_taken_for_another_encoding(tmp_path):
    for sentence in SENTENCES.values():
        content = (sentence * 9).encode()
        (tmp_path / "text").write_bytes(content[:300] + b"\xff" + content[300:])
        with pytest.raises(UserError, match=r"expected UTF-8, but byte \d+ is 0x..; give its `encoding`, or convert"):
            read_text(tmp_path / "text")


def test_a_wrong_encoding_is_refused(tmp_path):
    (tmp_path / "text").write_bytes("größer".encode("latin-1"))
    with pytest.raises(UserError, match=r"expected ascii, but byte 2 is 0xf6; give another `encoding`"):
        list(Files(tmp_path / "text", encoding="ascii").pieces())
    with pytest.raises(UserError, match=r"expected UTF-16, but .*; give another `encoding`"):
        list(Files(tmp_path / "text", encoding="utf-16").pieces())


def test_several_paths_are_read_one_after_the_other(folder, tmp_path):
    (tmp_path / "more").write_text("more")
    source = Files([str(tmp_path / "more"), str(folder)])
    assert "".join(source.pieces()) == "more\n" + TEXT_OF_FOLDER
    digests = [file.digest(None) for file in source._files]
    assert source.sha256() == hashlib.sha256(b"".join(digests)).hexdigest()
    assert source.name == f"{tmp_path}/more, {folder}"


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
    assert tfrnn.load_corpus(str(path), "raw") == "A\r\nbé\n"
    assert tfrnn.load_corpus(str(path)) == "A\nbé\n"
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
