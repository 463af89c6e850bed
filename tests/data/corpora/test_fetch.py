"""Corpora that are fetched: from a folder, from the cache of TensorFlow Datasets, and from a server or none."""

import functools
import hashlib
import http.server
import importlib
import logging
import os
import socket
import threading
from pathlib import Path

import pytest

import tfrnn
from tfrnn.data import text_rules
from tfrnn.data.corpora import catalogue, fetch
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import MissingFileError, UserError

BUILDERS = {name: corpus.builder for name, corpus in catalogue.CORPORA.items() if corpus.builder}
each_fetched_corpus = pytest.mark.parametrize("name", BUILDERS)


def file_at_hand(name):
    """The file of a corpus in TFRNN_DATA_DIR; skips the test if it does not exist."""
    path = Path(os.environ.get(fetch.DATA_DIR) or ".") / fetch.recorded_file(BUILDERS[name]).file_name
    if not os.environ.get(fetch.DATA_DIR) or not path.exists():
        pytest.skip(f"needs the file of {name} in {fetch.DATA_DIR}")
    return path


def use_proxy(monkeypatch, address):
    """All requests of this process go to the server at this address."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://{}:{}".format(*address))
        monkeypatch.setenv(name.lower(), os.environ[name])
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def unchanged_output(capsys):
    """Fails the test if it prints on stdout or leaves another level of absl's log."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.INFO)
    yield
    level_after = logger.level
    logger.setLevel(level)
    assert level_after == logging.INFO
    assert capsys.readouterr().out == ""


@pytest.fixture
def serve(monkeypatch):
    """Serves a content for every URL, from a server on this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def __init__(self, content, *args):
            self._content = content
            super().__init__(*args)

        def do_GET(self):
            self.send_response(200 if self._content else 404)
            self.send_header("Content-Length", str(len(self._content)))
            self.end_headers()
            self.wfile.write(self._content)

        def log_message(self, *args):
            pass

    servers = []

    def serve(content):
        server = http.server.HTTPServer(("127.0.0.1", 0), functools.partial(Handler, content))
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        use_proxy(monkeypatch, server.server_address)

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("name", "num_characters", "vocab_size", "vocab_size_of_first_10_000", "beginning"),
    [
        ("time_machine", 170_580, 28, 28, "the time machine by h g wellsithe time"),
        ("jay_lyrics", 63_282, 2_583, 1_028, "想要有直升机 想要和你飞到宇宙去"),
        ("tiny_shakespeare", 1_115_394, 66, 58, "First Citizen:\nBefore we proceed"),
    ],
)
def test_facts_of_the_fetched_corpora(name, num_characters, vocab_size, vocab_size_of_first_10_000, beginning):
    file_at_hand(name)
    text = tfrnn.load_corpus(name)
    assert len(text) == num_characters
    assert len(Vocabulary.from_text(text)) == vocab_size
    vocabulary = Vocabulary.from_text(text[:10_000])
    assert len(vocabulary) == vocab_size_of_first_10_000
    assert text.startswith(beginning)
    for prefix in catalogue.CORPORA[name].prefixes:
        vocabulary.encode(prefix)


@each_fetched_corpus
def test_another_file_under_the_recorded_name_is_refused(name, tmp_path, monkeypatch):
    file = fetch.recorded_file(BUILDERS[name])
    (tmp_path / file.file_name).write_bytes(b"something else")
    monkeypatch.setenv(fetch.DATA_DIR, str(tmp_path))
    with pytest.raises(UserError, match=f"{file.sha256}.*{hashlib.sha256(b'something else').hexdigest()}"):
        tfrnn.load_corpus(name)


@pytest.mark.parametrize("name", ["time_machine", "jay_lyrics"])
def test_the_builder_makes_the_text_of_the_file_and_its_copy_comes_after_the_file(name, tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    path = file_at_hand(name)
    module = importlib.import_module(f"{BUILDERS[name]}.{name}_dataset_builder")
    builder = module.Builder(data_dir=tmp_path / "cache")
    config = tfds.download.DownloadConfig(manual_dir=str(path.parent), force_checksums_validation=True)
    builder.download_and_prepare(download_config=config)
    text = fetch.fetch_text(name, BUILDERS[name])
    (example,) = tfds.as_numpy(builder.as_dataset(split="train"))
    assert example["text"].decode() == text
    assert text_rules.clean(text, catalogue.text_rule_of(name)) == tfrnn.load_corpus(name)

    monkeypatch.setenv(fetch.DATA_DIR, "")
    assert fetch.fetch_text(name, BUILDERS[name], tmp_path / "cache") == text
    (tmp_path / path.name).write_bytes(b"another")
    monkeypatch.setenv(fetch.DATA_DIR, str(tmp_path))
    with pytest.raises(UserError, match="SHA-256"):
        fetch.fetch_text(name, BUILDERS[name], tmp_path / "cache")


def test_a_damaged_copy_is_named_with_its_folder(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    path = file_at_hand("time_machine")
    module = importlib.import_module(f"{BUILDERS['time_machine']}.time_machine_dataset_builder")
    builder = module.Builder(data_dir=tmp_path)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=str(path.parent)))
    (copy,) = builder.data_path.glob("*.tfrecord*")
    os.truncate(copy, 100)
    monkeypatch.setenv(fetch.DATA_DIR, "")
    with pytest.raises(UserError, match=f"expected the text in {builder.data_path}, but it cannot be read .*remove"):
        fetch.fetch_text("time_machine", BUILDERS["time_machine"], tmp_path)


@pytest.mark.usefixtures("unchanged_output")
def test_a_download_is_verified_and_cached(tmp_path, monkeypatch, serve):
    content = file_at_hand("time_machine").read_bytes()
    text = fetch.fetch_text("time_machine", BUILDERS["time_machine"])
    monkeypatch.setenv(fetch.DATA_DIR, "")
    serve(content)
    assert fetch.fetch_text("time_machine", BUILDERS["time_machine"], tmp_path) == text
    serve(b"")  # no second download
    assert fetch.fetch_text("time_machine", BUILDERS["time_machine"], tmp_path) == text


@pytest.mark.parametrize(("content", "reason"), [(b"other", "wrong checksum"), (b"", "404")], ids=["other", "none"])
def test_a_download_of_another_content_is_refused(content, reason, tmp_path, monkeypatch, serve):
    monkeypatch.setenv(fetch.DATA_DIR, "")
    serve(content)
    with pytest.raises(MissingFileError, match=rf"could not be downloaded from http.*\(.*{reason}"):
        fetch.fetch_text("time_machine", BUILDERS["time_machine"], tmp_path)


@each_fetched_corpus
@pytest.mark.usefixtures("unchanged_output")
def test_without_a_network_one_line_names_the_ways_out(name, tmp_path, monkeypatch):
    monkeypatch.setenv(fetch.DATA_DIR, str(tmp_path))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # does not listen: connections are refused
        use_proxy(monkeypatch, unused.getsockname())
        with pytest.raises(MissingFileError) as raised:
            fetch.fetch_text(name, BUILDERS[name], tmp_path / "cache")
    file, message = fetch.recorded_file(BUILDERS[name]), str(raised.value)
    expected = [file.url, "(Connection refused)", file.file_name, f"{fetch.DATA_DIR} to it (now {tmp_path}"]
    assert [part for part in [*expected, "`corpus=sample`"] if part not in message] == []
    assert "\n" not in message
    assert isinstance(raised.value, FileNotFoundError)
    assert isinstance(raised.value, ValueError)


def test_a_server_that_does_not_answer_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv(fetch.DATA_DIR, "")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections and sends nothing
        use_proxy(monkeypatch, silent.getsockname())
        with pytest.raises(MissingFileError, match="timed out"):
            fetch.fetch_text("time_machine", BUILDERS["time_machine"], tmp_path, answer_seconds=0.2)


def test_the_time_limits_of_a_download_are_short():
    # A host has up to 4 addresses (raw.githubusercontent.com) that are tried one after the other.
    assert 4 * fetch.CONNECT_SECONDS + fetch.ANSWER_SECONDS < 30
