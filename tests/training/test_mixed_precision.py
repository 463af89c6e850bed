"""Training in half precision: what stays in float32, what scales the loss, and what a resumed run is."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from entry_points import SMALL, metrics, run
from half_precision import EPSILON, needs_16_bits
from rounding import assert_identical

import tfrnn
from tfrnn import evaluate, export, forecast, sample, train
from tfrnn.config import sections
from tfrnn.errors import DivergedError
from tfrnn.models.building import build_language_model
from tfrnn.training import loops

T, B, V = 2, 4, 5
IDS = np.random.default_rng(0).integers(1, V, 100)
SETTINGS = sections.Model(units=8, embedding_dim=8, tie_weights=True)
HALVES = pytest.mark.parametrize("precision", [pytest.param("bfloat16", marks=pytest.mark.slow), "float16"])


def batches():
    return tfrnn.sequential_batches(IDS, B, T, seed=3)


def trainer_of(precision, optimizer=None, **kwargs):
    """A trainer as the command makes it, with a model of the same first weights at each call."""
    keras.utils.set_random_seed(0)
    policy = sections.Training(mixed_precision=precision).dtype_policy
    model = build_language_model(SETTINGS, V, dtype=policy)
    return tfrnn.Trainer(model, optimizer or keras.optimizers.SGD(0.5), chains=1, **kwargs)


def restless():
    """An optimizer whose scale rises until gradients overflow, and falls then."""
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01), 2.0**22, dynamic_growth_steps=2)


@needs_16_bits
@HALVES
def test_weights_optimizer_carried_state_and_sums_are_float32(precision):
    trainer = trainer_of(precision, keras.optimizers.Adam(0.01))
    history = trainer.fit(batches(), 1).history
    assert trainer.model.compute_dtype == precision
    assert isinstance(trainer.optimizer, keras.optimizers.LossScaleOptimizer) == (precision == "float16")
    floats = {array.dtype.str for array in trainer.snapshot().values() if array.dtype.kind == "f"}
    assert floats == {"<f4", "<f8"}
    expected = trainer_of("float32", keras.optimizers.Adam(0.01)).fit(batches(), 1).history["loss"]
    np.testing.assert_allclose(history["loss"], expected, rtol=16 * EPSILON[precision])


@needs_16_bits
@HALVES
def test_the_state_in_float32_holds_what_the_cells_computed(precision):
    model, ids = trainer_of(precision).model, np.ones([T, B], "int32")
    _, state = model(ids)
    for tensor in (*sum(state, ()), *sum(model.initial_state(B), ())):
        assert tensor.dtype == "float32"
        assert_identical(keras.ops.cast(keras.ops.cast(tensor, precision), "float32"), tensor)
    _, between = model(ids[:1])
    assert_identical(model(ids[1:], between)[1], state)


@needs_16_bits
@pytest.mark.parametrize("precision", EPSILON)
@pytest.mark.parametrize("kind", ["labels", "series"])
def test_sums_over_many_rows_are_in_float32(kind, precision):
    """Each gradient of a batch is near that in float32, whose rows are more than 2 / EPSILON in bfloat16."""
    rows, gradients = 600, []
    for policy in ("float32", f"mixed_{precision}"):
        keras.utils.set_random_seed(0)
        cell = keras.layers.SimpleRNNCell(4, dtype=policy)
        if kind == "labels":
            model = tfrnn.SequenceLabeller(cell, V, 3, dtype=policy)
        else:
            model = tfrnn.Forecaster(cell, 1, dtype=policy)
        inputs = np.ones([T, rows], "int32") if kind == "labels" else np.ones([T, rows, 1], "float32")
        with tf.GradientTape() as tape:
            outputs, _ = model(inputs)
            loss = tf.reduce_sum(tf.cast(outputs, tf.float32)[..., 0])
        assert outputs.dtype == "float32"
        gradients.append([np.ravel(gradient) for gradient in tape.gradient(loss, model.trainable_variables)])
    for actual, expected in zip(gradients[1], gradients[0], strict=True):
        assert np.linalg.norm(actual - expected) <= 16 * EPSILON[precision] * np.linalg.norm(expected)


@pytest.mark.slow
def test_float32_trains_as_without_the_setting():
    keras.utils.set_random_seed(0)
    plain = tfrnn.Trainer(build_language_model(SETTINGS, V), keras.optimizers.SGD(0.5), chains=1)
    for trainer in (plain, by_setting := trainer_of("float32")):
        trainer.fit(batches(), 2)
    assert_identical(by_setting.snapshot(), plain.snapshot())


@needs_16_bits
@HALVES
def test_the_bound_is_on_the_norm_of_gradients_that_are_not_scaled(precision):
    clip_norm, rate = 0.01, 0.5
    trainers = [trainer_of(p, clip_norm=clip_norm) for p in ("float32", precision)]
    changes = []
    for trainer in trainers:
        before = trainer.model.get_weights()
        trainer.fit(tfrnn.sequential_batches(IDS[: (B + 1) * T + 2], B, T, random_offset=False), 1)
        pairs = zip(before, trainer.model.get_weights(), strict=True)
        changes.append(np.concatenate([np.ravel(old - new) for old, new in pairs]))
    expected, actual = (trainer.gradient_norms[0] for trainer in trainers)
    assert expected > 5 * clip_norm
    np.testing.assert_allclose(actual, expected, rtol=16 * EPSILON[precision])
    np.testing.assert_allclose(np.linalg.norm(changes[1]), rate * clip_norm, rtol=1e-3)


@needs_16_bits
def test_gradients_that_overflow_float16_lower_the_scale_and_training_goes_on():
    trainer = trainer_of("float16", keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5), 2.0**24))
    history = trainer.fit(batches(), 4).history
    left_out = int(np.sum(~np.isfinite(trainer.gradient_norms)))
    assert 0 < left_out < len(trainer.gradient_norms)
    assert float(trainer.optimizer.dynamic_scale) == 2.0 ** (24 - left_out)
    assert trainer.optimizer.iterations.numpy() == len(trainer.gradient_norms) - left_out
    assert history["loss"][-1] < history["loss"][0]
    assert np.isfinite(history["gradient_norm"]).all()


@needs_16_bits
def test_a_loss_that_is_not_finite_whatever_the_scale_is_divergence():
    trainer = trainer_of("float16")
    trainer.model.set_weights([np.full_like(weight, 60_000) for weight in trainer.model.get_weights()])
    before = trainer.model.get_weights()
    with pytest.raises(DivergedError, match="not finite in epoch 1, batch 1"):
        trainer.fit(batches(), 1)
    assert_identical(trainer.model.get_weights(), before)


@needs_16_bits
@pytest.mark.slow
def test_a_run_in_float16_resumes_within_an_epoch_with_its_scale(monkeypatch):
    monkeypatch.setattr(loops, "CALL_SECONDS", 0.0)
    whole = trainer_of("float16", restless())
    whole.fit(batches(), 4)
    stopped = trainer_of("float16", restless())
    stopped.fit(batches(), 2)
    stop = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: setattr(stopped.model, "stop_training", batch >= 2)
    )
    stopped.fit(batches(), 1, callbacks=[stop])
    assert stopped.batch
    assert float(stopped.optimizer.dynamic_scale) != 2.0**22
    resumed = trainer_of("float16", restless())
    resumed.restore(stopped.snapshot())
    resumed.fit(batches(), 2)
    assert resumed.position == whole.position == (4, 0)
    norms = np.array(whole.gradient_norms)
    assert not np.isfinite(norms[len(stopped.gradient_norms) :]).all()  # the scale falls in what was resumed
    assert_identical(resumed.snapshot(), whole.snapshot())


@pytest.fixture(scope="module")
def half_runs(tmp_path_factory):
    """Run directories of the command in each precision."""
    folder, runs = tmp_path_factory.mktemp("precisions"), {}
    for precision in ("float32", *EPSILON):
        status, _, err = run(
            train.main, *SMALL, "--save_every=0", f"--mixed_precision={precision}", f"--run_dir={folder}/{precision}"
        )
        assert status == 0, err
        runs[precision] = folder / precision
    return runs


@needs_16_bits
@HALVES
@pytest.mark.slow
def test_a_run_in_half_precision_ends_near_one_in_float32_and_is_read_in_float32(half_runs, precision, tmp_path):
    single, half = half_runs["float32"], half_runs[precision]
    last, expected = (metrics(path)[-1] for path in (half, single))
    for name in ("perplexity", "val_perplexity"):
        np.testing.assert_allclose(np.log(last[name]), np.log(expected[name]), rtol=16 * EPSILON[precision])
    model, _, config = tfrnn.load_run(half, checkpoint="last")
    assert config.training.mixed_precision == precision
    assert model.compute_dtype == "float32"
    _, out, _ = run(evaluate.main, f"--run_dir={half}", "--checkpoint=last")
    assert float(out.split()[1].strip(",")) == pytest.approx(last["val_perplexity"], rel=0.1)
    assert run(sample.main, f"--run_dir={half}")[0] == 0
    assert run(export.main, f"--run_dir={half}", "--format=page", f"--output_dir={tmp_path}/page")[0] == 0
    status, _, err = run(train.main, *SMALL, "--mixed_precision=float32", f"--run_dir={half}")
    assert status == 2
    assert f"begun with --mixed_precision={precision}, now it is float32" in err


@pytest.mark.slow
def test_a_run_of_a_version_without_the_setting_is_one_in_float32(half_runs):
    path = half_runs["float32"] / "config.json"
    data = json.loads(path.read_text())
    del data["training"]["mixed_precision"]
    path.write_text(json.dumps(data))
    assert tfrnn.load_run(path.parent)[2].training.mixed_precision == "float32"
    status, _, err = run(train.main, *SMALL, "--epochs=4", f"--run_dir={path.parent}")
    assert status == 0, err
    assert "resuming after 3 epochs" in err


@needs_16_bits
@HALVES
@pytest.mark.slow
def test_a_forecast_in_half_precision_is_near_one_in_float32(precision, tmp_path):
    np.savetxt(tmp_path / "x.csv", 10 + np.sin(np.arange(200) / 4), header="x", comments="")
    errors = []
    for p in ("float32", precision):
        flags = [f"--csv={tmp_path}/x.csv", "--cell=rnn", "--units=4", "--epochs=2", "--batch_size=4", "--num_steps=8"]
        flags += ["--horizon=4", "--season=1", "--chains=1", f"--run_dir={tmp_path}/{p}"]
        status, _, err = run(forecast.main, *flags, f"--mixed_precision={p}", f"--output={tmp_path}/{p}.csv")
        assert status == 0, err
        errors.append(np.genfromtxt(tmp_path / f"{p}.csv", delimiter=",", skip_header=1)[:, 1])
    np.testing.assert_allclose(errors[1], errors[0], rtol=16 * EPSILON[precision])
