"""The first edition's functions: its iterators, and training with a reader's own functions and with Keras's layers."""

import io
import os
import random
import re
from contextlib import redirect_stdout

import keras
import numpy as np
import pytest
import tensorflow as tf
from book_nets import get_params, init_rnn_state
from rounding import assert_float32_sums_equal

from tfrnn.d2l import first as d2l
from tfrnn.errors import UserError

V, H, T, B = 5, 6, 4, 2
TEXT = "abcd" * 20
IDX_TO_CHAR = list("abcde")
CHAR_TO_IDX = {char: i for i, char in enumerate(IDX_TO_CHAR)}
CORPUS = [CHAR_TO_IDX[char] for char in TEXT]
VOCABULARY = {"idx_to_char": IDX_TO_CHAR, "char_to_idx": CHAR_TO_IDX}
SETTINGS = {"num_steps": T, "lr": 5.0, "clipping_theta": 0.5, "batch_size": B, "pred_len": 6, "prefixes": ["a", "dab"]}
LINES = re.compile(r"(epoch \d+, perplexity \d+\.\d{6}, time \d+\.\d\d sec\n - a.{6}\n - dab.{6}\n)+")


@pytest.mark.skipif("TFRNN_DATA_DIR" not in os.environ, reason="needs the corpora in TFRNN_DATA_DIR")
def test_lyrics():
    corpus_indices, char_to_idx, idx_to_char, vocab_size = d2l.load_data_jay_lyrics()
    assert (len(corpus_indices), vocab_size, len(char_to_idx)) == (10_000, 1027, 1027)
    assert "".join(idx_to_char[i] for i in corpus_indices[:6]) == "想要有直升机"
    assert [char_to_idx[char] for char in idx_to_char] == list(range(1027))
    assert d2l.load_data_jay_lyrics()[0] == corpus_indices


@pytest.mark.parametrize("data_iter", [d2l.data_iter_random, d2l.data_iter_consecutive])
def test_targets_are_the_next_tokens(data_iter):
    pairs = list(data_iter(list(range(30)), batch_size=2, num_steps=6))
    assert len(pairs) == 2
    for x, y in pairs:
        assert isinstance(x, np.ndarray)  # the pages write Y.T.reshape
        assert x.shape == (2, 6)
        np.testing.assert_array_equal(x + 1, y)


def test_rows_begin_at_the_first_token():
    first = next(d2l.data_iter_consecutive(list(range(30)), 2, 6))[0]
    np.testing.assert_array_equal(first, [list(range(6)), list(range(15, 21))])


@pytest.mark.parametrize("data_iter", [d2l.data_iter_random, d2l.data_iter_consecutive])
def test_what_no_batches_can_be_cut_from_is_refused_at_once(data_iter):
    for name, sizes in (("batch_size", lambda size: (size, 6)), ("num_steps", lambda size: (2, size))):
        for size in (0, -2, 2.0, "2", None):
            with pytest.raises(UserError, match=f"`{name}` as a whole number of at least 1; got {size!r}"):
                data_iter(list(range(30)), *sizes(size))
    with pytest.raises(UserError, match=r"text too short: 12 tokens, but batches of 2 rows of 6 steps need 1[34]"):
        data_iter(list(range(12)), 2, 6)
    with pytest.raises(UserError, match="expected token ids of 1 dimensions"):
        data_iter(iter(range(30)), 2, 6)
    assert len(list(data_iter(list(range(14)), np.int64(2), np.int64(6)))) == 1


def test_to_onehot():
    for x in (tf.constant([[0, 2, 1]]), np.array([[0, 2, 1]])):
        onehot = d2l.to_onehot(x, 4)
        assert len(onehot) == 3
        np.testing.assert_array_equal(onehot[1], [[0, 0, 1, 0]])


def rnn(inputs, state, params):
    """The page's RNN: lists of T tensors."""
    W_xh, W_hh, b_h, W_hq, b_q = params  # noqa: N806
    (hidden,), outputs = state, []
    for x in inputs:
        hidden = tf.tanh(x @ W_xh + hidden @ W_hh + b_h)
        outputs.append(hidden @ W_hq + b_q)
    return outputs, (hidden,)


def train_by_functions(is_random_iter, num_epochs, pred_period):
    tf.random.set_seed(1)
    random.seed(1)
    params, out = get_params(V, H), io.StringIO()
    functions = {"rnn": rnn, "get_params": lambda: params, "init_rnn_state": init_rnn_state}
    with redirect_stdout(out):
        d2l.train_and_predict_rnn(
            **functions, num_hiddens=H, vocab_size=V, corpus_indices=CORPUS, **VOCABULARY,
            is_random_iter=is_random_iter, num_epochs=num_epochs, pred_period=pred_period, **SETTINGS,
        )  # fmt: skip
    return params, out.getvalue()


@pytest.mark.parametrize("is_random_iter", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_training_is_that_of_the_pages_loop_with_outputs_as_logits(is_random_iter):
    num_epochs = 3
    params, out = train_by_functions(is_random_iter, num_epochs, pred_period=2)
    assert LINES.fullmatch(out)
    assert out.count("epoch") == 1
    tf.random.set_seed(1)
    random.seed(1)
    expected = get_params(V, H)
    data_iter = d2l.data_iter_random if is_random_iter else d2l.data_iter_consecutive
    for _ in range(num_epochs):
        state = init_rnn_state(B, H)
        for x, y in data_iter(CORPUS, B, T):
            state = init_rnn_state(B, H) if is_random_iter else state
            with tf.GradientTape() as tape:
                outputs, state = rnn(d2l.to_onehot(x, V), state, expected)
                loss = tf.reduce_mean(
                    keras.losses.sparse_categorical_crossentropy(y.T.reshape(-1), tf.concat(outputs, 0), True)
                )
            gradients = d2l.grad_clipping(tape.gradient(loss, expected), SETTINGS["clipping_theta"])
            for param, gradient in zip(expected, gradients, strict=True):
                param.assign_sub(SETTINGS["lr"] * gradient)
    steps = num_epochs * len(CORPUS) // (B * T)
    # A rate of 5 multiplies the rounding of each gradient, a sum over T * B rows.
    assert_float32_sums_equal([p.numpy() for p in params], [p.numpy() for p in expected], 5 * T * B * steps)


@pytest.mark.slow
def test_it_learns_a_text_and_continues_it():
    params, out = train_by_functions(False, num_epochs=60, pred_period=60)
    assert float(re.search(r"perplexity (\S+),", out)[1]) < 1.2
    continued = d2l.predict_rnn("cd", 6, rnn, params, init_rnn_state, H, V, IDX_TO_CHAR, CHAR_TO_IDX)
    assert continued == "cdabcdab"
    for prefix in ("", "x"):
        with pytest.raises(UserError, match=f"prefix of characters of the vocabulary; got '{prefix}'"):
            d2l.predict_rnn(prefix, 3, rnn, params, init_rnn_state, H, V, IDX_TO_CHAR, CHAR_TO_IDX)


def test_a_period_of_no_epochs_is_refused():
    with pytest.raises(UserError, match="`pred_period` as a whole number of at least 1; got 0"):
        train_by_functions(False, num_epochs=1, pred_period=0)


class ReadersModel(keras.layers.Layer):
    """The page's RNNModel, around a layer that the reader gives."""

    def __init__(self, rnn_layer):
        super().__init__()
        self.rnn, self.dense = rnn_layer, keras.layers.Dense(V)

    def call(self, inputs, state):
        outputs, state = self.rnn(tf.one_hot(tf.transpose(inputs), V), state)
        return self.dense(tf.reshape(outputs, [-1, outputs.shape[-1]])), state

    def get_initial_state(self, *args, **kwargs):
        return self.rnn.cell.get_initial_state(*args, **kwargs)


def layer():
    import tfrnn

    keras.utils.set_random_seed(3)
    cell = keras.layers.SimpleRNNCell(H)
    return tfrnn.RNN(cell, time_major=True, return_sequences=True, return_state=True)


@pytest.mark.slow
def test_a_readers_model_of_layers_trains_as_the_books(capsys):
    models = d2l.RNNModel(layer(), V), ReadersModel(layer())
    for model in models:
        keras.utils.set_random_seed(4)  # of the dense layer, which the first call makes
        d2l.train_and_predict_rnn_keras(
            model, H, V, CORPUS, **VOCABULARY, num_epochs=2, pred_period=2, **{**SETTINGS, "lr": 1}
        )
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(" -")]
    assert len(lines) == 4
    weights = [[w.numpy() for w in model.trainable_variables] for model in models]
    assert len(weights[0]) == 5
    predicted = [d2l.predict_rnn_keras("ab", 5, model, V, **VOCABULARY) for model in models]
    assert all(text.startswith("ab") and len(text) == 7 for text in predicted)


@pytest.mark.slow
def test_the_learning_rate_may_be_a_schedule(capsys):
    weights = []
    for lr in (0.5, keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.5, 0.0]), lambda: 0.5):
        model = d2l.RNNModel(layer(), V)
        keras.utils.set_random_seed(4)  # of the dense layer, which the first call makes
        d2l.train_and_predict_rnn_keras(
            model, H, V, CORPUS, **VOCABULARY, num_epochs=1, pred_period=2, **{**SETTINGS, "lr": lr}
        )
        weights.append(model.get_weights())
    for one, decayed, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
        assert (one != decayed).any()
