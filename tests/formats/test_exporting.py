"""Exported files, read here and by programs that cannot import tfrnn."""

import json
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from export_models import CONFIGS, VOCABULARY, eager_step, model_of, run_without_tfrnn, shared_model

import tfrnn
from tfrnn import export as export_command
from tfrnn.errors import UserError
from tfrnn.formats import exporting
from tfrnn.formats.exported_step import compare_with_model, logits_and_rounding_bound

STEP_FORMATS = ("saved_model", "litert", "onnx")
# The quick tests export each format once, and each option of the models once; the slow ones export all models.
QUICK = [("saved_model", "gru_scratch"), ("litert", "lstm_scratch"), ("onnx", "rnn_keras")]
# Reads exports [(format, folder), ...] and writes the logits of all steps, and a text that a SavedModel generates.
READER = """
def saved_model_step(folder):
    import tensorflow as tf
    loaded = tf.saved_model.load(folder)
    def step(inputs):
        outputs = loaded.signatures["step"](**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in outputs.items()}
    return step

def litert_step(folder):
    from ai_edge_litert.interpreter import Interpreter
    runner = Interpreter(folder + "/model.tflite").get_signature_runner()
    return lambda inputs: runner(**inputs)

def onnx_step(folder):
    import onnxruntime
    session = onnxruntime.InferenceSession(folder + "/model.onnx")
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(None, inputs)))

def generated(folder, prefix, length):
    import tensorflow as tf
    generate = tf.saved_model.load(folder).signatures["generate"]
    names = json.load(open(folder + "/vocabulary.json"))
    ids = tf.constant([[names.index(c)] for c in prefix])
    ids = generate(prefix=ids, length=tf.constant(length), temperature=tf.constant(0.0), seed=tf.constant(0))["ids"]
    return prefix + "".join(names[i] for i in ids[:, 0].numpy())

logits, texts, ids = {}, {}, np.load(sys.argv[1] + "/ids.npy")
for form, folder in json.loads(sys.argv[2]):
    step = globals()[form + "_step"](folder)
    about = json.load(open(folder + "/export.json"))["step"]
    sizes = {name: int(form.split()[-1][:-1]) for name, form in about["inputs"].items() if name != "ids"}
    states = {name: np.zeros([ids.shape[1], size], "f") for name, size in sizes.items()}
    steps = []
    for row in ids:
        outputs = step({"ids": row, **states})
        states = {name: np.asarray(outputs["new_" + name]) for name in states}
        steps.append(np.asarray(outputs["logits"]))
    logits[folder] = np.stack(steps)
    if form == "saved_model":
        texts[folder] = generated(folder, "abc", 40)
np.savez(sys.argv[1] + "/logits.npz", **logits)
assert "tfrnn" not in sys.modules
print(json.dumps(texts))
"""


def quick_or_slow(pairs):
    """Format and model of all pairs; those that are not in QUICK are slow."""
    return [pytest.param(*pair, id="-".join(pair), marks=[] if pair in QUICK else pytest.mark.slow) for pair in pairs]


saved_models = pytest.mark.parametrize(
    "name", [pytest.param(*p.values[1:], marks=p.marks) for p in quick_or_slow([("saved_model", n) for n in CONFIGS])]
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param(QUICK, id="each format once"),
        pytest.param([(f, n) for f in STEP_FORMATS for n in CONFIGS], id="all models", marks=pytest.mark.slow),
    ],
)
def test_exports_return_the_models_logits_and_texts_in_a_process_without_tfrnn(pairs, exported, tmp_path):
    ids = np.random.default_rng(0).integers(0, len(VOCABULARY), [30, 3]).astype(np.int32)
    np.save(tmp_path / "ids.npy", ids)
    folders = {pair: str(exported(*pair)) for pair in pairs}
    texts = run_without_tfrnn(READER, tmp_path, json.dumps([(form, folder) for (form, _), folder in folders.items()]))
    wrong = []
    with np.load(tmp_path / "logits.npz") as logits:
        for (form, name), folder in folders.items():
            model = shared_model(name)
            expected, bound = logits_and_rounding_bound(model, ids)
            wrong += [(form, name)] * bool((np.abs(logits[folder] - expected) > bound).any())
            if form == "saved_model" and json.loads(texts)[folder] != tfrnn.generate(model, VOCABULARY, "abc", 40):
                wrong.append((form, name, "generate"))
    assert wrong == []


@saved_models
def test_the_exported_loop_generates_as_tfrnn_does(name, exported):
    generate = tf.saved_model.load(str(exported("saved_model", name))).signatures["generate"]
    model = shared_model(name)

    def texts(temperature, seed, length, prefixes=("abc",)):
        prefix = tf.constant(np.stack([VOCABULARY.encode(text) for text in prefixes], 1))
        arguments = {"length": tf.constant(length), "seed": tf.constant(seed)}
        ids = generate(prefix=prefix, temperature=tf.constant(temperature), **arguments)["ids"]
        return [text + VOCABULARY.decode(ids[:, row]) for row, text in enumerate(prefixes)]

    assert texts(0.0, 1, 40) == [tfrnn.generate(model, VOCABULARY, "abc", 40)]
    assert texts(1.0, 1, 40) == texts(1.0, 1, 40) != texts(1.0, 2, 40)
    assert "<unk>" not in texts(100.0, 1, 200)[0]
    assert texts(1.0, 1, 0) == ["abc"]
    rows = ("abc", "eda")
    assert texts(0.0, 0, 40, rows) == [tfrnn.generate(model, VOCABULARY, text, 40) for text in rows]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "name"), quick_or_slow([*QUICK, *(("saved_model", name) for name in CONFIGS if name != "gru_scratch")])
)
def test_line_to_load_loads_the_export(form, name, exported):
    namespace: dict = {}
    exec(exporting.FORMATS[form].next_steps(exported(form, name))["load it in Python"], namespace)
    assert namespace["model"]


def test_the_command_offers_all_formats():
    (field,) = (field for field, _ in export_command.Export.fields() if field.name == "format")
    assert field.metadata["choices"] == tuple(exporting.FORMATS)


def test_a_file_that_does_not_hold_the_model_is_not_exported(tmp_path, monkeypatch):
    """This format writes the model with one weight changed."""
    config = CONFIGS["lstm_keras"]

    def write(model, folder, vocabulary, config):
        (folder / "weights").write_bytes(b"")
        return {}

    def check(model, folder):
        written = model_of(config)
        written.weights[0].assign(written.weights[0] * (np.arange(48) != 5))
        return compare_with_model(model, eager_step(written))

    monkeypatch.setitem(exporting.FORMATS, "wrong", types.SimpleNamespace(write=write, check=check))
    with pytest.raises(UserError, match="so nothing is exported"):
        exporting.export(shared_model("lstm_keras"), VOCABULARY, config, "wrong", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("form", "package"), [("safetensors", "safetensors"), ("onnx", "tf2onnx"), ("litert", "ai-edge-litert")]
)
def test_a_missing_package_is_named(form, package, tmp_path, monkeypatch):
    for name in ("safetensors.numpy", "tf2onnx", "ai_edge_litert.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    config = CONFIGS["lstm_keras"]
    message = f"`format`: this format needs the package {package}, which is not installed; run `pip install {package}`"
    with pytest.raises(UserError, match=message):
        exporting.export(shared_model("lstm_keras"), VOCABULARY, config, form, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
