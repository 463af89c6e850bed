"""Exports a trained model for other programs: `python -m tfrnn.export --help`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tfrnn import command_line, runtime
from tfrnn.config import Trained
from tfrnn.settings import Section, setting

ABOUT = """Writes a model that `python -m tfrnn.train` has trained as files that other programs read.

  python -m tfrnn.export --run_dir=runs/my_run --format=saved_model

saved_model: for TensorFlow, with the signatures step and generate; safetensors: the weights by their names, also for
PyTorch; litert, onnx: one step, for small devices and other runtimes. Beside it stand config.json, vocabulary.json and
export.json, which says what goes in and out. (All but saved_model need `pip install 'tfrnn[export]'`.)"""


@dataclasses.dataclass(frozen=True)
class Export(Section):
    """What is written"""

    format: str = setting("saved_model", "what to write", choices=("saved_model", "safetensors", "litert", "onnx"))
    output_dir: str = setting("", "new or empty folder, or that of an earlier export; by default <run_dir>/<format>")


def main(argv: Sequence[str]) -> None:
    flags = command_line.Flags("export", ABOUT)
    for section in (Trained, Export):
        flags.define(section)
    given = flags.parse(argv)
    trained, settings = flags.take(given, Trained), flags.take(given, Export)
    runtime.import_tensorflow_quietly()
    runtime.set_threads()
    from tfrnn.exporting import export
    from tfrnn.run_dir import load_run

    model, vocabulary, config = load_run(trained.run_dir, trained.checkpoint)
    folder = Path(settings.output_dir or Path(trained.run_dir) / settings.format)
    found = export(model, vocabulary, config, settings.format, folder)
    command_line.note(f"read back and compared: {found}")
    print(folder)


if __name__ == "__main__":
    command_line.run(main)
