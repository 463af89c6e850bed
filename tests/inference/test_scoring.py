"""Scoring a text, compared with a computation token by token."""

import functools
import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import VOCABULARY, cells_together_and_slowly_one_by_one, rounding, shared_model

import tfrnn
from tfrnn.errors import UserError
from tfrnn.inference import scoring

IDS = np.random.default_rng(0).integers(0, len(VOCABULARY), 12).astype(np.int32)
# A loss is a mean of surprisals, each the difference of a logit and a logarithm of a sum of V exponentials.
ROUNDING = rounding(len(IDS), terms=32 + len(VOCABULARY))


def score_token_by_token(model, ids):
    """The surprisals in nats: one call of the model for each token, and the softmax by numpy in float64."""
    state, nats = model.initial_state(1), []
    for token, target in itertools.pairwise(ids):
        logits, state = model(np.array([[token]], np.int32), state)
        logits = logits.numpy()[0, 0].astype("d")
        nats.append(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[target])
    return np.array(nats)


@functools.cache
def expected_nats(cells):
    return score_token_by_token(shared_model(cells, embedding_dim=5), IDS)


# The text has 11 tokens to predict: in one call, in three of which the last is shorter, and in one that ends with it.
@pytest.mark.parametrize("call_length", [4096, 4, 11])
@pytest.mark.parametrize("cells", cells_together_and_slowly_one_by_one())
def test_scores_equal_those_computed_token_by_token(cells, call_length):
    model = shared_model(cells, embedding_dim=5)
    scored = scoring.score_in_calls(model, IDS, call_length)
    expected = expected_nats(cells)
    np.testing.assert_allclose(scored.nats, expected, rtol=0, atol=ROUNDING)
    assert len(scored.nats) == len(IDS) - 1
    assert scored.loss == pytest.approx(expected.mean(), abs=ROUNDING)
    assert scored.perplexity == pytest.approx(np.exp(expected.mean()), rel=ROUNDING)
    assert scored.bits_per_char == pytest.approx(expected.mean() / math.log(2), abs=ROUNDING / math.log(2))


def test_the_likeliest_tokens_are_returned_with_their_probabilities():
    model = shared_model()
    scored = tfrnn.score(model, IDS)
    logits, _ = model(IDS[:-1, None])
    probabilities = tf.nn.softmax(logits[:, 0]).numpy()
    np.testing.assert_array_equal(scored.likeliest, np.argsort(-probabilities, 1)[:, :3])
    np.testing.assert_allclose(scored.probabilities, -np.sort(-probabilities, 1)[:, :3], rtol=0, atol=ROUNDING)


def test_the_score_of_the_first_tokens_has_their_predictions():
    scored = tfrnn.score(shared_model(), IDS)
    for whole, first in zip(scored, scored.first(9), strict=True):
        np.testing.assert_array_equal(first, whole[:8])


def test_a_trainer_evaluates_a_whole_text_token_by_token():
    model = shared_model()
    trainer = tfrnn.Trainer(model, keras.optimizers.SGD(1.0))
    ids = IDS[:8]
    measures, loss = trainer.evaluate(ids), score_token_by_token(model, ids).mean()
    assert measures["loss"] == pytest.approx(loss, abs=ROUNDING)
    assert measures["perplexity"] == pytest.approx(np.exp(loss), rel=ROUNDING)
    assert measures["bits_per_char"] == pytest.approx(loss / np.log(2), abs=ROUNDING / np.log(2))
    one_row = tfrnn.sequential_batches(ids, 1, len(ids) - 1, random_offset=False)
    assert trainer.evaluate(one_row) == pytest.approx(measures, rel=ROUNDING)


@pytest.mark.parametrize("ids", [[], [3], [[1, 2]]])
def test_a_text_must_have_at_least_two_tokens(ids):
    with pytest.raises(UserError, match="at least two tokens"):
        tfrnn.score(shared_model(), np.array(ids, np.int32))
