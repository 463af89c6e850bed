"""tfrnn: recurrent language models in Keras, from scratch and fast.

The names below are loaded when they are first asked for, so that `import tfrnn` costs nothing.

Letters for shapes, everywhere: T num_steps, B batch_size, V vocab_size, E embedding_dim, H units, L num_layers,
N tokens of a text.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
_MODULES = {
    "batches": ["Batch", "labelled_batches", "random_batches", "sequential_batches"],
    "beams": ["beam_search"],
    "cells": ["GRUCell", "LSTMCell", "RNNCell"],
    "config": ["Config"],
    "corpora": ["load_corpus"],
    "errors": ["UserError"],
    "exporting": ["load_export"],
    "generation": ["continue_texts", "generate", "generate_many", "stream", "stream_on"],
    "inspection": ["activations", "gates"],
    "live": ["LiveCurve"],
    "model": ["Forecaster", "LanguageModel", "SequenceLabeller"],
    "pictures": ["Picture"],
    "plots": ["plot_curves", "plot_forecasts", "plot_gradient_norms", "plot_perplexity"],
    "reading": ["read_prefixes"],
    "rnn": ["RNN", "Bidirectional"],
    "run_dir": ["load_run"],
    "runtime": ["set_threads"],
    "samplers": ["GREEDY", "Sampler"],
    "scoring": ["score"],
    "step": ["cross_entropy", "squared_error"],
    "trainer": ["Trainer"],
    "text_plots": ["plot_batches", "plot_gates", "plot_unit"],
    "transfer": ["to_pytorch", "transfer_weights"],
    "vocabulary": ["Vocabulary"],
}
_WITHOUT_TENSORFLOW = ("config", "corpora", "errors", "pictures", "plots", "text_plots", "vocabulary")
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'tfrnn' has no attribute {name!r}")
    module = _MODULE_OF[name]
    if module not in _WITHOUT_TENSORFLOW:
        importlib.import_module("tfrnn.runtime").import_tensorflow_quietly()
    value = getattr(importlib.import_module(f"tfrnn.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
