"""safetensors: the weights alone, by readable names; they can be loaded again."""

from pathlib import Path
from typing import Any

import numpy as np

from tfrnn.config import sizes
from tfrnn.config.config import Config
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import MissingFileError, UserError
from tfrnn.formats.optional_packages import needed
from tfrnn.models.building import build_language_model
from tfrnn.models.language_model import LanguageModel
from tfrnn.runs.run_dir import CONFIG, VOCABULARY, RunDir
from tfrnn.runtime import durable, host

SAFETENSORS = "model.safetensors"


def write(model: Any, folder: Path) -> dict[str, Any]:
    weights = {name: np.ascontiguousarray(weight.numpy()) for name, weight in model.named_weights.items()}
    durable.write(folder / SAFETENSORS, needed("safetensors.numpy", "safetensors").save(weights))
    return {"weights": {name: list(array.shape) for name, array in weights.items()}}


def check(model: Any, folder: Path) -> str:
    found = needed("safetensors.numpy", "safetensors").load_file(folder / SAFETENSORS)
    for name, weight in model.named_weights.items():
        if not np.array_equal(found[name], weight.numpy()):
            raise UserError(f"--format: {name} does not come back as it was written, so nothing is exported")
    return f"its {len(found)} weights are those of the model"


def line_to_load(folder: Path) -> str:
    return f"import tfrnn; model, vocabulary, config = tfrnn.load_export({str(folder)!r})"


def load_export(folder: str | Path) -> tuple[LanguageModel, Vocabulary, Config]:
    """The model, vocabulary and settings of an export in the format safetensors.

    It may come from a stranger: nothing of it is executed, and shapes are compared before anything is read.

    Args:
      folder: what `python -m tfrnn.export --format=safetensors` wrote.
    Raises:
      MissingFileError: the folder or one of its files is not there.
      UserError: it is no such export, or one of another model than its config.json describes.
    """
    safe_open = needed("safetensors", "safetensors").safe_open
    run, path = RunDir(folder), Path(folder) / SAFETENSORS
    if missing := [name for name in (SAFETENSORS, CONFIG, VOCABULARY) if not (Path(folder) / name).is_file()]:
        raise MissingFileError(f"{folder}: expected an export in the format safetensors, but it has no {missing[0]}")
    config = run.config()
    vocabulary = run.vocabulary(config.data.tokens)
    expected = sizes.weight_shapes(config.model, len(vocabulary))
    host.check_memory(2 * sizes.weight_bytes(config.model, len(vocabulary)), f"the model that {folder} describes")
    model = build_language_model(config.model, len(vocabulary), initialized=False)
    model.build()
    names = list(model.named_weights)
    try:
        with safe_open(path, "numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it cannot be iterated over)
            there = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
            described = {name: (shape, "F32") for name, shape in zip(names, expected, strict=True)}
            if wrong := sorted(name for name in {*described, *there} if described.get(name) != there.get(name)):
                raise UserError(f"{path}: expected the weights that {CONFIG} describes, but {wrong[0]} is another")
            model.set_weights([file.get_tensor(name) for name in names])
    except UserError:
        raise
    except Exception as error:  # the library's own, which is a subclass of nothing else
        raise UserError(f"{path}: expected a file of safetensors, but it cannot be read ({error})") from None
    return model, vocabulary, config
