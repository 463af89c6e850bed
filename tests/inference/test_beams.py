"""Beam search."""

import itertools

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfrnn
from tfrnn.errors import UserError
from tfrnn.inference.beams import beam_search

VOCABULARY = tfrnn.Vocabulary.from_text("abcde ")
CELLS = [(tfrnn.RNNCell,), (tfrnn.LSTMCell,), (keras.layers.GRUCell,)]


def model_of(cell, layers=1):
    keras.utils.set_random_seed(1)
    cells = [cell(16, kernel_initializer="orthogonal", recurrent_initializer="orthogonal") for _ in range(layers)]
    model = tfrnn.LanguageModel(tfrnn.RNN(cells), len(VOCABULARY))
    model.build()
    return model


def score(model, prefix, text):
    """The log-probability of the text after the prefix, `<unk>` taken to be impossible."""
    ids = VOCABULARY.encode(text)
    logits, _ = model(ids[:-1, None])
    known = keras.ops.log_softmax(logits[len(prefix) - 1 :, 0, 1:])
    return sum(float(row[i - 1]) for row, i in zip(known, ids[len(prefix) :], strict=True))


class BeamsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*CELLS)
    def test_one_beam_is_greedy(self, cell):
        model = model_of(cell)
        for prefix in ("a", "bcd e"):
            (beam,) = beam_search(model, VOCABULARY, prefix, 25, width=1)
            self.assertEqual(beam.text, tfrnn.generate(model, VOCABULARY, prefix, 25))

    @parameterized.parameters(*CELLS)
    def test_as_many_beams_as_tokens_find_the_best_pair(self, cell):
        model = model_of(cell, layers=2)
        for prefix in ("a", "bcd e"):
            pairs = [prefix + "".join(pair) for pair in itertools.product("abcde ", repeat=2)]
            best = sorted(pairs, key=lambda text: -score(model, prefix, text))
            beams = beam_search(model, VOCABULARY, prefix, 2, width=len(VOCABULARY))
            self.assertEqual(beams[0].text, best[0])
            self.assertAllClose(beams[0].score, score(model, prefix, best[0]), 1e-5)

    def test_more_beams_than_there_are_texts_find_all_of_them_in_order(self):
        model = model_of(tfrnn.GRUCell)
        beams = beam_search(model, VOCABULARY, "ab", 2, width=50)
        self.assertLen({beam.text for beam in beams}, 36)
        self.assertNotIn("<unk>", "".join(beam.text for beam in beams))
        scores = [beam.score for beam in beams]
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertAllClose(np.exp(scores).sum(), 1.0, 1e-5)
        self.assertAllClose(scores, [score(model, "ab", beam.text) for beam in beams], 1e-5)

    def test_a_wider_search_finds_nothing_worse_here(self):
        model = model_of(tfrnn.LSTMCell)
        found = [beam_search(model, VOCABULARY, "ab", 12, width)[0] for width in (1, 3, 30)]
        self.assertLessEqual(found[0].score, found[2].score)
        self.assertAllClose(found[2].score, score(model, "ab", found[2].text), 1e-5)

    def test_words(self):
        vocabulary = tfrnn.Vocabulary.from_text("to be or not to be", "word")
        model = tfrnn.LanguageModel(tfrnn.RNN(tfrnn.RNNCell(8)), len(vocabulary))
        (beam,) = beam_search(model, vocabulary, "to be", 3, width=1)
        self.assertEqual(beam.text, tfrnn.generate(model, vocabulary, "to be", 3))

    @parameterized.parameters((0, 4), (5, 0), (-1, 1), (3, 2.5))
    def test_nothing_to_search_is_an_error(self, length, width):
        with self.assertRaisesRegex(UserError, f"of at least 1; got {length} and {width}"):
            beam_search(model_of(tfrnn.RNNCell), VOCABULARY, "a", length, width)
