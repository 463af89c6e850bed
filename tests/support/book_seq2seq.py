# ruff: noqa: N803 (the names are the book's)
"""Nets of section 9.7 as a reader defines them, on Keras's layers."""

import keras
import tensorflow as tf

from tfrnn.d2l import seq2seq


class ReadersDecoder(seq2seq.Decoder):
    """Reads the embedded words together with the encoder's last state."""

    def __init__(self, vocab_size, embed_size, num_hiddens, num_layers, dropout=0, **kwargs):
        super().__init__(**kwargs)
        self.embedding = keras.layers.Embedding(vocab_size, embed_size)
        cells = [keras.layers.GRUCell(num_hiddens, dropout=dropout) for _ in range(num_layers)]
        self.rnn = keras.layers.RNN(cells, return_sequences=True, return_state=True)
        self.dense = keras.layers.Dense(vocab_size)

    def init_state(self, enc_outputs, *args):
        return enc_outputs[1]

    def call(self, X, state, **kwargs):
        embedded = self.embedding(X)
        context = tf.repeat(state[-1][:, None], X.shape[1], axis=1)
        outputs, *state = self.rnn(tf.concat([embedded, context], 2), state, **kwargs)
        return self.dense(outputs), state


def net_of(src_size, tgt_size, size=4, num_layers=2, dropout=0.0):
    """Returns an encoder and a reader's decoder, whose weights keras.utils.set_random_seed determines."""
    return seq2seq.EncoderDecoder(
        seq2seq.Seq2SeqEncoder(src_size, size, size, num_layers, dropout),
        ReadersDecoder(tgt_size, size, size, num_layers, dropout),
    )
