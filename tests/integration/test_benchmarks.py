"""The benchmarks run and print their tables. Their results are not tested."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from benchmarks import big_corpus, machine, page, presets, replicas, speed, step_ways, steps, techniques
from benchmarks.cases import Case
from tfrnn.runtime import host

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


def rounds(**speeds):
    return {way: [{"tokens_per_sec": tokens} for tokens in values] for way, values in speeds.items()}


def test_the_row_of_a_machine_has_medians_of_ratios_within_rounds_to_the_best_of_pytorch():
    training = {
        "RNN": rounds(tfrnn=[30, 60, 90], torch_1=[1, 1, 1], torch_2=[10, 10, 15], keras_fit=[20, 30, 30]),
        "GRU": rounds(tfrnn=[8, 8, 8], sgemm_numpy=[10, 10, 10]),
    }
    row = speed.machine_row("today", "a CPU", training, rounds(tfrnn=[50, 50], torch_1=[5, 4], torch_2=[1, 1]))
    assert row == "| a CPU | 6.00, - | 2.00, - | -, 80% | 11.2 | today |"
    assert row.count("|") == speed.MACHINES_HEADER.splitlines()[0].count("|")


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("model name\t: A\nflags\t: avx2 fma\n\nmodel name\t: B\nflags\t:\n", "A, N cores, AVX2, Python"),
        ("model name: C: 2\nflags: avx2 avx512f avx512dq amx_tile\n", "C: 2, N cores, AVX2, AVX-512, AMX, Python"),
        ("Features\t: fp asimd\n", ", N cores, NEON, Python"),
        ("", ", N cores, Python"),
    ],
)
def test_a_machine_is_described_by_its_processor_cores_instructions_and_versions(cpuinfo, expected, tmp_path):
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    described = machine.describe(tmp_path / "cpuinfo")
    assert expected.replace("N cores", f"{host.num_cores()} cores") in described
    assert ", TensorFlow 2." in described
    assert ", Keras 3." in described


@pytest.mark.slow
def test_a_quick_measurement_prints_the_row_of_this_machine(tmp_path):
    file = tmp_path / "measured.json"
    flags = ["--quick", "--rounds=1", "--seconds=0.1", f"--json={file}"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed", *flags], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    *header, row = done.stdout.splitlines()
    measured = json.loads(file.read_text())
    assert header == speed.MACHINES_HEADER.splitlines()
    assert row.startswith(f"| {measured['machine']} | ")
    assert "torch_1" in measured["training"]["LSTM 256"] or "PyTorch is not installed" in done.stderr
    refused = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed", "--quick", "--only=RNN"], cwd=ROOT, capture_output=True, check=False
    )
    assert refused.returncode == 2


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
def test_a_step_is_measured_by_kinds_of_operations_in_compilation_and_in_chains(tmp_path, monkeypatch, capsys):
    tiny = [Case("lstm", 8, vocab_size=5, num_steps=steps) for steps in (10, 20)]
    tables = {
        "operations": functools.partial(steps.operations_table, tiny[:1], seconds=0.1),
        "compilation": functools.partial(steps.compilation_table, tiny),
        "chains": functools.partial(steps.chains_table, tiny[:1], (1, 2), rounds=1, seconds=0.1),
    }
    monkeypatch.setattr(steps, "TABLES", tables)
    monkeypatch.setattr(sys, "argv", ["steps", f"--json={tmp_path / 'measured.json'}"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")  # which `main` sets, so that it is as before after the test
    steps.main()
    names = [steps.described(case) for case in tiny]
    printed = capsys.readouterr().out
    assert [printed.count(f"| {name} |") for name in names] == [3, 1]
    measured = json.loads((tmp_path / "measured.json").read_text())
    operations = measured["operations"][names[0]]
    assert operations["kinds_ms"].keys() >= {"MatMul", "Sigmoid", "Tanh", "TanhGrad", "Mul", "Split"}
    assert min(operations["step_ms"], operations["gflops"]) > 0
    short, long = (measured["compilation"][name] for name in names)
    assert 0 < short["nodes"] < long["nodes"]
    assert min(short["trace"], short["compile"]) > 0
    assert set(measured["chains"][names[0]]["step_ms"]) == {"1", "2"}


def test_the_profile_of_a_step_has_the_medians_of_nodes_by_kind_per_step():
    space = xplane_pb2.XSpace()
    plane = space.planes.add()
    line = plane.lines.add()
    durations = {"a:_MklMatMul": [2, 2, 50], "b/c:MatMul": [1, 1, 1], "d:Mul": [4], "Iterator::Root": [9], "train": [9]}
    for number, (name, of_node) in enumerate(durations.items()):
        plane.event_metadata[number].name = name
        for ms in of_node:
            line.events.add(metadata_id=number, duration_ps=ms * 10**9)
    of_kinds = step_ways.milliseconds_by_kind(space.SerializeToString(), 2)
    assert of_kinds == {"MatMul": 4.5, "Mul": 2.0}


def test_the_largest_kinds_of_operations_have_shares_and_the_rest_one():
    of_kinds = dict.fromkeys("abcdefghij", 1.0)
    assert steps.shares(of_kinds) == ", ".join(f"{kind} 10%" for kind in "abcdefgh") + ", the rest 20%"
    assert steps.shares({"MatMul": 3.0, "Mul": 1.0}) == "MatMul 75%, Mul 25%"


def test_the_row_of_a_preset_has_the_spread_of_its_runs_and_how_many_end_as_the_book_does():
    ends = {"epochs": 500, "sample": "s", "tokens_per_sec": 1000}
    runs = [{**ends, "seconds": s, "perplexity": p, "at_the_end": e} for s, p, e in ((9, 1.04, 1.1), (20, 1.2, 1.17))]
    assert presets.row("lstm_concise", runs) == (
        "| lstm_concise | 500 | 14 [9 to 20] | 1,000 [1,000 to 1,000] | 1.12 [1.04 to 1.20] | 1.14 [1.10 to 1.17] "
        "| 1 of 2 (1.1) | `s` |"
    )
    assert presets.row("jay_gru_scratch", runs[:1]) == "| jay_gru_scratch | 500 | 9 | 1,000 | 1.04 | 1.10 | - | `s` |"


def test_the_published_perplexities_are_those_in_the_table_of_the_readme():
    rows = [line.split("|") for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if "|" in line]
    stated = {
        row[3].strip(" `"): row[6].strip() for row in rows if len(row) > 6 and row[3].strip(" `") in presets.NAMES
    }
    assert list(stated) == presets.NAMES
    assert {name: float(value) for name, value in stated.items() if value} == presets.PUBLISHED


@pytest.mark.slow
def test_presets_are_trained_with_each_seed_and_number_of_chains(tmp_path):
    file = tmp_path / "measured.json"
    flags = ["rnn_concise", "--epochs=2", "--seeds=0,1", "--chains=1,2", f"--json={file}"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.presets", *flags],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert "| 0 of 4 (1.4) |" in done.stdout
    runs = json.loads(file.read_text())["rnn_concise"]
    assert [(run["seed"], run["chains"]) for run in runs] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert len({run["perplexity"] for run in runs}) > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"weight_drop": 0.2, "kernels_alone": True, "optimizer": "AdamW", "of_optimizer": (("passes_to_decay", 2),)},
        {"embedding_dim": 8, "embedding_dropout": 0.1, "activation": 0.1, "change": 0.1},
        {"cell": "zoneout"},
        {"cell": "normalized"},
        {"cell": "minimal"},
        {"merges": 20, "embedding_dim": 8},
    ],
    ids=str,
)
def test_a_change_of_a_recipe_is_measured_in_bits_of_the_held_out_text(change):
    text = "".join(np.random.default_rng(0).choice(["to be ", "or not ", "to see "], 3000))
    recipe = techniques.Recipe(units=16, rows=4, num_steps=16, **change)
    bits, seconds, _ = techniques.measure(recipe, text, 1.0, 2, 0)
    assert 0.2 < bits < 1.0  # the words are drawn: log2(3) bits for each, of about 6.3 characters, are the least
    assert seconds > 0


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
