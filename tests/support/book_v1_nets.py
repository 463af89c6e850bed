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
        self.f_rnn = d2l.RNNScratch(num_inputs, num_hiddens, sigma)
        self.b_rnn = d2l.RNNScratch(num_inputs, num_hiddens, sigma)
        self.num_hiddens *= 2

    def forward(self, inputs, Hs=None):
        f_H, b_H = Hs if Hs is not None else (None, None)
        f_outputs, f_H = self.f_rnn(inputs, f_H)
        b_outputs, b_H = self.b_rnn(reversed(inputs), b_H)
        return [tf.concat((f, b), -1) for f, b in zip(f_outputs, reversed(b_outputs), strict=True)], (f_H, b_H)


class StackedRNNScratch(d2l.Module):
    """Section 10.3: a list of nets."""

    def __init__(self, num_inputs, num_hiddens, num_layers, sigma=0.01):
        super().__init__()
        self.save_hyperparameters()
        self.rnns = [
            d2l.RNNScratch(num_inputs if i == 0 else num_hiddens, num_hiddens, sigma) for i in range(num_layers)
        ]

    def forward(self, inputs, Hs=None):
        outputs = inputs
        Hs = [None] * self.num_layers if Hs is None else Hs
        for i in range(self.num_layers):
            outputs, Hs[i] = self.rnns[i](outputs, Hs[i])
            outputs = tf.stack(outputs, 0)
        return outputs, Hs


class Seq2SeqDecoder(d2l.Decoder):
    """Section 10.7: the context, the encoder's last output, is an input of every step."""

    def __init__(self, vocab_size, embed_size, num_hiddens, num_layers, dropout=0):
        super().__init__()
        self.embedding = keras.layers.Embedding(vocab_size, embed_size)
        self.rnn = d2l.GRU(num_hiddens, num_layers, dropout)
        self.dense = keras.layers.Dense(vocab_size)

    def init_state(self, enc_all_outputs, *args):
        return enc_all_outputs

    def call(self, X, state):
        embs = self.embedding(tf.transpose(X))
        enc_output, hidden_state = state
        context = tf.tile(tf.expand_dims(enc_output[-1], 0), (embs.shape[0], 1, 1))
        outputs, hidden_state = self.rnn(tf.concat((embs, context), -1), hidden_state)
        return tf.transpose(self.dense(outputs), (1, 0, 2)), [enc_output, hidden_state]


class ReadersTrainer(d2l.Trainer):
    """Section 9.5: clips by `if` on a tensor."""

    def clip_gradients(self, grad_clip_val, grads):
        clipped = [tf.convert_to_tensor(grad) for grad in grads]
        norm = tf.math.sqrt(sum(tf.reduce_sum(grad**2) for grad in clipped))
        if tf.greater(norm, tf.constant(grad_clip_val, tf.float32)):
            for i, grad in enumerate(clipped):
                clipped[i] = grad * grad_clip_val / norm
            return clipped
        return grads
