"""Writes a trained model as files that other programs read.

saved_model is for TensorFlow and has the signatures step and generate. safetensors holds the weights by name, also for
PyTorch. litert and onnx hold one step, for small devices and other runtimes. page is one HTML file in which anyone with
a browser can try the model. The folder also holds config.json, vocabulary.json and export.json, which describes inputs
and outputs. safetensors, litert and onnx need another package; if it is not installed, the error names it. A run of
forecast is written as saved_model, with the signature forecast and scaling.json.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tfrnn.cli import flags as flags_lib
from tfrnn.cli import messages, program
from tfrnn.config.settings import Section, setting
from tfrnn.config.trained_run import Trained
from tfrnn.errors import UserError
from tfrnn.runs import opening
from tfrnn.runs.run_dir import RunDir
from tfrnn.runtime import host, threads

EXAMPLES = ("--run_dir=runs/first --format=saved_model", "--run_dir=runs/first --format=page")


@dataclasses.dataclass(frozen=True)
class Export(Section):
    """The export"""

    format: str = setting(
        "saved_model", "what to write", choices=("saved_model", "safetensors", "litert", "onnx", "page")
    )
    output_dir: str = setting("", "a new or empty folder, or an earlier export to replace; default: <run_dir>/<format>")


def make_flags() -> flags_lib.Flags:
    flags = flags_lib.Flags("export", __doc__, EXAMPLES)
    for section in (Trained, Export):
        flags.define(section)
    return flags


def main(argv: Sequence[str]) -> None:
    flags = make_flags()
    given = flags.parse(argv)
    trained, settings = flags.take(given, Trained), flags.take(given, Export)
    is_of_series = opening.existing(RunDir(trained.run_dir)).is_of_series
    if is_of_series and settings.format != "saved_model":
        raise UserError(
            f"`format={settings.format}`: expected a run of train, on a text; got one of forecast, on a time series; "
            "name another, or take `format=saved_model`"
        )
    host.import_tensorflow_for_command()
    threads.set_threads()
    from tfrnn.formats.exporting import FORMATS, export, export_forecast
    from tfrnn.models import loading

    folder = Path(settings.output_dir or Path(trained.run_dir) / settings.format)
    if is_of_series:
        comparison = export_forecast(*loading.load_forecast(trained.run_dir, trained.checkpoint), folder)
    else:
        run = loading.load_text_run(trained.run_dir, trained.checkpoint)
        comparison = export(*run, settings.format, folder)
    messages.note(f"read back and compared: {comparison}")
    print(folder)
    messages.show_next_steps(FORMATS[settings.format].next_steps(folder))


if __name__ == "__main__":
    program.run(main)
