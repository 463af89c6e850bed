"""`tfrnn export`: what it prints, where it writes, and what it never overwrites."""

import shutil

import pytest
from entry_points import run

from tfrnn import export as export_command
from tfrnn.formats import exporting


@pytest.fixture(scope="module")
def run_dir(small_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export_command") / "run"
    shutil.copytree(small_run, folder)
    return folder


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "form", [pytest.param(f, marks=[] if f == "safetensors" else pytest.mark.slow) for f in exporting.FORMATS]
)
def test_the_command_prints_the_folder_and_the_line_to_load_it(form, run_dir):
    status, out, err = run(export_command.main, f"--run_dir={run_dir}", f"--format={form}")
    assert (status, out) == (0, f"{run_dir}/{form}\n"), err
    assert err.splitlines()[0].startswith("read back and compared: ")
    assert err.splitlines()[1:] == [
        f"to {purpose}: {line}" for purpose, line in exporting.FORMATS[form].next_steps(run_dir / form).items()
    ]
    descriptions = {path: path.read_bytes() for path in (run_dir / form).glob("*.json")}
    assert run(export_command.main, f"--run_dir={run_dir}", f"--format={form}")[0] == 0  # replaces the first export
    assert {path: path.read_bytes() for path in (run_dir / form).glob("*.json")} == descriptions
    assert {path.name for path in run_dir.iterdir()} >= {"config.json", "checkpoints", form}
    assert {path.name for path in run_dir.glob(f"{form}*")} == {form}


def test_exporting_to_the_current_folder_leaves_its_neighbours(run_dir, tmp_path, monkeypatch):
    for name in ("out", "out.new"):
        (tmp_path / name).mkdir()
    (tmp_path / "out.new" / "mine.txt").write_text("mine")
    monkeypatch.chdir(tmp_path / "out")
    assert run(export_command.main, f"--run_dir={run_dir}", "--format=safetensors", "--output_dir=.")[0] == 0
    assert (tmp_path / "out" / "model.safetensors").exists()
    assert (tmp_path / "out.new" / "mine.txt").read_text() == "mine"


def folder_with_a_file(root, run_dir):
    (root / "out").mkdir()
    (root / "out" / "chapter.txt").write_text("all my work")
    return root / "out"


def file(root, run_dir):
    (root / "out").write_text("x")
    return root / "out"


def link_to_a_folder(root, run_dir):
    (root / "thesis").mkdir()
    (root / "out").symlink_to(root / "thesis")
    return root / "out"


def export_with_another_file(root, run_dir):
    flags = [f"--run_dir={run_dir}", "--format=safetensors", f"--output_dir={root}/out"]
    assert run(export_command.main, *flags)[0] == 0
    (root / "out" / "chapter.txt").write_text("mine")
    return root / "out"


def folder_with_a_false_description(root, run_dir):
    (folder_with_a_file(root, run_dir) / "export.json").write_text("[" * 10**6)
    return root / "out"


def folder_below_a_file(root, run_dir):
    return file(root, run_dir) / "below"


@pytest.mark.parametrize(
    ("make_folder", "message"),
    [
        (folder_with_a_file, "it holds chapter.txt"),
        (file, "it is a file or a link"),
        (link_to_a_folder, "it is a file or a link"),
        (export_with_another_file, "it holds chapter.txt"),
        (folder_with_a_false_description, "it holds chapter.txt, export.json"),
        (folder_below_a_file, "File exists"),
    ],
)
def test_only_an_export_is_replaced(make_folder, message, run_dir, tmp_path):
    folder = make_folder(tmp_path, run_dir)
    before = contents(tmp_path)
    status, out, err = run(
        export_command.main, f"--run_dir={run_dir}", "--format=safetensors", f"--output_dir={folder}"
    )
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert message in err
    assert contents(tmp_path) == before


def test_an_empty_folder_is_replaced(run_dir, tmp_path):
    (tmp_path / "out").mkdir()
    assert (
        run(export_command.main, f"--run_dir={run_dir}", "--format=safetensors", f"--output_dir={tmp_path}/out")[0] == 0
    )
    assert (tmp_path / "out" / "export.json").exists()


def test_a_failed_export_leaves_the_earlier_one(run_dir, tmp_path, monkeypatch):
    flags = [f"--run_dir={run_dir}", "--format=safetensors", f"--output_dir={tmp_path}/out"]
    assert run(export_command.main, *flags)[0] == 0
    before = contents(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting.durable, "write", full)
    status, _, err = run(export_command.main, *flags)
    assert (status, "No space left" in err) == (2, True)
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("flags", "message"),
    {
        "": "--run_dir must name",
        "--run_dir=nowhere": "there is no such folder; name another, or train first",
        "--run_dir={} --format=pickle": "one of saved_model, safetensors, litert, onnx, page",
        "--run_dir={} --checkpoint=first": "one of best",
    }.items(),
)
def test_wrong_flags_are_one_line_on_stderr(flags, message, run_dir):
    status, out, err = run(export_command.main, *flags.replace("{}", str(run_dir)).split())
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
