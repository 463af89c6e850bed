"""Batches of numbers: cut as those of a text are, and labelled sequences."""

import numpy as np
import pytest

import tfrnn
from tfrnn.errors import UserError


@pytest.mark.parametrize(
    ("kind", "num_values"),
    [
        (tfrnn.sequential_batches, 1),
        (tfrnn.random_batches, 2),
        pytest.param(tfrnn.sequential_batches, 2, marks=pytest.mark.slow),
        pytest.param(tfrnn.random_batches, 1, marks=pytest.mark.slow),
    ],
)
def test_a_series_is_cut_as_a_text_is(kind, num_values):
    ids = np.arange(200)
    numbers = ids.astype("f") if num_values == 1 else np.stack([ids, -ids], 1).astype("f")  # [N] or [N, D]
    for of_text, of_series in zip(kind(ids, 3, 7).epoch(2), kind(numbers, 3, 7).epoch(2), strict=True):
        assert of_series.inputs.shape == (7, 3, num_values)
        for tokens, values in ((of_text.inputs, of_series.inputs), (of_text.targets, of_series.targets)):
            np.testing.assert_array_equal(values[..., 0], tokens)
            np.testing.assert_array_equal(values[..., -1], tokens if num_values == 1 else -tokens)
        np.testing.assert_array_equal(of_text.reset, of_series.reset)


INPUTS = np.arange(24).reshape(6, 4)


def test_labelled_batches_have_each_row_once_an_epoch_and_are_time_major():
    batches = tfrnn.labelled_batches(INPUTS, -INPUTS, batch_size=2, seed=1)
    orders = set()
    for epoch in range(5):
        rows = []
        for batch in batches.epoch(epoch):
            assert batch.inputs.shape == (4, 2)
            np.testing.assert_array_equal(batch.inputs, -batch.targets)
            np.testing.assert_array_equal(batch.reset, [True, True])
            rows += batch.inputs.numpy().T.tolist()
        np.testing.assert_array_equal(sorted(rows), INPUTS)
        orders.add(str(rows))
    assert len(orders) > 1


@pytest.mark.parametrize(
    ("arguments", "message"), [((-INPUTS[:, :3],), r"got 4 inputs and 3 targets in row 0"), ((-INPUTS, 7), "got 6")]
)
def test_labelled_batches_refuse_other_shapes_and_too_few_rows(arguments, message):
    with pytest.raises(UserError, match=message):
        tfrnn.labelled_batches(INPUTS, *arguments)
