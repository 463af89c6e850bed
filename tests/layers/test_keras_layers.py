"""tfrnn.RNN, SimpleRNN, GRU, LSTM and Bidirectional: they compute what Keras's layers of these names compute."""

import functools
import inspect
import itertools
import os
import random

import keras
import numpy as np
import pytest
import tensorflow as tf
from all_cells import combinations
from layer_results import normal, sum_of_sines
from rounding import assert_equal_up_to_rounding, assert_float32_sums_equal, assert_identical, recurrence_roundings

import tfrnn
from tfrnn.errors import UserError

T, B, D, H = 4, 5, 4, 3
ROUNDINGS = recurrence_roundings(T, max(D, H), H, B, num_layers=2)
# Rows that are masked nowhere, at the beginning, inside, at the end, and everywhere.
MASK = np.array([[1, 1, 1, 1], [0, 1, 1, 1], [1, 0, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0]], bool)  # [B, T]

# For each layer: its name in keras.layers and tfrnn, and its arguments before the options.
LAYERS = {
    "simple_rnn": ("SimpleRNN", lambda: [H], {}),
    "gru": ("GRU", lambda: [H], {}),
    "gru_reset_before": ("GRU", lambda: [H], {"reset_after": False}),
    "lstm": ("LSTM", lambda: [H], {}),
    "not_fused": ("GRU", lambda: [H, "relu"], {}),
    "rnn_of_a_cell": ("RNN", lambda: [tfrnn.GRUCell(H)], {}),
    "rnn_of_cells": ("RNN", lambda: [[tfrnn.LSTMCell(H), keras.layers.GRUCell(H), tfrnn.RNNCell(H)]], {}),
}
# If oneDNN may use fewer instructions than the CPU has, TensorFlow still hands it products of 16 bits, and aborts.
DTYPES = ["float32", "float64", *([] if "ONEDNN_MAX_CPU_ISA" in os.environ else ["mixed_bfloat16"])]
OPTIONS = ("go_backwards", "return_sequences", "return_state", "stateful", "zero_output_for_mask", "unroll")
# What a layer may be made with and called with; `masked` and `given_state` are arguments of the call.
AXES = {
    "name": list(LAYERS),
    "time_major": [False, True],
    "masked": [False, True],
    "given_state": [False, True],
    **{option: [False, True] for option in OPTIONS},
    "dtype": DTYPES,
}


def pairs_of(axes, seed=0):
    """Returns combinations of the values of all axes such that every two values of two axes occur in one of them."""
    draw, names = random.Random(seed), list(axes)
    missing = {
        ((one, a), (other, b))
        for one, other in itertools.combinations(names, 2)
        for a in axes[one]
        for b in axes[other]
    }
    chosen = []
    while missing:
        tries = [{name: draw.choice(axes[name]) for name in names} | dict(min(missing, key=str)) for _ in range(50)]
        covered = [set(itertools.combinations([(name, case[name]) for name in names], 2)) & missing for case in tries]
        best = max(range(len(tries)), key=lambda i: len(covered[i]))
        chosen.append(tries[best])
        missing -= covered[best]
    return chosen


def swap(sequence):
    return tf.transpose(sequence, [1, 0, *range(2, len(sequence.shape))])


def with_weights(layer, shape):
    """Builds a layer; its weights depend on their shapes and order alone."""
    layer.build(shape)
    for i, weight in enumerate(layer.trainable_weights):
        weight.assign(0.5 * normal(*weight.shape, seed=i))
    return layer


def layer_pair(name, time_major=False, rows=B, **options):
    """Returns tfrnn's layer and Keras's, which is batch-major, with the same weights."""
    layer, arguments, more = LAYERS[name]
    ours = getattr(tfrnn, layer)(*arguments(), time_major=time_major, **more, **options)
    theirs = getattr(keras.layers, layer)(*arguments(), **more, **options)
    with_weights(ours, (T, rows, D) if time_major else (rows, T, D))
    return ours, with_weights(theirs, (rows, T, D))


def state_of(layer, dtype="float32", rows=B):
    """Returns a random state in the structure of the layer's own."""
    numbers = itertools.count()

    def random_like(tensor):
        return tf.constant(normal(*tensor.shape, seed=next(numbers), dtype=dtype))

    return keras.tree.map_structure(random_like, layer.get_initial_state(rows))


def results(layer, inputs, state=None, mask=None, calls=1, training=False):
    """Returns all that a layer returns in each call, and the gradients of the sum of sines of the last call's results.

    Inputs, masks and results are batch-major here, whatever the layer is. The gradients are those by the inputs, the
    initial state and the weights.
    """
    time_major = getattr(layer, "time_major", False)
    inputs, weights, returned = tf.convert_to_tensor(inputs), layer.trainable_weights, []
    sources = [[] if inputs.dtype.is_integer else inputs, [] if state is None else state]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        for _ in range(calls):
            sequences, masks = (swap(inputs), mask if mask is None else swap(mask)) if time_major else (inputs, mask)
            values = layer(sequences, initial_state=state, mask=masks, training=training)
            values = list(values) if isinstance(values, (list, tuple)) else [values]
            if time_major and layer.return_sequences:
                both = isinstance(layer, tfrnn.Bidirectional) and layer.merge_mode is None
                values[: 1 + both] = map(swap, values[: 1 + both])
            returned.append(keras.tree.flatten(values))
        loss = sum_of_sines(returned[-1])
    gradients = tape.gradient(loss, [*tf.nest.flatten(sources), *weights], unconnected_gradients="zero")
    return returned, list(map(tf.convert_to_tensor, gradients))


def assert_same(ours, theirs, *arguments, **options):
    assert_equal_up_to_rounding(results(ours, *arguments, **options), results(theirs, *arguments, **options), ROUNDINGS)


def assert_same_in_a_case(name, time_major, masked, given_state, **options):
    ours, theirs = layer_pair(name, time_major, **options)
    if masked and options["unroll"] and options["go_backwards"] and options["zero_output_for_mask"]:
        # Keras's unrolled loop does not reverse the mask by which it zeroes outputs, while its other loop does.
        ours.unroll = theirs.unroll = False
    dtype = "float64" if options["dtype"] == "float64" else "float32"
    state = state_of(theirs, dtype) if given_state else None
    calls = 2 if options["stateful"] else 1
    assert_same(ours, theirs, normal(B, T, D, dtype=dtype), state, MASK if masked else None, calls=calls)
    if options["stateful"]:
        assert_equal_up_to_rounding(*(keras.tree.flatten(layer.states) for layer in (ours, theirs)), ROUNDINGS)


@pytest.mark.parametrize("name", LAYERS)
def test_all_pairs_of_options_compute_what_keras_layers_compute(name):
    for case in (case for case in pairs_of(AXES) if case["name"] == name):
        assert_same_in_a_case(**case)


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_all_options_together_compute_what_keras_layers_compute(name, masked):
    """The product of all options in float32; half of it time-major, with every three of the options in both halves."""
    for given_state, *values in itertools.product([False, True], repeat=1 + len(OPTIONS)):
        options, time_major = dict(zip(OPTIONS, values, strict=True)), sum(values) % 2 == 1
        assert_same_in_a_case(name, time_major, masked, given_state, dtype="float32", **options)


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_the_gradient_of_a_stateful_layer_is_by_the_state_before_the_call_which_assigns_another(name):
    ours, theirs = layer_pair(name, stateful=True, return_state=True)
    assert_same(ours, theirs, normal(B, T, D), calls=2)


@pytest.mark.parametrize(
    ("name", "time_major", "masked"),
    combinations(LAYERS, [False, True], [False, True], quick=[("lstm", True, True), ("rnn_of_a_cell", True, False)]),
)
def test_unknown_numbers_of_steps_and_rows_compute_what_keras_layers_compute(name, time_major, masked):
    ours, theirs = layer_pair(name, time_major, rows=None, return_sequences=True, return_state=True)
    state = state_of(theirs)
    shapes = keras.tree.map_structure(lambda tensor: tf.TensorSpec([None, tensor.shape[1]]), state)

    @tf.function(input_signature=[tf.TensorSpec([None, None, D]), shapes, tf.TensorSpec([None, None], tf.bool)])
    def run(inputs, state, mask):
        return results(ours, inputs, state, mask if masked else None)

    arguments = tf.constant(normal(B, T, D)), state, tf.constant(MASK)
    expected = results(theirs, *arguments[:2], arguments[2] if masked else None)
    assert_equal_up_to_rounding(run(*arguments), expected, ROUNDINGS)


def test_unrolled_masked_backward_outputs_are_zeros_where_they_are_masked():
    """In Keras's unrolled loop they are not: it does not reverse the mask by which it zeroes outputs."""
    options = {"return_sequences": True, "go_backwards": True, "zero_output_for_mask": True}
    layer, other = (layer_pair("lstm", unroll=unroll, **options)[0] for unroll in (False, True))
    inputs = normal(B, T, D)
    assert_identical(results(layer, inputs, mask=MASK), results(other, inputs, mask=MASK))
    assert not np.any(layer(inputs, mask=MASK).numpy()[:, ::-1][~MASK])


@pytest.mark.parametrize("name", ["gru", "rnn_of_a_cell"])
def test_a_single_state_is_taken_as_a_tensor_and_in_a_list(name):
    ours, theirs = layer_pair(name)
    (state,), inputs = state_of(theirs), normal(B, T, D)
    assert_identical(ours(inputs, initial_state=state), ours(inputs, initial_state=[state]))
    assert_same(ours, theirs, inputs, [state])


@pytest.mark.parametrize("layer", ["RNN", "SimpleRNN", "GRU", "LSTM"])
def test_arguments_are_those_of_keras_in_its_order_and_time_major(layer):
    ours, theirs = getattr(tfrnn, layer), getattr(keras.layers, layer)
    assert issubclass(ours, theirs)
    *named, time_major, keywords = inspect.signature(ours).parameters.values()
    assert [*named, keywords] == list(inspect.signature(theirs).parameters.values())
    assert (time_major.name, time_major.default, time_major.kind) == ("time_major", False, time_major.KEYWORD_ONLY)
    assert list(inspect.signature(ours.call).parameters) == list(inspect.signature(theirs.call).parameters)


@pytest.mark.parametrize(
    ("layer", "arguments"),
    [
        ("SimpleRNN", [H, "relu", False]),
        ("GRU", [H, "relu", "tanh", False]),
        ("LSTM", [H, "relu", "tanh", False, "zeros", "ones"]),
        ("RNN", [keras.layers.LSTMCell(H), True, True, True]),
    ],
)
def test_positional_arguments_are_those_of_keras(layer, arguments):
    ours, theirs = (getattr(module, layer)(*arguments, name="layer").get_config() for module in (tfrnn, keras.layers))
    assert ours == {**theirs, "time_major": False}


@pytest.mark.parametrize(("name", "num_states"), [("simple_rnn", 1), ("gru", 1), ("lstm", 2)])
def test_states_are_flat_and_positional_in_the_call(name, num_states):
    layer, other = layer_pair(name, return_state=True)
    inputs = normal(B, T, D)
    output, *states = layer(inputs)
    assert [state.shape for state in states] == [output.shape] * num_states
    assert_equal_up_to_rounding(layer(inputs, states, MASK), other(inputs, states, MASK), ROUNDINGS)


def test_states_of_stacked_cells_are_those_of_each_cell_as_in_keras():
    layer, other = layer_pair("rnn_of_cells", return_state=True)
    keras.tree.assert_same_structure(layer(normal(B, T, D)), other(normal(B, T, D)))


@pytest.mark.parametrize("name", ["simple_rnn", "gru", "lstm"])
def test_dropout_is_drawn_in_training_only(name):
    ours, theirs = layer_pair(name, dropout=0.5, recurrent_dropout=0.5)
    inputs = normal(B, T, D)
    assert_same(ours, theirs, inputs)
    assert np.any(ours(inputs, training=True) != ours(inputs))


@pytest.mark.parametrize("wrapped", ["layer", "directions", "wrapper"])
@pytest.mark.parametrize("name", ["gru", "lstm", "rnn_of_cells"])  # Keras's SimpleRNN does not use its own
def test_an_activity_regularizer_of_a_time_major_layer_is_that_of_the_rows(name, wrapped):
    def pair(module, **time_major):
        kind, arguments, options = LAYERS[name]
        regularizer = {"activity_regularizer": keras.regularizers.L2(0.1)}
        inner = regularizer if wrapped != "wrapper" else {}
        layer = getattr(module, kind)(
            *arguments(), **options, **inner, **time_major, return_sequences=True, return_state=True
        )
        return layer if wrapped == "layer" else module.Bidirectional(layer, **({} if inner else regularizer))

    inputs, theirs, ours = normal(B, T, D), pair(keras.layers), pair(tfrnn, time_major=True)
    with_weights(theirs, inputs.shape)(inputs)
    ours = type(ours).from_config(ours.get_config())  # a copy has the regularizer too
    with_weights(ours, (T, B, D))(swap(inputs))
    assert len(theirs.losses) > 0
    assert_float32_sums_equal(ours.losses, theirs.losses, T * B * H * ROUNDINGS)


@pytest.mark.parametrize("wrapped", ["layer", "wrapper"])
def test_an_activity_regularizer_may_be_set_and_read_at_any_time(wrapped):
    def pair(module, **time_major):
        layer = module.GRU(H, return_sequences=True, **time_major)
        return layer if wrapped == "layer" else module.Bidirectional(layer)

    inputs, theirs, ours = normal(B, T, D), pair(keras.layers), pair(tfrnn, time_major=True)
    for layer, values in ((theirs, inputs), (ours, swap(inputs))):
        with_weights(layer, values.shape)(values)
        assert layer.losses == []
        for regularizer in (keras.regularizers.L1(0.1), keras.regularizers.L2(0.1)):
            layer.activity_regularizer = regularizer
            assert layer.activity_regularizer is regularizer
        layer(values)
        assert layer.activity_regularizer is regularizer
        assert layer.get_config()["activity_regularizer"]["class_name"] == "L2"
    assert len(ours.losses) == 1
    assert_float32_sums_equal(ours.losses, theirs.losses, T * B * H * ROUNDINGS)
    ours.activity_regularizer = None
    ours(swap(inputs))
    assert ours.losses == []


def test_an_activity_regularizer_in_a_functional_model_is_that_of_the_rows():
    losses = []
    for layer, axes in ((keras.layers.GRU, [0, 1, 2]), (functools.partial(tfrnn.GRU, time_major=True), [1, 0, 2])):
        keras.utils.set_random_seed(0)
        inputs = keras.Input([T, D], batch_size=B)
        recurrent = layer(H, activity_regularizer="l2", return_sequences=True, return_state=True)
        model = keras.Model(inputs, recurrent(keras.ops.transpose(inputs, axes))[0])
        model(np.ones([B, T, D], "f"))
        losses.append(model.losses)
    assert len(losses[0]) == 2
    assert_float32_sums_equal(losses[1], losses[0], T * B * H * ROUNDINGS)


def test_an_activity_regularizer_is_of_what_a_subclass_returns():
    class Doubled(tfrnn.GRU):
        def call(self, sequences, **kwargs):
            return 2 * super().call(sequences, **kwargs)

    inputs, options = normal(B, T, D), {"return_sequences": True, "activity_regularizer": keras.regularizers.L2(0.1)}
    batch_major, time_major = Doubled(H, **options), Doubled(H, time_major=True, **options)
    with_weights(batch_major, inputs.shape)(inputs)
    with_weights(time_major, (T, B, D))(swap(inputs))
    assert len(time_major.losses) == 1
    assert_float32_sums_equal(time_major.losses, batch_major.losses, T * B * H * ROUNDINGS)


class StateOfAnotherShape(keras.layers.Layer):
    """A cell whose state is a tensor [B, *shape], and whose outputs are one number for each row and H of them."""

    def __init__(self, *shape, **options):
        super().__init__(**options)
        self.state_size, self.output_size = [shape], H
        self.dense = keras.layers.Dense(H)

    def get_initial_state(self, batch_size):
        return [tf.ones([batch_size, *self.state_size[0]])]

    def build(self, shape):
        self.dense.build((None, int(np.prod(self.state_size[0]))))

    def call(self, inputs, states):
        summed = tf.reduce_sum(inputs, list(range(1, len(inputs.shape))))
        state = tf.sin(states[0] + tf.reshape(summed, [-1, *[1] * len(self.state_size[0])]))
        return self.dense(tf.reshape(state, [tf.shape(state)[0], int(np.prod(state.shape[1:]))])), [state]


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("shape", "features"), [((2, 3), (D,)), ((2, 3, 2), (2, 2, 1))])
def test_states_that_are_matrices_and_images_are_those_of_keras(shape, features, masked, time_major):
    options = {"return_sequences": True, "return_state": True}
    ours = tfrnn.RNN(StateOfAnotherShape(*shape), time_major=time_major, **options)
    theirs = keras.layers.RNN(StateOfAnotherShape(*shape), **options)
    with_weights(ours, (T, B, *features) if time_major else (B, T, *features))
    with_weights(theirs, (B, T, *features))
    mask = MASK if masked else None
    assert_same(ours, theirs, normal(B, T, *features), mask=mask)
    assert_same(ours, theirs, normal(B, T, *features), [tf.constant(normal(B, *shape))], mask)


@pytest.mark.parametrize(
    ("name", "dtype"),
    combinations(LAYERS, ["int32", "int64"], quick=[("gru", "int64"), *((name, "int32") for name in LAYERS)]),
)
def test_token_ids_stand_for_one_hot_vectors(name, dtype):
    for time_major, mask in [(False, None), (True, MASK)]:
        layer, other = layer_pair(name, time_major, return_sequences=True)
        ids = np.random.default_rng(0).integers(0, D, [B, T]).astype(dtype)
        returned, gradients = results(layer, ids, mask=mask)
        expected, (_, *expected_gradients) = results(other, tf.one_hot(ids, D), mask=mask)
        assert_equal_up_to_rounding([returned, gradients], [expected, expected_gradients], ROUNDINGS)


@pytest.mark.parametrize("time_major", [False, True])
def test_token_ids_for_a_layer_that_is_not_built_are_refused_in_one_line(time_major):
    with pytest.raises(UserError, match=r"`build\(\(None, None, D\)\)`") as caught:
        tfrnn.GRU(H, time_major=time_major)(np.zeros([B, T], "int32"))
    assert "\n" not in str(caught.value)


# Bidirectional layers.


def bidirectional_pair(name, time_major=False, merge_mode="concat", **options):
    """Returns tfrnn.Bidirectional around tfrnn's layer and Keras's around Keras's layer, with the same weights."""
    ours, theirs = layer_pair(name, time_major, **options)
    wrapped = tfrnn.Bidirectional(ours, merge_mode), keras.layers.Bidirectional(theirs, merge_mode)
    return with_weights(wrapped[0], (T, B, D) if time_major else (B, T, D)), with_weights(wrapped[1], (B, T, D))


@pytest.mark.parametrize("name", LAYERS)
def test_keras_bidirectional_around_our_layers_is_that_around_its_own(name):
    for mask, return_sequences in [(None, False), (MASK, True)]:
        pair = layer_pair(name, return_sequences=return_sequences)
        wrapped = [with_weights(keras.layers.Bidirectional(layer), (B, T, D)) for layer in pair]
        assert_same(*wrapped, normal(B, T, D), mask=mask)


@pytest.mark.parametrize(
    ("name", "merge_mode"),
    combinations(
        LAYERS,
        ["concat", "sum", "ave", "mul", None],
        quick=[("lstm", None), *((name, "concat") for name in ("simple_rnn", "gru", "rnn_of_a_cell"))],
    ),
)
def test_time_major_bidirectional_is_that_of_keras(name, merge_mode):
    for mask, return_sequences, return_state in [(None, False, True), (None, True, False), (MASK, True, True)]:
        options = {"return_sequences": return_sequences, "return_state": return_state}
        assert_same(*bidirectional_pair(name, True, merge_mode, **options), normal(B, T, D), mask=mask)


@pytest.mark.parametrize("merge_mode", ["sum", "ave", "mul", None])
def test_each_merge_mode_with_states_given_is_that_of_keras(merge_mode):
    ours, theirs = bidirectional_pair("gru", True, merge_mode, return_sequences=True, return_state=True)
    state = [tf.constant(normal(B, H, seed=i)) for i in range(2)]
    assert_same(ours, theirs, normal(B, T, D), state, MASK)


def test_keras_bidirectional_around_a_time_major_layer_is_refused_and_the_message_names_ours():
    layer = keras.layers.Bidirectional(tfrnn.GRU(H, time_major=True, return_sequences=True))
    with pytest.raises(UserError, match=r"tfrnn\.Bidirectional"):
        layer(np.zeros([T, B, D], "float32"))
    with pytest.raises(UserError, match=r"tfrnn\.Bidirectional"):
        layer(keras.Input((T, D)))


# In Keras's models.


def functional_model(module, masking, name):
    """A model whose second recurrent layer gets its mask from the first layers through the first recurrent one."""
    kind, arguments, options = LAYERS[name]
    layer = getattr(module, kind)
    if masking == "mask_zero":
        inputs = keras.Input((T,), dtype="int32")
        hidden = keras.layers.Embedding(D, D, mask_zero=True)(inputs)
    else:
        inputs = keras.Input((T, D))
        hidden = keras.layers.Masking()(inputs)
    hidden = layer(*arguments(), return_sequences=True, **options)(hidden)
    outputs = keras.layers.Dense(1)(layer(*arguments(), **options)(hidden))
    return with_same_weights(keras.Model(inputs, [outputs, hidden]))


def with_same_weights(model):
    model.set_weights([0.5 * normal(*weight.shape, seed=i) for i, weight in enumerate(model.weights)])
    return model


@pytest.mark.parametrize(
    ("masking", "name"),
    combinations(["mask_zero", "Masking"], LAYERS, quick=[("mask_zero", "gru"), ("Masking", "lstm")]),
)
def test_masks_of_other_layers_reach_all_layers_downstream_as_in_keras(masking, name):
    ours, theirs = (functional_model(module, masking, name) for module in (tfrnn, keras.layers))
    ids = np.random.default_rng(0).integers(1, D, [B, T]) * MASK
    inputs = ids if masking == "mask_zero" else normal(B, T, D) * MASK[:, :, None]
    assert_equal_up_to_rounding(ours(inputs), theirs(inputs), 4 * ROUNDINGS)


def test_a_mask_of_zero_ids_reaches_a_time_major_layer():
    """An embedding of time-major ids makes a time-major mask."""
    ids = np.random.default_rng(0).integers(1, D, [B, T]) * MASK
    ours, theirs = layer_pair("gru", True)
    embedding = with_weights(keras.layers.Embedding(D, D, mask_zero=True), (B, T))
    assert_equal_up_to_rounding(ours(embedding(ids.T)), theirs(embedding(ids)), ROUNDINGS)


@pytest.mark.parametrize("name", combinations(LAYERS, quick=[("gru_reset_before",), ("rnn_of_cells",)]))
def test_a_saved_time_major_layer_computes_the_same(name, tmp_path):
    kind, arguments, options = LAYERS[name]
    layer = getattr(tfrnn, kind)(*arguments(), time_major=True, return_sequences=True, **options)
    model = keras.Sequential([keras.Input(batch_shape=(T, None, D)), layer, keras.layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[0]) is getattr(tfrnn, kind)
    assert loaded.layers[0].time_major
    assert_identical(loaded(normal(T, B, D)), model(normal(T, B, D)))


def test_a_saved_time_major_bidirectional_layer_computes_the_same(tmp_path):
    layer = tfrnn.Bidirectional(tfrnn.GRU(H, time_major=True, return_sequences=True), "sum")
    model = keras.Sequential([keras.Input(batch_shape=(T, None, D)), layer])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_identical(loaded(normal(T, B, D)), model(normal(T, B, D)))


def sequential(layer, **options):
    """A model of Keras's that is compiled with the arguments `options`."""
    embedding = keras.layers.Embedding(D, D, mask_zero=True)
    model = keras.Sequential([keras.Input((T,), dtype="int32"), embedding, layer(H), keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss, **options)
    return with_same_weights(model)


def fit(model, epochs=2):
    ids = np.random.default_rng(0).integers(1, D, [B, T]) * MASK
    labels = np.arange(B) % 2
    losses = model.fit(ids, labels, batch_size=B, epochs=epochs, shuffle=False, verbose=0).history["loss"]
    return losses, model.get_weights()


def test_fit_of_a_sequential_model_is_that_of_keras_by_numbers():
    ours, theirs = (fit(sequential(module.GRU)) for module in (tfrnn, keras.layers))
    assert ours[0][1] < ours[0][0]
    assert_float32_sums_equal(ours, theirs, num_terms=2 * T * B)


@pytest.mark.slow
def test_xla_compiles_a_step_only_if_it_is_asked_to_on_a_cpu():
    by_default, by_xla = sequential(tfrnn.SimpleRNN), sequential(tfrnn.SimpleRNN, jit_compile=True)
    assert not by_default.jit_compile  # "auto"
    assert by_xla.jit_compile
    assert_float32_sums_equal(fit(by_xla), fit(by_default), num_terms=2 * T * B)
