"""A run of `tfrnn forecast`: its directory, resuming, forecasting again, and loading it in Python."""

import csv
import itertools
import json
import shutil
import signal
import time

import numpy as np
import pytest
import tensorflow as tf
from entry_points import command, run

import tfrnn
from tfrnn import evaluate, export, forecast, sample, series, train
from tfrnn.config.config import ForecastConfig
from tfrnn.errors import UserError
from tfrnn.models.loading import load_forecast
from tfrnn.runtime import host

SMALL = ["--units=4", "--batch_size=4", "--num_steps=6", "--epochs=2", "--chains=1"]
NUM_STEPS, HORIZON = 60, 4
MONTHS = [f"{2000 + i // 12}-{i % 12 + 1:02}" for i in range(100)]
VALUES = 20 + np.sin(np.arange(100) * np.pi / 6) * 5 + np.random.default_rng(0).normal(size=100)


def write(file, num_steps=NUM_STEPS, values=VALUES):
    """Writes a series with two columns to a file."""
    rows = (f"{m},{v:.6f},{i % 5}\n" for i, (m, v) in enumerate(zip(MONTHS, values, strict=True)))
    file.write_text("month,sales,other\n" + "".join(itertools.islice(rows, num_steps)))
    return file


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with a small series and a run on it, and what the command printed."""
    folder = tmp_path_factory.mktemp("forecast")
    write(folder / "shop.csv")
    flags = [f"--csv={folder}/shop.csv", "--column=sales", f"--horizon={HORIZON}", f"--output={folder}/next.csv"]
    status, out, err = run(forecast.main, *flags, *SMALL, f"--run_dir={folder}/run", f"--plot={folder}/next.png")
    assert status == 0, err
    return folder, out, err


@pytest.fixture
def copied(small, tmp_path):
    """A copy of the folder, which a test may change."""
    folder = tmp_path / "copy"
    shutil.copytree(small[0], folder)
    return folder


def rows_of(file):
    with open(file, newline="") as opened:
        return list(csv.reader(opened))


def test_the_next_values_are_written_with_their_dates_and_intervals(small):
    folder, out, _ = small
    head, *rows = rows_of(folder / "next.csv")
    assert head == ["month", "sales", "sales_lower", "sales_upper"]
    assert [row[0] for row in rows] == ["2005-01", "2005-02", "2005-03", "2005-04"]
    for _, value, lower, upper in rows:
        assert float(lower) < float(value) < float(upper)
    assert rows_of(folder / "run" / "forecast.csv") == [head, *rows]
    assert out.startswith("shop: the next 4 steps, a step of 1 month, season of 12 steps; 80% intervals")
    assert all(f"\n{row[0]} " in out for row in rows)


def test_the_run_directory_has_settings_scaling_metrics_weights_errors_and_pictures(small):
    folder = small[0]
    files = {path.name for path in (folder / "run").iterdir()}
    assert files == {
        "config.json", "scaling.json", "metrics.jsonl", "checkpoints", "loss.png", "forecast.csv", "forecast.png",
        "errors.csv",
    }  # fmt: skip
    for picture in (folder / "next.png", folder / "run" / "forecast.png", folder / "run" / "loss.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    metrics = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(row["epoch"], set(row)) for row in metrics] == [
        (epoch, {"epoch", "loss", "learning_rate", "seconds"}) for epoch in (1, 2)
    ]
    series_settings = json.loads((folder / "run" / "config.json").read_text())["series"]
    assert (series_settings["season"], series_settings["horizon"], series_settings["method"]) == (12, 4, "direct")


def test_the_table_ends_with_what_the_forecast_is_worth(small):
    _, out, _ = small
    lines = out.splitlines()
    labels = [line.split()[0] for line in lines if "-step " in line or line.startswith("all ")]
    assert labels == ["1-step", "2-step", "4-step", "all"]
    row = next(line for line in lines if line.startswith("all ")).split()
    verdict = "does not beat" if "does not beat" in lines[-1] else "beats"
    assert f"the forecast of sales {verdict}" in lines[-1]
    assert float(row[4]) == pytest.approx(float(lines[-1].split("MASE ")[1].split()[0]), rel=1e-2)


def test_run_dir_alone_forecasts_again_and_the_same_if_nothing_has_changed(small, copied):
    write(copied / "shop.csv")
    _, out, _ = small
    status, again, err = run(forecast.main, f"--run_dir={copied}/run", f"--csv={copied}/shop.csv")
    assert (status, again) == (0, out), err
    assert "finished after 2 epochs" in err
    # Without --csv it reads the file of the run itself.
    assert run(forecast.main, f"--run_dir={copied}/run")[1] == out


def test_a_longer_file_is_forecast_from_its_own_end_with_the_same_weights(copied):
    before = load_forecast(copied / "run")[0].get_weights()
    write(copied / "shop.csv", 70)
    status, out, err = run(forecast.main, f"--run_dir={copied}/run", f"--csv={copied}/shop.csv")
    assert status == 0, err
    assert "trained on steps 1 to 45; root mean square error on the 25 steps after" in out
    assert rows_of(copied / "run" / "forecast.csv")[1][0] == "2005-11"
    for old, new in zip(before, load_forecast(copied / "run")[0].get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_file_without_values_after_the_training_part_is_refused(copied):
    write(copied / "shop.csv", 45)
    status, out, err = run(forecast.main, f"--run_dir={copied}/run", f"--csv={copied}/shop.csv")
    assert (status, out) == (2, "")
    assert "expected values after the 45 that were trained on" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("flag", ["--season=5", "--csv={}/shop.csv"])
def test_what_the_files_of_a_run_tell_is_told_before_tensorflow_loads(flag, copied, monkeypatch):
    write(copied / "shop.csv", 60, VALUES + 1)
    monkeypatch.setattr(host, "import_tensorflow_quietly", lambda: pytest.fail("TensorFlow was to be loaded"))
    status, _, err = run(forecast.main, f"--run_dir={copied}/run", flag.format(copied))
    assert (status, len(err.splitlines())) == (2, 1)


@pytest.mark.parametrize(("num_steps", "shift"), [(60, 1.0), (30, 0.0)])
def test_another_series_is_refused_by_a_run(num_steps, shift, copied):
    write(copied / "shop.csv", num_steps, VALUES + shift)
    status, out, err = run(forecast.main, f"--run_dir={copied}/run", f"--csv={copied}/shop.csv")
    assert (status, out) == (2, "")
    assert "to begin with the values that the run was trained on" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("method", ["direct", "recursive"])
def test_the_same_values_at_another_step_are_refused_by_a_run(method, tmp_path):
    write(tmp_path / "s.csv")
    flags = [f"--csv={tmp_path}/s.csv", "--column=sales", f"--horizon={HORIZON}", *SMALL, f"--method={method}"]
    assert run(forecast.main, *flags, f"--run_dir={tmp_path}/run")[0] == 0
    lines = (tmp_path / "s.csv").read_text().splitlines()[1:]
    quarters = (f"{2000 + i // 4}Q{i % 4 + 1},{line.partition(',')[2]}\n" for i, line in enumerate(lines))
    (tmp_path / "s.csv").write_text("month,sales,other\n" + "".join(quarters))
    status, out, err = run(forecast.main, f"--run_dir={tmp_path}/run")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "expected dates 1 month apart, as the run was trained on; got some 3 months apart" in err


def test_the_books_method_prints_the_next_values_of_a_file_and_what_they_are_worth(small, tmp_path):
    flags = [f"--csv={small[0]}/shop.csv", "--column=sales", f"--horizon={HORIZON}", *SMALL, "--method=recursive"]
    status, out, err = run(forecast.main, *flags, "--season=12", f"--run_dir={tmp_path}/run")
    assert status == 0, err
    lines = out.splitlines()
    for date, value, *_ in rows_of(tmp_path / "run" / "forecast.csv")[1:]:
        line = next(line for line in lines if line.startswith(f"{date} "))
        assert float(line.split()[1]) == pytest.approx(float(value), rel=1e-3)
    assert [line.split()[0] for line in lines[-4:-1]] == ["4-step", "multi-step", "all"]
    assert float(lines[-2].split()[4]) == pytest.approx(float(lines[-1].split("MASE ")[1].split()[0]), rel=1e-2)


def test_settings_that_belong_to_the_weights_may_not_change(copied):
    status, _, err = run(forecast.main, f"--run_dir={copied}/run", "--horizon=5")
    assert status == 2
    assert "the run was begun with --horizon=4, now it is 5" in err


@pytest.mark.slow
def test_an_interval_may_change(small, copied):
    run(forecast.main, f"--run_dir={copied}/run", f"--csv={copied}/shop.csv", "--interval=0.5")
    narrow, wide = rows_of(copied / "run" / "forecast.csv")[1], rows_of(small[0] / "next.csv")[1]
    assert narrow[1] == wide[1]
    assert float(narrow[3]) < float(wide[3])
    _, _, err = run(forecast.main, f"--run_dir={copied}/run", "--interval=0.99")
    assert "it needs the errors of 99 forecasts, and 15 steps are held out" in err
    assert rows_of(copied / "run" / "forecast.csv")[1][2:] == ["", ""]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["direct", "recursive"])
def test_a_longer_training_is_the_same_as_one_that_was_not_interrupted(method, small, tmp_path):
    flags = [f"--csv={small[0]}/shop.csv", "--column=sales", *SMALL, "--schedule=constant", f"--method={method}"]
    weights = []
    for name, parts in (("once", [3]), ("twice", [1, 3])):
        for epochs in parts:
            status, _, err = run(forecast.main, *flags, f"--epochs={epochs}", f"--run_dir={tmp_path}/{name}")
            assert status == 0, err
        weights.append(load_forecast(tmp_path / name)[0].get_weights())
    for once, twice in zip(*weights, strict=True):
        np.testing.assert_array_equal(once, twice)


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights_forecast_and_table(small, tmp_path):
    flags = [f"--csv={small[0]}/shop.csv", "--column=sales", *SMALL, "--epochs=60", "--save_every=0"]
    status, whole, err = run(forecast.main, *flags, f"--run_dir={tmp_path}/whole")
    assert status == 0, err
    process = command("tfrnn.forecast", *flags, f"--run_dir={tmp_path}/killed")
    metrics = tmp_path / "killed" / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.read_text().count("\n") > 5):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    status, resumed, err = run(forecast.main, f"--run_dir={tmp_path}/killed")
    assert status == 0, err
    assert "resuming after" in err
    assert resumed == whole
    for name in ("forecast.csv", "errors.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_load_run_returns_the_forecaster_its_scaling_and_settings(small):
    folder, _, _ = small
    model, scaling, config = tfrnn.load_run(folder / "run")
    values = series.read_series(folder / "shop.csv", config.series.column).values
    assert isinstance(model, tfrnn.Forecaster)
    assert scaling.train_steps == 45
    ahead = series.forecast_ahead(model, scaling, values, HORIZON, num_steps=config.series.num_steps)
    written = [float(row[1]) for row in rows_of(folder / "next.csv")[1:]]
    np.testing.assert_allclose(ahead.predicted[:, 0], written, rtol=1e-6)
    with pytest.raises(UserError, match="checkpoint"):
        tfrnn.load_run(folder / "run", "first")


@pytest.mark.slow
def test_several_columns_are_forecast_together_and_inputs_are_read_beside_them(small, tmp_path):
    csv_file = f"--csv={small[0]}/shop.csv"
    flags = [csv_file, f"--horizon={HORIZON}", *SMALL, "--epochs=1", f"--output={tmp_path}/next.csv"]
    status, out, err = run(
        forecast.main, *flags, "--column=sales", "--column=other", "--season=12", f"--run_dir={tmp_path}/both"
    )
    assert status == 0, err
    assert rows_of(tmp_path / "next.csv")[0][1::3] == ["sales", "other"]
    assert "shop, sales: trained on" in out
    assert "shop, other: trained on" in out
    status, out, err = run(forecast.main, *flags, "--column=sales", "--inputs=other", f"--run_dir={tmp_path}/beside")
    assert status == 0, err
    assert rows_of(tmp_path / "next.csv")[0] == ["month", "sales", "sales_lower", "sales_upper"]
    (model, scaling, _), (alone, of_one, _) = load_forecast(tmp_path / "beside"), load_forecast(small[0] / "run")
    assert scaling.num_inputs > of_one.num_inputs
    assert model.weights[-1].shape == alone.weights[-1].shape


def write_lifted(file, num_steps=NUM_STEPS, known=HORIZON):
    """Writes a series that promotions at random months lift by 30, and the promotions of the months after it."""
    promoted = np.random.default_rng(1).random(100) < 0.3
    values = VALUES + 30 * promoted
    rows = (f"{m},{v:.6f},{p:d}\n" for m, v, p in zip(MONTHS[:num_steps], values, promoted, strict=False))
    after = (f"{MONTHS[i]},,{promoted[i]:d}\n" for i in range(num_steps, num_steps + known))
    file.write_text("month,sales,promoted\n" + "".join(rows) + "".join(after))
    return values


@pytest.fixture(scope="module")
def lifted(tmp_path_factory):
    """A folder with a series with promotions that are known ahead, a run on it, and what the command printed."""
    folder = tmp_path_factory.mktemp("lifted")
    write_lifted(folder / "s.csv")
    flags = [f"--csv={folder}/s.csv", "--column=sales", "--inputs=promoted", f"--horizon={HORIZON}", *SMALL]
    status, out, err = run(forecast.main, *flags, "--season=12", f"--run_dir={folder}/run")
    assert status == 0, err
    return folder, out, err


def test_inputs_that_are_known_ahead_make_the_error_far_smaller(lifted, tmp_path):
    folder, out, err = lifted
    assert "promoted: each 1 more adds 30" in err
    values = write_lifted(tmp_path / "none.csv", known=0)
    rows = rows_of(folder / "run" / "forecast.csv")
    assert [row[0] for row in rows[1:]] == MONTHS[NUM_STEPS : NUM_STEPS + HORIZON]
    np.testing.assert_allclose([float(row[1]) for row in rows[1:]], values[NUM_STEPS : NUM_STEPS + HORIZON], atol=6)
    flags = [f"--csv={tmp_path}/none.csv", "--column=sales", f"--horizon={HORIZON}", *SMALL, "--season=12"]
    for more in ([], ["--inputs=promoted"]):
        status, without, err = run(forecast.main, *flags, *more, f"--run_dir={tmp_path}/run{len(more)}")
        assert status == 0, err
        assert ("--inputs are known up to the present only" in err) == bool(more)
        error, of_none = (
            float(next(line for line in text.splitlines() if line.startswith("all ")).split()[1])
            for text in (out, without)
        )
        assert error < of_none / 3


def test_a_run_with_known_inputs_needs_them_again_in_a_longer_file(lifted, tmp_path):
    shutil.copytree(lifted[0] / "run", tmp_path / "run")
    flags = [f"--run_dir={tmp_path}/run", f"--csv={tmp_path}/s.csv"]
    for known in (0, HORIZON - 1):
        write_lifted(tmp_path / "s.csv", 70, known)
        status, out, err = run(forecast.main, *flags)
        assert (status, out, len(err.splitlines())) == (2, "", 1)
        assert (
            f"expected --inputs for the next {HORIZON} steps, in lines after the last value without gaps; got {known}"
            in err
        )
    values = write_lifted(tmp_path / "s.csv", 70, HORIZON + 1)
    status, out, err = run(forecast.main, *flags)
    assert status == 0, err
    predicted = [float(row[1]) for row in rows_of(tmp_path / "run" / "forecast.csv")[1:]]
    np.testing.assert_allclose(predicted, values[70 : 70 + HORIZON], atol=6)
    model, scaling, config = load_forecast(tmp_path / "run")
    found = series.read_series(tmp_path / "s.csv", config.series.column, inputs=config.series.inputs)
    ahead = series.forecast_ahead(
        model, scaling, found.values, HORIZON, num_steps=config.series.num_steps, future=found.future
    )
    np.testing.assert_allclose(ahead.predicted[:, 0], predicted, rtol=1e-6)


def test_fewer_known_inputs_than_the_horizon_are_refused_and_choose_it_if_none_is_given(tmp_path):
    write_lifted(tmp_path / "s.csv", known=3)
    flags = [f"--csv={tmp_path}/s.csv", "--column=sales", "--inputs=promoted", *SMALL, f"--run_dir={tmp_path}/run"]
    status, out, err = run(forecast.main, *flags, f"--horizon={HORIZON}")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert (
        "expected --inputs for the next 4 steps, in lines after the last value without gaps; got 3; add such lines"
        in err
    )
    config = ForecastConfig().replace(method="direct", csv="s.csv", inputs=("promoted",), num_steps=6)
    found = series.read_series(tmp_path / "s.csv", ["sales"], inputs=["promoted"])
    assert forecast.fit(config, found)[0].series.horizon == 3


def test_a_run_without_inputs_known_ahead_says_that_it_does_not_read_them(lifted, tmp_path):
    write_lifted(tmp_path / "s.csv", known=0)
    flags = [f"--csv={tmp_path}/s.csv", "--column=sales", "--inputs=promoted", *SMALL, f"--run_dir={tmp_path}/run"]
    assert run(forecast.main, *flags)[0] == 0
    write_lifted(tmp_path / "s.csv", known=2)
    status, _, err = run(forecast.main, f"--run_dir={tmp_path}/run")
    assert (status, "those of the next 2 steps are not read; begin another run" in err) == (0, True), err


@pytest.mark.parametrize("value", [pytest.param(7.0, marks=pytest.mark.slow), 0.0])
def test_a_constant_series_is_forecast_as_it_is(value, tmp_path):
    write(tmp_path / "flat.csv", 60, np.full(100, value))
    flags = [f"--csv={tmp_path}/flat.csv", "--column=sales", *SMALL, f"--output={tmp_path}/next.csv"]
    status, out, err = run(forecast.main, *flags, f"--run_dir={tmp_path}/run")
    assert status == 0, err
    for row in rows_of(tmp_path / "next.csv")[1:]:
        np.testing.assert_allclose([float(number) for number in row[1:]], value, atol=1e-3)
    assert "repeats itself exactly" in out.splitlines()[-1]
    assert "Warning" not in err


def test_the_other_commands_and_forecast_refuse_each_others_runs(small, small_run, tmp_path):
    folder = small[0] / "run"
    for main, *flags in ((sample.main,), (evaluate.main,), (export.main, "--format=onnx"), (train.main,)):
        status, out, err = run(main, f"--run_dir={folder}", *flags)
        assert (status, out) == (2, "")
        assert "expected a run of train, on a text; got one of forecast, on a time series; name another" in err
        assert len(err.splitlines()) == 1
    status, out, err = run(forecast.main, f"--run_dir={small_run}")
    assert (status, out) == (2, "")
    assert "expected a run of forecast, on a time series; got one of train, on a text; name another" in err


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("scaling.json", "{}", "expected the scaling of a forecast"),
        ("scaling.json", None, "it has no scaling.json"),
        ("config.json", '{"series": {}}', "config has unknown keys"),
        ("config.json", "[", "expected JSON"),
    ],
)
def test_a_spoilt_run_is_refused_in_one_line(file, content, message, copied):
    (copied / "run" / file).unlink()
    if content is not None:
        (copied / "run" / file).write_text(content)
    status, out, err = run(forecast.main, f"--run_dir={copied}/run", f"--csv={copied}/shop.csv")
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_forecast_of_large_numbers_is_written_with_their_decimals(tmp_path):
    write(tmp_path / "large.csv", 60, 1e9 + VALUES)
    flags = [f"--csv={tmp_path}/large.csv", "--column=sales", *SMALL, "--horizon=1", f"--output={tmp_path}/next.csv"]
    status, out, err = run(forecast.main, *flags, f"--run_dir={tmp_path}/run")
    assert status == 0, err
    _, value, lower, upper = rows_of(tmp_path / "next.csv")[1]
    assert float(lower) < float(value) < float(upper) < float(lower) + 100
    assert "the next step, a step of 1 month" in out
    printed = next(line for line in out.splitlines() if line.startswith("2005-01")).split()[1:]
    assert len({*(number.strip("[,]") for number in printed)}) == 3


def test_a_forecast_is_exported_for_tensorflow_without_tfrnn(small, copied):
    status, out, err = run(export.main, f"--run_dir={copied}/run")
    assert status == 0, err
    assert out.strip() == f"{copied}/run/saved_model"
    forecast_of = tf.saved_model.load(f"{copied}/run/saved_model").signatures["forecast"]
    values = series.read_series(copied / "shop.csv", ["sales"]).values
    written = [[float(row[1])] for row in rows_of(copied / "next.csv")[1:]]
    np.testing.assert_allclose(forecast_of(values=tf.constant(values))["predicted"], written, rtol=1e-5)


def test_a_forecast_of_what_repeats_itself_does_not_beat_the_exact_naive_one(tmp_path):
    write(tmp_path / "week.csv", 60, np.arange(100.0) ** 2 % 7)
    flags = [f"--csv={tmp_path}/week.csv", "--column=sales", *SMALL, "--season=7", "--learning_rate=0.1", "--horizon=2"]
    status, out, err = run(forecast.main, *flags, f"--run_dir={tmp_path}/run")
    assert status == 0, err
    last = out.splitlines()[-1]
    assert "repeats itself exactly" in last
    assert "does not beat the seasonal naive forecast: error" in last
