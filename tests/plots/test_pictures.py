"""Pictures in a notebook: shown, saved, redrawn in place; a bar elsewhere."""

import io
import types

import numpy as np
import pytest
from matplotlib import pyplot

import tfrnn
from tfrnn.errors import UserError
from tfrnn.training import live_curve

TEXT = "the well digger had dug down to the water"
LOGS = {"perplexity": 2.0, "tokens_per_sec": 1000.0}


def cut(batches_of, **kwargs):
    return batches_of(np.arange(len(TEXT)), 2, 5, seed=0, **kwargs).epoch(0)


PICTURES = {
    "perplexity": lambda to: tfrnn.plot_perplexity([{"epoch": 1, **LOGS}, {"epoch": 2, **LOGS}], to, epochs=5),
    "curves": lambda to: tfrnn.plot_curves({str(i): [3.0, 2.0, i + 1.0] for i in range(8)}, "epoch", "perplexity", to),
    "two_logarithmic_axes": lambda to: tfrnn.plot_curves({"words": [9, 4, 1]}, "rank", "n", to, xscale="log"),
    "sequential": lambda to: tfrnn.plot_batches(TEXT, cut(tfrnn.sequential_batches), to),
    "random": lambda to: tfrnn.plot_batches(TEXT, cut(tfrnn.random_batches), to),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_shown_and_saved(name, tmp_path):
    stream = io.BytesIO()
    picture = PICTURES[name](stream)
    PICTURES[name](tmp_path / "picture.png")
    picture.save(tmp_path / "again.png")
    shown = pyplot.imread(io.BytesIO(picture._repr_png_()))
    assert shown.std() > 0
    assert stream.getvalue() == picture.png == (tmp_path / "again.png").read_bytes()
    assert (tmp_path / "picture.png").read_bytes() == picture.png


def test_batches_of_another_text_are_refused():
    with pytest.raises(UserError, match=r"positions in a text of 3 tokens"):
        tfrnn.plot_batches("abc", cut(tfrnn.sequential_batches))
    with pytest.raises(UserError, match=r"positions in a text"):
        tfrnn.plot_batches("abc", [])


class Notebook:
    """What IPython is in a notebook, with what it was asked to show."""

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


def test_the_curve_is_redrawn_in_place(monkeypatch, capfd):
    monkeypatch.setattr(live_curve, "MIN_SECONDS_BETWEEN_DRAWINGS", 0.0)
    monkeypatch.setattr(live_curve, "MAX_SHARE_OF_TIME", 1e9)
    notebook = Notebook(monkeypatch)
    curve = live_over(3)
    (last,) = notebook.shown
    assert notebook.updates == 3  # two epochs more, and the end
    assert last.png[:4] == b"\x89PNG"
    assert curve.seconds > 0
    assert capfd.readouterr() == ("", "")


def test_drawing_is_held_back(monkeypatch):
    notebook = Notebook(monkeypatch)
    monkeypatch.setattr(live_curve, "MIN_SECONDS_BETWEEN_DRAWINGS", 1e9)
    live_over(5)
    assert notebook.updates == 1  # the end


def test_elsewhere_it_is_a_bar(monkeypatch, capfd):
    monkeypatch.setattr(live_curve.sys.stderr, "isatty", lambda: True, raising=False)
    live_over(2)
    out, err = capfd.readouterr()
    assert out == ""
    assert "epoch 2.0/2" in err
    assert "perplexity 2.00, 1000 tokens/sec" in err
