"""Recurrent nets of sections 8.5 and 8.6: `net(X, state)` with X [B, T] returns outputs [T * B, V] and the new state.

Letters: T num_steps, B batch_size, V vocab_size, H num_hiddens.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfrnn.models.language_model import LanguageModel


class _Steps(tuple):
    """One-hot inputs as T tensors [B, V]: TensorFlow compiles `for X in inputs` over a tuple, but not over a tensor."""

    @property
    def shape(self) -> tf.TensorShape:
        return tf.TensorShape([len(self), *self[0].shape])


class RNNModelScratch:
    """A recurrent net made of your own functions (section 8.5).

    `net(X, state)` with X, int32 [B, T], returns outputs [T * B, V] and the new state.

    Args:
      vocab_size, num_hiddens: V and H.
      get_params: (vocab_size, num_hiddens) -> a list of tf.Variable.
      init_state: (batch_size, num_hiddens) -> a tuple of tensors [B, H].
      forward_fn: (inputs, state, params) -> (outputs [T * B, V], state), where inputs are one-hot, [T, B, V]. In
        compiled training they are a tuple of T tensors [B, V].
    """

    def __init__(
        self, vocab_size: int, num_hiddens: int, init_state: Callable, forward_fn: Callable, get_params: Callable
    ):
        self.trainable_variables = get_params(vocab_size, num_hiddens)
        self.forward_fn, self.init_state = forward_fn, init_state
        self.num_hiddens = num_hiddens
        self.vocab_size = vocab_size

    def __call__(self, X: tf.Tensor, state: Any) -> tuple:  # noqa: N803 (the book's letter)
        inputs = tf.one_hot(tf.transpose(X), self.vocab_size)
        inputs = inputs if tf.executing_eagerly() else _Steps(tf.unstack(inputs))
        return self.forward_fn(inputs, state, self.trainable_variables)

    def begin_state(self, batch_size: int, *args: Any, **kwargs: Any) -> Any:
        """Returns the state before the first step, as init_state makes it for batch_size rows."""
        return self.init_state(batch_size, self.num_hiddens)


class RNNModel(keras.layers.Layer):
    """An RNN layer followed by a dense layer (section 8.6).

    `net(X, state)` with X, int32 [B, T], returns outputs [T * B, V] and the new state.

    Args:
      rnn_layer: a tfrnn.RNN, or another RNN layer of tfrnn or Keras; its cells are taken.
      vocab_size: V.
    Raises:
      UserError: rnn_layer is another layer, or was made with an argument that the net could not follow.
    """

    def __init__(self, rnn_layer: Any, vocab_size: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.rnn, self.vocab_size = rnn_layer, vocab_size
        self.language_model = LanguageModel(rnn_layer, vocab_size)

    def build(self, *_: Any) -> None:
        self.language_model.build()
        self.built = True

    def call(self, inputs: tf.Tensor, state: Any) -> tuple:
        logits, state = self.language_model(tf.transpose(inputs), state)
        return tf.reshape(logits, [-1, self.vocab_size]), state

    def begin_state(self, batch_size: int, *args: Any, **kwargs: Any) -> Any:
        """Returns the state before the first step: a tuple with a tuple of tensors [B, H] for each layer."""
        return self.language_model.initial_state(batch_size)
