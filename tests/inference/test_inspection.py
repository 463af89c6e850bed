"""What the units and gates of a model do, and the pictures of it."""

import io
import struct

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

import tfrnn
from tfrnn.errors import RunWarning, UserError

VOCABULARY = tfrnn.Vocabulary.from_text("abc de\n")
TEXT = "abc de\nbad\n" * 8
IDS = VOCABULARY.encode(TEXT)
CELLS = {
    "rnn": tfrnn.RNNCell,
    "gru": tfrnn.GRUCell,
    "lstm": tfrnn.LSTMCell,
    "keras_gru": keras.layers.GRUCell,
    "keras_lstm": keras.layers.LSTMCell,
}


def model_of(name, **kwargs):
    keras.utils.set_random_seed(2)
    cells = [CELLS[name](6, kernel_initializer="orthogonal", bias_initializer="normal") for _ in range(2)]
    model = tfrnn.LanguageModel(tfrnn.RNN(cells), len(VOCABULARY), **kwargs)
    model.build()
    return model


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gates_step_by_step(cell, inputs):
    """Each gate after each step, by the equations, the state being that of the cell itself."""
    h, *rest = (np.zeros([1, 6], "f") for _ in range(2))
    c, found = rest[0], []
    kernel, recurrent, bias = (np.array(w) for w in (cell.kernel, cell.recurrent_kernel, cell.bias))
    bias = bias.sum(0) if bias.ndim == 2 else bias
    for x in inputs:
        columns = np.split(sigmoid(x[None] @ kernel + h @ recurrent + bias), kernel.shape[1] // 6, 1)
        found.append(np.concatenate(columns))
        states = [h, c] if len(columns) == 4 else [h]
        _, new = cell(x[None], states)
        h, c = (np.array(new[0]), np.array(new[1])) if len(columns) == 4 else (np.array(new[0]), c)
    return np.stack(found, 1)  # [gates, T, H]


class InspectionTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(name=list(CELLS), embedding_dim=[0, 4])
    def test_activations_are_the_hidden_states(self, name, embedding_dim):
        model = model_of(name, embedding_dim=embedding_dim)
        for layer in (0, 1):
            found = tfrnn.activations(model, IDS, layer)
            for end in (1, 7, len(IDS)):
                _, state = model(IDS[:end, None])
                self.assertAllClose(found[end - 1], state[layer][0][0])
        self.assertAllEqual(tfrnn.activations(model, IDS), tfrnn.activations(model, IDS, 1))

    @parameterized.product(name=[name for name in CELLS if name != "rnn"], layer=[0, 1])
    def test_gates_are_those_of_the_equations(self, name, layer):
        model = model_of(name)
        inputs = np.eye(len(VOCABULARY), dtype="f")[IDS] if layer == 0 else tfrnn.activations(model, IDS, 0)
        expected = gates_step_by_step(model.rnn.cells[layer], inputs)
        found = tfrnn.gates(model, IDS, layer)
        names = {
            "update gate": 0, "reset gate": 1, "input gate": 0, "forget gate": 1, "output gate": 3
        }  # fmt: skip
        self.assertEqual(len(found), 2 if "gru" in name else 3)
        for gate, opened in found.items():
            self.assertAllClose(opened, expected[names[gate]])

    def test_what_is_not_there_is_named(self):
        with self.assertRaisesRegex(UserError, "no gates"):
            tfrnn.gates(model_of("rnn"), IDS)
        for layer in (2, -3):
            with self.assertRaisesRegex(UserError, f"2 layers, from 0 on; got {layer}"):
                tfrnn.activations(model_of("gru"), IDS, layer)


def size_of(png):
    assert png.startswith(b"\x89PNG")
    return struct.unpack(">2I", png[16:24])


PICTURES = {
    "unit": lambda to: tfrnn.plot_unit(TEXT, tfrnn.activations(model_of("gru"), IDS)[:, 0], to, "a $unit"),
    "words": lambda to: tfrnn.plot_unit(["to", "be"] * 40, np.linspace(-1, 1, 80), to, between=" "),
    "gates_of_words": lambda to: tfrnn.plot_gates(["to", "be"] * 5, {"gate": np.ones([10, 3])}, to),
    "long_line": lambda to: tfrnn.plot_unit("x" * 500, np.zeros(500), to),
    "gates": lambda to: tfrnn.plot_gates(TEXT[:40], tfrnn.gates(model_of("keras_lstm"), IDS[:40]), to, "gates_{"),
    "norms": lambda to: tfrnn.plot_gradient_norms([0.5, 2.0, 3.0, 0.1], 1.0, to),
    "norms_without_a_bound": lambda to: tfrnn.plot_gradient_norms([0.5, 2.0], 0, to),
}


@pytest.mark.parametrize("name", PICTURES)
def test_one_call_saves_a_picture(name, tmp_path):
    file = tmp_path / "picture.png"
    PICTURES[name](file)
    stream = io.BytesIO()
    PICTURES[name](stream)
    assert size_of(file.read_bytes()) == size_of(stream.getvalue())
    assert min(size_of(stream.getvalue())) > 50
    assert max(size_of(stream.getvalue())) < 4000


def test_letters_that_no_font_has_are_told(tmp_path):
    with pytest.warns(RunWarning, match="1 letters are in no font that is installed here"):
        tfrnn.plot_unit(["a", "\U000f0000"], np.zeros(2), tmp_path / "picture.png")


def test_the_larger_the_activation_the_darker_the_ground():
    from matplotlib.image import imread

    stream = io.BytesIO()
    tfrnn.plot_unit("abc", np.array([-1.0, 0.0, 1.0]), stream)
    stream.seek(0)
    pixels = imread(stream)[..., :3]
    drawn = (pixels < 0.99).any((0, 2))
    left = int(drawn.argmax())
    text = pixels[:, left : left + int((~drawn[left:]).argmax())].mean(-1)  # without the scale on the right
    lightness = [np.median(part[part < 0.99]) for part in np.array_split(text, 3, axis=1)]
    assert lightness[0] > lightness[1] + 0.05
    assert lightness[1] > lightness[2] + 0.05


def test_what_cannot_be_drawn_is_an_error(tmp_path):
    for call in (
        lambda to: tfrnn.plot_unit("", np.zeros(0), to),
        lambda to: tfrnn.plot_unit("abc", np.zeros(2), to),
        lambda to: tfrnn.plot_gates("abc", {"gate": np.ones([5, 5])}, to),
        lambda to: tfrnn.plot_gradient_norms([], 1.0, to),
    ):
        with pytest.raises(UserError, match="expected"):
            call(tmp_path / "picture.png")
    assert not list(tmp_path.iterdir())
