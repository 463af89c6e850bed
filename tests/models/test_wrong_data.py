"""What is wrong with data, layers and models is said in one line, before anything is computed, wherever it enters."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfrnn

VOCABULARY = tfrnn.Vocabulary.from_text("abcde")
V, H = len(VOCABULARY), 3
IDS = np.tile(np.arange(1, V, dtype="i"), 20)
ROWS = np.ones([4, 5], "i")
BEYOND = r"expected ids from 0 to 5 in .*got"


def model(cell=keras.layers.GRUCell, **options):
    return tfrnn.LanguageModel(cell(H), V, **options)


def compiled(net=None, **options):
    net = net or model()
    net.compile("adam", **options)
    return net


def trainer():
    return tfrnn.Trainer(model(), "adam")


def forecaster():
    return tfrnn.Forecaster(keras.layers.GRUCell(H), num_values=2)


class Subclass(keras.layers.GRU):
    pass


def without_protocol():
    return keras.Sequential([keras.layers.Dense(H)])


def with_a_nan():
    values = np.ones([4, 5, 2], "f")
    values[1, 2] = np.nan
    return values


QUICK = {
    "ids_in_batches": (lambda: trainer().fit(tfrnn.sequential_batches(IDS + 5, 4, 5), 1), f"{BEYOND} 10"),
    "ids_in_batches_of_evaluate": (lambda: trainer().evaluate(tfrnn.random_batches(IDS + 5, 4, 5)), f"{BEYOND} 10"),
    "labels_in_batches": (lambda: trainer().fit((ROWS, ROWS + 7), 1), rf"{BEYOND} 8"),
    "ids_in_arrays": (lambda: compiled().fit(ROWS + 5, ROWS), "`x`, as `vocab_size=6`; got 6"),
    "targets_in_arrays": (lambda: compiled().fit(ROWS, ROWS - 2), "`y`, as `num_labels=6`; got -1"),
    "ids_in_evaluate": (lambda: compiled().evaluate(ROWS + 5, ROWS), f"{BEYOND} 6"),
    "ids_in_predict": (lambda: compiled().predict(ROWS + 5), f"{BEYOND} 6"),
    "ids_in_score": (lambda: tfrnn.score(model(), IDS + 5), f"{BEYOND} 10"),
    "ids_in_a_call": (lambda: model()(ROWS + 5), f"{BEYOND} 6"),
    "negative_ids_in_a_call": (lambda: model(embedding_dim=2)(ROWS - 2), f"{BEYOND} -1"),
    "vocabulary_in_generate": (
        lambda: tfrnn.generate(model(), tfrnn.Vocabulary.from_text("abcdefgh"), "a", 3), "of 6 tokens.*got one of 9",
    ),
    "vocabulary_in_beam_search": (
        lambda: tfrnn.beam_search(model(), tfrnn.Vocabulary.from_text("ab"), "a", 3), "of 6 tokens.*got one of 3",
    ),
    "nan_in_a_series": (lambda: tfrnn.sequential_batches(with_a_nan()[1], 1, 2), "NaN at step 2"),
    "nan_in_arrays": (lambda: compiled(forecaster()).fit(with_a_nan(), with_a_nan()), "`x` has NaN at row 1, step 2"),
    "values_per_step": (lambda: forecaster()(np.ones([5, 4, 3], "f")), r"\[T, B, 2\]; got shape \(5, 4, 3\)"),
    "no_step": (lambda: model()(ROWS[:0]), "at least one step"),
    "no_row": (lambda: compiled().fit(ROWS[:0], ROWS[:0]), "at least one row"),
    "no_sequence": (lambda: tfrnn.labelled_batches([[]], [[]]), "at least one step"),
    "floats_as_ids": (lambda: model()(ROWS * 0.5), r"integers \[T, B\]; got float"),
    "mask_of_another_shape": (lambda: model()(ROWS, mask=np.ones([5, 4])), r"`mask` \[T, B\].*got shape \(5, 4\)"),
    "state_of_other_rows": (lambda: model()(ROWS, (np.zeros([3, H], "f"),)), r"got \(\('\[3, 3\]'|got \('\[3, 3\]'"),
    "layer_for_cell": (lambda: tfrnn.RNN(keras.layers.LSTM(H)), "expected a cell.*`LSTMCell`"),
    "cell_for_layer": (lambda: tfrnn.Bidirectional(tfrnn.GRUCell(H)), "expected a recurrent layer.*GRUCell"),
    "dense_for_cell": (lambda: tfrnn.LanguageModel(keras.layers.Dense(H), V), "expected a cell.*Dense"),
    "subclass_of_a_layer": (lambda: tfrnn.LanguageModel(Subclass(H), V), "not what a subclass"),
    "frozen_layer": (lambda: tfrnn.LanguageModel(tfrnn.GRU(H, trainable=False), V), "`trainable=True`; got"),
    "regularizer_of_both_directions": (
        lambda: tfrnn.SequenceLabeller(tfrnn.Bidirectional(tfrnn.GRU(H), activity_regularizer="l2"), V, 2),
        "activity_regularizer=None",
    ),
    "regularizer_of_a_cells_outputs": (
        lambda: tfrnn.LanguageModel(tfrnn.GRUCell(H, activity_regularizer="l2"), V), "without `activity_regularizer`",
    ),
    "no_protocol_to_train": (lambda: tfrnn.Trainer(without_protocol(), "adam"), "initial_state.*got Sequential"),
    "no_protocol_to_score": (lambda: tfrnn.score(without_protocol(), IDS), "initial_state.*got Sequential"),
    "optimizer": (lambda: tfrnn.Trainer(model(), "adamm"), "keras.optimizers.*got 'adamm'"),
    "loss": (lambda: tfrnn.Trainer(model(), "adam", loss="msee"), "keras.losses.*got 'msee'"),
    "uncompiled": (lambda: model().fit(ROWS, ROWS), "call `model.compile"),
    "no_targets": (lambda: compiled().fit(ROWS), r"`x\[:, 1:\]`"),
    "a_list_to_train_on": (lambda: trainer().fit([1, 2], 1), "`batches` as `Batches`.*got list"),
}  # fmt: skip


@pytest.mark.parametrize("name", QUICK)
def test_wrong_data_layers_and_models_are_named_in_one_line(name):
    call, message = QUICK[name]
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("embedding_dim", [0, 2])
@pytest.mark.parametrize("part", ["inputs", "targets"])
def test_ids_in_a_dataset_are_named_when_they_are_read(part, embedding_dim):
    x, y = (ROWS + 5, ROWS) if part == "inputs" else (ROWS, ROWS + 5)
    dataset = tf.data.Dataset.from_tensors((x, y))
    for call in (
        lambda: compiled(model(embedding_dim=embedding_dim)).fit(dataset, verbose=0),
        lambda: tfrnn.Trainer(model(embedding_dim=embedding_dim), "adam").fit(dataset, 1),
    ):
        with pytest.raises(ValueError, match=f"{BEYOND} 6") as error:
            call()
        assert "\n" not in str(error.value)
