"""What all models share, and models of a user's own in training and generation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfrnn
from tfrnn.layers.model_protocol import with_weights_read
from tfrnn.models.recurrent_model import RecurrentModel

VOCABULARY = tfrnn.Vocabulary.from_text("to be or not to be")
V, H = len(VOCABULARY), 8


class UsersModel(keras.Model):
    """A model that has only what Trainer's docstring asks for."""

    def __init__(self):
        super().__init__()
        self.hidden, self.head = keras.layers.Dense(H, "tanh"), keras.layers.Dense(V)

    def build(self, input_shape=None):
        self.hidden.build((None, V + H))
        self.head.build((None, None, H))
        self.built = True

    def initial_state(self, batch_size):
        return ((tf.zeros([batch_size, H]),),)

    def call(self, inputs, state, training=False):
        def step(h, x):
            return self.hidden(tf.concat([x, h], 1))

        outputs = tf.scan(step, tf.one_hot(inputs, V), state[0][0])  # [T, B, H]
        return self.head(outputs), ((outputs[-1],),)


class PlainModel:
    """A model that is no Keras model, which can be used but not trained by Trainer."""

    def __init__(self, model):
        self.initial_state, self.call = model.initial_state, model.call

    def __call__(self, inputs, state, training=False):
        return self.call(inputs, state, training)


def assert_can_be_used(model):
    scored = tfrnn.score(model, VOCABULARY.encode("not to be"))
    assert np.isfinite(scored.nats).all()
    text = tfrnn.generate(model, VOCABULARY, "to ", 6)
    assert text == "to " + "".join(tfrnn.stream(model, VOCABULARY, "to ", 6))
    assert text == tfrnn.beam_search(model, VOCABULARY, "to ", 6, width=1)[0].text
    assert len(tfrnn.beam_search(model, VOCABULARY, "to ", 2, width=3)) == 3
    samples = tfrnn.generate_many(model, VOCABULARY, ["to ", "be"], 5, 3, tfrnn.Sampler())
    assert [[len(sample) for sample in of_prefix] for of_prefix in samples] == [[8, 8, 8], [7, 7, 7]]


def test_a_users_own_model_trains_scores_generates_streams_and_searches():
    model = UsersModel()
    batches = tfrnn.sequential_batches(VOCABULARY.encode("to be or not to be " * 10), 2, 5)
    losses = tfrnn.Trainer(model, keras.optimizers.Adam(0.01)).fit(batches, 3).history["loss"]
    assert losses[-1] < losses[0]
    assert_can_be_used(model)


@pytest.mark.slow
def test_a_model_that_is_no_keras_model_scores_generates_streams_and_searches():
    model = UsersModel()
    model.build()
    assert_can_be_used(PlainModel(model))


@pytest.mark.slow
def test_a_model_without_weights_gets_them_when_it_is_used():
    assert_can_be_used(tfrnn.LanguageModel(tfrnn.GRUCell(H), V))


def test_calls_share_the_weights_that_were_read():
    model = tfrnn.LanguageModel([tfrnn.GRUCell(H), keras.layers.LSTMCell(H)], V)
    ids, state = np.ones([3, 2], "int32"), model.initial_state(2)
    expected, _ = model(ids, state)
    read = with_weights_read(model)
    model.rnn.set_weights([10 + weight for weight in model.rnn.get_weights()])
    np.testing.assert_array_equal(read(ids, state)[0], expected)


@pytest.mark.slow
def test_a_subclass_whose_call_takes_no_weights_is_called_without():
    class Subclass(tfrnn.LanguageModel):
        def call(self, inputs, state=None, training=False):
            return super().call(inputs, state, training)

    assert_can_be_used(Subclass(tfrnn.GRUCell(H), V))


@pytest.mark.parametrize("missing", ["_prepare_inputs", "_apply_head"])
def test_a_subclass_without_an_abstract_method_is_refused_by_name(missing):
    methods = {"_prepare_inputs": lambda self, inputs: inputs, "_apply_head": lambda self, outputs: outputs}
    del methods[missing]
    with pytest.raises(TypeError, match=missing):
        type("Incomplete", (RecurrentModel,), methods)(tfrnn.GRUCell(H))
