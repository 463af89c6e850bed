"""Transfer of weights: between tfrnn's cells and Keras's, between the two forms of the GRU, and with PyTorch."""

import importlib.util

import keras
import numpy as np
import pytest
import pytorch_reference
import tensorflow as tf
from all_cells import SCRATCH_AND_KERAS, combinations
from layer_results import normal, outputs_and_gradients, random_state, with_random_weights
from rounding import assert_equal_up_to_rounding, recurrence_roundings

import tfrnn
from tfrnn import to_pytorch, transfer_weights
from tfrnn.errors import UserError
from tfrnn.layers.cells import GRUCell, LSTMCell, RNNCell
from tfrnn.layers.stack import RecurrentStack

T, B, D, H = (getattr(pytorch_reference, name) for name in "TBDH")
KerasGRUCell = keras.layers.GRUCell
KINDS = list(SCRATCH_AND_KERAS)
ORIGINS = ["scratch", "keras"]
# The second layer of a bidirectional RNN reads 2 * H values.
ROUNDINGS = recurrence_roundings(T, 2 * H, H, B, num_layers=2)


def assert_compute_the_same(source, target):
    x, state = normal(T, B, D), random_state(source, B)
    results = [outputs_and_gradients(layer, layer.trainable_variables, x, state) for layer in (source, target)]
    assert_equal_up_to_rounding(*results, ROUNDINGS)


@pytest.mark.parametrize(
    ("kind", "origin", "num_layers"),
    combinations(
        KINDS,
        ORIGINS,
        [1, 2],
        quick=[(kind, origin, 1 + (i + j) % 2) for i, kind in enumerate(KINDS) for j, origin in enumerate(ORIGINS)],
    ),
)
def test_scratch_and_keras_layers_compute_the_same_after_a_transfer(kind, origin, num_layers):
    source_cell, target_cell = SCRATCH_AND_KERAS[kind] if origin == "scratch" else SCRATCH_AND_KERAS[kind][::-1]
    source = with_random_weights(RecurrentStack([source_cell(H) for _ in range(num_layers)]), D)
    target = RecurrentStack([target_cell(H) for _ in range(num_layers)])
    transfer_weights(source, target)
    assert_compute_the_same(source, target)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_a_single_cell_are_transferred(kind):
    scratch, keras_cell = SCRATCH_AND_KERAS[kind]
    source, target = with_random_weights(scratch(H), D), keras_cell(H)
    transfer_weights(source, target)
    for expected, actual in zip(source.get_weights(), target.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)


def both_directions(cells):
    cells = cells if isinstance(cells, list) else [cells]
    return RecurrentStack(cells, [type(cell).from_config(cell.get_config()) for cell in cells])


@pytest.mark.parametrize("source", [keras.layers.GRU(H), tfrnn.GRU(H, time_major=True)], ids=["keras", "tfrnn"])
def test_weights_of_layers_are_transferred(source):
    source.build((None, None, D))
    target = RecurrentStack(GRUCell(H, reset_after=True))
    transfer_weights(source, target)
    np.testing.assert_array_equal(target.cells[0].kernel, source.cell.kernel)
    both, target = tfrnn.Bidirectional(source), both_directions(KerasGRUCell(H))
    both.build((None, None, D))
    transfer_weights(both, target)
    np.testing.assert_array_equal(target.backward_cells[0].kernel, both.backward_layer.cell.kernel)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_both_directions_are_transferred(kind):
    scratch, keras_cell = SCRATCH_AND_KERAS[kind]
    source = with_random_weights(both_directions([scratch(H), scratch(H)]), D)
    target = both_directions([keras_cell(H), keras_cell(H)])
    transfer_weights(source, target)
    x, state = normal(T, B, D), random_state(source, B)
    assert_equal_up_to_rounding(source(x, state), target(x, state), ROUNDINGS)


@pytest.mark.parametrize(
    ("origin", "target_origin", "reset_after"),
    combinations(
        ORIGINS,
        ORIGINS,
        [False, True],
        quick=[("scratch", "keras", False), ("keras", "scratch", True), ("scratch", "scratch", True)],
    ),
)
def test_the_two_forms_of_the_gru_compute_the_same_if_the_candidates_kernel_is_diagonal(
    origin, target_origin, reset_after
):
    classes = {"scratch": GRUCell, "keras": KerasGRUCell}
    source = with_random_weights(RecurrentStack(classes[origin](H, reset_after=reset_after)), D)
    z, r, candidate = np.split(source.cells[0].get_weights()[1], 3, 1)
    source.cells[0].recurrent_kernel.assign(np.concatenate([z, r, np.diag(np.diag(candidate))], 1))
    if reset_after:
        bias = source.cells[0].get_weights()[2]
        bias[1, 2 * H :] = 0
        source.cells[0].bias.assign(bias)
    target = RecurrentStack(classes[target_origin](H, reset_after=not reset_after))
    transfer_weights(source, target)
    x, state = normal(T, B, D), random_state(source, B)
    assert_equal_up_to_rounding(source(x, state), target(x, state), ROUNDINGS)


@pytest.mark.parametrize("reset_after", [False, True])
def test_the_two_forms_of_the_gru_are_refused_if_they_differ_and_the_target_is_unchanged(reset_after):
    source = with_random_weights(GRUCell(H, reset_after=reset_after), D)
    target = with_random_weights(GRUCell(H, reset_after=not reset_after), D)
    before = target.get_weights()
    message = f"reset_after={reset_after}, as the source; got {not reset_after}.*diagonal"
    with pytest.raises(UserError, match=message):
        transfer_weights(source, target)
    for expected, actual in zip(before, target.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_a_state_bias_of_the_candidate_is_not_dropped():
    source = with_random_weights(GRUCell(1, reset_after=True), D)  # with one unit every kernel is diagonal
    with pytest.raises(UserError, match="bias b is zero"):
        transfer_weights(source, GRUCell(1))


def test_a_source_without_biases_becomes_zero_biases():
    source = with_random_weights(RecurrentStack(keras.layers.LSTMCell(H, use_bias=False)), D)
    target = RecurrentStack(LSTMCell(H))
    transfer_weights(source, target)
    x, state = normal(T, B, D), random_state(source, B)
    assert_equal_up_to_rounding(source(x, state), target(x, state), ROUNDINGS)


def test_a_target_without_biases_is_refused_if_the_source_has_some():
    with pytest.raises(UserError, match="use_bias=True"):
        transfer_weights(with_random_weights(LSTMCell(H), D), keras.layers.LSTMCell(H, use_bias=False))


@pytest.mark.parametrize(
    ("make_source", "make_target", "message"),
    [
        pytest.param(RNNCell, GRUCell, "rnn cell of 4 units; got gru of 4", id="kind"),
        pytest.param(RNNCell, lambda h: RNNCell(h + 1), "got rnn of 5", id="units"),
        pytest.param(
            RNNCell, lambda h: RNNCell(h, activation="relu"), "activations of the source.*relu", id="activation"
        ),
        pytest.param(
            RNNCell, lambda h: KerasGRUCell(h, recurrent_activation="relu"), "rnn cell", id="kind_and_activation"
        ),
        pytest.param(
            GRUCell,
            lambda h: KerasGRUCell(h, recurrent_activation="hard_sigmoid", reset_after=False),
            "hard_sigmoid",
            id="recurrent_activation",
        ),
        pytest.param(
            RNNCell, lambda h: tfrnn.RNN([RNNCell(h), RNNCell(h)]), "got .*1 of 1 and 2 of 1", id="num_layers"
        ),
        pytest.param(RNNCell, lambda h: both_directions(RNNCell(h)), "got .*1 of 1 and 1 of 2", id="directions"),
        pytest.param(RNNCell, keras.layers.Dense, "expected one of tfrnn.RNNCell", id="not_a_cell"),
    ],
)
def test_a_target_that_cannot_compute_the_same_is_refused(make_source, make_target, message):
    source = with_random_weights(make_source(H), D)
    with pytest.raises(UserError, match=message):
        transfer_weights(source, make_target(H))


def test_a_source_without_weights_is_refused():
    with pytest.raises(UserError, match="is not built"):
        transfer_weights(RNNCell(H), RNNCell(H))


def test_a_target_built_for_other_inputs_is_refused():
    with pytest.raises(UserError, match="target of 3 inputs; got one built for 5"):
        transfer_weights(with_random_weights(RNNCell(H), 3), with_random_weights(RNNCell(H), 5))


CASES = list(pytorch_reference.CASES)
# Every case, with scratch and Keras cells in turn.
ALTERNATING = [(case, ORIGINS[i % 2]) for i, case in enumerate(CASES)]


def recorded(case):
    """Returns the recorded arrays of a case, and those of them that are the state dict."""
    arrays = pytorch_reference.recorded(case)
    return arrays, {name.removeprefix("net."): a for name, a in arrays.items() if name.startswith("net.")}


def layer_for(case, origin):
    """Returns a layer of the kind and size of a case, with tfrnn's or Keras's cells."""
    kind, num_layers, bidirectional = pytorch_reference.CASES[case]
    cell = SCRATCH_AND_KERAS["gru_reset_after" if kind == "GRU" else kind.lower()][ORIGINS.index(origin)]
    return (both_directions if bidirectional else RecurrentStack)([cell(H) for _ in range(num_layers)])


def state_by_layer(case, arrays, name):
    """Converts PyTorch's state, [layers * directions, B, H] for each tensor of a cell, to a tuple per layer."""
    kind, num_layers, bidirectional = pytorch_reference.CASES[case]
    tensors = [arrays[f"{name}_{i}"] for i in range(2 if kind == "LSTM" else 1)]
    directions = 2 if bidirectional else 1
    cells = [tuple(tensor[i] for tensor in tensors) for i in range(num_layers * directions)]
    return tuple(sum(cells[i : i + directions], ()) for i in range(0, len(cells), directions))


@pytest.mark.parametrize(("case", "origin"), combinations(CASES, ORIGINS, quick=ALTERNATING))
def test_outputs_and_gradients_are_those_of_pytorch(case, origin):
    arrays, state_dict = recorded(case)
    layer = layer_for(case, origin)
    transfer_weights(state_dict, layer)
    inputs, state = (
        tf.constant(arrays["inputs"]),
        tf.nest.map_structure(tf.constant, state_by_layer(case, arrays, "state")),
    )
    with tf.GradientTape() as tape:
        tape.watch([inputs, state])
        outputs, last_state = layer(inputs, state)
        loss = tf.reduce_sum(outputs**2)
    actual = (outputs, last_state, *tape.gradient(loss, [inputs, state]))
    expected = (
        arrays["outputs"],
        state_by_layer(case, arrays, "last"),
        arrays["inputs_gradient"],
        state_by_layer(case, arrays, "state_gradient"),
    )
    assert_equal_up_to_rounding(actual, expected, ROUNDINGS)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (extra `bench`)")
def test_the_recorded_arrays_are_what_pytorch_computes(case):
    assert_equal_up_to_rounding(pytorch_reference.recorded(case), pytorch_reference.compute(case), ROUNDINGS)


def test_two_layers_of_pytorch_are_not_taken_for_two_directions():
    _, state_dict = recorded("GRU_2")
    with pytest.raises(UserError, match=r"got .*2 of 1 and 1 of 2"):
        transfer_weights(state_dict, both_directions(KerasGRUCell(H)))


def test_the_activation_of_a_pytorch_rnn_is_assumed_to_be_the_targets():
    arrays, state_dict = recorded("RNN_1")
    layer = RecurrentStack(keras.layers.SimpleRNNCell(H, activation="relu"))
    transfer_weights(state_dict, layer)
    h, expected = arrays["state_0"][0], []
    for x in arrays["inputs"]:
        inputs_part = x @ state_dict["weight_ih_l0"].T + state_dict["bias_ih_l0"]
        h = np.maximum(0, inputs_part + h @ state_dict["weight_hh_l0"].T + state_dict["bias_hh_l0"])
        expected.append(h)
    outputs, _ = layer(arrays["inputs"], ((arrays["state_0"][0],),))
    assert_equal_up_to_rounding(outputs, np.stack(expected), ROUNDINGS)


def test_a_layer_is_found_in_the_state_dict_of_a_larger_net():
    arrays, state_dict = recorded("LSTM_1")
    layer = RecurrentStack(LSTMCell(H))
    larger_net = {f"encoder.{name}": array for name, array in state_dict.items()}
    transfer_weights({**larger_net, "out.weight": np.ones([1, H])}, layer)
    outputs, _ = layer(arrays["inputs"], state_by_layer("LSTM_1", arrays, "state"))
    assert_equal_up_to_rounding(outputs, arrays["outputs"], ROUNDINGS)


@pytest.mark.parametrize(
    ("state_dict", "message"),
    [
        pytest.param({}, "got nothing", id="empty"),
        pytest.param(
            {"weight_hh_l0": np.ones([2 * H, H]), "weight_ih_l0": np.ones([2 * H, D])}, "3H or 4H rows", id="rows"
        ),
        pytest.param({"weight_hh_l0": np.ones([H, H])}, "weight_ih_l0", id="without_weight_ih"),
        pytest.param(
            {"weight_hh_l0": np.ones([4 * H, 2]), "weight_ih_l0": np.ones([4 * H, D]), "weight_hr_l0": 0},
            "proj_size",
            id="projected_state",
        ),
        pytest.param(
            {"a.weight_hh_l0": np.ones([H, H]), "b.weight_hh_l0": np.ones([H, H])}, "of one nn.RNN", id="two_layers"
        ),
    ],
)
def test_a_state_dict_of_something_else_is_refused(state_dict, message):
    with pytest.raises(UserError, match=message):
        transfer_weights(state_dict, RNNCell(H))


@pytest.mark.parametrize(("case", "origin"), combinations(CASES, ORIGINS, quick=ALTERNATING))
def test_weights_from_pytorch_return_to_pytorch_unchanged(case, origin):
    _, state_dict = recorded(case)
    layer = layer_for(case, origin)
    transfer_weights(state_dict, layer)
    returned = to_pytorch(layer)
    assert set(returned) == set(state_dict)
    for name, array in state_dict.items():
        if "bias" not in name or case.startswith("GRU"):
            np.testing.assert_array_equal(returned[name], array)
        elif "bias_ih" in name:  # only the sum of the two biases has a meaning, and only it is kept
            other = name.replace("_ih", "_hh")
            np.testing.assert_array_equal(returned[name] + returned[other], array + state_dict[other])


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (GRUCell(H), "reset_after=True, as PyTorch's"),
        (RNNCell(H, activation="relu"), "tanh and sigmoid.*relu"),
    ],
    ids=["gru_without_reset_after", "activation"],
)
def test_what_pytorch_cannot_compute_is_refused(cell, message):
    with pytest.raises(UserError, match=message):
        to_pytorch(with_random_weights(RecurrentStack(cell), D))


def test_pytorch_gru_does_not_fit_the_gru_of_the_book():
    _, state_dict = recorded("GRU_1")
    with pytest.raises(UserError, match="reset_after=True"):
        transfer_weights(state_dict, GRUCell(H))
