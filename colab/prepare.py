"""Brings the notebooks into their stored form: badge and install cell, no outputs, cell ids by position.

The repository's address in the badge and the install cell is that in address.txt.

python colab/prepare.py            writes the notebooks
python colab/prepare.py --check    changes nothing; exits with status 1 if a notebook is not in its stored form
"""

import argparse
import json
import re
import sys
from pathlib import Path

COLAB = Path(__file__).parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
BADGE = "[![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
INSTALL = """\
try:
    import tfrnn
except ImportError:
    %pip install -q git+{address}
    import tfrnn"""
INSTALL_CELL = re.compile(r"try:\n +import tfrnn\nexcept ImportError:\n( .*\n?)+")


def with_badge(title: str, page: str) -> str:
    """Returns the text of the first cell with the badge on a line of its own after the heading."""
    heading, *rest = (line for line in title.splitlines() if not line.startswith("[![Open In Colab]"))
    text = "\n".join(rest).strip("\n")
    return f"{heading}\n\n{BADGE}({page})\n\n{text}".rstrip()


def stored_cell(kind: str, source: str, number: int, original: dict) -> dict:
    """Returns a cell in its stored form: of the original, only tags and attachments are kept."""
    cell = {"cell_type": kind, "id": f"cell-{number:02}", "metadata": {}, "source": source.splitlines(keepends=True)}
    if "tags" in original.get("metadata", {}):  # tags determine how a cell is run
        cell["metadata"] = {"tags": original["metadata"]["tags"]}
    if "attachments" in original:
        cell["attachments"] = original["attachments"]
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    return dict(sorted(cell.items()))


def prepared(notebook: dict, name: str, address: str) -> dict:
    """Returns the stored form of a notebook, for the file `name` of the repository at `address`.

    Empty cells are removed.

    Raises:
      ValueError: if the first cell is not a markdown cell that begins with a heading.
    """
    cells = [(cell["cell_type"], "".join(cell["source"]).rstrip().lstrip("\n"), cell) for cell in notebook["cells"]]
    cells = [cell for cell in cells if cell[1]]
    if not cells or cells[0][0] != "markdown" or not cells[0][1].startswith("# "):
        raise ValueError(f"{name}: expected a markdown cell that begins with '# ' as the first cell")
    page = address.replace("https://github.com/", "https://colab.research.google.com/github/")
    cells[0] = ("markdown", with_badge(cells[0][1], f"{page}/blob/main/colab/{name}"), cells[0][2])
    first_code = next((i for i, (kind, _, _) in enumerate(cells) if kind == "code"), len(cells))
    if first_code < len(cells) and INSTALL_CELL.fullmatch(cells[first_code][1]):
        del cells[first_code]
    else:
        first_code = 1
    cells.insert(first_code, ("code", INSTALL.format(address=address), {}))
    return {
        "cells": [stored_cell(kind, source, i, original) for i, (kind, source, original) in enumerate(cells)],
        "metadata": METADATA,
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args().check
    address = (COLAB / "address.txt").read_text().strip()
    status = 0
    for path in sorted(COLAB.glob("[0-9][0-9]_*.ipynb")):
        before = path.read_text(encoding="utf-8")
        after = json.dumps(prepared(json.loads(before), path.name, address), indent=1, ensure_ascii=False) + "\n"
        if after == before:
            continue
        if check:
            print(f"{path}: not in its stored form; run python colab/prepare.py", file=sys.stderr)
            status = 1
        else:
            path.write_text(after, encoding="utf-8")
            print(f"{path}: written")
    return status


if __name__ == "__main__":
    sys.exit(main())
