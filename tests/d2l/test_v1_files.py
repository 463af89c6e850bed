"""`download` and `extract` of edition 1.0: files at hand are taken, and others only with the right checksum."""

import hashlib
import os
import zipfile
from pathlib import Path

import pytest
import requests

from tfrnn.d2l import v1 as d2l
from tfrnn.errors import MissingFileError, UserError

CONTENT = b"some text"
SHA1 = hashlib.sha1(CONTENT).hexdigest()
URL = d2l.DATA_URL + "a.txt"


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server whose every file has the same content. Returns the addresses that were asked for."""
    asked = []

    def get(url, timeout):
        asked.append(url)
        response = requests.Response()
        response.status_code, response._content = (404 if "missing" in url else 200), CONTENT
        return response

    monkeypatch.setattr(requests, "get", get)
    monkeypatch.setenv("TFRNN_DATA_DIR", str(tmp_path / "at_hand"))
    (tmp_path / "at_hand").mkdir()
    return asked


def test_a_file_is_downloaded_once(server, tmp_path):
    for _ in range(2):
        path = d2l.download(URL, tmp_path / "data", SHA1)
        assert path == str(tmp_path / "data" / "a.txt")
        assert Path(path).read_bytes() == CONTENT
    assert server == [URL]


def test_a_file_at_hand_is_not_downloaded(server, tmp_path):
    (tmp_path / "at_hand" / "a.txt").write_bytes(CONTENT)
    for sha1_hash in (SHA1, None):
        path = d2l.download(URL, tmp_path / str(sha1_hash), sha1_hash)
        assert Path(path).read_bytes() == CONTENT
    assert server == []


def test_another_checksum_is_refused(server, tmp_path):
    with pytest.raises(UserError, match=rf"a\.txt: expected a file with SHA-1 abc, got {SHA1}"):
        d2l.download(URL, tmp_path / "data", "abc")
    (tmp_path / "at_hand" / "timemachine.txt").write_bytes(CONTENT)
    with pytest.raises(UserError, match=r"at_hand.timemachine.txt: expected a file with SHA-1 abc"):
        d2l.download(d2l.DATA_URL + "timemachine.txt", tmp_path / "data", "abc")
    assert not (tmp_path / "data").exists()


@pytest.mark.skipif("TFRNN_DATA_DIR" not in os.environ, reason="needs the corpora in TFRNN_DATA_DIR")
def test_a_file_that_is_recorded_here_may_have_another_sha1(tmp_path):
    path = d2l.download(d2l.DATA_URL + "timemachine.txt", tmp_path, "0" * 40)
    assert Path(path).read_text()[:16] == "The Time Machine"
    assert d2l.download(d2l.DATA_URL + "timemachine.txt", tmp_path, "0" * 40) == path


def test_what_cannot_be_downloaded_says_what_to_do(server, tmp_path):
    with pytest.raises(MissingFileError, match=r"missing.txt could not be downloaded .*set TFRNN_DATA_DIR to it"):
        d2l.download(d2l.DATA_URL + "missing.txt", tmp_path)


@pytest.mark.parametrize("name", ["words.txt", "pairs/words.txt"])
def test_an_archive_is_unpacked_into_a_folder_of_its_name(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "pairs.zip", "w") as archive:
        archive.writestr(name, "x")
    d2l.extract(tmp_path / "pairs.zip")
    assert (tmp_path / "pairs" / "words.txt").read_text() == "x"
    d2l.extract(str(tmp_path / "pairs.zip"), tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "pairs" / "words.txt").read_text() == "x"


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "a.zip").write_bytes(CONTENT)
    with pytest.raises(UserError, match=r"a.zip: expected a zip archive"):
        d2l.extract(tmp_path / "a.zip")
    with pytest.raises(MissingFileError, match=r"b.zip: expected a zip archive; got no such file; download it first"):
        d2l.extract(tmp_path / "b.zip")
