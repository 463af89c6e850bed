"""Weights carried over: ours and Keras's, the GRU's two forms, PyTorch's."""

import functools
import importlib.util

import keras
import numpy as np
import pytest
import pytorch_reference
import tensorflow as tf
from absl.testing import parameterized

from tfrnn import to_pytorch, transfer_weights
from tfrnn.errors import UserError
from tfrnn.layers.bidirectional import Bidirectional
from tfrnn.layers.cells import GRUCell, LSTMCell, RNNCell
from tfrnn.layers.rnn import RNN

T, B, D, H = 5, 2, 3, 4
KerasGRU = keras.layers.GRUCell
PAIRS = {
    "rnn": (RNNCell, keras.layers.SimpleRNNCell),
    "gru": (GRUCell, functools.partial(KerasGRU, reset_after=False)),
    "gru_reset_after": (functools.partial(GRUCell, reset_after=True), KerasGRU),
    "lstm": (LSTMCell, keras.layers.LSTMCell),
}


def with_random_weights(layer, size=D):
    layer.build((None, None, size))
    rng = np.random.default_rng(0)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.weights])
    return layer


def computed(layer, inputs=None, state=None):
    """Outputs, last state, and gradients of sum(outputs ** 2) by inputs, state and weights."""
    inputs = tf.constant(np.random.default_rng(1).normal(size=[T, B, D]).astype("f") if inputs is None else inputs)
    state = layer.initial_state(B) if state is None else tf.nest.map_structure(tf.constant, state)
    with tf.GradientTape() as tape:
        tape.watch([inputs, state])
        outputs, last = layer(inputs, state)
        loss = tf.reduce_sum(outputs**2)
    return outputs, last, tape.gradient(loss, [inputs, state, layer.trainable_variables])


class TransferTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(name=list(PAIRS), ours_first=[True, False], layers=[1, 2])
    def test_between_ours_and_keras_both_ways(self, name, ours_first, layers):
        first, second = PAIRS[name] if ours_first else PAIRS[name][::-1]
        source = with_random_weights(RNN([first(H) for _ in range(layers)]))
        target = RNN([second(H) for _ in range(layers)])
        transfer_weights(source, target)
        self.assertAllClose(computed(source), computed(target), 1e-5, 1e-5)
        cell = second(H)
        transfer_weights(source.cells[0], cell)
        self.assertAllEqual(cell.get_weights()[1], source.cells[0].get_weights()[1])

    @parameterized.product(name=list(PAIRS))
    def test_both_directions(self, name):
        ours, theirs = PAIRS[name]
        source, target = with_random_weights(Bidirectional([ours(H), ours(H)])), Bidirectional([theirs(H), theirs(H)])
        transfer_weights(source, target)
        self.assertAllClose(computed(source)[:2], computed(target)[:2], 1e-5, 1e-5)

    @parameterized.product(first=[GRUCell, KerasGRU], second=[GRUCell, KerasGRU], after=[False, True])
    def test_the_two_forms_of_the_gru_where_they_are_the_same(self, first, second, after):
        source = with_random_weights(RNN(first(H, reset_after=after)))
        *others, candidate = np.split(source.cell.get_weights()[1], 3, 1)
        source.cell.recurrent_kernel.assign(np.concatenate([*others, np.diag(np.diag(candidate))], 1))
        if after:
            bias = source.cell.get_weights()[2]
            bias[1, 2 * H :] = 0
            source.cell.bias.assign(bias)
        target = RNN(second(H, reset_after=not after))
        transfer_weights(source, target)
        self.assertAllClose(computed(source)[:2], computed(target)[:2], 1e-5, 1e-5)

    @parameterized.parameters(False, True)
    def test_the_two_forms_are_refused_where_they_differ(self, after):
        source = with_random_weights(GRUCell(H, reset_after=after))
        target = with_random_weights(GRUCell(H, reset_after=not after))
        before = target.get_weights()
        with self.assertRaisesRegex(UserError, f"reset_after={after}, as the source; got {not after}.*diagonal"):
            transfer_weights(source, target)
        self.assertAllEqual(before[1], target.get_weights()[1])

    def test_a_bias_of_the_states_candidate_is_not_lost(self):
        source = with_random_weights(GRUCell(1, reset_after=True))  # one unit: any kernel is diagonal
        with self.assertRaisesRegex(UserError, "bias b zero"):
            transfer_weights(source, GRUCell(1))

    def test_without_biases(self):
        source = with_random_weights(RNN(keras.layers.LSTMCell(H, use_bias=False)))
        target = RNN(LSTMCell(H))
        transfer_weights(source, target)
        self.assertAllClose(computed(source)[0], computed(target)[0], 1e-5, 1e-5)
        with self.assertRaisesRegex(UserError, "use_bias=True"):
            transfer_weights(with_random_weights(LSTMCell(H)), keras.layers.LSTMCell(H, use_bias=False))

    @parameterized.parameters(
        (RNNCell(H), GRUCell(H), "rnn cell of 4 units; got gru of 4"),
        (RNNCell(H), RNNCell(H + 1), "got rnn of 5"),
        (RNNCell(H), RNNCell(H, activation="relu"), "activations of the source.*relu"),
        (RNNCell(H), KerasGRU(H, recurrent_activation="relu"), "rnn cell"),
        (GRUCell(H), KerasGRU(H, recurrent_activation="hard_sigmoid", reset_after=False), "hard_sigmoid"),
        (RNNCell(H), RNN([RNNCell(H), RNNCell(H)]), "got 1 of 1 and 2 of 1"),
        (RNNCell(H), Bidirectional(RNNCell(H)), "got 1 of 1 and 1 of 2"),
        (RNNCell(H), keras.layers.Dense(H), "expected one of tfrnn.RNNCell"),
    )
    def test_what_cannot_compute_the_same_is_refused(self, source, target, message):
        if not source.built:
            source.build((None, D))
        with self.assertRaisesRegex(UserError, message):
            transfer_weights(source, target)

    def test_a_source_without_weights_and_a_target_of_other_inputs(self):
        with self.assertRaisesRegex(UserError, "is not built"):
            transfer_weights(RNNCell(H), RNNCell(H))
        with self.assertRaisesRegex(UserError, "target of 3 inputs; got one built for 5"):
            transfer_weights(with_random_weights(RNNCell(H)), with_random_weights(RNNCell(H), 5))


class PyTorchTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(case=list(pytorch_reference.CASES), scratch=[True, False])
    def test_computes_what_pytorch_does(self, case, scratch):
        kind, layers, both = pytorch_reference.CASES[case]
        arrays = pytorch_reference.recorded(case)
        cell = PAIRS["gru_reset_after" if kind == "GRU" else kind.lower()][0 if scratch else 1]
        layer = (Bidirectional if both else RNN)([cell(H) for _ in range(layers)])
        transfer_weights({n.removeprefix("net."): a for n, a in arrays.items() if n.startswith("net.")}, layer)

        def ours(name):
            """PyTorch's state, [layers * directions, B, H] for each tensor of a cell, as an entry per layer."""
            tensors = [arrays[f"{name}_{i}"] for i in range(2 if kind == "LSTM" else 1)]
            directions = 2 if both else 1
            cells = [tuple(tensor[i] for tensor in tensors) for i in range(layers * directions)]
            return tuple(sum(cells[i : i + directions], ()) for i in range(0, len(cells), directions))

        outputs, last, (d_inputs, d_state, _) = computed(layer, arrays["inputs"], ours("state"))
        self.assertAllClose(outputs, arrays["outputs"], 1e-5, 1e-5)
        self.assertAllClose(last, ours("last"), 1e-5, 1e-5)
        self.assertAllClose(d_inputs, arrays["inputs_gradient"], 1e-5, 1e-5)
        self.assertAllClose(d_state, ours("state_gradient"), 1e-5, 1e-5)

    @parameterized.parameters(list(pytorch_reference.CASES))
    @pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (extra `bench`)")
    def test_the_recorded_arrays_are_pytorchs(self, case):
        self.assertAllClose(pytorch_reference.recorded(case), pytorch_reference.compute(case), 1e-5, 1e-5)

    def test_both_directions_are_not_two_layers(self):
        arrays = pytorch_reference.recorded("GRU_2")
        state_dict = {n.removeprefix("net."): a for n, a in arrays.items() if n.startswith("net.")}
        with self.assertRaisesRegex(UserError, "got 2 of 1 and 1 of 2"):
            transfer_weights(state_dict, Bidirectional(keras.layers.GRUCell(H)))

    def test_the_non_linearity_of_a_simple_rnn_is_the_targets(self):
        arrays = pytorch_reference.recorded("RNN_1")
        state_dict = {n.removeprefix("net."): a for n, a in arrays.items() if n.startswith("net.")}
        relu = RNN(keras.layers.SimpleRNNCell(H, activation="relu"))
        transfer_weights(state_dict, relu)
        h = arrays["state_0"][0]
        for x, output in zip(arrays["inputs"], computed(relu, arrays["inputs"], ((h,),))[0], strict=True):
            w_x, w_h = state_dict["weight_ih_l0"], state_dict["weight_hh_l0"]
            h = np.maximum(0, x @ w_x.T + state_dict["bias_ih_l0"] + h @ w_h.T + state_dict["bias_hh_l0"])
            self.assertAllClose(output, h, 1e-5, 1e-5)

    def test_a_layer_inside_a_larger_net(self):
        arrays = pytorch_reference.recorded("LSTM_1")
        state_dict = {n.replace("net.", "encoder."): a for n, a in arrays.items() if n.startswith("net.")}
        layer = RNN(LSTMCell(H))
        transfer_weights({**state_dict, "out.weight": np.ones([1, H])}, layer)
        self.assertAllClose(computed(layer, arrays["inputs"], ((arrays["state_0"][0], arrays["state_1"][0]),))[0],
                            arrays["outputs"], 1e-5, 1e-5)  # fmt: skip

    @parameterized.parameters(
        ({}, "got nothing"),
        ({"weight_hh_l0": np.ones([2 * H, H]), "weight_ih_l0": np.ones([2 * H, D])}, "3H or 4H rows"),
        ({"weight_hh_l0": np.ones([H, H])}, "weight_ih_l0"),
        ({"weight_hh_l0": np.ones([4 * H, 2]), "weight_ih_l0": np.ones([4 * H, D]), "weight_hr_l0": 0}, "proj_size"),
        ({"a.weight_hh_l0": np.ones([H, H]), "b.weight_hh_l0": np.ones([H, H])}, "of one nn.RNN"),
    )
    def test_another_state_dict_is_refused(self, state_dict, message):
        with self.assertRaisesRegex(UserError, message):
            transfer_weights(state_dict, RNNCell(H))

    @parameterized.product(case=list(pytorch_reference.CASES), scratch=[True, False])
    def test_weights_go_back_to_pytorch_as_they_came(self, case, scratch):
        kind, layers, both = pytorch_reference.CASES[case]
        arrays = pytorch_reference.recorded(case)
        state_dict = {n.removeprefix("net."): a for n, a in arrays.items() if n.startswith("net.")}
        cell = PAIRS["gru_reset_after" if kind == "GRU" else kind.lower()][0 if scratch else 1]
        layer = (Bidirectional if both else RNN)([cell(H) for _ in range(layers)])
        transfer_weights(state_dict, layer)
        back = to_pytorch(layer)
        self.assertEqual(set(back), set(state_dict))
        for name, array in state_dict.items():
            if "bias" not in name or kind == "GRU":
                self.assertAllEqual(back[name], array)
        for name in (name for name in back if "bias_ih" in name):  # two biases that are only ever added
            other = name.replace("_ih", "_hh")
            self.assertAllClose(back[name] + back[other], state_dict[name] + state_dict[other])

    def test_what_pytorch_does_not_compute_does_not_go_there(self):
        with self.assertRaisesRegex(UserError, "reset_after=True, as PyTorch's"):
            to_pytorch(with_random_weights(RNN(GRUCell(H))))
        with self.assertRaisesRegex(UserError, "tanh and sigmoid.*relu"):
            to_pytorch(with_random_weights(RNN(RNNCell(H, activation="relu"))))

    def test_pytorchs_gru_does_not_fit_the_books(self):
        arrays = pytorch_reference.recorded("GRU_1")
        state_dict = {n.removeprefix("net."): a for n, a in arrays.items() if n.startswith("net.")}
        with self.assertRaisesRegex(UserError, "reset_after=True"):
            transfer_weights(state_dict, GRUCell(H))
