"""The SavedModel of a forecast, which gives values in the unit of the series without tfrnn."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrnn import series
from tfrnn.config.config import ForecastConfig
from tfrnn.errors import UserError
from tfrnn.formats import exported_forecast, exporting
from tfrnn.models.building import build_forecaster

N, HORIZON, NUM_STEPS = 80, 5, 6
GROWING = (10 * 1.05 ** np.arange(N) * (1 + 0.3 * np.sin(np.arange(N) * np.pi / 2)))[:, None]
WITH_ANOTHER = np.concatenate([GROWING, np.random.default_rng(0).normal(size=[N, 1])], 1)
LIFTED = WITH_ANOTHER @ [[1, 0], [2, 1]]  # by twice the other column
FITTED = {
    "with_a_season_and_an_input": (WITH_ANOTHER, series.Relative.fit(WITH_ANOTHER[:60], HORIZON, 4, num_values=1)),
    "with_an_input_known_ahead": (LIFTED, series.Relative.fit(LIFTED[:60], HORIZON, 4, 1, known_ahead=True)),
    "several_columns": (WITH_ANOTHER, series.Relative.fit(WITH_ANOTHER[:60], HORIZON)),
    "as_in_the_book": (GROWING, series.Scaling.fit(GROWING[:60, 0])),
    "never_below_0": (np.abs(WITH_ANOTHER[:, 1:]), series.Relative.fit(np.abs(WITH_ANOTHER[:60, 1:]), HORIZON)),
}


def model_and_config(scaling):
    """A forecaster whose weights are not those that it begins with, and its settings."""
    keras.utils.set_random_seed(0)
    config = ForecastConfig().replace(csv="s.csv", horizon=HORIZON, num_steps=NUM_STEPS, units=4, column=("a",))
    model = build_forecaster(config.model, scaling)
    model.build()
    random = np.random.default_rng(1)
    model.set_weights([random.normal(0, 0.3, weight.shape) for weight in model.get_weights()])
    return model, config


@pytest.mark.parametrize("name", FITTED)
def test_a_saved_forecast_is_that_of_the_model(name, tmp_path):
    values, scaling = FITTED[name]
    model, config = model_and_config(scaling)
    sentence = exporting.export_forecast(model, scaling, config, tmp_path / "saved")
    assert "differ from the model's by at most" in sentence
    forecast = tf.saved_model.load(str(tmp_path / "saved")).signatures["forecast"]
    future = values[:HORIZON, 1:] + 1 if scaling.num_known_ahead else None
    given = {} if future is None else {"future": tf.constant(future)}
    for known in (1, 3, 50, N):
        part = values[:known]
        expected = series.forecast_ahead(model, scaling, part, HORIZON, num_steps=NUM_STEPS, future=future).predicted
        got = forecast(values=tf.constant(part), **given)["predicted"].numpy()
        np.testing.assert_allclose(got, expected, rtol=1e-4)
    about = json.loads((tmp_path / "saved" / "export.json").read_text())
    assert about["columns"] == ["a"]
    assert about["forecast"]["outputs"]["predicted"].startswith(f"float64 [{HORIZON}, {scaling.num_values}]")
    assert (tmp_path / "saved" / "scaling.json").read_text() == scaling.to_json()


def test_an_export_that_is_another_models_is_refused(tmp_path):
    _, scaling = FITTED["as_in_the_book"]
    model, config = model_and_config(scaling)
    exported_forecast.write(model, tmp_path, scaling, config)
    model.set_weights([weight + 1 for weight in model.get_weights()])
    with pytest.raises(UserError, match="expected the exported forecast to be the model's"):
        exported_forecast.check(model, tmp_path, scaling, config)
