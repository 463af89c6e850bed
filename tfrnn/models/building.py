"""Builds the models that a config describes.

Without `initialized` the cells' kernels start as zeros, which is faster; use it if the weights will be loaded. The
dtype policy is by default Keras's; a mixed one is for training, and the weights have the same dtype without it.
"""

from typing import Any

import keras

from tfrnn.config import sections
from tfrnn.layers import cells
from tfrnn.models.forecaster import Forecaster
from tfrnn.models.language_model import LanguageModel
from tfrnn.series.scaling import Relative, Scaling

EMBEDDING_INITIALIZERS = {
    "uniform": "uniform",
    "normal": {"class_name": "RandomNormal", "config": {"mean": 0.0, "stddev": 1.0}},
}


def build_cells(settings: sections.Model, initialized: bool = True, dtype: Any = None) -> list:
    """Builds the cells that a config describes, one per layer."""
    module = cells if settings.implementation == "scratch" else keras.layers
    cell_class = getattr(module, sections.CELLS[settings.cell][settings.implementation])
    # To make an orthogonal matrix of thousands of rows takes minutes.
    zeros = {} if initialized else {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}
    return [cell_class(settings.units, dtype=dtype, **zeros) for _ in range(settings.num_layers)]


def build_language_model(
    settings: sections.Model, vocab_size: int, initialized: bool = True, dtype: Any = None
) -> LanguageModel:
    """Builds the language model that a config describes.

    Raises ValueError if the weights are to be tied and their sizes differ.
    """
    scratch = settings.implementation == "scratch"
    return LanguageModel(
        build_cells(settings, initialized, dtype),
        vocab_size,
        settings.embedding_dim,
        dropout=settings.dropout,
        output_initializer=cells.SCRATCH_INITIALIZER if scratch else "glorot_uniform",
        embedding_initializer=EMBEDDING_INITIALIZERS[settings.embedding_initializer],
        tie_weights=settings.tie_weights,
        dtype=dtype,
    )


def build_forecaster(
    settings: sections.Model, scaling: Relative | Scaling, initialized: bool = True, dtype: Any = None
) -> Forecaster:
    """Builds the forecaster that a config describes, for a series that is scaled in this way."""
    num_outputs = scaling.num_outputs if scaling.is_direct else 0
    cells_of_it = build_cells(settings, initialized, dtype)
    return Forecaster(cells_of_it, scaling.num_inputs, settings.dropout, num_outputs, dtype=dtype)
