"""Losses: those of their formulas, and batches' objectives that are those of Keras's own fit and evaluate."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from rounding import assert_float32_sums_equal

from tfrnn.errors import UserError
from tfrnn.training import losses

T, B, V = 5, 4, 7
random = np.random.default_rng(0)
LOGITS = random.normal(size=[T, B, V]).astype("f")
TARGETS = random.integers(0, V, [T, B])
MASK = random.integers(0, 2, [T, B]).astype(bool)
WEIGHTS = random.uniform(0, 2, [T, B]).astype("f")


def test_cross_entropy_is_that_of_the_softmax_of_the_logits():
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    expected = -np.log(np.take_along_axis(probabilities, TARGETS[..., None], -1))[..., 0]
    for targets in (TARGETS, TARGETS.astype("f")):
        actual = losses.cross_entropy(tf.constant(targets), tf.constant(LOGITS))
        assert_float32_sums_equal(actual, expected, num_terms=V)


def test_squared_error_is_the_mean_of_the_squared_differences_of_a_step():
    predictions, targets = random.normal(size=[2, T, B, 2])
    actual = losses.squared_error(tf.constant(targets, tf.float32), tf.constant(predictions, tf.float32))
    assert_float32_sums_equal(actual, ((predictions - targets) ** 2).mean(-1), num_terms=2)


def keras_objective(loss, targets, outputs, sample_weight=None, mask=None):
    """What Keras's own evaluate reports."""
    masking = keras.layers.Lambda(lambda x: x, mask=lambda x, m: x[..., 0] != 99)
    outputs = outputs if mask is None else np.where(mask[..., None], outputs, 99).astype("f")
    identity = keras.layers.Activation("linear")
    model = keras.Sequential([keras.Input(outputs.shape[1:]), identity if mask is None else masking])
    model.compile(loss=loss, run_eagerly=True)
    return model.evaluate(outputs, targets, B * T, sample_weight=sample_weight, verbose=0)


def objective(loss, targets, outputs, weights=None):
    total, count = losses.mean_loss(loss)(
        tf.constant(targets), tf.constant(outputs), None if weights is None else tf.constant(weights)
    )
    return total / count


def in_logits(y_true, y_pred):
    return keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)


ID_LOSSES = {
    "own": losses.cross_entropy,
    "function": in_logits,
    "partial": functools.partial(keras.losses.sparse_categorical_crossentropy, from_logits=True),
    **{
        f"{reduction}, {name}": keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction=reduction, **kwargs
        )
        for reduction in ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum")
        for name, kwargs in {"plain": {}, "ignore_class": {"ignore_class": 3}}.items()
    },
    "ignore_class in a function": functools.partial(
        keras.losses.sparse_categorical_crossentropy, from_logits=True, ignore_class=3
    ),
    "one number": lambda y_true, y_pred: keras.ops.mean(in_logits(y_true, y_pred)) ** 2,
}


@pytest.mark.parametrize(
    "name",
    [
        name
        if name in ("sum_over_batch_size, plain", "mean_with_sample_weight, ignore_class", "function")
        else pytest.param(name, marks=pytest.mark.slow)
        for name in ID_LOSSES
    ],
)
def test_the_objective_is_that_of_keras_for_each_reduction_weight_and_mask(name):
    loss = ID_LOSSES[name]
    cases = [(None, None)] if name == "one number" else [(None, None), (WEIGHTS, None), (None, MASK)]
    for sample_weight, mask in cases:
        expected = keras_objective(loss, TARGETS, LOGITS, sample_weight, mask)
        actual = objective(loss, TARGETS, LOGITS, sample_weight if mask is None else mask)
        assert_float32_sums_equal(actual, expected, num_terms=T * B * V)


VALUE_LOSSES = [
    *["mse", "mae", "MeanSquaredError", "huber", "log_cosh", "cosine_similarity", "hinge", "poisson", "kl_divergence"],
    *[keras.losses.Huber, keras.losses.MeanAbsoluteError(reduction="sum"), keras.losses.mean_squared_error],
    lambda y_true, y_pred: keras.ops.square(y_true - y_pred),
]


@pytest.mark.parametrize("loss", VALUE_LOSSES)
@pytest.mark.parametrize("last_axis", [[1], [2], []], ids=str)
def test_a_loss_of_values_is_that_of_keras_by_name_class_instance_and_function(loss, last_axis):
    outputs, targets = LOGITS[..., : (last_axis or [1])[0]], random.uniform(size=[T, B, *last_axis]).astype("f")
    expected = keras_objective(loss, targets, outputs)
    assert_float32_sums_equal(objective(loss, targets, outputs), expected, num_terms=4 * T * B * V)


def test_totals_and_counts_of_parts_add_up_to_those_of_the_whole():
    for name, loss in ID_LOSSES.items():
        if "sum" in name.split(",") or name == "one number":
            continue
        compute = losses.mean_loss(loss)
        whole = compute(tf.constant(TARGETS), tf.constant(LOGITS), tf.constant(MASK))
        parts = [
            compute(*map(tf.constant, (TARGETS[:, i:j], LOGITS[:, i:j], MASK[:, i:j]))) for i, j in ((0, 1), (1, B))
        ]
        assert_float32_sums_equal([sum(pair) for pair in zip(*parts, strict=True)], list(whole), num_terms=T * B * V)


def test_half_precision_is_summed_in_float32():
    """The sum of these losses is beyond the largest float16; in bfloat16 it would have two digits, here it has four."""
    targets = np.zeros([200, 512], "i")
    for dtype in (tf.float16, tf.bfloat16):
        for loss in (losses.cross_entropy, ID_LOSSES["mean, plain"]):
            total, count = losses.mean_loss(loss)(tf.constant(targets), tf.zeros([200, 512, 2], dtype))
            assert float(total / count) == pytest.approx(np.log(2), rel=1e-4)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        *[(loss, True) for name, loss in ID_LOSSES.items() if name in ("own", "partial", "mean, plain")],
        ("sparse_categorical_crossentropy", True),
        ("CategoricalCrossentropy", True),
        (keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1), False),
        (ID_LOSSES["sum, plain"], False),
        ("mse", False),
        (in_logits, False),
    ],
)
def test_only_the_mean_of_a_cross_entropy_has_a_perplexity(loss, expected):
    assert losses.mean_loss(loss).is_cross_entropy == expected


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        "CategoricalCrossentropy",
        keras.losses.sparse_categorical_crossentropy,
        keras.losses.SparseCategoricalCrossentropy,
        keras.losses.BinaryCrossentropy(),
        functools.partial(keras.losses.sparse_categorical_crossentropy, axis=-1),
    ],
)
def test_a_loss_of_probabilities_is_refused_for_logits(loss):
    with pytest.raises(UserError, match="from_logits=True"):
        losses.mean_loss(loss, returns_logits=True)
    losses.mean_loss(loss)


def test_every_loss_of_logits_is_taken_for_logits():
    for loss in (*ID_LOSSES.values(), "mse"):
        losses.mean_loss(loss, returns_logits=True)


class OwnCall(keras.losses.Loss):
    def __call__(self, y_true, y_pred, sample_weight=None):
        return 0.0


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("msee", "expected as `loss` the name"),
        (3, "got 3"),
        (keras.losses.MeanSquaredError(reduction=None), "`reduction=None`"),
        (keras.losses.MeanSquaredError(reduction="none"), "`reduction=none`"),
        (OwnCall(), "`__call__` of its own"),
    ],
)
def test_what_is_no_loss_is_refused(loss, message):
    with pytest.raises(UserError, match=message):
        losses.mean_loss(loss)


def test_one_number_cannot_be_masked():
    with pytest.raises(UserError, match="returns the loss of each step"):
        objective(ID_LOSSES["one number"], TARGETS, LOGITS, MASK)
