"""Builds the models that a config describes."""

import keras

from tfrnn.config import sections
from tfrnn.layers import cells
from tfrnn.models.forecaster import Forecaster
from tfrnn.models.language_model import LanguageModel
from tfrnn.series.scaling import Relative, Scaling


def build_cells(settings: sections.Model, initialized: bool = True) -> list:
    """Builds the cells that a config describes, one per layer.

    Without `initialized` the kernels start as zeros, which is faster; use it if the weights will be loaded.
    """
    module = cells if settings.implementation == "scratch" else keras.layers
    cell_class = getattr(module, sections.CELLS[settings.cell][settings.implementation])
    # To make an orthogonal matrix of thousands of rows takes minutes.
    zeros = {} if initialized else {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}
    return [cell_class(settings.units, **zeros) for _ in range(settings.num_layers)]


def build_language_model(settings: sections.Model, vocab_size: int, initialized: bool = True) -> LanguageModel:
    """Builds the language model that a config describes.

    Without `initialized` the cells' kernels start as zeros, which is faster; use it if the weights will be loaded.
    Raises ValueError if the weights are to be tied and their sizes differ.
    """
    scratch = settings.implementation == "scratch"
    return LanguageModel(
        build_cells(settings, initialized),
        vocab_size,
        settings.embedding_dim,
        dropout=settings.dropout,
        output_initializer=cells.SCRATCH_INITIALIZER if scratch else "glorot_uniform",
        tie_weights=settings.tie_weights,
    )


def build_forecaster(settings: sections.Model, scaling: Relative | Scaling, initialized: bool = True) -> Forecaster:
    """Builds the forecaster that a config describes, for a series that is scaled in this way.

    Without `initialized` the cells' kernels start as zeros, which is faster; use it if the weights will be loaded.
    """
    num_outputs = scaling.num_outputs if scaling.is_direct else 0
    return Forecaster(build_cells(settings, initialized), scaling.num_inputs, settings.dropout, num_outputs)
