"""Keras's own tests of its recurrent layers, as they are installed with it, pass with tfrnn's layers in its place.

Keras 3.10 to 3.14 are installed without them. To test with one of these, copy the tests of its tag in Keras's
repository to the folder of FILES.
"""

import json
import os
import pathlib
import subprocess
import sys

import keras
import pytest

FILES = [
    pathlib.Path(keras.__path__[0]) / "src" / "layers" / "rnn" / f"{name}_test.py"
    for name in ("rnn", "simple_rnn", "gru", "lstm", "stacked_rnn_cells", "bidirectional")
]
LAYERS = ["RNN", "SimpleRNN", "GRU", "LSTM"]


def run_tests_of_keras(layers_in_place, folder):
    """Runs Keras's tests; returns the outcome of each, and how often each layer that was put in its place was called.

    They run in a process of their own, as they must import Keras's layers after these have been replaced, and without
    the options of this project's pytest: warnings are not errors in them.
    """
    result = folder / "outcomes.json"
    paths = [str(pathlib.Path(__file__).parent), os.getcwd(), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "TFRNN_IN_PLACE": " ".join(layers_in_place),
        "OUTCOMES": str(result),
    }
    options = ["-q", "-c", os.devnull, f"--rootdir={FILES[0].parent}", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command = [sys.executable, "-m", "pytest", "-p", "tfrnn_in_place_of_keras", *options, *map(str, FILES)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.exists(), run.stdout + run.stderr
    report = json.loads(result.read_text())
    assert run.returncode == 0, run.stdout
    return report["outcomes"], report["used"]


@pytest.mark.slow
@pytest.mark.skipif(not FILES[0].exists(), reason="this Keras is installed without its tests, as those before 3.15 are")
def test_all_of_them_pass_and_use_our_layers(tmp_path):
    expected, used = run_tests_of_keras([], tmp_path)
    assert used == {}  # with none of ours in place; what Keras itself skips here is skipped
    for in_place in (LAYERS, [*LAYERS, "Bidirectional"]):
        outcomes, used = run_tests_of_keras(in_place, tmp_path)
        assert outcomes == expected
        assert set(used) == {*in_place, "fused"}
