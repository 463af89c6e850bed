"""The book's settings to the end: the perplexities that its readers expect."""

import json
import os
import statistics
import subprocess
import sys

import pytest

from tfrnn.config.presets import PRESETS

BOUNDS = {  # of the median of the last ten epochs' training perplexities
    "rnn_scratch": 1.1,
    "rnn_scratch_random": 1.6,
    "rnn_concise": 1.4,
    "gru_scratch": 1.15,
    "gru_scratch_random": 1.6,
    "gru_concise": 1.1,
    "lstm_scratch": 1.35,
    "lstm_concise": 1.1,
    "deep_lstm": 1.1,
    "jay_rnn_scratch": 1.3,
    "jay_rnn_scratch_random": 1.4,
    "jay_rnn_concise": 1.05,
    "jay_gru_scratch": 2.2,
    "jay_gru_concise": 1.05,
    "jay_lstm_scratch": 5.2,
    "jay_lstm_concise": 1.05,
}


def test_every_preset_has_its_bound():
    assert set(BOUNDS) == set(PRESETS)


@pytest.mark.slow
@pytest.mark.parametrize("preset", BOUNDS)
def test_a_preset_reaches_the_books_perplexity(preset, tmp_path):
    if "TFRNN_DATA_DIR" not in os.environ:
        pytest.skip("needs the files of time_machine and jay_lyrics in TFRNN_DATA_DIR")
    corpus = PRESETS[preset].get("corpus", "time_machine")
    flags = [f"--corpus={corpus}", f"--preset={preset}", f"--run_dir={tmp_path}/run"]
    # A process of its own: TensorFlow takes the threads that make it fast at its start alone.
    subprocess.run([sys.executable, "-m", "tfrnn.train", *flags], check=True)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == PRESETS[preset].get("epochs", 500)
    assert statistics.median(row["perplexity"] for row in rows[-10:]) <= BOUNDS[preset]
