"""Small models to export: each cell, ours and Keras's, each with another option of language models."""

import functools
import math
import subprocess
import sys

import numpy as np
import tensorflow as tf

import tfrnn
from tfrnn.config.config import Config
from tfrnn.models.building import build_language_model

VOCABULARY = tfrnn.Vocabulary.from_text("abcde ")
_OPTIONS = {
    "rnn_scratch": {},
    "rnn_keras": {"embedding_dim": 5},
    "gru_scratch": {"tie_weights": True, "embedding_dim": 12},
    "gru_keras": {},
    "lstm_scratch": {"dropout": 0.5},
    "lstm_keras": {"num_layers": 1},
}
_WITHOUT_TFRNN = """
import importlib.machinery, importlib.util, json, sys
import numpy as np
sys.path = [path for path in sys.path if not importlib.machinery.PathFinder.find_spec("tfrnn", [path])]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder)]
assert importlib.util.find_spec("tfrnn") is None
"""


def _config(name, options):
    cell, implementation = name.split("_")
    settings = {"units": 12, "num_layers": 2, "prefix": ("ab",), **options}
    return Config().replace(cell=cell, implementation=implementation, **settings)


CONFIGS = {name: _config(name, options) for name, options in _OPTIONS.items()}


def model_of(config):
    """A model with random weights large enough that its next tokens vary; the same weights at each call."""
    random = np.random.default_rng(3)
    model = build_language_model(config.model, len(VOCABULARY))
    model.build()
    for weight in model.weights:
        weight.assign(random.normal(0, math.sqrt(3 / config.model.units), weight.shape))
    return model


@functools.cache
def shared_model(name):
    """The model of CONFIGS[name], made and traced once for all tests; only to be read."""
    return model_of(CONFIGS[name])


def eager_step(model):
    """One step of a model as an exported file offers it, without a graph or a file."""
    structure = model.initial_state(1)

    def step(inputs):
        states = [tf.constant(inputs[f"state_{i}"]) for i in range(len(inputs) - 1)]
        logits, state = model(inputs["ids"][None], tf.nest.pack_sequence_as(structure, states))
        named = {f"new_state_{i}": tensor.numpy() for i, tensor in enumerate(tf.nest.flatten(state))}
        return {"logits": logits[0].numpy(), **named}

    return step


def run_without_tfrnn(program, *arguments):
    """Runs a program in a process that cannot import tfrnn; `json`, `np` and `sys` are imported. Returns its stdout."""
    arguments = [sys.executable, "-c", _WITHOUT_TFRNN + program, *map(str, arguments)]
    result = subprocess.run(arguments, capture_output=True, text=True, cwd="/")
    assert result.returncode == 0, result.stderr
    return result.stdout
