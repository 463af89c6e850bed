"""Predictions one and more steps ahead, persistence, scaling."""

import keras
import numpy as np
import pytest

import tfrnn
from tfrnn import series

N, UNITS = 12, 6
CELLS = [tfrnn.RNNCell, keras.layers.GRUCell, tfrnn.LSTMCell]
# Each of N steps rounds sums of 2 * UNITS terms of size 1, and the state is bounded: errors add up and do not grow.
ROUNDING = N * 2 * UNITS * float(np.finfo(np.float32).eps)


@pytest.fixture(scope="module", params=CELLS, ids=lambda cell: cell.__name__)
def read_series(request):
    """A forecaster, a series [N, 1], and what the forecaster observed of it."""
    cell = request.param
    keras.utils.set_random_seed(0)
    model = tfrnn.Forecaster([cell(UNITS, kernel_initializer="orthogonal"), cell(UNITS)])
    values = np.random.default_rng(0).normal(size=[N, 1]).astype("f")
    return model, values, series.observe(model, values)


def continued(model, values, steps):
    """The values and this number of predictions, each made from all values before it, which are read again."""
    for _ in range(steps):
        predictions, _ = model(values[:, None])
        values = np.concatenate([values, predictions[-1]])
    return values


def test_a_k_step_prediction_reads_no_value_of_the_last_k_steps(read_series):
    model, values, observed = read_series
    by_k = series.k_step_predictions(model, observed, [1, 4])
    assert list(by_k) == [1, 4]
    for k, predictions in by_k.items():
        assert np.isnan(predictions[:k]).all()
        for t in (k, N - 1):
            expected = continued(model, values[: t - k + 1], k)[-1]
            np.testing.assert_allclose(predictions[t], expected, rtol=0, atol=ROUNDING)


def test_multi_step_predictions_read_only_the_values_before_their_start(read_series):
    model, values, observed = read_series
    predictions = series.multi_step_predictions(model, observed, 9)
    np.testing.assert_allclose(predictions, continued(model, values[:9], N - 9)[9:], rtol=0, atol=ROUNDING)


def test_forecasts_place_each_prediction_at_the_step_that_it_predicts(read_series):
    model, values, observed = read_series
    series_values, train_steps = 10 + 3 * values[:, 0], 9
    scaling = series.Scaling(mean=10.0, deviation=3.0)
    one_step, multi_step = series.forecasts(model, series_values, scaling, train_steps, [1])
    in_unit = {"rtol": 0, "atol": 100 * ROUNDING}
    by_k = series.k_step_predictions(model, observed, [1])
    np.testing.assert_allclose(one_step.predicted, 10 + 3 * by_k[1][:, 0], **in_unit)
    expected = series.multi_step_predictions(model, observed, train_steps)[:, 0]
    np.testing.assert_allclose(multi_step.predicted[train_steps:], 10 + 3 * expected, **in_unit)
    for unpredicted in (one_step.predicted[:1], multi_step.predicted[:train_steps]):
        assert np.isnan(unpredicted).all()
    assert (multi_step.persisted[train_steps:] == series_values[train_steps - 1]).all()


def test_persistence_is_the_value_k_steps_before():
    persisted = series.persistence(np.arange(5.0), 2)
    np.testing.assert_array_equal(persisted, [np.nan, np.nan, 0, 1, 2])


def test_unscale_reverses_scale():
    values = np.array([1e9, 1e9 + 1, 1e9 + 2])
    scaling = series.Scaling.fit(values)
    assert scaling.scale(values).std() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(scaling.unscale(scaling.scale(values)), values, rtol=1e-12)


@pytest.mark.parametrize("constant", [3.0, 0.1])
def test_a_constant_series_is_only_shifted(constant):
    scaling = series.Scaling.fit(np.full(180, constant))
    np.testing.assert_allclose(scaling.scale(np.full(5, constant)), np.zeros(5), atol=1e-7)
    assert scaling.deviation == 1
