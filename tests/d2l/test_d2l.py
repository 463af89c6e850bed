"""The book's own cells of sections 8.2 to 8.6 and 9.1 to 9.3, as its readers have them."""

import contextlib
import io
import itertools
import math
import os
import random
import re
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfrnn
from tfrnn import d2l
from tfrnn.errors import UserError

corpora = pytest.mark.skipif("TFRNN_DATA_DIR" not in os.environ, reason="needs the corpora in TFRNN_DATA_DIR")
BATCH_SIZE, NUM_STEPS = 32, 35
LAST_LINES = re.compile(
    r"(.*\n)*perplexity \d+\.\d, \d+\.\d tokens/sec on /[CG]PU:0\ntime traveller.{50}\ntraveller.{50}\n"
)


@pytest.fixture(scope="module")
def time_machine():
    """The Time Machine where it is to be had, else the story in the package."""
    if "TFRNN_DATA_DIR" in os.environ:
        return d2l.load_data_time_machine(BATCH_SIZE, NUM_STEPS)
    vocab = d2l.Vocab(list(tfrnn.load_corpus("sample")))
    corpus = vocab[list(tfrnn.load_corpus("sample")[:10_000])]
    return list(d2l.seq_data_iter_sequential(corpus, BATCH_SIZE, NUM_STEPS)), vocab


def strategy():
    return tf.distribute.OneDeviceStrategy(d2l.try_gpu()._device_name)


def trained(net, train_iter, vocab, lr, num_epochs, **more):
    """What train_ch8 prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        d2l.train_ch8(net, train_iter, vocab, lr, num_epochs, strategy(), **more)
    return out.getvalue()


# The reader's own functions (sections 8.5, 9.1, 9.2)


def get_params(vocab_size, num_hiddens):
    def normal(shape):
        return tf.Variable(tf.random.normal(shape, stddev=0.01))

    hidden = [normal((vocab_size, num_hiddens)), normal((num_hiddens, num_hiddens)), tf.Variable(tf.zeros(num_hiddens))]
    return [*hidden, normal((num_hiddens, vocab_size)), tf.Variable(tf.zeros(vocab_size))]


def init_rnn_state(batch_size, num_hiddens):
    return (tf.zeros((batch_size, num_hiddens)),)


def rnn(inputs, state, params):
    w_xh, w_hh, b_h, w_hq, b_q = params
    (h,) = state
    outputs = []
    for x in inputs:
        x = tf.reshape(x, [-1, w_xh.shape[0]])
        h = tf.tanh(tf.matmul(x, w_xh) + tf.matmul(h, w_hh) + b_h)
        outputs.append(tf.matmul(h, w_hq) + b_q)
    return tf.concat(outputs, axis=0), (h,)


def lstm_params(vocab_size, num_hiddens):
    gates = [weight for _ in range(4) for weight in get_params(vocab_size, num_hiddens)[:3]]
    return [*gates, *get_params(vocab_size, num_hiddens)[3:]]


def init_lstm_state(batch_size, num_hiddens):
    return tf.zeros((batch_size, num_hiddens)), tf.zeros((batch_size, num_hiddens))


def lstm(inputs, state, params):
    *gates, w_hq, b_q = params
    h, c = state
    outputs = []
    for x in inputs:
        i, f, o, g = (x @ gates[n] + h @ gates[n + 1] + gates[n + 2] for n in (0, 3, 6, 9))
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        h = tf.sigmoid(o) * tf.tanh(c)
        outputs.append(h @ w_hq + b_q)
    return tf.concat(outputs, axis=0), (h, c)


class ReadersRNNModel(keras.layers.Layer):
    """Section 8.6 in a reader's words: the state comes by a star, and begins as the cell says."""

    def __init__(self, rnn_layer, vocab_size, **kwargs):
        super().__init__(**kwargs)
        self.rnn = rnn_layer
        self.vocab_size = vocab_size
        self.dense = keras.layers.Dense(vocab_size)

    def call(self, inputs, state):
        x = tf.one_hot(tf.transpose(inputs), self.vocab_size)
        y, *state = self.rnn(x, state)
        return self.dense(tf.reshape(y, (-1, y.shape[-1]))), state

    def begin_state(self, *args, **kwargs):
        return self.rnn.cell.get_initial_state(*args, **kwargs)


class ReadersRNNModelScratch:
    """Section 8.5 in a reader's words: it iterates over a tensor, which cannot be compiled."""

    def __init__(self, vocab_size, num_hiddens, init_state, forward_fn, get_params):
        self.vocab_size, self.num_hiddens = vocab_size, num_hiddens
        self.init_state, self.forward_fn = init_state, forward_fn
        self.trainable_variables = get_params(vocab_size, num_hiddens)

    def __call__(self, x, state):
        x = tf.cast(tf.one_hot(tf.transpose(x), self.vocab_size), tf.float32)
        return self.forward_fn(x, state, self.trainable_variables)

    def begin_state(self, batch_size, *args, **kwargs):
        return self.init_state(batch_size, self.num_hiddens)


class ReadersVocab:
    def __init__(self, tokens):
        self.idx_to_token = ["<unk>", *dict.fromkeys(tokens)]
        self.token_to_idx = {token: i for i, token in enumerate(self.idx_to_token)}

    def __len__(self):
        return len(self.idx_to_token)

    def __getitem__(self, token):
        return self.token_to_idx.get(token, 0)

    def to_tokens(self, index):
        return self.idx_to_token[index]


@corpora
def test_section_8_2():
    lines = d2l.read_time_machine()
    assert len(lines) == 3221
    assert lines[0] == "the time machine by h g wells"
    assert lines[10] == "twinkled and his usually pale face was flushed and animated the"
    tokens = d2l.tokenize(lines)
    assert tokens[0] == ["the", "time", "machine", "by", "h", "g", "wells"]
    vocab = d2l.Vocab(tokens)
    assert list(vocab.token_to_idx.items())[:10] == [
        ("<unk>", 0), ("the", 1), ("i", 2), ("and", 3), ("of", 4), ("a", 5), ("to", 6), ("was", 7), ("in", 8),
        ("that", 9),
    ]  # fmt: skip
    assert vocab[tokens[0]] == [1, 19, 50, 40, 2183, 2184, 400]
    assert vocab.to_tokens(vocab[tokens[0]]) == tokens[0]
    corpus, vocab = d2l.load_corpus_time_machine()
    assert (len(corpus), len(vocab)) == (170580, 28)
    assert len(d2l.load_corpus_time_machine(max_tokens=100)[0]) == 100
    words = [token for line in tokens for token in line]
    bigrams = d2l.Vocab(list(itertools.pairwise(words)))
    assert bigrams.token_freqs[:2] == [(("of", "the"), 309), (("in", "the"), 169)]
    with pytest.raises(UserError, match="word; got 'line'"):
        d2l.tokenize(lines, "line")


def test_vocab():
    vocab = d2l.Vocab([["a", "b"], ["a", "c"], ["a", "c"]], min_freq=2, reserved_tokens=["<pad>"])
    assert vocab.idx_to_token == ["<unk>", "<pad>", "a", "c"]
    assert (len(vocab), vocab.unk, vocab["b"], vocab[["a", "b"]]) == (4, 0, 0, [2, 0])
    assert vocab.token_freqs == [("a", 3), ("c", 2), ("b", 1)]
    assert (vocab.to_tokens(2), vocab.to_tokens([2, 3])) == ("a", ["a", "c"])
    assert len(d2l.Vocab()) == 1
    np.testing.assert_array_equal(vocab.to_tokens(tf.constant([2, 3])), ["a", "c"])
    pairs = d2l.Vocab([("of", "the"), ("of", "the"), ("in", "the")])
    assert pairs.token_freqs == [(("of", "the"), 2), (("in", "the"), 1)]
    assert (pairs["of", "the"], pairs[[("in", "the"), ("no", "one")]]) == (1, [2, 0])


def test_section_8_3():
    for data_iter in (d2l.seq_data_iter_random, d2l.seq_data_iter_sequential):
        random.seed(0)
        pairs = list(data_iter(list(range(35)), batch_size=2, num_steps=5))
        assert len(pairs) in (2, 3)
        for x, y in pairs:
            assert (x.shape, y.shape, x.dtype) == ((2, 5), (2, 5), tf.int32)
            np.testing.assert_array_equal(x + 1, y)
    previous = None
    for x, _ in d2l.seq_data_iter_sequential(list(range(35)), 2, 5):
        if previous is not None:
            np.testing.assert_array_equal(previous[:, -1] + 1, x[:, 0])
        previous = x


@corpora
def test_load_data_time_machine(time_machine):
    train_iter, vocab = time_machine
    assert len(vocab) == 28
    epochs = [[x.numpy() for x, _ in train_iter] for _ in range(3)]
    for batches in epochs:
        assert (len(batches), batches[0].shape) == (8, (BATCH_SIZE, NUM_STEPS))
    assert not all(np.array_equal(epochs[0][0], batches[0]) for batches in epochs)
    random_iter, _ = d2l.load_data_time_machine(BATCH_SIZE, NUM_STEPS, use_random_iter=True, max_tokens=5000)
    first, second = (x for x, _ in list(random_iter)[:2])
    assert not np.array_equal(second[:, 0], first[:, -1] + 1)
    assert len(random_iter.corpus) == 5000


def test_section_8_5(time_machine):
    train_iter, vocab = time_machine
    tf.random.set_seed(0)
    x = tf.reshape(tf.range(10), (2, 5))
    with strategy().scope():
        net = d2l.RNNModelScratch(len(vocab), 64, init_rnn_state, rnn, get_params)
    state = net.begin_state(x.shape[0])
    y, new_state = net(x, state)
    assert (y.shape, len(new_state), new_state[0].shape) == ((10, 28), 1, (2, 64))
    untrained = d2l.predict_ch8("time traveller ", 10, net, vocab)
    assert re.fullmatch("time traveller .{10}", untrained)
    out = trained(net, train_iter, vocab, 1, 20)
    assert LAST_LINES.fullmatch(out)
    assert len(out.splitlines()) == 5
    assert float(out.splitlines()[2].split()[1].rstrip(",")) < 16
    assert LAST_LINES.fullmatch(trained(net, train_iter, vocab, 1, 1, use_random_iter=True))
    greedy = "time traveller"
    for _ in range(50):
        ids = tf.constant([vocab[list(greedy)]])
        outputs, _ = net(ids, net.begin_state(1))
        greedy += vocab.to_tokens(1 + int(np.argmax(outputs[-1, 1:])))
    assert d2l.predict_ch8("time traveller", 50, net, vocab) == greedy


def test_a_readers_own_net_that_cannot_be_compiled_runs_as_in_the_book(time_machine):
    train_iter, vocab = time_machine
    tf.random.set_seed(0)
    own, ours = (
        kind(len(vocab), 16, init_lstm_state, lstm, lstm_params)
        for kind in (ReadersRNNModelScratch, d2l.RNNModelScratch)
    )
    for one, other in zip(own.trainable_variables, ours.trainable_variables, strict=True):
        other.assign(one)
    pairs = list(train_iter)[:3]
    assert LAST_LINES.fullmatch(trained(own, pairs, vocab, 1, 2))
    trained(ours, pairs, vocab, 1, 2)
    for one, other in zip(own.trainable_variables, ours.trainable_variables, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert d2l.predict_ch8("time", 20, own, vocab) == d2l.predict_ch8("time", 20, ours, vocab)
    with strategy().scope():  # nothing is left behind
        tf.Variable(1.0)


def test_a_last_batch_of_fewer_rows(time_machine):
    _, vocab = time_machine
    net = d2l.RNNModelScratch(len(vocab), 8, init_rnn_state, rnn, get_params)
    pairs = [(tf.zeros([rows, 5], tf.int32),) * 2 for rows in (4, 3)]
    loss, updater = keras.losses.SparseCategoricalCrossentropy(from_logits=True), keras.optimizers.SGD(0.1)
    assert d2l.train_epoch_ch8(net, pairs, loss, updater, True)[0] < len(vocab) + 1
    with pytest.raises(UserError, match="gave none"):
        d2l.train_epoch_ch8(net, [], loss, updater, False)


def test_what_is_not_served_is_said():
    with pytest.raises(AttributeError, match=r"no Animator.*leave out the cells"):
        d2l.Animator  # noqa: B018
    assert {"train_ch8", "Vocab", "plot", "to_onehot"} <= set(d2l.__all__)
    assert not {"keras", "tf", "Vocabulary"} & set(d2l.__all__)
    d2l.plot([[1, 2, 3], [2, 3, 4]], xlabel="n", ylabel="f", legend=["a", "b"], xscale="log", yscale="log")


def test_one_epoch_is_the_books_arithmetic(time_machine):
    """The same epoch by eager TensorFlow, written out."""
    train_iter, vocab = time_machine
    pairs = list(train_iter)
    tf.random.set_seed(1)
    ours = d2l.RNNModelScratch(len(vocab), 16, init_lstm_state, lstm, lstm_params)
    params = [tf.Variable(v) for v in ours.trainable_variables]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    perplexity, speed = d2l.train_epoch_ch8(ours, pairs, loss, keras.optimizers.SGD(3.0), False)
    assert speed > 0
    state, total = init_lstm_state(BATCH_SIZE, 16), 0.0
    for x, y in pairs:
        with tf.GradientTape() as tape:
            outputs, state = lstm(tf.one_hot(tf.transpose(x), 28), state, params)
            mean = loss(tf.reshape(tf.transpose(y), (-1,)), outputs)
        gradients = d2l.grad_clipping(tape.gradient(mean, params), 1)
        for variable, gradient in zip(params, gradients, strict=True):
            variable.assign_sub(3.0 * gradient)
        total += float(mean)
    assert perplexity == pytest.approx(math.exp(total / len(pairs)), rel=1e-4)
    for variable, expected in zip(ours.trainable_variables, params, strict=True):
        np.testing.assert_allclose(variable, expected, atol=1e-4)


def test_grad_clipping():
    grads = [tf.constant([3.0]), tf.IndexedSlices(tf.constant([[4.0]]), tf.constant([1]), tf.constant([2, 1]))]
    clipped = d2l.grad_clipping(grads, 1)
    np.testing.assert_allclose(clipped[0], [0.6], rtol=1e-6)
    np.testing.assert_allclose(clipped[1], [[0], [0.8]], rtol=1e-6)
    np.testing.assert_allclose(d2l.grad_clipping(grads, 9)[0], [3])


@pytest.mark.parametrize("model", [d2l.RNNModel, ReadersRNNModel])
@pytest.mark.parametrize("name", ["SimpleRNNCell", "GRUCell", "LSTMCell"])
def test_sections_8_6_9_1_and_9_2(time_machine, name, model):
    train_iter, vocab = time_machine
    keras.utils.set_random_seed(0)
    cell = getattr(tf.keras.layers, name)(64, kernel_initializer="glorot_uniform")
    rnn_layer = tfrnn.RNN(cell, time_major=True, return_sequences=True, return_state=True)
    state = cell.get_initial_state(batch_size=BATCH_SIZE)
    x = tf.random.uniform((NUM_STEPS, BATCH_SIZE, len(vocab)))
    y, state_new = rnn_layer(x, state)
    assert (y.shape, len(state_new), state_new[0][0].shape) == ((35, 32, 64), 1, (32, 64))
    with strategy().scope():
        net = model(rnn_layer, vocab_size=len(vocab))
    assert len(d2l.predict_ch8("time traveller", 10, net, vocab)) == 24
    out = trained(net, train_iter, vocab, 1, 12)
    assert LAST_LINES.fullmatch(out)
    assert float(out.splitlines()[1].split()[1].rstrip(",")) < 18
    outputs, state = net(tf.zeros([2, 5], tf.int32), net.begin_state(batch_size=2))
    assert outputs.shape == (10, 28)
    assert net(tf.zeros([2, 5], tf.int32), state)[0].shape == (10, 28)


@pytest.mark.parametrize("model", [d2l.RNNModel, ReadersRNNModel])
def test_section_9_3(time_machine, model):
    train_iter, vocab = time_machine
    stacked = tf.keras.layers.StackedRNNCells([tf.keras.layers.LSTMCell(32) for _ in range(2)])
    lstm_layer = tfrnn.RNN(stacked, time_major=True, return_sequences=True, return_state=True)
    net = model(lstm_layer, len(vocab))
    assert LAST_LINES.fullmatch(trained(net, train_iter, vocab, 2, 2))
    assert len(net.trainable_variables) == 8


def test_a_readers_own_vocabulary(time_machine):
    _, vocab = time_machine
    net = d2l.RNNModel(tfrnn.RNN(tfrnn.RNNCell(8)), len(vocab))
    own = ReadersVocab(vocab.idx_to_token[1:])
    assert d2l.predict_ch8("time traveller", 10, net, own) == d2l.predict_ch8("time traveller", 10, net, vocab)
    with pytest.raises(UserError, match="id 0 is '<unk>'; got 'a'"):
        d2l.predict_ch8("a", 5, net, mock.Mock(spec=ReadersVocab, to_tokens=lambda i: "ab"[i]))
    assert d2l.predict_ch8("Zeit", 5, net, vocab).startswith("Zeit")


def test_keras_own_layer_is_refused_with_what_to_take():
    with pytest.raises(UserError, match=r"expected a tfrnn\.RNN"):
        d2l.RNNModel(keras.layers.RNN(keras.layers.GRUCell(4)), 28)


def test_a_loss_that_is_not_finite_is_an_error(time_machine):
    train_iter, vocab = time_machine
    net = d2l.RNNModelScratch(len(vocab), 8, init_rnn_state, rnn, get_params)
    with pytest.raises(UserError, match="diverged"):
        d2l.train_epoch_ch8(net, train_iter, lambda y, p: math.nan * tf.reduce_sum(p), keras.optimizers.SGD(1.0), False)


@corpora
def test_the_first_editions_lyrics():
    corpus_indices, char_to_idx, idx_to_char, vocab_size = d2l.load_data_jay_lyrics()
    assert (len(corpus_indices), vocab_size, len(char_to_idx)) == (10_000, 1027, 1027)
    assert "".join(idx_to_char[i] for i in corpus_indices[:6]) == "想要有直升机"
    assert [char_to_idx[char] for char in idx_to_char] == list(range(1027))
    assert d2l.load_data_jay_lyrics()[0] == corpus_indices
    for data_iter in (d2l.data_iter_random, d2l.data_iter_consecutive):
        pairs = list(data_iter(list(range(30)), batch_size=2, num_steps=6))
        assert len(pairs) == 2
        for x, y in pairs:
            assert x.shape == (2, 6)
            np.testing.assert_array_equal(x + 1, y)
    first = next(d2l.data_iter_consecutive(list(range(30)), 2, 6))[0]
    np.testing.assert_array_equal(first, [list(range(6)), list(range(15, 21))])
    onehot = d2l.to_onehot(tf.constant([[0, 2, 1]]), 4)
    assert len(onehot) == 3
    np.testing.assert_array_equal(onehot[1], [[0, 0, 1, 0]])
