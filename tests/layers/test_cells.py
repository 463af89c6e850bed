"""Cells from scratch and the RNN layer: against numpy, against Keras, and against themselves."""

import functools
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfrnn
from tfrnn.layers import fused, time_blocks
from tfrnn.layers.bidirectional import Bidirectional
from tfrnn.layers.cells import GRUCell, LSTMCell, RNNCell
from tfrnn.layers.rnn import RNN

T, B, D, H = 7, 3, 5, 4


PAIRS = {
    "rnn": (RNNCell, keras.layers.SimpleRNNCell),
    "gru": (GRUCell, functools.partial(keras.layers.GRUCell, reset_after=False)),
    "gru_reset_after": (functools.partial(GRUCell, reset_after=True), keras.layers.GRUCell),
    "lstm": (LSTMCell, keras.layers.LSTMCell),
}
CELLS = [
    (f"{name}_{i}", cell) for name, pair in PAIRS.items() for i, cell in zip(("scratch", "keras"), pair, strict=True)
]
SCRATCH = parameterized.named_parameters((name, ours) for name, (ours, _) in PAIRS.items())


class UsersCell(keras.layers.Layer):
    """A cell that someone wrote by the protocol alone: an echo of what came, mixed with a decaying sum."""

    state_size = D

    def call(self, inputs, states):
        return inputs + states[0], [0.5 * states[0] + inputs]


def rnn_in_numpy(x, h, w, u, b):
    """H' = tanh(X W + H U + b), unrolled; outputs and, for the sum of outputs * g, the gradients by hand."""
    hs = [h]
    for x_t in x:
        hs.append(np.tanh(x_t @ w + hs[-1] @ u + b))

    def gradients(g):
        d_x, d_w, d_u, d_b, carry = np.zeros_like(x), np.zeros_like(w), np.zeros_like(u), np.zeros_like(b), 0
        for t in reversed(range(len(x))):
            d_z = (g[t] + carry) * (1 - hs[t + 1] ** 2)
            d_x[t], carry = d_z @ w.T, d_z @ u.T
            d_w, d_u, d_b = d_w + x[t].T @ d_z, d_u + hs[t].T @ d_z, d_b + d_z.sum(0)
        return d_x, carry, d_w, d_u, d_b

    return np.stack(hs[1:]), gradients


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype("f")


def outputs_and_gradients(layer, x, state, g, compiled):
    """Outputs, state, and gradients of sum(outputs * g) by inputs, initial state and weights."""
    x, state = tf.constant(x), tf.nest.map_structure(tf.constant, state)

    def run():
        with tf.GradientTape() as tape:
            tape.watch([x, state])
            outputs, new_state = layer(x, state)
            loss = tf.reduce_sum(outputs * g)
        return outputs, new_state, tape.gradient(loss, [x, state, layer.trainable_variables])

    return tf.nest.map_structure(lambda t: t.numpy(), (tf.function(run, autograph=False) if compiled else run)())


def random_state(layer, rows=B):
    return tf.nest.map_structure(lambda t: normal(*t.shape, seed=9), layer.initial_state(rows))


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def cell_in_numpy(name, x, state, w, u, b):
    """One step of a cell, gate by gate, from the equations of sections 8.4, 9.1 and 9.2."""

    def gate(i, hidden):
        column = slice(i * H, (i + 1) * H)
        return x @ w[:, column] + hidden @ u[:, column] + b[column]

    h = state[0]
    if name == "gru_reset_after":
        (x_z, x_r, x_c), (h_z, h_r, h_c) = np.split(x @ w + b[0], 3, 1), np.split(h @ u + b[1], 3, 1)
        z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
        return (z * h + (1 - z) * np.tanh(x_c + r * h_c),)
    if name == "rnn":
        return (np.tanh(gate(0, h)),)
    if name == "gru":
        z, r = sigmoid(gate(0, h)), sigmoid(gate(1, h))
        return (z * h + (1 - z) * np.tanh(gate(2, r * h)),)
    i, f, o = (sigmoid(gate(column, h)) for column in (0, 1, 3))
    c = f * state[1] + i * np.tanh(gate(2, h))
    return o * np.tanh(c), c


class CellOfLayers(keras.layers.Layer):
    """A cell of other layers, without a build of its own, and with a weight that nothing uses."""

    def __init__(self, units):
        super().__init__()
        self.state_size, self.inner, self.spare = units, keras.layers.Dense(units), self.add_weight((2,))

    def call(self, inputs, states):
        h = tf.tanh(self.inner(tf.concat([inputs, states[0]], 1)))
        return h, [h]


class ScratchCellTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(steps=[1, 2, T, time_blocks.LONGEST_UNROLLED + 1], compiled=[False, True])
    def test_agrees_with_numpy(self, steps, compiled):
        layer = RNN(RNNCell(H))
        layer.build((None, None, D))
        weights = [normal(D, H), normal(H, H), normal(H)]
        layer.set_weights(weights)
        x, h, g = normal(steps, B, D), normal(B, H), normal(steps, B, H, seed=1)
        expected, gradients = rnn_in_numpy(x, h, *weights)
        outputs, state, (d_x, d_state, d_weights) = outputs_and_gradients(layer, x, ((h,),), g, compiled)
        self.assertAllClose(outputs, expected, 1e-5, 1e-5)
        self.assertAllClose(state[0][0], expected[-1], 1e-5, 1e-5)
        self.assertAllClose([d_x, d_state[0][0], *d_weights], list(gradients(g)), 1e-4, 1e-5)

    @parameterized.product(name=list(PAIRS), compiled=[False, True])
    def test_every_cell_is_its_equations(self, name, compiled):
        layer = RNN(PAIRS[name][0](H))
        layer.build((None, None, D))
        weights = [normal(*weight.shape) for weight in layer.weights]
        layer.set_weights(weights)
        x, (state,) = normal(T, B, D), random_state(layer)
        outputs, (new_state,) = (tf.function(layer, autograph=False) if compiled else layer)(x, (state,))
        for t in range(T):
            state = cell_in_numpy(name, x[t], state, *weights)
            self.assertAllClose(outputs[t], state[0], 1e-5, 1e-5)
        self.assertAllClose(new_state, state, 1e-5, 1e-5)

    @SCRATCH
    def test_gradients_agree_with_finite_differences(self, cell):
        layer = RNN(cell(H, dtype="float64"), dtype="float64")
        layer.build((None, None, D))
        layer.set_weights([normal(*weight.shape).astype("d") for weight in layer.weights])
        x, state = normal(T, B, D).astype("d"), random_state(layer)
        flat = [x, *state[0], *layer.get_weights()]

        def loss(x, *rest):
            layer.set_weights(rest[len(state[0]) :])
            outputs, _ = layer(x, (tuple(tf.constant(s, tf.float64) for s in rest[: len(state[0])]),))
            return float(tf.reduce_sum(tf.sin(outputs)))

        with tf.GradientTape() as tape:
            tensors = [tf.constant(x), tuple(tf.constant(s, tf.float64) for s in state[0])]
            tape.watch(tensors)
            outputs, _ = layer(tensors[0], (tensors[1],))
            total = tf.reduce_sum(tf.sin(outputs))
        gradients = tf.nest.flatten(tape.gradient(total, [*tensors, *layer.trainable_variables]))
        rng = np.random.default_rng(0)
        for i, (value, gradient) in enumerate(zip(flat, gradients, strict=True)):
            direction = rng.normal(size=value.shape)
            shifted = [[v + sign * 1e-6 * direction if j == i else v for j, v in enumerate(flat)] for sign in (1, -1)]
            difference = (loss(*shifted[0]) - loss(*shifted[1])) / 2e-6
            self.assertAllClose(np.sum(gradient * direction), difference, 1e-6, 1e-6)

    @parameterized.product(name=list(PAIRS), steps=[1, T], compiled=[False, True])
    def test_agrees_with_keras_by_the_same_weights(self, name, steps, compiled):
        ours, keras_own = (RNN(cell(H)) for cell in PAIRS[name])
        results = []
        for layer in (ours, keras_own):
            layer.build((None, None, D))
            layer.set_weights([normal(*weight.shape) for weight in layer.weights])
            x, g = normal(steps, B, D), normal(steps, B, H, seed=1)
            results.append(outputs_and_gradients(layer, x, random_state(layer), g, compiled))
        self.assertAllClose(*results, 1e-5, 1e-5)

    @parameterized.parameters(list(PAIRS))
    def test_runs_under_keras_own_rnn_layer(self, name):
        ours, _ = PAIRS[name]
        layer = keras.layers.RNN(ours(H), return_sequences=True)
        by_keras = layer(normal(B, T, D))
        by_us = RNN(layer.cell, time_major=False, return_state=False)(normal(B, T, D))
        self.assertAllClose(by_keras, by_us, 1e-6, 1e-6)

    @SCRATCH
    def test_starts_with_the_books_weights(self, cell):
        keras.utils.set_random_seed(0)
        layer = cell(256)
        layer.build((None, 28))
        n = layer.gates * 256
        self.assertEqual([tuple(w.shape) for w in layer.weights[:2]], [(28, n), (256, n)])
        self.assertEqual(layer.bias.shape[-1], n)
        self.assertNear(np.std(layer.recurrent_kernel), 0.01, 1e-3)
        self.assertNear(np.mean(layer.recurrent_kernel), 0, 1e-3)
        self.assertAllEqual(layer.bias, np.zeros(layer.bias.shape))

    def test_a_unit_forget_bias_is_that_of_keras(self):
        ours, keras_own = LSTMCell(H, unit_forget_bias=True), keras.layers.LSTMCell(H)
        for cell in (ours, keras_own):
            cell.build((None, D))
        self.assertAllEqual(ours.bias, keras_own.bias)
        self.assertAllEqual(ours.bias, [0] * H + [1] * H + [0] * 2 * H)

    @parameterized.parameters(
        (RNNCell, {"activation": "relu"}),
        (GRUCell, {"reset_after": True, "kernel_initializer": "glorot_uniform"}),
        (LSTMCell, {"unit_forget_bias": True, "activation": "relu"}),
    )
    def test_options_survive_serialising(self, cell, options):
        config = keras.saving.deserialize_keras_object(
            keras.saving.serialize_keras_object(cell(H, **options))
        ).get_config()
        self.assertEqual(config, {**cell(H, **options).get_config(), "name": config["name"]})

    @parameterized.parameters(list(PAIRS))
    def test_an_activation_of_ones_own(self, name):
        layers = [RNN(cell(H, activation="relu")) for cell in PAIRS[name]]
        for layer in layers:
            layer.build((None, None, D))
            layer.set_weights([normal(*weight.shape) for weight in layer.weights])
        outputs = [layer(normal(T, B, D))[0] for layer in layers]
        self.assertAllClose(*outputs, 1e-5, 1e-5)
        self.assertNotAllClose(outputs[0], RNN(PAIRS[name][0](H))(normal(T, B, D))[0])

    @parameterized.parameters(0, -1, 2.5, "4", None)
    def test_units_must_be_a_whole_number(self, units):
        with self.assertRaisesRegex(ValueError, "at least 1"):
            RNNCell(units)


class RecurrenceTest(tf.test.TestCase, parameterized.TestCase):
    """What is computed by hand over all steps is what the cells compute step by step, and its gradient autodiff's."""

    @parameterized.product(
        cell=[cell for _, cell in CELLS],
        case=[
            (1, False),
            (4, True),
            (8, True),
            (9, False),
        ],  # one block, one, a loop of two and a rest, a loop of three
    )
    @mock.patch.object(time_blocks, "LONGEST_UNROLLED", 4)
    @mock.patch.object(time_blocks, "BLOCK", 3)
    def test_equals_the_cells_own_steps(self, cell, case):
        steps, compiled = case
        layer = RNN([cell(H), cell(H)])
        layer.build((None, None, D))
        layer.set_weights([0.5 * normal(*weight.shape) for weight in layer.weights])
        x, g = normal(steps, B, D), normal(steps, B, H, seed=1)
        self.assertTrue(all(fused.knows(cell, training=True) for cell in layer.cells))
        by_hand = outputs_and_gradients(layer, x, random_state(layer), g, compiled)
        with mock.patch.object(fused, "knows", return_value=False):
            by_autodiff = outputs_and_gradients(layer, x, random_state(layer), g, compiled)
        self.assertAllClose(by_hand, by_autodiff, 1e-4, 1e-4)

    @parameterized.named_parameters(*CELLS)
    @mock.patch.object(time_blocks, "LONGEST_UNROLLED", 2)
    @mock.patch.object(time_blocks, "BLOCK", 2)
    def test_gradient_is_the_finite_difference(self, cell):
        layer = RNN(cell(2, dtype="float64"), dtype="float64")
        layer.build((None, None, 2))
        self.assertTrue(fused.knows(layer.cell, training=True))
        others = [variable.value for variable in layer.non_trainable_variables]  # of Keras's seed generators
        number = len(layer.weights)
        weights = [normal(*weight.shape) for weight in layer.weights]
        arguments = [tf.cast(a, tf.float64) for a in (*weights, normal(5, 1, 2), *random_state(layer, 1)[0])]

        def sums(*arguments):
            (outputs, (state,)), _ = layer.stateless_call(
                arguments[:number], others, arguments[number], (arguments[number + 1 :],), training=True
            )
            return tf.stack([tf.reduce_sum(tf.sin(tensor)) for tensor in (outputs, *state)])

        by_hand, by_differences = tf.test.compute_gradient(sums, arguments, delta=1e-5)
        self.assertAllClose(by_hand, by_differences, 1e-6, 1e-8)

    @parameterized.product(cell=[cell for _, cell in CELLS], few_rows=[0, 64])
    def test_token_ids_are_one_hot_vectors(self, cell, few_rows):
        self.enter_context(mock.patch.object(fused, "FEW_ROWS", few_rows))
        layer = RNN(cell(H))
        layer.build((None, None, D))
        layer.set_weights([normal(*weight.shape) for weight in layer.weights])
        for steps in (1, T):  # fewer and more than rows of the kernel
            ids = np.random.default_rng(0).integers(0, D, [steps, B])
            g = normal(steps, B, H, seed=1)

            def run(x, g=g):
                with tf.GradientTape() as tape:
                    outputs, state = layer(x)
                    loss = tf.reduce_sum(outputs * g)
                return outputs, state, [tf.convert_to_tensor(d) for d in tape.gradient(loss, layer.trainable_variables)]

            self.assertAllClose(run(tf.constant(ids)), run(tf.one_hot(ids, D)), 1e-5, 1e-5)

    @parameterized.named_parameters(*CELLS)
    @mock.patch.object(time_blocks, "LONGEST_UNROLLED", 4)
    @mock.patch.object(time_blocks, "BLOCK", 3)
    def test_so_it_is_without_bias_and_for_token_ids_and_unknown_lengths(self, cell):
        layer = RNN([cell(H, use_bias=False) if "use_bias" in cell(H).get_config() else cell(H), cell(H)])
        layer.build((None, None, D))
        layer.set_weights([0.5 * normal(*weight.shape) for weight in layer.weights])
        ids = tf.constant(np.random.default_rng(0).integers(0, D, [8, B]), tf.int32)

        @tf.function(input_signature=[tf.TensorSpec([None, B], tf.int32)], autograph=False)
        def of_unknown_length(ids):
            return gradients(ids)

        def gradients(ids):
            with tf.GradientTape() as tape:
                outputs, state = layer(ids, random_state(layer))
                loss = tf.add_n([tf.reduce_sum(tf.sin(t)) for t in tf.nest.flatten((outputs, state))])
            return [loss, *(tf.convert_to_tensor(g) for g in tape.gradient(loss, layer.trainable_variables))]

        with mock.patch.object(fused, "knows", return_value=False):
            by_autodiff = gradients(ids)
        self.assertAllClose(gradients(ids), by_autodiff, 1e-4, 1e-4)
        self.assertAllClose(of_unknown_length(ids), by_autodiff, 1e-4, 1e-4)

    def test_the_graph_does_not_grow_with_the_number_of_steps(self):
        layer = RNN(LSTMCell(H))
        layer.build((None, None, D))

        @tf.function(autograph=False)
        def gradients(x):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(layer(x)[0])
            return tape.gradient(loss, layer.trainable_variables)

        def size(steps):
            graph = gradients.get_concrete_function(tf.TensorSpec([steps, B, D])).graph.as_graph_def()
            return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)

        self.assertEqual(size(128), size(1024))
        self.assertLess(size(1024), 2.5 * size(time_blocks.LONGEST_UNROLLED))

    def test_weights_read_once_are_those_of_the_calls_inside(self):
        layer = RNN([GRUCell(H), LSTMCell(H)])
        x = normal(T, B, D)
        expected, _ = layer(x)
        with tf.GradientTape() as tape, layer.weights_read_once():
            loss = tf.reduce_sum(layer(x)[0] + layer(2 * x)[0])
        with tf.GradientTape() as plain:
            plain_loss = tf.reduce_sum(layer(x)[0] + layer(2 * x)[0])
        weights = layer.trainable_variables
        self.assertAllClose(tape.gradient(loss, weights), plain.gradient(plain_loss, weights), 1e-5, 1e-5)
        with layer.weights_read_once():
            layer.set_weights([2 * weight for weight in layer.get_weights()])
            self.assertAllClose(layer(x)[0], expected)
        self.assertNotAllClose(layer(x)[0], expected)

    def test_a_cell_that_may_do_something_else_is_not_known(self):
        class Mine(GRUCell):
            pass

        others = (
            Mine(H),
            GRUCell(H, activation="relu"),
            keras.layers.GRUCell(H, recurrent_activation="hard_sigmoid"),
            keras.layers.LSTMCell(H, dropout=0.1),
            LSTMCell(H, dtype="mixed_bfloat16"),
        )
        for cell in others:
            RNN(cell).build((None, None, D))
            self.assertFalse(fused.knows(cell, training=True))
        self.assertTrue(fused.knows(others[3], training=False))
        self.assertFalse(fused.knows(GRUCell(H), training=False))  # not built
        without_bias = RNN(keras.layers.LSTMCell(H, use_bias=False))
        outputs, _ = without_bias(normal(T, B, D))
        with mock.patch.object(fused, "knows", return_value=False):
            self.assertAllClose(outputs, without_bias(normal(T, B, D))[0], 1e-5, 1e-5)


class RNNTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(False, True)
    def test_state_is_always_a_tuple_of_tuples(self, deep):
        for _, cell in CELLS:
            cells = [cell(H), cell(H)] if deep else cell(H)
            layer = RNN(cells)
            count = 2 if cell in PAIRS["lstm"] else 1
            expected = ((((B, H),) * count),) * (2 if deep else 1)
            _, state = layer(normal(T, B, D))
            for found in (state, layer.initial_state(B)):
                self.assertIsInstance(found, tuple)
                self.assertEqual(tuple(tuple(tuple(t.shape) for t in entry) for entry in found), expected)

    @parameterized.named_parameters(*CELLS)
    def test_twice_t_steps_equal_t_steps_twice(self, cell):
        layer = RNN([cell(H), cell(H)])
        x = normal(2 * T, B, D)
        outputs, state = layer(x, random_state(layer))
        first, halfway = layer(x[:T], random_state(layer))
        second, end = layer(x[T:], halfway)
        self.assertAllClose(outputs, tf.concat([first, second], 0), 1e-6, 1e-6)
        self.assertAllClose(state, end, 1e-6, 1e-6)

    @parameterized.named_parameters(*CELLS)
    def test_a_loop_in_the_graph_equals_the_unrolled_steps(self, cell):
        layer = RNN(cell(H))
        x = normal(T, B, D)
        state = random_state(layer)
        signature = [tf.TensorSpec([None, None, D]), tf.nest.map_structure(lambda _: tf.TensorSpec([None, H]), state)]
        unknown_length = tf.function(layer, input_signature=signature, autograph=False)
        self.assertAllClose(layer(x, state), unknown_length(tf.constant(x), state), 1e-6, 1e-6)

    @parameterized.named_parameters(*CELLS)
    def test_batch_major_is_the_transpose_of_time_major(self, cell):
        cell = cell(H)
        x = normal(T, B, D)
        outputs, state = RNN(cell)(x)
        transposed, same = RNN(cell, time_major=False)(x.transpose(1, 0, 2))
        self.assertAllClose(outputs, tf.transpose(transposed, [1, 0, 2]), 1e-6, 1e-6)
        self.assertAllClose(state, same, 1e-6, 1e-6)

    @parameterized.product(cell=[cell for _, cell in CELLS], layers=[1, 2])
    def test_rows_of_a_batch_never_meet(self, cell, layers):
        layer = RNN([cell(H) for _ in range(layers)])
        x = normal(T, B, D)
        outputs, _ = layer(x)
        alone, _ = layer(x[:, 1:2])
        self.assertAllClose(outputs[:, 1:2], alone, 1e-6, 1e-6)

    @parameterized.named_parameters(*CELLS)
    def test_what_is_returned(self, cell):
        cell = cell(H)
        x = normal(T, B, D)
        outputs, state = RNN(cell)(x)
        self.assertAllEqual(RNN(cell, return_state=False)(x), outputs)
        self.assertAllEqual(RNN(cell, return_sequences=False, return_state=False)(x), outputs[-1])
        last, again = RNN(cell, return_sequences=False)(x)
        self.assertAllEqual(last, outputs[-1])
        self.assertAllClose(again, state, 0, 0)

    def test_the_cells_own_initial_state_is_welcome_with_one_cell(self):
        for cell in (RNNCell(H), keras.layers.LSTMCell(H)):
            layer = RNN(cell)
            expected = layer(normal(T, B, D), layer.initial_state(B))
            self.assertAllClose(layer(normal(T, B, D), cell.get_initial_state(batch_size=B)), expected, 0, 0)
        bare = tf.zeros([B, H])
        layer = RNN(RNNCell(H))
        self.assertAllEqual(layer(normal(T, B, D), bare)[0], layer(normal(T, B, D))[0])

    def test_a_users_cell(self):
        outputs, state = RNN([UsersCell(), RNNCell(H)])(np.ones([3, B, D], "f"))
        self.assertEqual(outputs.shape, (3, B, H))
        outputs, state = RNN(UsersCell())(np.ones([3, B, D], "f"))
        self.assertAllClose(outputs[:, 0, 0], [1, 2, 2.5])
        self.assertAllClose(state[0][0][0, 0], 1.75)

    def test_a_cell_made_of_layers_trains(self):
        model = tfrnn.LanguageModel(tfrnn.RNN([CellOfLayers(H), CellOfLayers(H)]), 11)
        trainer = tfrnn.Trainer(model, keras.optimizers.SGD(0.1))
        losses = trainer.fit(tfrnn.sequential_batches(np.arange(200) % 11, 2, T), 5).history["loss"]
        self.assertLess(losses[-1], losses[0])

    def test_what_the_books_readers_get_by_a_star_is_welcome_too(self):
        for cells in (RNNCell(H), [keras.layers.LSTMCell(H), keras.layers.LSTMCell(H)]):
            layer = RNN(cells)
            _, *state = layer(normal(T, B, D), random_state(layer))
            again = layer(normal(T, B, D), state)
            self.assertAllClose(again, layer(normal(T, B, D), state[0]), 0, 0)

    def test_keras_stacked_cells_are_layers(self):
        cells = [keras.layers.LSTMCell(H), keras.layers.LSTMCell(H)]
        stacked = RNN(keras.layers.StackedRNNCells(cells))
        self.assertEqual(stacked.cells, cells)
        x, state = normal(T, B, D), stacked.cell.get_initial_state(batch_size=B)
        self.assertAllClose(stacked(x, state), RNN(cells)(x), 0, 0)

    @parameterized.parameters(
        (((np.zeros([2, H], "f"),),),),
        (((np.zeros([B, H + 1], "f"),),),),
        (((np.zeros([B, H], "f"),) * 2,),),
        (((np.zeros([B, H], "f"),),) * 2,),
        ((),),
    )
    def test_another_state_is_refused_with_expected_and_received(self, state):
        with self.assertRaisesRegex(ValueError, rf"\[{B}, {H}\].*got"):
            RNN(RNNCell(H))(normal(T, B, D), state)

    def test_what_is_no_cell_is_refused(self):
        for wrong in (keras.layers.Dense(3), 5, []):
            with self.assertRaisesRegex(ValueError, "cell"):
                RNN(wrong)

    def test_weights_are_listed_layer_by_layer(self):
        layer = RNN([RNNCell(H), RNNCell(H)])
        layer.build((None, None, D))
        self.assertEqual(
            [tuple(w.shape) for w in layer.weights], [(D, H), (H, H), (H,), (H, H), (H, H), (H,)]
        )  # fmt: skip

    def test_dropout_acts_between_layers_in_training_alone(self):
        keras.utils.set_random_seed(0)
        layer = RNN([UsersCell(), UsersCell()], dropout=0.5, return_state=False)
        x = np.ones([1, 200, D], "f")
        self.assertAllEqual(layer(x, training=False), x)
        dropped = layer(x, training=True).numpy()
        self.assertAllEqual(np.unique(dropped), [0, 2])
        self.assertNear(dropped.mean(), 1, 0.15)
        self.assertAllEqual(RNN(UsersCell(), dropout=0.5, return_state=False)(x, training=True), x)

    def test_dropout_inside_kerass_cells_is_drawn_anew_each_call(self):
        layer = RNN(keras.layers.SimpleRNNCell(H, recurrent_dropout=0.5), return_state=False)
        x, state = normal(T, B, D), np.ones([B, H], "f")
        draws = {layer(x, state, training=True).numpy().tobytes() for _ in range(8)}
        self.assertGreater(len(draws), 1)
        self.assertAllEqual(layer(x, state), layer(x, state))

    @parameterized.named_parameters(*CELLS)
    def test_serialises(self, cell):
        layer = RNN([cell(H), cell(H)], dropout=0.25)
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        for one in (layer, again):
            one.build((None, None, D))
        again.set_weights(layer.get_weights())
        self.assertAllEqual(layer(normal(T, B, D))[0], again(normal(T, B, D))[0])
        self.assertEqual(layer.get_config(), again.get_config())


class BidirectionalTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(*CELLS)
    def test_equals_keras_bidirectional_layer(self, cell):
        ours = Bidirectional(cell(H), time_major=False)
        x = normal(B, T, D)
        outputs, (state,) = ours(x)
        forward = keras.layers.RNN(ours.cells[0], return_sequences=True, return_state=True)
        backward = keras.layers.RNN(ours.backward_cells[0], return_sequences=True, return_state=True)
        ahead, *ahead_state = forward(x)
        back, *back_state = backward(x[:, ::-1])
        self.assertAllClose(outputs, tf.concat([ahead, back[:, ::-1]], -1), 1e-6, 1e-6)
        self.assertAllClose(list(state), [*ahead_state, *back_state], 1e-6, 1e-6)
        ends = Bidirectional(ours.cells[0], ours.backward_cells[0], return_sequences=False, return_state=False)
        self.assertAllClose(ends(x.swapaxes(0, 1)), tf.concat([ahead[:, -1], back[:, -1]], -1), 1e-6, 1e-6)

    @parameterized.named_parameters(*CELLS)
    def test_layers_read_both_directions_and_keep_one_entry_of_state_each(self, cell):
        layer = Bidirectional([cell(H), cell(H)])
        outputs, state = layer(normal(T, B, D), None)
        self.assertEqual(outputs.shape, (T, B, 2 * H))
        self.assertLen(state, 2)
        tf.nest.assert_same_structure(state, layer.initial_state(B))
        self.assertEqual([tuple(t.shape) for t in state[1]], [(B, H)] * len(layer.initial_state(B)[1]))
        by_layers = normal(T, B, D)
        for ahead, back in layer.cells_of_layers:
            by_layers, _ = Bidirectional(ahead, back)(by_layers)
        self.assertAllClose(outputs, by_layers, 1e-6, 1e-6)

    def test_the_directions_begin_with_weights_of_their_own(self):
        layer = Bidirectional(RNNCell(H))
        layer.build((None, None, D))
        self.assertNotAllClose(layer.cells[0].kernel, layer.backward_cells[0].kernel)
        self.assertLen(layer.trainable_variables, 6)

    def test_serialises(self):
        layer = Bidirectional([RNNCell(H), RNNCell(H)], dropout=0.1)
        layer.build((None, None, D))
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        again.build((None, None, D))
        again.set_weights(layer.get_weights())
        self.assertAllEqual(layer(normal(T, B, D))[0], again(normal(T, B, D))[0])

    def test_as_many_cells_each_way(self):
        with self.assertRaisesRegex(ValueError, "got 1 and 2"):
            Bidirectional([RNNCell(H), RNNCell(H)], [RNNCell(H)])
