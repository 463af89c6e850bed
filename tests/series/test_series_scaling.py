"""What a direct forecaster reads and predicts, its windows, naive forecasts, seasons, scores and intervals."""

import json

import keras
import numpy as np
import pytest

import tfrnn
from tfrnn import series
from tfrnn.errors import UserError
from tfrnn.series import intervals, scaling, seasons

N, HORIZON, SEASON = 60, 5, 4
GROWING = (10 * 1.05 ** np.arange(N) * (1 + 0.3 * np.sin(np.arange(N) * 2 * np.pi / SEASON)))[:, None]
WANDERING = np.cumsum(np.random.default_rng(0).normal(size=[N, 2]), 0)


@pytest.mark.parametrize(("values", "season"), [(GROWING, SEASON), (WANDERING, 1), (WANDERING, SEASON)])
def test_forecasts_are_the_inverse_of_targets(values, season):
    of_part = series.Relative.fit(values[:40], HORIZON, season)
    origins = np.arange(season, N + 1)
    targets = of_part.targets(values, origins)
    there = series.following(values, origins, HORIZON)
    np.testing.assert_array_equal(np.isnan(targets).reshape(there.shape), np.isnan(there))
    forecasts = of_part.forecasts(values, origins, np.nan_to_num(targets))
    np.testing.assert_allclose(forecasts[~np.isnan(there)], there[~np.isnan(there)], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("season", [1, SEASON])
def test_inputs_and_forecasts_read_nothing_after_a_step(season):
    of_part = series.Relative.fit(WANDERING[:40], HORIZON, season)
    changed = np.concatenate([WANDERING[:30], WANDERING[30:] + 1e3])
    np.testing.assert_array_equal(of_part.inputs(WANDERING)[:30], of_part.inputs(changed)[:30])
    zeros = np.zeros([1, of_part.num_outputs], "f")
    first, second = (of_part.forecasts(values, np.array([30]), zeros) for values in (WANDERING, changed))
    np.testing.assert_array_equal(first, second)


def test_a_series_that_is_shifted_and_stretched_is_read_alike():
    first, second = (series.Relative.fit(values[:40], HORIZON, SEASON) for values in (WANDERING, 7 * WANDERING - 1e3))
    np.testing.assert_allclose(first.inputs(WANDERING), second.inputs(7 * WANDERING - 1e3), atol=1e-4)


def test_without_a_season_the_naive_forecast_is_persistence_and_with_one_the_course_of_the_last():
    of_part = series.Relative.fit(WANDERING, HORIZON)
    zeros = np.zeros([1, of_part.num_outputs], "f")
    (forecast,) = of_part.forecasts(WANDERING, np.array([N]), zeros)
    np.testing.assert_allclose(forecast, np.repeat(WANDERING[-1:], HORIZON, 0))
    repeating = np.tile(np.array([[1.0, 5.0, 2.0, 8.0]]).T, [15, 1])
    of_part = series.Relative.fit(repeating, HORIZON, 4)
    (forecast,) = of_part.forecasts(repeating, np.array([58]), np.zeros([1, HORIZON], "f"))
    np.testing.assert_allclose(forecast[:, 0], [2, 8, 1, 5, 2])


def test_the_logarithm_is_read_of_a_series_whose_swings_grow_with_its_level():
    assert series.Relative.fit(GROWING, HORIZON, SEASON).logs == (True,)
    assert series.Relative.fit(GROWING - 20, HORIZON, SEASON).logs == (False,)
    assert series.Relative.fit(WANDERING, HORIZON, SEASON).logs == (False, False)
    assert np.isfinite(series.Relative.fit(GROWING, HORIZON, SEASON).inputs(-GROWING)).all()


PROMOTED = np.random.default_rng(2).random([N + HORIZON, 2]) < 0.2  # what is promoted on each day, and chance
LIFTED = np.concatenate([WANDERING[:, :1] + 50 * PROMOTED[:N, :1], PROMOTED[:N]], 1)  # [N, 3]
OF_LIFTED = series.Relative.fit(LIFTED[:40], HORIZON, num_values=1, known_ahead=True)


@pytest.mark.parametrize("fitted", [series.Relative.fit(GROWING, 3, 4), OF_LIFTED, series.Scaling.fit(WANDERING[:, 0])])
def test_a_scaling_survives_scaling_json_and_any_other_is_refused(fitted):
    assert scaling.from_json(fitted.to_json()) == fitted
    data = json.loads(fitted.to_json())
    spoilt = [{**data, name: wrong} for name in data for wrong in (None, -1, "x", [], [-1.0], float("nan"))]
    spoilt += [{name: data[name] for name in data if name != left_out} for left_out in data]
    accepted = [each for each in spoilt if not _is_refused(json.dumps(each))]
    assert [{name for name in each if each[name] != data[name]} for each in accepted] in ([{"means"}], [])
    assert all(_is_refused(text) for text in ("", "[]", "{}", "[" * 10_000))


def test_what_known_inputs_add_is_found_and_is_in_forecasts_of_steps_whose_inputs_are_given():
    ((effect, of_chance),) = OF_LIFTED.effects
    assert effect * OF_LIFTED.deviations[0] / OF_LIFTED.deviations[1] == pytest.approx(50, rel=0.02)
    assert of_chance == 0
    zeros = np.zeros([2, OF_LIFTED.num_outputs], "f")
    known, unknown = (
        OF_LIFTED.forecasts(LIFTED, np.array([30, N]), zeros, future) for future in (PROMOTED[N:].astype(float), None)
    )
    places = np.array([30, N])[:, None] + np.arange(HORIZON)
    lifts = known[..., 0] - np.array([known[0].min(), known[1].min()])[:, None]
    np.testing.assert_allclose(lifts, 50 * PROMOTED[places, 0], rtol=0.02)
    np.testing.assert_array_equal(unknown[0], known[0])
    assert np.isnan(unknown[1]).all()


def test_the_logarithm_is_read_if_inputs_multiply_and_not_if_they_add():
    days, random = np.arange(300), np.random.default_rng(0)
    inputs = random.random(300) < 0.15
    courses = (100 + 15 * np.sin(2 * np.pi * days / 7), 100 * 1.005**days)
    for sums, values in ((True, courses[0] + 60 * inputs), (False, courses[1] * np.where(inputs, 1.8, 1))):
        columns = np.stack([values + random.normal(size=300), inputs], 1)
        of_columns = series.Relative.fit(columns, 7, 7, num_values=1, known_ahead=True)
        assert of_columns.logs == (not sums, False)
        factor = of_columns.effects[0][0] * of_columns.deviations[0] / of_columns.deviations[1]
        assert factor == pytest.approx(60 if sums else np.log(1.8), rel=0.05)
    no_effect = np.stack([GROWING[:, 0], np.ones(N)], 1)
    assert series.Relative.fit(no_effect, HORIZON, SEASON, 1, known_ahead=True).logs == (True, False)


def test_effects_of_inputs_that_tell_nothing_or_the_same_twice_are_finite():
    same = np.concatenate([LIFTED[:, :2], LIFTED[:, 1:2], np.ones([N, 1])], 1)
    ((first, second, none),) = series.Relative.fit(same, HORIZON, num_values=1, known_ahead=True).effects
    assert first + second == pytest.approx(series.Relative.fit(LIFTED[:, :2], 5, 1, 1, True).effects[0][0])
    assert none == 0
    assert series.Relative.fit(LIFTED[:12], HORIZON, num_values=1, known_ahead=True).effects
    with pytest.raises(UserError, match="`known_ahead`: expected columns beside the 3 that are predicted; got none"):
        series.Relative.fit(LIFTED, HORIZON, known_ahead=True)


def _is_refused(text):
    try:
        scaling.from_json(text)
    except UserError:
        return True
    return False


def test_windows_are_of_the_training_part_and_depend_only_on_seed_and_epoch():
    of_part = series.Relative.fit(WANDERING[:40], HORIZON)
    changed = np.concatenate([WANDERING[:40], WANDERING[40:] * 1e6])
    batches, others = (series.window_batches(values, of_part, 4, 8, seed=1) for values in (WANDERING, changed))
    for one, other, resumed in zip(
        batches.epoch(2), others.epoch(2), [*batches.from_position(2, 0).take(10)], strict=True
    ):
        for a, b, c in zip(one, other, resumed, strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(a, c)
        assert one.inputs.shape == (8, 4, of_part.num_inputs)
        assert one.targets.shape == (8, 4, of_part.num_outputs)
        known = ~np.isnan(one.targets[-1].numpy()[:, ::2])  # of the first column
        assert known[:, 0].all()
    later = next(iter(batches.from_position(2, 3)))
    np.testing.assert_array_equal(later.inputs, [*batches.epoch(2)][3].inputs)
    rows = next(iter(batches.from_position(2, 3, range(1, 3))))
    np.testing.assert_array_equal(rows.inputs, later.inputs[:, 1:3])
    with pytest.raises(UserError, match="series too short: 40 values"):
        series.window_batches(WANDERING, of_part, 4, 40)


def test_unknown_targets_do_not_count():
    targets = np.array([[[1.0, np.nan, 3.0]], [[np.nan] * 3]], "f")
    predictions = np.array([[[2.0, 7.0, 5.0]], [[1.0] * 3]], "f")
    np.testing.assert_allclose(series.known_squared_error(targets, predictions), [[2.5], [0]])


@pytest.fixture(scope="module")
def model_and_scaling():
    keras.utils.set_random_seed(0)
    of_part = series.Relative.fit(WANDERING[:40], HORIZON, SEASON)
    model = tfrnn.Forecaster(tfrnn.GRUCell(4), of_part.num_inputs, num_outputs=of_part.num_outputs)
    model.compile(keras.optimizers.Adam(0.03), loss=series.known_squared_error)
    model.fit(series.window_batches(WANDERING, of_part, 4, 8), epochs=2, verbose=0)
    return model, of_part


def test_a_forecast_reads_only_the_values_before_its_origin(model_and_scaling):
    model, of_part = model_and_scaling
    changed = np.concatenate([WANDERING[:50], WANDERING[50:] + 1e3])
    first, second = (series.forecasts_from(model, of_part, v, np.array([9, 50]), 3) for v in (WANDERING, changed))
    np.testing.assert_array_equal(first, second)
    (alone,) = series.forecasts_from(model, of_part, WANDERING[:50], np.array([50]), 3)
    np.testing.assert_allclose(alone, first[1], rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match=f"at most `horizon={HORIZON}`"):
        series.forecasts_from(model, of_part, WANDERING, np.array([50]), HORIZON + 1)
    with pytest.raises(UserError, match="expected a series of 2 columns; got 1"):
        series.forecasts_from(model, of_part, WANDERING[:, 0], np.array([50]), 1)


def test_a_forecast_needs_the_known_inputs_of_its_steps_and_no_others(model_and_scaling):
    model = tfrnn.Forecaster(tfrnn.GRUCell(4), OF_LIFTED.num_inputs, num_outputs=OF_LIFTED.num_outputs)
    future = PROMOTED[N:].astype(float)
    predicted = series.forecast_ahead(model, OF_LIFTED, LIFTED, HORIZON, future=future).predicted
    shorter = series.forecast_ahead(model, OF_LIFTED, LIFTED, 2, future=future[:2]).predicted
    np.testing.assert_array_equal(predicted[:2], shorter)
    tested = series.backtest(model, OF_LIFTED, LIFTED, HORIZON)
    np.testing.assert_array_equal(
        np.isnan(tested.predicted), np.isnan(series.following(LIFTED[:, :1], tested.origins, 5))
    )
    for given, got in ((None, 0), (future[:4], 4)):
        with pytest.raises(UserError, match=f"expected the inputs of the next 5 steps.* got those of {got}"):
            series.forecast_ahead(model, OF_LIFTED, LIFTED, HORIZON, future=given)
    with pytest.raises(UserError, match=r"expected 2 columns of inputs known ahead; got `future` of shape \(5, 1\)"):
        series.forecast_ahead(model, OF_LIFTED, LIFTED, HORIZON, future=future[:, :1])
    with pytest.raises(UserError, match="expected no columns of inputs known ahead"):
        series.forecast_ahead(*model_and_scaling, WANDERING, HORIZON, future=future)


def test_a_compiled_forecaster_is_saved_and_loaded_with_its_loss(model_and_scaling, tmp_path):
    model, of_part = model_and_scaling
    model.save(tmp_path / "forecaster.keras")
    loaded = keras.models.load_model(tmp_path / "forecaster.keras")
    assert loaded.loss is series.known_squared_error
    first, second = (series.forecast_ahead(each, of_part, WANDERING, HORIZON).predicted for each in (model, loaded))
    np.testing.assert_array_equal(first, second)


def test_a_backtest_compares_only_values_that_were_not_trained_on(model_and_scaling):
    model, of_part = model_and_scaling
    tested = series.backtest(model, of_part, WANDERING, HORIZON, SEASON)
    assert (~np.isnan(tested.values[..., 0])).sum(0).tolist() == [N - 40] * HORIZON
    place = np.flatnonzero(tested.origins == 50)[0]
    np.testing.assert_array_equal(tested.values[place], WANDERING[50:55])
    np.testing.assert_array_equal(tested.persisted[place], np.repeat(WANDERING[49:50], HORIZON, 0))
    np.testing.assert_array_equal(tested.seasonal[place], WANDERING[[46, 47, 48, 49, 46]])
    persisted = series.persistence(WANDERING[:, 0], 3)[40:]
    expected = series.root_mean_square_error(persisted, WANDERING[40:, 0])
    assert tested.errors(tested.persisted, 3)[0][0] == pytest.approx(expected)
    scale = np.abs(WANDERING[4:40] - WANDERING[:36]).mean(0)
    np.testing.assert_allclose(tested.mase(tested.persisted, 3) * scale, tested.errors(tested.persisted, 3)[1])


def test_the_forecast_ahead_lies_within_its_intervals_whose_widths_are_quantiles_of_the_errors(model_and_scaling):
    model, of_part = model_and_scaling
    tested = series.backtest(model, of_part, WANDERING, HORIZON, SEASON)
    ahead = series.forecast_ahead(model, of_part, WANDERING, HORIZON, tested, share=0.5)
    errors = np.abs(tested.predicted - tested.values)[:, 0, 0]
    width = np.sort(errors[~np.isnan(errors)])[int(np.ceil(21 * 0.5)) - 1]  # of 20 errors
    np.testing.assert_allclose(ahead.upper[0, 0] - ahead.predicted[0, 0], width, rtol=1e-4)
    np.testing.assert_allclose(ahead.predicted - ahead.lower, ahead.upper - ahead.predicted, rtol=1e-4)
    assert np.isnan(series.forecast_ahead(model, of_part, WANDERING, HORIZON).lower).all()


def test_a_series_that_was_never_below_0_is_not_forecast_there(model_and_scaling):
    counts = np.maximum(np.round(WANDERING - WANDERING.mean(0)), 0)
    for below, lowest in ((0.0, 0.0), (0.5, None)):
        values = counts - [[below, 0.0]]
        of_part = series.Relative.fit(values[:40], HORIZON, SEASON)
        tested = series.backtest(model_and_scaling[0], of_part, values, HORIZON, SEASON)
        ahead = series.forecast_ahead(model_and_scaling[0], of_part, values, HORIZON, tested)
        for each in (tested.predicted, *ahead):
            assert each[..., 1].min() >= 0
            assert each[..., 0].min() >= 0 or lowest is None
        assert (ahead.lower[..., 0].min() < 0) == (lowest is None)
        assert (ahead.lower <= ahead.predicted).all()


def test_intervals_hold_their_share_of_values_that_are_as_those_before():
    errors = np.random.default_rng(0).normal(size=[400, 50, 3, 1])  # many times 50 forecasts
    for share in (0.5, 0.8, 0.95):
        held = [
            np.abs(each[-1]) <= series.interval_widths(each[:-1], share) for each in errors  # the last one is new
        ]  # fmt: skip
        assert share - 0.03 < np.mean(held) < share + 0.06  # widths never shrink, so that later ones hold more


def test_too_few_errors_give_no_interval_and_widths_do_not_shrink():
    errors = np.array([[3.0, 1.0], [-2.0, np.nan], [1.0, 1.0], [0.5, 2.0]])[..., None]
    np.testing.assert_array_equal(series.interval_widths(errors, 0.8)[:, 0], [3, np.nan])
    np.testing.assert_array_equal(series.interval_widths(errors, 0.5)[:, 0], [2, 2])
    assert [intervals.fewest_errors(share) for share in (0.5, 0.8, 0.9, 0.95)] == [1, 4, 9, 19]


def test_coverage_counts_known_values_only():
    lower, upper = np.zeros(4), np.ones(4)
    assert series.coverage(lower, upper, np.array([0.5, 2, np.nan, 1])) == pytest.approx(2 / 3)


STEPS = np.arange(400)
RANDOM = np.random.default_rng(1)


@pytest.mark.parametrize(
    ("values", "candidates", "season"),
    [
        (np.sin(STEPS * 2 * np.pi / 12) + 0.3 * RANDOM.normal(size=400), [], 12),
        (STEPS % 7 + RANDOM.normal(size=400), [7, 365], 7),
        (np.sin(STEPS * 2 * np.pi / 24) + 0.02 * STEPS, [24, 168], 24),
        (RANDOM.normal(size=400), [], 1),
        (RANDOM.normal(size=400), [7], 1),
        (np.cumsum(RANDOM.normal(size=400)), [12], 1),
        (0.3 * STEPS + RANDOM.normal(size=400), [], 1),
        (np.full(400, 3.0), [7], 1),
        (np.arange(4.0), [2], 1),
    ],
)
def test_the_season_is_found_if_there_is_one(values, candidates, season):
    assert seasons.find_season(values[:, None], candidates) == season


def test_a_series_of_one_column_may_be_a_vector(model_and_scaling):
    one = WANDERING[:, 0]
    assert series.Relative.fit(one[:40], HORIZON) == series.Relative.fit(one[:40, None], HORIZON)
    assert seasons.find_season(np.sin(STEPS * 2 * np.pi / 12)) == 12


def test_what_is_no_finite_series_is_refused(model_and_scaling):
    model, of_part = model_and_scaling
    spoilt = WANDERING.copy()
    spoilt[7, 1] = np.nan
    for use in (
        lambda: series.Relative.fit(spoilt, HORIZON),
        lambda: series.Scaling.fit(spoilt[:, 1]),
        lambda: series.window_batches(spoilt, of_part),
        lambda: series.forecast_ahead(model, of_part, spoilt, HORIZON),
        lambda: series.find_season(spoilt),
    ):
        with pytest.raises(UserError, match="expected finite values; got nan at index 7"):
            use()
    with pytest.raises(UserError, match="expected a series"):
        series.Relative.fit(WANDERING[None], HORIZON)
    for origin in (0, N + 1):
        with pytest.raises(UserError, match=f"expected origins from 1 to {N}, the number of values; got {origin}"):
            series.forecasts_from(model, of_part, WANDERING, np.array([origin]), 1)
    with pytest.raises(UserError, match="expected values after the 40 that were trained on"):
        series.backtest(model, of_part, WANDERING[:40], HORIZON)
