"""LiteRT (TensorFlow Lite): one step of the model, for phones and small devices."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrnn.config.config import Config
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.formats.exported_step import compare_with_model, make_step
from tfrnn.formats.optional_packages import import_optional
from tfrnn.runtime import durable

LITERT = "model.tflite"


def write(model: Any, folder: Path, vocabulary: Vocabulary, config: Config) -> dict[str, Any]:
    """Writes one step of the model to model.tflite. Returns the types of its inputs and outputs."""
    step, interface = make_step(model)
    module = tf.Module()
    module.weights = [weight.value for weight in model.weights]
    converted = tf.lite.TFLiteConverter.from_concrete_functions([step.get_concrete_function()], module).convert()
    durable.write(folder / LITERT, converted)
    return {"step": interface}


def check(model: Any, folder: Path) -> str:
    """Runs model.tflite by LiteRT and compares it with the model, see compare_with_model."""
    interpreter = import_optional("ai_edge_litert.interpreter", "ai-edge-litert").Interpreter(str(folder / LITERT))
    runner = interpreter.get_signature_runner()
    return compare_with_model(model, lambda inputs: runner(**inputs))


def next_steps(folder: Path) -> dict[str, str]:
    """Returns a line of Python that loads model.tflite as `model`."""
    line = f"import ai_edge_litert.interpreter as litert; model = litert.Interpreter({str(folder / LITERT)!r})"
    return {"load it in Python": line}
