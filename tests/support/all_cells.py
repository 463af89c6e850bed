"""The cells that laws are stated for: ours and Keras's, by name."""

import keras

import tfrnn

CELLS = {
    "rnn_scratch": tfrnn.RNNCell,
    "rnn_keras": keras.layers.SimpleRNNCell,
    "gru_scratch": tfrnn.GRUCell,
    "gru_keras": keras.layers.GRUCell,
    "lstm_scratch": tfrnn.LSTMCell,
    "lstm_keras": keras.layers.LSTMCell,
}
