"""The layers of the package: which packages may import which, and what loads without TensorFlow."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import tfrnn

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tfrnn"
COMMANDS = ["train", "sample", "evaluate", "export", "forecast"]
# From the lowest layer to the highest: a package imports from lower layers only, never from its own.
LAYERS = [
    ["errors"],
    ["runtime", "config", "plots"],
    ["data", "layers", "cli"],
    ["models"],
    ["runs", "inference", "series"],
    ["training", "formats"],
    [*COMMANDS, "d2l"],
    ["__main__"],
]
LAYER_OF = {package: number for number, packages in enumerate(LAYERS) for package in packages}
# Narrower than the layers: pairs that could import each other, and must not.
NEVER = [("layers", "config"), ("training", "formats"), ("training", "data.corpora"), ("inference", "data.corpora")]
HEAVY = {"tensorflow", "keras", "tensorflow_datasets", "matplotlib"}


def module_of(path):
    """The dotted name of a file of the package, without `tfrnn.`; `` for tfrnn/__init__.py."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


FILES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
PACKAGES = sorted({name.split(".")[0] for name in FILES} - {""})


def imports_of(name, at_import_only=False):
    """The full names of the modules that a module imports; at_import_only leaves out those inside functions."""
    tree = ast.parse(FILES[name].read_text())
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.Lambda))
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if at_import_only and id(node) in inside:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full.removeprefix("tfrnn.") in FILES else node.module


def own_imports_of(name, at_import_only=False):
    """The modules of this package that a module imports, without `tfrnn.`."""
    own = (full for full in imports_of(name, at_import_only) if full.startswith("tfrnn."))
    return {full.removeprefix("tfrnn.") for full in own}


def packages_imported_by(package):
    names = [name for name in FILES if name.split(".")[0] == package]
    return {other.split(".")[0] for name in names for other in own_imports_of(name)} - {package}


def loads_tensorflow(name, seen=frozenset()):
    """Whether importing a module imports TensorFlow, Keras or matplotlib, itself or by what it imports."""
    if any(full.split(".")[0] in HEAVY for full in imports_of(name, at_import_only=True)):
        return True
    parents = {name.rpartition(".")[0]} - {"", name}
    others = (own_imports_of(name, at_import_only=True) | parents) - seen - {name}
    return any(loads_tensorflow(other, seen | {name}) for other in others)


def test_every_package_has_a_layer():
    assert sorted(LAYER_OF) == PACKAGES


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_down_only(package):
    imported = packages_imported_by(package)
    print(f"{LAYER_OF[package]} {package}: {', '.join(sorted(imported))}")
    assert [other for other in imported if LAYER_OF[other] >= LAYER_OF[package]] == []


@pytest.mark.parametrize(("package", "other"), NEVER)
def test_packages_that_must_not_know_each_other(package, other):
    names = [name for name in FILES if name.split(".")[0] == package]
    assert [(n, m) for n in names for m in own_imports_of(n) if f"{m}.".startswith(f"{other}.")] == []


def test_modules_do_not_import_each_other_in_a_circle():
    done, circles = set(), []

    def visit(name, path):
        if name in path:
            circles.append([*path[path.index(name) :], name])
        elif name not in done:
            for other in sorted(own_imports_of(name)):
                visit(other, [*path, name])
            done.add(name)

    for name in FILES:
        visit(name, [])
    assert circles == []


@pytest.mark.parametrize("package", [name for name in PACKAGES if (PACKAGE / name).is_dir()])
def test_a_package_says_what_it_is_for_and_nothing_else(package):
    tree = ast.parse((PACKAGE / package / "__init__.py").read_text())
    paragraphs = (ast.get_docstring(tree) or "").split("\n\n")
    assert len(paragraphs) >= 2
    code = [node for node in tree.body[1:] if not isinstance(node, (ast.ImportFrom, ast.Assign, ast.If))]
    assert code == []  # at most names from its own modules


def test_what_flags_and_files_alone_tell_is_told_without_tensorflow():
    """The lowest layers, the command line and the commands load no TensorFlow, as read and as run."""
    light = [
        name for name in FILES if name.split(".")[0] in {"errors", "config", "plots", "cli", *COMMANDS, "__main__"}
    ]
    light += ["", "runtime.host", "runtime.durable", "runtime.cluster", "data.run_text", "data.corpora.catalogue"]
    assert [name for name in light if loads_tensorflow(name)] == []
    names = [f"tfrnn.{name}".rstrip(".") for name in FILES if not loads_tensorflow(name)]
    code = (
        f"import importlib, sys; [importlib.import_module(name) for name in {names}]; print({HEAVY} & {{*sys.modules}})"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_absl_flags_are_used_at_the_command_line_only():
    users = {name.split(".")[0] for name in FILES if any(full.startswith("absl") for full in imports_of(name))}
    assert users == {"cli"}


def test_every_public_name_exists_and_has_a_docstring():
    assert len(tfrnn.__all__) >= 12
    assert [name for name in tfrnn.__all__ if not getattr(tfrnn, name).__doc__] == []
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        tfrnn.no_such_name  # noqa: B018


def test_notebooks_use_public_names_only():
    used = []
    for path in sorted((ROOT / "colab").glob("*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        code = "\n".join(line for line in code.splitlines() if not line.lstrip().startswith(("%", "!")))
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tfrnn":
                used += [(path.name, node.module, alias.name) for alias in node.names]
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tfrnn":
                used.append((path.name, "tfrnn", node.attr))
    assert used
    public = {"tfrnn": [*tfrnn.__all__, "__version__"], "tfrnn.d2l": tfrnn.d2l.__all__}
    assert [use for use in used if use[2] not in public.get(use[1], [])] == []
