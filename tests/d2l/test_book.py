"""The book's settings: the perplexities that its readers expect."""

import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time

import pytest

from tfrnn.config.presets import OWN_TEXT, PRESETS

BOUNDS = {  # of the median of ten successive epochs' training perplexities
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
    assert set(BOUNDS) == set(PRESETS) - {OWN_TEXT}  # which depends on the text and the machine


def lowest_perplexity(run_dir):
    """The lowest median training perplexity of ten successive epochs so far; infinite before that many."""
    path = run_dir / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    rows = [json.loads(line)["perplexity"] for line in lines if line.endswith("\n")]  # the last may be half written
    return min((statistics.median(rows[end - 10 : end]) for end in range(10, len(rows) + 1)), default=math.inf)


@pytest.mark.slow
@pytest.mark.parametrize("preset", BOUNDS)
def test_a_preset_reaches_the_books_perplexity_within_its_epochs(preset, tmp_path):
    if "TFRNN_DATA_DIR" not in os.environ:
        pytest.skip("needs the files of time_machine and jay_lyrics in TFRNN_DATA_DIR")
    corpus = PRESETS[preset].get("corpus", "time_machine")
    flags = [f"--corpus={corpus}", f"--preset={preset}", f"--run_dir={tmp_path}/run"]
    # A process of its own: TensorFlow takes the threads that make it fast at its start alone.
    with subprocess.Popen([sys.executable, "-m", "tfrnn.train", *flags]) as training:
        while training.poll() is None and lowest_perplexity(tmp_path / "run") > BOUNDS[preset]:
            time.sleep(1)
        training.terminate()
    assert training.returncode in (0, -signal.SIGTERM)  # it saves and ends, or had nothing left but to print
    assert lowest_perplexity(tmp_path / "run") <= BOUNDS[preset]
