"""The cache of surveys and token ids, and the memory that a large text takes."""

import contextlib
import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from texts import STORY, UnreadableSource

from tfrnn.data.corpora import catalogue, passes
from tfrnn.data.corpora.cache import Cache, default_cache_dir
from tfrnn.data.corpora.files import Files
from tfrnn.data.corpora.sources import InMemory
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import UserError
from tfrnn.runtime import durable

SHA256 = "5a" * 32  # stands for that of a source


def fill(folder, source, sha256=SHA256, rule="raw", tokens="char"):
    """The survey and the ids of a text, from the cache or by reading the text."""
    cache = Cache(folder)
    survey = cache.survey(source, sha256, rule, tokens)
    vocabulary = Vocabulary.from_counts(survey.counts, tokens)
    return survey, cache.ids(source, sha256, rule, vocabulary, survey.num_tokens)


def names_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("tokens", ["char", "word"])
def test_a_cached_text_is_not_read_again(tokens, tmp_path):
    survey, ids = fill(tmp_path / "a" / "b", InMemory("story", STORY), tokens=tokens)
    assert survey == passes.survey(InMemory("story", STORY), "raw", tokens)
    assert np.asarray(ids).tolist() == Vocabulary.from_text(STORY, tokens).encode(STORY).tolist()
    cached_survey, cached_ids = fill(tmp_path / "a" / "b", UnreadableSource(), tokens=tokens)
    assert cached_survey == survey
    assert list(cached_survey.counts) == list(survey.counts)
    assert np.asarray(cached_ids).tolist() == np.asarray(ids).tolist()


@pytest.mark.parametrize(("tokens", "name_of_kind"), [("char", "char"), ("spaced", "word")])
def test_the_names_of_the_files_are_those_of_version_1(tokens, name_of_kind, tmp_path):
    survey, _ = fill(tmp_path, InMemory("story", STORY), tokens=tokens)
    vocabulary = Vocabulary.from_counts(survey.counts, tokens).to_json()
    name = f"ids-{hashlib.sha256(vocabulary.encode()).hexdigest()[:16]}-{survey.num_tokens}.bin"
    folder = f"{SHA256}-raw-{name_of_kind}-1"
    assert names_in(tmp_path) == [f"{folder}/{name}", f"{folder}/survey.json"]


@pytest.mark.parametrize(
    "other", [{"sha256": "5b" * 32}, {"rule": "lines"}, {"tokens": "word"}, {"tokens": "spaced"}], ids=str
)
def test_another_text_rule_or_kind_of_tokens_has_its_own_files(other, tmp_path):
    fill(tmp_path, InMemory("story", STORY))
    with pytest.raises(AssertionError, match="must not be read"):
        fill(tmp_path, UnreadableSource(), **other)


def replace_in_json(**changes):
    return lambda data: json.dumps({**json.loads(data), **changes}).encode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-5],
        lambda data: b"",
        lambda data: b"[]",
        lambda data: b"{}",
        lambda data: data.replace(b'"num_tokens": ', b'"num_tokens": 1'),
        lambda data: data.replace(b'"sha256": "', b'"sha256": "00'),
        replace_in_json(counts={"a": "b"}),
        replace_in_json(beginning=1),
        replace_in_json(encoding=None),
        replace_in_json(num_texts="1"),
        lambda data: json.dumps({k: v for k, v in json.loads(data).items() if k != "num_left_out"}).encode(),
        replace_in_json(counts=None),
        lambda data: b"[" * 100_000,
        lambda data: b"\xff",
    ],
    ids=[
        *["truncated", "empty", "list", "no_fields", "other_number", "long_sha256", "counts_of_strings"],
        *[
            "beginning_of_number",
            "no_encoding",
            "number_of_string",
            "of_version_0_1",
            "no_counts",
            "deeply_nested",
            "not_utf8",
        ],
    ],
)
def test_a_damaged_survey_is_rebuilt(damage, tmp_path):
    source = InMemory("story", STORY)
    survey, _ = fill(tmp_path, source)
    (file,) = tmp_path.rglob("survey.json")
    intact = file.read_bytes()
    file.write_bytes(damage(intact))
    assert fill(tmp_path, source)[0] == survey
    assert file.read_bytes() == intact


def test_truncated_ids_are_rebuilt(tmp_path):
    source = InMemory("story", STORY)
    _, ids = fill(tmp_path, source)
    expected = np.asarray(ids).tolist()
    os.truncate(ids.path, 50)
    _, ids = fill(tmp_path, source)
    assert np.asarray(ids).tolist() == expected


def test_a_text_with_fewer_tokens_is_refused(tmp_path):
    with pytest.raises(UserError, match="expected 4 tokens, got fewer"):
        Cache(tmp_path).ids(InMemory("story", "abc"), "0" * 64, "raw", Vocabulary.from_text("abc"), 4)


def test_a_full_disk_leaves_no_new_file(tmp_path, monkeypatch):
    def fail(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    source = InMemory("story", STORY)
    message = (
        f"`cache_dir={tmp_path}`: expected a folder that can be written, but No space left on device; name another"
    )
    with monkeypatch.context() as patch:
        patch.setattr(durable, "flush", fail)
        with pytest.raises(UserError) as raised:
            fill(tmp_path, source)
    assert str(raised.value) == message
    assert names_in(tmp_path) == []
    fill(tmp_path, source)
    before = names_in(tmp_path)
    monkeypatch.setattr(durable, "flush", fail)
    with pytest.raises(UserError, match="No space left"):
        Cache(tmp_path).ids(source, SHA256, "raw", Vocabulary.from_text(STORY), 7)
    assert names_in(tmp_path) == before


def test_a_write_that_the_system_refuses_leaves_no_file(tmp_path):
    """The operating system's own error, in a process that may not write files of more than 1,000 bytes."""
    code = (
        "import resource, sys\nfrom tfrnn.data.corpora.cache import Cache\n"
        "from tfrnn.data.corpora.sources import InMemory\n"
        "from tfrnn.data.vocabulary import Vocabulary\nresource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "source, vocabulary = InMemory('a', 'a' * 5000), Vocabulary.from_text('a')\n"
        "try:\n    Cache(sys.argv[1]).ids(source, '0' * 64, 'raw', vocabulary, 5000)\n"
        "except ValueError as error:\n    print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True).stdout
    folder = f"`cache_dir={tmp_path}`"
    assert out == f"{folder}: expected a folder that can be written, but File too large; name another\n"
    assert names_in(tmp_path) == []


def test_a_fault_of_the_text_is_not_reported_as_one_of_the_cache(tmp_path):
    (tmp_path / "text").write_bytes(b"so it goes \xff")
    source = Files(tmp_path / "text")
    with pytest.raises(UserError, match="byte 11 is 0xff"):
        fill(tmp_path / "cache", source)
    (tmp_path / "text").unlink()
    with pytest.raises(UserError, match="text: expected a text file, but it cannot be read"):
        fill(tmp_path / "cache", source)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("below", ["", "below"])
def test_a_cache_folder_that_is_a_file_is_refused_before_the_text_is_read(below, tmp_path):
    (tmp_path / "file").write_text("mine")
    folder = tmp_path / "file" / below
    with pytest.raises(UserError, match=f"`cache_dir={folder}`: expected a folder.*; name another"):
        fill(folder, UnreadableSource())
    assert (tmp_path / "file").read_text() == "mine"


def test_the_default_cache_folder_is_among_the_users_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "tfrnn"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path("/home/me/.cache/tfrnn")


def test_abandoned_files_are_removed_and_those_in_writing_are_kept(tmp_path):
    fill(tmp_path, InMemory("story", STORY))
    (folder,) = tmp_path.iterdir()
    for path in folder.iterdir():
        path.unlink()
    in_writing, abandoned = folder / f"survey.json.1{durable.PARTIAL}", folder / f"ids-x.bin.1{durable.PARTIAL}"
    for path in (in_writing, abandoned):
        path.write_text("a part")
    os.utime(abandoned, (0, 0))
    fill(tmp_path, InMemory("story", STORY))
    assert in_writing.read_text() == "a part"
    assert not abandoned.exists()
    assert len(list(folder.iterdir())) == 3


FILL = """
import sys
from tfrnn.data.corpora.cache import Cache
from tfrnn.data.corpora.files import Files
from tfrnn.data.vocabulary import Vocabulary

def fill(folder, path, rule="raw"):
    source, cache = Files(path), Cache(folder)
    sha256 = source.sha256()
    survey = cache.survey(source, sha256, rule)
    vocabulary = Vocabulary.from_counts(survey.counts)
    return cache.ids(source, sha256, rule, vocabulary, survey.num_tokens)
"""


def test_two_processes_fill_the_cache_at_the_same_time(tmp_path):
    text = STORY * 5_000
    (tmp_path / "text").write_bytes(text.encode())
    code = f"{FILL}\nsys.stdin.read(1)\nfill(*sys.argv[1:])"
    command = [sys.executable, "-c", code, tmp_path / "cache", tmp_path / "text"]
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE)) for _ in range(2)]
        for process in processes:
            process.stdin.write(b".")
            process.stdin.close()
        for process in processes:
            process.wait()
    assert [process.returncode for process in processes] == [0, 0]
    files = names_in(tmp_path / "cache")
    assert len(files) == 2
    assert not [name for name in files if name.endswith(durable.PARTIAL)]
    _, ids = fill(tmp_path / "cache", UnreadableSource(), Files(tmp_path / "text").sha256())
    np.testing.assert_array_equal(np.asarray(ids), Vocabulary.from_text(text).encode(text))


@pytest.mark.parametrize(
    ("rule", "text_megabytes", "memory_megabytes"),
    [("raw", 30, 25), *(pytest.param(rule, 200, 100, marks=pytest.mark.slow) for rule in ("raw", "book"))],
)
def test_a_text_may_be_larger_than_memory(rule, text_megabytes, memory_megabytes, tmp_path):
    """A process that may allocate less memory than the text has bytes reads it and stores its ids."""
    block = ((Path(catalogue.__file__).parent / "sample.txt").read_text() + STORY) * 40
    num_blocks = text_megabytes * 10**6 // len(block.encode()) + 1
    with (tmp_path / "text").open("wb") as file:
        for _ in range(num_blocks):
            file.write(block.encode())
    code = f"""{FILL}
import resource
from pathlib import Path
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + {memory_megabytes} * 10**6,) * 2)
print(len(fill(*sys.argv[1:])), "tensorflow" in sys.modules)
try:
    bytearray({text_megabytes} * 10**6)
except MemoryError:
    print("the limit holds")
"""
    command = [sys.executable, "-c", code, tmp_path / "cache", tmp_path / "text", rule]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    num_tokens = passes.survey(InMemory("block", block), rule).num_tokens * num_blocks
    assert done.stdout == f"{num_tokens} False\nthe limit holds\n"
