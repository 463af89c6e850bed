"""ONNX: one step of the model, for ONNX Runtime and other programs that read ONNX."""

from pathlib import Path
from typing import Any

from tfrnn.config.config import Config
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.formats.exported_step import compare_with_model, make_step
from tfrnn.formats.optional_packages import import_optional

ONNX = "model.onnx"
OPSET = 18  # the version of ONNX's operators


def write(model: Any, folder: Path, vocabulary: Vocabulary, config: Config) -> dict[str, Any]:
    """Writes one step of the model to model.onnx. Returns the types of its inputs and outputs."""
    converter = import_optional("tf2onnx", "tf2onnx")
    step, interface = make_step(model)
    converter.convert.from_function(step, step.input_signature, opset=OPSET, output_path=str(folder / ONNX))
    return {"step": interface}


def check(model: Any, folder: Path) -> str:
    """Runs model.onnx by ONNX Runtime and compares it with the model, see compare_with_model."""
    session = import_optional("onnxruntime", "onnxruntime").InferenceSession(str(folder / ONNX))
    names = [output.name for output in session.get_outputs()]
    return compare_with_model(model, lambda inputs: dict(zip(names, session.run(None, inputs), strict=True)))


def next_steps(folder: Path) -> dict[str, str]:
    """Returns a line of Python that loads model.onnx as `model`."""
    return {"load it in Python": f"import onnxruntime; model = onnxruntime.InferenceSession({str(folder / ONNX)!r})"}
