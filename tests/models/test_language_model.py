"""The language model: shapes, the carried state, tied weights, and what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from all_cells import CELLS, combinations
from rounding import assert_equal_up_to_rounding, recurrence_roundings

import tfrnn
from tfrnn.config import sections
from tfrnn.config.sections import Model
from tfrnn.layers.cells import RNNCell
from tfrnn.models import loading
from tfrnn.models.building import build_language_model

T, B, V, H, E = 3, 3, 11, 4, 6
ROUNDINGS = recurrence_roundings(2 * T, V, H, B, num_layers=2)


def random_ids(num_steps=T):
    return np.random.default_rng(0).integers(0, V, [num_steps, B])


@pytest.mark.parametrize(
    ("name", "num_layers", "embedding_dim"),
    combinations(
        CELLS,
        [1, 2],
        [0, E],
        quick=[
            ("rnn_scratch", 1, 0),
            ("rnn_keras", 2, E),
            ("gru_scratch", 2, 0),
            ("gru_keras", 1, E),
            ("lstm_scratch", 1, E),
            ("lstm_keras", 2, 0),
        ],
    ),
)
def test_2t_steps_equal_t_steps_twice_with_the_state_carried(name, num_layers, embedding_dim):
    model = tfrnn.LanguageModel([CELLS[name](H) for _ in range(num_layers)], V, embedding_dim)
    ids = random_ids(2 * T)
    logits, state = model(ids, model.initial_state(B))
    assert logits.shape == (2 * T, B, V)
    first, middle_state = model(ids[:T])
    second, last_state = model(ids[T:], middle_state)
    assert_equal_up_to_rounding((logits, state), (tf.concat([first, second], 0), last_state), ROUNDINGS)


@pytest.mark.parametrize("implementation", ["scratch", "keras"])
@pytest.mark.parametrize("cell", sections.CELLS)
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("options", [{}, {"embedding_dim": E}, {"embedding_dim": H, "tie_weights": True}])
def test_the_names_of_the_layers_are_known_from_the_settings(cell, implementation, num_layers, options):
    settings = Model(cell=cell, implementation=implementation, units=H, num_layers=num_layers, **options)
    model = build_language_model(settings, V)
    model.build()
    assert list(dict.fromkeys(name.rpartition(".")[0] for name in model.named_weights)) == [*settings.layer_names]
    first, *others = settings.layer_names
    loading.freeze(model, others)
    trained = {id(weight) for weight in model.trainable_weights}
    assert trained == {id(weight) for name, weight in model.named_weights.items() if name.startswith(f"{first}.")}
    loading.freeze(model, [first])
    assert not model.trainable_weights


@pytest.mark.parametrize(("name", "std"), [("uniform", 0.1 / 12**0.5), ("normal", 1)])
def test_an_embedding_begins_as_the_setting_says(name, std):
    model = build_language_model(Model(embedding_dim=64, embedding_initializer=name), 500)
    for model_now in (model, type(model).from_config(model.get_config())):
        model_now.build()
        assert np.std(model_now.embedding.get_weights()[0]) == pytest.approx(std, rel=0.02)


def test_one_hot_vectors_equal_an_identity_embedding():
    cell = RNNCell(H)
    one_hot, embedded = tfrnn.LanguageModel(cell, V), tfrnn.LanguageModel(cell, V, V)
    one_hot.build()
    embedded.build()
    embedded.embedding.set_weights([np.eye(V)])
    embedded.dense.set_weights(one_hot.dense.get_weights())
    assert_equal_up_to_rounding(one_hot(random_ids()), embedded(random_ids()), ROUNDINGS)


@pytest.mark.parametrize(
    ("embedding_dim", "options"),
    [(E, {"dropout": 0.1}), (H, {"tie_weights": True})],
    ids=["embedding_and_dropout", "tied_weights"],
)
def test_a_deserialized_model_computes_the_same(embedding_dim, options):
    model = tfrnn.LanguageModel([RNNCell(H)], V, embedding_dim, **options)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    model.build()
    again.build()
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(model(random_ids())[0], again(random_ids())[0])


def test_tied_weights_are_one_matrix():
    model = tfrnn.LanguageModel(RNNCell(H), V, embedding_dim=H, tie_weights=True)
    model.build()
    assert sorted(tuple(w.shape) for w in model.weights) == sorted([(V, H), (H, H), (H, H), (H,)])
    matrix = model.embedding.embeddings.value
    outputs, _ = model.rnn(tf.gather(matrix, random_ids()))
    assert_equal_up_to_rounding(model(random_ids())[0], outputs @ tf.transpose(matrix), ROUNDINGS)


def test_a_model_with_tied_weights_learns():
    model = tfrnn.LanguageModel(RNNCell(8), V, embedding_dim=8, tie_weights=True)
    trainer = tfrnn.Trainer(model, keras.optimizers.Adam(0.1))
    losses = trainer.fit(tfrnn.sequential_batches(np.arange(100) % V, 2, T), 10).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("embedding_dim", [0, H + 1])
def test_weights_of_different_sizes_are_not_tied(embedding_dim):
    with pytest.raises(ValueError, match=f"got {embedding_dim} and {H}"):
        tfrnn.LanguageModel(RNNCell(H), V, embedding_dim, tie_weights=True)


def test_a_bidirectional_rnn_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"would read the tokens to be predicted.*SequenceLabeller"):
        tfrnn.LanguageModel(tfrnn.Bidirectional(tfrnn.GRU(H)), V)


@pytest.mark.parametrize("dtype", ["uint8", "int64"])
def test_ids_may_have_any_integer_dtype(dtype):
    model = tfrnn.LanguageModel(RNNCell(H), V)
    np.testing.assert_array_equal(model(random_ids())[0], model(np.array(random_ids()).astype(dtype))[0])


@pytest.mark.parametrize("inputs", [np.zeros([T, 2], "f"), np.zeros([T], "i"), np.zeros([T, 2, V], "f")])
def test_something_else_than_ids_is_refused(inputs):
    with pytest.raises(ValueError, match=r"expected token ids, integers \[T, B\]; got"):
        tfrnn.LanguageModel(RNNCell(H), V)(inputs)
