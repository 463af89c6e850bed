"""The book's nets and training functions, sections 8.5 to 9.3, with our nets and with those that readers copy."""

import contextlib
import copy
import io
import math
import os
import random
import re
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from book_nets import (
    ReadersRNNModel,
    ReadersRNNModelScratch,
    ReadersVocab,
    get_params,
    init_lstm_state,
    init_rnn_state,
    lstm,
    lstm_params,
    rnn,
)

import tfrnn
from tfrnn import d2l
from tfrnn.errors import UserError

BATCH_SIZE, NUM_STEPS = 4, 5
EPS = float(np.finfo(np.float32).eps)
LAST_LINES = re.compile(
    r"(.*\n)*perplexity \d+\.\d, \d+\.\d tokens/sec on /[CG]PU:0\ntime traveller.{50}\ntraveller.{50}\n"
)
needs_corpora = pytest.mark.skipif("TFRNN_DATA_DIR" not in os.environ, reason="needs the corpora in TFRNN_DATA_DIR")
# Each cell and each kind of model once; the slow tests train all of them with the book's sizes.
MODELS = {"RNNModel": d2l.RNNModel, "the reader's": ReadersRNNModel}
PAIRS = [("SimpleRNNCell", "RNNModel"), ("GRUCell", "the reader's"), ("LSTMCell", "the reader's")]


@pytest.fixture(scope="module")
def vocab():
    """The 28 tokens of The Time Machine."""
    return d2l.Vocab([], reserved_tokens=list(" abcdefghijklmnopqrstuvwxyz"))


@pytest.fixture(scope="module")
def pairs(vocab):
    """A short epoch of sequential batches X and Y, int32 [B, T]."""
    random.seed(0)
    text = "the time traveller for so it will be convenient to speak of him was expounding a recondite matter to us "
    return list(d2l.seq_data_iter_sequential(vocab[list(text)], BATCH_SIZE, NUM_STEPS))


@pytest.fixture(scope="module")
def time_machine():
    return d2l.load_data_time_machine(32, 35)


def strategy():
    return tf.distribute.OneDeviceStrategy(d2l.try_gpu()._device_name)


def trained(net, train_iter, vocab, lr, num_epochs, one_device=None, **options):
    """What train_ch8 prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        d2l.train_ch8(net, train_iter, vocab, lr, num_epochs, one_device or strategy(), **options)
    return out.getvalue()


def perplexity_of(out):
    (line,) = (line for line in out.splitlines() if line.startswith("perplexity"))
    return float(line.split()[1].rstrip(","))


def test_section_8_5(pairs, vocab):
    tf.random.set_seed(0)
    x = tf.reshape(tf.range(10), (2, 5))
    with strategy().scope():
        net = d2l.RNNModelScratch(len(vocab), 16, init_rnn_state, rnn, get_params)
    state = net.begin_state(x.shape[0])
    y, new_state = net(x, state)
    assert (y.shape, len(new_state), new_state[0].shape) == ((10, 28), 1, (2, 16))
    assert re.fullmatch("time traveller .{10}", d2l.predict_ch8("time traveller ", 10, net, vocab))
    out = trained(net, pairs, vocab, 1, 20)
    assert LAST_LINES.fullmatch(out)
    assert len(out.splitlines()) == 5  # a prediction every 10 epochs, and three closing lines
    assert perplexity_of(out) < 20  # 28 before training
    assert LAST_LINES.fullmatch(trained(net, pairs, vocab, 1, 1, use_random_iter=True))
    greedy = "time traveller"
    for _ in range(12):
        outputs, _ = net(tf.constant([vocab[list(greedy)]]), net.begin_state(1))
        greedy += vocab.to_tokens(1 + int(np.argmax(outputs[-1, 1:])))
    assert d2l.predict_ch8("time traveller", 12, net, vocab) == greedy


@pytest.mark.slow
@needs_corpora
def test_section_8_5_learns_at_the_books_sizes(time_machine):
    train_iter, vocab = time_machine
    tf.random.set_seed(0)
    net = d2l.RNNModelScratch(len(vocab), 64, init_rnn_state, rnn, get_params)
    assert perplexity_of(trained(net, train_iter, vocab, 1, 20)) < 16


@pytest.mark.slow
def test_a_readers_net_that_loops_over_a_tensor_trains_and_predicts_as_ours(pairs, vocab):
    tf.random.set_seed(0)
    readers, ours = (
        kind(len(vocab), 8, init_lstm_state, lstm, lstm_params)
        for kind in (ReadersRNNModelScratch, d2l.RNNModelScratch)
    )
    for variable, value in zip(ours.trainable_variables, readers.trainable_variables, strict=True):
        variable.assign(value)
    assert LAST_LINES.fullmatch(trained(readers, pairs, vocab, 1, 1))
    trained(ours, pairs, vocab, 1, 1)
    for variable, expected in zip(ours.trainable_variables, readers.trainable_variables, strict=True):
        np.testing.assert_allclose(variable, expected, rtol=0, atol=update_rounding(1, len(pairs)))
    assert d2l.predict_ch8("time", 20, readers, vocab) == d2l.predict_ch8("time", 20, ours, vocab)
    with strategy().scope():  # training has left no scope behind
        tf.Variable(1.0)


@pytest.mark.slow
def test_a_mirrored_strategy_of_one_device_trains_batches_of_any_number_of_rows(vocab):
    mirrored = tf.distribute.MirroredStrategy(["/CPU:0"])
    with mirrored.scope():
        net = d2l.RNNModelScratch(len(vocab), 8, init_rnn_state, rnn, get_params)
    pairs = [(tf.zeros([rows, 5], tf.int32),) * 2 for rows in (4, 3, 2)]
    out = trained(net, pairs, vocab, 1, 2, mirrored, use_random_iter=True)
    assert LAST_LINES.fullmatch(out)
    assert perplexity_of(out) < len(vocab)


def update_rounding(lr, num_updates):
    """How far the weights of two float32 trainings may be apart: each update is lr times a gradient of norm at most 1,
    which is a sum over T * B steps, and whose clipping divides by a sum of squares."""
    return lr * num_updates * NUM_STEPS * BATCH_SIZE * EPS


def test_a_last_batch_may_have_fewer_rows_and_no_batch_is_an_error(vocab):
    net = d2l.RNNModelScratch(len(vocab), 8, init_rnn_state, rnn, get_params)
    pairs = [(tf.zeros([rows, 5], tf.int32),) * 2 for rows in (4, 3)]
    loss, updater = keras.losses.SparseCategoricalCrossentropy(from_logits=True), keras.optimizers.SGD(0.1)
    assert d2l.train_epoch_ch8(net, pairs, loss, updater, True)[0] < len(vocab) + 1
    with pytest.raises(UserError, match="got none"):
        d2l.train_epoch_ch8(net, [], loss, updater, False)


def test_one_epoch_equals_the_books_arithmetic(pairs, vocab):
    """The same epoch written out in eager TensorFlow."""
    tf.random.set_seed(1)
    ours = d2l.RNNModelScratch(len(vocab), 8, init_lstm_state, lstm, lstm_params)
    for variable in ours.trainable_variables:
        variable.assign(50 * variable)
    params = [tf.Variable(v) for v in ours.trainable_variables]
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def loss(labels, outputs):  # scaled, so that gradients have norms above 1 and are clipped
        return 4 * cross_entropy(labels, outputs)

    perplexity, speed = d2l.train_epoch_ch8(ours, pairs, loss, keras.optimizers.SGD(1.0), False)
    assert speed > 0
    state, total, norms = init_lstm_state(BATCH_SIZE, 8), 0.0, []
    for x, y in pairs:
        with tf.GradientTape() as tape:
            outputs, state = lstm(tf.one_hot(tf.transpose(x), 28), state, params)
            mean = loss(tf.reshape(tf.transpose(y), (-1,)), outputs)
        gradients = tape.gradient(mean, params)
        norms.append(float(tf.linalg.global_norm(gradients)))
        gradients = [gradient / max(1, norms[-1]) for gradient in gradients]
        for variable, gradient in zip(params, gradients, strict=True):
            variable.assign_sub(gradient)
        total += float(mean)
    assert max(norms) > 1.2, norms
    assert perplexity == pytest.approx(math.exp(total / len(pairs)), rel=update_rounding(1, len(pairs)))
    for variable, expected in zip(ours.trainable_variables, params, strict=True):
        np.testing.assert_allclose(variable, expected, rtol=0, atol=update_rounding(1, len(pairs)))


def test_grad_clipping():
    grads = [tf.constant([3.0]), tf.IndexedSlices(tf.constant([[4.0]]), tf.constant([1]), tf.constant([2, 1]))]
    clipped = d2l.grad_clipping(grads, 1)
    np.testing.assert_allclose(clipped[0], [0.6], rtol=1e-6)
    np.testing.assert_allclose(clipped[1], [[0], [0.8]], rtol=1e-6)
    np.testing.assert_allclose(d2l.grad_clipping(grads, 9)[0], [3])


@pytest.mark.parametrize(("cell", "model"), PAIRS)
def test_sections_8_6_9_1_and_9_2(pairs, vocab, cell, model):
    keras.utils.set_random_seed(0)
    cell = getattr(tf.keras.layers, cell)(16, kernel_initializer="glorot_uniform")
    rnn_layer = tfrnn.RNN(cell, time_major=True, return_sequences=True, return_state=True)
    state = cell.get_initial_state(batch_size=BATCH_SIZE)
    y, *state_new = rnn_layer(tf.random.uniform((NUM_STEPS, BATCH_SIZE, len(vocab))), state)
    assert (y.shape, state_new[0].shape) == ((NUM_STEPS, BATCH_SIZE, 16), (BATCH_SIZE, 16))
    assert len(state_new) == len(tf.nest.flatten(state))
    with strategy().scope():
        net = MODELS[model](rnn_layer, vocab_size=len(vocab))
    assert len(d2l.predict_ch8("time traveller", 50, net, vocab)) == 64
    out = trained(net, pairs, vocab, 1, 8)
    assert LAST_LINES.fullmatch(out)
    assert perplexity_of(out) < 20  # 28 before training
    outputs, state = net(tf.zeros([2, 5], tf.int32), net.begin_state(batch_size=2))
    assert outputs.shape == (10, 28)
    assert net(tf.zeros([2, 5], tf.int32), state)[0].shape == (10, 28)


@pytest.mark.slow
@needs_corpora
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("cell", ["SimpleRNNCell", "GRUCell", "LSTMCell"])
def test_sections_8_6_9_1_and_9_2_learn_at_the_books_sizes(time_machine, cell, model):
    train_iter, vocab = time_machine
    keras.utils.set_random_seed(0)
    cell = getattr(tf.keras.layers, cell)(64, kernel_initializer="glorot_uniform")
    rnn_layer = tfrnn.RNN(cell, time_major=True, return_sequences=True, return_state=True)
    with strategy().scope():
        net = MODELS[model](rnn_layer, vocab_size=len(vocab))
    out = trained(net, train_iter, vocab, 1, 12)
    assert LAST_LINES.fullmatch(out)
    assert perplexity_of(out) < 18


@pytest.mark.slow
@pytest.mark.parametrize("model", [pytest.param("RNNModel", marks=pytest.mark.slow), "the reader's"])
def test_section_9_3(pairs, vocab, model):
    stacked = tf.keras.layers.StackedRNNCells([tf.keras.layers.LSTMCell(8) for _ in range(2)])
    lstm_layer = tfrnn.RNN(stacked, time_major=True, return_sequences=True, return_state=True)
    net = MODELS[model](lstm_layer, len(vocab))
    assert LAST_LINES.fullmatch(trained(net, pairs, vocab, 2, 2))
    assert len(net.trainable_variables) == 8


def test_a_readers_vocabulary_is_taken_if_its_id_0_is_unknown(vocab):
    net = d2l.RNNModel(tfrnn.RNN(tfrnn.RNNCell(8)), len(vocab))
    readers = ReadersVocab(vocab.idx_to_token[1:])
    assert d2l.predict_ch8("time traveller", 10, net, readers) == d2l.predict_ch8("time traveller", 10, net, vocab)
    with pytest.raises(UserError, match="id 0 is '<unk>'; got 'a'"):
        d2l.predict_ch8("a", 5, net, mock.Mock(spec=ReadersVocab, to_tokens=lambda i: "ab"[i]))
    assert d2l.predict_ch8("Zeit", 5, net, vocab).startswith("Zeit")


def test_the_cells_of_keras_own_layer_are_taken():
    layer = keras.layers.GRU(4)
    net = d2l.RNNModel(layer, 28)
    assert net(tf.zeros([2, 5], tf.int32), net.begin_state(2))[0].shape == (10, 28)
    assert net.trainable_variables[0] is layer.cell.kernel
    with pytest.raises(UserError, match="expected a cell"):
        d2l.RNNModel(keras.layers.Dense(4), 28)


def test_a_loss_that_is_not_finite_is_an_error(pairs, vocab):
    net = d2l.RNNModelScratch(len(vocab), 8, init_rnn_state, rnn, get_params)
    with pytest.raises(UserError, match="diverged"):
        d2l.train_epoch_ch8(net, pairs, lambda y, p: math.nan * tf.reduce_sum(p), keras.optimizers.SGD(1.0), False)


def first_tokens(vocab_size, num_hiddens):
    return [tf.Variable(tf.one_hot([1] * vocab_size, vocab_size))]


def by_tokens(inputs, state, params):
    return tf.concat([X @ params[0] for X in inputs], 0), state


def no_state(batch_size, num_hiddens):
    return (tf.zeros([batch_size, 1]),)


@pytest.mark.slow
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_net_is_a_net_of_its_own(copied):
    net, vocab = d2l.RNNModelScratch(3, 1, no_state, by_tokens, first_tokens), d2l.Vocab(list("ab"))
    assert d2l.predict_ch8("b", 2, net, vocab) == "baa"
    other = copied(net)
    other.trainable_variables = [tf.Variable(tf.one_hot([2] * 3, 3))]
    assert d2l.predict_ch8("b", 2, other, vocab) == "bbb"
    assert d2l.predict_ch8("b", 2, net, vocab) == "baa"


class WordsVocab(ReadersVocab):
    """A reader's own, with a token that is neither a character nor a word."""

    def __init__(self):
        super().__init__(["<pad>", "b", "time"])


@pytest.mark.parametrize("vocab", [WordsVocab(), d2l.Vocab([["b", "time"]], reserved_tokens=["<pad>"])])
def test_a_prefix_of_words_is_a_text_or_a_list_of_them(vocab):
    net = d2l.RNNModelScratch(4, 1, no_state, by_tokens, lambda *_: [tf.Variable(tf.one_hot([3, 3, 3, 2], 4))])
    for prefix in ("time b", ["time", "b"], ("time", "b")):
        assert d2l.predict_ch8(prefix, 3, net, vocab) == "time b time b time"
    assert d2l.predict_ch8(["no"], 1, net, vocab) == "no time"
    for token in ("time b", 3, ""):
        with pytest.raises(
            UserError, match=re.escape(f"expected each token of `prefix` to be one word; got {token!r}")
        ):
            d2l.predict_ch8([token], 1, net, vocab)


def test_a_prefix_of_characters_is_a_text_or_a_list_of_them():
    net = d2l.RNNModelScratch(3, 1, no_state, by_tokens, first_tokens)
    for vocab in (ReadersVocab("ab"), d2l.Vocab(list("ab"))):
        assert d2l.predict_ch8(["b", "b"], 2, net, vocab) == d2l.predict_ch8("bb", 2, net, vocab) == "bbaa"
        with pytest.raises(UserError, match="to be one character; got 'ab'"):
            d2l.predict_ch8(["ab"], 1, net, vocab)


@pytest.mark.slow
def test_train_ch8_takes_a_schedule_as_learning_rate(capsys):
    ids = tf.constant([[1, 2, 1], [2, 1, 1]])
    vocab, rates = d2l.Vocab(list("ab")), []
    for lr in (0.5, keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.5, 0.0]), lambda: 0.5):
        net = d2l.RNNModelScratch(3, 1, no_state, by_tokens, first_tokens)
        d2l.train_ch8(net, [(ids, ids)], vocab, lr, 2, tf.distribute.OneDeviceStrategy("/CPU:0"))
        rates.append(float(net.trainable_variables[0][1, 1]) - 1)
    assert rates[0] == rates[2]
    assert 0.4 < rates[1] / rates[0] < 0.9  # the second of two steps has no effect
    with pytest.raises(UserError, match="expected `lr` as a number"):
        d2l.train_ch8(net, [(ids, ids)], vocab, "fast", 2, None)
