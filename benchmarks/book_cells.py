"""Runs the TensorFlow cells of the book's recurrent chapters against tfrnn.d2l, and prints how many of them run.

    python -m benchmarks.book_cells --snapshots=FOLDER [--edition=0.17] [--epochs=2] [--ways=import,as_printed,guide]

FOLDER holds snapshots of the book's repositories, which are not part of this one:

    git clone --depth 1 --branch v0.17.5 https://github.com/d2l-ai/d2l-en d2l-en
    git clone --depth 1 --branch v2.0.0 https://github.com/d2l-ai/d2l-zh d2l-zh
    git clone --depth 1 https://github.com/d2l-ai/d2l-tensorflow-colab
    git clone --depth 1 https://github.com/TrickyGo/Dive-into-DL-TensorFlow2.0

Each notebook runs in a process of its own, all its cells in order. A cell counts as running if it raises no error; if
the process dies, the cell that it was at and those after it do not. The exit status is 2, with one line, if a flag is
wrong or if there is nothing to run. The line that imports the book's package is replaced, in one of these ways:

    import      by the import of tfrnn.d2l, and nothing else
    as_printed  by the import and `d2l.as_printed()`
    guide       by the import; and the edits are made that docs/guide.md names in place of as_printed
    library     as as_printed, and the definitions of what tfrnn.d2l has are left out, so that its own are used
"""

import argparse
import ast
import contextlib
import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

CHAPTERS = "chapter_recurrent-neural-networks", "chapter_recurrent-modern"
WAYS = "import", "as_printed", "guide", "library"


@dataclasses.dataclass(frozen=True)
class Edition:
    """An edition of the book.

    Attributes:
      folder: the folder of its repository.
      notebooks: patterns of its notebooks there; Markdown pages hold cells of several libraries.
      book_import: a pattern of the import of its package.
      our_import: what takes its place.
    """

    folder: str
    notebooks: tuple[str, ...]
    book_import: str
    our_import: str


_PAGES = tuple(f"{chapter}/*.md" for chapter in CHAPTERS)
EDITIONS = {
    "0.17": Edition("d2l-en", _PAGES, r"from d2l import tensorflow as d2l", "from tfrnn import d2l"),
    "2.0": Edition("d2l-zh", _PAGES, r"from d2l import tensorflow as d2l", "from tfrnn import d2l"),
    "1.0": Edition(
        "d2l-tensorflow-colab",
        tuple(f"{chapter}/*.ipynb" for chapter in CHAPTERS),
        r"from d2l import tensorflow as d2l",
        "from tfrnn.d2l import v1 as d2l",
    ),
    "first": Edition(
        "Dive-into-DL-TensorFlow2.0",
        ("code/chapter06_RNN/*.ipynb",),
        r"import d2lzh_tensorflow2 as d2l",
        "from tfrnn.d2l import first as d2l",
    ),
}
# The edits of docs/guide.md, section "Code from the book".
GUIDE = [
    (r"\b(?:tf\.)?keras\.layers\.(RNN|SimpleRNN|GRU|LSTM)\((?=[^()]*(?:\([^()]*\)[^()]*)*time_major)", r"tfrnn.\1("),
    (r"(= \w+\.get_initial_state\(batch_size=\w+),\s*dtype=tf\.float32\)", r"\1)[0]"),
    (r"(get_initial_state|begin_state)\(([^()]*(?:\[[^]]*\])?[^()]*?),\s*dtype=tf\.float32\)", r"\1(\2)"),
    (r"\bSGD\((?:learning_rate=)?(\d+|lr)\)", r"SGD(float(\1))"),
    (r"\.argmax\(axis=1\)\.reshape\(1\)\)", r".argmax())"),
    (r"int\(np\.array\((tf\.argmax\([^()]*(?:\[0\])?,\s*axis=-?1\))\)\)", r"int(\1[0])"),
    (r"int\(tf\.reshape\((tf\.argmax\(\w+, axis=2\)), 1\)\)", r"int(\1[0, 0])"),
    (r"state = output\[1:\]", r"state = tf.nest.flatten(output[1:])"),
    (r"tf\.one_hot\(label, ", r"tf.one_hot(tf.cast(label, tf.int32), "),
    (r"\bmodel\.variables\b", r"model.trainable_variables"),
]


def cells_of(path: Path) -> list[str]:
    """Returns the TensorFlow cells of a notebook, without those that only install packages."""
    if path.suffix == ".ipynb":
        cells = [cell["source"] for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        cells = ["".join(cell) for cell in cells]
        return [cell for cell in cells if cell.strip() and not cell.lstrip().startswith("!pip")]
    cells = []
    for cell in re.findall(r"^```\{\.python \.input[^\n]*\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE):
        tabs = re.match(r"#@tab (.*)", cell)
        if tabs and {"all", "tensorflow"} & {tab.strip() for tab in tabs[1].split(",")}:
            cells.append(cell)
    return cells


def is_of_tensorflow(path: Path) -> bool:
    """Returns whether a page has cells for TensorFlow; a Markdown page of other libraries may have one for all."""
    cells = cells_of(path)
    return any(re.match(r"#@tab .*\btensorflow\b", cell) for cell in cells) if path.suffix == ".md" else bool(cells)


def edited(cell: str, edition: Edition, way: str, defined: set[str]) -> str:
    """Returns a cell with the book's import replaced, and with the edits of the way in which it runs.

    Args:
      defined: the names that tfrnn.d2l has, whose definitions are left out in the way "library".
    """
    line = edition.our_import + ("\nd2l.as_printed()" if way in ("as_printed", "library") else "")
    cell = re.sub(rf"^{edition.book_import}$", line, cell, flags=re.MULTILINE)
    cell = re.sub(r"^[%!].*$", "", cell, flags=re.MULTILINE)
    if way == "guide":
        for pattern, replacement in GUIDE:
            cell = re.sub(pattern, replacement, cell)
        cell = "import tfrnn\n" + cell if "tfrnn." in cell else cell
    if way == "library":
        tree = ast.parse(cell)
        kept = [
            ast.unparse(node) if not _defines(node, defined) else f"{node.name} = d2l.{node.name}" for node in tree.body
        ]
        cell = "\n".join(kept)
    return cell


def _defines(node: ast.AST, defined: set[str]) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name in defined and not node.decorator_list


class _FewerEpochs(ast.NodeTransformer):
    """Bounds the numbers that are given to num_epochs and max_epochs."""

    def __init__(self, most: int):
        self._most = most

    def _bounded(self, name: str | None, value: ast.expr) -> ast.expr:
        is_number = isinstance(value, ast.Constant) and isinstance(value.value, int)
        return (
            ast.Constant(min(value.value, self._most)) if name in ("num_epochs", "max_epochs") and is_number else value
        )

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        (target, *others), value = node.targets, node.value
        if isinstance(target, ast.Name) and not others:
            node.value = self._bounded(target.id, value)
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            value.elts = [
                self._bounded(getattr(t, "id", None), v) for t, v in zip(target.elts, value.elts, strict=True)
            ]
        return self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        node.value = self._bounded(node.arg, node.value)
        return self.generic_visit(node)


def run_notebook(path: Path, edition: Edition, way: str, epochs: int, eagerly: bool) -> Iterator[dict]:
    """Runs the cells of a notebook in this process; yields number, seconds, output and error of each."""
    if eagerly:
        import tensorflow as tf

        tf.config.run_functions_eagerly(True)
    space: dict = {"__name__": "__main__"}
    names: set[str] = set()
    if way == "library" and any(re.search(edition.book_import, cell) for cell in cells_of(path)):
        exec(edition.our_import, found := {})
        names = {*found["d2l"].__all__}
    for number, source in enumerate(cells_of(path)):
        error, start, out = "", time.perf_counter(), io.StringIO()
        try:
            with contextlib.redirect_stdout(out):
                tree = ast.parse(edited(source, edition, way, names))
                if epochs:
                    tree = ast.fix_missing_locations(_FewerEpochs(epochs).visit(tree))
                last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
                exec(compile(tree, f"<{path.name}, cell {number}>", "exec"), space)
                if last is not None:
                    value = eval(compile(ast.Expression(last.value), f"<{path.name}, cell {number}>", "eval"), space)
                    print("" if value is None else repr(value))
        except (Exception, SystemExit):
            error = traceback.format_exc().strip().splitlines()[-1][:300]
            if os.environ.get("BOOK_CELLS_TRACE"):
                traceback.print_exc()
        yield {
            "cell": number,
            "seconds": time.perf_counter() - start,
            "out": out.getvalue(),
            "error": error,
            "first": first_line(source),
        }


def first_line(cell: str) -> str:
    """Returns the first line of a cell that is no comment."""
    return next((line for line in cell.splitlines() if line and not line.startswith("#")), "")


def run_in_a_process(path: Path, edition: str, way: str, epochs: int, eagerly: bool) -> list[dict]:
    """Runs a notebook in a new process, in a folder of its own; returns the result of each cell.

    The cells without a result, since the process died, have failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        inner = Path(folder, "notebooks")
        inner.mkdir()
        data = Path(os.environ.get("TFRNN_DATA_DIR", "no such folder"))
        if data.is_dir():  # some pages open ../data themselves
            shutil.copytree(data, Path(folder, "data"))
        arguments = ["--notebook", str(path), "--edition", edition, "--ways", way, "--epochs", str(epochs)]
        arguments += ["--eager"] if eagerly else []
        environment = {"MPLBACKEND": "agg", "PYTHONWARNINGS": "ignore", "TF_CPP_MIN_LOG_LEVEL": "2", **os.environ}
        root = str(Path(__file__).parents[1])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.book_cells", *arguments],
            cwd=inner, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        lines = [line[8:] for line in done.stdout.splitlines() if line.startswith("<result>")]
        if os.environ.get("BOOK_CELLS_TRACE"):
            print(done.stderr, file=sys.stderr)
        results = [json.loads(line) for line in lines]
        died_in, last_words = len(results), (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:300]
        for number, cell in enumerate(cells_of(path)[died_in:], died_in):
            reason = (
                f"not run: the process ended in cell {died_in}"
                if number > died_in
                else f"its process ended with status {done.returncode}: {last_words}"
            )
            results.append({"cell": number, "seconds": 0, "out": "", "error": reason, "first": first_line(cell)})
        return results


def ways_of(flag: str) -> list[str]:
    """Returns the ways that --ways names."""
    ways = flag.split(",")
    if wrong := [way for way in ways if way not in WAYS]:
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(WAYS)}; got {wrong[0]!r}")
    return ways


def number_of_epochs(flag: str) -> int:
    """Returns the number that --epochs gives."""
    if not flag.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0; got {flag!r}")
    return int(flag)


def notebooks_of(edition: Edition, snapshots: Path, only: str) -> list[Path]:
    """Returns the TensorFlow notebooks of an edition whose name contains `only`."""
    paths = [path for pattern in edition.notebooks for path in sorted((snapshots / edition.folder).glob(pattern))]
    paths = [path for path in paths if not path.stem.endswith("_origin") and only in path.name]
    return [path for path in paths if is_of_tensorflow(path)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snapshots", type=Path, help="the folder of the snapshots")
    parser.add_argument("--edition", action="append", choices=EDITIONS, help="by default all that are there")
    parser.add_argument("--only", default="", help="only notebooks whose name contains this")
    parser.add_argument(
        "--epochs", type=number_of_epochs, default=2, help="the most epochs of a training; 0: as printed"
    )
    parser.add_argument(
        "--ways", type=ways_of, default="import,as_printed,guide", help=f"some of {', '.join(WAYS)}, with commas"
    )
    parser.add_argument("--show", action="store_true", help="print what each cell prints")
    parser.add_argument("--eager", action="store_true", help="let Python run each operation, as the book does")
    parser.add_argument("--notebook", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.notebook:
        (name,), (way,) = args.edition, args.ways
        for result in run_notebook(args.notebook, EDITIONS[name], way, args.epochs, args.eager):
            print("\n<result>" + json.dumps(result), file=sys.__stdout__, flush=True)
        return
    if not args.snapshots:
        parser.error("expected --snapshots=FOLDER, the folder of the book's repositories; --help says how to get them")
    missing = {
        name: folder for name, edition in EDITIONS.items() if not (folder := args.snapshots / edition.folder).is_dir()
    }
    for name in args.edition or (EDITIONS if len(missing) == len(EDITIONS) else ()):
        if name in missing:
            parser.error(f"edition {name}: expected a folder {missing[name]}; --help says how to get it")
    notebooks = {
        name: notebooks_of(EDITIONS[name], args.snapshots, args.only)
        for name in args.edition or [name for name in EDITIONS if name not in missing]
    }
    if not any(notebooks.values()):
        parser.error(f"expected a part of a notebook's name as --only; got {args.only!r}, which is in none")
    rows = []
    for name, paths in notebooks.items():
        counts = [sum(run_and_print(path, name, way, args) for path in paths) for way in args.ways]
        rows.append((name, sum(len(cells_of(path)) for path in paths), *counts))
    for name, folder in missing.items():
        if not args.edition:
            print(f"edition {name}: no folder {folder}; --help says how to get it", file=sys.stderr)
    print("\n| edition | cells | " + " | ".join(args.ways) + " |")
    print("|" + "---|" * (2 + len(args.ways)))
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")


def run_and_print(path: Path, edition: str, way: str, args: argparse.Namespace) -> int:
    """Runs a notebook, prints what failed, and returns the number of cells that run."""
    results = run_in_a_process(path, edition, way, args.epochs, args.eager)
    for result in results:
        cell = f"{edition} {way} {path.name} cell {result['cell']}"
        if result["error"]:
            print(f"{cell}: {result['error']}  | {result['first']}")
        elif args.show:
            print(f"{cell} {result['seconds']:.1f} s\n{result['out']}")
    sys.stdout.flush()
    return sum(not result["error"] for result in results)


if __name__ == "__main__":
    main()
