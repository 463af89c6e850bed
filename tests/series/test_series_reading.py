"""The book's sine, and columns of CSV files."""

import numpy as np
import pytest

from tfrnn import series


def test_the_books_sine():
    sine = np.sin(0.01 * np.arange(1, 1001))
    np.testing.assert_allclose(series.noisy_sine(noise=0), sine)
    assert np.std(series.noisy_sine() - sine) == pytest.approx(0.2, abs=0.01)
    assert not np.allclose(series.noisy_sine(seed=1), series.noisy_sine(seed=2))


def test_a_column_is_read_by_its_name(tmp_path):
    file = tmp_path / "two.csv"
    file.write_text("\ufeffday, celsius\n1,-3.5\n2,4e0\n3, 7\n\n", encoding="utf-8")
    assert series.read_column(file, "celsius").tolist() == [-3.5, 4, 7]


def test_the_only_column_needs_no_name(tmp_path):
    (tmp_path / "one.csv").write_text("x\n1\n2\n")
    assert series.read_column(tmp_path / "one.csv").tolist() == [1, 2]
