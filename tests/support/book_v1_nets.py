# ruff: noqa: N803, N806 (the names are the book's)
"""Classes like those that readers of edition 1.0 copy from its pages, on the names of tfrnn.d2l.v1."""

import keras
import tensorflow as tf

from tfrnn.d2l import v1 as d2l


def weights(num_inputs, num_hiddens):
    def normal(*shape):
        return tf.Variable(tf.random.normal(shape, stddev=0.1))

    return normal(num_inputs, num_hiddens), normal(num_hiddens, num_hiddens), tf.Variable(tf.zeros(num_hiddens))


class GRUScratch(d2l.Module):
    """Section 10.2: tf.Variables of its own, and a loop over the tensor of the inputs."""

    def __init__(self, num_inputs, num_hiddens, sigma=0.01):
        super().__init__()
        self.save_hyperparameters()
        self.W_xz, self.W_hz, self.b_z = weights(num_inputs, num_hiddens)
        self.W_xr, self.W_hr, self.b_r = weights(num_inputs, num_hiddens)
        self.W_xh, self.W_hh, self.b_h = weights(num_inputs, num_hiddens)

    def forward(self, inputs, H=None):
        if H is None:
            H = tf.zeros((inputs.shape[1], self.num_hiddens))
        outputs = []
        for X in inputs:
            Z = tf.sigmoid(X @ self.W_xz + H @ self.W_hz + self.b_z)
            R = tf.sigmoid(X @ self.W_xr + H @ self.W_hr + self.b_r)
            candidate = tf.tanh(X @ self.W_xh + (R * H) @ self.W_hh + self.b_h)
            H = Z * H + (1 - Z) * candidate
            outputs.append(H)
        return outputs, H


class BiRNNScratch(d2l.Module):
    """Section 10.4: two nets, one of which reads the sequence backwards."""

    def __init__(self, num_inputs, num_hiddens, sigma=0.01):
        super().__init__()
        self.save_hyperparameters()
        self.forwards, self.backwards = (d2l.RNNScratch(num_inputs, num_hiddens, sigma) for _ in range(2))
        self.num_hiddens = 2 * num_hiddens

    def forward(self, inputs, Hs=None):
        H_there, H_back = Hs or (None, None)
        there, H_there = self.forwards(inputs, H_there)
        back, H_back = self.backwards(reversed(inputs), H_back)
        both = [tf.concat(pair, -1) for pair in zip(there, reversed(back), strict=True)]
        return both, (H_there, H_back)


class StackedRNNScratch(d2l.Module):
    """Section 10.3: a list of nets."""

    def __init__(self, num_inputs, num_hiddens, num_layers, sigma=0.01):
        super().__init__()
        self.save_hyperparameters()
        sizes = [num_inputs, *[num_hiddens] * (num_layers - 1)]
        self.rnns = [d2l.RNNScratch(size, num_hiddens, sigma) for size in sizes]

    def forward(self, inputs, Hs=None):
        states = []
        for rnn, H in zip(self.rnns, Hs or [None] * self.num_layers, strict=True):
            inputs, H = rnn(inputs, H)
            inputs = tf.stack(inputs, 0)
            states.append(H)
        return inputs, states


class Seq2SeqDecoder(d2l.Decoder):
    """Section 10.7: the context, the encoder's last output, is an input of every step."""

    def __init__(self, vocab_size, embed_size, num_hiddens, num_layers, dropout=0):
        super().__init__()
        self.words, self.scores = keras.layers.Embedding(vocab_size, embed_size), keras.layers.Dense(vocab_size)
        self.rnn = d2l.GRU(num_hiddens, num_layers, dropout)

    def init_state(self, enc_all_outputs, *_):
        return enc_all_outputs

    def call(self, X, state):
        encoded, hidden = state
        inputs = self.words(tf.transpose(X))
        context = tf.repeat(encoded[-1][None], inputs.shape[0], axis=0)
        outputs, hidden = self.rnn(tf.concat([inputs, context], 2), hidden)
        return tf.transpose(self.scores(outputs), [1, 0, 2]), [encoded, hidden]


class ReadersTrainer(d2l.Trainer):
    """Section 9.5: clips by `if` on a tensor."""

    def clip_gradients(self, grad_clip_val, grads):
        dense = [tf.convert_to_tensor(grad) for grad in grads]
        length = tf.linalg.global_norm(dense)
        if length > grad_clip_val:
            return [grad * (grad_clip_val / length) for grad in dense]
        return dense
