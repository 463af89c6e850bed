"""The public names of Keras: each does in tfrnn what it does in Keras's own fit, or is refused in one line."""

import re
import warnings
from pathlib import Path

import keras
import pytest
from beside_keras import AS_IN_KERAS, DOORS, eagerly_if, train_by_keras, train_by_us, verdict
from keras_surface import NOT_IN_KERAS, REFUSED, REFUSED_HERE, REFUSED_WITH_BATCHES, SECTIONS, page

ROOT = Path(__file__).parents[2]
QUICK = [("metrics", "SparseCategoricalAccuracy")]
ALL = [
    pytest.param(section, name, marks=() if (section, name) in QUICK else pytest.mark.slow)
    for section, (names, _) in SECTIONS.items()
    for name in names
]


@pytest.mark.filterwarnings("ignore")  # Keras's own, which are the same in both
@pytest.mark.parametrize(("section", "name"), ALL)
def test_a_name_does_what_it_does_in_keras_or_is_refused(section, name, tmp_path):
    case = SECTIONS[section][1](name)
    for folder in ("keras", *DOORS):
        (tmp_path / folder).mkdir()
    with eagerly_if(True):
        reference = train_by_keras(case, tmp_path / "keras", eagerly=True)
        verdicts = {
            door: verdict(case, reference, train_by_us(case, door, tmp_path / door, eagerly=True))
            for door in case.doors
        }
    print(f"{section}.{name}: {verdicts if len({*verdicts.values()}) > 1 else verdicts[DOORS[0]]}")
    for door, found in verdicts.items():
        on_batches = REFUSED_WITH_BATCHES.get((section, name)) if door != DOORS[0] else None
        if refusal := on_batches or {**REFUSED, **REFUSED_HERE}.get((section, name)):
            assert found.startswith("refused: ")
            assert re.search(refusal, found)
        elif (section, name) in NOT_IN_KERAS:
            assert found.startswith(AS_IN_KERAS)
        else:
            assert found == AS_IN_KERAS


def test_what_differs_is_noticed(tmp_path):
    """A case that is given only to Keras gives another verdict."""
    plain, other = (SECTIONS["regularizers"][1](name) for name in ("L1", "L2"))
    with warnings.catch_warnings(), eagerly_if(True):
        warnings.simplefilter("ignore")
        reference = train_by_keras(plain, tmp_path, eagerly=True)
        assert verdict(plain, reference, train_by_us(other, DOORS[0], tmp_path, eagerly=True)).startswith("OTHER")


def test_the_page_lists_each_name_of_this_keras():
    """A name that a newer Keras has fails here until it is in the table; an older one has fewer."""
    text = (ROOT / "docs" / "keras.md").read_text(encoding="utf-8")
    for section, (names, _) in SECTIONS.items():
        (row,) = (line for line in text.splitlines() if line.startswith(f"| {section} |"))
        assert {*names} <= {*re.split(r" ?[|,] ?", row)}
    if keras.__version__.startswith("3.15"):
        assert text == page()
