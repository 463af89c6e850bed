"""`tfrnn forecast`: its table, its picture, its errors, and what training may know."""

import numpy as np
import pytest
from entry_points import run

import tfrnn
from tfrnn import forecast, series

SMALL = [
    "--cell=rnn", "--epochs=2", "--units=4", "--batch_size=2", "--num_steps=5", "--chains=1", "--train_fraction=0.9",
]  # fmt: skip


def table(out):
    """The errors of model and persistence by the first word of a line."""
    return {line.split()[0]: [float(word) for word in line.split()[1:3]] for line in out.splitlines()[2:]}


@pytest.fixture(scope="module")
def small_forecast(tmp_path_factory):
    """What a small forecast with seed 3 prints, and its picture."""
    picture = tmp_path_factory.mktemp("forecast") / "p.png"
    status, out, err = run(forecast.main, *SMALL, "--k=3,1", "--seed=3", f"--plot={picture}")
    assert status == 0, err
    return out, picture


def sine_errors(tmp_path, frequency, num_steps, *flags):
    """The table of a forecast of a sine without noise."""
    values = np.sin(frequency * np.arange(num_steps))
    (tmp_path / "sine.csv").write_text("x\n" + "\n".join(map(str, values)))
    status, out, err = run(forecast.main, f"--csv={tmp_path}/sine.csv", f"--plot={tmp_path}/sine.png", *flags)
    assert status == 0, err
    return table(out)


@pytest.mark.slow
def test_a_short_sine_of_several_periods_in_training_is_forecast_well_at_every_k(tmp_path):
    flags = ["--cell=rnn", "--k=1,3,9", "--num_steps=10", "--epochs=60", "--learning_rate=0.03", "--chains=1"]
    errors = sine_errors(tmp_path, 0.25, 200, *flags)
    for k in (1, 3, 9):
        model, persistence = errors[f"{k}-step"]
        assert model < persistence / 2, errors


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_sine_of_several_periods_in_training_is_forecast_well_at_every_k(seed, tmp_path):
    errors = sine_errors(tmp_path, 0.05, 1000, f"--seed={seed}")
    for k in (1, 4, 16, 64):
        model, persistence = errors[f"{k}-step"]
        assert model < persistence / 2, errors


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


def test_held_out_values_change_neither_the_scaling_nor_the_model(tmp_path):
    values = series.noisy_sine(200)
    trained = []
    for shift in (0.0, 1e6):
        changed = np.concatenate([values[:120], values[120:] + shift])
        (tmp_path / "s.csv").write_text("x\n" + "\n".join(map(str, changed)))
        scaling = series.Scaling.fit(series.read_column(tmp_path / "s.csv")[:120])
        settings = forecast.SeriesSettings(batch_size=2, num_steps=5)
        config = tfrnn.Config().replace(units=4, epochs=2, chains=1)
        model = forecast.train(scaling.scale(changed[:120])[:, None], settings, config)
        trained.append((scaling, model.get_weights()))
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
        ("1\n2\n", [], "expected the names of the columns, separated by commas, in line 1; got ['1']"),
        ("a\n1\n\n2\n", [], "line 3, column 'a': expected a finite number; got nothing (a gap)"),
        ("v\n0,5\n", [], "line 2: expected 1 fields separated by commas; got 2"),
        ("a\n1_0\n", [], "got '1_0'"),
        ("a,b\n1,2\n3,\n", ["--column=b"], "line 3, column 'b': expected a finite number; got nothing (a gap)"),
        ("a,b\n1,2\n3\n", ["--column=b"], "line 3, column 'b': expected a finite number; got nothing (a gap)"),
        ("a\n1\ntwo\n", [], "line 3, column 'a': expected a finite number; got 'two'"),
        ("a\n1\nnan\n", [], "got 'nan'"),
        ("a\n1\n1e999\n", [], "got '1e999'"),
        ("a\n1\n2\n3\n", [], "--k: expected at most 1, as 1 of the series' 3 steps are trained on and 2 held out"),
        ("a\n", [], "--k: expected at most 0"),
        ("a\n1\n2\n3\n", ["--k=1"], "series too short: 1 values"),
        (f"a\n{LONG_ENOUGH}", ["--num_steps=70"], "series too short: 180 values"),
        (f"a\n{LONG_ENOUGH}", ["--plot=."], "--plot=.: expected a file that can be written"),
        (f"a\n{LONG_ENOUGH}", ["--plot="], "--plot=: expected a file that can be written"),
        (f"a\n{LONG_ENOUGH}", ["--k=121"], "--k: expected at most 120, as 180 of the series' 300 steps"),
        (f"a\n{LONG_ENOUGH}", ["--k=0"], "--k must be whole numbers of at least 1, separated by commas; got '0'"),
        (f"a\n{LONG_ENOUGH}", ["--train_fraction=1"], "--train_fraction must be a number above 0 and below 1"),
        (
            f"a\n{LONG_ENOUGH}",
            ["--plot=/no/such/folder/x.png"],
            "expected a file that can be written, in a folder that exists",
        ),
        (f"a\n{LONG_ENOUGH}", ["--embedding_dim=3"], "embedding_dim"),
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
