"""The book's functions for training a net and predicting with it, sections 8.5 to 9.3."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf
from tqdm import tqdm

from tfrnn.d2l.given_numbers import learning_rate, whole_number
from tfrnn.d2l.measuring import Accumulator
from tfrnn.d2l.net_adapter import NetAdapter
from tfrnn.data import text_rules
from tfrnn.data.batches import Batch
from tfrnn.data.vocabulary import NOUNS, UNKNOWN, Vocabulary
from tfrnn.errors import DivergedError, UserError
from tfrnn.inference import generation
from tfrnn.layers.model_protocol import data_errors_explained
from tfrnn.runtime import devices
from tfrnn.training import step
from tfrnn.training.live_curve import LiveCurve


def try_gpu(i: int = 0) -> Any:
    """Returns tf.device of GPU i if the machine has it, otherwise of the CPU."""
    return tf.device(_gpu_or_cpu(i))


def _gpu_or_cpu(i: int = 0) -> str:
    return devices.device_name(f"gpu:{i}" if i < len(tf.config.list_physical_devices("GPU")) else "cpu")


def grad_clipping(grads: Iterable, theta: float) -> list:
    """Returns the gradients, scaled down to the global norm theta if their norm is above it; None stays None."""
    return step.clip(step.of_those_there(tf.convert_to_tensor, list(grads)), theta)[0]


def predict_ch8(prefix: str | Sequence[str], num_preds: int, net: Any, vocab: Any) -> str:
    """Returns the prefix continued by num_preds tokens, each the most probable one after the text before it.

    Words are joined by one space, also where the book's own function joins them by nothing.

    Args:
      prefix: a text, or a list of its tokens.
      num_preds: how many tokens follow.
      net: as in train_epoch_ch8.
      vocab: the vocabulary, of characters or of words.
    Raises:
      UserError: id 0 of the vocabulary is not `<unk>`, or a token of the prefix is not one character, or one word.
    """
    if not isinstance(vocab, Vocabulary):  # a class of the reader's own
        if vocab.to_tokens(0) != UNKNOWN:
            raise UserError(f"expected a vocabulary whose id 0 is {UNKNOWN!r}; got {vocab.to_tokens(0)!r}")
        tokens = [vocab.to_tokens(i) for i in range(len(vocab))]
        # <pad> and the like do not tell what the others are.
        has_words = any(len(token) > 1 and not (token[0] == "<" and token[-1] == ">") for token in tokens)
        vocab = Vocabulary(tokens, "word" if has_words else "char")
    if not isinstance(prefix, str):
        prefix = _text_of(list(prefix), vocab)
    return generation.generate(NetAdapter.for_net(net), vocab, prefix, num_preds, unknown="unk")


def _text_of(tokens: list, vocab: Vocabulary) -> str:
    """Returns the text of a prefix's tokens. Raises UserError if a text cannot be split into them again."""
    for token in tokens:
        if not isinstance(token, str) or text_rules.split(token, vocab.tokens) != [token]:
            raise UserError(f"expected each token of `prefix` to be one {NOUNS[vocab.tokens]}; got {token!r}")
    return text_rules.join(tokens, vocab.tokens)


def evaluate_loss(net: Any, data_iter: Iterable, loss: Callable) -> float:
    """Returns the mean of a net's loss over a dataset (section 4.4).

    Args:
      net: called as net(X).
      data_iter: yields X and y.
      loss: one of Keras's; or, in the book's order, (predictions, y) -> the loss, or the loss of each row.
    """
    sums = Accumulator(2)
    for X, y in data_iter:  # noqa: N806
        losses = loss(y, net(X)) if isinstance(loss, keras.losses.Loss) else loss(net(X), y)
        sums.add(tf.reduce_sum(losses), tf.size(losses))
    if not sums[1]:
        raise UserError("expected `data_iter` to yield batches X and y; got none")
    return sums[0] / sums[1]


def train_epoch_ch8(
    net: Any, train_iter: Iterable, loss: Callable, updater: keras.optimizers.Optimizer, use_random_iter: bool
) -> tuple[float, float]:
    """Trains a net for one epoch, with gradients clipped to norm 1.

    Args:
      net: called as net(X [B, T], state), with trainable_variables and begin_state(batch_size=...).
      train_iter: yields X and Y, int32 [B, T].
      loss: (labels [T * B], outputs [T * B, V]) -> the mean loss, or the loss of each label.
      updater: a Keras optimizer.
      use_random_iter: whether each batch starts from a new state instead of the last batch's.
    Returns:
      The perplexity and the number of tokens per second.
    Raises:
      DivergedError: the loss or the gradient norm is not finite.
      UserError: train_iter yields no batch.
    """
    return train_epoch(net, train_iter, loss, updater, use_random_iter, theta=1.0)


def train_epoch(
    net: Any,
    train_iter: Iterable,
    loss: Callable,
    updater: keras.optimizers.Optimizer,
    use_random_iter: bool,
    theta: float,
) -> tuple[float, float]:
    """Trains a net as train_epoch_ch8 does, with gradients clipped to norm theta."""
    model = NetAdapter.for_net(net)
    train_step = model.train_step(loss, updater, theta)
    state, sums, start = None, step.Sums.zero(), time.perf_counter()
    for X, Y in train_iter:  # noqa: N806
        rows = X.shape[0]
        reset = tf.fill([rows], use_random_iter or state is None)
        state = model.initial_state(rows) if state is None or use_random_iter else state
        with data_errors_explained():
            result = train_step(Batch(tf.transpose(X), tf.transpose(Y), reset), state, sums)
        state, sums = result.state, result.sums
        if not result.is_finite:
            raise DivergedError("training diverged: the loss or the gradient norm was not finite; try a smaller `lr`")
    tokens = float(sums.tokens)
    if not tokens:
        raise UserError("expected `train_iter` to yield batches X and Y in each epoch; got none")
    return math.exp(float(sums.loss) / tokens), tokens / (time.perf_counter() - start)


def train_ch8(
    net: Any,
    train_iter: Iterable,
    vocab: Any,
    lr: Any,
    num_epochs: int,
    strategy: tf.distribute.Strategy,
    use_random_iter: bool = False,
) -> None:
    """Trains a net by SGD, prints a prediction every 10 epochs, and the book's closing lines at the end.

    In a notebook it also plots the perplexity while it trains.

    Args:
      net, train_iter, use_random_iter: as in train_epoch_ch8.
      vocab: the vocabulary of the predictions.
      lr: learning rate, a number or a schedule.
      num_epochs: the number of epochs.
      strategy: a tf.distribute strategy of one device.
    """
    num_epochs, lr = whole_number("num_epochs", num_epochs), learning_rate(lr)
    curve = LiveCurve()
    curve.set_params({"epochs": num_epochs, "steps": 1})
    curve.on_train_begin()
    with strategy.scope(), contextlib.ExitStack() as at_the_end:
        at_the_end.callback(curve.on_train_end)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        updater = keras.optimizers.SGD(lr)
        for epoch in range(num_epochs):
            curve.on_epoch_begin(epoch)
            perplexity, speed = train_epoch_ch8(net, train_iter, loss, updater, use_random_iter)
            logs = {"perplexity": perplexity, "tokens_per_sec": speed}
            curve.on_train_batch_end(0, logs)
            curve.on_epoch_end(epoch, logs)
            if (epoch + 1) % 10 == 0:
                tqdm.write(predict_ch8("time traveller", 50, net, vocab), file=sys.stdout)
    print(f"perplexity {perplexity:.1f}, {speed:.1f} tokens/sec on {_gpu_or_cpu()}")
    for prefix in ("time traveller", "traveller"):
        print(predict_ch8(prefix, 50, net, vocab))
