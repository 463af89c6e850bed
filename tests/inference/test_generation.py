"""Text out of a model."""

import dataclasses
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfrnn
from tfrnn.errors import UserError
from tfrnn.inference import generation
from tfrnn.inference.generation import generate_many
from tfrnn.inference.samplers import GREEDY, Sampler
from tfrnn.runtime import threads

pass

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

    @parameterized.parameters((GREEDY,), (Sampler(1.0),), (Sampler(0.7, 3, 0.9),))
    def test_streaming_equals_generating(self, sampler):
        model = model_of()
        for seed in range(3):
            pieces = list(tfrnn.stream(model, VOCABULARY, "ab", 30, sampler, seed))
            self.assertLen(pieces, 30)
            self.assertEqual("ab" + "".join(pieces), tfrnn.generate(model, VOCABULARY, "ab", 30, sampler, seed))

    def test_a_seed_fixes_a_sample_and_samples_differ(self):
        (samples,) = generate_many(model_of(), VOCABULARY, ["ab"], 30, 5, Sampler(1.0), seed=3)
        self.assertLen(set(samples), 5)
        self.assertEqual([samples], generate_many(model_of(), VOCABULARY, ["ab"], 30, 5, Sampler(1.0), seed=3))
        self.assertNotEqual([samples], generate_many(model_of(), VOCABULARY, ["ab"], 30, 5, Sampler(1.0), seed=4))

    @parameterized.parameters(
        (Sampler(1e-4),), (Sampler(1e-300),), (Sampler(1.0, top_k=1),), (Sampler(1.0, top_p=1e-40),)
    )
    def test_the_bounds_of_every_setting_are_greedy(self, sampler):
        model = model_of()
        self.assertEqual(
            tfrnn.generate(model, VOCABULARY, "ab", 30, sampler), tfrnn.generate(model, VOCABULARY, "ab", 30)
        )

    @parameterized.product(cell=[tfrnn.RNNCell, tfrnn.LSTMCell, keras.layers.GRUCell], sampler=[GREEDY, Sampler(1.3)])
    def test_continuing_in_parts_is_continuing_at_once(self, cell, sampler):
        model = model_of(cell)
        text = tfrnn.generate(model, VOCABULARY, "abc", 40, sampler, seed=2)
        reading, parts = tfrnn.read_prefixes(model, VOCABULARY, ["abc"]), []
        for length in (1, 0, 17, 22):
            (part,), reading = tfrnn.continue_texts(model, VOCABULARY, reading, length, sampler, seed=2)
            parts.append(part)
        self.assertEqual("abc" + "".join(parts), text)
        self.assertEqual(VOCABULARY.decode(reading.recent[0, -43:]), text)

    @parameterized.parameters((tfrnn.RNNCell,), (tfrnn.LSTMCell,), (keras.layers.GRUCell,))
    def test_a_state_handed_over_is_one_long_prefix(self, cell):
        model = model_of(cell)
        at_once = tfrnn.read_prefixes(model, VOCABULARY, ["abc de", "cab ad"])
        first = tfrnn.read_prefixes(model, VOCABULARY, ["abc", "cab "])
        in_parts = tfrnn.read_prefixes(model, VOCABULARY, [" de", "ad"], after=first)
        self.assertAllClose(in_parts.logits, at_once.logits)
        self.assertAllClose(in_parts.state, at_once.state)
        self.assertAllEqual(in_parts.recent, at_once.recent)
        with self.assertRaisesRegex(UserError, "a text for each of the 2 rows.*got 1"):
            tfrnn.read_prefixes(model, VOCABULARY, ["a"], after=first)

    def test_what_was_generated_is_read_on_from_as_if_it_had_been_given(self):
        model = model_of(tfrnn.GRUCell)
        (written,), reading = tfrnn.continue_texts(
            model, VOCABULARY, tfrnn.read_prefixes(model, VOCABULARY, ["abc"]), 9, Sampler()
        )
        reading = tfrnn.read_prefixes(model, VOCABULARY, [" bad"], after=reading)
        self.assertAllClose(reading.logits, tfrnn.read_prefixes(model, VOCABULARY, [f"abc{written} bad"]).logits)

    @parameterized.parameters((GREEDY,), (Sampler(1.2),), (Sampler(repetition_penalty=1.5, repetition_window=5),))
    def test_prefixes_of_any_lengths_side_by_side_are_as_each_alone(self, sampler):
        model, prefixes = model_of(tfrnn.LSTMCell), ["ab", "e", "dcba" * 20, "cd", "abcde" * 3]
        together = generate_many(model, VOCABULARY, prefixes, 20, 3, sampler, seed=7)
        for prefix, samples in zip(prefixes, together, strict=True):
            self.assertEqual([samples], generate_many(model, VOCABULARY, [prefix], 20, 3, sampler, seed=7))
            self.assertEqual(samples[0], tfrnn.generate(model, VOCABULARY, prefix, 20, sampler, seed=7))

    @parameterized.product(
        cell=[tfrnn.RNNCell, tfrnn.GRUCell, keras.layers.GRUCell, keras.layers.LSTMCell],
        sampler=[GREEDY, Sampler(1.0), Sampler(0.7, 3, 0.9)],
    )
    def test_xla_makes_no_difference(self, cell, sampler):
        expected = generate_many(model_of(cell), VOCABULARY, ["ab"], 30, 2, sampler)
        with (
            mock.patch.object(generation, "BY_XLA_FROM", 30),
            mock.patch.object(
                generation, "_choose_and_read_by_xla", wraps=generation._choose_and_read_by_xla
            ) as by_xla,
        ):
            self.assertEqual(generate_many(model_of(cell), VOCABULARY, ["ab"], 30, 2, sampler), expected)
        by_xla.assert_called_once()

    def test_what_xla_cannot_compile_is_generated_without(self):
        class Mine(tfrnn.RNNCell):
            def call(self, inputs, states):
                same = tf.numpy_function(lambda x: x, [inputs], tf.float32)
                return super().call(tf.ensure_shape(same, inputs.shape), states)

        with mock.patch.object(generation, "BY_XLA_FROM", 30):
            text = tfrnn.generate(model_of(Mine), VOCABULARY, "ab", 30)
        self.assertEqual(text, tfrnn.generate(model_of(), VOCABULARY, "ab", 30))

    @parameterized.parameters((GREEDY,), (Sampler(1.0),))
    def test_nor_do_chains(self, sampler):
        expected = generate_many(model_of(), VOCABULARY, ["ab"], 30, 16, sampler)
        with mock.patch.object(threads, "num_chains", return_value=4):
            self.assertEqual(generate_many(model_of(), VOCABULARY, ["ab"], 30, 16, sampler), expected)

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
        for sampler in (GREEDY, Sampler(1.0), Sampler(1e6)):
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

    def test_what_is_no_number_sampler_or_text_is_named(self):
        model = model_of()

        @dataclasses.dataclass
        class Unhashable:
            k: int = 3

            def choose(self, logits, uniform, recent):
                return tf.argmax(logits, 1)

        class Flat(Sampler):
            def choose(self, logits, uniform, recent):
                return tf.argmax(logits, 1)[:, None]

        for wrong, message in (
            ({"length": 2.0}, "length must be a whole number"),
            ({"length": -1}, "length must be"),
            ({"seed": 2**31}, "seed must be"),
            ({"seed": -1}, "seed must be"),
            ({"sampler": None}, "an object with a method choose"),
            ({"sampler": Sampler}, "an object with a method choose"),
            ({"sampler": Unhashable()}, "make its dataclass frozen"),
            ({"sampler": Flat()}, "a token for each row"),
            ({"sampler": Sampler(top_p=2.0)}, "--top_p must be"),
        ):
            with self.assertRaisesRegex(UserError, message):
                tfrnn.generate(model, VOCABULARY, "ab", **wrong)
        for prefixes in ([], [b"a"], ["a", None], b"a"):
            with self.assertRaisesRegex(UserError, "a list of texts"):
                tfrnn.read_prefixes(model, VOCABULARY, prefixes)
        with self.assertRaisesRegex(UserError, "num_samples must be at least 1"):
            generate_many(model, VOCABULARY, ["a"], 3, 0)
        expected = tfrnn.generate(model, VOCABULARY, "ab", 5, seed=3)
        self.assertEqual(tfrnn.generate(model, VOCABULARY, "ab", np.int64(5), seed=np.int32(3)), expected)

    def test_rows_of_a_reading(self):
        model = model_of()
        reading = tfrnn.read_prefixes(model, VOCABULARY, (prefix for prefix in ("ab", "cde")))
        self.assertLen(tfrnn.read_prefixes(model, VOCABULARY, "abc").sample, 1)
        (alone,), _ = tfrnn.continue_texts(model, VOCABULARY, reading.row(-1), 9)
        self.assertEqual(alone, tfrnn.continue_texts(model, VOCABULARY, reading, 9)[0][1])
        with self.assertRaises(IndexError):
            reading.row(2)
        with self.assertRaisesRegex(UserError, "a reading of one row.*got 2"):
            next(tfrnn.stream_on(model, VOCABULARY, reading, 3))
