"""Text out of a model."""

from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfrnn
from tfrnn import generation, runtime
from tfrnn.errors import UserError
from tfrnn.generation import Sampler, generate_many

VOCABULARY = tfrnn.Vocabulary.from_text("abcde ")


def model_of(cell=tfrnn.RNNCell):
    keras.utils.set_random_seed(1)
    cell = cell(16, kernel_initializer="orthogonal", recurrent_initializer="orthogonal")
    model = tfrnn.LanguageModel(tfrnn.RNN(cell), len(VOCABULARY))
    model.build()
    return model


class GenerationTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(1, 2, 70)
    def test_greedy_takes_the_likeliest_token_after_all_that_was_read(self, prefix_length):
        model = model_of()
        text = ("abcde " * 20)[:prefix_length]
        for _ in range(20):
            logits, _ = model(VOCABULARY.encode(text)[:, None])
            text += VOCABULARY.id_to_token[1 + int(np.argmax(logits[-1, 0, 1:]))]
        self.assertEqual(tfrnn.generate(model, VOCABULARY, text[:prefix_length], 20), text)

    @parameterized.parameters((Sampler(),), (Sampler(1.0),), (Sampler(0.7, 3, 0.9),))
    def test_streaming_equals_generating(self, sampler):
        model = model_of()
        for seed in range(3):
            pieces = list(tfrnn.stream(model, VOCABULARY, "ab", 30, sampler, seed))
            self.assertLen(pieces, 30)
            self.assertEqual("ab" + "".join(pieces), tfrnn.generate(model, VOCABULARY, "ab", 30, sampler, seed))

    def test_a_seed_fixes_a_sample_and_samples_differ(self):
        samples = generate_many(model_of(), VOCABULARY, "ab", 30, 5, Sampler(1.0), seed=3)
        self.assertLen(set(samples), 5)
        self.assertEqual(samples, generate_many(model_of(), VOCABULARY, "ab", 30, 5, Sampler(1.0), seed=3))
        self.assertNotEqual(samples, generate_many(model_of(), VOCABULARY, "ab", 30, 5, Sampler(1.0), seed=4))

    @parameterized.parameters(
        (Sampler(1e-4),), (Sampler(1e-300),), (Sampler(1.0, top_k=1),), (Sampler(1.0, top_p=1e-40),)
    )
    def test_the_bounds_of_every_setting_are_greedy(self, sampler):
        model = model_of()
        self.assertEqual(
            tfrnn.generate(model, VOCABULARY, "ab", 30, sampler), tfrnn.generate(model, VOCABULARY, "ab", 30)
        )

    def test_what_is_chosen_follows_the_softmax(self):
        logits = np.log([[0.3, 0.4, 0.15, 0.1, 0.05]]).astype("f")
        many = tf.repeat(logits, 20_000, 0)
        for sampler, expected in (
            (Sampler(1.0), [0, 4 / 7, 1.5 / 7, 1 / 7, 0.5 / 7]),
            (Sampler(1.0, top_k=2), [0, 4 / 5.5, 1.5 / 5.5, 0, 0]),
            (Sampler(1.0, top_p=0.6), [0, 4 / 5.5, 1.5 / 5.5, 0, 0]),
            (Sampler(0.5), list(np.array([0, 16, 2.25, 1, 0.25]) / 19.5)),
        ):
            chosen = sampler.choose(many, tf.constant(np.random.default_rng(0).random(20_000, "f"))).numpy()
            self.assertAllClose(np.bincount(chosen, minlength=5) / 20_000, expected, 0, 0.015)

    @parameterized.parameters("float16", "float64")
    def test_logits_may_be_of_any_precision(self, dtype):
        logits = tf.constant([[0.0, 1.0, 2.0]], dtype)
        for sampler in (Sampler(), Sampler(1.0), Sampler(0.5, 2, 0.9)):
            self.assertIn(int(sampler.choose(logits, tf.constant([0.5]))[0]), (1, 2))

    def test_at_the_ends_of_the_draw_too(self):
        logits = tf.math.log([[0.5, 0.25, 0.25, 0.0]])
        for uniform, expected in ((0.0, 1), (np.nextafter(np.float32(1), np.float32(0)), 2)):
            self.assertAllEqual(Sampler(1.0).choose(logits, tf.constant([uniform])), [expected])

    @parameterized.product(
        cell=[tfrnn.RNNCell, tfrnn.GRUCell, keras.layers.GRUCell, keras.layers.LSTMCell],
        sampler=[Sampler(), Sampler(1.0), Sampler(0.7, 3, 0.9)],
    )
    def test_xla_makes_no_difference(self, cell, sampler):
        expected = generate_many(model_of(cell), VOCABULARY, "ab", 30, 2, sampler)
        with (
            mock.patch.object(generation, "BY_XLA_FROM", 30),
            mock.patch.object(
                generation, "_choose_and_read_by_xla", wraps=generation._choose_and_read_by_xla
            ) as by_xla,
        ):
            self.assertEqual(generate_many(model_of(cell), VOCABULARY, "ab", 30, 2, sampler), expected)
        by_xla.assert_called_once()

    def test_what_xla_cannot_compile_is_generated_without(self):
        class Mine(tfrnn.RNNCell):
            def call(self, inputs, states):
                same = tf.numpy_function(lambda x: x, [inputs], tf.float32)
                return super().call(tf.ensure_shape(same, inputs.shape), states)

        with mock.patch.object(generation, "BY_XLA_FROM", 30):
            text = tfrnn.generate(model_of(Mine), VOCABULARY, "ab", 30)
        self.assertEqual(text, tfrnn.generate(model_of(), VOCABULARY, "ab", 30))

    @parameterized.parameters((Sampler(),), (Sampler(1.0),))
    def test_nor_do_chains(self, sampler):
        expected = generate_many(model_of(), VOCABULARY, "ab", 30, 16, sampler)
        with mock.patch.object(runtime, "num_chains", return_value=4):
            self.assertEqual(generate_many(model_of(), VOCABULARY, "ab", 30, 16, sampler), expected)

    def test_nor_do_sections(self):
        expected = tfrnn.generate(model_of(), VOCABULARY, "ab", 30)
        with mock.patch.object(generation, "SECTION", 7):
            self.assertEqual(tfrnn.generate(model_of(), VOCABULARY, "ab", 30), expected)
            sampler = Sampler(1.0)  # a seed's draws are a section's
            model = model_of()
            text = tfrnn.generate(model, VOCABULARY, "ab", 30, sampler)
            self.assertEqual("ab" + "".join(tfrnn.stream(model, VOCABULARY, "ab", 30, sampler)), text)
            self.assertNotEqual(text[2:9], text[9:16])

    def test_unk_is_never_chosen(self):
        model = model_of()
        model.dense.bias.assign([1e3] + [0.0] * (len(VOCABULARY) - 1))
        for sampler in (Sampler(), Sampler(1.0), Sampler(1e38)):
            self.assertNotIn("<unk>", tfrnn.generate(model, VOCABULARY, "a", 50, sampler))

    def test_unknown_characters_are_an_error_or_as_asked(self):
        model = model_of()
        with self.assertRaisesRegex(UserError, "'!'"):
            tfrnn.generate(model, VOCABULARY, "a!b")
        self.assertStartsWith(tfrnn.generate(model, VOCABULARY, "a!b", unknown="skip"), "a!b")
        for prefix, unknown in (("", "error"), ("!!", "skip")):
            with self.assertRaisesRegex(UserError, "a known character at least"):
                tfrnn.generate(model, VOCABULARY, prefix, unknown=unknown)

    def test_words(self):
        vocabulary = tfrnn.Vocabulary.from_text("to be or not to be", "word")
        model = tfrnn.LanguageModel(tfrnn.RNN(tfrnn.RNNCell(8)), len(vocabulary))
        text = tfrnn.generate(model, vocabulary, "to be", 6)
        self.assertLen(text.split(" "), 8)
        self.assertStartsWith(text, "to be ")
        for prefix in ("to be", "to be "):
            self.assertEqual(prefix + "".join(tfrnn.stream(model, vocabulary, prefix, 6)), text)

    @parameterized.parameters((keras.layers.GRUCell,), (keras.layers.LSTMCell,))
    def test_kerass_other_cells(self, cell):
        self.assertLen(tfrnn.generate(model_of(cell), VOCABULARY, "abc", 10), 13)
