"""The documentation is true: examples in docstrings, the guide's programs, the reference that is made of docstrings."""

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from entry_points import SMALL, run

import tfrnn
from tfrnn import train

ROOT = Path(__file__).parents[1]
FILES = [path for path in sorted((ROOT / "tfrnn").rglob("*.py")) if ">>> " in path.read_text()]
MODULES = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_in_docstrings_are_true(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if module == "tfrnn.runs.loading":
        assert run(train.main, *SMALL, "--run_dir=runs/first")[0] == 0
    names = {"keras": keras, "np": np, "tfrnn": tfrnn}
    results = doctest.testmod(importlib.import_module(module), extraglobs=names)
    assert results.attempted
    assert not results.failed


def test_what_a_reader_uses_first_has_an_example():
    names = {"Trainer", "activations", "beam_search", "gates", "generate", "load_corpus", "load_run", "score", "stream"}
    names |= {"LanguageModel", "SequenceLabeller", "Forecaster", "Sampler", "Vocabulary", "transfer_weights"}
    names |= {"RNN", "Bidirectional", "RNNCell", "GRUCell", "LSTMCell"}
    names |= {"sequential_batches", "random_batches", "labelled_batches"}
    assert [name for name in sorted(names) if ">>> " not in getattr(tfrnn, name).__doc__] == []


@pytest.mark.slow
def test_the_programs_in_readme_and_guide_run_from_top_to_bottom(tmp_path, monkeypatch):
    if "TFRNN_DATA_DIR" not in os.environ:
        pytest.skip("needs the file of tiny_shakespeare in TFRNN_DATA_DIR")
    monkeypatch.chdir(tmp_path)
    model = ["--cell=gru", "--units=160", "--corpus=tiny_shakespeare", "--epochs=1"]
    assert run(train.main, *model, "--run_dir=runs/shakespeare")[0] == 0
    theirs = tfrnn.RNN([tfrnn.GRUCell(256, reset_after=True) for _ in range(2)])
    theirs.build([None, None, 28])
    keras_cell = keras.layers.LSTMCell(256)
    keras_cell.build([None, 28])

    class TorchGRU:
        def state_dict(self):
            return {name: tf.constant(array) for name, array in tfrnn.to_pytorch(theirs).items()}

    names = {"keras_cell": keras_cell, "torch_gru": TorchGRU()}
    text = (ROOT / "docs" / "guide.md").read_text()
    programs = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    programs = [program for program in programs if "import torch" not in program]  # see test_safetensors
    assert programs
    for program in programs:
        exec(compile(program, "guide.md", "exec"), names)


@pytest.mark.slow
def test_the_reference_is_built_without_a_warning_and_has_every_public_name(tmp_path):
    (flags,) = re.findall(r"bin/python (-W error -m pdoc .*?) +#", (ROOT / "BUILD.md").read_text())
    command = [sys.executable, *flags.replace("-o site", f"-o {tmp_path}").split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    page, of_the_book = ((tmp_path / name).read_text() for name in ("tfrnn.html", "tfrnn/d2l.html"))
    sections = {section.partition('"')[0]: section for section in page.split('<section id="')[1:]}
    modules = {"d2l", "heat_map", "memorisation", "samplers", "series"}
    assert set(sections) >= set(tfrnn.__all__) - modules
    assert [name for name, section in sections.items() if '<div class="docstring"><p>' not in section] == ["GREEDY"]
    assert set(tfrnn.d2l.__all__) <= set(re.findall(r'<section id="(\w+)">', of_the_book))
    assert (tmp_path / "tfrnn" / "samplers.html").exists()
