"""ONNX: one step, for ONNX Runtime and what reads its files."""

from pathlib import Path
from typing import Any

from tfrnn.formats.exported_step import compared, step_of
from tfrnn.formats.optional_packages import needed

ONNX = "model.onnx"
OPSET = 18  # of ONNX


def write(model: Any, folder: Path) -> dict[str, Any]:
    converter = needed("tf2onnx", "tf2onnx")
    step, interface = step_of(model)
    converter.convert.from_function(step, step.input_signature, opset=OPSET, output_path=str(folder / ONNX))
    return {"step": interface}


def check(model: Any, folder: Path) -> str:
    session = needed("onnxruntime", "onnxruntime").InferenceSession(str(folder / ONNX))
    names = [output.name for output in session.get_outputs()]
    return compared(model, lambda inputs: dict(zip(names, session.run(None, inputs), strict=True)))


def line_to_load(folder: Path) -> str:
    return f"import onnxruntime; model = onnxruntime.InferenceSession({str(folder / ONNX)!r})"
