"""Exports, read by programs that know nothing of the package."""

import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from entry_points import SMALL, run

import tfrnn
from tfrnn import export as export_command
from tfrnn import train
from tfrnn.config.config import Config
from tfrnn.config.sections import CELLS
from tfrnn.errors import UserError
from tfrnn.formats import exporting
from tfrnn.models.building import build_language_model

GUIDE = (Path(__file__).parents[2] / "docs" / "guide.md").read_text()
VOCABULARY = tfrnn.Vocabulary.from_text("abcde ")
STEPS = 30
# One step after the other, in a process that cannot import the package; prints the logits of all steps.
READ = {
    "saved_model": """
import tensorflow as tf
loaded = tf.saved_model.load(folder)
def step(inputs):
    outputs = loaded.signatures["step"](**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: value.numpy() for name, value in outputs.items()}
""",
    "litert": """
from ai_edge_litert.interpreter import Interpreter
runner = Interpreter(folder + "/model.tflite").get_signature_runner()
step = lambda inputs: runner(**inputs)
""",
    "onnx": """
import onnxruntime
session = onnxruntime.InferenceSession(folder + "/model.onnx")
names = [output.name for output in session.get_outputs()]
step = lambda inputs: dict(zip(names, session.run(None, inputs)))
""",
}
ALONE = """
import importlib.machinery, importlib.util, json, sys
import numpy as np
sys.path = [path for path in sys.path if not importlib.machinery.PathFinder.find_spec("tfrnn", [path])]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder)]
assert importlib.util.find_spec("tfrnn") is None
"""
PROGRAM = """
found = {}
for folder in sys.argv[2:]:
    READ
    about = json.load(open(folder + "/export.json"))["step"]
    ids = np.load(sys.argv[1])
    sizes = {name: int(form.split()[-1][:-1]) for name, form in about["inputs"].items() if name != "ids"}
    states = {name: np.zeros([ids.shape[1], size], "f") for name, size in sizes.items()}
    logits = []
    for row in ids:
        outputs = step({"ids": row, **states})
        states = {name: np.asarray(outputs["new_" + name]) for name in states}
        logits.append(np.asarray(outputs["logits"]))
    found[folder] = np.stack(logits)
np.savez(sys.argv[1] + ".logits.npz", **found)
assert "tfrnn" not in sys.modules
"""


def config_of(cell, implementation, **settings):
    settings = {"units": 12, "num_layers": 2, "prefix": ("ab",), **settings}
    return Config().replace(cell=cell, implementation=implementation, **settings)


def model_of(config):
    random = np.random.default_rng(3)
    model = build_language_model(config.model, len(VOCABULARY))
    model.build()
    for weight in model.weights:
        weight.assign(random.normal(0, 0.5, weight.shape))
    return model


CONFIGS = {
    f"{cell}_{implementation}": config_of(cell, implementation, **more)
    for (cell, implementation), more in zip(
        itertools.product(CELLS, ("scratch", "keras")),
        [{}, {"embedding_dim": 5}, {"tie_weights": True, "embedding_dim": 12}, {}, {"dropout": 0.5}, {"num_layers": 1}],
        strict=True,
    )
}


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """An export of each kind of model in each format: {format: {name: folder}}."""
    folder = tmp_path_factory.mktemp("exports")
    found = {form: {name: folder / form / name for name in CONFIGS} for form in exporting.FORMATS}
    for form, folders in found.items():
        for name, path in folders.items():
            exporting.export(model_of(CONFIGS[name]), VOCABULARY, CONFIGS[name], form, path)
    return found


def alone(program, *arguments):
    """Runs a program that cannot import the package."""
    arguments = [sys.executable, "-c", ALONE + program, *map(str, arguments)]
    result = subprocess.run(arguments, capture_output=True, text=True, cwd="/")
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("form", READ)
def test_an_exported_step_gives_the_same_logits_in_a_process_without_the_package(form, exports, tmp_path):
    ids = np.random.default_rng(0).integers(0, len(VOCABULARY), [STEPS, 3]).astype(np.int32)
    np.save(tmp_path / "ids.npy", ids)
    read = READ[form].replace("\n", "\n    ")
    alone(PROGRAM.replace("READ", read), tmp_path / "ids.npy", *exports[form].values())
    with np.load(tmp_path / "ids.npy.logits.npz") as found:
        for name, folder in exports[form].items():
            expected, _ = model_of(CONFIGS[name])(ids)
            np.testing.assert_allclose(found[str(folder)], expected, 1e-5, 1e-5)


def test_the_exported_loop_generates(exports):
    for name, folder in exports["saved_model"].items():
        generate = tf.saved_model.load(str(folder)).signatures["generate"]

        def text(temperature, seed, length=40, generate=generate):
            prefix = tf.constant(VOCABULARY.encode("abc")[:, None])
            arguments = {"length": tf.constant(length), "seed": tf.constant(seed)}
            ids = generate(prefix=prefix, temperature=tf.constant(temperature), **arguments)["ids"]
            return "abc" + VOCABULARY.decode(ids[:, 0])

        assert text(0.0, 1) == tfrnn.generate(model_of(CONFIGS[name]), VOCABULARY, "abc", 40)
        assert text(1.0, 1) == text(1.0, 1) != text(1.0, 2)
        assert "<unk>" not in text(100.0, 1, 200)
        assert text(1.0, 1, 0) == "abc"


def test_rows_are_generated_side_by_side(exports):
    generate = tf.saved_model.load(str(exports["saved_model"]["lstm_keras"])).signatures["generate"]
    prefix = tf.constant(np.stack([VOCABULARY.encode(text) for text in ("abc", "eda")], 1))
    ids = generate(prefix=prefix, length=tf.constant(9), temperature=tf.constant(0.0), seed=tf.constant(0))["ids"]
    model = model_of(CONFIGS["lstm_keras"])
    for row, text in enumerate(("abc", "eda")):
        assert text + VOCABULARY.decode(ids[:, row]) == tfrnn.generate(model, VOCABULARY, text, 9)


@pytest.mark.slow
def test_the_exported_loop_generates_in_a_process_without_the_package_too(exports):
    program = """
import tensorflow as tf
generate = tf.saved_model.load(sys.argv[1]).signatures["generate"]
names = json.load(open(sys.argv[1] + "/vocabulary.json"))
prefix = tf.constant([[names.index(c)] for c in "abc"])
ids = generate(prefix=prefix, length=tf.constant(30), temperature=tf.constant(0.0), seed=tf.constant(0))["ids"]
print("abc" + "".join(names[i] for i in ids[:, 0].numpy()))
"""
    folder = exports["saved_model"]["gru_keras"]
    assert alone(program, folder) == tfrnn.generate(model_of(CONFIGS["gru_keras"]), VOCABULARY, "abc", 30) + "\n"


def test_the_command_offers_all_formats_that_there_are():
    (field,) = (field for field, _ in export_command.Export.fields() if field.name == "format")
    assert field.metadata["choices"] == tuple(exporting.FORMATS)


@pytest.mark.parametrize("name", CONFIGS)
def test_safetensors_are_loaded_back(name, exports):
    model, vocabulary, config = tfrnn.load_export(exports["safetensors"][name])
    assert (vocabulary.id_to_token, config) == (VOCABULARY.id_to_token, CONFIGS[name])
    for ours, theirs in zip(model.get_weights(), model_of(CONFIGS[name]).get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_have_readable_names(exports):
    description = json.loads((exports["safetensors"]["rnn_keras"] / "export.json").read_text())
    assert description["weights"] == {
        "rnn.0.kernel": [5, 12],
        "rnn.0.recurrent_kernel": [12, 12],
        "rnn.0.bias": [12],
        "rnn.1.kernel": [12, 12],
        "rnn.1.recurrent_kernel": [12, 12],
        "rnn.1.bias": [12],
        "embedding.embeddings": [7, 5],
        "dense.kernel": [12, 7],
        "dense.bias": [7],
    }


def test_the_mapping_to_pytorch_in_the_guide_gives_the_same_logits(exports, tmp_path):
    pytest.importorskip("torch")
    (program,) = re.findall(r"```python\n(# Reads an export into PyTorch.*?)```", GUIDE, re.DOTALL)
    ids = np.random.default_rng(0).integers(1, len(VOCABULARY), [STEPS, 1]).astype(np.int64)
    for name in ("rnn_scratch", "rnn_keras", "gru_keras", "lstm_scratch", "lstm_keras"):
        file = tmp_path / f"{name}.npy"
        np.save(file, ids)
        computed = f"logits(torch.tensor(numpy.load({str(file)!r}))).detach().numpy()"
        shown = f"\nimport numpy\nnumpy.save({str(file)!r}, {computed})"
        alone(program.replace("my_export", str(exports["safetensors"][name])) + shown)
        expected, _ = model_of(CONFIGS[name])(ids.astype(np.int32))
        np.testing.assert_allclose(np.load(file), expected, 1e-5, 1e-5)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export_command") / "run"
    assert run(train.main, *SMALL, f"--run_dir={folder}")[0] == 0
    return folder


@pytest.mark.parametrize("form", exporting.FORMATS)
def test_the_command_says_where_and_how_well(form, run_dir):
    status, out, err = run(export_command.main, f"--run_dir={run_dir}", f"--format={form}")
    assert (status, out) == (0, f"{run_dir}/{form}\n"), err
    assert "read back and compared" in err
    _, load = err.splitlines()
    namespace: dict = {}
    exec(load.removeprefix("to load it in Python: "), namespace)
    assert namespace["model"]
    first = {path: path.read_bytes() for path in (run_dir / form).glob("*.json")}
    assert run(export_command.main, f"--run_dir={run_dir}", f"--format={form}")[0] == 0  # over the one before
    assert {path: path.read_bytes() for path in (run_dir / form).glob("*.json")} == first
    assert {path.name for path in run_dir.iterdir()} >= {"config.json", "checkpoints", form}
    assert {path.name for path in run_dir.glob(f"{form}*")} == {form}


def test_the_current_folder_and_its_neighbours(run_dir, tmp_path, monkeypatch):
    for name in ("out", "out.new"):
        (tmp_path / name).mkdir()
    (tmp_path / "out.new" / "mine.txt").write_text("mine")
    monkeypatch.chdir(tmp_path / "out")
    assert run(export_command.main, f"--run_dir={run_dir}", "--format=safetensors", "--output_dir=.")[0] == 0
    assert (tmp_path / "out" / "model.safetensors").exists()
    assert (tmp_path / "out.new" / "mine.txt").read_text() == "mine"


def test_an_export_takes_the_place_of_nothing_else(run_dir, tmp_path):
    flags = [f"--run_dir={run_dir}", "--format=safetensors"]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("all my work")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "thesis")
    assert run(export_command.main, *flags, f"--output_dir={tmp_path}/old")[0] == 0
    (tmp_path / "old" / "notes.txt").write_text("mine")
    shutil.copytree(tmp_path / "thesis", tmp_path / "liar")
    (tmp_path / "liar" / "export.json").write_text("[" * 10**6)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name, message in {
        "thesis": "it holds chapter.txt",
        "file": "it is a file or a link",
        "link": "it is a file or a link",
        "old": "it holds notes.txt",
        "liar": "it holds chapter.txt, export.json",
        "file/below": "File exists",
    }.items():
        status, out, err = run(export_command.main, *flags, f"--output_dir={tmp_path}/{name}")
        assert (status, out, err.count("\n")) == (2, "", 1), err
        assert message in err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    (tmp_path / "empty").mkdir()
    assert run(export_command.main, *flags, f"--output_dir={tmp_path}/empty")[0] == 0


def test_an_interrupted_export_leaves_the_one_before(run_dir, tmp_path, monkeypatch):
    flags = [f"--run_dir={run_dir}", "--format=safetensors", f"--output_dir={tmp_path}/out"]
    assert run(export_command.main, *flags)[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting.durable, "write", full)
    status, _, err = run(export_command.main, *flags)
    assert (status, "No space left" in err) == (2, True)
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("flags", "message"),
    {
        "": "--run_dir must name",
        "--run_dir=nowhere": "there is no such folder; name another, or train first",
        "--run_dir={} --format=pickle": "one of saved_model, safetensors, litert, onnx",
        "--run_dir={} --checkpoint=first": "one of best",
    }.items(),
)
def test_a_wrong_use_is_one_line(flags, message, run_dir):
    status, out, err = run(export_command.main, *flags.replace("{}", str(run_dir)).split())
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_format_whose_package_is_missing_says_which(run_dir, monkeypatch, tmp_path):
    for form, package in (("safetensors", "safetensors"), ("onnx", "tf2onnx"), ("litert", "ai-edge-litert")):
        for name in ("safetensors.numpy", "tf2onnx", "ai_edge_litert.interpreter"):
            monkeypatch.setitem(sys.modules, name, None)
        status, _, err = run(
            export_command.main, f"--run_dir={run_dir}", f"--format={form}", f"--output_dir={tmp_path}/out"
        )
        assert (status, err.count("\n")) == (2, 1)
        assert f"needs the package {package}, which is not installed; `pip install {package}`" in err
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 100), "cannot be read"),
        (
            lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-9]),
            "cannot be read",
        ),
        (lambda f: (f / "config.json").unlink(), "no config.json"),
        (lambda f: (f / "config.json").write_text((f / "config.json").read_text().replace("12", "13")), "expected the"),
        (lambda f: (f / "vocabulary.json").write_text('["<unk>"]'), "expected the weights"),
    ],
)
def test_a_strangers_safetensors_are_refused(spoil, message, exports, tmp_path):
    shutil.copytree(exports["safetensors"]["gru_keras"], tmp_path / "export")
    spoil(tmp_path / "export")
    with pytest.raises(UserError, match=message):
        tfrnn.load_export(tmp_path / "export")
