"""The layers of the package: which packages may import which, and what loads without TensorFlow."""

import ast
import functools
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
    ["runs", "inference", "series"],
    ["training"],
    ["models"],
    ["formats"],
    [*COMMANDS, "d2l"],
    ["__main__"],
]
LAYER_OF = {package: number for number, packages in enumerate(LAYERS) for package in packages}
# Pairs of packages that the layers would allow to import each other, and that must not.
FORBIDDEN = [("layers", "config"), ("training", "formats"), ("training", "data.corpora"), ("inference", "data.corpora")]
SLOW_TO_IMPORT = {"tensorflow", "keras", "tensorflow_datasets", "matplotlib"}


def module_of(path):
    """Returns the dotted name of a file of the package, without `tfrnn.`; empty for tfrnn/__init__.py."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


FILES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
PACKAGES = sorted({name.split(".")[0] for name in FILES} - {""})


@functools.cache
def imports_of(name, at_import_only=False):
    """Returns the full names of the modules that a module imports; at_import_only omits imports inside functions."""
    names = []
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
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                names.append(full if full.removeprefix("tfrnn.") in FILES else node.module)
    return names


def own_imports_of(name, at_import_only=False):
    """Returns the modules of this package that a module imports, without `tfrnn.`."""
    own = (full for full in imports_of(name, at_import_only) if full.startswith("tfrnn."))
    return {full.removeprefix("tfrnn.") for full in own}


def packages_imported_by(package):
    names = [name for name in FILES if name.split(".")[0] == package]
    return {other.split(".")[0] for name in names for other in own_imports_of(name)} - {package}


def loads_tensorflow(name, seen=frozenset()):
    """Returns whether importing a module imports a slow package, directly or indirectly."""
    if any(full.split(".")[0] in SLOW_TO_IMPORT for full in imports_of(name, at_import_only=True)):
        return True
    parents = {name.rpartition(".")[0]} - {"", name}
    others = (own_imports_of(name, at_import_only=True) | parents) - seen - {name}
    return any(loads_tensorflow(other, seen | {name}) for other in others)


def test_every_package_has_a_layer():
    assert sorted(LAYER_OF) == PACKAGES


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_from_lower_layers(package):
    imported = packages_imported_by(package)
    print(f"{LAYER_OF[package]} {package}: {', '.join(sorted(imported))}")
    assert [other for other in imported if LAYER_OF[other] >= LAYER_OF[package]] == []


@pytest.mark.parametrize(("package", "other"), FORBIDDEN)
def test_a_package_does_not_import_one_forbidden_to_it(package, other):
    names = [name for name in FILES if name.split(".")[0] == package]
    assert [(n, m) for n in names for m in own_imports_of(n) if f"{m}.".startswith(f"{other}.")] == []


def test_no_circular_imports():
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
def test_the_init_of_a_package_has_a_docstring_and_no_code_of_its_own(package):
    tree = ast.parse((PACKAGE / package / "__init__.py").read_text())
    paragraphs = (ast.get_docstring(tree) or "").split("\n\n")
    assert len(paragraphs) >= 2
    code = [node for node in tree.body[1:] if not isinstance(node, (ast.ImportFrom, ast.Assign, ast.If))]
    assert code == []  # it may import names from the modules of the package


def test_commands_and_lower_layers_do_not_import_tensorflow():
    """By their source and by importing them: wrong flags and files must be reported before TensorFlow loads."""
    light = [
        name for name in FILES if name.split(".")[0] in {"errors", "config", "plots", "cli", *COMMANDS, "__main__"}
    ]
    light += ["", "runtime.host", "runtime.durable", "runtime.cluster", "data.run_text", "data.corpora.catalogue"]
    assert [name for name in light if loads_tensorflow(name)] == []
    names = [f"tfrnn.{name}".rstrip(".") for name in FILES if not loads_tensorflow(name)]
    code = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\n"
    code += f"print({SLOW_TO_IMPORT} & {{*sys.modules}})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_only_cli_uses_absl():
    users = {name.split(".")[0] for name in FILES if any(full.startswith("absl") for full in imports_of(name))}
    assert users == {"cli"}


def test_every_public_name_exists_and_has_a_docstring():
    assert len(tfrnn.__all__) >= 12
    assert [name for name in tfrnn.__all__ if not getattr(tfrnn, name).__doc__] == []
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        tfrnn.no_such_name  # noqa: B018


def test_notebooks_use_only_public_names():
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
