"""Pictures: rendered, saved, and shown in a notebook, in which the curve of a training is redrawn in place."""

import io
import struct
import types

import numpy as np
import pytest
from matplotlib import pyplot

import tfrnn
from tfrnn.errors import RunWarning, UserError
from tfrnn.training import live_curve

TEXT = "the well digger had dug down to the water"
LINES = "abc de\nbad\n" * 3
LOGS = {"perplexity": 2.0, "tokens_per_sec": 1000.0}


def cut(batches_of, **kwargs):
    return batches_of(np.arange(len(TEXT)), 2, 5, seed=0, **kwargs).epoch(0)


def waves(num_tokens):
    return np.sin(np.arange(num_tokens))


PICTURES = {
    "perplexity": lambda to: tfrnn.plot_perplexity([{"epoch": 1, **LOGS}, {"epoch": 2, **LOGS}], to, epochs=5),
    "curves": lambda to: tfrnn.plot_curves({str(i): [3.0, 2.0, i + 1.0] for i in range(8)}, "epoch", "perplexity", to),
    "two_logarithmic_axes": lambda to: tfrnn.plot_curves({"words": [9, 4, 1]}, "rank", "n", to, xscale="log"),
    "sequential_batches": lambda to: tfrnn.plot_batches(TEXT, cut(tfrnn.sequential_batches), to),
    "random_batches": lambda to: tfrnn.plot_batches(TEXT, cut(tfrnn.random_batches), to),
    "unit": lambda to: tfrnn.plot_unit(LINES, waves(len(LINES)), to, "a $unit"),
    "unit_of_words": lambda to: tfrnn.plot_unit(["to", "be"] * 10, waves(20), to, between=" "),
    "unit_over_a_long_line": lambda to: tfrnn.plot_unit("x" * 50, waves(50), to, per_line=20),
    "gates": lambda to: tfrnn.plot_gates(
        TEXT, {"open": np.ones([len(TEXT), 3]), "": np.zeros([len(TEXT), 50])}, to, "_{"
    ),
    "gates_of_words": lambda to: tfrnn.plot_gates(["to", "be"] * 5, {"gate": np.ones([10, 3])}, to),
    "norms": lambda to: tfrnn.plot_gradient_norms([0.5, 2.0, 3.0, 0.1], 1.0, to),
    "norms_without_a_bound": lambda to: tfrnn.plot_gradient_norms([0.5, 2.0], 0, to),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_returned_and_saved_as_the_same_png(name, tmp_path):
    stream = io.BytesIO()
    picture = PICTURES[name](stream)
    picture.save(tmp_path / "picture.png")
    assert stream.getvalue() == picture.png == picture._repr_png_() == (tmp_path / "picture.png").read_bytes()
    width, height = struct.unpack(">2I", picture.png[16:24])
    assert min(width, height) > 50
    assert max(width, height) < 4000
    assert pyplot.imread(io.BytesIO(picture.png)).std() > 0


def test_a_picture_is_saved_to_the_path_of_its_target(tmp_path):
    picture = PICTURES["norms"](tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes() == picture.png


def test_letters_that_no_font_has_are_warned_of():
    with pytest.warns(RunWarning, match="1 letters are in none of the installed fonts"):
        tfrnn.plot_unit(["a", "\U000f0000"], np.zeros(2))


def test_a_larger_activation_has_a_darker_background():
    picture = tfrnn.plot_unit("abc", np.array([-1.0, 0.0, 1.0]))
    pixels = pyplot.imread(io.BytesIO(picture.png))[..., :3]
    drawn = (pixels < 0.99).any((0, 2))
    left = int(drawn.argmax())
    text = pixels[:, left : left + int((~drawn[left:]).argmax())].mean(-1)  # without the scale on the right
    lightness = [np.median(part[part < 0.99]) for part in np.array_split(text, 3, axis=1)]
    assert lightness[0] > lightness[1] + 0.05
    assert lightness[1] > lightness[2] + 0.05


IMPOSSIBLE_PICTURES = {
    "unit_over_no_text": (lambda to: tfrnn.plot_unit("", np.zeros(0), to), "0 tokens"),
    "unit_with_too_few_activations": (lambda to: tfrnn.plot_unit("abc", np.zeros(2), to), "3 tokens and 2 values"),
    "gates_of_another_text": (lambda to: tfrnn.plot_gates("abc", {"gate": np.ones([5, 5])}, to), "and 5 values"),
    "no_norms": (lambda to: tfrnn.plot_gradient_norms([], 1.0, to), "at least one training step"),
    "batches_of_a_longer_text": (
        lambda to: tfrnn.plot_batches("abc", cut(tfrnn.sequential_batches), to),
        "positions in a text of 3 tokens",
    ),
    "no_batches": (lambda to: tfrnn.plot_batches("abc", [], to), "positions in a text"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE_PICTURES)
def test_what_cannot_be_drawn_is_an_error_and_writes_nothing(name, tmp_path):
    draw, message = IMPOSSIBLE_PICTURES[name]
    with pytest.raises(UserError, match=message):
        draw(tmp_path / "picture.png")
    assert not list(tmp_path.iterdir())


class Notebook:
    """Stands for IPython in a notebook, and records the pictures that are displayed."""

    def __init__(self, monkeypatch):
        self.shown, self.updates = [], 0
        module = types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace(kernel=object()))
        monkeypatch.setitem(live_curve.sys.modules, "IPython", module)
        monkeypatch.setitem(live_curve.sys.modules, "IPython.display", types.SimpleNamespace(display=self.display))

    def display(self, picture, display_id):
        assert display_id
        self.shown.append(picture)
        return self

    def update(self, picture):
        self.shown[-1], self.updates = picture, self.updates + 1


def live_over(epochs):
    curve = tfrnn.LiveCurve()
    curve.set_params({"epochs": epochs, "steps": 1})
    curve.on_train_begin()
    for epoch in range(epochs):
        curve.on_epoch_begin(epoch)
        curve.on_train_batch_end(0, LOGS)
        curve.on_epoch_end(epoch, LOGS)
    curve.on_train_end()
    return curve


def test_a_notebook_shows_one_curve_that_is_redrawn_in_place(monkeypatch, capfd):
    monkeypatch.setattr(live_curve, "MIN_SECONDS_BETWEEN_DRAWINGS", 0.0)
    monkeypatch.setattr(live_curve, "MAX_SHARE_OF_TIME", 1e9)
    notebook = Notebook(monkeypatch)
    curve = live_over(3)
    (last,) = notebook.shown
    assert notebook.updates == 3  # after two more epochs, and at the end
    assert last.png[:4] == b"\x89PNG"
    assert curve.seconds > 0
    assert capfd.readouterr() == ("", "")


def test_the_curve_is_not_redrawn_more_often_than_allowed(monkeypatch):
    notebook = Notebook(monkeypatch)
    monkeypatch.setattr(live_curve, "MIN_SECONDS_BETWEEN_DRAWINGS", 1e9)
    live_over(5)
    assert notebook.updates == 1  # at the end


def test_outside_a_notebook_the_curve_is_a_progress_bar(monkeypatch, capfd):
    monkeypatch.setattr(live_curve.sys.stderr, "isatty", lambda: True, raising=False)
    live_over(2)
    out, err = capfd.readouterr()
    assert out == ""
    assert "epoch 2.0/2" in err
    assert "perplexity 2.00, 1000 tokens/sec" in err


def test_a_forecast_of_one_step_shows_its_interval():
    values, center = np.arange(20.0)[:, None], np.array([[20.0]])
    earlier = 19, center - 1
    narrow, wide = (tfrnn.plot_ahead(values, center, center - w, center + w, earlier) for w in (1.0, 1.5))
    assert narrow.png != wide.png


def test_curves_without_a_value_above_zero_are_drawn_without_a_logarithm():
    assert tfrnn.plot_curves({"loss": [0.0, 0.0]}, "epoch", "loss").png.startswith(b"\x89PNG")
