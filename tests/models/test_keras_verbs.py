"""compile, fit, evaluate, predict and save: two loops that compute the same, and what Keras's users expect of them."""

import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from replica_models import strategy_of
from rounding import EPS, assert_float32_sums_equal
from small_models import ALL_CELLS, ONE_RNN, VOCABULARY, cells_together_and_slowly_one_by_one, new_model

import tfrnn
from tfrnn.errors import UserError

T, B, V, EPOCHS = 3, 4, len(VOCABULARY), 2
IDS = np.random.default_rng(0).integers(1, V, 64).astype("int32")
RANDOM = tfrnn.random_batches(IDS, B, T, random_offset=False)  # in another order in each epoch
SEQUENTIAL = tfrnn.sequential_batches(IDS, B, T, random_offset=False)
N = RANDOM.num_batches(0)
CLIP_NORM = 0.1  # below the norm of every gradient here
# The bound on rounding: see rounding.assert_float32_sums_equal. An optimizer like Adam multiplies an error of a gradient
# by at most its rate / epsilon, 10 here.
TERMS = 10 * T * B * N * EPOCHS
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


def assert_same_training(data, reference, cells=ONE_RNN, batches=RANDOM, **kwargs):
    """Asserts that weights and measures are those of `reference`, a model and its history."""
    expected_model, expected = reference
    model = compiled(cells, **kwargs)
    history = fit(model, data, batches)
    assert_float32_sums_equal(model.get_weights(), expected_model.get_weights(), TERMS)
    assert set(history) <= set(expected)
    assert {"loss", "perplexity", "bits_per_char"} <= set(history)
    assert_float32_sums_equal(history, {name: expected[name] for name in history}, TERMS)


def reference(cells=ONE_RNN, batches=RANDOM, **kwargs):
    model = compiled(cells, **kwargs)
    return model, fit(model, "batches", batches)


# One law for both loops


@pytest.mark.parametrize("cells", cells_together_and_slowly_one_by_one())
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_same_batches_give_the_same_weights_and_measures_in_either_loop(cells, optimizer):
    options = {"cells": cells, "optimizer": optimizer, "metrics": ["accuracy"]}
    expected = reference(**options)
    for data in ("dataset", "arrays"):
        assert_same_training(data, expected, **options)


@pytest.mark.parametrize("data", ["dataset", "generator"])
def test_a_state_is_carried_in_either_loop(data):
    cells = (tfrnn.GRUCell, keras.layers.LSTMCell)
    assert_same_training(data, reference(cells, SEQUENTIAL), cells, SEQUENTIAL)
    carried, reset = (compiled(cells) for _ in range(2))
    fit(carried, data, SEQUENTIAL)
    fit(reset, "arrays", SEQUENTIAL)
    assert np.abs(carried.get_weights()[0] - reset.get_weights()[0]).max() > 1e-3


@pytest.mark.parametrize(
    "options",
    [{"steps_per_execution": 5}, {"run_eagerly": True}, pytest.param({"jit_compile": True}, marks=pytest.mark.slow)],
    ids=str,
)
@pytest.mark.parametrize("data", ["dataset", "arrays"])
def test_how_a_step_is_executed_changes_nothing_but_rounding(options, data):
    assert_same_training(data, reference(), **options)


def test_a_model_that_xla_compiles_carries_its_state():
    assert_same_training("dataset", reference(batches=SEQUENTIAL), batches=SEQUENTIAL, jit_compile=True)


def test_rows_are_trained_as_keras_trains_its_own_layers():
    """A model of Keras's layers with the same weights, whose optimizer clips as `clip_norm` does."""
    layer = keras.layers.GRU(5, return_sequences=True)
    keras_model = keras.Sequential([keras.Input([T, V]), layer, keras.layers.Dense(V)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    keras_model.compile(keras.optimizers.SGD(0.5, global_clipnorm=CLIP_NORM), loss, ["accuracy"], weighted_metrics=[loss])
    model = tfrnn.LanguageModel(tfrnn.RNN(keras.layers.GRUCell(5)), V)
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


@pytest.mark.parametrize("data", ["batches", "dataset"])
def test_two_replicas_train_as_one(data):
    expected = reference(batches=SEQUENTIAL, metrics=["accuracy"])
    with strategy_of(2).scope():
        assert_same_training(data, expected, batches=SEQUENTIAL, metrics=["accuracy"])


@pytest.mark.parametrize("optimizer_in_scope", [True, False])
def test_a_strategy_of_one_device_trains_as_none(optimizer_in_scope):
    expected = reference(optimizer="adam", batches=SEQUENTIAL)
    with strategy_of(1).scope():
        model = new_model()
        optimizer = OPTIMIZERS["adam"]()
    model.compile(optimizer if optimizer_in_scope else OPTIMIZERS["adam"](), clip_norm=CLIP_NORM)
    fit(model, "dataset", SEQUENTIAL)
    assert_float32_sums_equal(model.get_weights(), expected[0].get_weights(), TERMS)
