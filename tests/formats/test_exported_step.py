"""The comparison of an exported step with its model: rounding passes, any other difference does not."""

import numpy as np
import pytest
import tensorflow as tf
from export_models import CONFIGS, eager_step, model_of, shared_model

from tfrnn.config.config import Config
from tfrnn.errors import UserError
from tfrnn.formats.exported_step import COMPARED_STEPS, compare_with_model, logits_and_rounding_bound, make_step

WIDE = Config().replace(cell="lstm", units=256, prefix=("ab",))  # long sums have larger rounding errors
WIDE_MARGIN = 5  # a difference that is not rounding exceeds the bound at least this many times
IDS = np.arange(20, dtype=np.int32).reshape(10, 2) % 6 + 1  # [T, B]


def changed(model, config, change):
    """A model whose weights are `change(name, weights)` of another's."""
    copy = model_of(config)
    copy.set_weights([change(name, weight.numpy()) for name, weight in model.named_weights.items()])
    return copy


def rounded(bits):
    """Rounds float32 weights to the nearest number with so many bits less in the mantissa."""

    def change(_, weights):
        integers = weights.view(np.int32)
        return ((integers + (1 << (bits - 1))) & ~((1 << bits) - 1)).view(np.float32)

    return change


def swap_first_two_gates(name, weights):
    if not name.startswith("rnn.0"):
        return weights
    first, second, *others = np.split(weights, 4, -1)
    return np.concatenate([second, first, *others], -1)


def transpose_recurrent_kernels(name, weights):
    if "recurrent" not in name:
        return weights
    units = weights.shape[0]
    return np.concatenate([gate.T for gate in np.split(weights, weights.shape[1] // units, -1)], -1)


def one_weight_off_by_a_tenth(name, weights):
    if name == "dense.kernel":
        weights = weights.copy()
        weights[3, 2] *= 1.1
    return weights


def excess(model, wrong):
    """How many times the difference of two models' logits exceeds the bound of the first."""
    logits, bound = logits_and_rounding_bound(model, IDS)
    return (np.abs(wrong(IDS)[0] - logits) / bound).max()


def some_quick(names, quick):
    return [pytest.param(name, marks=[] if name in quick else pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", some_quick(CONFIGS, ["rnn_keras", "gru_keras"]))
def test_step_of_the_model_itself_is_accepted(name):
    model = shared_model(name)
    assert compare_with_model(model, eager_step(model)).startswith(f"over {COMPARED_STEPS} steps its logits differ")


@pytest.mark.parametrize("name", some_quick(CONFIGS, ["gru_keras"]))
def test_compiled_step_is_accepted(name):
    model = shared_model(name)
    function, interface = make_step(model)
    names = [f"state_{i}" for i in range(len(interface["inputs"]) - 1)]
    compare_with_model(model, lambda inputs: function(inputs["ids"], *(inputs[name] for name in names)))


@pytest.mark.parametrize("factor", [0.01, 3], ids=["weights near zero", "large weights"])
def test_the_bound_has_the_scale_of_the_model(factor):
    model = model_of(CONFIGS["lstm_scratch"])
    model.set_weights([factor * weight.numpy() for weight in model.weights])
    # A batch of one row and a batch of many are multiplied by different kernels.
    one_row = tf.concat([model(IDS[:, i : i + 1])[0] for i in range(2)], 1)
    many_rows = model(np.tile(IDS, 16))[0][:, :2]
    assert excess(model, lambda _: (one_row, None)) < 0.5
    assert excess(model, lambda _: (many_rows, None)) < 0.5
    assert excess(model, changed(model, CONFIGS["lstm_scratch"], rounded(13))) > WIDE_MARGIN


def test_long_sums_in_another_order_are_accepted_and_tf32_is_not():
    """The units are renumbered, so that the same sums are computed in another order."""
    model = model_of(WIDE)
    order = np.random.default_rng(0).permutation(256)
    columns = np.concatenate([order + 256 * gate for gate in range(4)])

    def renumber(name, weights):
        if name in ("rnn.0.recurrent_kernel", "dense.kernel"):
            weights = weights[order]
        return weights[..., columns] if name.startswith("rnn.0") else weights

    assert 0 < excess(model, changed(model, WIDE, renumber)) < 0.5
    assert excess(model, changed(model, WIDE, rounded(13))) > WIDE_MARGIN


@pytest.mark.parametrize(
    "config",
    [pytest.param(CONFIGS["lstm_keras"], id="12 units"), pytest.param(WIDE, id="256 units", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(rounded(13), id="TensorFloat-32"),
        pytest.param(rounded(16), id="bfloat16"),
        pytest.param(lambda _, weights: np.float32(np.float16(weights)), id="float16"),
        swap_first_two_gates,
        transpose_recurrent_kernels,
        one_weight_off_by_a_tenth,
    ],
)
def test_a_wrong_step_exceeds_the_bound_by_a_wide_margin(change, config):
    model = model_of(config)
    assert excess(model, changed(model, config, change)) > WIDE_MARGIN


def test_a_wrong_step_is_refused():
    model = model_of(CONFIGS["lstm_keras"])
    wrong = changed(model, CONFIGS["lstm_keras"], rounded(13))
    with pytest.raises(UserError, match=r"but they differ by .* nothing is exported"):
        compare_with_model(model, eager_step(wrong))


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda inputs, outputs: outputs | {"new_state_0": inputs["state_0"]}, id="state not carried on"),
        pytest.param(lambda inputs, outputs: outputs | {"logits": outputs["logits"] * np.nan}, id="NaN"),
        pytest.param(lambda inputs, outputs: outputs | {"logits": outputs["logits"][::-1]}, id="rows swapped"),
    ],
)
def test_wrong_outputs_are_refused(spoil):
    model = shared_model("rnn_keras")
    step = eager_step(model)
    with pytest.raises(UserError, match="but they differ by"):
        compare_with_model(model, lambda inputs: spoil(inputs, step(inputs)))


def test_the_bound_leaves_the_model_as_it_was():
    model = shared_model("gru_keras")
    before = model.get_weights()
    logits, bound = logits_and_rounding_bound(model, IDS)
    np.testing.assert_array_equal(logits, model(IDS)[0])
    assert bound.shape == (len(IDS), 1, 1)
    assert (np.diff(bound, axis=0) >= 0).all()
    assert (bound > 0).all()
    tf.nest.map_structure(np.testing.assert_array_equal, model.get_weights(), before)
