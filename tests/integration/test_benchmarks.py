"""The benchmarks run and print their tables. Their results are not tested."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import big_corpus, page, replicas
from benchmarks.cases import Case

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_speed_measures_every_implementation(tmp_path):
    file = tmp_path / "measured.json"
    flags = ["--rounds=1", "--seconds=0.1", "--only=RNN 256", "--parts=training,generation", f"--json={file}"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed", *flags], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    assert "| RNN 256 |" in done.stdout, done.stdout + done.stderr
    measured = json.loads(file.read_text())
    parts = [measured["training"], measured["generation"]]
    ways = [way for part in parts for case in part.values() for way in case.items()]
    assert {name for name, _ in ways} >= {"tfrnn", "keras_fit", "book", "sgemm_numpy", "sgemm_tensorflow"}
    assert [name for name, rounds in ways if min(one["tokens_per_sec"] for one in rounds) <= 0] == []


@pytest.mark.slow
def test_layers_are_measured_in_both_layouts_beside_those_of_keras(tmp_path):
    file = tmp_path / "measured.json"
    flags = ["--rounds=1", "--seconds=0.1", "--only=GRU", f"--json={file}"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.layers", *flags], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    assert "| GRU 256 |" in done.stdout, done.stdout + done.stderr
    measured = json.loads(file.read_text())["GRU 256"]
    assert set(measured) == {"time_major", "batch_major", "keras"}
    assert all(one["tokens_per_sec"] > 0 for (one,) in measured.values())


@pytest.mark.slow
def test_scaling_prints_a_row_for_each_size(tmp_path):
    flags = ["--seconds=0.1", "--only=num_layers", f"--json={tmp_path / 'measured.json'}"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling", *flags],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout.count("| num_layers |") == 3, done.stdout + done.stderr


@pytest.mark.slow
def test_one_device_and_two_workers_have_the_same_loss_and_sums_are_timed():
    case = Case("rnn", 16, batch_size=48)
    one, two = (replicas.measure(way, case, 0.1) for way in ("one_device", "workers 2"))
    assert two["replicas"] == 2
    assert one["loss"] == pytest.approx(two["loss"], 1e-4)
    assert all(ms > 0 for ms in two["sum_ms"].values())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.skipif(not shutil.which("chromedriver"), reason="needs Chromium and its driver")
def test_a_page_is_measured_in_a_browser(tmp_path):
    assert page.make_page("gru", 8, 2, tmp_path / "page.html") in (8, 16, 32)
    found = page.measure(tmp_path / "page.html", 50, 1, core=min(os.sched_getaffinity(0)))
    assert set(found) == {"clock", "core", "model"}
    assert all(rate > 0 for (rate,) in found.values())


@pytest.mark.slow
def test_a_large_text_is_made_and_read(tmp_path):
    big_corpus.make_text(tmp_path / "text", 20 * 2**20)
    assert (tmp_path / "text").stat().st_size == 20 * 2**20
    found = big_corpus.run_in_process("passes", tmp_path / "text", tmp_path / "cache")
    assert min(found.values()) > 0
    assert list((tmp_path / "cache").rglob("*.bin"))
