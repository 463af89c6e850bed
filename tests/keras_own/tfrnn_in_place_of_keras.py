"""A plugin of pytest that puts tfrnn's layers into Keras's place, before Keras's own tests are imported.

TFRNN_IN_PLACE names the layers that are replaced. When the tests have ended, what became of each of them and how often
each layer was made and computed is written to the file OUTCOMES.
"""

import collections
import functools
import json
import os
import pathlib

import keras
from keras.src import layers as layers_of_the_tests

import tfrnn
from tfrnn.layers import fused

used: collections.Counter = collections.Counter()
outcomes = {}


def counted(name, function):
    @functools.wraps(function)  # Keras reads the signature of `call`
    def count(*args, **kwargs):
        used[name] += 1
        return function(*args, **kwargs)

    return count


fused.run_all_steps = counted("fused", fused.run_all_steps)
for layer in os.environ["TFRNN_IN_PLACE"].split():
    ours = getattr(tfrnn, layer)
    ours.call = counted(layer, ours.call)
    setattr(keras.layers, layer, ours)
    setattr(layers_of_the_tests, layer, ours)


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        outcomes[f"{pathlib.Path(report.fspath).name}::{report.nodeid.split('::', 1)[1]}"] = report.outcome


def pytest_sessionfinish():
    pathlib.Path(os.environ["OUTCOMES"]).write_text(json.dumps({"outcomes": outcomes, "used": used}))
