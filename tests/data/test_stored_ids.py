"""Token ids in a file."""

import os

import numpy as np
import pytest

from tfrnn.data.stored_ids import StoredIds
from tfrnn.errors import MissingFileError, UserError

BEGIN, END = 5, 900


@pytest.fixture(params=[np.uint8, np.uint16, np.int32], ids=lambda dtype: dtype.__name__)
def ids(request):
    return np.arange(1000).astype(request.param)


@pytest.fixture
def stored(ids, tmp_path):
    ids.tofile(tmp_path / "ids")
    return StoredIds(tmp_path / "ids", ids.dtype, BEGIN, END)


def test_stored_ids_are_those_of_the_file(ids, stored):
    np.testing.assert_array_equal(np.asarray(stored), ids[BEGIN:END])
    assert np.asarray(stored).dtype == ids.dtype


@pytest.mark.parametrize(
    "key", [slice(None), slice(7, 30), slice(-20, None), slice(30, 7), slice(800, 2000), slice(3, 3)], ids=str
)
def test_slices_are_those_of_an_array(ids, stored, key):
    expected = ids[BEGIN:END][key]
    assert len(stored[key]) == len(expected)
    np.testing.assert_array_equal(np.array(stored[key], np.int64), expected.astype(np.int64))


@pytest.mark.parametrize("key", [slice(0, 9, 2), 3], ids=str)
def test_other_keys_are_refused(stored, key):
    with pytest.raises(TypeError):
        stored[key]


def test_read_returns_windows_of_any_shape(ids, stored):
    starts = np.array([[0, 3], [880, 20]])
    windows = stored.read(starts, 15)
    assert (windows.shape, windows.dtype) == ((2, 2, 15), ids.dtype)
    np.testing.assert_array_equal(windows, ids[BEGIN + starts[..., None] + np.arange(15)])
    assert stored[10:30].read(np.array(20 - 7), 7).tolist() == ids[28:35].tolist()
    assert stored.read(np.empty([0, 2], np.int64), 4).shape == (0, 2, 4)


@pytest.mark.parametrize("starts", [[-1], [0, 886], [2**40]], ids=str)
def test_read_refuses_starts_out_of_range(stored, starts):
    with pytest.raises(ValueError, match="starts from 0 to 885"):
        stored.read(np.array(starts), 10)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="the file does not exist; start again"):
        StoredIds(tmp_path / "ids", np.uint16, 0, 10)


def test_a_short_file_is_refused(tmp_path):
    (tmp_path / "ids").write_bytes(bytes(19))
    with pytest.raises(UserError, match="at least 20 bytes, got 19"):
        StoredIds(tmp_path / "ids", np.uint16, 0, 10)


def test_an_open_file_stays_readable_after_it_is_removed(tmp_path):
    (tmp_path / "ids").write_bytes(bytes(18))
    stored = StoredIds(tmp_path / "ids", np.uint16, 0, 9)
    (tmp_path / "ids").unlink()
    assert stored.read([3, 5], 2).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("read", [lambda stored: stored.read([0], 10), np.asarray], ids=["windows", "array"])
def test_a_file_that_becomes_shorter_is_reported(read, tmp_path):
    (tmp_path / "ids").write_bytes(bytes(20))
    stored = StoredIds(tmp_path / "ids", np.uint16, 0, 10)
    os.truncate(tmp_path / "ids", 4)
    with pytest.raises(UserError, match="cannot be read"):
        read(stored)


def test_a_folder_in_place_of_the_file_is_reported(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        StoredIds(tmp_path, np.uint8, 0, 0).read(np.array([0]), 0)
