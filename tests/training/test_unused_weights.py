"""A trainable weight on which the loss does not depend is left as it is by both loops, as by Keras's own fit."""

import contextlib
import functools
import re
import warnings

import keras
import numpy as np
import pytest
from beside_keras import eagerly_if
from replica_models import strategy_of
from rounding import assert_float32_sums_equal, assert_identical

import tfrnn

T, B, V, H, EPOCHS = 3, 4, 7, 5, 2
X, Y = np.random.default_rng(0).integers(0, V, [2, B, T]).astype("i")
NUM_TERMS = 10 * T * B * EPOCHS  # Adam multiplies an error of a gradient by at most its rate / epsilon
NO_GRADIENT = "Gradients do not exist for variables.*unused"

UNUSED = {"shape": (2,), "initializer": "ones", "constraint": "unit_norm", "name": "unused"}
CLIP_NORM = 0.1  # below the norm of every gradient here
QUICK = ("AdamW",)
OPTIMIZERS = {
    "Adam": lambda: keras.optimizers.Adam(0.01, epsilon=1e-3),
    "AdamW": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1, epsilon=1e-3),
    "Ftrl": lambda: keras.optimizers.Ftrl(0.1, l1_regularization_strength=0.1),
    "LossScaleOptimizer": lambda: keras.optimizers.LossScaleOptimizer(sgd(), 2.0**10, dynamic_growth_steps=2),
    "SGD": lambda: sgd(),
    "global_clipnorm": lambda: sgd(global_clipnorm=CLIP_NORM),
    "gradient_accumulation_steps": lambda: sgd(gradient_accumulation_steps=2),
    "use_ema": lambda: sgd(use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=2),
}


def sgd(**options):
    return keras.optimizers.SGD(0.5, weight_decay=0.1, **options)


class Head(keras.layers.Dense):
    """A dense layer with a weight that it does not use, and whose constraint does not hold."""

    def build(self, shape):
        super().build(shape)
        self.unused = self.add_weight(**UNUSED)


class Model(tfrnn.LanguageModel):
    """A model with such a weight, which is its first."""

    def build(self, *_):
        super().build()
        self.unused = self.add_weight(**UNUSED)


def keras_model():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input([T, V]), keras.layers.SimpleRNN(H, return_sequences=True), Head(V)])


@functools.cache
def trained_by_keras(name):
    model, loss = keras_model(), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(OPTIMIZERS[name](), loss, run_eagerly=True)
    with pytest.warns(UserWarning, match=NO_GRADIENT):
        model.fit(np.eye(V, dtype="f")[X], Y, epochs=EPOCHS, verbose=0)
    return model.get_weights()


def trained_by_us(optimizer, loop, clip_norm=0.0, replicas=1):
    """By `loop`: Keras's, or that on `Batches`. Without a strategy, which takes longer, functions are not traced."""
    eagerly = replicas == 1
    data = tfrnn.labelled_batches(X, Y, B)
    with contextlib.nullcontext() if eagerly else strategy_of(replicas).scope():
        model = Model(keras.layers.SimpleRNNCell(H), V)
        model.build()
        *used, unused = keras_model().get_weights()
        model.set_weights([unused, *used])
        model.compile(optimizer(), clip_norm=clip_norm)
    with warnings.catch_warnings(record=True) as caught, eagerly_if(eagerly):
        warnings.simplefilter("always")
        model.fit(data if loop == "batches" else data.epoch(0), epochs=EPOCHS, verbose=0)
    assert any(re.match(NO_GRADIENT, str(warning.message)) for warning in caught)
    unused, *used = model.get_weights()
    return [*used, unused]


@pytest.mark.parametrize("loop", ["keras", "batches"])
@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in OPTIMIZERS])
def test_an_unused_weight_is_left_as_keras_leaves_it(name, loop):
    weights = trained_by_us(OPTIMIZERS[name], loop)
    assert_float32_sums_equal(weights, trained_by_keras(name), NUM_TERMS)
    assert_identical(weights[-1], np.ones(2, "f"))


@pytest.mark.parametrize("loop", ["keras", "batches"])
def test_the_bound_on_the_norm_is_that_of_the_weights_that_are_used(loop):
    weights = trained_by_us(OPTIMIZERS["SGD"], loop, clip_norm=CLIP_NORM)
    assert_float32_sums_equal(weights, trained_by_keras("global_clipnorm"), NUM_TERMS)


@pytest.mark.slow
@pytest.mark.parametrize("clip_norm", [0.0, CLIP_NORM])
@pytest.mark.parametrize("loop", ["keras", "batches"])
def test_replicas_leave_it_too(loop, clip_norm):
    for name in ("SGD", "LossScaleOptimizer"):
        weights = trained_by_us(OPTIMIZERS[name], loop, clip_norm, replicas=2)
        expected = trained_by_us(OPTIMIZERS[name], loop, clip_norm)
        assert_float32_sums_equal(weights, expected, NUM_TERMS)
