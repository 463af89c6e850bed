"""The book's cells of sections 8.5, 8.6 and 9.2, as its readers copy them."""

import keras
import tensorflow as tf


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
    """Section 8.6 as printed: the state is unpacked by a star, and begin_state is the cell's."""

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
    """Section 8.5 as printed: forward_fn iterates over a tensor, so that it cannot be compiled."""

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
