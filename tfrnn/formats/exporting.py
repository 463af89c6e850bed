"""A trained model as files that other programs read.

Letters: B rows side by side, P tokens of a prefix, V vocab_size, H units.

All formats but safetensors hold one step of the model as a function: `ids` [B] and `state_0`, `state_1`, ... [B, H] go
in, `logits` [B, V] of the next token and `new_state_0`, ... come out. The state is zeros at first, and has its tensors
layer by layer, for an LSTM hidden state and memory cell.
"""

import contextlib
import importlib
import itertools
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrnn.config.config import Config
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import MissingFileError, UserError
from tfrnn.inference import samplers
from tfrnn.models.model import LanguageModel, build_language_model
from tfrnn.runs.run_dir import CONFIG, VOCABULARY, RunDir
from tfrnn.runtime import durable, runtime

DESCRIPTION = "export.json"  # by which an export is known
SAFETENSORS, LITERT, ONNX = "model.safetensors", "model.tflite", "model.onnx"
MOST_DIFFERENCE = 1e-5  # of logits, beyond which an export is wrong
OPSET = 18  # of ONNX
CHECKED = 20  # steps that are compared
_Step = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]  # one step of an exported file, by its own runtime


def export(model: Any, vocabulary: Vocabulary, config: Config, form: str, folder: Path) -> str:
    """Writes a model, its settings and its vocabulary into a folder, and reads them back; gives what was found then.

    Args:
      model, vocabulary, config: as load_run gives them.
      form: a key of FORMATS.
      folder: new, empty, or of an earlier export, which is replaced once the new one is complete.
    Raises:
      UserError: the folder holds anything else or cannot be written; a package that the format needs is not installed.
    """
    write, check, _ = FORMATS[form]
    try:
        _check_folder(folder)
        folder = folder.resolve()  # "." has no name to stand beside
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as beside:
            new, old = Path(beside) / "new", Path(beside) / "old"
            new.mkdir()
            with _quietly():
                interface = write(model, new)
                found = check(model, new)
            durable.write(new / VOCABULARY, vocabulary.to_json().encode())
            durable.write(new / CONFIG, _json(config.to_dict()))
            files = sorted(str(path.relative_to(new)) for path in new.rglob("*") if path.is_file())
            described = {"format": form, **interface, "files": [DESCRIPTION, *files]}
            durable.write(new / DESCRIPTION, _json(described))
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
    except (OSError, tf.errors.OpError) as error:
        reason = error.message if isinstance(error, tf.errors.OpError) else error.strerror or error
        raise UserError(
            f"--output_dir={folder}: expected a folder that can be written, but {reason}; name another"
        ) from None
    return found


def load_export(folder: str | Path) -> tuple[LanguageModel, Vocabulary, Config]:
    """The model, vocabulary and settings of an export in the format safetensors.

    It may come from a stranger: nothing of it is executed, and shapes are compared before anything is read.

    Args:
      folder: what `python -m tfrnn.export --format=safetensors` wrote.
    Raises:
      MissingFileError: the folder or one of its files is not there.
      UserError: it is no such export, or one of another model than its config.json describes.
    """
    safe_open = _needed("safetensors", "safetensors").safe_open
    run, path = RunDir(folder), Path(folder) / SAFETENSORS
    if missing := [name for name in (SAFETENSORS, CONFIG, VOCABULARY) if not (Path(folder) / name).is_file()]:
        raise MissingFileError(f"{folder}: expected an export in the format safetensors, but it has no {missing[0]}")
    config = run.config()
    vocabulary = run.vocabulary(config.data.tokens)
    expected = config.model.weight_shapes(len(vocabulary))
    runtime.check_memory(2 * config.model.weight_bytes(len(vocabulary)), f"the model that {folder} describes")
    model = build_language_model(config.model, len(vocabulary), initialized=False)
    model.build()
    names = list(model.named_weights)
    try:
        with safe_open(path, "numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it cannot be iterated over)
            there = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
            needed = {name: (shape, "F32") for name, shape in zip(names, expected, strict=True)}
            if wrong := sorted(name for name in {*needed, *there} if needed.get(name) != there.get(name)):
                raise UserError(f"{path}: expected the weights that {CONFIG} describes, but {wrong[0]} is another")
            model.set_weights([file.get_tensor(name) for name in names])
    except UserError:
        raise
    except Exception as error:  # the library's own, which is a subclass of nothing else
        raise UserError(f"{path}: expected a file of safetensors, but it cannot be read ({error})") from None
    return model, vocabulary, config


def _write_saved_model(model: Any, folder: Path) -> dict[str, Any]:
    module = tf.Module()
    module.weights = [weight.value for weight in model.weights]
    step, interface = _step_of(model)

    def generate(prefix: tf.Tensor, length: tf.Tensor, temperature: tf.Tensor, seed: tf.Tensor) -> dict:
        rows = tf.shape(prefix)[1]
        logits, state = model(prefix, model.initial_state(rows), training=False)
        uniform = tf.random.stateless_uniform([length, rows], tf.stack([seed, 0]))

        def body(i: tf.Tensor, logits: tf.Tensor, state: Any, tokens: tf.TensorArray) -> tuple:
            known = samplers.without_unknown(logits)
            drawn = samplers.draw(known / tf.maximum(temperature, samplers.COLDEST), uniform[i])
            token = tf.where(temperature < samplers.COLDEST, samplers.greedy(known), drawn)
            logits, state = model(token[None], state, training=False)
            return i + 1, logits[0], state, tokens.write(i + 1, token)

        # The first element is none of the text: without any, a length of 0 could not be stacked.
        tokens = tf.TensorArray(tf.int32, length + 1, element_shape=[None]).write(0, tf.zeros([rows], tf.int32))
        *_, tokens = tf.while_loop(lambda i, *_: i < length, body, (0, logits[-1], state, tokens))
        return {"ids": tokens.stack()[1:]}

    inputs = [
        tf.TensorSpec([None, None], tf.int32, "prefix"),
        tf.TensorSpec([], tf.int32, "length"),
        tf.TensorSpec([], tf.float32, "temperature"),
        tf.TensorSpec([], tf.int32, "seed"),
    ]
    module.step, module.generate = step, tf.function(generate, inputs, autograph=False)
    signatures = {"step": module.step, "generate": module.generate}
    tf.saved_model.save(module, str(folder), signatures)
    described = {
        "prefix": "int32 [P, B], P at least 1",
        "length": "int32, at least 0",
        "temperature": "float32, 0: greedy",
        "seed": "int32",
    }
    return {"step": interface, "generate": {"inputs": described, "outputs": {"ids": "int32 [length, B]"}}}


def _check_saved_model(model: Any, folder: Path) -> str:
    loaded = tf.saved_model.load(str(folder))
    step = loaded.signatures["step"]
    return _compared(model, lambda inputs: step(**{name: tf.constant(value) for name, value in inputs.items()}))


def _write_litert(model: Any, folder: Path) -> dict[str, Any]:
    step, interface = _step_of(model)
    module = tf.Module()
    module.weights = [weight.value for weight in model.weights]
    converted = tf.lite.TFLiteConverter.from_concrete_functions([step.get_concrete_function()], module).convert()
    durable.write(folder / LITERT, converted)
    return {"step": interface}


def _check_litert(model: Any, folder: Path) -> str:
    interpreter = _needed("ai_edge_litert.interpreter", "ai-edge-litert").Interpreter(str(folder / LITERT))
    runner = interpreter.get_signature_runner()
    return _compared(model, lambda inputs: runner(**inputs))


def _write_onnx(model: Any, folder: Path) -> dict[str, Any]:
    converter = _needed("tf2onnx", "tf2onnx")
    step, interface = _step_of(model)
    converter.convert.from_function(step, step.input_signature, opset=OPSET, output_path=str(folder / ONNX))
    return {"step": interface}


def _check_onnx(model: Any, folder: Path) -> str:
    session = _needed("onnxruntime", "onnxruntime").InferenceSession(str(folder / ONNX))
    names = [output.name for output in session.get_outputs()]
    return _compared(model, lambda inputs: dict(zip(names, session.run(None, inputs), strict=True)))


def _write_safetensors(model: Any, folder: Path) -> dict[str, Any]:
    weights = {name: np.ascontiguousarray(weight.numpy()) for name, weight in model.named_weights.items()}
    durable.write(folder / SAFETENSORS, _needed("safetensors.numpy", "safetensors").save(weights))
    return {"weights": {name: list(array.shape) for name, array in weights.items()}}


def _check_safetensors(model: Any, folder: Path) -> str:
    found = _needed("safetensors.numpy", "safetensors").load_file(folder / SAFETENSORS)
    for name, weight in model.named_weights.items():
        if not np.array_equal(found[name], weight.numpy()):
            raise UserError(f"--format: {name} does not come back as it was written, so nothing is exported")
    return f"its {len(found)} weights are those of the model"


class Format(NamedTuple):
    """How a format is written and read back, and the line of Python that loads an export from a folder."""

    write: Callable[[Any, Path], dict[str, Any]]
    check: Callable[[Any, Path], str]
    load: Callable[[Path], str]


FORMATS = {
    "saved_model": Format(
        _write_saved_model,
        _check_saved_model,
        lambda folder: f"import tensorflow as tf; model = tf.saved_model.load({str(folder)!r})",
    ),
    "safetensors": Format(
        _write_safetensors,
        _check_safetensors,
        lambda folder: f"import tfrnn; model, vocabulary, config = tfrnn.load_export({str(folder)!r})",
    ),
    "litert": Format(
        _write_litert,
        _check_litert,
        lambda folder: (
            f"import ai_edge_litert.interpreter as litert; model = litert.Interpreter({str(folder / LITERT)!r})"
        ),
    ),
    "onnx": Format(
        _write_onnx,
        _check_onnx,
        lambda folder: f"import onnxruntime; model = onnxruntime.InferenceSession({str(folder / ONNX)!r})",
    ),
}


def _step_of(model: Any) -> tuple[Any, dict[str, Any]]:
    """One step as a function with a signature, and what goes in and out of it."""
    empty = model.initial_state(1)
    sizes = {f"state_{i}": tensor.shape[1] for i, tensor in enumerate(tf.nest.flatten(empty))}

    def step(ids: tf.Tensor, *states: tf.Tensor) -> dict[str, tf.Tensor]:
        logits, state = model(ids[None], tf.nest.pack_sequence_as(empty, list(states)), training=False)
        new = zip(sizes, tf.nest.flatten(state), strict=True)
        return {"logits": logits[0], **{f"new_{name}": tensor for name, tensor in new}}

    specs = [tf.TensorSpec([None, size], tf.float32, name) for name, size in sizes.items()]
    function = tf.function(step, [tf.TensorSpec([None], tf.int32, "ids"), *specs], autograph=False)
    inputs = {name: f"float32 [B, {size}]" for name, size in sizes.items()}
    outputs = {f"new_{name}": form for name, form in inputs.items()}
    interface = {
        "inputs": {"ids": "int32 [B]", **inputs},
        "outputs": {"logits": f"float32 [B, {model.vocab_size}]", **outputs},
    }
    return function, interface


def _compared(model: Any, step: _Step) -> str:
    """Runs two rows of tokens through an exported step, beside the model. Raises UserError where they differ."""
    ids = (np.arange(2 * CHECKED).reshape(CHECKED, 2) * 7 % (model.vocab_size - 1) + 1).astype(np.int32)
    with tf.device("/CPU:0"):  # where the other runtimes compute; a GPU may round more
        expected, expected_state = model(tf.constant(ids), training=False)
    states = [np.zeros([2, *tensor.shape[1:]], np.float32) for tensor in tf.nest.flatten(expected_state)]
    worst = 0.0
    for i in range(CHECKED):
        outputs = step({"ids": ids[i], **{f"state_{j}": state for j, state in enumerate(states)}})
        states = [np.asarray(outputs[f"new_state_{j}"]) for j in range(len(states))]
        worst = max(worst, float(np.abs(np.asarray(outputs["logits"]) - expected[i].numpy()).max()))
    scale = max(1.0, float(np.abs(expected.numpy()).max()))
    if not worst <= MOST_DIFFERENCE * scale:
        raise UserError(
            f"--format: expected the exported step to give the model's logits, but they differ by {worst:.1g}, so "
            "nothing is exported; try another format"
        )
    return f"over {CHECKED} steps its logits differ from the model's by at most {worst:.1g}"


def _needed(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(
            f"--format: this one needs the package {package}, which is not installed; `pip install {package}` does that"
        ) from None


def _check_folder(folder: Path) -> None:
    """Raises UserError where an export there would take the place of anything but another."""
    if not folder.is_symlink() and not folder.exists():
        return
    error = f"--output_dir={folder}: expected a new or empty folder, or an earlier export, but "
    if folder.is_symlink() or not folder.is_dir():
        raise UserError(f"{error}it is a file or a link; name another")
    try:
        own = set(json.loads(durable.read(folder / DESCRIPTION, 2**24))["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        own = set()
    if others := list(itertools.islice((name for name in _files(folder) if name not in own), 4)):
        raise UserError(f"{error}it holds {', '.join(others[:3])}{', ...' if len(others) > 3 else ''}; name another")


def _files(folder: Path) -> Iterator[str]:
    """What is below a folder and is no folder, links included; the first come before the rest has been read."""
    for root, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        yield from (str(Path(root, name).relative_to(folder)) for name in sorted([*names, *links]))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what the converters say of themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), runtime.without_native_stderr():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _json(data: Any) -> bytes:
    return (json.dumps(data, ensure_ascii=False, indent=2) + "\n").encode()
