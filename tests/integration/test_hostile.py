"""Any bytes, any text, any run directory: it works, or it is a UserError.

`python -m pytest --hypothesis-profile=long` tries 1,000 examples of each, 10,000 and more together.
"""

import contextlib
import io
import itertools
import json
import os
import re
import shutil
import sys
import tracemalloc
from unittest import mock

import numpy as np
import numpy_trainer
import pytest
from entry_points import SMALL, run
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import put_together

import tfrnn
from tfrnn import sample, train
from tfrnn.config import sizes
from tfrnn.config.config import Config
from tfrnn.data import run_text as text_lib
from tfrnn.data import text_rules
from tfrnn.data.corpora import catalogue
from tfrnn.data.corpora.files import read_text
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import MissingFileError, UserError
from tfrnn.models.loading import load_run
from tfrnn.runs.run_dir import RunDir
from tfrnn.runtime import host
from tfrnn.series import reading

# Letters, all line ends, combining marks, right-to-left text, what is special in JSON and terminals, and all the rest.
TEXTS = st.text(
    st.one_of(
        st.characters(codec="utf-8"), st.sampled_from('ab \n\r\t\0\x0b\x0c\x1c\x85\u2028\u0301\u202e\u05d0\ufeff"\\')
    )
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
KINDS = st.sampled_from(sorted(text_rules.NOUNS))
COUNTED = st.sampled_from(sorted(text_rules.COUNTED))


# Texts


@given(text=TEXTS, tokens=KINDS)
def test_a_decoded_text_is_the_encoded_text(text, tokens):
    vocabulary = Vocabulary.from_text(text, tokens)
    decoded = vocabulary.decode(vocabulary.encode(text))
    assert (
        decoded == ({"char": text, "bpe": text, "word": put_together(text), "spaced": " ".join(text.split())}[tokens])
    )
    counts = np.bincount(vocabulary.encode(text), minlength=len(vocabulary))[1:]
    assert (np.diff(counts) <= 0).all() or tokens == "bpe"  # by falling frequency
    assert Vocabulary.from_json(vocabulary.to_json(), tokens).id_to_token == vocabulary.id_to_token


@given(text=TEXTS, other=TEXTS, tokens=KINDS)
def test_unknown_tokens_are_an_error_or_skipped_or_unk(text, other, tokens):
    vocabulary = Vocabulary.from_text(text, tokens)
    known = [token in vocabulary.id_to_token for token in vocabulary.split(other)]
    as_unknown = vocabulary.encode(other, "unk")
    assert len(as_unknown) == len(known)
    assert vocabulary.encode(other, "skip").tolist() == as_unknown[np.array(known, bool)].tolist()
    assert set(vocabulary.unknown(other)).isdisjoint(vocabulary.id_to_token)
    with contextlib.nullcontext() if all(known) else pytest.raises(UserError, match="unknown"):
        assert vocabulary.encode(other).tolist() == as_unknown.tolist()


@given(data=JSON | TEXTS, tokens=KINDS)
def test_any_json_is_a_vocabulary_or_an_error(data, tokens):
    for text in (json.dumps(data), json.dumps(["<unk>", data]), str(data)):
        try:
            vocabulary = Vocabulary.from_json(text, tokens)
        except UserError:
            continue
        assert Vocabulary.from_json(vocabulary.to_json(), tokens).id_to_token == json.loads(text)
        vocabulary.to_json().encode()


@given(text=TEXTS, tokens=KINDS)
def test_a_text_rule_applied_twice_is_the_rule_applied_once(text, tokens):
    for rule in text_rules.TEXT_RULES:
        cleaned = text_rules.clean(text, rule, tokens)
        assert text_rules.clean(cleaned, rule, tokens) == cleaned
        assert re.fullmatch(
            {"book": "[a-z ]*", "lines": "[a-z ]*", "spaces": r"[^\r\n]*", "plain": r"[^\r]*", "raw": "(?s:.*)"}[rule],
            cleaned,
        )
        assert text_rules.join(text_rules.split(cleaned, tokens), tokens).split() == cleaned.split()


@given(prefixes=st.lists(TEXTS, max_size=3), tokens=KINDS)
def test_a_prefix_is_cleaned_or_an_error(prefixes, tokens):
    for rule in text_rules.TEXT_RULES:
        try:
            cleaned = text_rules.clean_prefixes(prefixes, rule, tokens)
        except UserError as error:
            assert "`prefix`" in str(error)  # noqa: PT017
        else:
            assert all(cleaned)


@given(
    content=st.binary() | TEXTS.map(str.encode) | st.binary().map(lambda data: b"PK\3\4" + data + b"PK\5\6" + bytes(18))
)
def test_any_bytes_are_a_text_or_an_error(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(content)
    try:
        text = read_text(path)
    except UserError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert text.encode() == content.removeprefix(b"\xef\xbb\xbf") or content.startswith(b"PK")


@given(content=st.binary() | st.lists(st.floats() | TEXTS).map(lambda rows: "\n".join(["x", *map(str, rows)]).encode()))
def test_any_bytes_are_a_column_or_an_error(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    with contextlib.suppress(UserError):
        assert np.isfinite(reading.read_column(path)).all()


FIELDS = st.one_of(
    st.sampled_from(
        ["", "NA", "1", "1.5", "1,5", "1.234,5", "2024-01-01", "2024-01-03", "31.01.2024", "d1", "2024Q1", ";"]
    ),
    st.dates().map(str),
    st.floats().map(str),
    TEXTS,
)


@given(
    rows=st.lists(st.lists(FIELDS, max_size=3), max_size=6),
    separator=st.sampled_from([",", ";", "\t"]),
    fill=st.sampled_from(["none", "linear", "previous", "zero", "skip"]),
)
def test_any_fields_are_a_series_without_gaps_or_an_error(rows, separator, fill, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "fields.csv"
    path.write_text("\n".join(map(separator.join, [["date", "v"], *rows])), encoding="utf-8", newline="")
    with contextlib.suppress(UserError):
        found = reading.read_series(path, ["v"], fill=fill)
        assert np.isfinite(found.values).all()
        assert found.calendar is None or len(found.calendar.after(3)) == 3


@pytest.mark.slow
@settings(max_examples=settings().max_examples // 5)  # each traces a pipeline
@given(
    num_tokens=st.integers(0, 80),
    batch_size=st.integers(1, 5),
    num_steps=st.integers(1, 9),
    seed=st.integers(0, 2**31 - 1),
    random_offset=st.booleans(),
    sequential=st.booleans(),
    epoch=st.integers(0, 10**6),
)
def test_batches_of_any_size_predict_each_token_once_at_most(
    num_tokens, batch_size, num_steps, seed, random_offset, sequential, epoch
):
    kind = tfrnn.sequential_batches if sequential else tfrnn.random_batches
    try:
        batches = kind(np.arange(num_tokens, dtype=np.int32), batch_size, num_steps, seed, random_offset)
    except UserError as error:
        assert "text too short" in str(error)  # noqa: PT017
        return
    found = list(batches.epoch(epoch).as_numpy_iterator())
    assert len(found) == batches.num_batches(epoch) >= 1
    for batch in found:
        assert batch.inputs.shape == batch.targets.shape == (num_steps, batch_size)
        assert (batch.targets == batch.inputs + 1).all()
        assert (np.diff(batch.inputs, axis=0) == 1).all()
    targets = np.concatenate([batch.targets.ravel() for batch in found])
    assert len(set(targets)) == len(targets)
    assert targets.max() < num_tokens
    if sequential:
        assert all((b.inputs[0] == a.targets[-1]).all() and not b.reset.any() for a, b in itertools.pairwise(found))
    last = next(batches.from_position(epoch, len(found) - 1).as_numpy_iterator())
    assert (last.inputs == found[-1].inputs).all()


# Flags


@given(
    arguments=st.lists(
        st.one_of(TEXTS, st.sampled_from(["--units", "--prefix=", "--nope", "--", "-h", "--seed=1"])), max_size=4
    )
)
def test_any_arguments_are_settings_or_an_error(arguments):
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            (config, *_), _, run_dir = train.parse_flags(["train", *arguments])
        except UserError as error:
            assert str(error)  # noqa: PT017
        except SystemExit as end:
            assert end.code == 0  # noqa: PT017 (--help)
        else:
            assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
            assert isinstance(run_dir, str)


# Run directories


@pytest.fixture(scope="session")
def trained(small_run):
    return small_run


def read_all(path):
    """Reads all of a run that is read before its model is built."""
    run_dir = RunDir(path)
    config = run_dir.config()
    vocabulary = run_dir.vocabulary(config.data.tokens)
    assert all(np.isfinite(row["perplexity"]) for row in run_dir.metrics.rows())
    weights = run_dir.load_weights(config, vocabulary, "best")
    assert [array.shape for array in weights] == sizes.weight_shapes(config.model, len(vocabulary))


@given(data=st.data())
def test_a_run_directory_with_any_damage_is_read_or_an_error(data, trained, tmp_path_factory):
    """Some bytes of up to three files are replaced, removed or added."""
    path = tmp_path_factory.getbasetemp() / "damaged_run"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(trained, path)
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.suffix != ".png")
    for file in data.draw(st.lists(st.sampled_from(files), min_size=1, max_size=3, unique=True)):
        content = file.read_bytes()
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, len(content)) | st.just(len(content)))
        file.write_bytes(content[:start] + data.draw(st.binary(max_size=30)) + content[end:])
    with contextlib.suppress(UserError, tfrnn.errors.RunWarning):
        read_all(path)


@given(data=st.data(), value=JSON)
def test_a_config_with_any_value_is_read_or_an_error(data, value, trained, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "configured_run"
    if not path.exists():
        shutil.copytree(trained, path)
    config = json.loads((trained / "config.json").read_text())
    section = data.draw(st.sampled_from(sorted(config)))
    config[section][data.draw(st.sampled_from(sorted(config[section])) | st.text(max_size=5))] = value
    (path / "config.json").write_text(json.dumps(config))
    with contextlib.suppress(UserError):
        read_all(path)


@given(lines=st.lists(JSON.map(json.dumps) | TEXTS, max_size=5))
def test_any_lines_of_metrics_are_rows_or_left_out(lines, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "with_metrics"
    path.mkdir(exist_ok=True)
    (path / "metrics.jsonl").write_bytes("\n".join(lines).encode())
    rows = RunDir(path).metrics.rows()
    assert all(row["epoch"] >= 1 and row["perplexity"] >= 0 for row in rows)


def test_a_model_too_large_for_the_machine_is_refused_before_memory_is_taken(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["model"].update(units=2**14, num_layers=64, cell="lstm")  # 550 GB
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    tracemalloc.start()
    with pytest.raises(UserError, match="GB, and this machine has"):
        load_run(tmp_path / "run")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**7
    with mock.patch.object(host, "memory_bytes", return_value=10**9):
        status, _, err = run(train.main, "--units=8000", f"--run_dir={tmp_path}/new")
    assert (status, "GB, and this machine has 1.0 GB; choose smaller values" in err) == (2, True)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("embedding_dim", [0, 16])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize(
    ("cell", "implementation"), [(c, i) for c in ("rnn", "gru", "lstm") for i in ("scratch", "keras")]
)
def test_the_shapes_of_a_config_are_those_of_its_model(cell, implementation, num_layers, embedding_dim):
    from tfrnn.models.building import build_language_model

    for tied in {False, embedding_dim == 16}:
        config = Config().replace(
            cell=cell, implementation=implementation, num_layers=num_layers, embedding_dim=embedding_dim,
            tie_weights=tied, units=16,
        ).model  # fmt: skip
        model = build_language_model(config, 7)
        model.build()
        assert sizes.weight_shapes(config, 7) == [tuple(weight.shape) for weight in model.weights]


RUN_FILES = ["metrics.jsonl", "perplexity.png", "vocabulary.json"]


@pytest.mark.parametrize("name", [*RUN_FILES, *(f"{name}.new" for name in [*RUN_FILES, "config.json"])])
@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_a_run_writes_through_no_link(name, link, tmp_path):
    """A link to another file in the place of one of a run's files: the other file stays as it is."""
    victim, run_dir = tmp_path / "victim", tmp_path / "run"
    victim.write_text("all my work")
    numpy_trainer.train(run_dir)
    (run_dir / name).unlink(missing_ok=True)
    link(victim, run_dir / name)
    numpy_trainer.command(run_dir, epochs=3)
    assert victim.read_text() == "all my work"


@pytest.mark.slow
def test_a_real_run_writes_through_no_link(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "victim").write_text("all my work")
    (tmp_path / "run" / "metrics.jsonl").unlink()
    os.link(tmp_path / "victim", tmp_path / "run" / "metrics.jsonl")
    assert run(train.main, *SMALL, "--epochs=4", f"--run_dir={tmp_path}/run")[0] == 0
    assert (tmp_path / "victim").read_text() == "all my work"


# Whole texts through the commands


STRANGE = {
    "line ends": "one\rtwo\r\nthree\u2028four\x85five\x0bsix\x0cseven\x1c" * 60,
    "right to left": "שלום עולם مرحبا \u202e abc \u200f" * 60,
    "combining": "e" + "\u0301\u0302\u0327" * 900,
    "emoji": "👩\u200d👩\u200d👧\u200d👦🏳️\u200d🌈 " * 200,
    "one character": "a" * 3000,
    "format": "%s {0} $x_{$ \\ \" ' <unk> \x1b[31m red \x07" * 80,
    "one long word": "abcdefghij" * 300,
}


TEXTS_AND_TOKENS = [*((name, "char") for name in STRANGE), ("format", "word")]


def strange_text(name, folder):
    path = folder / "a text.txt"
    path.write_bytes(STRANGE[name].encode())
    return path


@pytest.mark.parametrize(("name", "tokens"), TEXTS_AND_TOKENS)
def test_a_strange_text_makes_a_run_or_is_refused(name, tokens, tmp_path):
    """All of a run but its model: the text, its batches, the vocabulary and the prefixes on disk, and the messages."""
    config = numpy_trainer.CONFIG.replace(
        corpus=str(strange_text(name, tmp_path)), batch_size=2, num_steps=4, tokens=tokens, validation_tokens=20,
        max_tokens=50, prefix=(),
    )  # fmt: skip
    try:
        text = text_lib.read(config)
        batches, _ = train.make_batches(config, text)
    except UserError as error:
        assert "text too short" in str(error)  # noqa: PT017
        return
    assert batches.num_batches(0) >= 1
    settings = {"corpus": config.data.corpus, "tokens": tokens, "prefix": text.prefixes, "text_rule": text.rule}
    status, out, _ = numpy_trainer.command(tmp_path / "run", text=text, **settings)
    assert status == 0
    assert out.startswith("perplexity ")
    with RunDir(tmp_path / "run") as run_dir:
        assert run_dir.vocabulary(tokens).id_to_token == text.vocabulary.id_to_token
        assert run_dir.config().run.prefix == text.prefixes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tokens"),
    [pytest.param(*case, marks=() if case == ("emoji", "char") else pytest.mark.slow) for case in TEXTS_AND_TOKENS],
)
def test_a_strange_text_is_trained_on_and_sampled_or_refused(name, tokens, tmp_path):
    path = strange_text(name, tmp_path)
    flags = [*SMALL, "--epochs=1", "--batch_size=2", "--num_steps=4", f"--tokens={tokens}", "--validation_tokens=20"]
    status, out, err = run(train.main, *flags, f"--corpus={path}", "--max_tokens=50", f"--run_dir={tmp_path}/run")
    assert status == 0 or (status == 2 and "text too short" in err), err
    if status == 0:
        assert out.startswith("perplexity ")
        assert run(sample.main, f"--run_dir={tmp_path}/run")[0] == 0


@pytest.fixture
def every_character(tmp_path):
    """A text of all 1,112,063 characters."""
    characters = [c for c in map(chr, range(1, sys.maxunicode + 1)) if not "\ud800" <= c <= "\udfff"]
    (tmp_path / "all").write_bytes("".join(characters).encode())
    return tmp_path / "all"


@pytest.mark.slow
def test_a_vocabulary_of_every_character_and_many_units_is_refused_for_its_memory(every_character, tmp_path):
    with mock.patch.object(host, "memory_bytes", return_value=8 * 10**9):
        status, _, err = run(train.main, f"--corpus={every_character}", "--text_rule=raw", f"--run_dir={tmp_path}/run")
    assert (status, "and 1,112,064 different tokens needs" in err) == (2, True)


@pytest.mark.slow
def test_a_vocabulary_of_every_character_and_few_units_is_read(every_character):
    text = text_lib.read(Config().replace(corpus=str(every_character), text_rule="raw", units=4, max_tokens=0))
    assert len(text.vocabulary) == 1_112_064
    assert text.training[:100].tolist() == list(range(1, 101))


@pytest.mark.slow
def test_a_hundred_megabytes_on_one_line(tmp_path):
    text = tmp_path / "long"
    text.write_bytes((b"the well digger and the quick brown fox had a word " * 2_000_000)[:100_000_000])
    for more in ([], ["--text_rule=book"], ["--tokens=word"]):
        status, out, err = run(train.main, *SMALL, *more, f"--corpus={text}", f"--run_dir={tmp_path}/{len(more)}{more}")
        assert status == 0, err
        assert out.startswith("perplexity ")
    with pytest.raises(MissingFileError):
        catalogue.load_corpus(str(text) + "er")
