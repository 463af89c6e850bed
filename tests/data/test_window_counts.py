"""How many tokens batches need and measure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrnn.data.window_counts import validation_shape


def num_measured(held_out, rows, num_steps):
    """How many tokens sequential batches without an offset predict."""
    return sum(rows * num_steps for _ in range(num_steps, held_out // rows, num_steps))


@given(
    held_out=st.integers(2, 400),
    batch_size=st.integers(1, 12),
    num_steps=st.integers(1, 40),
    replicas=st.sampled_from([1, 2, 3]),
)
def test_nearly_all_of_a_held_out_text_is_measured_if_any_batches_do(held_out, batch_size, num_steps, replicas):
    batch_size *= replicas
    if held_out < 2 * replicas:
        return
    rows, steps = validation_shape(held_out, batch_size, num_steps, replicas)
    assert (rows % replicas, rows * (steps + 1) <= held_out) == (0, True)
    assert 1 <= rows <= batch_size
    assert 1 <= steps <= num_steps
    best = max(
        num_measured(held_out, r, t)
        for r in range(replicas, min(batch_size, held_out // 2) + 1, replicas)
        for t in range(1, min(num_steps, held_out // r - 1) + 1)
    )
    assert num_measured(held_out, rows, steps) >= min(best, 0.95 * held_out)


@pytest.mark.parametrize(
    ("held_out", "batch_size", "num_steps", "shape"),
    [
        (4096, 32, 64, (32, 63)),  # of a text of 40,960, of whose held-out tenth batches of 64 steps measure half
        (200, 4, 32, (4, 24)),
        (500_000, 32, 64, (32, 64)),
        (30, 4, 32, (1, 29)),
        (2, 32, 64, (1, 1)),
    ],
)
def test_batches_are_as_large_as_those_of_training_where_they_can_be(held_out, batch_size, num_steps, shape):
    assert validation_shape(held_out, batch_size, num_steps) == shape


def test_a_large_batch_takes_no_long_search():
    rows, steps = validation_shape(500_000, 2**20, 2**20)
    assert num_measured(500_000, rows, steps) >= 0.95 * 500_000
