"""Importing TensorFlow for a command."""

import subprocess
import sys

import pytest

CODE = """
import sys
from tfrnn.runtime import host
host.import_tensorflow_for_command()
print(sorted({"keras", "matplotlib", "pandas", "tensorflow"} & {*sys.modules}))
from matplotlib.figure import Figure
print(len(Figure().axes))
"""


@pytest.mark.slow
def test_a_command_imports_matplotlib_only_when_it_draws():
    lines = subprocess.check_output([sys.executable, "-c", CODE], text=True).splitlines()
    assert lines == ["['keras', 'tensorflow']", "0"]
