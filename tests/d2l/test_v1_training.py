# ruff: noqa: N803, N806 (the names are the book's)
"""Module, DataModule and Trainer of edition 1.0: what is trained is what the reader's own loop would train."""

import sys
import types
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from book_v1_nets import BiRNNScratch, GRUScratch, ReadersTrainer, Seq2SeqDecoder, StackedRNNScratch
from matplotlib import pyplot

from tfrnn.d2l import redrawing
from tfrnn.d2l import v1 as d2l
from tfrnn.errors import DivergedError, UserError

T, V, H = 3, 5, 2


class Windows(d2l.DataModule):
    """Ten rows to train on, in their order, the last batch smaller; five for validation."""

    def __init__(self, batch_size=4):
        super().__init__()
        self.save_hyperparameters()
        ids = np.random.default_rng(0).integers(0, V, [15, T + 1], dtype=np.int32)
        self.X, self.Y = tf.constant(ids[:, :-1]), tf.constant(ids[:, 1:])

    def get_dataloader(self, train):
        return self.get_tensorloader([self.X, self.Y], False, slice(10) if train else slice(10, 15))


class Sentences(Windows):
    """The same with what the encoder takes, too."""

    def get_dataloader(self, train):
        lengths = tf.fill([15], T)
        return self.get_tensorloader([self.X, self.X, lengths, self.Y], False, slice(10) if train else slice(10, 15))


class Simple(d2l.RNNLMScratch):
    """A model that is compiled quickly: the next token given the last."""

    def __init__(self, lr=1):
        super().__init__(None, V, lr)
        self.save_hyperparameters()

    def init_params(self):
        self.net = keras.Sequential([keras.layers.Embedding(V, 3), keras.layers.Dense(V)])

    def forward(self, X):
        return self.net(X)


def of_seq2seq():
    return d2l.Seq2Seq(d2l.Seq2SeqEncoder(V, 3, H, 1), Seq2SeqDecoder(V, 3, H, 1), tgt_pad=0, lr=0.1)


class ReadersSeq2Seq(d2l.Seq2Seq):
    """Section 10.6: a call without the argument `training`, which it gives to its layers itself."""

    def call(self, enc_X, dec_X, *args):
        enc_all_outputs = self.encoder(enc_X, *args, training=True)
        return self.decoder(dec_X, self.decoder.init_state(enc_all_outputs, *args), training=True)[0]


def of_readers_seq2seq():
    return ReadersSeq2Seq(d2l.Seq2SeqEncoder(V, 3, H, 1), Seq2SeqDecoder(V, 3, H, 1), tgt_pad=0, lr=0.1)


MODELS = {
    "RNNScratch": lambda: d2l.RNNLMScratch(d2l.RNNScratch(V, H), V, lr=1),
    "RNN": lambda: d2l.RNNLM(d2l.RNN(H), V, lr=1),
    "RNNScratch with a dense layer": lambda: d2l.RNNLM(d2l.RNNScratch(V, H), V, lr=1),
    "GRU": lambda: d2l.RNNLM(d2l.GRU(H, 2), V, lr=1),
    "the reader's GRUScratch": lambda: d2l.RNNLMScratch(GRUScratch(V, H), V, lr=1),
    "the reader's StackedRNNScratch": lambda: d2l.RNNLMScratch(StackedRNNScratch(V, H, 2), V, lr=1),
    "the reader's BiRNNScratch": lambda: d2l.RNNLMScratch(BiRNNScratch(V, H), V, lr=1),
    "Seq2Seq": of_seq2seq,
    "Seq2Seq, the reader's": of_readers_seq2seq,
}
ALWAYS = ("the reader's GRUScratch",)


def trained_by_hand(model, data, epochs, clip_norm):
    """Trains a model by a loop in Python that has nothing of the Trainer, and returns the losses."""
    optimizer, losses = model.configure_optimizers(), []
    for _ in range(epochs):
        for batch in data.train_dataloader():
            with tf.GradientTape() as tape:
                losses.append(loss := model.loss(model(*batch[:-1], training=True), batch[-1]))
            gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, model.trainable_variables)]
            gradients, _ = tf.clip_by_global_norm(gradients, clip_norm)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    return np.array(losses)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ALWAYS else pytest.mark.slow) for name in MODELS]
)
def test_compiled_training_is_the_loop_of_the_page(name):
    data = Sentences() if "Seq2Seq" in name else Windows()
    keras.utils.set_random_seed(0)
    by_hand, trained = MODELS[name](), MODELS[name]()
    for model in (by_hand, trained):
        model(*next(iter(data.train_dataloader()))[:-1])  # makes the weights
    trained.set_weights(by_hand.get_weights())
    losses = trained_by_hand(by_hand, data, 2, 0.1)
    ReadersTrainer(max_epochs=2, gradient_clip_val=0.1).fit(trained, data)  # a warning, an error here, if not compiled
    for one, other in zip(by_hand.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    curve = trained.board.data["train_loss" if "Seq2Seq" in name else "train_ppl"]
    expected = losses if "Seq2Seq" in name else np.exp(losses)
    np.testing.assert_allclose([point.y for point in curve], expected, rtol=1e-5)
    np.testing.assert_allclose([point.x for point in curve], np.arange(6) / 3)


def test_validation_changes_nothing_and_is_drawn_once_an_epoch():
    data, model = Windows(), Simple(lr=0)
    model(data.X[:1])
    before = model.get_weights()
    d2l.Trainer(max_epochs=2).fit(model, data)
    assert all(np.array_equal(one, other) for one, other in zip(before, model.get_weights(), strict=True))
    losses = [model.loss(model(X), Y) for X, Y in data.val_dataloader()]
    assert [point.x for point in model.board.data["val_ppl"]] == [1, 2]
    np.testing.assert_allclose([p.y for p in model.board.data["val_ppl"]], [np.mean(np.exp(losses))] * 2, rtol=1e-6)
    assert model.training is False


class Uncompilable(Simple):
    """Its loss leaves TensorFlow, once for each batch."""

    def loss(self, y_hat, y):
        assert float(tf.reduce_sum(y_hat)) < np.inf
        return super().loss(y_hat, y)


class Counting(Simple):
    """Its step changes an attribute."""

    def training_step(self, batch):
        self.count = getattr(self, "count", 0) + 1
        return super().training_step(batch)


class Clocked(Simple):
    """Its step plots what Python computes."""

    def training_step(self, batch):
        self.plot("batch", self.trainer.train_batch_idx + 0.5, train=True)
        return super().training_step(batch)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Uncompilable, "float"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((Counting, "count"), (Clocked, "Python"))),
    ],
)
def test_a_step_that_must_not_be_compiled_runs_as_it_is_and_says_so(kind, reason):
    data = Windows()
    keras.utils.set_random_seed(0)
    models = [kind(), Simple()]
    for model in models:
        model(data.X[:1])
    models[0].set_weights(models[1].get_weights())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for model in models:
            d2l.Trainer(max_epochs=2, gradient_clip_val=1).fit(model, data)
    messages = [str(warning.message) for warning in caught]
    assert f"{kind.__name__}.training_step runs without being compiled" in messages[0]
    assert reason in messages[0]
    assert len(messages) == (2 if kind is Uncompilable else 1)  # its validation step is not compiled either
    for one, other in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert getattr(models[0], "count", 6) == 6
    if kind is Clocked:
        assert [point.y for point in models[0].board.data["train_batch"]] == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]


def test_tensorflow_s_switch_lets_python_run_each_step():
    seen = []

    class Looking(Simple):
        def training_step(self, batch):
            seen.append(tf.executing_eagerly())
            return super().training_step(batch)

    tf.config.run_functions_eagerly(True)
    try:
        d2l.Trainer(max_epochs=1).fit(Looking(), Windows())
    finally:
        tf.config.run_functions_eagerly(False)
    assert seen == [True] * 3


class Descent:
    """An optimizer that has nothing of Keras."""

    def __init__(self, rate):
        self.rate = rate

    def apply_gradients(self, pairs):
        for gradient, weight in pairs:
            weight.assign(weight - self.rate * gradient)


class LoopOfPython(d2l.Trainer):
    """A trainer whose loop over the batches is its own, without validation."""

    def fit_epoch(self):
        weights = self.model.trainable_variables
        start = self.epoch * self.num_train_batches
        for number, batch in enumerate(self.train_dataloader, start):
            self.train_batch_idx = number
            with tf.GradientTape() as tape:
                loss = self.model.training_step(self.prepare_batch(batch))
            dense = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, weights)]
            clipped = self.clip_gradients(self.gradient_clip_val, dense)
            self.optim.apply_gradients(zip(clipped, weights, strict=True))


class ByDescent(Simple):
    def configure_optimizers(self):
        return Descent(self.lr)


@pytest.mark.slow
def test_a_loop_and_an_optimizer_of_ones_own_do_the_same():
    data, models = Windows(), [Simple(), Simple(), ByDescent()]
    for model in models:
        model(data.X[:1])
        model.set_weights(models[0].get_weights())
    for model, trainer in zip(models, (d2l.Trainer, LoopOfPython, d2l.Trainer), strict=True):
        trainer(max_epochs=2, gradient_clip_val=0.1).fit(model, data)
    for weights in zip(*(model.get_weights() for model in models), strict=True):
        for others in weights[1:]:
            np.testing.assert_allclose(others, weights[0], rtol=1e-5, atol=1e-6)
    curves = [np.array(model.board.data["train_ppl"]) for model in models]
    for curve in curves[1:]:
        np.testing.assert_allclose(curve, curves[0], rtol=1e-5)


@pytest.mark.slow
def test_methods_that_are_added_after_a_training_count_in_the_next():
    class Model(Simple):
        pass

    model, trainer, data = Model(), d2l.Trainer(max_epochs=1), Windows()
    trainer.fit(model, data)

    @d2l.add_to_class(Model)
    def training_step(self, batch):
        loss = 0 * super(Model, self).loss(self(*batch[:-1]), batch[-1])
        self.plot("nothing", loss, train=True)
        return loss

    before = model.get_weights()
    trainer.fit(model, data)
    assert all(np.array_equal(one, other) for one, other in zip(before, model.get_weights(), strict=True))
    assert [point.y for point in model.board.data["train_nothing"]] == [0, 0, 0]


def test_dropout_acts_in_training_alone():
    class Dropped(d2l.Classifier):
        def __init__(self):
            super().__init__()
            self.net, self.lr, self.weight = keras.layers.Dropout(0.5), 0, tf.Variable(1.0)

        def training_step(self, batch):
            share = tf.reduce_mean(tf.cast(self(tf.ones([100, 9])) == 0, tf.float32))
            self.plot("zeros", share, train=True)
            return share + 0 * self.weight

        def validation_step(self, batch):
            self.plot("zeros", tf.reduce_mean(tf.cast(self(tf.ones([100, 9])) == 0, tf.float32)), train=False)

    model = Dropped()
    d2l.Trainer(max_epochs=2).fit(model, Windows())
    assert all(0.4 < point.y < 0.6 for point in model.board.data["train_zeros"])
    assert [point.y for point in model.board.data["val_zeros"]] == [0, 0]
    assert not np.any(model(tf.ones([100, 9])) == 0)


def test_a_loss_that_is_not_finite_ends_the_training():
    X = np.ones([20, 2], "float32")
    data = d2l.DataModule()
    data.batch_size = 2
    data.get_dataloader = lambda train: data.get_tensorloader([X, X[:, :1]], train)
    with pytest.raises(DivergedError, match=r"is inf in epoch 1; try a smaller `lr`"):
        d2l.Trainer(max_epochs=9).fit(d2l.LinearRegression(lr=1e38), data)


def test_what_cannot_be_trained_is_refused():
    data = d2l.DataModule()
    data.train_dataloader, data.val_dataloader = list, lambda: None
    with pytest.raises(UserError, match="at least one batch"):
        d2l.Trainer(1).fit(d2l.LinearRegression(1), data)
    with pytest.raises(UserError, match="num_gpus=0"):
        d2l.Trainer(1, num_gpus=1)
    with pytest.raises(UserError, match=r"d2l.Trainer\(max_epochs\).fit"):
        d2l.LinearRegression(1).compile(loss="mse")
    with pytest.raises(UserError, match="called in training"):
        d2l.LinearRegression(1).plot("loss", 1.0, train=True)
    with pytest.raises(UserError, match="`forward` or an attribute `net`"):
        d2l.Module()(tf.ones([1, 1]))


@pytest.mark.parametrize("lr", [1, np.int64(2), 0.5, keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)])
def test_whole_learning_rates_and_schedules(lr):
    optimizer = d2l.LinearRegression(lr).configure_optimizers()
    expected = 0.5 if callable(lr) else float(lr)
    assert float(optimizer.learning_rate) == expected


def test_linear_regression_finds_the_line():
    X = np.random.default_rng(0).normal(size=[200, 2]).astype("float32")
    data = d2l.DataModule()
    data.batch_size = 20
    data.get_dataloader = lambda train: data.get_tensorloader([X, X @ [[2], [-3.4]] + 4.2], train)
    model = d2l.LinearRegression(lr=0.1)
    d2l.Trainer(max_epochs=10).fit(model, data)
    w, b = model.get_w_b()
    np.testing.assert_allclose(w[:, 0], [2, -3.4], atol=1e-2)
    np.testing.assert_allclose(b, 4.2, atol=1e-2)


def test_batches_have_every_row_once_and_are_shuffled_in_training():
    data = d2l.DataModule()
    data.batch_size = 4
    rows = np.arange(10)
    for train in (True, False):
        loader = data.get_tensorloader([rows, 2 * rows], train, slice(1, None))
        epochs = [np.concatenate([x for x, _ in loader]) for _ in range(2)]
        assert all(np.array_equal(y, 2 * x) for x, y in loader)
        assert len(loader) == 3
        assert [sorted(epoch) for epoch in epochs] == [list(range(1, 10))] * 2
        assert (list(epochs[0]) != list(epochs[1])) is train


def test_variables_of_ones_own_are_found_wherever_they_are(tmp_path):
    class Inner(d2l.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(1.0)

    class Around(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

    class Net(d2l.Module):
        def __init__(self, shared):
            super().__init__()
            self.save_hyperparameters()
            self.listed, self.named = [tf.Variable(2.0), (tf.Variable(3.0),)], {"a": tf.Variable(4.0)}
            self.again, self.constant = self.listed[0], tf.Variable(5.0, trainable=False)
            self.around, self.dense = Around(), keras.layers.Dense(1)

        def forward(self, X):
            return self.dense(X)

    net = Net(tf.Variable(6.0))
    net(tf.ones([1, 1]))
    values = [float(np.squeeze(v)) for v in net.trainable_variables]
    assert sorted(values[:-2]) == [1, 2, 3, 4, 6]
    assert len(values) == 7
    assert len(net.variables) == 8
    assert [float(np.squeeze(v)) for v in net.non_trainable_variables] == [5]
    net.save_weights(tmp_path / "a.weights.h5")
    other = Net(tf.Variable(0.0))
    other(tf.ones([1, 1]))
    other.load_weights(tmp_path / "a.weights.h5")
    assert [np.array(v).tolist() for v in other.variables] == [np.array(v).tolist() for v in net.variables]
    other.fourth = tf.Variable(0.0)
    with pytest.raises(ValueError, match=r"expected 6 tf\.Variables, got 5 in the file"):
        other.load_weights(tmp_path / "a.weights.h5")


@pytest.mark.parametrize("around", [lambda rnn: d2l.RNNLMScratch(rnn, V), lambda rnn: keras.Sequential([rnn])])
def test_a_frozen_sublayer_keeps_its_weights_until_it_is_trained_again(around):
    rnn = d2l.RNNScratch(V, H)
    rnn.constant = tf.Variable(1.0, trainable=False)
    net = around(rnn)
    others = len(net.trainable_variables) - 3
    rnn.trainable = False
    assert rnn.trainable_variables == []
    assert len(net.trainable_variables) == others
    assert len(net.variables) == others + 4
    rnn.trainable = True
    assert len(net.trainable_variables) == others + 3
    net.trainable = False
    assert net.trainable_variables == rnn.trainable_variables == []


@pytest.mark.slow
def test_a_layer_that_is_frozen_in_training_is_left_as_it_is():
    class Freezing(Simple):
        def validation_step(self, batch):
            self.net.layers[1].trainable = False  # after the first epoch

    model, data = Freezing(), Windows()
    d2l.Trainer(max_epochs=1).fit(model, data)
    model.net.layers[1].trainable = True
    start, trainer = model.get_weights(), d2l.Trainer(max_epochs=1)
    trainer.fit(model, data)
    after_one_epoch = model.get_weights()
    trainer.fit_epoch()
    for i, weights in enumerate(model.get_weights()):
        assert np.array_equal(weights, after_one_epoch[i]) is (i > 0)
        assert not np.array_equal(weights, start[i])


def test_save_hyperparameters():
    class A(d2l.HyperParameters):
        def __init__(self, a, b=2, *c, _hidden=3, **d):
            self.save_hyperparameters(ignore=["b"])

    a = A(1, 2, 3, e=4)
    assert (a.a, a.c, a.d) == (1, (3,), {"e": 4})
    assert a.hparams == {"a": 1, "c": (3,), "d": {"e": 4}}
    assert not hasattr(a, "b")
    assert not hasattr(a, "_hidden")


def test_the_board_draws_means_of_points():
    board = d2l.ProgressBoard("x", xlim=[0, 5])
    for x in range(6):
        board.draw(x, x**2, "square", every_n=2)
        board.draw(x, tf.constant(float(x)), "line")
    assert board.data["square"] == [(0.5, 0.5), (2.5, 6.5), (4.5, 20.5)]
    assert len(board.data["line"]) == 6
    (axes,) = board.fig.axes
    assert [line.get_xydata().tolist() for line in axes.lines] == [[list(p) for p in c] for c in board.data.values()]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["line", "square"]
    assert axes.get_xlim() == (0, 5)
    pyplot.close(board.fig)
    board.draw(6, 6, "line")
    assert len(pyplot.figure(board.fig.number).axes[0].lines) == 2  # in the next cell all curves are drawn again
    unseen = d2l.ProgressBoard(display=False)
    unseen.draw(1, 2, "a")
    assert (unseen.fig, unseen.data) == (None, {"a": [(1, 2)]})


def test_a_notebook_redraws_the_board_in_place_but_not_at_each_point(monkeypatch):
    calls = []
    shown = types.SimpleNamespace(display=calls.append, clear_output=lambda wait: calls.append(wait))
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    monkeypatch.setattr(redrawing, "in_notebook", lambda: True)
    monkeypatch.setattr(redrawing, "MIN_SECONDS_BETWEEN_DRAWINGS", 0.0)
    monkeypatch.setattr(redrawing, "MAX_SHARE_OF_TIME", 1e9)
    board = d2l.ProgressBoard()
    for x in range(3):
        board.draw(x, x, "a")
    assert calls == [board.fig, True] * 3
    monkeypatch.setattr(redrawing, "MIN_SECONDS_BETWEEN_DRAWINGS", 1e9)
    for x in range(3, 9):
        board.draw(x, x, "a")
    assert len(calls) == 8
    assert len(board.fig.axes[0].lines[0].get_xdata()) == 9  # what pyplot shows at the end of the cell


class Listed(Simple):
    """It takes ids as a list."""

    def __call__(self, *X):
        return super().__call__(tf.constant([X]))


def test_batches_that_are_no_tensors_are_not_compiled():
    data = Windows()
    data.train_dataloader = lambda: [(1, 2, tf.constant([1, 2]))] * 2
    data.val_dataloader = lambda: None
    with pytest.warns(UserWarning, match="Listed.training_step runs without being compiled.*a batch has 1"):
        d2l.Trainer(1).fit(Listed(), data)


@pytest.mark.slow
@pytest.mark.parametrize(("points", "train", "val"), [(0.5, 2, 2), (1, 4, 4), (1.5, 6, 8), (100, 12, 8)])
def test_the_points_of_a_curve_in_an_epoch_may_be_a_fraction(points, train, val):
    model = Simple()
    model.board.display, model.plot_train_per_epoch, model.plot_valid_per_epoch = False, points, points
    d2l.Trainer(max_epochs=4).fit(model, Windows())
    assert len(model.board.data["train_ppl"]) == train
    assert len(model.board.data["val_ppl"]) == val


def test_no_point_in_an_epoch_is_an_error():
    model = Simple()
    model.plot_train_per_epoch = 0
    with pytest.raises(UserError, match="expected `plot_train_per_epoch` and `plot_valid_per_epoch` above 0"):
        d2l.Trainer(max_epochs=1).fit(model, Windows())
