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
    net.compile(**{"optimizer": "adam", **options})
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


def with_a_head_of_layers():
    net = model()
    net.dense = keras.Sequential([keras.layers.Dense(V, activity_regularizer="l2", name="inside")])
    return net


def regularized(where):
    net = model(embedding_dim=2)
    getattr(net, where).activity_regularizer = keras.regularizers.L2(0.1)
    return net


def in_a_dataset(x, y):
    return tf.data.Dataset.from_tensors((x, y))


BATCHES = tfrnn.random_batches(IDS, 4, 5)
NAN, SERIES = with_a_nan(), np.ones([4, 5, 2], "f")
NOT_FINITE = r"expected finite numbers in `\w+`; got NaN; fill such gaps"
EAGERLY = {"run_eagerly": True}

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
    "nan_in_weights": (
        lambda: compiled().fit(ROWS, ROWS, sample_weight=NAN[..., 0]), "`sample_weight` has NaN at row 1, step 2",
    ),
    "nan_in_a_dataset": (lambda: compiled(forecaster(), **EAGERLY).fit(in_a_dataset(NAN, NAN)), NOT_FINITE),
    "nan_in_a_generator": (lambda: compiled(forecaster(), **EAGERLY).fit(iter([(SERIES, NAN)])), NOT_FINITE),
    "nan_in_evaluate": (lambda: compiled(forecaster(), **EAGERLY).evaluate(in_a_dataset(NAN, NAN)), NOT_FINITE),
    "nan_in_a_trainers_dataset": (
        lambda: tfrnn.Trainer(forecaster(), "adam").fit(in_a_dataset(NAN, NAN), 1), NOT_FINITE,
    ),
    "float_ids": (
        lambda: compiled().fit(ROWS * 0.5, ROWS), r"token ids as `x`, .* \[N, T\]; got float64 of shape \(4, 5\)",
    ),
    "fractions_as_targets": (lambda: compiled().fit(ROWS, ROWS * 0.5), "whole numbers, in `y`; got 0.5"),
    "fractions_to_evaluate": (lambda: compiled().evaluate(ROWS, ROWS * 1.5), "whole numbers, in `y`; got 1.5"),
    "fractions_in_a_dataset": (
        lambda: compiled(**EAGERLY).fit(in_a_dataset(ROWS, ROWS * 0.5)), "whole numbers, in `y`; got fractions",
    ),
    "fractions_for_a_loss_of_kerass": (
        lambda: compiled(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)).fit(ROWS, ROWS * 0.5),
        "whole numbers, in `y`; got 0.5",
    ),
    "fractions_in_a_trainers_arrays": (lambda: trainer().fit((ROWS, ROWS * 0.5), 1), "whole .* `targets`; got 0.5"),
    "fractions_in_a_trainers_dataset": (
        lambda: trainer().fit(in_a_dataset(ROWS, ROWS * 0.5), 1), "whole numbers, in `targets`; got fractions",
    ),
    "a_series_without_axis": (
        lambda: compiled(forecaster()).fit(ROWS * 0.5, ROWS), r"a series as `x`, \[N, T, 2\]; got .* \(4, 5\)",
    ),
    "a_series_of_other_values": (
        lambda: compiled(forecaster()).fit(np.ones([4, 5, 3]), ROWS), r"\[N, T, 2\]; got .* shape \(4, 5, 3\)",
    ),
    "an_unbatched_dataset": (
        lambda: compiled().fit(tf.data.Dataset.from_tensor_slices((ROWS, ROWS))), "got int32 .*; `batch` a dataset of",
    ),
    "no_data": (lambda: compiled().fit(), "expected data `x`.*got None"),
    "data_in_a_tuple": (lambda: compiled().fit((ROWS, ROWS)), "as arguments of their own; got a tuple of 2 arrays"),
    "fewer_targets": (lambda: compiled().fit(ROWS, ROWS[1:]), r"of shape \(4, 5\) has; got `y` of shape \(3, 5\)"),
    "weights_of_classes": (
        lambda: compiled().train_on_batch(ROWS, ROWS, class_weight={0: 2.0}), "`class_weight=None`; give `sample_w",
    ),
    "a_batch_on_batch": (
        lambda: compiled().train_on_batch(next(iter(tfrnn.random_batches(IDS, 4, 5).epoch(0)))), "got a Batch of sev",
    ),
    "compiled_optimizer": (lambda: compiled(optimizer="adamm"), "keras.optimizers.*got 'adamm'"),
    "compiled_metric": (lambda: compiled(metrics=["accurate"]), "keras.metrics.*got 'accurate'"),
    "trainers_metric": (lambda: tfrnn.Trainer(model(), "adam", metrics="accuracy"), "as a list, .*; got 'accuracy'"),
    "callbacks_on_batches": (lambda: compiled().fit(BATCHES, callbacks=[3]), "list of Keras's callbacks; got 3"),
    "callbacks_on_arrays": (lambda: compiled().fit(ROWS, ROWS, callbacks="x"), "list of Keras's callbacks; got 'x'"),
    "callbacks_as_classes": (
        lambda: compiled().evaluate(ROWS, ROWS, callbacks=[keras.callbacks.History]), "give instances",
    ),
    "callbacks_of_predict": (lambda: compiled().predict(ROWS, callbacks=[None]), "Keras's callbacks; got None"),
    "trainers_callbacks": (lambda: trainer().fit(BATCHES, 1, callbacks="x"), "list of Keras's callbacks; got 'x'"),
    "callbacks_of_the_trainers_evaluate": (
        lambda: trainer().evaluate(IDS, callbacks=[3]), "list of Keras's callbacks; got 3",
    ),
    "epochs_on_batches": (lambda: compiled().fit(BATCHES, epochs="3"), "`epochs` a whole number .*; got '3'"),
    "epochs_on_arrays": (lambda: compiled().fit(ROWS, ROWS, epochs=1.5), "`epochs` a whole number .*; got 1.5"),
    "initial_epoch": (lambda: compiled().fit(ROWS, ROWS, initial_epoch=-1), "`initial_epoch` a whole .*; got -1"),
    "trainers_epochs": (lambda: trainer().fit(BATCHES, "3"), "`epochs` a whole number .*; got '3'"),
    "nested_metric": (lambda: compiled(metrics=[["accurate"]]), "keras.metrics.*got 'accurate'"),
    "activities_of_the_embedding": (
        lambda: compiled(regularized("embedding"), **EAGERLY).fit(ROWS, ROWS), "`activity_regularizer`.*'embedding",
    ),
    "activities_of_the_outputs": (
        lambda: tfrnn.Trainer(regularized("dense"), "adam").fit((ROWS, ROWS), 1), "`activity_regularizer`.*'dense",
    ),
    "cells_of_another_precision": (
        lambda: tfrnn.LanguageModel(tfrnn.GRUCell(H, dtype="float64"), V), "weights in float32.*got float64",
    ),
    "cells_of_two_policies": (
        lambda: tfrnn.LanguageModel([tfrnn.GRUCell(H), tfrnn.GRUCell(H, dtype="mixed_bfloat16")], V), "one dtype pol",
    ),
    "a_loss_of_no_weight": (
        lambda: compiled(loss=lambda y_true, y_pred: tf.zeros_like(y_pred[..., 0]), **EAGERLY).fit(ROWS, ROWS),
        "depends on a trainable weight",
    ),
    "no_optimizer": (lambda: compiled(optimizer=None).fit(ROWS, ROWS), "`optimizer=None`"),
    "no_number_as_bound": (lambda: compiled(clip_norm=None), "`clip_norm` of at least 0 .*; got None"),
    "activities_of_a_layer_inside": (
        lambda: compiled(with_a_head_of_layers(), **EAGERLY).fit(ROWS, ROWS), "`activity_regularizer`.*'inside'",
    ),
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
