"""The script that runs the book's cells counts every cell, and refuses what it cannot run."""

import json
import sys

import pytest

from benchmarks import book_cells

FOLDER = "Dive-into-DL-TensorFlow2.0/code/chapter06_RNN"


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """Returns a function that writes the cells of a notebook of the first edition."""
    monkeypatch.delenv("TFRNN_DATA_DIR", raising=False)
    (tmp_path / FOLDER).mkdir(parents=True)

    def write(*cells):
        content = {"cells": [{"cell_type": "code", "source": [cell]} for cell in cells]}
        (tmp_path / FOLDER / "6.2_rnn.ipynb").write_text(json.dumps(content))

    return write


def run(monkeypatch, tmp_path, *flags):
    monkeypatch.setattr(sys, "argv", ["book_cells", f"--snapshots={tmp_path}", *flags])
    book_cells.main()


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (
            "import os, sys\nprint('last words', file=sys.stderr)\nos._exit(3)",
            "its process ended with status 3: last words",
        ),
        ("import os\nos.abort()", "its process ended with status -6: it said nothing"),
    ],
)
def test_the_cells_of_a_process_that_dies_have_failed_and_are_named(
    notebook, cell, reason, tmp_path, monkeypatch, capsys
):
    notebook("a = 1", cell, "b = a", "# a comment\nc = b")
    run(monkeypatch, tmp_path, "--edition=first", "--ways=import")
    failed, table = capsys.readouterr().out.split("\n\n")
    assert failed.splitlines() == [
        f"first import 6.2_rnn.ipynb cell 1: {reason}  | {cell.splitlines()[0]}",
        "first import 6.2_rnn.ipynb cell 2: not run: the process ended in cell 1  | b = a",
        "first import 6.2_rnn.ipynb cell 3: not run: the process ended in cell 1  | c = b",
    ]
    assert table.splitlines()[-1] == "| first | 4 | 1 |"


def test_a_cell_that_fails_or_ends_python_is_one_cell(notebook, tmp_path, monkeypatch, capsys):
    notebook("1 / 0", "raise SystemExit(5)", "num_epochs = 7\nprint(num_epochs)")
    run(monkeypatch, tmp_path, "--ways=import,guide", "--show")
    out = capsys.readouterr().out
    assert "cell 0: ZeroDivisionError: division by zero  | 1 / 0\n" in out
    assert "cell 1: SystemExit: 5  | " in out
    assert out.count(" s\n2\n") == 2
    assert out.endswith("| first | 3 | 1 | 1 |\n")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--ways=as_printed,no"], "--ways: expected some of import, as_printed, guide, library; got 'no'"),
        (["--ways="], "--ways: expected some of import, as_printed, guide, library; got ''"),
        (["--epochs=-1"], "--epochs: expected a whole number of at least 0; got '-1'"),
        (["--only=nothing"], "expected a part of a notebook's name as --only; got 'nothing', which is in none"),
        (["--edition=0.17"], "edition 0.17: expected a folder"),
        (["--snapshots=nowhere"], "edition 0.17: expected a folder nowhere"),
        (["--snapshots="], "edition 0.17: expected a folder d2l-en"),
    ],
)
def test_what_cannot_be_run_is_refused(notebook, flags, message, tmp_path, monkeypatch, capsys):
    notebook("a = 1")
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, tmp_path, *flags)
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert message in err.splitlines()[-1]


def test_no_snapshots_are_an_error(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["book_cells"])
    with pytest.raises(SystemExit):
        book_cells.main()
    assert "expected --snapshots=FOLDER" in capsys.readouterr().err
