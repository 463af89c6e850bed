# ruff: noqa: N803, N806 (the names are the book's)
"""Encoder and decoder (section 9.6), and sequence to sequence learning (section 9.7).

Letters: B batch_size, T num_steps, V vocab_size, H num_hiddens, L num_layers.
"""

import math
import time
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from tfrnn.d2l.compiled_steps import CompiledStep
from tfrnn.d2l.given_numbers import learning_rate, whole_number
from tfrnn.d2l.own_variables import BuiltByCall, VariableFinder
from tfrnn.d2l.plotting import Animator
from tfrnn.d2l.translation import ids_of, truncate_pad
from tfrnn.errors import DivergedError, UserError
from tfrnn.layers.model_protocol import data_errors_explained
from tfrnn.layers.rnn import RNN
from tfrnn.training.step import clip


class Encoder(VariableFinder):
    """The base of encoders (section 9.6): `encoder(X, *args)`."""

    def call(self, X: Any, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"expected {type(self).__name__} to have a method `call`")


class Decoder(VariableFinder):
    """The base of decoders (section 9.6): `decoder(X, state)` returns its outputs and its state."""

    def init_state(self, enc_outputs: Any, *args: Any) -> Any:
        """Returns the state before the first step, given all that the encoder returned."""
        raise NotImplementedError(f"expected {type(self).__name__} to have a method `init_state`")

    def call(self, X: Any, state: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"expected {type(self).__name__} to have a method `call`")


class EncoderDecoder(BuiltByCall, keras.Model):
    """An encoder and a decoder (section 9.6): `net(enc_X, dec_X, *args)` returns what the decoder returns.

    Args:
      encoder: called as encoder(enc_X, *args).
      decoder: called as decoder(dec_X, state), where init_state(what the encoder returned, *args) makes the state.
    """

    def __init__(self, encoder: Any, decoder: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.encoder, self.decoder = encoder, decoder

    def call(self, enc_X: Any, dec_X: Any, *args: Any, **kwargs: Any) -> Any:
        state = self.decoder.init_state(self.encoder(enc_X, *args, **kwargs), *args)
        return self.decoder(dec_X, state, **kwargs)


class Seq2SeqEncoder(Encoder):
    """An embedding and layers of GRUs (section 9.7).

    `encoder(X [B, T])` returns outputs [B, T, H] and the state of each layer, a list of L tensors [B, H].

    Args:
      vocab_size, embed_size, num_hiddens, num_layers: V, the embedding's size, H and L.
      dropout: the fraction of the inputs of each layer that is dropped in training.
    """

    def __init__(
        self, vocab_size: int, embed_size: int, num_hiddens: int, num_layers: int, dropout: float = 0, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.embedding = keras.layers.Embedding(vocab_size, embed_size)
        cells = [keras.layers.GRUCell(num_hiddens, dropout=dropout) for _ in range(num_layers)]
        self.rnn = RNN(cells, return_sequences=True, return_state=True)

    def call(self, X: Any, *args: Any, **kwargs: Any) -> tuple[tf.Tensor, list[tf.Tensor]]:
        outputs, *state = self.rnn(self.embedding(X), **kwargs)
        return outputs, keras.tree.flatten(state)


def sequence_mask(X: tf.Tensor, valid_len: tf.Tensor, value: float = 0) -> tf.Tensor:
    """Returns X [B, T] or [B, T, ...] with this value in each row from its step number valid_len on.

    Args:
      X: a tensor.
      valid_len: int [B], how many steps of each row stay.
      value: takes the place of the others.
    """
    if len(X.shape) < 2:
        raise UserError(f"expected `X` of at least two dimensions, [B, T] or [B, T, ...]; got shape {tuple(X.shape)}")
    mask = tf.sequence_mask(valid_len, X.shape[1])
    mask = tf.reshape(mask, [*X.shape[:2], *[1] * (len(X.shape) - 2)])
    return tf.where(mask, X, tf.cast(value, X.dtype))


@keras.saving.register_keras_serializable("tfrnn")
class MaskedSoftmaxCELoss(keras.losses.Loss):
    """The softmax cross entropy of the steps that are no padding (section 9.7).

    `loss(label [B, T], pred [B, T, V])` returns, for each row, the sum over its first valid_len steps divided by T.

    Args:
      valid_len: int [B], the number of steps of each row that count.
    """

    def __init__(self, valid_len: tf.Tensor):
        super().__init__(reduction="none")
        self.valid_len = valid_len

    def call(self, label: tf.Tensor, pred: tf.Tensor) -> tf.Tensor:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(label, tf.int32), pred)
        return tf.reduce_mean(sequence_mask(losses, self.valid_len), 1)


def train_seq2seq(net: Any, data_iter: Iterable, lr: Any, num_epochs: int, tgt_vocab: Any, device: Any) -> None:
    """Trains an encoder and a decoder by Adam, with gradients clipped to norm 1, and prints loss and speed.

    The decoder's inputs are `<bos>` and the labels before the last (teacher forcing). The training step is compiled; a
    net that cannot be compiled runs as it is. In a notebook the loss is drawn while it trains.

    Args:
      net: called as net(X, decoder's input, X_valid_len, training=True), it returns outputs [B, T, V] and a state.
      data_iter: yields (X, X_valid_len, Y, Y_valid_len): int32 [B, T], [B], [B, T] and [B].
      lr: learning rate, a number or a schedule.
      num_epochs: the number of epochs.
      tgt_vocab: the vocabulary of the labels, which has `<bos>`.
      device: what the last line names.
    Raises:
      UserError: data_iter yields no batch, num_epochs is less than 1, or tgt_vocab lacks `<bos>`.
    """
    num_epochs = whole_number("num_epochs", num_epochs)
    (bos,) = ids_of("tgt_vocab", tgt_vocab, "<bos>")
    optimizer = keras.optimizers.Adam(learning_rate(lr))

    def step(batch: tuple) -> tf.Tensor:
        X, X_valid_len, Y, Y_valid_len = batch
        decoders = tf.concat([tf.fill([Y.shape[0], 1], tf.cast(bos, Y.dtype)), Y[:, :-1]], 1)
        with tf.GradientTape() as tape:
            Y_hat, _ = net(X, decoders, X_valid_len, training=True)
            losses = MaskedSoftmaxCELoss(Y_valid_len)(Y, Y_hat)
        variables = net.trainable_variables
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(losses, variables)]
        optimizer.apply_gradients(zip(clip(gradients, 1)[0], variables, strict=True))
        return tf.stack([tf.reduce_sum(losses), tf.cast(tf.reduce_sum(Y_valid_len), losses.dtype)])

    compiled = CompiledStep(step, "train_seq2seq", net, optimizer)
    animator = Animator(xlabel="epoch", ylabel="loss", xlim=[10, num_epochs])
    for epoch in range(1, num_epochs + 1):
        start, sums = time.perf_counter(), tf.zeros([2])
        with data_errors_explained():
            for batch in data_iter:
                sums += compiled(tuple(batch))
        loss, tokens = sums.numpy()
        if not math.isfinite(loss):
            raise DivergedError(f"the loss is {loss} in epoch {epoch}; try a smaller `lr`")
        if not tokens:
            raise UserError(
                "expected `data_iter` to yield batches (X, X_valid_len, Y, Y_valid_len); got none, or padding alone"
            )
        if epoch % 10 == 0:
            animator.add(epoch, loss / tokens)
    print(
        f"loss {loss / tokens:.3f}, {tokens / (time.perf_counter() - start):.1f} tokens/sec on {_device_name(device)}"
    )


def _device_name(device: Any) -> str:
    """Returns the name of what `try_gpu` returned; of anything else, its text."""
    if not hasattr(device, "__enter__"):
        return str(device)
    with device:
        return "/" + tf.zeros([]).device.split("device:")[-1]


def predict_seq2seq(
    net: Any, src_sentence: str, src_vocab: Any, tgt_vocab: Any, num_steps: int, save_attention_weights: bool = False
) -> tuple[str, list]:
    """Translates a sentence, taking the most probable word after those before it until `<eos>`.

    Args:
      net: has an encoder and a decoder.
      src_sentence: words with a space between them.
      src_vocab, tgt_vocab: the vocabularies, which have `<pad>`, `<bos>` and `<eos>`.
      num_steps: the length to which the sentence is cut or padded, and of the longest translation.
      save_attention_weights: whether to return the decoder's `attention_weights` after each word.
    Returns:
      The translation, and a list of the attention weights.
    Raises:
      UserError: a vocabulary lacks these tokens, or the decoder has no attention weights.
    """
    num_steps = whole_number("num_steps", num_steps)
    (eos, pad), (bos, end) = (
        ids_of("src_vocab", src_vocab, "<eos>", "<pad>"),
        ids_of("tgt_vocab", tgt_vocab, "<bos>", "<eos>"),
    )
    ids = [*src_vocab[src_sentence.lower().split(" ")], eos]
    valid_len = tf.constant([len(ids)])
    X = tf.constant([truncate_pad(ids, num_steps, pad)])
    state = net.decoder.init_state(net.encoder(X, valid_len, training=False), valid_len)
    token, translation, attention_weights = bos, [], []
    for _ in range(num_steps):
        Y, state = net.decoder(tf.constant([[token]]), state, training=False)
        token = int(tf.argmax(Y[0, -1]))
        if save_attention_weights:
            if not hasattr(net.decoder, "attention_weights"):
                raise UserError(
                    f"expected {type(net.decoder).__name__} to have an attribute `attention_weights`; got none; leave "
                    "out `save_attention_weights`"
                )
            attention_weights.append(net.decoder.attention_weights)
        if token == end:
            break
        translation.append(token)
    return " ".join(tgt_vocab.to_tokens(translation)), attention_weights
