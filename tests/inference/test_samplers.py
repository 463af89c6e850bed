"""Samplers: what is chosen from logits."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from hypothesis import given
from hypothesis import strategies as st

import tfrnn
from tfrnn.inference import samplers
from tfrnn.inference.samplers import GREEDY, Sampler

LOGITS = np.log(np.array([[1e-9, 0.4, 0.25, 0.15, 0.1, 0.06, 0.04]], "f"))
NONE = tf.zeros([1, 0], tf.int32)
# Below 22.5 with probability 0.999 at 6 degrees of freedom.
CHI_SQUARE_BOUND = 22.5


def softmax(logits):
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def of_numpy(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0):
    """The probabilities after each way of choosing, one token at a time."""
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


def choose(sampler, logits, uniform=0.5, recent=NONE):
    logits = np.atleast_2d(logits).astype("f")
    uniform = tf.fill([len(logits)], tf.constant(uniform, tf.float32))
    return sampler.choose(tf.constant(logits), uniform, recent).numpy().tolist()


class SamplersTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        {},
        {"temperature": 0.5},
        {"temperature": 3.0},
        {"top_k": 3},
        {"top_p": 0.6},
        {"min_p": 0.3},
        {"temperature": 1.7, "top_k": 5, "top_p": 0.85, "min_p": 0.2},
    )
    def test_what_is_drawn_follows_the_softmax(self, **settings):
        number, p = 50_000, of_numpy(**settings)
        uniform = tf.random.stateless_uniform([number], [1, 2])
        chosen = Sampler(**settings).choose(tf.repeat(LOGITS, number, 0), uniform, tf.repeat(NONE, number, 0))
        found = np.bincount(chosen, minlength=len(p))
        self.assertAllEqual(found[p == 0], 0 * found[p == 0])
        expected = number * p[p > 1e-6]
        self.assertLess(((found[p > 1e-6] - expected) ** 2 / expected).sum(), CHI_SQUARE_BOUND)

    def test_the_chi_square_test_notices_another_distribution(self):
        uniform = tf.random.stateless_uniform([50_000], [1, 2])
        chosen = Sampler(1.05).choose(tf.repeat(LOGITS, 50_000, 0), uniform, tf.repeat(NONE, 50_000, 0))
        expected = 50_000 * of_numpy()[1:]
        statistic = ((np.bincount(chosen, minlength=7)[1:] - expected) ** 2 / expected).sum()
        self.assertGreater(statistic, CHI_SQUARE_BOUND)

    def test_a_temperature_towards_zero_and_the_likeliest_alone_are_greedy(self):
        logits = np.random.default_rng(0).normal(size=(200, 9)).round(1)  # with many equals
        expected = choose(GREEDY, logits)
        self.assertAllEqual(expected, logits.argmax(1))
        recent = tf.zeros([200, 0], tf.int32)
        for sampler in (Sampler(1e-7), Sampler(top_k=1), Sampler(top_p=1e-40), Sampler(3.0, top_k=1, min_p=1.0)):
            for uniform in (0.0, 0.7, 0.99999):
                self.assertEqual(choose(sampler, logits, uniform, recent), expected, sampler)
        distinct = logits + np.random.default_rng(1).normal(size=logits.shape) / 100
        for sampler in (Sampler(1e-5), Sampler(min_p=1.0)):
            self.assertEqual(choose(sampler, distinct, 0.7, recent), choose(GREEDY, distinct), sampler)

    def test_at_the_ends_of_the_draw_too(self):
        with np.errstate(divide="ignore"):
            logits = np.log([0.0, 0.5, 0.5, 0.0])
        for uniform, expected in ((0.0, 1), (np.nextafter(np.float32(1), np.float32(0)), 2)):
            self.assertEqual(choose(Sampler(), logits, uniform), [expected])

    @parameterized.parameters("float16", "bfloat16", "float64")
    def test_logits_may_be_of_any_precision(self, dtype):
        logits = samplers.without_unknown(tf.constant([[9.0, 1.0, 2.0]], dtype))
        for sampler in (GREEDY, Sampler(), Sampler(0.5, 2, 0.9, 0.1, 1.2)):
            self.assertIn(choose(sampler, logits, recent=tf.ones([1, sampler.window], tf.int32))[0], (1, 2))

    def test_a_penalty_makes_recent_tokens_rarer_and_no_others(self):
        logits = np.array([[2.0, -1.0, 0.5, 3.0]], "f")
        penalized = samplers.penalize(tf.constant(logits), tf.constant([[3, 1, 3]]), 2.0)
        self.assertAllEqual(penalized, [[2.0, -2.0, 0.5, 1.5]])
        sampler = Sampler(0.0, repetition_penalty=2.0, repetition_window=3)
        self.assertEqual(choose(sampler, logits, recent=tf.constant([[3, 1, 3]])), [0])
        self.assertEqual(Sampler().window, 0)

    @given(
        st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=12),
        st.floats(0.01, 0.999),
        st.integers(1, 12),
    )
    def test_the_smallest_sets_are_kept(self, logits, p, k):
        logits = np.array([logits], "f")
        largest_first = np.sort(softmax(logits[0].astype("d")))[::-1]
        kept = samplers.keep_top_p(tf.constant(logits), p).numpy() > -1e30
        number = int(kept.sum())
        probabilities = softmax(logits[0].astype("d"))[kept[0]]
        self.assertAllClose(np.sort(probabilities)[::-1], largest_first[:number])  # the likeliest
        if number < logits.size:  # that together reach p, which is up to rounding
            self.assertGreaterEqual(probabilities.sum(), p - 1e-5)
        self.assertLess(largest_first[: number - 1].sum(), p + 1e-5)  # none too many
        of_k = samplers.keep_top_k(tf.constant(logits), k).numpy() > -1e30
        self.assertEqual(of_k.sum(), min(k, logits.size))
        self.assertAllClose(
            np.sort(softmax(logits[0].astype("d"))[of_k[0]])[::-1], largest_first[: min(k, logits.size)]
        )

    def test_another_sampler_takes_five_lines(self):
        class TwoLikeliest:
            def choose(self, logits, uniform, recent):
                return samplers.draw(samplers.keep_top_k(logits, 2), uniform)

        vocabulary = tfrnn.Vocabulary.from_text("abcde ")
        model = tfrnn.LanguageModel(tfrnn.RNN(tfrnn.GRUCell(8)), len(vocabulary))
        expected = tfrnn.generate(model, vocabulary, "ab", 40, Sampler(top_k=2), seed=5)
        self.assertEqual(tfrnn.generate(model, vocabulary, "ab", 40, TwoLikeliest(), seed=5), expected)

    def test_another_sampler_may_ask_for_recent_tokens(self):
        class NeverTwice:
            window = 3

            def choose(self, logits, uniform, recent):
                return samplers.greedy(samplers.penalize(logits - 100.0, recent, 100.0))

        vocabulary = tfrnn.Vocabulary.from_text("abcde ")
        model = tfrnn.LanguageModel(tfrnn.RNN(tfrnn.GRUCell(8)), len(vocabulary))
        text = tfrnn.generate(model, vocabulary, "ab", 40, NeverTwice())
        for i in range(2, len(text)):
            self.assertNotIn(text[i], text[max(0, i - 3) : i])
