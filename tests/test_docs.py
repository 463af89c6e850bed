"""The documentation is true: examples in docstrings, programs in the guide, the API reference, names of files."""

import contextlib
import doctest
import importlib
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from entry_points import run
from test_architecture import LAYERS

import tfrnn
from tfrnn import train
from tfrnn.d2l.editions import EDITIONS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks" / "README.md"])
FILES_WITH_EXAMPLES = [path for path in sorted((ROOT / "tfrnn").rglob("*.py")) if ">>> " in path.read_text()]
MODULES_WITH_EXAMPLES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES_WITH_EXAMPLES
]
# TensorFlow writes these lines whatever its log level is.
TENSORFLOW_LOG = re.compile(r"WARNING: All log messages before absl::|[IW]0000 |To enable the following instructions")


@pytest.mark.parametrize("module", MODULES_WITH_EXAMPLES)
def test_examples_in_docstrings_are_true(module, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    if module == "tfrnn.models.loading":
        shutil.copytree(request.getfixturevalue("small_run"), "runs/first")
    results = doctest.testmod(importlib.import_module(module), extraglobs={"keras": keras, "np": np, "tfrnn": tfrnn})
    assert results.attempted
    assert not results.failed


def test_names_that_readers_use_first_have_an_example():
    names = {"Trainer", "activations", "beam_search", "gates", "generate", "load_corpus", "load_run", "score", "stream"}
    names |= {"LanguageModel", "SequenceLabeller", "Forecaster", "Sampler", "Vocabulary", "transfer_weights"}
    names |= {"RNN", "Bidirectional", "RNNCell", "GRUCell", "LSTMCell"}
    names |= {"sequential_batches", "random_batches", "labelled_batches"}
    assert [name for name in sorted(names) if ">>> " not in getattr(tfrnn, name).__doc__] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_named_in_documents_exist(path):
    text = path.read_text()
    if path.name == "CHANGELOG.md":  # an old version's files may be gone
        text = text.partition("## 0.1.0")[0]
    names = re.findall(r"(?<![\w/.])(?:tfrnn|tests|benchmarks|colab|docs|\.ci|\.pdoc)/[\w./]*\w", text)
    names += [f"{module.replace('.', '/')}.py" for module in re.findall(r"python -m (benchmarks\.\w+)", text)]
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_readme_lists_every_package():
    section = (ROOT / "README.md").read_text().partition("## Where things are")[2]
    packages = [path.parent.name for path in sorted((ROOT / "tfrnn").glob("*/__init__.py"))]
    assert sorted(re.findall(r"^  (\w+)/ ", section, re.MULTILINE)) == packages


def test_layers_in_the_design_are_those_that_are_checked():
    rows = re.findall(r"^\| (\d) \| (.*) \|$", (ROOT / "docs" / "design.md").read_text(), re.MULTILINE)
    documented = {int(number): set(re.findall(r"`(\w+)`", packages)) for number, packages in rows}
    assert documented == {number: set(packages) for number, packages in enumerate(LAYERS, 1)}


@pytest.mark.slow
def test_python_programs_in_the_guide_run_from_top_to_bottom(tmp_path, monkeypatch):
    if "TFRNN_DATA_DIR" not in os.environ:
        pytest.skip("needs the file of tiny_shakespeare in TFRNN_DATA_DIR")
    monkeypatch.chdir(tmp_path)
    model = ["--cell=gru", "--units=160", "--corpus=tiny_shakespeare", "--epochs=1"]
    assert run(train.main, *model, "--run_dir=runs/shakespeare")[0] == 0
    two_grus = tfrnn.RNN([tfrnn.GRUCell(256, reset_after=True) for _ in range(2)])
    two_grus.build((None, None, 28))
    keras_cell = keras.layers.LSTMCell(256)
    keras_cell.build([None, 28])

    class TorchGRU:
        def state_dict(self):
            return {name: tf.constant(array) for name, array in tfrnn.to_pytorch(two_grus).items()}

    names = {"keras_cell": keras_cell, "torch_gru": TorchGRU()}
    text = (ROOT / "docs" / "guide.md").read_text()
    programs = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    programs = [program for program in programs if "import torch" not in program]  # tests/formats runs that one
    assert programs
    for program in programs:
        exec(compile(program, "guide.md", "exec"), names)
        with contextlib.redirect_stdout(io.StringIO()):
            tfrnn.d2l.as_printed().undo()  # what one program has changed


@pytest.mark.slow
def test_reference_is_built_without_warnings_and_describes_every_public_name(tmp_path):
    (arguments,) = re.findall(r"bin/python (-W error -m pdoc .*?)\n```", (ROOT / "BUILD.md").read_text(), re.DOTALL)
    command = [sys.executable, *arguments.replace("\\\n", " ").replace("-o site", f"-o {tmp_path}").split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    messages = [line for line in done.stderr.splitlines() if not TENSORFLOW_LOG.match(line)]
    assert (done.returncode, done.stdout, messages) == (0, "", [])
    page = (tmp_path / "tfrnn.html").read_text()
    sections = {section.partition('"')[0]: section for section in page.split('<section id="')[1:]}
    modules = {name for name in tfrnn.__all__ if isinstance(getattr(tfrnn, name), type(tfrnn))}
    assert set(sections) >= set(tfrnn.__all__) - modules
    assert [name for name, section in sections.items() if '<div class="docstring"><p>' not in section] == ["GREEDY"]
    for name in EDITIONS:
        edition, its_page = importlib.import_module(name), (tmp_path / f"{name.replace('.', '/')}.html").read_text()
        ours = {n for n in edition.__all__ if getattr(getattr(edition, n), "__module__", "").startswith("tfrnn.")}
        assert "as_printed" in ours
        assert ours <= set(re.findall(r'<section id="(\w+)">', its_page))
    pages = {name: getattr(tfrnn, name).__name__.replace(".", "/") + ".html" for name in modules}
    assert [page for page in pages.values() if not (tmp_path / page).exists()] == []
