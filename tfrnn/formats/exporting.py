"""A trained model written into a folder in one of the formats, and read back to be compared."""

import contextlib
import itertools
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import tensorflow as tf

from tfrnn.config.config import Config
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import UserError
from tfrnn.formats import litert, onnx, safetensors, saved_model
from tfrnn.runs.run_dir import CONFIG, VOCABULARY
from tfrnn.runtime import durable, host

DESCRIPTION = "export.json"  # by which an export is known


class Format(Protocol):
    """What the module of a format has."""

    def write(self, model: Any, folder: Path) -> dict[str, Any]:
        """Writes the model's file; returns what export.json says of it."""

    def check(self, model: Any, folder: Path) -> str:
        """Reads the file back and compares it with the model; returns what was found. Raises UserError."""

    def line_to_load(self, folder: Path) -> str:
        """A line of Python that loads an export."""


FORMATS: dict[str, Format] = {
    "saved_model": saved_model,
    "safetensors": safetensors,
    "litert": litert,
    "onnx": onnx,
}


def export(model: Any, vocabulary: Vocabulary, config: Config, form: str, folder: Path) -> str:
    """Writes a model, its settings and its vocabulary into a folder, and reads them back; gives what was found then.

    Args:
      model, vocabulary, config: as load_run gives them.
      form: a key of FORMATS.
      folder: new, empty, or of an earlier export, which is replaced once the new one is complete.
    Raises:
      UserError: the folder holds anything else or cannot be written; a package that the format needs is not installed.
    """
    try:
        _check_folder(folder)
        folder = folder.resolve()  # "." has no name to stand beside
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as beside:
            new, old = Path(beside) / "new", Path(beside) / "old"
            new.mkdir()
            with _quietly():
                interface = FORMATS[form].write(model, new)
                found = FORMATS[form].check(model, new)
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
        with warnings.catch_warnings(), host.without_native_stderr():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _json(data: Any) -> bytes:
    return (json.dumps(data, ensure_ascii=False, indent=2) + "\n").encode()
