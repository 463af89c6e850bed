"""Perplexity and BitsPerChar, as Keras's metrics."""

import keras
import numpy as np
import pytest
from rounding import EPS

import tfrnn

B, T, V = 2, 3, 5
RNG = np.random.default_rng(0)
TARGETS = RNG.integers(0, V, [B, T])
LOGITS = RNG.normal(size=[B, T, V]).astype("float32")
# The mean cross entropy, [B, T], computed in float64.
LOSSES = np.log(np.exp(LOGITS.astype("f8")).sum(-1)) - np.take_along_axis(LOGITS, TARGETS[..., None], -1)[..., 0]
FUNCTIONS = {tfrnn.Perplexity: np.exp, tfrnn.BitsPerChar: lambda nats: nats / np.log(2)}
TOLERANCE = B * T * V * 4 * EPS


@pytest.fixture(params=FUNCTIONS, ids=lambda metric: metric.__name__)
def metric(request):
    return request.param


@pytest.mark.parametrize("targets", [TARGETS, np.eye(V, dtype="float32")[TARGETS]], ids=["ids", "one_hot"])
@pytest.mark.parametrize("weights", [None, [1.0, 3.0], RNG.uniform(size=[B, T])], ids=["no", "of_rows", "of_steps"])
def test_it_is_a_function_of_the_weighted_mean_over_all_updates(metric, targets, weights):
    expected = FUNCTIONS[metric](
        np.average(LOSSES if np.ndim(weights) != 1 else LOSSES.mean(1), weights=None if weights is None else weights)
    )
    of_logits, of_probabilities = metric(), metric(from_logits=False)
    for row in range(B):
        row_weights = None if weights is None else np.asarray(weights)[row : row + 1]
        of_logits.update_state(targets[row : row + 1], LOGITS[row : row + 1], row_weights)
        probabilities = keras.ops.softmax(LOGITS[row : row + 1])
        of_probabilities.update_state(targets[row : row + 1], probabilities, row_weights)
    assert float(of_logits.result()) == pytest.approx(expected, rel=TOLERANCE)
    assert float(of_probabilities.result()) == pytest.approx(expected, rel=1e-6)  # Keras keeps logarithms off zero
    of_logits.reset_state()
    of_logits.update_state(TARGETS, LOGITS)
    assert float(of_logits.result()) == pytest.approx(FUNCTIONS[metric](LOSSES.mean()), rel=TOLERANCE)


def test_sums_are_in_float32_whatever_the_logits_are(metric):
    halves = LOGITS.astype("float16")
    wide = metric()
    wide.update_state(TARGETS, halves.astype("float32"))
    narrow = metric()
    narrow.update_state(TARGETS, keras.ops.convert_to_tensor(halves))
    assert float(narrow.result()) == float(wide.result())


def test_it_can_be_serialized(metric):
    given = metric(from_logits=False, name="other")
    config = keras.saving.serialize_keras_object(given)
    loaded = keras.saving.deserialize_keras_object(config)
    assert type(loaded) is metric
    assert loaded.get_config() == given.get_config() == {"from_logits": False, "name": "other", "dtype": "float32"}


def test_it_leaves_out_what_a_mask_leaves_out_in_any_model_of_kerass(metric):
    """A functional model that pads with 0: Keras hands the mask to losses and metrics by its outputs."""
    inputs = keras.Input([T])
    outputs = keras.layers.GRU(4, return_sequences=True)(keras.layers.Embedding(V, 3, mask_zero=True)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(V)(outputs))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=[metric(name="measured")])
    padded = np.array([[1, 2, 3], [4, 0, 0]])
    of_padded = model.evaluate(padded, TARGETS, verbose=0, return_dict=True)
    assert of_padded["measured"] == pytest.approx(FUNCTIONS[metric](of_padded["loss"]), rel=TOLERANCE)
