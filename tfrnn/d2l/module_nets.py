# ruff: noqa: N803, N806 (the names are the book's)
"""The models of edition 1.0, chapters 9 and 10, as Modules.

Sequences inside of them are time-major: a net `rnn(inputs [T, B, D], state)` returns its outputs, T of [B, H], and its
state.

Letters: T num_steps, B batch_size, V vocab_size, D inputs' size, H num_hiddens, L num_layers.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfrnn.d2l.modules import Module, as_learning_rate
from tfrnn.d2l.seq2seq import Encoder
from tfrnn.errors import UserError
from tfrnn.layers import rnn as rnn_layers


def check_len(a: Any, n: int) -> None:
    """Raises an AssertionError unless a has n elements."""
    if len(a) != n:
        raise AssertionError(f"expected {n} elements, got {len(a)}")


def check_shape(a: Any, shape: Sequence[int]) -> None:
    """Raises an AssertionError unless a has this shape."""
    if tuple(a.shape) != tuple(shape):
        raise AssertionError(f"expected the shape {tuple(shape)}, got {tuple(a.shape)}")


class LinearRegression(Module):
    """One dense unit, trained by the mean squared error (section 3.5).

    Args:
      lr: learning rate.
    """

    def __init__(self, lr: float):
        super().__init__()
        self.save_hyperparameters()
        self.net = keras.layers.Dense(1, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01))

    def loss(self, y_hat: Any, y: Any) -> tf.Tensor:
        """Returns the mean squared error of outputs and labels of the same shape."""
        return tf.reduce_mean(keras.losses.mean_squared_error(y, y_hat))

    def get_w_b(self) -> tuple:
        """Returns the weights and the bias as arrays."""
        weights, bias = self.get_weights()
        return weights, bias


class Classifier(Module):
    """A model whose outputs are logits [..., V] for labels [...] (section 4.3)."""

    def loss(self, Y_hat: Any, Y: Any, averaged: bool = True) -> tf.Tensor:
        """Returns the mean cross entropy, or, if not averaged, that of each label in one row.

        The book's own function averages in both cases.
        """
        logits, labels = tf.reshape(Y_hat, [-1, Y_hat.shape[-1]]), tf.reshape(Y, [-1])
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(labels, tf.int32), logits)
        return tf.reduce_mean(losses) if averaged else losses

    def accuracy(self, Y_hat: Any, Y: Any, averaged: bool = True) -> tf.Tensor:
        """Returns the share of labels that have the largest logit, or, if not averaged, 1 or 0 for each label."""
        labels = tf.reshape(Y, [-1])
        best = tf.argmax(tf.reshape(Y_hat, [-1, Y_hat.shape[-1]]), axis=1)
        right = tf.cast(tf.cast(best, labels.dtype) == labels, tf.float32)
        return tf.reduce_mean(right) if averaged else right

    def validation_step(self, batch: Any) -> None:
        """Plots the loss and the accuracy of a batch of the validation data."""
        outputs = self(*batch[:-1])
        self.plot("loss", self.loss(outputs, batch[-1]), train=False)
        self.plot("acc", self.accuracy(outputs, batch[-1]), train=False)

    def layer_summary(self, X_shape: Sequence[int]) -> None:
        """Prints the shapes of the outputs of the layers of `net` for inputs of this shape."""
        X = tf.random.normal(X_shape)
        for layer in self.net.layers:
            X = layer(X)
            print(type(layer).__name__, "output shape:\t", X.shape)


class RNNScratch(Module):
    """A recurrent net of tf.Variables (section 9.5): H' = tanh(X W_xh + H W_hh + b_h).

    `rnn(inputs [T, B, D], state)` returns a list of T outputs [B, H] and the state [B, H].

    Args:
      num_inputs, num_hiddens: D and H.
      sigma: standard deviation of the initial weights.
    """

    def __init__(self, num_inputs: int, num_hiddens: int, sigma: float = 0.01):
        super().__init__()
        self.save_hyperparameters()
        self.W_xh = tf.Variable(tf.random.normal([num_inputs, num_hiddens]) * sigma)
        self.W_hh = tf.Variable(tf.random.normal([num_hiddens, num_hiddens]) * sigma)
        self.b_h = tf.Variable(tf.zeros([num_hiddens]))

    def forward(self, inputs: Any, state: Any = None) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Returns the outputs and the state; the state is a tensor [B, H], or a tuple of one."""
        size = [-1, self.num_hiddens]
        inputs = tf.convert_to_tensor(inputs)
        H = tf.zeros([inputs.shape[1], self.num_hiddens]) if state is None else tf.reshape(state, size)
        outputs = []
        for X in tf.unstack(tf.tensordot(inputs, self.W_xh, 1) + self.b_h):
            H = tf.tanh(X + tf.matmul(H, self.W_hh))
            outputs.append(H)
        return outputs, H


class RNNLMScratch(Classifier):
    """A language model over a recurrent net, with an output layer of tf.Variables (section 9.5).

    `model(X [B, T])` returns logits [B, T, V]. It plots perplexities.

    Args:
      rnn: a net with `num_hiddens` and `sigma`, called as `rnn(inputs [T, B, V], state)`.
      vocab_size: V.
      lr: learning rate.
    """

    def __init__(self, rnn: Any, vocab_size: int, lr: float = 0.01):
        super().__init__()
        self.save_hyperparameters()
        self.init_params()

    def init_params(self) -> None:
        """Makes the weights of the output layer."""
        self.W_hq = tf.Variable(tf.random.normal([self.rnn.num_hiddens, self.vocab_size]) * self.rnn.sigma)
        self.b_q = tf.Variable(tf.zeros([self.vocab_size]))

    def build_by_call(self) -> None:
        self(tf.zeros([1, 1], tf.int32))

    def one_hot(self, X: Any) -> tf.Tensor:
        """Returns ids X [B, T] as one-hot vectors [T, B, V]."""
        return tf.one_hot(tf.transpose(X), self.vocab_size)

    def output_layer(self, rnn_outputs: Any) -> tf.Tensor:
        """Returns the logits [B, T, V] for T outputs [B, H]."""
        logits = tf.tensordot(tf.convert_to_tensor(rnn_outputs), self.W_hq, 1) + self.b_q
        return tf.transpose(logits, [1, 0, 2])

    def forward(self, X: Any, state: Any = None) -> tf.Tensor:
        rnn_outputs, _ = self.rnn(self.one_hot(X), state)
        return self.output_layer(rnn_outputs)

    def training_step(self, batch: Any) -> tf.Tensor:
        loss = self._loss_of(batch)
        self.plot("ppl", tf.exp(loss), train=True)
        return loss

    def validation_step(self, batch: Any) -> None:
        self.plot("ppl", tf.exp(self._loss_of(batch)), train=False)

    def predict(self, prefix: str, num_preds: int, vocab: Any, device: Any = None) -> str:
        """Returns the prefix continued by num_preds tokens, each the most probable one.

        Args:
          prefix: a text of at least one token.
          num_preds: how many tokens follow.
          vocab: the Vocab of the data that the model was trained on.
          device: not used; TensorFlow chooses it.
        """
        if not prefix:
            raise UserError("expected a `prefix` of at least one token, to be continued; got an empty one")
        ids, state = [vocab[token] for token in prefix], None
        for i in range(len(prefix) + num_preds - 1):
            rnn_outputs, state = self.rnn(self.one_hot(tf.constant([[ids[i]]])), state)
            if i >= len(prefix) - 1:
                ids.append(int(tf.argmax(self.output_layer(rnn_outputs)[0, 0])))
        return "".join(vocab.idx_to_token[i] for i in ids)


class RNN(Module):
    """A layer of simple recurrent units (section 9.6): `rnn(inputs [T, B, D], state)` -> [T, B, H] and the state.

    Args:
      num_hiddens: H.
    """

    def __init__(self, num_hiddens: int):
        super().__init__()
        self.save_hyperparameters()
        self.rnn = rnn_layers.SimpleRNN(num_hiddens, return_sequences=True, return_state=True, time_major=True)

    def forward(self, inputs: Any, H: Any = None) -> tuple[tf.Tensor, tf.Tensor]:
        if isinstance(self.rnn, keras.layers.RNN) and not getattr(self.rnn, "time_major", False):
            warnings.warn(
                f"{type(self).__name__} gives a sequence [T, B, D] to a layer that reads it as [B, T, D], as section "
                "10.2 prints it: it mixes the rows of a batch; add time_major=True to the layer",
                stacklevel=2,
            )
        outputs, H = self.rnn(inputs, H)
        return outputs, H


class RNNLM(RNNLMScratch):
    """A language model over a recurrent net, with a dense layer (section 9.6).

    `model(X [B, T])` returns logits [B, T, V]. It plots perplexities.

    Args:
      rnn: a net, called as `rnn(inputs [T, B, V], state)`.
      vocab_size: V.
      lr: learning rate.
    """

    def init_params(self) -> None:
        self.linear = keras.layers.Dense(self.vocab_size)

    def output_layer(self, hiddens: Any) -> tf.Tensor:  # type: ignore[override]
        """Returns the logits [B, T, V] for outputs [T, B, H]."""
        return tf.transpose(self.linear(tf.convert_to_tensor(hiddens)), [1, 0, 2])


class GRU(RNN):
    """Layers of gated recurrent units (section 10.3): `gru(inputs [T, B, D], state)` -> [T, B, H] and the state.

    The state is a list of L tensors [B, H].

    Args:
      num_hiddens: H.
      num_layers: L.
      dropout: rate of dropout on the inputs of each layer, in training.
    """

    def __init__(self, num_hiddens: int, num_layers: int, dropout: float = 0):
        Module.__init__(self)
        self.save_hyperparameters()
        cells = [keras.layers.GRUCell(num_hiddens, dropout=dropout) for _ in range(num_layers)]
        self.rnn = rnn_layers.RNN(cells, return_sequences=True, return_state=True, time_major=True)

    def forward(self, X: Any, state: Any = None) -> tuple[tf.Tensor, list[tf.Tensor]]:  # type: ignore[override]
        outputs, *new_state = self.rnn(X, state)
        return outputs, tf.nest.flatten(new_state)


class EncoderDecoder(Classifier):
    """An encoder and a decoder (section 10.6): `model(enc_X, dec_X, *args)` returns the decoder's outputs.

    Dropout acts in training only; the book's own class has it in validation too.
    """

    def __init__(self, encoder: Any, decoder: Any):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def call(self, enc_X: Any, dec_X: Any, *args: Any, training: bool | None = None) -> Any:  # type: ignore[override]
        enc_all_outputs = self.encoder(enc_X, *args, training=training)
        dec_state = self.decoder.init_state(enc_all_outputs, *args)
        return self.decoder(dec_X, dec_state, training=training)[0]

    def predict_step(self, batch: Any, device: Any, num_steps: int, save_attention_weights: bool = False) -> tuple:  # type: ignore[override]
        """Returns the most probable tokens, int64 [B, num_steps], and a list of the decoder's attention weights.

        Args:
          batch: source [B, T], target [B, T], whose first column begins the output, valid lengths [B], and labels.
          device: not used; TensorFlow chooses it.
          num_steps: how many tokens to predict.
          save_attention_weights: whether the list has the decoder's `attention_weights` after each step.
        """
        src, tgt, src_valid_len, _ = batch
        if save_attention_weights and not hasattr(self.decoder, "attention_weights"):
            raise UserError(
                "expected a decoder with `attention_weights` for `save_attention_weights=True`; got "
                f"{type(self.decoder).__name__}"
            )
        state = self.decoder.init_state(self.encoder(src, src_valid_len, training=False), src_valid_len)
        token, tokens, attention_weights = tgt[:, :1], [], []
        for _ in range(num_steps):
            outputs, state = self.decoder(token, state, training=False)
            token = tf.argmax(outputs, 2)
            tokens.append(token)
            if save_attention_weights:
                attention_weights.append(self.decoder.attention_weights)
        return tf.concat(tokens, 1), attention_weights


class Seq2SeqEncoder(Encoder):
    """An embedding and a GRU (section 10.7).

    `encoder(X [B, T])` returns outputs [T, B, H] and a state, a list of L tensors [B, H].

    Args:
      vocab_size: V.
      embed_size: size of the embedding.
      num_hiddens, num_layers, dropout: as in GRU.
    """

    def __init__(self, vocab_size: int, embed_size: int, num_hiddens: int, num_layers: int, dropout: float = 0):
        super().__init__()
        self.embedding = keras.layers.Embedding(vocab_size, embed_size)
        self.rnn = GRU(num_hiddens, num_layers, dropout)

    def call(self, X: Any, *args: Any) -> tuple[tf.Tensor, list[tf.Tensor]]:
        outputs, state = self.rnn(self.embedding(tf.transpose(X)))
        return outputs, state


class Seq2Seq(EncoderDecoder):
    """An encoder and a decoder, trained by Adam on the labels that are not padding (section 10.7).

    The book's own class counts padding too.

    Args:
      encoder, decoder: called as in EncoderDecoder.
      tgt_pad: the id of padding in the labels.
      lr: learning rate.
    """

    def __init__(self, encoder: Any, decoder: Any, tgt_pad: int, lr: float):
        super().__init__(encoder, decoder)
        self.save_hyperparameters()

    def loss(self, Y_hat: Any, Y: Any) -> tf.Tensor:  # type: ignore[override]
        """Returns the mean cross entropy over the labels that are not padding; 0 if all are."""
        losses = super().loss(Y_hat, Y, averaged=False)
        mask = tf.cast(tf.reshape(Y, [-1]) != self.tgt_pad, losses.dtype)
        return tf.math.divide_no_nan(tf.reduce_sum(losses * mask), tf.reduce_sum(mask))

    validation_step = Module.validation_step

    def configure_optimizers(self) -> keras.optimizers.Optimizer:
        """Returns Adam with the learning rate `lr`."""
        return keras.optimizers.Adam(as_learning_rate(self.lr))
