"""The names of each edition: the book's and no others, and what is said of one that is missing."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import tfrnn.d2l
from tfrnn.d2l.editions import EDITIONS

SUBMODULES = {module.name for module in pkgutil.iter_modules(tfrnn.d2l.__path__)}


@pytest.mark.parametrize("name", EDITIONS)
def test_only_the_books_names_are_its_names(name):
    module = importlib.import_module(name)
    names = {attribute for attribute in vars(module) if not attribute.startswith("_")} - SUBMODULES
    assert names == {*module.__all__}
    assert len(module.__all__) == len(names)
    for attribute in module.__all__:
        assert getattr(module, attribute) is not None
    space = {}
    exec(f"from {name} import *", space)
    assert space.keys() - {"__builtins__"} == names


@pytest.mark.parametrize(
    ("edition", "name", "message"),
    [
        ("tfrnn.d2l", "HyperParameters", "which edition 1.0 has: write `from tfrnn.d2l import v1 as d2l`"),
        ("tfrnn.d2l", "predict_rnn", "which the first edition has: write `from tfrnn.d2l import first as d2l`"),
        ("tfrnn.d2l.v1", "train_ch8", "which editions 0.17 and 2.0 have: write `from tfrnn import d2l`"),
        ("tfrnn.d2l.first", "train_ch8", "which editions 0.17 and 2.0 have: write `from tfrnn import d2l`"),
        ("tfrnn.d2l", "MultiHeadAttention", "the TensorFlow pages of its recurrent chapters use; define it in a cell"),
        ("tfrnn.d2l.v1", "math", "define it in a cell of your own"),
    ],
)
def test_a_missing_name_says_what_to_import(edition, name, message):
    module = importlib.import_module(edition)
    with pytest.raises(AttributeError) as error:
        getattr(module, name)
    assert str(error.value).startswith(f"{edition} has no {name!r}")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(ImportError):
        exec(f"from {edition} import {name}", {})


@pytest.mark.slow
def test_an_edition_is_imported_only_if_it_is_asked_for():
    code = (
        "import sys; from tfrnn import d2l; print([m for m in ('tfrnn.d2l.v1', 'tfrnn.d2l.first') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
