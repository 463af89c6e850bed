"""Checkpoints and the files of a run: whole or absent, whatever fails; nothing wrong is loaded."""

import contextlib
import errno
import hashlib
import io
import json
import os
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path
from unittest import mock

import faults
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfrnn.config.config import Config
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import RunWarning, UserError
from tfrnn.runs import checkpoints
from tfrnn.runs.checkpoints import Checkpoint, Folder, Layout, UnusableError, pack
from tfrnn.runs.metrics import MEASURES, Metrics
from tfrnn.runs.run_dir import RunDir
from tfrnn.runtime import durable

ARRAYS = {
    "weights.0": np.arange(6, dtype=np.float32).reshape(2, 3),
    "generators.0": np.array([1, 2**40], np.int64),
    "state.0": np.zeros([0, 3], np.float32),
    "best_epoch": np.array(3, np.int64),
    "position": np.array([3, 0], np.int64),
}
LAYOUTS = {name: Layout.of(array) for name, array in ARRAYS.items()}


def read(path):
    with Checkpoint(path, 2**30) as checkpoint:
        return checkpoint.read(checkpoint.layouts)


def same(found, expected):
    return found.keys() == expected.keys() and all(
        np.array_equal(found[name], array) and found[name].dtype == array.dtype for name, array in expected.items()
    )


NUMBERS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.int32, np.uint8, np.uint32]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    elements={"allow_nan": False, "allow_infinity": False},
)
NAMES = st.text("abcxyz._019", min_size=1, max_size=20)


@given(arrays=st.dictionaries(NAMES, NUMBERS, max_size=5))
def test_what_is_packed_is_read_back(arrays, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "packed.npz"
    path.write_bytes(pack(arrays))
    assert same(read(path), arrays)
    with np.load(path) as by_numpy:
        assert same(dict(by_numpy), arrays)
    assert pack(arrays) == pack(arrays)


@given(data=st.data())
def test_no_damage_goes_unnoticed(data, tmp_path_factory):
    """A byte changed, the end cut off, something put in: whatever differs is refused."""
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    whole = bytes(pack(ARRAYS))
    start = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(start, len(whole)))
    damaged = whole[:start] + data.draw(st.binary(max_size=20)) + whole[end:]
    path.write_bytes(damaged)
    if damaged == whole:
        assert same(read(path), ARRAYS)
    else:
        with pytest.raises(UnusableError):
            read(path)


@given(content=st.binary(max_size=300), ends_as_a_zip=st.booleans())
def test_any_bytes_with_a_right_checksum_are_refused(content, ends_as_a_zip, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.npz"
    if ends_as_a_zip:
        content += bytes(pack({}))[:-64]
    path.write_bytes(content + hashlib.sha256(content).hexdigest().encode())
    with pytest.raises(UnusableError), Checkpoint(path, 2**30) as checkpoint:
        checkpoint.read(LAYOUTS)


def signed(content):
    """The content of a zip archive with the right checksum as its comment."""
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = bytes(64)
    content = buffer.getvalue()[:-64]
    return content + hashlib.sha256(content).hexdigest().encode()


def archive_of(members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return signed(buffer.getvalue())


def npy(header, data=b""):
    header = header.encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


class _Trap:
    """Makes a pickle that would do something when it is loaded."""

    def __reduce__(self):
        return os.system, ("touch /tmp/tfrnn_was_here",)


def pickled():
    buffer = io.BytesIO()
    np.save(buffer, np.array([_Trap()], object), allow_pickle=True)
    return buffer.getvalue()


def header(**changed):
    return repr({"descr": "<f4", "fortran_order": False, "shape": (1,), **changed})


STRANGE = {
    "a pickle": {"a.npy": pickled()},
    "a size that is no number": {"a.npy": npy(header().replace("1", "10**12"))},
    "a terabyte": {"a.npy": npy(header(shape=(2**38,)))},
    "a negative size": {"a.npy": npy(header(shape=(-1,)), bytes(4))},
    "another order": {"a.npy": npy(header(fortran_order=True), bytes(4))},
    "objects": {"a.npy": npy(header(descr="|O"), bytes(8))},
    "a structure": {"a.npy": npy(header(descr=[("x", "<f4")]), bytes(4))},
    "code for a header": {"a.npy": npy("__import__('os').system('touch /tmp/tfrnn_was_here')")},
    "a deep header": {"a.npy": npy("(" * 9000)},
    "NaN": {"a.npy": npy(header(), np.full(1, np.nan, "f").tobytes())},
    "a path": {"../../a": b"x"},
    "a text": {"a.txt": b"x"},
    "nothing": {"a.npy": b""},
}
LARGE = {"a.npy": npy(header(shape=(5000,)), bytes(20_000))}  # more than is read with the header


def spoilt(change, members=LARGE):
    """An archive with the directory's entry of its only member changed, and the right checksum."""
    content = bytearray(archive_of(members))
    change(content, content.rindex(b"PK\1\2"), content.index(b"PK\3\4"))
    content[-64:] = hashlib.sha256(content[:-64]).hexdigest().encode()
    return bytes(content)


def encrypted(content, entry, member):
    content[entry + 8] |= 1
    content[member + 6] |= 1


def wrong_crc(content, entry, member):
    content[entry + 16] ^= 1


def short(content, entry, member):
    content[entry + 20 : entry + 24] = (5000).to_bytes(4, "little")


def far_away(content, entry, member):
    content[entry + 42 : entry + 46] = (2**31).to_bytes(4, "little")


@pytest.mark.parametrize(
    "content",
    [
        *(pytest.param(archive_of(members), id=name) for name, members in STRANGE.items()),
        pytest.param(archive_of({"a.npy": bytes(10**6)}, zipfile.ZIP_DEFLATED), id="compressed"),
        *(pytest.param(spoilt(change), id=change.__name__) for change in (encrypted, wrong_crc, short, far_away)),
        pytest.param(bytes(64), id="zeros"),
        pytest.param(b"", id="no byte"),
    ],
)
def test_a_strangers_file_is_refused(content, tmp_path):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UnusableError):
        read(tmp_path / "a.npz")
    assert not os.path.exists("/tmp/tfrnn_was_here")


def test_arrays_of_other_shapes_names_and_types_are_refused_unread(tmp_path):
    (tmp_path / "a.npz").write_bytes(pack(ARRAYS))
    layout = LAYOUTS["weights.0"]
    with Checkpoint(tmp_path / "a.npz", 2**30) as checkpoint:
        checkpoints.check(checkpoint.layouts, LAYOUTS)
        checkpoints.check(checkpoint.layouts, {**LAYOUTS, "state.0": Layout((None, 3), "<f4")})
        with mock.patch.object(checkpoint._archive, "open") as opened:
            for wrong in (layout._replace(shape=(3, 2)), layout._replace(shape=(2,)), layout._replace(dtype="<f8")):
                with pytest.raises(UnusableError, match=r"array weights.0 is float32 \[2, 3\], expected"):
                    checkpoint.read({"weights.0": wrong})
            with pytest.raises(UnusableError, match="lacks the arrays"):
                checkpoint.read({"weights.1": layout})
            opened.assert_not_called()
        with pytest.raises(UnusableError, match="has beside"):
            checkpoints.check(checkpoint.layouts, {"weights.0": layout})


class TestFolder:
    def test_the_last_two_are_kept_and_the_newest_whole_one_is_used(self, tmp_path):
        folder = Folder(tmp_path)
        assert folder.newest(lambda checkpoint: 1, 2**20) is None
        for position in ((0, 0), (0, 9), (0, 10), (2, 0), (10, 0)):
            folder.save(position, {"epoch": np.array(position[0])})
        files = sorted(path.name for path in tmp_path.iterdir())
        assert files == ["00000002-00000000.npz", "00000010-00000000.npz"]
        assert self.epoch(Folder(tmp_path)) == 10
        (tmp_path / files[1]).write_bytes(b"rotten")
        again = Folder(tmp_path)
        with pytest.warns(RunWarning, match=r"00000010-\d+.npz cannot be used .*checksum.* going back to 00000002"):
            assert self.epoch(again) == 2
        (tmp_path / "00000007-00000000.npz.new").write_bytes(b"of a process that was killed")
        (tmp_path / "notes.txt").write_text("not ours")
        again.save((3, 0), {"epoch": np.array(3)})  # the rotten one does not count as one of the last two
        files = sorted(path.name for path in tmp_path.iterdir())
        assert files == ["00000002-00000000.npz", "00000003-00000000.npz", "notes.txt"]

    def test_two_whole_ones_stay_though_nothing_has_advanced(self, tmp_path):
        folder = Folder(tmp_path)
        for epoch in (1, 2):
            folder.save((epoch, 0), {"epoch": np.array(epoch)})
        again = Folder(tmp_path)
        assert self.epoch(again) == 2
        again.save((2, 0), {"epoch": np.array(2)})
        assert len(list(tmp_path.iterdir())) == 2

    def test_none_whole_is_an_error_that_says_so(self, tmp_path):
        for name in ("00000001-00000000.npz", "00000002-00000000.npz"):
            (tmp_path / name).write_bytes(b"rotten")
        with pytest.raises(UserError, match=r"00000002-00000000.npz cannot be used .*nor has another whole one"):
            Folder(tmp_path).newest(lambda checkpoint: 1, 2**20)

    def test_a_clock_that_jumps_changes_nothing(self, tmp_path):
        for epoch, now in ((1, 2e9), (2, -1e9), (3, 0.0)):  # 2033, 1938, 1970: zip knows nothing before 1980
            with mock.patch.object(time, "time", return_value=now):
                Folder(tmp_path).save((epoch, 0), {"epoch": np.array(epoch)})
        assert self.epoch(Folder(tmp_path)) == 3

    @staticmethod
    def epoch(folder):
        return folder.newest(lambda checkpoint: int(checkpoint.read(checkpoint.layouts)["epoch"]), 2**20)


# A run directory, with every operation on files failing in turn.


TOKENS = Vocabulary(["<unk>", "a"])


def arrays_of(epoch):
    return {**ARRAYS, "best_epoch": np.array(epoch, np.int64), "position": np.array([epoch, 0], np.int64)}


def row(epoch):
    return {"epoch": epoch, **dict.fromkeys(MEASURES, epoch + 0.5)}


def live(path, saved, last=2):
    """What training does to a run directory, begun or not, up to this epoch, with a save after each."""
    with RunDir(path) as run:
        arrays = run.load(LAYOUTS, Config(), TOKENS)
        epoch = 0 if arrays is None else int(arrays["best_epoch"])
        run.create(Config(), TOKENS)
        run.metrics.keep(epoch)
        if arrays is None:
            run.save((0, 0), arrays_of(0))
            saved.append(0)
        with contextlib.suppress(OSError):
            run.save_plot(b"\x89PNG\r\n\x1a\n")
        for now in range(epoch + 1, last + 1):
            with contextlib.suppress(OSError):  # as training goes on
                run.metrics.add(row(now))
            with contextlib.suppress(OSError):
                run.save((now, 0), arrays_of(now))
                saved.append(now)


def check(path, at_least):
    """The run can be gone on with from a whole checkpoint, and the metrics have every row up to it once."""
    with RunDir(path) as run:
        arrays = run.load(LAYOUTS, Config(), TOKENS)
        found = -1 if arrays is None else int(arrays["best_epoch"])
        assert found >= at_least
        assert [row["epoch"] for row in run.metrics.rows()][: max(found, 0)] == list(range(1, found + 1))
        if arrays is not None:
            assert same(arrays, arrays_of(found))
            assert run.config() == Config()
            assert run.vocabulary("char").id_to_token == ["<unk>", "a"]


def operations_of_live(path):
    operations = faults.Operations(path)
    with operations.counted():
        live(path, [])
        live(path, [], last=4)
    return operations.made


@pytest.mark.parametrize(
    ("error", "lasting"),
    [(errno.ENOSPC, False), (errno.ENOSPC, True), (errno.EIO, False), (errno.EDQUOT, True), (None, True)],
)
def test_every_operation_on_files_may_fail(error, lasting, tmp_path):
    """Once, from then on, or with the death of the process: what was saved before stays, and going on is exact."""
    made = operations_of_live(tmp_path / "whole")
    assert len(made) > 60
    expected = faults.outcome(tmp_path / "whole")
    for at, name in enumerate(made):
        path, saved = tmp_path / str(at), []
        operations = faults.Operations(path, faults.Fault(at, error, lasting))
        ends = faults.Dead if error is None else (UserError, OSError)  # as a command would
        with contextlib.suppress(ends), operations.counted():
            live(path, saved)
            live(path, saved, last=4)
        check(path, max(saved, default=-1))
        with warnings.catch_warnings():
            warnings.simplefilter("error", RunWarning)  # nothing is to be found damaged
            live(path, saved, last=4)
        assert faults.outcome(path) == expected, name


def check_epoch(path):
    with RunDir(path) as run:
        arrays = run.load(LAYOUTS, Config(), TOKENS)
    return -1 if arrays is None else int(arrays["best_epoch"])


def test_another_process_is_kept_out_until_the_holder_ends(tmp_path):
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


def test_a_run_that_another_process_begins_in_the_meantime_is_not_overwritten(tmp_path):
    with RunDir(tmp_path / "run") as late:
        live(tmp_path / "run", [])
        before = faults.outcome(tmp_path / "run")
        with pytest.raises(UserError, match="another process has just begun one"):
            late.create(Config(), Vocabulary(["<unk>", "b"]))
    assert faults.outcome(tmp_path / "run") == before


@pytest.mark.parametrize("lose", [Path.unlink, lambda path: os.truncate(path, 10), lambda path: path.write_text("x\n")])
def test_metrics_that_are_lost_while_training_are_written_anew(lose, tmp_path):
    with RunDir(tmp_path) as run:
        run.create(Config(), Vocabulary(["<unk>", "a"]))
        run.metrics.keep(0)
        for epoch in (1, 2):
            run.metrics.add(row(epoch))
        lose(tmp_path / "metrics.jsonl")
        run.metrics.add(row(3))
        lose(tmp_path / "metrics.jsonl")
        run.save((3, 0), arrays_of(3))
        assert [found["epoch"] for found in run.metrics.rows()] == [1, 2, 3]


def test_a_folder_that_cannot_be_locked_is_told(tmp_path):
    with mock.patch.object(durable, "fcntl", None), pytest.warns(RunWarning, match="cannot be locked"):
        RunDir(tmp_path).__enter__()


def test_a_checkpoint_under_another_name_is_not_used(tmp_path):
    live(tmp_path, [])
    newest = max((tmp_path / "checkpoints").iterdir())
    newest.rename(newest.with_name("00000009-00000000.npz"))
    with pytest.warns(RunWarning, match=r"00000009-00000000.npz cannot be used \(it is of position \[2, 0\]\)"):
        assert check_epoch(tmp_path) == 1


def test_metrics_heal_and_lost_rows_are_told(tmp_path):
    live(tmp_path, [])
    metrics = tmp_path / "metrics.jsonl"
    good = metrics.read_text()
    for torn in (good + '{"epoch": 3, "perpl', good + "\0" * 100, good + json.dumps(row(3)), good + "\x85\u2028"):
        metrics.write_text(torn)
        live(tmp_path, [], last=4)
        assert len(metrics.read_text().splitlines()) == check_epoch(tmp_path)
        for path in (tmp_path / "checkpoints").iterdir():
            path.unlink()
        metrics.unlink()
        (tmp_path / "config.json").unlink()
        live(tmp_path, [])
    lines = good.splitlines(keepends=True)
    metrics.write_text(lines[1])
    with pytest.warns(RunWarning, match="has whole rows of 1 of 2 finished epochs"):
        live(tmp_path, [], last=4)
    assert [r["epoch"] for r in map(json.loads, metrics.read_text().splitlines())] == [2, 3, 4]


@pytest.mark.parametrize(
    "line",
    [
        "3", "[]", "null", "{}", '{"epoch": 1}', '{"epoch": 1e999}', "[" * 10**5, "1" * 5000,
        json.dumps({**row(1), "epoch": "1"}), json.dumps({**row(1), "more": 1}),
        json.dumps({**row(1), "epoch": True}), json.dumps({**row(1), "perplexity": float("nan")}),
        json.dumps({**row(1), "seconds": "x"}), json.dumps({**row(1), "perplexity": None}),
        json.dumps({**row(1), "seconds": -1}), json.dumps(row(0)),
    ],
)  # fmt: skip
def test_a_line_that_is_no_row_is_left_out(line, tmp_path):
    (tmp_path / "metrics.jsonl").write_text(line + "\n" + json.dumps({**row(1), "val_perplexity": None}) + "\n")
    assert [found["epoch"] for found in Metrics(tmp_path).rows()] == [1]


class TestDurable:
    def test_no_link_is_followed(self, tmp_path):
        (tmp_path / "secret").write_text("secret")
        (tmp_path / "link").symlink_to(tmp_path / "secret")
        with pytest.raises(OSError, match="symbolic link"):
            durable.read(tmp_path / "link", 100)
        (tmp_path / "out.new").symlink_to(tmp_path / "secret")
        (tmp_path / "out").symlink_to(tmp_path / "secret")
        durable.write(tmp_path / "out", b"ours")
        assert ((tmp_path / "secret").read_text(), (tmp_path / "out").is_symlink()) == ("secret", False)

    def test_only_regular_files_of_a_bounded_size_are_read(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        for path, message in (
            (tmp_path, "folder|regular"),
            (tmp_path / "pipe", "no regular file"),
            (Path("/dev/zero"), "no regular file"),
        ):
            with pytest.raises(OSError, match=message):
                durable.read(path, 100)
        with (tmp_path / "sparse").open("wb") as file:
            file.truncate(2**40)
        with pytest.raises(OSError, match="1,099,511,627,776 bytes, more than the 100"):
            durable.read(tmp_path / "sparse", 100)

    def test_a_write_that_is_too_large_for_the_system_leaves_the_old_file(self, tmp_path):
        """The operating system's own error, in a process that may not make files of more than 1,000 bytes."""
        code = (
            "import pathlib, resource, signal\nfrom tfrnn.runtime import durable\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
            f"path = pathlib.Path({str(tmp_path)!r}) / 'file'\ndurable.write(path, b'old')\n"
            "try:\n    durable.write(path, bytes(5000))\nexcept OSError as error:\n    print(error.strerror)"
        )
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert out == "File too large\n"
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
        assert (tmp_path / "file").read_bytes() == b"old"
