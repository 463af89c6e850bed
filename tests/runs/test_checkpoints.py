"""Checkpoints: what is packed is read back, and nothing damaged, foreign or executable is loaded."""

import hashlib
import io
import os
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfrnn.errors import RunWarning, UserError
from tfrnn.runs import checkpoints
from tfrnn.runs.checkpoints import Checkpoint, Folder, Layout, UnusableError, pack

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


def same(arrays, expected):
    """Whether two sets of arrays have the same names, types and bits."""
    return arrays.keys() == expected.keys() and all(
        np.array_equal(arrays[name], array) and arrays[name].dtype == array.dtype for name, array in expected.items()
    )


NUMBERS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.int32, np.uint8, np.uint32]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    elements={"allow_nan": False, "allow_infinity": False},
)
NAMES = st.text("abcxyz._019", min_size=1, max_size=20)


@given(arrays=st.dictionaries(NAMES, NUMBERS, max_size=5))
def test_packed_arrays_are_read_back_by_checkpoint_and_by_numpy(arrays, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "packed.npz"
    path.write_bytes(pack(arrays))
    assert same(read(path), arrays)
    with np.load(path) as by_numpy:
        assert same(dict(by_numpy), arrays)
    assert pack(arrays) == pack(arrays)


@given(data=st.data())
def test_a_file_with_any_bytes_replaced_removed_or_added_is_refused(data, tmp_path_factory):
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
def test_any_bytes_with_a_correct_checksum_are_refused(content, ends_as_a_zip, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.npz"
    if ends_as_a_zip:
        content += bytes(pack({}))[:-64]
    path.write_bytes(content + hashlib.sha256(content).hexdigest().encode())
    with pytest.raises(UnusableError), Checkpoint(path, 2**30) as checkpoint:
        checkpoint.read(LAYOUTS)


def signed(content):
    """Returns the content of a zip archive with the correct checksum as its comment."""
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
    """Pickles as a command that runs when the pickle is loaded."""

    def __reduce__(self):
        return os.system, ("touch /tmp/tfrnn_was_here",)


def pickled():
    buffer = io.BytesIO()
    np.save(buffer, np.array([_Trap()], object), allow_pickle=True)
    return buffer.getvalue()


def header(**changes):
    return repr({"descr": "<f4", "fortran_order": False, "shape": (1,), **changes})


STRANGE = {
    "a pickle": {"a.npy": pickled()},
    "an expression for a size": {"a.npy": npy(header().replace("1", "10**12"))},
    "a terabyte": {"a.npy": npy(header(shape=(2**38,)))},
    "a negative size": {"a.npy": npy(header(shape=(-1,)), bytes(4))},
    "Fortran order": {"a.npy": npy(header(fortran_order=True), bytes(4))},
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


def altered(change, members=LARGE):
    """Returns an archive with the directory entry of its only member changed, and the correct checksum."""
    content = bytearray(archive_of(members))
    change(content, content.rindex(b"PK\1\2"), content.index(b"PK\3\4"))
    content[-64:] = hashlib.sha256(content[:-64]).hexdigest().encode()
    return bytes(content)


def encrypted(content, entry, member):
    content[entry + 8] |= 1
    content[member + 6] |= 1


def wrong_crc(content, entry, member):
    content[entry + 16] ^= 1


def size_too_small(content, entry, member):
    content[entry + 20 : entry + 24] = (5000).to_bytes(4, "little")


def offset_out_of_the_file(content, entry, member):
    content[entry + 42 : entry + 46] = (2**31).to_bytes(4, "little")


ALTERATIONS = (encrypted, wrong_crc, size_too_small, offset_out_of_the_file)


@pytest.mark.parametrize(
    "content",
    [
        *(pytest.param(archive_of(members), id=name) for name, members in STRANGE.items()),
        pytest.param(archive_of({"a.npy": bytes(10**6)}, zipfile.ZIP_DEFLATED), id="compressed"),
        *(pytest.param(altered(change), id=change.__name__) for change in ALTERATIONS),
        pytest.param(bytes(64), id="zeros"),
        pytest.param(b"", id="empty"),
    ],
)
def test_a_foreign_file_is_refused_and_not_executed(content, tmp_path):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UnusableError):
        read(tmp_path / "a.npz")
    assert not os.path.exists("/tmp/tfrnn_was_here")


WRONG_LAYOUTS = {
    "transposed": {"large": Layout((2**9, 2**12), "<f4")},
    "flat": {"large": Layout((2**21,), "<f4")},
    "another type": {"large": Layout((2**12, 2**9), "<f8")},
    "another name": {"larger": Layout((2**12, 2**9), "<f4")},
}


@pytest.mark.parametrize("expected", WRONG_LAYOUTS.values(), ids=WRONG_LAYOUTS)
def test_an_array_of_another_layout_is_refused_before_memory_is_taken(expected, tmp_path):
    (tmp_path / "a.npz").write_bytes(pack({"large": np.zeros((2**12, 2**9), np.float32)}))
    with Checkpoint(tmp_path / "a.npz", 2**30) as checkpoint:
        tracemalloc.start()
        try:
            with pytest.raises(UnusableError, match=r"lacks the arrays|array large is float32 \[4096, 512\], expected"):
                checkpoint.read(expected)
            assert tracemalloc.get_traced_memory()[1] < 2**20  # of 8 MiB
        finally:
            tracemalloc.stop()


def test_layouts_must_match_name_by_name_and_a_size_of_none_matches_any():
    checkpoints.check(LAYOUTS, LAYOUTS)
    checkpoints.check(LAYOUTS, {**LAYOUTS, "state.0": Layout((None, 3), "<f4")})
    with pytest.raises(UnusableError, match="has the unexpected arrays"):
        checkpoints.check(LAYOUTS, {"weights.0": LAYOUTS["weights.0"]})
    with pytest.raises(UnusableError, match=r"array state\.0 is"):
        checkpoints.check(LAYOUTS, {**LAYOUTS, "state.0": Layout((None, 4), "<f4")})


def saved(folder, *positions):
    """Saves a checkpoint that holds its epoch at each position, and returns the folder."""
    for position in positions:
        folder.save(position, {"epoch": np.array(position[0])})
    return folder


def read_epoch(folder):
    return folder.read_newest(lambda checkpoint: int(checkpoint.read(checkpoint.layouts)["epoch"]), 2**20)


def names(path):
    return sorted(file.name for file in path.iterdir())


def test_a_folder_without_checkpoints_has_no_newest(tmp_path):
    assert read_epoch(Folder(tmp_path)) is None


def test_the_last_two_checkpoints_are_kept_and_the_newest_is_read(tmp_path):
    saved(Folder(tmp_path), (0, 0), (0, 9), (0, 10), (2, 0), (10, 0))
    assert names(tmp_path) == ["00000002-00000000.npz", "00000010-00000000.npz"]
    assert read_epoch(Folder(tmp_path)) == 10


def test_a_damaged_newest_checkpoint_is_named_passed_over_and_removed_with_leftovers_only(tmp_path):
    saved(Folder(tmp_path), (2, 0), (10, 0))
    (tmp_path / "00000010-00000000.npz").write_bytes(b"damaged")
    folder = Folder(tmp_path)
    with pytest.warns(RunWarning, match=r"00000010-\d+.npz cannot be used .*checksum.* falling back to 00000002"):
        assert read_epoch(folder) == 2
    (tmp_path / "00000007-00000000.npz.new").write_bytes(b"left by a process that was killed")
    (tmp_path / "notes.txt").write_text("not ours")
    saved(folder, (3, 0))  # the damaged one does not count as one of the last two
    assert names(tmp_path) == ["00000002-00000000.npz", "00000003-00000000.npz", "notes.txt"]


def test_saving_the_same_position_again_keeps_the_one_before(tmp_path):
    saved(Folder(tmp_path), (1, 0), (2, 0))
    folder = Folder(tmp_path)
    assert read_epoch(folder) == 2
    saved(folder, (2, 0))
    assert names(tmp_path) == ["00000001-00000000.npz", "00000002-00000000.npz"]


def test_checkpoints_that_are_all_damaged_are_an_error(tmp_path):
    for name in ("00000001-00000000.npz", "00000002-00000000.npz"):
        (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"00000002-00000000.npz cannot be used .*has no other that can"):
        read_epoch(Folder(tmp_path))


def test_a_checkpoint_over_the_size_limit_is_not_read(tmp_path):
    saved(Folder(tmp_path), (1, 0))
    with pytest.raises(UserError, match="more than the 10 that are read"):
        Folder(tmp_path).read_newest(lambda checkpoint: 1, 10)


def test_the_clock_does_not_matter(tmp_path, monkeypatch):
    for epoch, now in ((1, 2e9), (2, -1e9), (3, 0.0)):  # 2033, 1938, 1970: zip knows no date before 1980
        monkeypatch.setattr(time, "time", lambda now=now: now)
        saved(Folder(tmp_path), (epoch, 0))
    assert read_epoch(Folder(tmp_path)) == 3
