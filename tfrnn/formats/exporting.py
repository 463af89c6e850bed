"""Writes a trained model to a folder in one of the formats, and compares the written file with the model."""

import contextlib
import itertools
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import tensorflow as tf

from tfrnn.config.config import Config, ForecastConfig
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import UserError
from tfrnn.formats import exported_forecast, litert, onnx, page, safetensors, saved_model
from tfrnn.runs.run_dir import CONFIG, SCALING, VOCABULARY
from tfrnn.runtime import durable, host

DESCRIPTION = "export.json"  # a folder with this file is an export


class Format(Protocol):
    """The functions of a format's module."""

    def write(self, model: Any, folder: Path, vocabulary: Vocabulary, config: Config) -> dict[str, Any]:
        """Writes the model's file. Returns what export.json tells about it."""

    def check(self, model: Any, folder: Path) -> str:
        """Reads the file and compares it with the model. Returns the result as a sentence.

        Raises UserError if the file does not hold the model.
        """

    def next_steps(self, folder: Path) -> dict[str, str]:
        """Returns what can be done with the export, a line for each purpose."""


FORMATS: dict[str, Format] = {
    "saved_model": saved_model,
    "safetensors": safetensors,
    "litert": litert,
    "onnx": onnx,
    "page": page,
}


def export(model: Any, vocabulary: Vocabulary, config: Config, format_name: str, folder: Path) -> str:
    """Writes a model, its vocabulary and its settings to a folder, and compares the written file with the model.

    Args:
      model, vocabulary, config: a trained model, as load_run returns it.
      format_name: a key of FORMATS.
      folder: a new or empty folder, or an earlier export, which is replaced when the new one is complete.
    Returns:
      A sentence that tells how the file compares with the model.
    Raises:
      UserError: the folder holds anything else or cannot be written, a package that the format needs is not installed,
        or the written file does not hold the model.
    """

    def write(complete: Path) -> tuple[dict[str, Any], str]:
        interface = FORMATS[format_name].write(model, complete, vocabulary, config)
        durable.write(complete / VOCABULARY, vocabulary.to_json().encode())
        return interface, FORMATS[format_name].check(model, complete)

    return _export(write, config, format_name, folder)


def export_forecast(model: Any, scaling: Any, config: ForecastConfig, folder: Path) -> str:
    """Writes a forecaster with its scaling and its settings to a folder as a SavedModel: see `export`."""

    def write(complete: Path) -> tuple[dict[str, Any], str]:
        interface = exported_forecast.write(model, complete, scaling, config)
        durable.write(complete / SCALING, scaling.to_json().encode())
        return interface, exported_forecast.check(model, complete, scaling, config)

    return _export(write, config, "saved_model", folder)


def _export(
    write: Callable[[Path], tuple[dict[str, Any], str]], config: Config | ForecastConfig, format_name: str, folder: Path
) -> str:
    """Makes the folder, which `write` fills. Returns how the written file compares with the model."""
    try:
        _check_folder(folder)
        folder = folder.resolve()  # the temporary folder is made next to it, and "." has no name
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as temporary:
            complete, replaced = Path(temporary) / "complete", Path(temporary) / "replaced"
            complete.mkdir()
            with _without_converter_output():
                interface, comparison = write(complete)
            durable.write(complete / CONFIG, _to_json(config.to_dict()))
            files = sorted(str(path.relative_to(complete)) for path in complete.rglob("*") if path.is_file())
            description = {"format": format_name, **interface, "files": [DESCRIPTION, *files]}
            durable.write(complete / DESCRIPTION, _to_json(description))
            if folder.exists():
                folder.rename(replaced)
            complete.rename(folder)
    except (OSError, tf.errors.OpError) as error:
        reason = error.message if isinstance(error, tf.errors.OpError) else error.strerror or error
        raise UserError(
            f"`output_dir={folder}`: expected a folder that can be written, but {reason}; name another"
        ) from None
    return comparison


def _check_folder(folder: Path) -> None:
    """Raises UserError if an export to this folder would replace anything but an earlier export."""
    if not folder.is_symlink() and not folder.exists():
        return
    error = f"`output_dir={folder}`: expected a new or empty folder, or an earlier export, but "
    if folder.is_symlink() or not folder.is_dir():
        raise UserError(f"{error}it is a file or a link; name another")
    try:
        exported = set(json.loads(durable.read(folder / DESCRIPTION, 2**24))["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        exported = set()
    if foreign := list(itertools.islice((name for name in _files(folder) if name not in exported), 4)):
        raise UserError(f"{error}it holds {', '.join(foreign[:3])}{', ...' if len(foreign) > 3 else ''}; name another")


def _files(folder: Path) -> Iterator[str]:
    """Yields the relative paths of the files and links in a folder and its subfolders, while it reads them."""
    for root, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        yield from (str(Path(root, name).relative_to(folder)) for name in sorted([*names, *links]))


@contextlib.contextmanager
def _without_converter_output() -> Iterator[None]:
    """Suppresses the log lines, warnings and native stderr of the converters."""
    disabled_before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), host.without_native_stderr():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled_before)


def _to_json(data: Any) -> bytes:
    return (json.dumps(data, ensure_ascii=False, indent=2) + "\n").encode()
