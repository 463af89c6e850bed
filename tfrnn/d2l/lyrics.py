# ruff: noqa: N803, N806 (the names are the book's)
"""The first edition's sections 6.3 to 6.8, on lyrics, with TensorFlow 2.

Iterators yield arrays [B, T]. Training takes the outputs for logits, as they are, where the published notebooks take
them for probabilities and do not converge; and the training step is compiled.

Letters: T num_steps, B batch_size, V vocab_size, H num_hiddens.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrnn.d2l import nets
from tfrnn.d2l.given_numbers import learning_rate, whole_number
from tfrnn.d2l.training import train_epoch
from tfrnn.data.batches import random_batches, sequential_batches
from tfrnn.data.corpora import catalogue
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import UserError


def load_data_jay_lyrics() -> tuple[list[int], dict[str, int], list[str], int]:
    """Returns the first 10,000 characters of the lyrics (section 6.3).

    Returns:
      corpus_indices, the id of each character; char_to_idx and idx_to_char, the vocabulary; vocab_size.
    """
    text = catalogue.load_corpus("jay_lyrics")[:10_000]
    idx_to_char = Vocabulary.from_text(text).id_to_token[1:]  # the first edition has no <unk>
    char_to_idx = {char: i for i, char in enumerate(idx_to_char)}
    return [char_to_idx[char] for char in text], char_to_idx, idx_to_char, len(idx_to_char)


def data_iter_random(corpus_indices: Sequence[int], batch_size: int, num_steps: int, ctx: Any = None) -> Iterator:
    """Yields X and Y, arrays [B, T], of windows in random order, without dropping leading tokens (section 6.3)."""
    corpus, B, T = _ids_and_sizes(random_batches, corpus_indices, batch_size, num_steps)
    starts = np.arange((len(corpus) - 1) // T) * T
    np.random.default_rng(random.getrandbits(31)).shuffle(starts)  # as `random.seed` determines
    batches = (starts[first : first + B, None] + np.arange(T) for first in range(0, len(starts) - B + 1, B))
    return ((corpus[windows], corpus[windows + 1]) for windows in batches)


def data_iter_consecutive(corpus_indices: Sequence[int], batch_size: int, num_steps: int, ctx: Any = None) -> Iterator:
    """Yields X and Y, arrays [B, T], whose rows continue the previous batch (section 6.3)."""
    corpus, B, T = _ids_and_sizes(sequential_batches, corpus_indices, batch_size, num_steps)
    rows = corpus[: len(corpus) // B * B].reshape(B, -1)
    firsts = range(0, rows.shape[1] - T, T)
    return ((rows[:, first : first + T], rows[:, first + 1 : first + T + 1]) for first in firsts)


def _ids_and_sizes(kind: Callable, corpus_indices: Sequence[int], *sizes: int) -> tuple[np.ndarray, int, int]:
    """Returns the ids of a text as an array [N], B and T, with which batches of this kind can be cut.

    Those of this module need as many tokens; they are arrays, for which no dataset is made in each epoch.
    """
    corpus = np.array(corpus_indices)
    batch_size, num_steps = map(whole_number, ("batch_size", "num_steps"), sizes)
    kind(corpus, batch_size, num_steps, 0, random_offset=False)  # raises UserError
    return corpus, batch_size, num_steps


def to_onehot(X: Any, size: int) -> list[tf.Tensor]:
    """Returns the one-hot vectors of X [B, T] as a list of T tensors, float32 [B, size] (section 6.4)."""
    return tf.unstack(tf.one_hot(tf.transpose(X), size))


def predict_rnn(
    prefix: str,
    num_chars: int,
    rnn: Callable,
    params: Sequence,
    init_rnn_state: Callable,
    num_hiddens: int,
    vocab_size: int,
    idx_to_char: Sequence[str],
    char_to_idx: dict[str, int],
) -> str:
    """Returns the prefix continued by num_chars characters, each the most probable one (section 6.4).

    Args:
      prefix: at least one character.
      num_chars: how many to add.
      rnn: (inputs, a list of T tensors [B, V], state, params) -> (outputs, a list of T tensors [B, V], state).
      params: what get_params returned.
      init_rnn_state: (batch_size, num_hiddens) -> a tuple of tensors [B, H].
      num_hiddens, vocab_size: H and V.
      idx_to_char, char_to_idx: the vocabulary.
    Raises:
      UserError: the prefix is empty, or has a character that is not in the vocabulary.
    """

    def step(token: int, state: Any) -> tuple:
        (output,), state = rnn(to_onehot(np.array([[token]]), vocab_size), state, params)
        return output, state

    return _continued(prefix, num_chars, step, init_rnn_state(1, num_hiddens), idx_to_char, char_to_idx)


def predict_rnn_keras(
    prefix: str, num_chars: int, model: Any, vocab_size: int, idx_to_char: Sequence[str], char_to_idx: dict[str, int]
) -> str:
    """Returns the prefix continued by num_chars characters, each the most probable one (section 6.5).

    Args:
      model: called as model(X [B, T], state), with get_initial_state(batch_size=..., dtype=...).
      others: as in predict_rnn.
    """
    state = _KerasNet(model).begin_state(1)
    return _continued(
        prefix, num_chars, lambda token, state: model(np.array([[token]]), state), state, idx_to_char, char_to_idx
    )


def _continued(
    prefix: str,
    num_chars: int,
    step: Callable,
    state: Any,
    idx_to_char: Sequence[str],
    char_to_idx: dict[str, int],
) -> str:
    unknown = sorted({char for char in prefix if char not in char_to_idx})
    if not prefix or unknown:
        raise UserError(f"expected a prefix of characters of the vocabulary; got {prefix!r}")
    num_chars = whole_number("num_chars", num_chars, 0)
    ids = [char_to_idx[char] for char in prefix]
    for token in ids[:-1]:
        _, state = step(token, state)
    for _ in range(num_chars):
        output, state = step(ids[-1], state)
        ids.append(int(tf.argmax(output[0])))
    return "".join(idx_to_char[i] for i in ids)


def train_and_predict_rnn(
    rnn: Callable,
    get_params: Callable,
    init_rnn_state: Callable,
    num_hiddens: int,
    vocab_size: int,
    corpus_indices: Sequence[int],
    idx_to_char: Sequence[str],
    char_to_idx: dict[str, int],
    is_random_iter: bool,
    num_epochs: int,
    num_steps: int,
    lr: Any,
    clipping_theta: float,
    batch_size: int,
    pred_period: int,
    pred_len: int,
    prefixes: Sequence[str],
) -> None:
    """Trains a net of your own functions by SGD, and prints perplexity and predictions (section 6.4).

    Args:
      rnn, init_rnn_state, num_hiddens, vocab_size, idx_to_char, char_to_idx: as in predict_rnn.
      get_params: () -> a list of tf.Variable.
      corpus_indices: the ids of a text.
      is_random_iter: whether to train on windows in random order, each from a new state.
      num_epochs, num_steps, lr, clipping_theta, batch_size: of the training; lr is a number or a schedule.
      pred_period: the number of epochs between predictions.
      pred_len: the number of characters to predict.
      prefixes: what to continue.
    Raises:
      DivergedError: the loss or the gradient norm is not finite.
    """

    def forward(inputs: Any, state: Any, params: Sequence) -> tuple:
        outputs, state = rnn(tf.unstack(inputs) if tf.is_tensor(inputs) else list(inputs), state, params)
        return tf.concat(outputs, 0), state

    net = nets.RNNModelScratch(vocab_size, num_hiddens, init_rnn_state, forward, lambda *_: get_params())
    _train(
        net,
        lambda: (data_iter_random if is_random_iter else data_iter_consecutive)(corpus_indices, batch_size, num_steps),
        lambda prefix: predict_rnn(
            prefix,
            pred_len,
            rnn,
            net.trainable_variables,
            init_rnn_state,
            num_hiddens,
            vocab_size,
            idx_to_char,
            char_to_idx,
        ),
        is_random_iter,
        (num_epochs, lr, clipping_theta, pred_period, prefixes),
    )


class RNNModel(nets.RNNModel):
    """An RNN layer followed by a dense layer (section 6.5).

    `model(X, state)` with X, int [B, T], returns outputs [T * B, V] and the new state.

    Args:
      rnn_layer: an RNN layer of tfrnn or Keras; its cells are taken.
      vocab_size: V.
    """

    def get_initial_state(self, batch_size: int, dtype: Any = None) -> Any:
        """Returns the state before the first step: a tuple with a tuple of tensors [B, H] for each layer."""
        return self.begin_state(batch_size)


class _KerasNet:
    """A model with get_initial_state, a reader's own perhaps, with the interface of a net of section 8.6."""

    def __init__(self, model: Any):
        self._model = model

    @property
    def trainable_variables(self) -> list:
        return self._model.trainable_variables

    def begin_state(self, batch_size: int) -> Any:
        try:
            return self._model.get_initial_state(batch_size=batch_size, dtype=tf.float32)
        except TypeError:  # Keras 3's cells, to which a model may hand it on
            return self._model.get_initial_state(batch_size=batch_size)

    def __call__(self, X: tf.Tensor, state: Any) -> tuple:
        return self._model(X, state)


def train_and_predict_rnn_keras(
    model: Any,
    num_hiddens: int,
    vocab_size: int,
    corpus_indices: Sequence[int],
    idx_to_char: Sequence[str],
    char_to_idx: dict[str, int],
    num_epochs: int,
    num_steps: int,
    lr: Any,
    clipping_theta: float,
    batch_size: int,
    pred_period: int,
    pred_len: int,
    prefixes: Sequence[str],
) -> None:
    """Trains a model of Keras layers by SGD on consecutive batches, and prints predictions (section 6.5).

    Args:
      model: as in predict_rnn_keras.
      others: as in train_and_predict_rnn.
    Raises:
      DivergedError: the loss or the gradient norm is not finite.
    """
    _train(
        _KerasNet(model),
        lambda: data_iter_consecutive(corpus_indices, batch_size, num_steps),
        lambda prefix: predict_rnn_keras(prefix, pred_len, model, vocab_size, idx_to_char, char_to_idx),
        False,
        (num_epochs, lr, clipping_theta, pred_period, prefixes),
    )


def _train(net: Any, data_iter: Callable, predict: Callable, use_random_iter: bool, settings: tuple) -> None:
    num_epochs, lr, clipping_theta, pred_period, prefixes = settings
    num_epochs, pred_period = whole_number("num_epochs", num_epochs), whole_number("pred_period", pred_period)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    updater = keras.optimizers.SGD(learning_rate(lr))
    for epoch in range(1, num_epochs + 1):
        start = time.perf_counter()
        perplexity, _ = train_epoch(net, data_iter(), loss, updater, use_random_iter, clipping_theta)
        if epoch % pred_period == 0:
            print(f"epoch {epoch}, perplexity {perplexity:f}, time {time.perf_counter() - start:.2f} sec")
            for prefix in prefixes:
                print(" -", predict(prefix))
