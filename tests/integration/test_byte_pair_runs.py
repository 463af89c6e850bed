"""Runs on byte-pair tokens, by the commands: trained, resumed, evaluated, sampled and begun with."""

import math
import re
import sys

import numpy as np
import pytest
from entry_points import SMALL, metrics, run

import tfrnn
from tfrnn import evaluate, sample, train

FLAGS = [*SMALL, "--tokens=bpe", "--merges=60", "--corpus=sample"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run, and what the command wrote to stderr."""
    folder = tmp_path_factory.mktemp("byte_pairs") / "run"
    status, _, err = run(train.main, *FLAGS, f"--run_dir={folder}")
    assert status == 0, err
    return folder, err


def test_bits_are_those_of_a_character(trained):
    folder, err = trained
    model, vocabulary, config = tfrnn.load_run(folder)
    text = tfrnn.load_corpus("sample")[600:800]
    assert vocabulary.tokens == config.data.tokens == "bpe"
    tokens = vocabulary.split(text)
    assert len(tokens) < 0.8 * len(text)
    status, out, err_of_evaluate = run(evaluate.main, f"--run_dir={folder}")
    assert status == 0
    scored = tfrnn.score(model, vocabulary.encode(text))
    bits, num_characters = scored.bits.sum() / (len(text) - len(tokens[0])), len(text) - len(tokens[0])
    assert out == f"perplexity {scored.perplexity:.4f}, {bits:.4f} bits/char over {num_characters} characters\n"
    per_token = f"{scored.bits_per_char:.4f} bits/token over {len(tokens) - 1} tokens"
    assert f"the perplexity is that of a token: {per_token}\n" in err_of_evaluate

    for row in metrics(folder):
        characters_per_token = len(text) / len(tokens)
        assert row["val_bits_per_char"] == pytest.approx(math.log2(row["val_perplexity"]) / characters_per_token)
        assert 0 < row["bits_per_char"] < math.log2(row["perplexity"])
    best = min(metrics(folder), key=lambda row: row["val_perplexity"])
    reached = f"perplexity {best['val_perplexity']:.4g} a token, {best['val_bits_per_char']:.3f} bits a character"
    assert f"on the held-out text: {reached}, with the weights of epoch {best['epoch']}\n" in err
    assert "trained on: 600 characters, the first\n" in err
    assert re.search(r"different tokens: \d+, of which 60 are joined of others; \d\.\d\d characters a token", err)


@pytest.mark.parametrize("flags", [["--prefix=wel"], ["--prefix=the "], ["--prefix=", "--num_samples=2"], []])
def test_any_prefix_is_continued(flags, trained):
    folder, _ = trained
    status, out, err = run(sample.main, f"--run_dir={folder}", "--length=9", *flags)
    if flags[:1] == ["--prefix="]:  # this text has no line ends
        assert (status, out) == (2, "")
        return
    assert status == 0, err
    prefix = flags[0].removeprefix("--prefix=") if flags else "well digger"
    model, vocabulary, _ = tfrnn.load_run(folder)
    assert out.startswith(prefix)
    shown = tfrnn.generate(model, vocabulary, prefix, 9, tfrnn.Sampler())
    assert out == f"{shown}\n" or (not flags and out.startswith(f"{shown}\n"))


def test_a_resumed_run_equals_one_that_was_not_interrupted_and_needs_no_package(trained, tmp_path, monkeypatch):
    folder, _ = trained
    flags = [*FLAGS, f"--run_dir={tmp_path}/run"]
    assert run(train.main, *flags, "--epochs=1")[0] == 0
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    status, _, err = run(train.main, *flags)
    assert status == 0, err
    weights, expected_weights = (tfrnn.load_run(p, "last")[0].get_weights() for p in (tmp_path / "run", folder))
    for weight, expected in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(weight, expected)
    kept = ("perplexity", "bits_per_char", "val_perplexity", "val_bits_per_char")
    rows, expected_rows = ([[row[name] for name in kept] for row in metrics(p)] for p in (tmp_path / "run", folder))
    assert rows == expected_rows
    status, _, err = run(train.main, *FLAGS, f"--run_dir={tmp_path}/other")
    assert (status, err.count("\n")) == (2, 1)
    assert "--tokens=bpe: expected the package tokenizers, but it is not installed" in err


@pytest.mark.slow
def test_another_run_is_begun_with_its_tokens(trained, tmp_path):
    folder, _ = trained
    given = [*SMALL, f"--init_from={folder}", "--learning_rate=1e-20", "--epochs=1", "--validation_tokens=200"]
    status, _, err = run(train.main, *given, "--corpus=sample", f"--run_dir={tmp_path}/same")
    assert status == 0, err
    (row,) = metrics(tmp_path / "same")
    assert row["val_perplexity"] == min(row["val_perplexity"] for row in metrics(folder))

    (tmp_path / "text").write_text("Un puits, et une route; 42 qualms!\n" * 60)
    status, _, err = run(
        train.main, *given, f"--corpus={tmp_path}/text", "--text_rule=plain", f"--run_dir={tmp_path}/other"
    )
    assert status == 0, err
    known, vocabulary = tfrnn.load_run(folder)[1], tfrnn.load_run(tmp_path / "other")[1]
    assert vocabulary.id_to_token[: len(known)] == known.id_to_token
    assert {len(token) for token in vocabulary.id_to_token[len(known) :]} == {1}
    status, _, err = run(train.main, *given, "--tokens=bpe", "--merges=9", f"--run_dir={tmp_path}/refused")
    assert status == 2
    assert "that run has --merges=60; got 9; leave the flag out" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--merges=9"], "--merges is for --tokens=bpe; got char"),
        (
            ["--tokens=bpe", "--max_vocabulary=9"],
            "--max_vocabulary=9 is not for --tokens=bpe, which keeps all characters",
        ),
        (["--tokens=bpe", "--merges=0"], "--merges must be a whole number at least 1"),
    ],
)
def test_a_flag_without_effect_is_refused(flags, message):
    status, _, err = run(train.main, *flags)
    assert (status, err.count("\n")) == (2, 1)
    assert message in err
