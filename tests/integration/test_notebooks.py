"""The notebooks run from top to bottom and are kept as colab/prepare.py writes them; no link leads nowhere."""

import json
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from entry_points import quiet_environment
from nbclient import NotebookClient

from tfrnn.data.corpora import fetch
from tfrnn.data.corpora.catalogue import CORPORA

ROOT = Path(__file__).parents[2]
PREPARE = ROOT / "colab" / "prepare.py"
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks" / "README.md"])
BY_NAME = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
A_BAR = re.compile(r" *\d+%\|.*")


def code(path):
    return [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


FETCHED = [f'"{name}"' for name, corpus in CORPORA.items() if corpus.builder]


def test_numbered_without_gaps():
    assert NOTEBOOKS
    for number, path in enumerate(NOTEBOOKS, 1):
        assert path.name.startswith(f"{number:02}_")
        assert nbformat.read(path, 4).cells[0].source.startswith(f"# {number:02} ")


def test_kept_as_prepared():
    done = subprocess.run([sys.executable, PREPARE, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_is_prepared_has_the_address_and_is_prepared_already():
    prepared = runpy.run_path(str(PREPARE))["prepared"]
    executed = {"cell_type": "code", "execution_count": 3, "id": "x", "metadata": {"collapsed": True}, "outputs": [{}]}
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# 01 A title\n", "\n", "Its text.\n"]},
        {**executed, "source": "x = 1"},
        {**executed, "source": ""},
    ]
    once = prepared({"cells": cells, "metadata": {"colab": {}}}, "01_a.ipynb", "https://github.com/one/tfrnn")
    title, install, assignment = once["cells"]
    heading, _, badge, _, text = title["source"]
    assert [heading, text] == ["# 01 A title\n", "Its text."]
    assert badge.endswith("](https://colab.research.google.com/github/one/tfrnn/blob/main/colab/01_a.ipynb)\n")
    assert "    %pip install -q git+https://github.com/one/tfrnn\n" in install["source"]
    assert assignment["source"] == ["x = 1"]
    assert (assignment["outputs"], assignment["execution_count"], assignment["metadata"]) == ([], None, {})
    assert [cell["id"] for cell in once["cells"]] == ["cell-00", "cell-01", "cell-02"]
    elsewhere = prepared(once, "01_a.ipynb", "https://github.com/another/tfrnn")
    assert "/one/" not in json.dumps(elsewhere)
    assert prepared(elsewhere, "01_a.ipynb", "https://github.com/one/tfrnn") == once
    nbformat.validate(nbformat.from_dict(once))


@BY_NAME
def test_short_cells_and_exercises_at_the_end(path):
    assert all(len(source.splitlines()) <= 25 for source in code(path))
    last = nbformat.read(path, 4).cells[-1]
    assert last.cell_type == "markdown"
    assert re.match(r"#+ Exercises\n", last.source)
    numbers = re.findall(r"^(\d+)\. ", last.source, re.MULTILINE)
    assert numbers in (["1", "2"], ["1", "2", "3"])


@pytest.mark.parametrize("path", DOCUMENTS + NOTEBOOKS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(path):
    cells = nbformat.read(path, 4).cells if path in NOTEBOOKS else []
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"] or [path.read_text()]
    for link in re.findall(r"\]\(([^)\s]+)\)", "\n".join(texts)):
        if "://" not in link:
            file, _, anchor = link.partition("#")
            target = path.parent / file if file else path
            assert target.exists(), link
            headings = re.findall(r"^#+ (.*)", target.read_text(), re.MULTILINE) if anchor else []
            assert not anchor or anchor in [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings], link


def execute(path, folder, **environment):
    """Runs the notebook as a user's Jupyter would; fails on an error, and on what it says beside its bars on stderr."""
    notebook = nbformat.read(path, 4)
    # With the first a kernel leaves what C++ writes uncaught; with the second, pictures that a cell draws.
    mine = ("PYTEST_CURRENT_TEST", "MPLBACKEND")
    kept = {name: value for name, value in quiet_environment().items() if name not in mine}
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}})
    client.execute(env={**kept, **environment})
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = "".join(output.text for output in outputs if output.get("name") == "stderr")
    assert not [line for line in re.split(r"[\r\n]+", said) if line.strip() and not A_BAR.fullmatch(line)]
    return outputs


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the notebook machinery's own
@BY_NAME
def test_runs_from_top_to_bottom(path, tmp_path, capsys):
    start = time.perf_counter()
    outputs = execute(path, tmp_path)
    with capsys.disabled():
        print(f"\n{path.name}: {time.perf_counter() - start:.0f} s")
    assert outputs


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@BY_NAME
def test_without_a_network_the_embedded_text_does(path, tmp_path):
    if not any(name in source for name in FETCHED for source in code(path)):
        pytest.skip("it fetches nothing")
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    nothing_at_hand = {fetch.DATA_DIR: "", "TFDS_DATA_DIR": str(tmp_path / "tensorflow_datasets")}
    assert execute(path, tmp_path, **nowhere, **nothing_at_hand)
