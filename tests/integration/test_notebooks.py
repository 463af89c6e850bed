"""The notebooks run from top to bottom and are stored as colab/prepare.py writes them; all relative links work."""

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
PROGRESS_BAR = re.compile(r" *\d+%\|.*")
DOWNLOADED = ["read_data_nmt", *(f'"{name}"' for name, corpus in CORPORA.items() if corpus.builder)]


def code_cells(path):
    return [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def test_notebooks_are_numbered_without_gaps():
    numbers = [f"{number:02}" for number in range(1, len(NOTEBOOKS) + 1)]
    assert numbers
    assert [path.name[:3] for path in NOTEBOOKS] == [f"{number}_" for number in numbers]
    headings = [nbformat.read(path, 4).cells[0].source for path in NOTEBOOKS]
    assert [heading[:5] for heading in headings] == [f"# {number} " for number in numbers]


def test_notebooks_are_stored_as_prepared():
    done = subprocess.run([sys.executable, PREPARE, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_prepared_notebook_has_the_address_and_is_not_changed_again():
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
def test_cells_are_short_and_exercises_are_last(path):
    assert all(len(source.splitlines()) <= 25 for source in code_cells(path))
    last = nbformat.read(path, 4).cells[-1]
    assert last.cell_type == "markdown"
    assert re.match(r"#+ Exercises\n", last.source)
    numbers = re.findall(r"^(\d+)\. ", last.source, re.MULTILINE)
    assert numbers in (["1", "2"], ["1", "2", "3"])


def leads_somewhere(path, link):
    """Whether a relative link in the file `path` names an existing file and, after #, one of its headings."""
    file, _, anchor = link.partition("#")
    target = path.parent / file if file else path
    if not anchor or not target.exists():
        return target.exists()
    headings = re.findall(r"^#+ (.*)", target.read_text(), re.MULTILINE)
    return anchor in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]


def test_a_link_to_a_missing_file_or_heading_is_noticed():
    readme = ROOT / "README.md"
    assert leads_somewhere(readme, "docs/guide.md#code-from-the-book")
    assert not leads_somewhere(readme, "docs/no_such_page.md")
    assert not leads_somewhere(readme, "docs/guide.md#no-such-heading")


@pytest.mark.parametrize("path", DOCUMENTS + NOTEBOOKS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_work(path):
    cells = nbformat.read(path, 4).cells if path in NOTEBOOKS else []
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"] or [path.read_text()]
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", "\n".join(texts)) if "://" not in link]
    assert [link for link in links if not leads_somewhere(path, link)] == []


def execute(path, folder, **environment):
    """Runs a notebook as Jupyter does for a user; returns its outputs. Nothing but progress bars may go to stderr."""
    notebook = nbformat.read(path, 4)
    # With the first variable, a kernel does not capture what C++ writes; with the second, it shows no pictures.
    removed = ("PYTEST_CURRENT_TEST", "MPLBACKEND")
    kept = {name: value for name, value in quiet_environment().items() if name not in removed}
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}})
    client.execute(env={**kept, **environment})
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    stderr = "".join(output.text for output in outputs if output.get("name") == "stderr")
    assert [line for line in re.split(r"[\r\n]+", stderr) if line.strip() and not PROGRESS_BAR.fullmatch(line)] == []
    return outputs


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in nbclient and jupyter_client
@BY_NAME
def test_a_notebook_runs_from_top_to_bottom(path, tmp_path, capsys):
    start = time.perf_counter()
    outputs = execute(path, tmp_path)
    with capsys.disabled():
        print(f"\n{path.name}: {time.perf_counter() - start:.0f} s")
    assert outputs


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@BY_NAME
def test_without_a_network_a_notebook_uses_the_embedded_text(path, tmp_path):
    if not any(name in source for name in DOWNLOADED for source in code_cells(path)):
        pytest.skip("it downloads nothing")
    dead_proxy = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    no_data = {fetch.DATA_DIR: "", "TFDS_DATA_DIR": str(tmp_path / "tensorflow_datasets")}
    assert execute(path, tmp_path, **dead_proxy, **no_data)
