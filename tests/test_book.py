"""The book's settings to the end: the perplexities that its readers expect."""

import json
import os
import statistics

import pytest

from tfrnn import train

BOUNDS = {"rnn_concise": 1.4, "rnn_scratch": 1.1, "rnn_scratch_random": 1.6}  # of the median of the last ten epochs


@pytest.mark.slow
@pytest.mark.parametrize("preset", BOUNDS)
def test_a_preset_reaches_the_books_perplexity(preset, tmp_path):
    if "TFRNN_DATA_DIR" not in os.environ:
        pytest.skip("needs the file of time_machine in TFRNN_DATA_DIR")
    train.main(["train", "--corpus=time_machine", f"--preset={preset}", f"--run_dir={tmp_path}/run"])
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 500
    assert statistics.median(row["perplexity"] for row in rows[-10:]) <= BOUNDS[preset]
