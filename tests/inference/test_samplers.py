"""Samplers: which tokens are chosen from logits, compared with numpy."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from small_models import VOCABULARY, shared_model

import tfrnn
from tfrnn.errors import UserError
from tfrnn.inference import samplers
from tfrnn.inference.samplers import GREEDY, Sampler

LOGITS = np.log(np.array([[1e-9, 0.4, 0.25, 0.15, 0.1, 0.06, 0.04]], "f"))
NUM_DRAWN = 50_000
NO_RECENT = tf.zeros([1, 0], tf.int32)
# With probability 0.999 the statistic of 6 degrees of freedom is below this.
CHI_SQUARE_BOUND = 22.5


def softmax(logits):
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def expected_probabilities(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0):
    """The probabilities after temperature and filters, filtered one token at a time."""
    p = softmax(LOGITS[0].astype("d") / temperature)
    order = sorted(range(len(p)), key=lambda i: (-p[i], i))
    kept = order[: top_k or None]
    p = np.where(np.isin(range(len(p)), kept), p, 0)
    p /= p.sum()
    fewest, reached = [], 0.0
    for i in kept:
        if reached < top_p:
            fewest.append(i)
            reached += p[i]
    p = np.where(np.isin(range(len(p)), fewest), p, 0)
    p /= p.sum()
    p = np.where(p >= min_p * p.max(), p, 0)
    return p / p.sum()


def choose(sampler, logits, uniform=0.5, recent=NO_RECENT):
    logits = np.atleast_2d(logits).astype("f")
    uniform = tf.fill([len(logits)], tf.constant(uniform, tf.float32))
    return sampler.choose(tf.constant(logits), uniform, recent).numpy().tolist()


def count_drawn(sampler):
    """How often each token is drawn from LOGITS."""
    uniform = tf.random.stateless_uniform([NUM_DRAWN], [1, 2])
    chosen = sampler.choose(tf.repeat(LOGITS, NUM_DRAWN, 0), uniform, tf.repeat(NO_RECENT, NUM_DRAWN, 0))
    return np.bincount(chosen, minlength=LOGITS.shape[1])


def chi_square(counts, probabilities):
    """Pearson's statistic, over the tokens that are expected to be drawn."""
    drawable = probabilities > 1e-6
    expected = NUM_DRAWN * probabilities[drawable]
    return ((counts[drawable] - expected) ** 2 / expected).sum()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 3.0},
        {"top_k": 3},
        {"top_p": 0.6},
        {"min_p": 0.3},
        {"temperature": 1.7, "top_k": 5, "top_p": 0.85, "min_p": 0.2},
    ],
    ids=str,
)
def test_tokens_are_drawn_with_the_probabilities_of_the_softmax(settings):
    probabilities = expected_probabilities(**settings)
    counts = count_drawn(Sampler(**settings))
    assert not counts[probabilities == 0].any()
    assert chi_square(counts, probabilities) < CHI_SQUARE_BOUND


def test_the_chi_square_test_notices_another_temperature():
    assert chi_square(count_drawn(Sampler(1.05)), expected_probabilities()) > CHI_SQUARE_BOUND


LOGITS_WITH_EQUALS = np.random.default_rng(0).normal(size=(200, 9)).round(1)
DISTINCT_LOGITS = LOGITS_WITH_EQUALS + np.random.default_rng(1).normal(size=(200, 9)) / 100


@pytest.mark.parametrize("uniform", [0.0, 0.7, 0.99999])
@pytest.mark.parametrize(
    "sampler",
    [GREEDY, Sampler(1e-300), Sampler(1e-7), Sampler(top_k=1), Sampler(top_p=1e-40), Sampler(3.0, top_k=1, min_p=1.0)],
)
def test_extreme_settings_take_the_first_of_the_likeliest_tokens(sampler, uniform):
    chosen = choose(sampler, LOGITS_WITH_EQUALS, uniform, tf.zeros([200, 0], tf.int32))
    assert chosen == LOGITS_WITH_EQUALS.argmax(1).tolist()


@pytest.mark.parametrize("sampler", [Sampler(1e-5), Sampler(min_p=1.0)])
def test_extreme_settings_that_keep_equals_take_the_likeliest_token(sampler):
    chosen = choose(sampler, DISTINCT_LOGITS, 0.7, tf.zeros([200, 0], tf.int32))
    assert chosen == DISTINCT_LOGITS.argmax(1).tolist()


@pytest.mark.parametrize(("uniform", "expected"), [(0.0, 1), (np.nextafter(np.float32(1), np.float32(0)), 2)])
def test_the_smallest_and_the_largest_random_number_draw_possible_tokens(uniform, expected):
    with np.errstate(divide="ignore"):
        logits = np.log([0.0, 0.5, 0.5, 0.0])
    assert choose(Sampler(), logits, uniform) == [expected]


@pytest.mark.parametrize("sampler", [GREEDY, Sampler(), Sampler(0.5, 2, 0.9, 0.1, 1.2)])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_logits_may_be_of_any_precision(dtype, sampler):
    logits = samplers.without_unknown(tf.constant([[9.0, 1.0, 2.0]], dtype))
    assert choose(sampler, logits, recent=tf.ones([1, sampler.window], tf.int32))[0] in (1, 2)


def test_a_penalty_makes_only_recent_tokens_less_likely():
    logits = np.array([[2.0, -1.0, 0.5, 3.0]], "f")
    penalized = samplers.penalize(tf.constant(logits), tf.constant([[3, 1, 3]]), 2.0)
    assert penalized.numpy().tolist() == [[2.0, -2.0, 0.5, 1.5]]
    sampler = Sampler(0.0, repetition_penalty=2.0, repetition_window=3)
    assert choose(sampler, logits, recent=tf.constant([[3, 1, 3]])) == [0]
    assert Sampler().window == 0


@given(
    st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=12),
    st.floats(0.01, 0.999),
    st.integers(1, 12),
)
def test_filters_keep_the_smallest_sets_of_the_likeliest_tokens(logits, p, k):
    logits = np.array([logits], "f")
    probabilities = softmax(logits[0].astype("d"))
    largest_first = np.sort(probabilities)[::-1]

    kept = np.isfinite(samplers.keep_top_p(tf.constant(logits), p).numpy())[0]
    count = int(kept.sum())
    assert np.sort(probabilities[kept])[::-1].tolist() == largest_first[:count].tolist()
    # Sums of at most 12 float32 probabilities, each rounded by eps in the softmax and in the sum.
    rounding = 2 * 12 * float(np.finfo("f").eps)
    if count < logits.size:
        assert probabilities[kept].sum() >= p - rounding  # together they reach p
    assert largest_first[: count - 1].sum() < p + rounding  # and not without the last

    kept = np.isfinite(samplers.keep_top_k(tf.constant(logits), k).numpy())[0]
    assert kept.sum() == min(k, logits.size)
    assert np.sort(probabilities[kept])[::-1].tolist() == largest_first[: min(k, logits.size)].tolist()


class DrawsFromTheTwoLikeliest:
    def choose(self, logits, uniform, recent):
        return samplers.draw(samplers.keep_top_k(logits, 2), uniform)


class NeverRepeatsTheLastThree:
    window = 3

    def choose(self, logits, uniform, recent):
        return samplers.greedy(samplers.penalize(logits - 100.0, recent, 100.0))


def test_a_users_sampler_can_be_made_of_these_functions():
    counts = count_drawn(DrawsFromTheTwoLikeliest())
    assert counts.tolist() == count_drawn(Sampler(top_k=2)).tolist()
    assert np.count_nonzero(counts) == 2


def test_a_users_sampler_receives_the_recent_tokens_that_it_asks_for():
    text = tfrnn.generate(shared_model(), VOCABULARY, "ab", 20, NeverRepeatsTheLastThree())
    assert [i for i in range(2, len(text)) if text[i] in text[max(0, i - 3) : i]] == []


def test_a_users_sampler_cannot_ask_for_more_tokens_than_are_kept():
    class AsksForTooMany(NeverRepeatsTheLastThree):
        window = 257

    with pytest.raises(UserError, match="at most 256 tokens; got 257"):
        tfrnn.generate(shared_model(), VOCABULARY, "ab", 3, AsksForTooMany())
