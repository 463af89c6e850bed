"""Time series: reading, scaling, what a prediction k steps ahead is, and the command."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized
from entry_points import run

import tfrnn
from tfrnn import forecast, series
from tfrnn.errors import UserError

N = 30
CELLS = [tfrnn.RNNCell, keras.layers.GRUCell, tfrnn.LSTMCell]
SMALL = ["--epochs=2", "--units=4", "--batch_size=2", "--num_steps=5"]


def forecaster(cell):
    keras.utils.set_random_seed(0)
    return tfrnn.Forecaster(tfrnn.RNN([cell(6, kernel_initializer="orthogonal"), cell(6)]))


def continued(model, values, steps):
    """The values and so many predictions, each from all that stands before it, read anew."""
    for _ in range(steps):
        predictions, _ = model(values[:, None])
        values = np.concatenate([values, predictions[-1]])
    return values


class PredictionTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(CELLS)
    def test_k_steps_ahead_nothing_between_is_seen(self, cell):
        model, values = forecaster(cell), np.random.default_rng(0).normal(size=[N, 1]).astype("f")
        found = series.k_step_predictions(model, series.observe(model, values), [1, 3, 8])
        self.assertEqual(list(found), [1, 3, 8])
        for k, predictions in found.items():
            self.assertTrue(np.isnan(predictions[:k]).all())
            for t in (k, 15, N - 1):
                self.assertAllClose(predictions[t], continued(model, values[: t - k + 1], k)[-1], 1e-5, 1e-5)

    @parameterized.parameters(CELLS)
    def test_many_steps_from_one_point(self, cell):
        model, values = forecaster(cell), np.random.default_rng(0).normal(size=[N, 1]).astype("f")
        found = series.multi_step_predictions(model, series.observe(model, values), 20)
        self.assertAllClose(found, continued(model, values[:20], 10)[20:], 1e-5, 1e-5)

    def test_persistence_is_the_value_k_steps_before(self):
        self.assertAllEqual(series.persistence(np.arange(5.0), 2)[2:], [0, 1, 2])
        self.assertTrue(np.isnan(series.persistence(np.arange(5.0), 2)[:2]).all())

    def test_the_books_sine(self):
        self.assertAllClose(series.noisy_sine(noise=0), np.sin(0.01 * np.arange(1, 1001)))
        self.assertNear(np.std(series.noisy_sine() - series.noisy_sine(noise=0)), 0.2, 0.01)
        self.assertNotAllClose(series.noisy_sine(seed=1), series.noisy_sine(seed=2))

    def test_scaling_there_and_back(self):
        values = np.array([1e9, 1e9 + 1, 1e9 + 2])
        scaling = series.Scaling.fit(values)
        self.assertNear(scaling.scale(values).std(), 1, 1e-6)
        self.assertAllClose(scaling.unscale(scaling.scale(values)), values, rtol=1e-12)
        for constant in (3.0, 0.1):
            self.assertAllClose(series.Scaling.fit(np.full(180, constant)).scale(np.full(5, constant)), np.zeros(5))

    def test_batches_of_a_series_are_those_of_a_text(self):
        ids = np.arange(200)
        pairs = np.stack([ids, -ids], 1).astype("f")  # [N, D = 2]
        for kind in (tfrnn.sequential_batches, tfrnn.random_batches):
            of_text = list(kind(ids, 3, 7).epoch(2))
            for numbers in (ids.astype("f"), pairs):
                for text_batch, batch in zip(of_text, kind(numbers, 3, 7).epoch(2), strict=True):
                    self.assertAllEqual(text_batch.inputs, batch.inputs[..., 0])
                    self.assertAllEqual(text_batch.targets, batch.targets[..., 0])
                    self.assertAllEqual(
                        -batch.inputs[..., :1], batch.inputs[..., 1:] if numbers is pairs else -batch.inputs
                    )

    def test_labelled_batches_are_each_row_once_an_epoch_and_time_major(self):
        inputs, targets = np.arange(24).reshape(6, 4), -np.arange(24).reshape(6, 4)
        batches = tfrnn.labelled_batches(inputs, targets, batch_size=2, seed=1)
        orders = set()
        for epoch in range(5):
            rows = []
            for batch in batches.epoch(epoch):
                self.assertEqual(batch.inputs.shape, (4, 2))
                self.assertAllEqual(batch.inputs, -batch.targets)
                self.assertAllEqual(batch.reset, [True, True])
                rows += batch.inputs.numpy().T.tolist()
            self.assertAllEqual(sorted(rows), inputs)
            orders.add(str(rows))
        self.assertGreater(len(orders), 1)
        with self.assertRaisesRegex(UserError, r"got shapes \(6, 4\) and \(6, 3\)"):
            tfrnn.labelled_batches(inputs, targets[:, :3])
        with self.assertRaisesRegex(UserError, "got 6"):
            tfrnn.labelled_batches(inputs, targets, 7)


def table(out):
    """Errors of model and persistence by the first word of a line."""
    return {line.split()[0]: [float(word) for word in line.split()[1:3]] for line in out.splitlines()[2:]}


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_a_sine_of_several_periods_in_training_is_forecast_well_at_every_k(seed, tmp_path):
    (tmp_path / "sine.csv").write_text("x\n" + "\n".join(str(x) for x in np.sin(0.05 * np.arange(1000))))
    flags = [f"--csv={tmp_path}/sine.csv", f"--plot={tmp_path}/sine.png", f"--seed={seed}"]
    status, out, err = run(forecast.main, *flags)
    assert status == 0, err
    for k in (1, 4, 16, 64):
        model, persistence = table(out)[f"{k}-step"]
        assert model < persistence / 2, out


@pytest.mark.parametrize(
    "flags",
    [
        [],
        pytest.param(["--cell=lstm", "--units=32", "--epochs=1500"], marks=pytest.mark.slow),
        pytest.param(["--cell=rnn", "--units=32", "--epochs=1500"], marks=pytest.mark.slow),
    ],
)
def test_the_forecast_of_a_pure_sine_beats_persistence_at_every_k(flags, tmp_path):
    status, out, err = run(forecast.main, "--noise=0", f"--plot={tmp_path}/sine.png", *flags)
    assert status == 0, err
    for k in (1, 4, 16, 64):
        model, persistence = table(out)[f"{k}-step"]
        assert model < persistence, out
    assert (tmp_path / "sine.png").read_bytes()[:4] == b"\x89PNG"


def test_the_table_says_where_persistence_is_not_beaten(tmp_path):
    status, out, _ = run(forecast.main, *SMALL, "--k=3,1", f"--plot={tmp_path}/p.png")
    assert status == 0
    assert list(table(out)) == ["1-step", "3-step", "multi-step"]
    for line in out.splitlines()[2:]:
        model, persistence = (float(word) for word in line.split()[1:3])
        assert ("does not beat persistence" in line) == (model >= persistence)
    values = series.noisy_sine()
    assert table(out)["3-step"][1] == pytest.approx(
        series.root_mean_square_error(values[597:-3], values[600:]), rel=1e-3
    )


def test_what_is_held_out_changes_nothing_of_the_training(tmp_path):
    """Neither the scaling nor the model may know it."""
    values = series.noisy_sine(200)
    predicted = []
    for end in (0.0, 1e6):
        changed = np.concatenate([values[:120], values[120:] + end])
        (tmp_path / "s.csv").write_text("x\n" + "\n".join(map(str, changed)))
        scaling = series.Scaling.fit(series.read_column(tmp_path / "s.csv")[:120])
        settings, config = forecast.Series(batch_size=2, num_steps=5), tfrnn.Config().replace(units=4, epochs=2)
        model = forecast.train(scaling.scale(changed[:120])[:, None], settings, config)
        predicted.append((scaling, model(scaling.scale(values)[:, None, None])[0].numpy()))
    assert predicted[0][0] == predicted[1][0]
    assert np.array_equal(predicted[0][1], predicted[1][1])


def test_a_column_by_its_name_and_the_only_one_without(tmp_path):
    file = tmp_path / "two.csv"
    file.write_text("\ufeffday, celsius\n1,-3.5\n2,4e0\n3, 7\n\n", encoding="utf-8")
    assert series.read_column(file, "celsius").tolist() == [-3.5, 4, 7]
    (tmp_path / "one.csv").write_text("x\n1\n2\n")
    assert series.read_column(tmp_path / "one.csv").tolist() == [1, 2]


ENOUGH = "\n".join(map(str, range(300)))


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
        (f"a\n{ENOUGH}", ["--num_steps=70"], "series too short: 180 values"),
        (f"a\n{ENOUGH}", ["--plot=."], "--plot=.: expected a file that can be written"),
        (f"a\n{ENOUGH}", ["--plot="], "--plot=: expected a file that can be written"),
        (f"a\n{ENOUGH}", ["--k=121"], "--k: expected at most 120, as 180 of the series' 300 steps"),
        (f"a\n{ENOUGH}", ["--k=0"], "--k must be whole numbers of at least 1, separated by commas; got '0'"),
        (f"a\n{ENOUGH}", ["--train_fraction=1"], "--train_fraction must be a number above 0 and below 1"),
        (
            f"a\n{ENOUGH}",
            ["--plot=/no/such/folder/x.png"],
            "expected a file that can be written, in a folder that exists",
        ),
        (f"a\n{ENOUGH}", ["--embedding_dim=3"], "embedding_dim"),
        (b"a\n\xff\xfe1\n", [], "expected a CSV file in UTF-8"),
        (None, [], "expected a CSV file; there is none"),
    ],
)
def test_errors_say_what_was_expected(text, flags, message, tmp_path):
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


def test_two_runs_are_equal_and_another_seed_is_not(tmp_path):
    flags = [*SMALL, f"--plot={tmp_path}/p.png"]
    first, second, other = (run(forecast.main, *flags, f"--seed={seed}")[1] for seed in (3, 3, 4))
    assert first == second != other
    assert Path(tmp_path / "p.png").stat().st_size > 10_000
