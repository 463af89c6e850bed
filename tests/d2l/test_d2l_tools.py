"""The book's helpers: Timer, Accumulator, Animator, plots, DATA_HUB, evaluate_loss, short names of functions."""

import shutil
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrnn import d2l
from tfrnn.d2l import v1
from tfrnn.errors import UserError


def test_timer_measures_each_start_and_stop():
    timer = d2l.Timer()
    time.sleep(0.01)
    assert timer.stop() == timer.times[0] >= 0.01
    timer.start()
    timer.stop()
    assert timer.sum() == sum(timer.times)
    assert timer.avg() == timer.sum() / 2
    assert timer.cumsum() == np.cumsum(timer.times).tolist()
    with pytest.raises(UserError, match="a time to take the mean of; got none; call `stop` before `avg`"):
        d2l.Timer().avg()


def test_accumulator_adds_up():
    sums = d2l.Accumulator(2)
    sums.add(1, tf.constant(2.5))
    sums.add(np.float32(3), 4)
    assert (sums[0], sums[1], sums[:]) == (4.0, 6.5, [4.0, 6.5])
    sums.reset()
    assert sums[:] == [0.0, 0.0]
    with pytest.raises(UserError, match="expected 2 numbers, one for each sum; got 1"):
        sums.add(1)
    with pytest.raises(UserError, match="expected `args` as a number; got 'x'"):
        sums.add(1, "x")
    with pytest.raises(UserError, match="`n` as a whole number of at least 0; got 'two'"):
        d2l.Accumulator("two")


def test_animator_draws_lines_that_grow():
    animator = d2l.Animator(xlabel="epoch", ylabel="loss", legend=["a", "b"], xlim=[1, 3], yscale="log")
    animator.add(1, (0.5, None))
    animator.add(2, (0.25, tf.constant(4.0)))
    axes = animator.axes[0]
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[1, 0.5], [2, 0.25]], [[2, 4.0]]]
    assert (axes.get_xlabel(), axes.get_xlim(), axes.get_yscale()) == ("epoch", (1, 3), "log")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    one = d2l.Animator()
    one.add(1, 2.0)
    assert (one.X, one.Y) == ([[1.0]], [[2.0]])
    for x, y, got in ((2, (1, 2), "2 x and 2 y"), ([1, 2], 1, "2 x and 1 y"), (1, (), "0 x and 0 y")):
        with pytest.raises(UserError, match=f"expected x and y of 1 lines; got {got}"):
            one.add(x, y)
    with pytest.raises(UserError, match="expected `y` as a number; got 'high'"):
        one.add(2, "high")
    d2l.plt.close("all")


def test_plot_takes_the_books_arguments():
    d2l.plot([[1, 2, 3], [2, 3, 4]], xlabel="n", ylabel="f", legend=["a", "b"], xscale="log", yscale="log")
    lines = d2l.plt.gca().lines
    assert [line.get_linestyle() for line in lines] == ["-", "--"]
    _, axes = d2l.plt.subplots()
    d2l.plot(tf.range(3), [tf.range(3) ** 2], "x", "y", fmts=("g-.",), axes=axes)
    assert axes.lines[0].get_ydata().tolist() == [0, 1, 4]
    assert axes.lines[0].get_linestyle() == "-."
    d2l.plot([1, 2], axes=axes)
    assert axes.lines[0].get_xydata().tolist() == [[0, 1], [1, 2]]
    for arguments in (([],), (5,), ([1, 2], [])):
        with pytest.raises(UserError, match="as the points of one line, or of each line; got"):
            d2l.plot(*arguments)
    for arguments, got in ((([1, 2], [1, 2, 3]), r"\[2\] and \[3\]"), (([[1], [2]], [[1]]), r"\[1, 1\] and \[1\]")):
        with pytest.raises(UserError, match=f"`X` with as many points in each line as `Y`; got {got}"):
            d2l.plot(*arguments)
    before = d2l.plt.rcParams["figure.figsize"]
    d2l.set_figsize((2, 1))
    assert d2l.plt.rcParams["figure.figsize"] == [2, 1]
    d2l.set_figsize(before)
    d2l.plt.close("all")


def inside(axes):
    """Returns whether all that belongs to the axes is in the figure, labels included."""
    figure = axes.figure
    figure.draw_without_rendering()
    box = axes.get_tightbbox(figure.canvas.get_renderer())
    return 0 <= box.x0 <= box.x1 <= figure.bbox.x1 and 0 <= box.y0 <= box.y1 <= figure.bbox.y1


def test_all_points_and_labels_of_a_picture_are_seen():
    animator, board = d2l.Animator("epoch", "loss"), v1.ProgressBoard("epoch", "loss")
    for x in range(10):
        animator.add(x, 1000.0**x)
        board.draw(x, 1000.0**x, "train_loss")
        board.draw(x + 1, -(1000.0**x), "val_loss")
    d2l.plot([0, 1e10], [-1e10, 1], "x", "f(x)")
    pictures = animator.axes[0], board.fig.gca(), d2l.plt.gca()
    for axes in pictures:
        assert inside(axes)
        for x, y in np.concatenate([line.get_xydata() for line in axes.lines]):
            assert axes.viewLim.contains(x, y)
        assert all(line.get_visible() for line in axes.get_xgridlines())
    board.xlim, board.yscale = [0, 99], "log"
    board.draw(11, 1, "val_loss")
    assert (pictures[1].get_xlim(), pictures[1].get_yscale()) == ((0, 99), "log")
    d2l.plt.close("all")


def test_a_second_training_begins_a_line_of_its_own():
    board = v1.ProgressBoard()
    for x in (0.5, 1, 1.5, 2, 0.3, 0.8, 1.3):
        board.draw(x, 1, "train_loss")
    for x in (3, 2, 1):
        board.draw(x, 1, "backwards")
    drawn = [line.get_xdata().tolist() for line in board.fig.gca().lines]
    np.testing.assert_equal(drawn, [[0.5, 1, 1.5, 2, np.nan, 0.3, 0.8, 1.3], [3, 2, 1]])
    assert [point.x for point in board.data["train_loss"]] == [0.5, 1, 1.5, 2, 0.3, 0.8, 1.3]
    d2l.plt.close("all")


def test_evaluate_loss_is_the_mean_over_the_data():
    pairs = [(tf.constant([[1.0], [2.0]]), tf.constant([[0.0], [0.0]])), (tf.constant([[4.0]]), tf.constant([[0.0]]))]
    assert d2l.evaluate_loss(lambda x: 2 * x, pairs, lambda y_hat, y: y_hat - y) == pytest.approx(14 / 3)
    # Keras's are called in Keras's order, and return the mean of a batch.
    loss = keras.losses.MeanAbsolutePercentageError()
    batch = [(tf.constant([[1.0]]), tf.constant([[4.0]]))]
    assert d2l.evaluate_loss(lambda x: x, batch, loss) == pytest.approx(75)
    with pytest.raises(UserError, match="`data_iter` to yield batches"):
        d2l.evaluate_loss(lambda x: x, [], loss)


def test_files_by_the_names_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("TFRNN_DATA_DIR", str(tmp_path / "at hand"))
    (tmp_path / "at hand").mkdir()
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "words.txt").write_text("a b")
    shutil.make_archive(str(tmp_path / "at hand" / "words"), "zip", tmp_path / "words")
    monkeypatch.setitem(d2l.DATA_HUB, "words", (d2l.DATA_URL + "words.zip", None))
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert Path(d2l.download("words")) == Path("../data/words.zip")
    folder = d2l.download_extract("words")
    assert Path(folder, "words.txt").read_text() == "a b"
    assert Path(d2l.download_extract("words", "other")) == Path("../data/other")
    with pytest.raises(UserError, match="expected one of time_machine, fra-eng, words, the names in DATA_HUB; got 'x'"):
        d2l.download("x")


def test_short_names_are_tensorflows_functions():
    matrix = d2l.reshape(d2l.arange(6), (2, 3))
    assert d2l.size(matrix) == 6
    np.testing.assert_array_equal(d2l.numpy(d2l.transpose(matrix)), np.arange(6).reshape(2, 3).T)
    assert d2l.astype(matrix, d2l.float32).dtype == tf.float32
    np.testing.assert_array_equal(d2l.concat((d2l.zeros((1, 2)), d2l.ones((1, 2))), 0), [[0, 0], [1, 1]])
