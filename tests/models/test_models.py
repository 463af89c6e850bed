"""The models: of language, of labels, of series."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized
from all_cells import CELLS

import tfrnn
from tfrnn.layers.bidirectional import Bidirectional
from tfrnn.layers.cells import RNNCell

T, B, H = 7, 3, 4


class LanguageModelTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(cell=list(CELLS), layers=[1, 2], embedding_dim=[0, 6])
    def test_shapes_and_carried_state(self, cell, layers, embedding_dim):
        model = tfrnn.LanguageModel(tfrnn.RNN([CELLS[cell](H) for _ in range(layers)]), 11, embedding_dim)
        ids = np.random.default_rng(0).integers(0, 11, [2 * T, B])
        logits, state = model(ids, model.initial_state(B))
        self.assertEqual(logits.shape, (2 * T, B, 11))
        first, halfway = model(ids[:T])
        second, end = model(ids[T:], halfway)
        self.assertAllClose(logits, tf.concat([first, second], 0), 1e-6, 1e-6)
        self.assertAllClose(state, end, 1e-6, 1e-6)

    def test_one_hot_equals_an_identity_embedding(self):
        cell = RNNCell(H)
        one_hot = tfrnn.LanguageModel(tfrnn.RNN(cell), 11)
        embedded = tfrnn.LanguageModel(tfrnn.RNN(cell), 11, 11)
        one_hot.build()
        embedded.build()
        embedded.embedding.set_weights([np.eye(11)])
        embedded.dense.set_weights(one_hot.dense.get_weights())
        ids = np.random.default_rng(0).integers(0, 11, [T, B])
        self.assertAllClose(one_hot(ids)[0], embedded(ids)[0], 1e-6, 1e-6)

    def test_an_rnn_without_sequences_or_state_is_refused(self):
        for wrong in ({"time_major": False}, {"return_sequences": False}, {"return_state": False}):
            with self.assertRaisesRegex(ValueError, "time_major"):
                tfrnn.LanguageModel(tfrnn.RNN(RNNCell(H), **wrong), 11)

    def test_serialises(self):
        model = tfrnn.LanguageModel(tfrnn.RNN([RNNCell(H)]), 11, 6, dropout=0.1)
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
        model.build()
        again.build()
        again.set_weights(model.get_weights())
        self.assertAllEqual(model(np.ones([T, B], "i"))[0], again(np.ones([T, B], "i"))[0])

    def test_tied_weights_are_one_matrix(self):
        model = tfrnn.LanguageModel(tfrnn.RNN(RNNCell(H)), 11, embedding_dim=H, tie_weights=True)
        model.build()
        self.assertEqual(sorted(tuple(w.shape) for w in model.weights), sorted([(11, H), (H, H), (H, H), (H,)]))
        ids = np.random.default_rng(0).integers(0, 11, [T, B])
        outputs, _ = model.rnn(tf.gather(model.embedding.embeddings.value, ids))
        self.assertAllClose(model(ids)[0], outputs @ tf.transpose(model.embedding.embeddings.value), 1e-6, 1e-6)
        trainer = tfrnn.Trainer(model, keras.optimizers.Adam(0.05))
        losses = trainer.fit(tfrnn.sequential_batches(np.arange(200) % 11, 2, T), 20).history["loss"]
        self.assertLess(losses[-1], 0.5 * losses[0])
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
        again.build()
        again.set_weights(model.get_weights())
        self.assertAllEqual(model(ids)[0], again(ids)[0])

    @parameterized.parameters(0, H + 1)
    def test_weights_of_different_sizes_are_not_tied(self, embedding_dim):
        with self.assertRaisesRegex(ValueError, f"got {embedding_dim} and {H}"):
            tfrnn.LanguageModel(tfrnn.RNN(RNNCell(H)), 11, embedding_dim, tie_weights=True)

    def test_a_language_model_refuses_it_with_the_reason(self):
        with self.assertRaisesRegex(ValueError, "would read the tokens to be predicted.*SequenceLabeller"):
            tfrnn.LanguageModel(Bidirectional(RNNCell(H)), 11)
        with self.assertRaisesRegex(ValueError, "would read the values to be predicted"):
            tfrnn.Forecaster(Bidirectional(RNNCell(H)))


class LabellingTest(tf.test.TestCase, parameterized.TestCase):
    def test_hello_gives_ohlol_within_15_epochs_for_20_seeds_of_20(self):
        self.assertEqual(self.learnt(keras.layers.SimpleRNNCell), ["ohlol"] * 20)

    @parameterized.parameters(tfrnn.RNNCell, keras.layers.GRUCell, keras.layers.LSTMCell)
    @pytest.mark.slow
    def test_so_do_other_cells(self, cell):
        self.assertEqual(self.learnt(cell), ["ohlol"] * 20)

    def learnt(self, cell):
        """What is said to hello after 15 epochs, for 20 seeds."""
        vocabulary = tfrnn.Vocabulary.from_text("hello")
        inputs, targets = (vocabulary.encode(text)[None] for text in ("hello", "ohlol"))  # [N = 1, T = 5]
        said = []
        for seed in range(20):
            keras.utils.set_random_seed(seed)
            model = tfrnn.LanguageModel(tfrnn.RNN(cell(8)), len(vocabulary), embedding_dim=10)
            trainer = tfrnn.Trainer(model, keras.optimizers.Adam(0.1))
            trainer.fit(tfrnn.labelled_batches(inputs, targets), epochs=15)
            logits, _ = model(inputs.T)
            said.append(vocabulary.decode(np.argmax(logits[:, 0], -1)))
        return said

    def test_a_bidirectional_labeller_learns_what_only_the_future_tells(self):
        inputs = np.random.default_rng(0).integers(0, 5, [64, T])
        targets = np.roll(inputs, -1, 1)  # the token after each, the first one after the last

        def loss(rnn):
            keras.utils.set_random_seed(0)
            trainer = tfrnn.Trainer(tfrnn.SequenceLabeller(rnn, 5, 5), keras.optimizers.Adam(0.02))
            return trainer.fit(tfrnn.labelled_batches(inputs, targets, 16), 60).history["loss"][-1]

        self.assertLess(loss(Bidirectional(tfrnn.GRUCell(16))), 0.5)
        self.assertGreater(loss(tfrnn.RNN(tfrnn.GRUCell(16))), 1)

    def test_labels_of_another_number_than_tokens(self):
        model = tfrnn.SequenceLabeller(tfrnn.RNN([RNNCell(H), RNNCell(H)]), 11, num_labels=2, embedding_dim=6)
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
        logits, _ = model(np.ones([T, B], "i"))
        self.assertEqual(logits.shape, (T, B, 2))
        again.build()
        again.set_weights(model.get_weights())
        self.assertAllEqual(logits, again(np.ones([T, B], "i"))[0])


class ForecasterTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(*CELLS.items())
    def test_shapes_and_carried_state(self, cell):
        model = tfrnn.Forecaster(tfrnn.RNN([cell(H), cell(H)]), num_values=2)
        values = np.random.default_rng(0).normal(size=[2 * T, B, 2]).astype("f")
        predictions, state = model(values)
        self.assertEqual(predictions.shape, (2 * T, B, 2))
        first, halfway = model(values[:T])
        second, end = model(values[T:], halfway)
        self.assertAllClose(predictions, tf.concat([first, second], 0), 1e-6, 1e-6)
        self.assertAllClose(state, end, 1e-6, 1e-6)

    def test_other_inputs_are_refused_with_expected_and_received(self):
        model = tfrnn.Forecaster(tfrnn.RNN(RNNCell(H)))
        for wrong in ([T, B], [T, B, 2]):
            with self.assertRaisesRegex(ValueError, r"\[T, B, 1\]; got shape"):
                model(np.ones(wrong, "f"))

    def test_serialises(self):
        model = tfrnn.Forecaster(tfrnn.RNN(RNNCell(H)), 2, dropout=0.1)
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
        model.build()
        again.build()
        again.set_weights(model.get_weights())
        self.assertAllEqual(model(np.ones([T, B, 2], "f"))[0], again(np.ones([T, B, 2], "f"))[0])
