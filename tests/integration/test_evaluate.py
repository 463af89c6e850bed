"""The evaluate command."""

import json
import math
import re
import shutil

import numpy as np
import pytest
from entry_points import SMALL, run

import tfrnn
from tfrnn import evaluate, train
from tfrnn.data import text_rules
from tfrnn.inference import memorisation

STORY_LENGTH, TRAINING_LENGTH, HELD_OUT_LENGTH = 900, 600, 200  # characters; the last two are those of SMALL
RESULT = re.compile(r"perplexity (\d+\.\d{4}), (\d+\.\d{4}) bits/(\w+) over (\d+) (\w+)s")
# Numbers are printed with 4 decimals; their last digit may be rounded either way.
PRINTED = 1e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with runs of characters and of words, and with texts."""
    folder = tmp_path_factory.mktemp("evaluate")
    story = tfrnn.load_corpus("sample", "lines")[:STORY_LENGTH]
    (folder / "story.txt").write_text(story)
    for name, flags in (("run", []), ("words", ["--tokens=word", "--validation_tokens=50", "--epochs=1"])):
        status, _, err = run(train.main, *SMALL, f"--corpus={folder}/story.txt", f"--run_dir={folder}/{name}", *flags)
        assert status == 0, err
    (folder / "short.txt").write_text(story[:60])
    (folder / "odd.txt").write_text(story[:300] + "Ünd\n§" + story[300:500])
    (folder / "alien.txt").write_text("Ü§ÄÖ" * 9)
    (folder / "one.txt").write_text("a")
    return folder


@pytest.fixture(scope="module")
def loaded(folder):
    """The model of the run, its vocabulary and config."""
    return tfrnn.load_run(folder / "run")


def evaluate_run(folder, *flags, name="run"):
    """Runs the command; returns the perplexity, the unit, the number and the noun of its last line, stdout, stderr."""
    status, out, err = run(evaluate.main, f"--run_dir={folder}/{name}", *flags)
    assert status == 0, err
    result = RESULT.fullmatch(out.splitlines()[-1])
    assert result, out
    perplexity, bits, unit, number, noun = result.groups()
    assert math.log2(float(perplexity)) == pytest.approx(float(bits), abs=2 * PRINTED)
    return float(perplexity), unit, int(number), noun, out, err


def test_the_last_line_equals_a_computation_token_by_token(folder, loaded):
    from tests.inference.test_scoring import score_token_by_token

    model, vocabulary, _ = loaded
    text = (folder / "short.txt").read_text()
    expected = np.exp(score_token_by_token(model, vocabulary.encode(text)).mean())
    perplexity, unit, number, noun, _, err = evaluate_run(folder, f"--text_file={folder}/short.txt")
    assert (unit, number, noun) == ("char", len(text) - 1, "character")
    assert perplexity == pytest.approx(expected, rel=1e-5, abs=PRINTED)
    assert [line.partition(":")[0] for line in err.splitlines()] == [
        "to see where it was surprised",
        "to use the model elsewhere",
    ]
    assert evaluate_run(folder, f"--corpus={folder}/short.txt")[0] == perplexity


@pytest.mark.parametrize(
    ("part", "begin", "end"),
    [
        ("auto", TRAINING_LENGTH, TRAINING_LENGTH + HELD_OUT_LENGTH),
        ("held_out", TRAINING_LENGTH, TRAINING_LENGTH + HELD_OUT_LENGTH),
        ("training", 0, TRAINING_LENGTH),
        ("all", 0, STORY_LENGTH),
    ],
)
def test_a_part_of_the_runs_own_text_is_measured(part, begin, end, folder, loaded):
    model, vocabulary, _ = loaded
    text = (folder / "story.txt").read_text()[begin:end]
    perplexity, _, number, *_ = evaluate_run(folder, f"--part={part}")
    assert number == len(text) - 1
    expected = tfrnn.score(model, vocabulary.encode(text, "unk")).perplexity
    assert perplexity == pytest.approx(expected, abs=PRINTED)


def test_unknown_characters_are_counted_and_measured_separately(folder, loaded):
    model, vocabulary, _ = loaded
    ids = vocabulary.encode((folder / "odd.txt").read_text(), "unk")
    scored, unknown = tfrnn.score(model, ids), ids[1:] == 0
    perplexity, _, number, _, _, err = evaluate_run(folder, f"--text_file={folder}/odd.txt")
    assert number == len(ids) - 1
    assert perplexity == pytest.approx(scored.perplexity, abs=PRINTED)
    assert f"3 of the {number} predicted characters" in err
    of_known = math.exp(scored.nats[~unknown].mean())
    assert float(re.search(r"perplexity of the known ones: (\S+)", err)[1]) == pytest.approx(of_known, abs=PRINTED)


def test_a_model_of_words_is_measured_in_words(folder):
    _, unit, number, noun, *_ = evaluate_run(folder, f"--text_file={folder}/odd.txt", name="words")
    words = text_rules.split((folder / "odd.txt").read_text(), "word")
    assert (unit, number, noun) == ("word", len(words) - 1, "word")


def test_words_are_measured_in_bits_a_character_too(folder):
    perplexity, _, number, _, _, err = evaluate_run(folder, f"--text_file={folder}/odd.txt", name="words")
    written = text_rules.join(text_rules.split((folder / "odd.txt").read_text(), "word"), "word")
    bits, count = re.search(r"^(\S+) bits/char over (\d+) characters$", err, re.MULTILINE).groups()
    assert int(count) == len(written) - len(written.split()[0])
    assert float(bits) * int(count) == pytest.approx(math.log2(perplexity) * number, rel=1e-3)


def test_json_lines_and_the_heat_map_are_written(folder, loaded, tmp_path):
    rows_file, page_file = tmp_path / "scores.jsonl", tmp_path / "page.html"
    flags = [f"--json_lines={rows_file}", f"--heatmap={page_file}", "--heatmap_tokens=50"]
    perplexity, *_, out, _ = evaluate_run(folder, f"--text_file={folder}/odd.txt", *flags)
    text = (folder / "odd.txt").read_text()

    rows = [json.loads(line) for line in rows_file.read_text().splitlines()]
    assert "".join(row["token"] for row in rows) == text[1:]
    assert [row["position"] for row in rows] == list(range(1, len(text)))
    assert np.mean([row["bits"] for row in rows]) == pytest.approx(math.log2(perplexity), abs=2 * PRINTED)
    assert {row["token"] for row in rows if row["unknown"]} == {"Ü", "\n", "§"}
    assert all(len(row["likeliest"]) == 3 and row["likeliest"][0][1] >= row["likeliest"][2][1] for row in rows)

    data = json.loads(re.search(r'<script id="data"[^>]*>([^<]*)<', page_file.read_text())[1])
    assert data["text"] == text[:50]
    assert data["title"] == "run reads all of odd"  # not its path: the page may be sent to others
    assert data["remarks"][0] == out.strip()
    assert data["remarks"][-1] == f"Shown are the first 50 of {len(text)} characters."
    assert data["vocabulary"] == loaded[1].id_to_token


@pytest.mark.slow
def test_memorised_text_is_reported_before_the_last_line(folder, loaded):
    model, vocabulary, config = loaded
    *_, out, _ = evaluate_run(folder, "--memorised", "--length=60", "--temperature=0.5", "--seed=1")
    prefix = config.run.prefix[0]
    generated = tfrnn.generate(model, vocabulary, prefix, 60, tfrnn.Sampler(0.5), seed=1)[len(prefix) :]
    story = (folder / "story.txt").read_text()
    training, held_out = story[:TRAINING_LENGTH], story[TRAINING_LENGTH : TRAINING_LENGTH + HELD_OUT_LENGTH]
    lines = out.splitlines()
    assert lines[:-1] == memorisation.report(generated, held_out, training)
    assert "training text (600 characters), of 60 characters generated and 60 characters held out" in lines[0]


WRONG_FLAGS = {
    "--corpus=sample --text_file={}/odd.txt": "--corpus or --text_file",
    "--text_file={}/nowhere.txt": "does not exist",
    "--text_file={}/alien.txt": "none that it knows",
    "--text_file={}/one.txt": "at least two characters",
    "--text_file={}/one.txt --part=held_out": "at least two tokens",
    "--part=some": "one of auto, held_out",
    "--heatmap={}": "expected a file that can be written",
    "--heatmap=/no/such/folder/x.html": "expected a file that can be written",
    "--json_lines=a\0b": "expected a file that can be written",
    "--heatmap=" + "x" * 5000: "expected a file that can be written",
    "--length=9": "--memorised",
    "--heatmap_tokens=9": "--heatmap",
    "--heatmap={}/run/config.json": "that this command does not read",
    "--json_lines={}/run/checkpoints/x": "that this command does not read",
    "--text_file={}/odd.txt --heatmap={}/run/../odd.txt": "that this command does not read",
    "--heatmap={}/x --json_lines={}/words/../x": "to be two files",
    "--heatmap={}/x --json_lines={}/x": "to be two files",
    "--memorised --temperature=-1": "at least 0",
    "--memorised --length=0": "at least 1",
    "--heatmap_tokens=1": "at least 2",
    "extra": "extra",
}


@pytest.mark.parametrize(("flags", "message"), WRONG_FLAGS.items(), ids=[flags[:60] for flags in WRONG_FLAGS])
def test_a_wrong_use_is_answered_with_one_line(flags, message, folder):
    flags = [flag.replace("{}", str(folder)) for flag in flags.split(" ")]
    status, out, err = run(evaluate.main, f"--run_dir={folder}/run", *flags)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("tfrnn: error: ")
    assert message in err


@pytest.mark.parametrize("flags", [[], ["--run_dir=/no/such/run"]], ids=["none", "missing"])
def test_a_run_must_be_given_and_exist(flags):
    status, out, err = run(evaluate.main, *flags)
    assert (status, out, err.count("\n")) == (2, "", 1)


def test_a_corpus_that_has_changed_since_training_is_refused(folder, tmp_path):
    shutil.copytree(folder / "run", tmp_path / "run")
    story = folder / "story.txt"
    text = story.read_text()
    try:
        story.write_text(text.replace("well", "ill"))
        for flags in ([], ["--memorised", f"--text_file={folder}/odd.txt"]):
            status, _, err = run(evaluate.main, f"--run_dir={tmp_path}/run", *flags)
            assert (status, "has changed since" in err) == (2, True)
        assert run(evaluate.main, f"--run_dir={tmp_path}/run", f"--text_file={story}")[0] == 0
    finally:
        story.write_text(text)
