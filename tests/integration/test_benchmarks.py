"""The benchmarks run; what they measure is for whoever runs them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import big_corpus, replicas
from benchmarks.cases import Case

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_beside_the_peers(tmp_path):
    file = tmp_path / "found.json"
    flags = ["--rounds=1", "--seconds=0.1", "--only=RNN 256", "--parts=training,generation", f"--json={file}"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed", *flags], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    assert "| RNN 256 |" in done.stdout, done.stdout + done.stderr
    found = json.loads(file.read_text())
    for part in ("training", "generation"):
        for ways in found[part].values():
            assert all(answer["tokens_per_sec"] > 0 for answers in ways.values() for answer in answers)


@pytest.mark.slow
def test_scaling(tmp_path):
    flags = ["--seconds=0.1", "--only=num_layers", f"--json={tmp_path / 'found.json'}"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling", *flags],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout.count("| num_layers |") == 3, done.stdout + done.stderr


@pytest.mark.slow
def test_replicas_and_their_sums():
    case = Case("rnn", 16, batch_size=48)
    one, two = (replicas.measure(way, case, 0.1) for way in ("one_device", "workers 2"))
    assert two["replicas"] == 2
    assert one["loss"] == pytest.approx(two["loss"], 1e-4)
    assert all(ms > 0 for ms in two["sum_ms"].values())


@pytest.mark.slow
def test_a_large_text_is_made_and_read(tmp_path):
    big_corpus.make_text(tmp_path / "text", 20 * 2**20)
    assert (tmp_path / "text").stat().st_size == 20 * 2**20
    found = big_corpus.run_in_process("passes", tmp_path / "text", tmp_path / "cache")
    assert min(found.values()) > 0
    assert list((tmp_path / "cache").rglob("*.bin"))
