"""Rows of several lengths: training and evaluation are those of each row alone, at its own length."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from replica_models import strategy_of
from rounding import assert_float32_sums_equal

import tfrnn
from tfrnn.errors import UserError

V, H, LENGTHS = 7, 5, (2, 3, 1, 3)
random = np.random.default_rng(0)
INPUTS, TARGETS = ([random.integers(0, V, n) for n in LENGTHS] for _ in range(2))
NUM_TERMS = sum(LENGTHS) * H


@keras.saving.register_keras_serializable("tests")
class Masked(keras.Model):
    """A model of the Trainer's protocol that takes a mask, in the plainest form."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.cell, self.dense, self.supports_masking = keras.layers.GRUCell(H), keras.layers.Dense(V), True

    def build(self, input_shape=None):
        self.cell.build((None, V))
        self.dense.build((None, H))
        self.built = True

    def initial_state(self, batch_size):
        return ((tf.zeros([batch_size, H]),),)

    def call(self, inputs, state=None, mask=None, training=False):
        (state,), outputs = state, []
        for step in range(inputs.shape[0]):
            output, new_state = self.cell(tf.one_hot(inputs[step], V), list(state))
            if mask is not None:
                new_state = [tf.where(mask[step][:, None], n, o) for n, o in zip(new_state, state, strict=True)]
            state = tuple(new_state)
            outputs.append(self.dense(output))
        return tf.stack(outputs), (state,)


def trainer_of(count=1, **kwargs):
    keras.utils.set_random_seed(0)
    with strategy_of(count).scope():
        model = Masked()
        model.build()
        return tfrnn.Trainer(model, keras.optimizers.SGD(0.5), 0.0, strategy_of(count), metrics=["accuracy"], **kwargs)


def batches():
    return tfrnn.labelled_batches(INPUTS, TARGETS, len(LENGTHS))


def alone(model, row):
    outputs, _ = model(tf.constant(INPUTS[row])[:, None], model.initial_state(1))
    losses = keras.losses.sparse_categorical_crossentropy(TARGETS[row][:, None], outputs, from_logits=True)
    return tf.reduce_sum(losses), np.sum(np.argmax(outputs[:, 0], -1) == TARGETS[row])


@pytest.mark.parametrize(
    ("count", "chains"),
    [pytest.param(1, 1, marks=pytest.mark.slow), pytest.param(1, 2, marks=pytest.mark.slow), (2, 2)],
)
def test_padding_counts_in_nothing_however_the_rows_are_divided(count, chains):
    trainer = trainer_of(count, chains=chains)
    model = trainer_of().model
    with tf.GradientTape() as tape:
        rows = [alone(model, row) for row in range(len(LENGTHS))]
        loss = sum(row[0] for row in rows) / sum(LENGTHS)
    weights = model.trainable_variables
    expected = [w - 0.5 * g for w, g in zip(weights, tape.gradient(loss, weights), strict=True)]
    measured = trainer.evaluate(batches())
    history = trainer.fit(batches(), 1).history
    for logs in (measured, {name: history[name][0] for name in measured}):
        assert_float32_sums_equal(
            [logs["loss"], logs["accuracy"]], [loss, sum(row[1] for row in rows) / sum(LENGTHS)], NUM_TERMS
        )
    assert_float32_sums_equal(model_weights := trainer.model.get_weights(), expected, NUM_TERMS)
    assert len(model_weights) == len(expected)


def test_an_epoch_of_single_rows_has_the_mean_over_all_steps():
    trainer = trainer_of()
    one_by_one = trainer.evaluate(tfrnn.labelled_batches(INPUTS, TARGETS, 1))
    assert_float32_sums_equal(one_by_one, trainer.evaluate(batches()), NUM_TERMS)


def test_a_model_without_a_mask_is_refused():
    class Unmasked(Masked):
        def call(self, inputs, state=None, training=False):
            return super().call(inputs, state, None, training)

    model = Unmasked()
    model.build()
    with pytest.raises(UserError, match=r"takes a `mask`.*Unmasked does not"):
        tfrnn.Trainer(model, "sgd").evaluate(batches())
