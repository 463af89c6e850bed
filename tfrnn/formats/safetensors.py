"""safetensors: only the weights, by readable names. `load_export` loads them again."""

from pathlib import Path
from typing import Any

import numpy as np

from tfrnn.config import sizes
from tfrnn.config.config import Config
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import MissingFileError, UserError
from tfrnn.formats.optional_packages import import_optional
from tfrnn.models.building import build_language_model
from tfrnn.models.language_model import LanguageModel
from tfrnn.runs.run_dir import CONFIG, VOCABULARY, RunDir
from tfrnn.runtime import durable, host

SAFETENSORS = "model.safetensors"


def write(model: Any, folder: Path, vocabulary: Vocabulary, config: Config) -> dict[str, Any]:
    """Writes the weights to model.safetensors. Returns their names and shapes."""
    weights = {name: np.ascontiguousarray(weight.numpy()) for name, weight in model.named_weights.items()}
    durable.write(folder / SAFETENSORS, import_optional("safetensors.numpy", "safetensors").save(weights))
    return {"weights": {name: list(array.shape) for name, array in weights.items()}}


def check(model: Any, folder: Path) -> str:
    """Reads model.safetensors and returns a sentence that tells that its weights are the model's.

    Raises UserError if one of them is not.
    """
    weights = import_optional("safetensors.numpy", "safetensors").load_file(folder / SAFETENSORS)
    for name, weight in model.named_weights.items():
        if not np.array_equal(weights[name], weight.numpy()):
            raise UserError(
                f"`format`: expected {name} as it was written, but it was read back changed; nothing is exported"
            )
    return f"its {len(weights)} weights are those of the model"


def next_steps(folder: Path) -> dict[str, str]:
    """Returns a line of Python that loads the export as `model`, `vocabulary` and `config`."""
    return {"load it in Python": f"import tfrnn; model, vocabulary, config = tfrnn.load_export({str(folder)!r})"}


def load_export(folder: str | Path) -> tuple[LanguageModel, Vocabulary, Config]:
    """Loads an export in the format safetensors.

    Exports from untrusted sources are safe to load: nothing in them is executed, and the shapes of the weights are
    checked before the weights are read.

    Args:
      folder: a folder that `python -m tfrnn.export --format=safetensors` wrote.
    Returns:
      The model, its vocabulary and its settings.
    Raises:
      MissingFileError: the folder or one of its files does not exist.
      UserError: one of the files cannot be read, or the weights do not fit the model that config.json describes.
    """
    safe_open = import_optional("safetensors", "safetensors").safe_open
    run, path = RunDir(folder), Path(folder) / SAFETENSORS
    if missing := [name for name in (SAFETENSORS, CONFIG, VOCABULARY) if not (Path(folder) / name).is_file()]:
        raise MissingFileError(f"{folder}: expected an export in the format safetensors, but it has no {missing[0]}")
    config = run.config()
    vocabulary = run.vocabulary(config.data.token_kind)
    shapes = sizes.weight_shapes(config.model, len(vocabulary))
    host.check_memory(2 * sizes.weight_bytes(config.model, len(vocabulary)), f"the model that {folder} describes")
    model = build_language_model(config.model, len(vocabulary), initialized=False)
    model.build()
    names = list(model.named_weights)
    try:
        with safe_open(path, "numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (the file itself cannot be iterated over)
            stored = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
            described = {name: (shape, "F32") for name, shape in zip(names, shapes, strict=True)}
            if wrong := sorted(name for name in {*described, *stored} if described.get(name) != stored.get(name)):
                raise UserError(
                    f"{path}: expected the weights that {CONFIG} describes, but {wrong[0]} is missing, unknown or of "
                    "another shape or type"
                )
            model.set_weights([file.get_tensor(name) for name in names])
    except UserError:
        raise
    except Exception as error:  # safetensors raises its own error, a subclass of Exception only
        raise UserError(f"{path}: expected a safetensors file, but it cannot be read ({error})") from None
    return model, vocabulary, config
