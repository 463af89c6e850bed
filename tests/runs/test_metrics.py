"""metrics.jsonl: rows are written once, torn lines are left out, and lost ones are told; what the rows say."""

import json
import os
import re
from pathlib import Path

import pytest

from tfrnn.errors import RunWarning
from tfrnn.runs.metrics import MEASURES, Metrics, describe_failure, describe_held_out


def row(epoch):
    return {"epoch": epoch, **dict.fromkeys(MEASURES, epoch + 0.5)}


def with_rows(folder, *epochs):
    """Writes the rows of these epochs as training does, and returns the Metrics."""
    metrics = Metrics(folder)
    metrics.keep(0)
    for epoch in epochs:
        metrics.add(row(epoch))
    return metrics


def epochs_of(folder):
    return [found["epoch"] for found in Metrics(folder).rows()]


LOSSES = {
    "removed": Path.unlink,
    "truncated": lambda path: os.truncate(path, 10),
    "overwritten": lambda path: path.write_text("x\n"),
}


@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES)
def test_metrics_that_are_lost_while_training_are_written_again(lose, tmp_path):
    metrics = with_rows(tmp_path, 1, 2)
    lose(metrics.path)
    metrics.add(row(3))
    assert epochs_of(tmp_path) == [1, 2, 3]
    lose(metrics.path)
    metrics.flush()
    assert epochs_of(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize(
    "torn", ['{"epoch": 3, "perpl', "\0" * 100, json.dumps(row(3)), "\x85\u2028"],
    ids=["half a row", "zeros", "a row of an epoch without a checkpoint", "other line ends"],
)  # fmt: skip
def test_a_torn_end_is_removed_when_training_resumes(torn, tmp_path):
    metrics = with_rows(tmp_path, 1, 2)
    metrics.path.write_text(metrics.path.read_text() + torn)
    Metrics(tmp_path).keep(2)
    assert [json.loads(line) for line in metrics.path.read_text().splitlines()] == [row(1), row(2)]


def test_lost_rows_are_told_and_the_others_kept(tmp_path):
    metrics = with_rows(tmp_path, 1, 2)
    metrics.path.write_text(json.dumps(row(2)) + "\n")
    resumed = Metrics(tmp_path)
    with pytest.warns(RunWarning, match="has rows of 1 of 2 finished epochs; continuing without the others"):
        resumed.keep(2)
    resumed.add(row(3))
    assert epochs_of(tmp_path) == [2, 3]


NO_ROWS = {
    "a number": "3",
    "a list": "[]",
    "null": "null",
    "empty": "{}",
    "fields missing": '{"epoch": 1}',
    "infinite": '{"epoch": 1e999}',
    "deeply nested": "[" * 10**5,
    "a long number": "1" * 5000,
    "the epoch a string": json.dumps({**row(1), "epoch": "1"}),
    "an unknown field": json.dumps({**row(1), "more": 1}),
    "the epoch a boolean": json.dumps({**row(1), "epoch": True}),
    "not a number": json.dumps({**row(1), "perplexity": float("nan")}),
    "a measure a string": json.dumps({**row(1), "seconds": "x"}),
    "no perplexity": json.dumps({**row(1), "perplexity": None}),
    "negative": json.dumps({**row(1), "seconds": -1}),
    "epoch 0": json.dumps(row(0)),
}


@pytest.mark.parametrize("line", NO_ROWS.values(), ids=NO_ROWS)
def test_a_line_that_is_not_a_row_is_left_out(line, tmp_path):
    (tmp_path / "metrics.jsonl").write_text(line + "\n" + json.dumps({**row(1), "val_perplexity": None}) + "\n")
    assert epochs_of(tmp_path) == [1]


def measured(*val_perplexities, perplexity=1.2):
    return [
        {"epoch": epoch, "perplexity": perplexity, "val_perplexity": value}
        for epoch, value in enumerate(val_perplexities, 1)
    ]


@pytest.mark.parametrize(
    ("rows", "described"),
    [
        pytest.param(
            measured(9.0, 12.0),
            "memorised its training text .perplexity 1.20.*rose from 9.0 .epoch 1. to 12.0",
            id="memorised and risen",
        ),
        pytest.param(
            measured(8.0, 8.2),
            "perplexity 8, 3.000 bits a word, with the weights of epoch 1$",
            id="hardly risen",
        ),
        pytest.param(measured(9.0, 12.0, perplexity=1.6), "perplexity 9, .* epoch 1$", id="not memorised"),
        pytest.param(measured(None), "^$", id="no held-out text"),
        pytest.param([], "^$", id="no epochs"),
    ],
)
def test_what_was_reached_on_held_out_text_is_described(rows, described):
    assert re.search(described, describe_held_out(rows, "word"))


def rows_of(*perplexities):
    return [{"epoch": epoch, "perplexity": perplexity} for epoch, perplexity in enumerate(perplexities, 1)]


@pytest.mark.parametrize(
    ("perplexities", "expected"),
    [
        ((20.0, 9.0, 9.5), ""),
        ((20.0, 27.0), ""),
        ((28.5,), "ended worse than chance: its perplexity is 28.5, and a guess among the 27 different tokens has 27"),
        ((20.0, 4.0, 8.1), r"diverged: its perplexity rose from 4 \(epoch 2\) to 8.1; take a smaller `learning_rate`"),
        ((20.0, 4.0, 1e9), "worse than chance: its perplexity is 1e\\+09"),
    ],
)
def test_a_run_that_ended_worse_than_chance_or_than_before_is_told(perplexities, expected):
    sentence = describe_failure(rows_of(*perplexities), 27)
    assert re.search(expected, sentence)
    assert bool(expected) == bool(sentence)
