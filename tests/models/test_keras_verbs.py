"""compile, fit, evaluate, predict and save: two loops that compute the same, and what Keras's users expect of them."""

import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from half_precision import needs_16_bits
from replica_models import strategy_of
from rounding import EPS, assert_float32_sums_equal, assert_identical
from small_models import ONE_RNN, VOCABULARY, cells_together_and_slowly_one_by_one, new_model

import tfrnn
from tfrnn.data.batches import MaskedBatch
from tfrnn.errors import UserError
from tfrnn.training import loops

T, B, V, EPOCHS = 3, 4, len(VOCABULARY), 2
IDS = np.random.default_rng(0).integers(1, V, 52).astype("int32")
RANDOM = tfrnn.random_batches(IDS, B, T, random_offset=False)  # in another order in each epoch
SEQUENTIAL = tfrnn.sequential_batches(IDS, B, T, random_offset=False)
N = RANDOM.num_batches(0)
CLIP_NORM = 0.1  # below the norm of every gradient here
# The bound on rounding: see rounding.assert_float32_sums_equal. Adam multiplies an error of a gradient by at most its
# rate / epsilon, 10 here.
TERMS = 10 * T * B * N * EPOCHS
TIMES = "seconds", "tokens_per_sec"
# Where what a step computes is the law and not how it is traced: that takes most of the time of a training this small.
EAGERLY = {"run_eagerly": True}
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.5),
    "adam": lambda: keras.optimizers.Adam(0.01, epsilon=1e-3),
}


def dataset(batches, epochs=range(EPOCHS)):
    """The batches of these epochs, one after the other."""
    return functools.reduce(lambda first, second: first.concatenate(second), map(batches.epoch, epochs))


def arrays(batches, epoch=0):
    """The rows of the batches of an epoch: inputs and targets, [N, T]."""
    parts = [(batch.inputs.numpy().T, batch.targets.numpy().T) for batch in batches.epoch(epoch)]
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def compiled(cells=ONE_RNN, optimizer="sgd", clip_norm=CLIP_NORM, **kwargs):
    model = new_model(cells)
    model.compile(OPTIMIZERS[optimizer](), clip_norm=clip_norm, **kwargs)
    return model


def fit(model, data, batches=RANDOM, **kwargs):
    """Fits for EPOCHS epochs on the same rows in another form; returns the values of the history by name."""
    kwargs = {"verbose": 0, **kwargs}
    if data == "batches":
        return model.fit(batches, epochs=EPOCHS, **kwargs).history
    if data == "dataset":
        return model.fit(dataset(batches), epochs=EPOCHS, steps_per_epoch=N, **kwargs).history
    if data == "generator":
        generator = (batch for batch in dataset(batches))
        return model.fit(generator, epochs=EPOCHS, steps_per_epoch=N, **kwargs).history
    joined = {}
    for epoch in range(EPOCHS):
        history = model.fit(
            *arrays(batches, epoch),
            batch_size=B,
            shuffle=False,
            initial_epoch=epoch,
            epochs=epoch + 1,
            **kwargs,
        ).history
        for name, values in history.items():
            joined.setdefault(name, []).extend(values)
    return joined


def assert_same_training(data, cells=ONE_RNN, optimizer="sgd", batches=RANDOM, **kwargs):
    """Asserts that weights and measures are those of the loop on `Batches`; returns the weights."""
    expected_weights, expected = reference(cells, optimizer, batches)
    model = compiled(cells, optimizer, **kwargs)
    history = fit(model, data, batches)
    assert_float32_sums_equal(model.get_weights(), expected_weights, TERMS)
    history = {name: values for name, values in history.items() if name not in TIMES}
    assert {"loss", "perplexity", "bits_per_char"} <= set(history) <= set(expected)
    assert_float32_sums_equal(history, {name: expected[name] for name in history}, TERMS)
    return model.get_weights()


@functools.cache
def traced(cells, optimizer):
    """A model whose loop on `Batches` is traced once for all tests, and its first weights."""
    model = compiled(cells, optimizer, metrics=["accuracy"])
    return model, model.get_weights()


def rewind(model, weights):
    """Gives a model the weights and the optimizer of before its first step."""
    model.set_weights(weights)
    for variable in model.optimizer.variables:
        if variable is not model.optimizer.learning_rate:
            variable.assign(keras.ops.zeros_like(variable))


def reference(cells=ONE_RNN, optimizer="sgd", batches=RANDOM):
    """The weights and the history of the loop on `Batches`, which is run once for all tests."""
    return run_on_batches(cells, optimizer, batches)


@functools.cache
def run_on_batches(cells, optimizer, batches):
    model, weights = traced(cells, optimizer)
    rewind(model, weights)
    history = fit(model, "batches", batches)
    return model.get_weights(), history


@pytest.fixture
def policy_is():
    """A function that sets the global dtype policy for the rest of the test."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


# One law for both loops


@pytest.mark.parametrize("cells", cells_together_and_slowly_one_by_one())
@pytest.mark.parametrize("optimizer", ["sgd", pytest.param("adam", marks=pytest.mark.slow)])
def test_the_same_batches_give_the_same_weights_and_measures_in_either_loop(cells, optimizer):
    of = {"cells": cells, "optimizer": optimizer, "metrics": ["accuracy"]}
    assert_same_training("dataset", **of, batches=SEQUENTIAL)
    assert_same_training("arrays", **of, **EAGERLY)


@pytest.mark.slow
@pytest.mark.parametrize("cells", cells_together_and_slowly_one_by_one())
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_same_batches_in_another_order_in_each_epoch_give_the_same(cells, optimizer):
    for data in ("dataset", "arrays"):
        assert_same_training(data, cells, optimizer, metrics=["accuracy"])


@pytest.mark.parametrize(
    ("data", "cells", "options"),
    [
        pytest.param("generator", ONE_RNN, EAGERLY, id="generator"),
        *(
            pytest.param(data, (tfrnn.GRUCell, keras.layers.LSTMCell), {}, id=f"{data} traced", marks=pytest.mark.slow)
            for data in ("generator", "dataset")
        ),
    ],
)
def test_a_state_is_carried_in_either_loop(data, cells, options):
    carried = assert_same_training(data, cells, batches=SEQUENTIAL, **options)
    reset = compiled(cells, **options)
    fit(reset, "arrays", SEQUENTIAL)  # rows that follow on none
    assert np.abs(carried[1] - reset.get_weights()[1]).max() > TERMS * EPS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "options"),
    [
        ("dataset", {"steps_per_execution": N}),
        ("arrays", {"run_eagerly": True}),
        ("arrays", {"steps_per_execution": N}),
        ("dataset", {"run_eagerly": True}),
        ("arrays", {"jit_compile": True}),
    ],
    ids=str,
)
def test_how_a_step_is_executed_changes_nothing_but_rounding(data, options):
    assert_same_training(data, **options)


@pytest.mark.slow
def test_a_model_that_xla_compiles_carries_its_state_in_calls_of_several_steps():
    assert_same_training("dataset", batches=SEQUENTIAL, jit_compile=True, steps_per_execution=N)


@pytest.mark.slow
def test_rows_are_trained_as_keras_trains_its_own_layers():
    """A model of Keras's layers with the same weights, whose optimizer clips as `clip_norm` does."""
    layer = keras.layers.GRU(5, return_sequences=True)
    keras_model = keras.Sequential([keras.Input([T, V]), layer, keras.layers.Dense(V)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    keras_model.compile(keras.optimizers.SGD(0.5, global_clipnorm=CLIP_NORM), loss, metrics=["accuracy"], **EAGERLY)
    model = tfrnn.LanguageModel(keras.layers.GRUCell(5), V)
    model.build()
    model.set_weights(keras_model.get_weights())
    model.compile(keras.optimizers.SGD(0.5), metrics=["accuracy"], clip_norm=CLIP_NORM)
    x, y = arrays(RANDOM)
    weights = np.random.default_rng(1).uniform(0, 2, y.shape).astype("float32")
    options = {"batch_size": B, "epochs": EPOCHS, "shuffle": False, "verbose": 0, "validation_split": 0.25}
    expected = keras_model.fit(np.eye(V, dtype="float32")[x], y, sample_weight=weights, **options).history
    history = model.fit(x, y, sample_weight=weights, **options).history
    assert_float32_sums_equal(model.get_weights(), keras_model.get_weights(), TERMS)
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(history[name], expected[name], rtol=TERMS * EPS, err_msg=name)


@pytest.mark.slow
def test_the_gradient_of_an_embedding_is_summed_over_the_places_of_a_token():
    """As of a matrix that one-hot vectors are multiplied by. Keras hands each place to its optimizers alone."""
    rows = np.array([[1, 1, 2, 1, 2, 1]])
    ours = tfrnn.LanguageModel(keras.layers.SimpleRNNCell(4), V, embedding_dim=3)
    ours.build()
    inputs = keras.Input([None, V])
    layers = [keras.layers.Dense(3, use_bias=False), keras.layers.SimpleRNN(4, return_sequences=True)]
    theirs = keras.Sequential([inputs, *layers, keras.layers.Dense(V)])
    weights = dict(ours.named_weights)
    embedding = weights.pop("embedding.embeddings")
    theirs.set_weights([embedding.numpy(), *(weight.numpy() for weight in weights.values())])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    ours.compile(OPTIMIZERS["adam"](), clip_norm=0.0)
    theirs.compile(OPTIMIZERS["adam"](), loss)
    ours.fit(rows[:, :-1], rows[:, 1:], epochs=2, verbose=0)
    theirs.fit(keras.ops.one_hot(rows[:, :-1], V), rows[:, 1:], epochs=2, verbose=0)
    assert_float32_sums_equal(embedding.numpy(), theirs.get_weights()[0], TERMS)


@pytest.mark.slow
@pytest.mark.parametrize("data", [pytest.param("batches", marks=pytest.mark.slow), "dataset"])
def test_two_replicas_train_as_one(data):
    reference(batches=SEQUENTIAL)  # without a strategy
    with strategy_of(2).scope():
        assert_same_training(data, batches=SEQUENTIAL, metrics=["accuracy"])


@pytest.mark.slow
@pytest.mark.parametrize("optimizer_in_scope", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_strategy_of_one_device_trains_as_none(optimizer_in_scope):
    expected, _ = reference(optimizer="adam", batches=SEQUENTIAL)
    with strategy_of(1).scope():
        model = new_model()
        optimizer = OPTIMIZERS["adam"]()
    model.compile(optimizer if optimizer_in_scope else OPTIMIZERS["adam"](), clip_norm=CLIP_NORM)
    fit(model, "dataset", SEQUENTIAL)
    assert_float32_sums_equal(model.get_weights(), expected, TERMS)


# Losses, weights and metrics


@pytest.mark.parametrize("data", ["batches", pytest.param("arrays", marks=pytest.mark.slow)])
def test_the_loss_has_the_penalties_and_the_perplexity_has_not(data):
    def model_of(penalty, **kwargs):
        keras.utils.set_random_seed(1)
        cell = keras.layers.SimpleRNNCell(5, kernel_regularizer=keras.regularizers.L2(penalty))
        model = tfrnn.LanguageModel(cell, V)
        model.compile(keras.optimizers.SGD(0.0), **kwargs)
        return model

    model = model_of(0.5, run_eagerly=data == "arrays")
    measures = {name: values[-1] for name, values in fit(model, data).items()}
    (penalty,) = model.losses
    assert penalty > 0.1
    bound = TERMS * EPS
    assert measures["loss"] == pytest.approx(math.log(measures["perplexity"]) + float(penalty), rel=bound)
    assert measures["bits_per_char"] == pytest.approx(math.log2(measures["perplexity"]), rel=bound)
    rows = arrays(RANDOM, EPOCHS - 1)
    without = model_of(0.0, **EAGERLY).evaluate(*rows, batch_size=B, verbose=0, return_dict=True)
    assert without["loss"] == pytest.approx(math.log(measures["perplexity"]), rel=bound)


@pytest.mark.slow
@pytest.mark.parametrize("of_steps", [False, True])
def test_a_row_without_weight_counts_as_keras_counts_it(of_steps):
    """Its loss is not added, but it is one of the rows by whose number Keras divides; measures are weighted means."""
    x, y = (rows[:B] for rows in arrays(RANDOM))
    weights = np.array([1, 1, 0, 1], "float32")
    kept = weights > 0
    with_weights, without = (compiled(clip_norm=0.0, **EAGERLY) for _ in range(2))
    without.optimizer.learning_rate = 0.5 * kept.mean()
    given = np.repeat(weights[:, None], T, 1) if of_steps else weights
    measured = with_weights.evaluate(x, y, sample_weight=given, return_dict=True, verbose=0)
    expected = without.evaluate(x[kept], y[kept], return_dict=True, verbose=0)
    assert measured["perplexity"] == pytest.approx(expected["perplexity"], rel=T * B * EPS)
    assert measured["loss"] == pytest.approx(expected["loss"] * kept.mean(), rel=T * B * EPS)
    with_weights.fit(x, y, sample_weight=given, verbose=0)
    without.fit(x[kept], y[kept], verbose=0)
    assert_float32_sums_equal(with_weights.get_weights(), without.get_weights(), TERMS)


@pytest.mark.slow
def test_losses_of_kerass_are_taken_by_both_loops():
    x, y = arrays(RANDOM)
    one_hot = np.eye(V, dtype="float32")[y]
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    model = compiled(loss=loss, **EAGERLY)
    measured = model.evaluate(x, one_hot, verbose=0, return_dict=True)
    assert measured == {"loss": pytest.approx(float(loss(one_hot, model.predict(x, verbose=0))), rel=T * B * N * EPS)}
    model = compiled(loss=keras.losses.CategoricalCrossentropy(from_logits=True), **EAGERLY)
    expected = compiled(**EAGERLY).evaluate(x, y, verbose=0, return_dict=True)
    assert model.evaluate(x, one_hot, verbose=0, return_dict=True) == pytest.approx(expected, rel=T * B * N * EPS)


@pytest.mark.slow
def test_whole_numbers_are_ids_in_any_dtype():
    x, y = arrays(RANDOM)
    models = [compiled(**EAGERLY) for _ in range(2)]
    for model, targets in zip(models, (y, y.astype("float64")), strict=True):
        model.fit(x, targets, batch_size=B, shuffle=False, verbose=0)
    assert_identical(*(model.get_weights() for model in models))


@pytest.mark.slow
def test_metrics_in_lists_are_those_of_the_one_output():
    """As in Keras, which takes a list for each output, and None for none."""
    expected = {"loss", "accuracy", "perplexity", "bits_per_char"}
    for metrics in ([["accuracy"]], [None, "accuracy"]):
        model = compiled(metrics=metrics, **EAGERLY)
        assert set(model.evaluate(*arrays(RANDOM), verbose=0, return_dict=True)) == expected
    assert set(tfrnn.Trainer(model, "sgd", metrics=metrics).evaluate(RANDOM)) == expected


@pytest.mark.slow
def test_a_scaled_loss_trains_as_one_that_is_not():
    scaled = new_model()
    scaled.compile(keras.optimizers.SGD(0.5, loss_scale_factor=1024.0), clip_norm=CLIP_NORM, **EAGERLY)
    fit(scaled, "arrays")
    assert_float32_sums_equal(scaled.get_weights(), reference()[0], TERMS)


@pytest.mark.slow
@pytest.mark.parametrize("data", [pytest.param("batches", marks=pytest.mark.slow), "arrays"])
@pytest.mark.parametrize(("policy", "eps"), [("mixed_float16", 2**-10), ("mixed_bfloat16", 2**-7)])
def test_half_precision_trains_as_float32(policy, eps, data):
    """Rounded to 11 bits, the values of 11 sums in a row; bfloat16 has 8."""
    _, history = reference()
    keras.config.set_dtype_policy(policy)
    try:
        model = compiled(run_eagerly=data == "arrays")
    finally:
        keras.config.set_dtype_policy("float32")
    wrapped = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert wrapped == (policy == "mixed_float16")
    np.testing.assert_allclose(fit(model, data)["loss"][0], history["loss"][0], rtol=16 * eps)


HALVES = [
    pytest.param(policy, eps, marks=needs_16_bits)
    for policy, eps in (("mixed_float16", 2**-10), ("mixed_bfloat16", 2**-7))
]


@pytest.mark.slow
@pytest.mark.parametrize("data", [pytest.param("batches", marks=pytest.mark.slow), "arrays"])
@pytest.mark.parametrize(("policy", "eps"), [("float64", 2**-52), *HALVES])
def test_the_default_bound_holds_under_each_policy(policy, eps, data, policy_is):
    """The first step of SGD that a LossScaleOptimizer makes changes the weights by the rate times the bound."""
    policy_is(policy)

    def tenfold(y_true, y_pred):
        return 10 * tfrnn.cross_entropy(y_true, y_pred)

    def change(clip_norm):
        keras.utils.set_random_seed(0)
        model = tfrnn.LanguageModel(keras.layers.SimpleRNNCell(5), V)
        model.build()
        before = model.get_weights()
        model.compile(keras.optimizers.SGD(0.5), tenfold, **clip_norm, run_eagerly=data == "arrays")
        x, y = arrays(RANDOM)
        given = (x, y) if data == "arrays" else (tfrnn.labelled_batches(x, y, len(x)),)
        while not model.optimizer.iterations.numpy():
            model.fit(*given, verbose=0, **({"batch_size": len(x)} if data == "arrays" else {}))
        return np.concatenate([np.ravel(a - b) for a, b in zip(model.get_weights(), before, strict=True)])

    clipped, whole = change({}), change({"clip_norm": 0})
    assert np.linalg.norm(whole) > 0.6
    # The norm is that of rounded numbers.
    np.testing.assert_allclose(np.linalg.norm(clipped), 0.5, rtol=16 * max(eps, EPS / 16))
    np.testing.assert_allclose(clipped, whole * 0.5 / np.linalg.norm(whole), rtol=0, atol=16 * max(eps, EPS / 16))


@pytest.mark.slow
@needs_16_bits
@pytest.mark.parametrize("data", [pytest.param("batches", marks=pytest.mark.slow), "arrays"])
def test_auto_scale_loss_decides_whether_losses_are_scaled_in_half_precision(data, policy_is):
    policy_is("mixed_float16")
    losses = []
    for scaled in (True, False):
        model = compiled(auto_scale_loss=scaled, run_eagerly=data == "arrays")
        given = (RANDOM,) if data == "batches" else [rows[:B] for rows in arrays(RANDOM)]
        losses.append(model.fit(*given, epochs=2, verbose=0).history["loss"])
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == scaled
    np.testing.assert_allclose(losses[1], losses[0], rtol=16 * 2**-10)
    assert losses[1][1] < losses[1][0]


def test_padding_counts_in_neither_loop():
    rng = np.random.default_rng(0)
    inputs, targets = ([rng.integers(1, V, length) for length in (3, 1, 2, 2, 3, 3, 2, 1)] for _ in range(2))
    batches = tfrnn.labelled_batches(inputs, targets, B)
    models = []
    for options in ({}, EAGERLY):
        keras.utils.set_random_seed(0)
        models.append(tfrnn.LanguageModel([tfrnn.RNNCell(5), keras.layers.LSTMCell(4)], V))
        models[-1].compile(OPTIMIZERS["sgd"](), metrics=["accuracy"], clip_norm=CLIP_NORM, **options)
    histories = [models[0].fit(batches, verbose=0).history, models[1].fit(batches.epoch(0), verbose=0).history]
    assert_float32_sums_equal(models[1].get_weights(), models[0].get_weights(), TERMS)
    for name in histories[1]:
        assert histories[1][name] == pytest.approx(histories[0][name], rel=TERMS * EPS), name
    measured = models[1].evaluate(batches.epoch(0), return_dict=True, verbose=0)
    losses = [loss for row in zip(inputs, targets, strict=True) for loss in losses_of(models[1], *row)]
    assert math.log(measured["perplexity"]) == pytest.approx(np.mean(losses), rel=TERMS * EPS)


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["keras", pytest.param("trainer", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["series", "tokens"])
def test_padding_may_be_anything(kind, loop):
    """NaN, or what is no id, changes no measure and no weight."""
    rng, mask = np.random.default_rng(0), np.arange(T)[:, None] < np.array([3, 1, 2, 2])
    of_series = kind == "series"
    parts = rng.uniform(size=[2, T, B, 2]).astype("f") if of_series else rng.integers(1, V, [2, T, B], "i")
    results = []
    for padding in (0, np.nan if of_series else -1):
        keras.utils.set_random_seed(0)
        model = tfrnn.Forecaster(tfrnn.GRUCell(3), 2) if of_series else tfrnn.LanguageModel(tfrnn.GRUCell(3), V, 2)
        model.compile(OPTIMIZERS["sgd"](), metrics=["mse"] if of_series else ["accuracy"], run_eagerly=loop == "keras")
        padded = np.where(mask[..., None] if of_series else mask, parts, np.array(padding, parts.dtype))
        data = tf.data.Dataset.from_tensors(MaskedBatch(*padded, np.ones(B, bool), mask))
        if loop == "keras":
            history = model.fit(data, validation_data=data, verbose=0).history
        else:
            history = tfrnn.Trainer(model, model.optimizer).fit(data, 1, data).history
        results.append((model.get_weights(), [history[name] for name in ("loss", "val_loss")]))
    assert_identical(*results)
    assert np.isfinite(results[0][1]).all()


def losses_of(model, inputs, targets):
    return tfrnn.cross_entropy(targets[:, None], model(inputs[:, None])[0])[:, 0].numpy()


# What goes in and what comes out


def test_outputs_are_batch_major_and_those_of_the_model():
    model = compiled((tfrnn.GRUCell,), **EAGERLY)
    x, _ = arrays(SEQUENTIAL)
    expected = tf.transpose(model(x.T)[0], [1, 0, 2])
    np.testing.assert_allclose(model.predict(x, batch_size=7, verbose=0), expected, rtol=0, atol=T * EPS * 10)
    np.testing.assert_allclose(model.predict(x.tolist(), verbose=0), expected, rtol=0, atol=T * EPS * 10)
    # The rows of a text, whose state is carried, are one long row each.
    carried = model.predict(SEQUENTIAL, verbose=0)
    assert carried.shape == (N * B, T, V)
    long = model(np.concatenate([batch.inputs for batch in SEQUENTIAL.epoch(0)]))[0]
    long = np.transpose(np.reshape(long, [N, T, B, V]), [0, 2, 1, 3])
    np.testing.assert_allclose(carried, np.reshape(long, [N * B, T, V]), rtol=0, atol=N * T * EPS * 10)


def test_evaluation_lists_its_measures_in_one_order():
    metrics = {"metrics": ["accuracy"], "weighted_metrics": ["sparse_top_k_categorical_accuracy"]}
    model, on_batches = compiled(**metrics, **EAGERLY), compiled(**metrics)  # with the same weights
    expected = model.evaluate(*arrays(RANDOM), verbose=0)
    assert_float32_sums_equal(on_batches.evaluate(RANDOM, verbose=0), expected, TERMS)
    assert len(set(expected)) == 5


@pytest.mark.slow
def test_evaluation_measures_the_same_of_every_kind_of_data():
    class Rows(keras.utils.PyDataset):
        def __len__(self):
            return N

        def __getitem__(self, index):
            return tuple(rows[index * B : (index + 1) * B] for rows in (x, y))

    model, (x, y) = compiled(metrics=["accuracy"], **EAGERLY), arrays(RANDOM)
    pairs = tf.data.Dataset.from_tensor_slices((x, y)).batch(B)
    expected = model.evaluate(RANDOM, return_dict=True, verbose=0)
    assert list(expected) == ["loss", "accuracy", "perplexity", "bits_per_char"]
    assert model.evaluate(RANDOM, verbose=0) == list(expected.values())
    for data in ((x, y), (pairs,), (Rows(),), (RANDOM.epoch(0),)):
        got = model.evaluate(*data, batch_size=B if len(data) == 2 else None, return_dict=True, verbose=0)
        assert got == pytest.approx(expected, rel=TERMS * EPS)
    model.compile("sgd", metrics=[tfrnn.Perplexity(), "accuracy"], **EAGERLY)  # the same measure as without it
    assert model.evaluate(x, y, return_dict=True, verbose=0) == pytest.approx(expected, rel=TERMS * EPS)
    history = model.fit(Rows(), verbose=0, validation_data=pairs).history
    after = model.evaluate(x, y, batch_size=B, return_dict=True, verbose=0)
    assert {name: history[f"val_{name}"][0] for name in after} == pytest.approx(after, rel=TERMS * EPS)


@pytest.mark.slow
def test_validation_is_of_any_kind_of_data_and_disturbs_no_state():
    expected, _ = reference(batches=SEQUENTIAL)
    model, weights = traced(ONE_RNN, "sgd")
    rewind(model, weights)
    history = fit(model, "batches", SEQUENTIAL, validation_data=SEQUENTIAL)
    assert_float32_sums_equal(model.get_weights(), expected, TERMS)
    got = model.evaluate(SEQUENTIAL, return_dict=True, verbose=0)
    assert history["val_loss"][-1] == pytest.approx(got["loss"], rel=TERMS * EPS)
    for validation in (SEQUENTIAL, SEQUENTIAL.epoch(0)):
        model = compiled(**EAGERLY)
        history = fit(model, "dataset", SEQUENTIAL, validation_data=validation)
        assert_float32_sums_equal(model.get_weights(), expected, TERMS)
        assert history["val_loss"][-1] == pytest.approx(got["loss"], rel=TERMS * EPS)


@pytest.mark.slow
def test_a_forecaster_fits_evaluates_and_predicts():
    series = np.sin(np.arange(64, dtype="float32"))
    batches = tfrnn.random_batches(series, B, T, random_offset=False)

    def model_of(loss=None, **kwargs):
        keras.utils.set_random_seed(0)
        model = tfrnn.Forecaster(tfrnn.GRUCell(5))
        model.compile(keras.optimizers.SGD(0.1), loss=loss, metrics=["mae"], **kwargs)
        return model

    parts = [(np.swapaxes(batch.inputs, 0, 1), np.swapaxes(batch.targets, 0, 1)) for batch in batches.epoch(0)]
    x, y = (np.concatenate(part) for part in zip(*parts, strict=True))
    expected = model_of()
    history = expected.fit(batches, verbose=0).history
    assert "perplexity" not in history
    for data in ({"x": batches.epoch(0)}, {"x": x, "y": y, "batch_size": B, "shuffle": False}):
        model = model_of("mse", **EAGERLY)
        got = model.fit(**data, verbose=0).history
        assert_float32_sums_equal(model.get_weights(), expected.get_weights(), TERMS)
        assert got["loss"] == pytest.approx(history["loss"], rel=TERMS * EPS)
        assert got["mae"] == pytest.approx(history["mae"], rel=TERMS * EPS)
    assert model.predict(x, verbose=0).shape == y.shape


# Saving, and going on


@pytest.mark.parametrize(
    ("data", "options"),
    [("batches", {}), pytest.param("arrays", {"steps_per_execution": 2}, marks=pytest.mark.slow)],
    ids=str,
)
def test_a_saved_and_loaded_model_goes_on_as_the_uninterrupted_one(data, options, tmp_path):
    """Saving leaves the model as it is, and so it is itself the uninterrupted one."""
    model = compiled((tfrnn.GRUCell,), "adam", metrics=["accuracy"], **options)
    fit(model, data)
    weights, optimizer = ([np.array(v) for v in of.variables] for of in (model, model.optimizer))
    model.save(tmp_path / "model.keras")
    np.testing.assert_equal([np.array(v) for v in model.variables], weights)
    np.testing.assert_equal([np.array(v) for v in model.optimizer.variables], optimizer)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    histories = [fit(each, data) for each in (loaded, model)]
    np.testing.assert_equal(loaded.get_weights(), model.get_weights())
    assert {name: values for name, values in histories[0].items() if name not in TIMES} == {
        name: values for name, values in histories[1].items() if name not in TIMES
    }
    assert loaded.get_compile_config()["clip_norm"] == CLIP_NORM
    lines = []
    loaded.summary(print_fn=lines.append)
    assert "Trainable params: 1,271" in "".join(lines)


@pytest.mark.slow
def test_a_fit_goes_on_from_the_epoch_and_the_weights_that_there_are():
    model, weights = traced(ONE_RNN, "adam")
    rewind(model, weights)
    expected = model.fit(RANDOM, epochs=3, verbose=0)
    whole = model.get_weights()
    rewind(model, weights)
    first = model.fit(RANDOM, epochs=1, verbose=0)
    second = model.fit(RANDOM, epochs=3, initial_epoch=1, verbose=0)
    np.testing.assert_equal(model.get_weights(), whole)
    assert first.epoch + second.epoch == expected.epoch == [0, 1, 2]
    assert first.history["loss"] + second.history["loss"] == expected.history["loss"]
    assert model.fit(RANDOM, verbose=0).history["loss"][0] < first.history["loss"][0]  # epoch 0 with other weights


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras's, of any dataset of unknown length
@pytest.mark.parametrize(
    "shape", [[B, T, 2], *(pytest.param(shape, marks=pytest.mark.slow) for shape in ([None] * 3, None))], ids=str
)
def test_a_dataset_of_unknown_length_and_shapes_is_measured_as_its_arrays(shape):
    x = np.random.default_rng(1).normal(size=[B, T, 2]).astype("float32")
    data = tf.data.Dataset.from_generator(lambda: iter([(x, x)]), output_signature=(tf.TensorSpec(shape),) * 2)
    model = tfrnn.Forecaster(keras.layers.GRUCell(3), 2)
    model.compile("sgd", run_eagerly=shape is None)  # Keras's compiled loop cannot read such a one
    expected = model.evaluate(x, x, verbose=0)
    assert_float32_sums_equal(model.evaluate(data, verbose=0), expected, TERMS)
    assert_float32_sums_equal(model.fit(data, verbose=0).history["loss"], [expected], TERMS)


def test_double_precision_is_clipped():
    model = tfrnn.LanguageModel(keras.layers.GRUCell(3, dtype="float64"), V, dtype="float64")
    model.compile(keras.optimizers.SGD(0.5), clip_norm=CLIP_NORM, **EAGERLY)
    x, y = arrays(RANDOM)
    model.build()
    before = model.get_weights()
    model.fit(x, y, batch_size=len(x), verbose=0)
    change = np.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(before, model.get_weights(), strict=True)))
    np.testing.assert_allclose(change, 0.5 * CLIP_NORM, rtol=1e-5)


# One step, and a Trainer on a compiled model


def test_a_step_on_a_batch_is_that_of_fit():
    x, y = (part[:B] for part in arrays(RANDOM))
    model, fitted = compiled(**EAGERLY), compiled(**EAGERLY)
    measures = model.train_on_batch(x, y, return_dict=True)  # of a model that is not built yet
    history = fitted.fit(x, y, batch_size=B, verbose=0).history
    np.testing.assert_equal(model.get_weights(), fitted.get_weights())
    assert measures == {name: values[0] for name, values in history.items()}
    model.reset_metrics()  # older versions of Keras do not
    np.testing.assert_equal(np.array(model.test_on_batch(x, y)), np.array(fitted.evaluate(x, y, verbose=0)))
    model.train_on_batch(x, y[..., None], np.ones([B, 1]))
    fitted.train_on_batch(x, y, np.ones([B, T]))
    np.testing.assert_equal(model.get_weights(), fitted.get_weights())


def test_a_trainer_leaves_what_its_model_was_compiled_with():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1)
    model = compiled(loss=loss, metrics=["accuracy"], **EAGERLY)
    x, y = arrays(RANDOM)
    expected = model.evaluate(x, y, verbose=0, return_dict=True)
    trainer = tfrnn.Trainer(model, "adam", clip_norm=2.0)
    assert model.optimizer is trainer.optimizer
    assert model.evaluate(x, y, verbose=0, return_dict=True) == expected
    assert model.get_compile_config()["clip_norm"] == CLIP_NORM


def test_a_trainer_of_batches_in_which_nothing_counts_measures_zeros():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1)
    x = np.ones([B, T], "int32")
    batches = tf.data.Dataset.from_tensors((x, x)).concatenate(tf.data.Dataset.from_tensors((x, x + 1)))
    trainer = tfrnn.Trainer(new_model(ONE_RNN), "sgd", loss=loss)
    one = trainer.evaluate(tf.data.Dataset.from_tensors((x, x + 1)))
    assert_float32_sums_equal(trainer.evaluate(batches)["loss"], one["loss"], TERMS)
    assert trainer.evaluate(tf.data.Dataset.from_tensors((x, x)))["loss"] == 0.0


# Callbacks


@pytest.mark.slow
def test_callbacks_hear_of_validation_and_evaluation_in_either_loop():
    class Heard(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.calls, self.names = [], set()

        def hear(self, call, logs):
            self.calls += [call] if call not in self.calls else []
            self.names |= set(logs or {})

        on_test_begin = lambda self, logs=None: self.hear("begin", logs)  # noqa: E731
        on_test_batch_begin = lambda self, batch, logs=None: self.hear("batch begins", logs)  # noqa: E731
        on_test_batch_end = lambda self, batch, logs=None: self.hear("batch ends", logs)  # noqa: E731
        on_test_end = lambda self, logs=None: self.hear("end", logs)  # noqa: E731

    in_keras = compiled(metrics=["accuracy"], **EAGERLY)
    for model, data in (traced(ONE_RNN, "sgd")[0], RANDOM), (in_keras, dataset(RANDOM)):
        fitting, evaluating = Heard(), Heard()
        model.fit(data, validation_data=data, verbose=0, callbacks=[fitting])
        model.evaluate(data, verbose=0, callbacks=[evaluating])
        for heard in (fitting, evaluating):
            assert heard.calls == ["begin", "batch begins", "batch ends", "end"]
            assert heard.names == {"loss", "accuracy", "perplexity", "bits_per_char"}
    of_text = Heard()
    tfrnn.Trainer(new_model(ONE_RNN), "sgd").evaluate(IDS, callbacks=[of_text])
    assert of_text.calls == ["begin", "batch begins", "batch ends", "end"]
    assert of_text.names == {"loss", "perplexity", "bits_per_char"}


@pytest.mark.parametrize("data", ["batches", pytest.param("dataset", marks=pytest.mark.slow)])
def test_kerass_callbacks_work(data, tmp_path, capsys):
    seen = []
    callbacks = [
        keras.callbacks.TensorBoard(tmp_path / "log", write_graph=False, update_freq="batch"),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras", monitor="val_loss"),
        keras.callbacks.ReduceLROnPlateau("val_perplexity", factor=0.5, patience=1, min_delta=100.0),
        keras.callbacks.EarlyStopping("val_perplexity", patience=1, min_delta=100.0, restore_best_weights=True),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append((epoch, dict(logs)))),
    ]
    model = compiled(run_eagerly=data == "dataset")
    history = fit(model, data, validation_data=RANDOM, callbacks=callbacks, verbose=2)
    assert [epoch for epoch, _ in seen] == [0, 1]
    assert [logs["loss"] for _, logs in seen] == history["loss"]
    best = keras.models.load_model(tmp_path / "1.keras")
    np.testing.assert_equal(best.get_weights(), model.get_weights())  # the second epoch was no better by 100
    assert float(model.optimizer.learning_rate) == 0.25
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3
    assert "val_perplexity" in capsys.readouterr().out


# Refusals


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["keras", "batches"])
def test_a_backup_within_an_epoch_goes_on_in_either_loop_as_in_keras(loop, tmp_path, monkeypatch):
    """It has the weights of the last batch saved; the epoch begins anew, as Keras's `fit` begins it."""
    monkeypatch.setattr(loops, "CALL_SECONDS", 0.0)  # else a call has many steps
    interrupted = keras.callbacks.Callback()

    def stop(batch, logs=None):
        stop.batches += 1
        if stop.batches == N + 4:
            raise KeyboardInterrupt

    stop.batches = 0
    interrupted.on_train_batch_begin = stop

    def run(epochs, *callbacks, weights=None, **options):
        model = compiled(run_eagerly=loop == "keras")
        model.build()
        if weights:
            model.set_weights(weights)
        data = SEQUENTIAL if loop == "batches" else SEQUENTIAL.epoch(0)
        model.fit(data, epochs=epochs, callbacks=[*callbacks], verbose=0, **options)
        return model.get_weights()

    first = keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=2)
    with pytest.raises(KeyboardInterrupt):
        run(EPOCHS, first, interrupted)
    saved = []
    seen = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: saved.append(seen.model.get_weights()))
    resumed = run(EPOCHS, keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=2), seen)
    assert len(saved) == 1  # the second epoch only
    assert_identical(resumed, run(EPOCHS, weights=saved[0], initial_epoch=EPOCHS - 1))


def in_a_line(call, match):
    with pytest.raises(UserError, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_what_fit_cannot_do_is_said_in_one_line():
    x, y = arrays(RANDOM)
    model = compiled()
    uncompiled = new_model()
    in_a_line(lambda: uncompiled.fit(x, y), r"`model.compile\(...\)` before `fit`")
    in_a_line(lambda: uncompiled.evaluate(x, y), "before `evaluate`")
    for name, value in {
        "y": y,
        "batch_size": 2,
        "validation_split": 0.5,
        "shuffle": True,
        "sample_weight": np.ones(B),
        "steps_per_epoch": 3,
        "validation_freq": 2,
    }.items():
        in_a_line(lambda name=name, value=value: model.fit(RANDOM, **{name: value}), f"no `{name}` with `Batches`")
    in_a_line(lambda: model.evaluate(RANDOM, steps=2), "no `steps` with `Batches`")
    in_a_line(lambda: model.fit(x, y, class_weight={0: 2.0}), "`class_weight=None`; give `sample_weight`")
    in_a_line(lambda: model.fit(x), r"targets `y`; got None; for a language model they are `x\[:, 1:\]`")
    in_a_line(lambda: model.fit(x, y[:, 1:]), r"target for each step .* 3\) has; got `y` of shape .* 2\)")
    in_a_line(lambda: model.fit(x.astype("float32"), y), "token ids as `x`, whole numbers .*; got float32")
    in_a_line(lambda: model.fit(x[0], y[0]), r"got int32 of shape .*; for one row use `x\[None\]`")
    in_a_line(lambda: model.fit(x, y, sample_weight=np.ones([len(x), 2])), "`sample_weight` of a row or of a step")
    in_a_line(lambda: model.fit([[1, 2], [1]], [[2, 3], [2]]), "rows of one length, .* `tfrnn.labelled_batches` takes")
    in_a_line(lambda: model.fit(tf.ragged.constant([[1, 2], [1]]), y), "rows of one length")
    in_a_line(lambda: model.fit({"x": x}, y), "got a dict of several")
    in_a_line(lambda: model.fit(list(RANDOM.epoch(0))), "a generator of batches; got a list of several")
    in_a_line(lambda: model.compile("sgd", clip_norm=-1.0), "`clip_norm` of at least 0")
    in_a_line(lambda: model.compile("sgd", "sparse_categorical_crossentropy"), "takes probabilities")
    unbatched = tf.data.Dataset.from_generator(
        lambda: iter(RANDOM.epoch(0)), output_signature=tfrnn.Batch(*(tf.TensorSpec(s, d) for s, d in SPECS))
    )
    in_a_line(lambda: model.fit(unbatched), "fixed number of rows")
    with strategy_of(1).scope():
        in_strategy = compiled()
    in_a_line(lambda: in_strategy.fit(batch for batch in RANDOM.epoch(0)), "distribution strategy; got a generator")
    in_a_line(lambda: model.fit(x + V, y), f"ids from 0 to {V - 1} in `x`, as `vocab_size={V}`")
    in_a_line(lambda: model.evaluate(x, -y), "ids from 0 to .* in `y`, as `num_labels=.*; got -")
    in_a_line(lambda: model.compile("sgd", metrics="accuracy"), "`metrics` as a list, .*; got 'accuracy'")
    in_a_line(lambda: compiled(loss_weights=[2.0]).fit(RANDOM), "no `loss_weights` with `Batches`")
    in_a_line(lambda: compiled(run_eagerly=True).fit(RANDOM), "no `run_eagerly` with `Batches`")


def test_a_models_own_compute_loss_is_called_or_refused():
    class Doubled(tfrnn.LanguageModel):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return 2 * super().compute_loss(x, y, y_pred, sample_weight, training)

    model = Doubled(tfrnn.RNN(tfrnn.RNNCell(5)), V)
    model.compile("sgd")
    measured = model.evaluate(RANDOM.epoch(0), return_dict=True, verbose=0)
    assert measured["loss"] == pytest.approx(2 * math.log(measured["perplexity"]), rel=TERMS * EPS)
    in_a_line(lambda: model.fit(RANDOM), "a model with a `compute_loss` of its own")


def test_a_model_that_is_not_compiled_predicts():
    model = new_model()
    assert model.predict(SEQUENTIAL, verbose=0).shape == (N * B, T, V)


def test_frozen_weights_stay_and_a_model_of_nothing_else_is_warned_of():
    x, y = arrays(RANDOM)
    model = compiled(**EAGERLY)
    model.rnn.trainable = False
    model.compile("sgd", **EAGERLY)
    before = model.rnn.get_weights()
    head = model.dense.get_weights()
    model.fit(x, y, verbose=0)
    np.testing.assert_equal(model.rnn.get_weights(), before)
    assert np.abs(model.dense.get_weights()[0] - head[0]).max() > 0
    model.trainable = False
    model.compile("sgd", **EAGERLY)
    with pytest.warns(UserWarning, match="no weight of the model is trainable"):
        model.fit(x, y, verbose=0)


SPECS = [([None, None], tf.int32), ([None, None], tf.int32), ([None], tf.bool)]
