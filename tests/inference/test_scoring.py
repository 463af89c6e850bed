"""Scoring a text, and the command that does it."""

import itertools
import json
import math
import re
import shutil
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized
from entry_points import SMALL, run

import tfrnn
from tfrnn import evaluate, train
from tfrnn.errors import UserError
from tfrnn.inference import scoring
from tfrnn.runtime import execution

VOCABULARY = tfrnn.Vocabulary.from_text("abcde ")
IDS = np.random.default_rng(0).integers(0, len(VOCABULARY), 75).astype(np.int32)


def model_of(cell, layers=1, **kwargs):
    keras.utils.set_random_seed(1)
    cells = [cell(12, kernel_initializer="orthogonal", recurrent_initializer="orthogonal") for _ in range(layers)]
    return tfrnn.LanguageModel(tfrnn.RNN(cells), len(VOCABULARY), **kwargs)


class TracingTest(tf.test.TestCase):
    def test_a_trace_for_each_model_is_not_warned_of(self):
        function = execution.tf_function()(lambda tensor: tensor + 1)
        with self.assertNoLogs(tf.get_logger()):
            for size in range(8):  # where tf.function warns twice
                function(tf.zeros([size]))
        self.assertEqual(function.experimental_get_tracing_count(), 8)


def token_by_token(model, ids):
    """The surprisals in nats, by one call a token and numpy's logarithm."""
    state, nats = model.initial_state(1), []
    for now, following in itertools.pairwise(ids):
        logits, state = model(np.array([[now]], np.int32), state)
        logits = logits.numpy()[0, 0].astype("d")
        nats.append(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[following])
    return np.array(nats)


class ScoreTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(
        cell=[tfrnn.RNNCell, tfrnn.GRUCell, tfrnn.LSTMCell, keras.layers.GRUCell, keras.layers.LSTMCell],
        longest=[4096, 32, 7],
    )
    def test_is_what_is_computed_token_by_token(self, cell, longest):
        model = model_of(cell, layers=2, embedding_dim=5)
        with mock.patch.multiple(scoring, _LONGEST_CALL=longest, _SHORTEST_CALL=1):
            scored = tfrnn.score(model, IDS)
        expected = token_by_token(model, IDS)
        self.assertAllClose(scored.nats, expected, 1e-5, 1e-5)
        self.assertLen(scored.nats, len(IDS) - 1)
        self.assertAllClose(scored.loss, expected.mean(), 1e-5)
        self.assertAllClose(scored.perplexity, np.exp(expected.mean()), 1e-5)
        self.assertAllClose(scored.bits_per_char, expected.mean() / math.log(2), 1e-5)

    def test_the_likeliest_are_given_with_their_probabilities(self):
        model = model_of(tfrnn.GRUCell)
        scored = tfrnn.score(model, IDS)
        logits, _ = model(IDS[:-1, None])
        probabilities = tf.nn.softmax(logits[:, 0]).numpy()
        self.assertAllEqual(scored.likeliest, np.argsort(-probabilities, 1)[:, :3])
        self.assertAllClose(scored.probabilities, -np.sort(-probabilities, 1)[:, :3])

    def test_trainer_evaluates_a_whole_text(self):
        model = model_of(tfrnn.LSTMCell)
        trainer = tfrnn.Trainer(model, keras.optimizers.SGD(1.0))
        found, nats = trainer.evaluate(IDS), token_by_token(model, IDS)
        self.assertAllClose(found["loss"], nats.mean(), 1e-5)
        self.assertAllClose(found["perplexity"], np.exp(nats.mean()), 1e-5)
        self.assertAllClose(found["bits_per_char"], nats.mean() / np.log(2), 1e-5)
        in_one_row = tfrnn.sequential_batches(IDS, 1, len(IDS) - 1, random_offset=False)
        self.assertAllClose(found, trainer.evaluate(in_one_row), 1e-5)

    @parameterized.parameters(([],), ([3],), ([[1, 2]],))
    def test_there_must_be_something_to_predict(self, ids):
        with self.assertRaisesRegex(UserError, "two tokens at least"):
            tfrnn.score(model_of(tfrnn.RNNCell), np.array(ids, np.int32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    story = tfrnn.load_corpus("sample", "lines")[:4000]
    (folder / "story.txt").write_text(story)
    flags = [*SMALL, f"--corpus={folder}/story.txt"]
    for name, more in (("run", []), ("words", ["--tokens=word"])):
        status, _, err = run(train.main, *flags, *more, f"--run_dir={folder}/{name}")
        assert status == 0, err
    (folder / "odd.txt").write_text(story[:300] + "Ünd\n§" + story[300:500])
    (folder / "alien.txt").write_text("Ü§ÄÖ" * 9)
    (folder / "one.txt").write_text("a")
    return folder


LAST = re.compile(r"perplexity (\d+\.\d{4}), (\d+\.\d{4}) bits/(\w+) over (\d+) (\w+)s")


def evaluated(folder, *flags, name="run"):
    status, out, err = run(evaluate.main, f"--run_dir={folder}/{name}", *flags)
    assert status == 0, err
    found = LAST.fullmatch(out.splitlines()[-1])
    assert found, out
    perplexity, bits, unit, number, noun = found.groups()
    assert float(perplexity) == pytest.approx(2 ** float(bits), rel=1e-3)
    return float(perplexity), unit, int(number), noun, out, err


def test_the_last_line_is_that_of_a_recomputation_of_the_whole_text(folder):
    model, vocabulary, _ = tfrnn.load_run(folder / "run")
    text = (folder / "story.txt").read_text()
    expected = np.exp(token_by_token(model, vocabulary.encode(text)).mean())
    perplexity, unit, number, noun, _, err = evaluated(folder, f"--text_file={folder}/story.txt")
    assert (unit, number, noun) == ("char", len(text) - 1, "character")
    assert [line.partition(":")[0] for line in err.splitlines()] == [
        "to see where it was surprised",
        "to use the model elsewhere",
    ]
    assert perplexity == pytest.approx(expected, rel=1e-5, abs=5e-5)
    assert evaluated(folder, f"--corpus={folder}/story.txt")[0] == perplexity


def test_without_a_text_it_is_what_the_run_held_out(folder):
    model, vocabulary, _ = tfrnn.load_run(folder / "run")
    text = (folder / "story.txt").read_text()
    for part, its_text in (
        ("auto", text[600:800]),
        ("held_out", text[600:800]),
        ("training", text[:600]),
        ("all", text),
    ):
        perplexity, _, number, *_ = evaluated(folder, f"--part={part}")
        assert number == len(its_text) - 1
        assert perplexity == pytest.approx(tfrnn.score(model, vocabulary.encode(its_text)).perplexity, abs=1e-4)


def test_unknown_characters_are_counted_and_told(folder):
    perplexity, _, number, _, _, err = evaluated(folder, f"--text_file={folder}/odd.txt")
    text = (folder / "odd.txt").read_text()
    model, vocabulary, _ = tfrnn.load_run(folder / "run")
    scored, unknown = tfrnn.score(model, vocabulary.encode(text, "unk")), vocabulary.encode(text, "unk")[1:] == 0
    assert number == len(text) - 1
    assert perplexity == pytest.approx(scored.perplexity, abs=1e-4)
    without = math.exp(scored.nats[~unknown].mean())
    assert f"3 of the {number} predicted characters" in err
    assert float(re.search(r"alone: perplexity (\S+)", err)[1]) == pytest.approx(without, abs=1e-4)


def test_a_model_of_words_is_measured_by_words(folder):
    _, unit, number, noun, *_ = evaluated(folder, f"--text_file={folder}/odd.txt", name="words")
    assert (unit, number, noun) == ("word", len((folder / "odd.txt").read_text().split()) - 1, "word")


def test_each_character_has_its_line(folder, tmp_path):
    file = tmp_path / "scores.jsonl"
    perplexity, *_ = evaluated(folder, f"--text_file={folder}/odd.txt", f"--json_lines={file}")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    text = (folder / "odd.txt").read_text()
    assert "".join(row["token"] for row in rows) == text[1:]
    assert [row["position"] for row in rows] == list(range(1, len(text)))
    assert 2 ** np.mean([row["bits"] for row in rows]) == pytest.approx(perplexity, rel=1e-4)
    assert {row["token"] for row in rows if row["unknown"]} == {"Ü", "\n", "§"}
    assert all(len(row["likeliest"]) == 3 and row["likeliest"][0][1] >= row["likeliest"][2][1] for row in rows)


def test_what_was_learnt_by_heart_is_reported_before_the_last_line(folder):
    *_, out, _ = evaluated(folder, "--memorised", "--length=200", "--temperature=0.5")
    lines = out.splitlines()
    assert "training text (600 characters), of 200 characters generated and 200 characters held out" in lines[0]
    assert lines[1].split() == ["n", *map(str, range(5, 51, 5))]
    assert [line.split()[0] for line in lines[2:4]] == ["generated", "held"]
    assert all(line.startswith("longest passage") for line in lines[4:6])
    assert evaluated(folder, "--memorised", "--length=200", "--temperature=0.5")[4] == out
    assert evaluated(folder, "--memorised", "--length=200", "--seed=1")[4] != out


def test_the_page_is_written(folder, tmp_path):
    page = tmp_path / "page.html"
    *_, out, _ = evaluated(folder, f"--text_file={folder}/odd.txt", f"--heatmap={page}", "--heatmap_tokens=50")
    written = page.read_text()
    assert out.strip() in written
    assert written.count('title="') == 49
    assert "the first 50 of" in written


@pytest.mark.parametrize(
    ("flags", "message"),
    {
        "--corpus=sample --text_file={}/odd.txt": "--corpus or --text_file",
        "--text_file={}/nowhere.txt": "there is no file",
        "--text_file={}/alien.txt": "none that it knows",
        "--text_file={}/one.txt": "two characters at least",
        "--text_file={}/one.txt --part=held_out": "two tokens at least",
        "--part=some": "one of auto, held_out",
        "--heatmap={}": "expected a file that can be written",
        "--heatmap=/no/such/folder/x.html": "in a folder that exists",
        "--json_lines=a\0b": "expected a file that can be written",
        "--heatmap=" + "x" * 5000: "expected a file that can be written",
        "--length=9": "--memorised",
        "--heatmap_tokens=9": "--heatmap",
        "--heatmap={}/run/config.json": "not read here",
        "--json_lines={}/run/checkpoints/x": "not read here",
        "--text_file={}/odd.txt --heatmap={}/run/../odd.txt": "not read here",
        "--heatmap={}/x --json_lines={}/words/../x": "to be two files",
        "--heatmap={}/x --json_lines={}/x": "to be two files",
        "--memorised --temperature=-1": "at least 0",
        "--memorised --length=0": "at least 1",
        "--heatmap_tokens=1": "at least 2",
        "extra": "expected only flags",
    }.items(),
)
def test_a_wrong_use_is_one_line(flags, message, folder):
    flags = [flag.replace("{}", str(folder)) for flag in flags.split(" ")]
    status, out, err = run(evaluate.main, f"--run_dir={folder}/run", *flags)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("tfrnn: error: ")
    assert message in err


@pytest.mark.parametrize("flags", [[], ["--run_dir=/no/such/run"]])
def test_there_must_be_a_run(flags):
    status, out, err = run(evaluate.main, *flags)
    assert (status, out, err.count("\n")) == (2, "", 1)


def test_a_text_that_has_changed_since_is_not_called_held_out(folder, tmp_path):
    shutil.copytree(folder / "run", tmp_path / "run")
    story = Path(folder / "story.txt")
    text = story.read_text()
    try:
        story.write_text(text.replace("well", "ill"))
        for flags in ([], ["--memorised", f"--text_file={folder}/odd.txt"]):
            status, _, err = run(evaluate.main, f"--run_dir={tmp_path}/run", *flags)
            assert (status, "has changed since" in err) == (2, True)
        assert run(evaluate.main, f"--run_dir={tmp_path}/run", f"--text_file={story}")[0] == 0
    finally:
        story.write_text(text)
