"""LiteRT (TensorFlow Lite): one step, for phones and small devices."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrnn.formats.exported_step import compared, step_of
from tfrnn.formats.optional_packages import needed
from tfrnn.runtime import durable

LITERT = "model.tflite"


def write(model: Any, folder: Path) -> dict[str, Any]:
    step, interface = step_of(model)
    module = tf.Module()
    module.weights = [weight.value for weight in model.weights]
    converted = tf.lite.TFLiteConverter.from_concrete_functions([step.get_concrete_function()], module).convert()
    durable.write(folder / LITERT, converted)
    return {"step": interface}


def check(model: Any, folder: Path) -> str:
    interpreter = needed("ai_edge_litert.interpreter", "ai-edge-litert").Interpreter(str(folder / LITERT))
    runner = interpreter.get_signature_runner()
    return compared(model, lambda inputs: runner(**inputs))


def line_to_load(folder: Path) -> str:
    return f"import ai_edge_litert.interpreter as litert; model = litert.Interpreter({str(folder / LITERT)!r})"
