"""The rooms of the package and who may know whom: imports go down only."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tfrnn"
FLOORS = [
    ["errors", "settings", "config", "durable", "stored", "vocabulary", "text_rules", "memorisation", "heat_map"],
    [
        "cells",
        "batches",
        "blocks",
        "checkpoints",
        "cluster",
        "corpora",
        "help_text",
        "metrics",
        "pictures",
        "replicas",
        "runtime",
        "samplers",
    ],
    ["recurrence", "text", "plots", "text_plots"],
    ["rnn"],
    ["model", "transfer"],
    ["step", "inspection", "scoring", "reading", "run_dir"],
    ["trainer", "generation", "beams", "exporting", "series", "callbacks", "event_files", "command_line"],
    ["training", "live"],
    ["train", "sample", "evaluate", "export", "forecast", "d2l"],
    ["__main__"],
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# text_rules knows the errors, and vocabulary the rules: the one staircase inside a floor.
INSIDE_FLOOR_0 = [
    ("settings", "errors"),
    ("config", "errors"),
    ("config", "settings"),
    ("config", "vocabulary"),
    ("stored", "errors"),
    ("text_rules", "errors"),
    ("vocabulary", "errors"),
    ("vocabulary", "text_rules"),
]
NEVER = {
    "cells": ["config", "batches", "corpora", "vocabulary"],
    "recurrence": ["config", "batches", "corpora", "vocabulary"],
    "rnn": ["config", "batches", "corpora", "vocabulary"],
    "generation": ["corpora", "batches", "step", "trainer"],
    "sample": ["corpora", "batches", "step", "trainer"],
    "trainer": ["cells", "corpora", "vocabulary"],
    "model": ["step", "runtime"],
}


def imports(path):
    """The modules that a file imports, anywhere in it, by their full names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert "tfrnn" not in [alias.name for alias in node.names], f"{path}: name the room, not the house"
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "tfrnn":
                yield from (f"tfrnn.{alias.name}" for alias in node.names if alias.name != "__version__")
            else:
                yield node.module


def room_of(module):
    return module.split(".")[1]


FILES = {path: path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in sorted(PACKAGE.rglob("*.py"))}
ROOMS = sorted(set(FILES.values()) - {"__init__"})


def known(room):
    """The rooms that this room imports."""
    found = {room_of(m) for path, r in FILES.items() if r == room for m in imports(path) if m.startswith("tfrnn.")}
    return found - {room}


def test_every_room_is_on_a_floor():
    assert sorted(FLOOR_OF) == ROOMS


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_down_only(room):
    for other in known(room):
        assert FLOOR_OF[other] < FLOOR_OF[room] or (room, other) in INSIDE_FLOOR_0, f"{room} imports {other}"


@pytest.mark.parametrize("room", NEVER)
def test_rooms_that_must_not_know_each_other(room):
    assert not known(room) & set(NEVER[room])


def test_a_run_directory_is_enough_to_sample():
    reached, todo = set(), ["sample"]
    while todo:
        room = todo.pop()
        if room not in reached:
            reached.add(room)
            todo += known(room)
    assert not reached & set(NEVER["sample"])


@pytest.mark.parametrize("room", FLOORS[0])
def test_no_tensorflow_on_the_ground_floor(room):
    heavy = {"tensorflow", "keras", "tensorflow_datasets", "matplotlib"}
    assert not {m.split(".")[0] for path, r in FILES.items() if r == room for m in imports(path)} & heavy


def test_absl_flags_only_at_the_command_line():
    users = {room for path, room in FILES.items() if any(m.startswith("absl") for m in imports(path))}
    assert users == {"command_line"}


def test_importing_the_package_and_its_commands_loads_nothing_heavy():
    imports = "import sys, tfrnn; from tfrnn import evaluate, export, forecast, sample, train"
    code = f"{imports}; print(sorted({{'tensorflow', 'keras'}} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_every_public_name_is_there():
    import tfrnn

    assert len(tfrnn.__all__) >= 12
    for name in tfrnn.__all__:
        assert getattr(tfrnn, name).__doc__
    assert importlib.util.find_spec("tfrnn").submodule_search_locations
    with pytest.raises(AttributeError):
        tfrnn.no_such_name  # noqa: B018
