"""The sequence labeller: what it learns, and labels that are not tokens."""

import itertools

import keras
import numpy as np
import pytest
from all_cells import CELLS

import tfrnn
from tfrnn.layers.cells import RNNCell

T, B, H = 3, 3, 4


def labels_for_hello(cell, seed):
    """Returns the labels of "hello" after 15 epochs of training with the labels "ohlol"."""
    vocabulary = tfrnn.Vocabulary.from_text("hello")
    inputs, targets = (vocabulary.encode(text)[None] for text in ("hello", "ohlol"))  # [N = 1, T = 5]
    keras.utils.set_random_seed(seed)
    model = tfrnn.LanguageModel(cell(8), len(vocabulary), embedding_dim=10)
    trainer = tfrnn.Trainer(model, keras.optimizers.Adam(0.1))
    trainer.fit(tfrnn.labelled_batches(inputs, targets), epochs=15)
    logits, _ = model(inputs.T)
    return vocabulary.decode(np.argmax(logits[:, 0], -1))


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_labels_of_hello_are_learnt_within_15_epochs(seed):
    assert labels_for_hello(keras.layers.SimpleRNNCell, seed) == "ohlol"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rnn_keras", "rnn_scratch", "gru_keras", "lstm_keras"])
def test_labels_of_hello_are_learnt_within_15_epochs_for_each_of_20_seeds(name):
    assert [labels_for_hello(CELLS[name], seed) for seed in range(20)] == ["ohlol"] * 20


# All sequences of 3 tokens. The label of a token is the next token, and that of the last token is the first.
ALL_SEQUENCES = np.array(list(itertools.product(range(3), repeat=3)))
NEXT_TOKENS = np.roll(ALL_SEQUENCES, -1, 1)


def loss_after_training(**options):
    keras.utils.set_random_seed(0)
    trainer = tfrnn.Trainer(tfrnn.SequenceLabeller(RNNCell(16), 3, 3, **options), keras.optimizers.Adam(0.05))
    batches = tfrnn.labelled_batches(ALL_SEQUENCES, NEXT_TOKENS, len(ALL_SEQUENCES))
    return trainer.fit(batches, 30).history["loss"][-1]


def test_a_bidirectional_labeller_learns_labels_that_depend_on_later_tokens():
    assert loss_after_training(bidirectional=True) < 0.2


def test_a_forward_labeller_cannot_learn_labels_that_depend_on_later_tokens():
    # It can learn the last of the three labels. Given the tokens before, each of the others is any of 3 equally often.
    assert loss_after_training() > 2 / 3 * np.log(3) - 1e-5


def test_the_number_of_labels_may_differ_from_the_number_of_tokens():
    model = tfrnn.SequenceLabeller([RNNCell(H), RNNCell(H)], 11, num_labels=2, embedding_dim=6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    ids = np.random.default_rng(0).integers(0, 11, [T, B])
    logits, _ = model(ids)
    assert logits.shape == (T, B, 2)
    again.build()
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(logits, again(ids)[0])


def test_inputs_that_are_not_token_ids_per_step_and_row_are_refused():
    model = tfrnn.SequenceLabeller(RNNCell(H), 11, num_labels=2)
    with pytest.raises(ValueError, match=r"integers \[T, B\]; got"):
        model(np.ones([T, B, 2], "i"))
