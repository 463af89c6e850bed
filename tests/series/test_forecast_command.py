"""`tfrnn forecast`: its table, its picture, its errors, and what training may know."""

import re

import numpy as np
import pytest
from entry_points import run

from tfrnn import forecast, series
from tfrnn.config.config import ForecastConfig
from tfrnn.training import forecast_report

SMALL = [
    "--cell=rnn", "--epochs=2", "--units=4", "--batch_size=2", "--num_steps=5", "--chains=1", "--train_fraction=0.9",
]  # fmt: skip


def table(out):
    """The errors of model and persistence by the first word of a line of the table."""
    rows = [line.split() for line in out.splitlines() if re.match(r"(\d+-step|multi-step|all) ", line)]
    return {row[0]: [float(word) for word in row[1:3]] for row in rows}


@pytest.fixture(autouse=True)
def in_a_new_folder(tmp_path, monkeypatch):
    """Runs each test in a folder of its own, in which a run without a name is made."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def small_forecast(tmp_path_factory):
    """What a small forecast with seed 3 prints, and its picture."""
    picture = tmp_path_factory.mktemp("forecast") / "p.png"
    status, out, err = run(
        forecast.main, *SMALL, "--k=3,1", "--seed=3", f"--plot={picture}", f"--run_dir={picture.parent}/run"
    )
    assert status == 0, err
    return out, picture


METHODS = pytest.mark.parametrize("method", ["recursive", "direct"])


def sine_errors(tmp_path, frequency, num_steps, *flags):
    """The table of a forecast of a sine without noise."""
    values = np.sin(frequency * np.arange(num_steps))
    (tmp_path / "sine.csv").write_text("x\n" + "\n".join(map(str, values)))
    status, out, err = run(forecast.main, f"--csv={tmp_path}/sine.csv", f"--plot={tmp_path}/sine.png", *flags)
    assert status == 0, err
    return table(out)


@pytest.mark.slow
@METHODS
def test_a_short_sine_of_several_periods_in_training_is_forecast_well_at_every_k(method, tmp_path):
    flags = [
        f"--method={method}",
        "--cell=rnn",
        "--k=1,3,9",
        "--num_steps=10",
        "--epochs=60",
        "--learning_rate=0.03",
        "--chains=1",
    ]
    errors = sine_errors(tmp_path, 0.25, 200, *flags)
    for k in (1, 3, 9):
        model, persistence = errors[f"{k}-step"]
        assert model < persistence / 2, errors


@pytest.mark.slow
@METHODS
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_sine_of_several_periods_in_training_is_forecast_well_at_every_k(seed, method, tmp_path):
    errors = sine_errors(tmp_path, 0.05, 1000, f"--seed={seed}", f"--method={method}", "--k=1,4,16,64")
    for k in (1, 4, 16, 64):
        model, persistence = errors[f"{k}-step"]
        # The direct model is trained for a tenth of the steps, and one step ahead there is little to be won.
        share = 0.8 if (method, k) == ("direct", 1) else 0.5
        assert model < share * persistence, errors


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags", [[], ["--cell=lstm", "--units=32", "--epochs=1500"], ["--cell=rnn", "--units=32", "--epochs=1500"]]
)
def test_the_forecast_of_the_books_sine_without_noise_beats_persistence_at_every_k(flags, tmp_path):
    status, out, err = run(forecast.main, "--noise=0", f"--plot={tmp_path}/sine.png", *flags)
    assert status == 0, err
    for k in (1, 4, 16, 64):
        model, persistence = table(out)[f"{k}-step"]
        assert model < persistence, out


@pytest.mark.slow
def test_the_picture_is_a_png(small_forecast):
    _, picture = small_forecast
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert picture.stat().st_size > 10_000


def test_the_table_has_each_k_in_order_and_remarks_if_persistence_is_not_beaten(small_forecast):
    out, _ = small_forecast
    assert list(table(out)) == ["1-step", "3-step", "multi-step"]
    for line in out.splitlines()[2:]:
        model, persistence = (float(word) for word in line.split()[1:3])
        assert ("does not beat persistence" in line) == (model >= persistence)
    values = series.noisy_sine(seed=3)
    expected = series.root_mean_square_error(values[897:-3], values[900:])
    assert table(out)["3-step"][1] == pytest.approx(expected, rel=1e-3)  # four digits are printed


@pytest.mark.slow
def test_the_same_seed_gives_the_same_table_and_another_seed_another(small_forecast, tmp_path):
    first, _ = small_forecast
    again, other = (run(forecast.main, *SMALL, "--k=3,1", f"--seed={n}", f"--plot={tmp_path}/p.png")[1] for n in (3, 4))
    assert first == again != other


@METHODS
def test_held_out_values_change_neither_the_scaling_nor_the_model(method):
    values = series.noisy_sine(200)[:, None]
    trained = []
    for shift in (0.0, 1e6):
        changed = np.concatenate([values[:120], values[120:] + shift])
        config = ForecastConfig().replace(method=method, batch_size=2, num_steps=5, units=4, epochs=2, chains=1)
        of_method = series.Relative.fit(changed[:120], 5) if method == "direct" else series.Scaling.fit(changed[:120])
        trainer, batches = forecast.make_trainer(config, of_method, changed)
        trainer.fit(batches, 2)
        trained.append((of_method, trainer.model.get_weights()))
    assert trained[0][0] == trained[1][0]
    for first, second in zip(trained[0][1], trained[1][1], strict=True):
        np.testing.assert_array_equal(first, second)


LONG_ENOUGH = "\n".join(map(str, range(300)))


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        ("a,b\n1,2\n", ["--column=c"], "expected --column to name one of a, b; got 'c'"),
        ("a,b\n1,2\n", [], "expected --column to name one of a, b; got ''"),
        ("a,a\n1,2\n", ["--column=a"], "expected --column to name one of a, a"),
        ("", [], "expected the names of the columns, separated by commas, in line 1; got []"),
        ("1\n2\n", [], "series too short: 1 values to train on"),
        (
            "a\n1\n\n2\n",
            [],
            "line 3, column 'a': expected a finite number; got nothing (a gap); fill such gaps by --fill=linear or "
            "another --fill, or leave the lines out by --fill=skip\n",
        ),
        (
            "v,w\n0,5,1\n",
            ["--column=w"],
            "line 2: expected 2 fields separated by commas; got 3; put a field that has commas in it between quotation "
            "marks, or give another --separator\n",
        ),
        ("v\n1,234\n", [], "line 2: expected to know whether the comma in '1,234' is a decimal mark"),
        ("a\n1_0\n", [], "got '1_0'"),
        ("a,b\n1,2\n3,\n", ["--column=b"], "line 3, column 'b': expected a finite number; got nothing (a gap)"),
        ("a,b\n1,2\n3\n", ["--column=b"], "line 3, column 'b': expected a finite number; got nothing (a gap)"),
        ("a\n1\ntwo\n", [], "line 3, column 'a': expected a finite number; got 'two'"),
        ("a\n1\nnan\n", [], "got 'nan'"),
        ("a\n1\n1e999\n", [], "got '1e999'"),
        (
            "a\n1\n2\n3\n",
            ["--k=2"],
            "--k: expected at most 1, as 2 of the series' 3 steps are trained on and 1 held out",
        ),
        ("a\n", [], "--k: expected at most 0"),
        ("a\n1\n2\n3\n", ["--k=1"], "series too short: 2 values"),
        ("a\n1\n2\n3\n", ["--k=1", "--method=recursive"], "series too short: 1 values"),
        (f"a\n{LONG_ENOUGH}", ["--num_steps=70", "--method=recursive"], "series too short: 180 values"),
        (
            f"a\n{LONG_ENOUGH}",
            ["--num_steps=225"],
            "series too short: 225 values to train on, but --num_steps=225 needs 226",
        ),
        (f"a\n{LONG_ENOUGH}", ["--season=120"], "series too short: 225 values to train on, but --horizon="),
        (f"a\n{LONG_ENOUGH}", ["--horizon=76"], "--horizon: expected at most 75, as 225 of the series' 300 steps"),
        (f"a\n{LONG_ENOUGH}", ["--horizon=3", "--k=4"], "--k: expected at most --horizon=3; got 4"),
        (f"a\n{LONG_ENOUGH}", ["--output=."], "--output=.: expected a file that can be written"),
        (f"a\n{LONG_ENOUGH}", ["--output=s.csv"], "--output=s.csv: expected another file than that of the series"),
        (f"a\n{LONG_ENOUGH}", ["--date_column=b"], "expected --date_column to name one of a; got 'b'"),
        (f"a\n{LONG_ENOUGH}", ["--inputs=a", "--column=a"], "expected --inputs that are not forecast themselves"),
        ("a,b\n1,2\n", ["--column=a", "--inputs=b", "--method=recursive"], "--method=recursive forecasts one column"),
        (f"a\n{LONG_ENOUGH}", ["--output=p.png"], "expected another file than that of --output"),
        (f"a\n{LONG_ENOUGH}", ["--noise=0.1"], "--noise is of the sine, which is forecast without --csv"),
        (f"a\n{LONG_ENOUGH}", ["--column=a", "--column=a"], "expected each --column once; got 'a' twice"),
        (f"a\n{LONG_ENOUGH}", ["--encoding=nonsense"], "unknown encoding: nonsense"),
        (f"a\n{LONG_ENOUGH}", ["--plot=."], "--plot=.: expected a file that can be written"),
        (f"a\n{LONG_ENOUGH}", ["--plot="], "--plot=: expected a file that can be written"),
        (
            f"a\n{LONG_ENOUGH}",
            ["--k=121", "--train_fraction=0.6"],
            "--k: expected at most 120, as 180 of the series' 300",
        ),
        (f"a\n{LONG_ENOUGH}", ["--k=0"], "--k must be whole numbers of at least 1, separated by commas; got '0'"),
        (f"a\n{LONG_ENOUGH}", ["--train_fraction=1"], "--train_fraction must be a number above 0 and below 1"),
        (
            f"a\n{LONG_ENOUGH}",
            ["--plot=/no/such/folder/x.png"],
            "expected a file that can be written, in a folder that exists",
        ),
        (f"a\n{LONG_ENOUGH}", ["--embedding_dim=3"], "embedding_dim"),
        (
            "d,a\n2023-01-01,1\n2023-01-02,2\n2023-01-04,3\n",
            [],
            "line 4: expected dates 1 day apart; 2023-01-03 is missing",
        ),
        ("d,a\n2023-01-01,1\n2023-01-02,2\n2023-01-02,3\n", ["--date_column=d"], "line 4: expected a date after that"),
        ("d,a\n01/02/2023,1\n01/03/2023,2\n", [], "expected dates whose day and month can be told apart"),
        (b"a\n\xff\xfe1\n", [], "expected a CSV file in UTF-8"),
        (None, [], "expected a CSV file, but it does not exist"),
    ],
)
def test_an_error_is_one_line_that_says_what_was_expected(text, flags, message, tmp_path):
    file = tmp_path / "s.csv"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    status, out, err = run(forecast.main, f"--csv={file}", f"--plot={tmp_path}/p.png", *flags)
    assert (status, out) == (2, "")
    assert err.startswith("tfrnn: error: ")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "p.png").exists()


def test_help_shows_the_defaults_of_forecasting():
    status, out, _ = run(forecast.main, "--help")
    assert status == 0
    assert "--cell=gru " in out
    assert "--units=16 " in out


@pytest.mark.parametrize("flag", ["--fill=zero", "--column=a", "--header=no", "--date_column=d"])
def test_what_is_said_of_a_file_needs_one(flag):
    status, out, err = run(forecast.main, flag)
    assert (status, out) == (2, "")
    assert f"{flag.partition('=')[0]} is of a file; got no file; give --csv, too" in err


def test_the_books_steps_ahead_go_up_to_the_horizon(tmp_path):
    config = ForecastConfig().replace(method="recursive", batch_size=4, horizon=12)
    found, _ = forecast.fit(config, series.SeriesFile(("sine",), series.noisy_sine()[:, None]))
    assert found.series.k == "1,4"


@pytest.mark.parametrize(
    ("number", "digits", "expected"),
    [
        (12345.67, 4, "12346"),
        (0.123456, 4, "0.1235"),
        (1e9 + 0.26, 11, "1000000000.3"),
        (1.23456e20, 4, "1.235e+20"),
        (float("nan"), 4, "-"),
    ],
)
def test_numbers_are_printed_for_people(number, digits, expected):
    assert forecast_report._number(number, digits) == expected


def test_the_digits_of_a_forecast_show_the_width_of_its_intervals():
    def digits(center, width):
        return forecast_report._digits_to_tell_apart(np.array([center - width]), np.array([center + width]))

    assert [digits(387.0, 0.3), digits(1e9, 1.5), digits(5.0, 0.0), digits(20.0, 7.0)] == [5, 11, 4, 4]
