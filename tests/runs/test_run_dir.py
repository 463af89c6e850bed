"""A run directory: complete or absent whatever fails, used by one process, and read without following links."""

import contextlib
import errno
import hashlib
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import faults
import numpy as np
import pytest

from tfrnn.config.config import SECTIONS, Config
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import RunWarning, UserError
from tfrnn.runs.checkpoints import Layout
from tfrnn.runs.metrics import MEASURES
from tfrnn.runs.run_dir import RunDir, default_path
from tfrnn.runtime import durable

TOKENS = Vocabulary(["<unk>", "a"])


def arrays_of(epoch):
    return {
        "weights.0": np.arange(6, dtype=np.float32).reshape(2, 3),
        "generators.0": np.array([1, 2**40], np.int64),
        "best_epoch": np.array(epoch, np.int64),
        "position": np.array([epoch, 0], np.int64),
    }


LAYOUTS = {name: Layout.of(array) for name, array in arrays_of(0).items()}


def row(epoch):
    return {"epoch": epoch, **dict.fromkeys(MEASURES, epoch + 0.5)}


def load_epoch(run):
    """The epoch of the newest usable checkpoint, or -1."""
    arrays = run.load(LAYOUTS, Config(), TOKENS)
    return -1 if arrays is None else int(arrays["best_epoch"])


def train(path, saved, last_epoch):
    """Does to a run directory, new or not, what training up to an epoch does; appends the saved epochs to `saved`."""
    with RunDir(path) as run:
        epoch = load_epoch(run)
        run.create(Config(), TOKENS)
        run.metrics.keep(max(epoch, 0))
        if epoch < 0:
            run.save((0, 0), arrays_of(0))
            saved.append(0)
        with contextlib.suppress(OSError):
            run.save_plot(b"\x89PNG\r\n\x1a\n")
        for now in range(max(epoch, 0) + 1, last_epoch + 1):
            with contextlib.suppress(OSError):  # as training continues
                run.metrics.add(row(now))
            with contextlib.suppress(OSError):
                run.save((now, 0), arrays_of(now))
                saved.append(now)


def check_resumable(path, last_saved):
    """The newest checkpoint is that which was saved last, or a newer one, and the metrics have all rows up to it."""
    with RunDir(path) as run:
        arrays = run.load(LAYOUTS, Config(), TOKENS)
        epoch = -1 if arrays is None else int(arrays["best_epoch"])
        assert epoch >= last_saved
        assert [row["epoch"] for row in run.metrics.rows()][: max(epoch, 0)] == list(range(1, epoch + 1))
        if arrays is not None:
            assert {name: array.tobytes() for name, array in arrays.items()} == {
                name: array.tobytes() for name, array in arrays_of(epoch).items()
            }
            assert run.config() == Config()
            assert run.vocabulary("char").id_to_token == TOKENS.id_to_token


FAULTS = {
    "full disk": (errno.ENOSPC, True),
    "kill": (None, True),
    "no space once": (errno.ENOSPC, False),
    "write error once": (errno.EIO, False),
    "quota exceeded": (errno.EDQUOT, True),
}
SLOW = ("no space once", "write error once", "quota exceeded")  # as tests of TrainingRun in test_faults.py


@pytest.mark.parametrize(
    ("error", "lasting"),
    [pytest.param(*FAULTS[name], id=name, marks=pytest.mark.slow if name in SLOW else ()) for name in FAULTS],
)
def test_after_any_failing_operation_the_last_save_is_kept_and_resuming_is_exact(error, lasting, tmp_path):
    operations = faults.Operations(tmp_path / "twin")
    with operations.counted():
        train(tmp_path / "twin", [], 1)
        train(tmp_path / "twin", [], 2)
    assert len(operations.made) > 40
    expected = faults.outcome(tmp_path / "twin")
    for at, name in enumerate(operations.made):
        path, saved = tmp_path / str(at), []
        ends = faults.Dead if error is None else (UserError, OSError)  # as a command ends
        with contextlib.suppress(ends), faults.Operations(path, faults.Fault(at, error, lasting)).counted():
            train(path, saved, 1)
            train(path, saved, 2)
        check_resumable(path, max(saved, default=-1))
        with warnings.catch_warnings(), faults.Operations(path).counted():
            warnings.simplefilter("error", RunWarning)  # nothing is damaged
            train(path, saved, 2)
        assert faults.outcome(path) == expected, name


def test_another_process_is_kept_out_until_the_lock_is_released_or_its_holder_is_killed(tmp_path):
    code = (
        "import pathlib\nfrom tfrnn.runtime import durable\n"
        f"held = durable.FolderLock(pathlib.Path({str(tmp_path)!r}))\nprint(1, flush=True)\ninput()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True)
    assert holder.stdout.readline() == "1\n"
    with pytest.raises(UserError, match="no other process is training, but one is"), RunDir(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with RunDir(tmp_path), pytest.raises(BlockingIOError):
        durable.FolderLock(tmp_path)
    durable.FolderLock(tmp_path).release()


def test_a_folder_with_other_files_is_refused_and_left_unlocked(tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    for _ in range(2):
        with pytest.raises(UserError, match="holds other files"), RunDir(tmp_path):
            pass
    (tmp_path / "thesis.txt").unlink()
    with RunDir(tmp_path):
        pass


def test_a_run_that_another_process_creates_in_the_meantime_is_not_overwritten(tmp_path):
    with RunDir(tmp_path / "run") as late:
        train(tmp_path / "run", [], 1)
        before = faults.outcome(tmp_path / "run")
        with pytest.raises(UserError, match="another process has just begun one"):
            late.create(Config(), Vocabulary(["<unk>", "b"]))
    assert faults.outcome(tmp_path / "run") == before


def test_a_folder_that_cannot_be_locked_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(durable, "fcntl", None)  # as on Windows
    with pytest.warns(RunWarning, match="cannot be locked"), RunDir(tmp_path):
        pass


@pytest.mark.parametrize(
    ("name", "before", "now", "message"),
    [
        ("units", 16, 17, "begun with `units=16`, now it is 17; give `units=16` to resume it, or another `run_dir`"),
        ("init_from", "", "a", "begun without `init_from`, now it is a; leave it out to resume the run, or give"),
        ("init_from", "a", "", "begun with `init_from=a`, now it is not given; give `init_from=a` to resume it"),
        ("freeze", (), ("dense",), "begun without `freeze`, now it is dense; leave it out to resume the run"),
        ("freeze", ("a", "b"), (), "begun with `freeze=a` `freeze=b`, now it is not given; give `freeze=a` `freeze=b`"),
    ],
)
def test_a_setting_that_a_run_was_begun_without_or_with_others_is_told(name, before, now, message, tmp_path):
    run = RunDir(tmp_path)
    assert str(run.changed_setting_error(name, before, now)).startswith(f"`run_dir={tmp_path}`: the run was {message}")


def test_a_checkpoint_under_another_name_is_not_used(tmp_path):
    train(tmp_path, [], 2)
    newest = max((tmp_path / "checkpoints").iterdir())
    newest.rename(newest.with_name("00000009-00000000.npz"))
    expected = r"00000009-00000000.npz cannot be used \(its position is \[2, 0\], not that of its name\)"
    with pytest.warns(RunWarning, match=expected), RunDir(tmp_path) as run:
        assert load_epoch(run) == 1


@pytest.mark.parametrize("tokens", ["char", "word"])
def test_a_run_that_is_older_than_a_setting_is_loaded_by_the_value_it_was_begun_with(tokens, tmp_path):
    config = Config().replace(tokens=tokens, text_rule="raw", word_rule="spaces", decayed="all")
    with RunDir(tmp_path) as run:
        run.create(config, TOKENS)
        data = json.loads((tmp_path / "config.json").read_text())
        fields = {field.name: field for section in SECTIONS for field, _ in section.fields()}
        for section in data.values():
            for name in [name for name in section if "before" in fields[name].metadata]:
                del section[name]
        (tmp_path / "config.json").write_text(json.dumps(data))
        fixed = {name: v for section in data.values() for name, v in section.items() if name in config.fixed()}
        digest = hashlib.sha256(json.dumps([fixed, TOKENS.id_to_token]).encode()).digest()  # as version 0.1 made it
        run._checkpoints.save((1, 0), {**arrays_of(1), "settings_sha256": np.frombuffer(digest, np.uint8)})
        assert run.config() == config
        assert run.load(LAYOUTS, run.config(), TOKENS)["best_epoch"] == 1
        with pytest.raises(UserError, match="other settings"):
            run.load(LAYOUTS, config.replace(encoding="cp1252"), TOKENS)


def test_finished_epochs_without_a_checkpoint_are_an_error(tmp_path):
    train(tmp_path, [], 2)
    for path in (tmp_path / "checkpoints").iterdir():
        path.unlink()
    with RunDir(tmp_path) as run, pytest.raises(UserError, match="2 finished epochs, but checkpoints holds none"):
        load_epoch(run)
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match=r"config\.json is missing; bring it back"), RunDir(tmp_path):
        pass
    (tmp_path / "metrics.jsonl").unlink()
    train(tmp_path, saved := [], 1)  # nothing is left to lose
    assert saved == [0, 1]


# Files


def test_reading_and_writing_follow_no_link(tmp_path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic link"):
        durable.read(tmp_path / "link", 100)
    (tmp_path / "out.new").symlink_to(tmp_path / "secret")
    (tmp_path / "out").symlink_to(tmp_path / "secret")
    durable.write(tmp_path / "out", b"ours")
    assert ((tmp_path / "secret").read_text(), (tmp_path / "out").is_symlink()) == ("secret", False)


@pytest.mark.parametrize(
    ("name", "message"), [("", "folder|regular"), ("pipe", "no regular file"), ("/dev/zero", "no regular file")]
)
def test_only_regular_files_are_read(name, message, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=message):
        durable.read(tmp_path / name, 100)


def test_only_files_of_a_bounded_size_are_read(tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match="1,099,511,627,776 bytes, more than the 100"):
        durable.read(tmp_path / "sparse", 100)


def test_a_write_that_the_operating_system_refuses_leaves_the_old_file(tmp_path):
    """In a process that may not make files of more than 1,000 bytes."""
    code = (
        "import pathlib, resource, signal\nfrom tfrnn.runtime import durable\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"path = pathlib.Path({str(tmp_path)!r}) / 'file'\ndurable.write(path, b'old')\n"
        "try:\n    durable.write(path, bytes(5000))\nexcept OSError as error:\n    print(error.strerror)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "File too large\n"
    assert [path.name for path in Path(tmp_path).iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_the_name_of_a_run_has_no_control_characters():
    assert default_path("gru", "a\0\x07b.txt,c").startswith("runs/gru-ab-2")
