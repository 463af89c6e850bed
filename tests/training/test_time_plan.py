"""How many epochs take a given time."""

import time

import keras
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import tfrnn
from tfrnn.training import time_plan
from tfrnn.training.time_plan import Speed, epochs_in

steps = st.floats(1e-4, 1.0)


@given(seconds=st.floats(1, 4000), step=steps, epoch=st.floats(0, 5), num_batches=st.integers(1, 3000))
def test_the_epochs_fit_into_the_time_and_nearly_fill_it(seconds, step, epoch, num_batches):
    assume(seconds > 10 * (step + epoch))  # else there is not time for much
    epochs, per_pass = epochs_in(seconds, Speed(step, epoch, 0.0), num_batches)
    duration = epochs * (num_batches / per_pass * step + epoch)
    assert duration <= time_plan.TOLERATED * seconds * (1 + 1e-9)
    one_more = (epochs + 1) * (num_batches / per_pass * step + epoch)
    assert one_more > time_plan.TOLERATED * seconds * (1 - 1e-9)
    assert epochs >= time_plan.FEWEST_EPOCHS or per_pass == min(num_batches, time_plan.MOST_EPOCHS_PER_PASS)


def test_a_long_pass_is_divided_and_a_short_one_is_not():
    assert epochs_in(100, Speed(0.1, 0.0, 0.0), 10_000) == (5, 49)  # a tenth of a pass fits
    assert epochs_in(100, Speed(0.1, 0.0, 0.0), 50) == (20, 1)
    assert epochs_in(100, Speed(0.1, 0.0, 0.0), 190)[1] > 1  # 19 seconds: with whole passes 5 would be left
    assert epochs_in(100, Speed(0.1, 0.0, 0.0), 190, epochs_per_pass=1) == (5, 1)  # as given
    assert epochs_in(180, Speed(0.001, 0.013, 0.0), 8)[1] == 1  # 8571 epochs: nothing is left to gain


def test_passes_are_limited():
    assert epochs_in(1000, Speed(0.01, 0.0, 0.0), 10, max_passes=30) == (30, 1)


@pytest.mark.parametrize(
    "length", [300, pytest.param(30_000, marks=pytest.mark.slow)]
)  # of short epochs, and of one that does not end while it is timed
def test_the_speed_of_a_trainer_is_measured(length, monkeypatch):
    monkeypatch.setattr(time_plan, "MEASURED_SECONDS", 0.3)
    ids = np.tile([1, 2, 3], length // 3).astype("int32")
    batches = tfrnn.sequential_batches(ids, 4, 6)
    model = tfrnn.LanguageModel(keras.layers.SimpleRNNCell(8), 4)
    start = time.perf_counter()
    speed = time_plan.measure(tfrnn.Trainer(model, "adam"), batches, tfrnn.sequential_batches(ids[:300], 4, 6))
    elapsed = time.perf_counter() - start
    assert 0 < speed.step < elapsed
    # The validation of short epochs is counted apart from their steps, so that dividing a pass has its price.
    assert (0 < speed.epoch < elapsed) if length == 300 else (0 <= speed.epoch < elapsed)
    assert 0 < speed.start < elapsed


def test_the_speed_of_a_device_is_measured():
    assert 1e7 < time_plan.flops_per_second("cpu") < 1e16
