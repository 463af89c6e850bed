"""Sections 8.5 to 9.3: training and prediction by the book's functions."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf
from tqdm import tqdm

from tfrnn.d2l.net_adapter import TimeMajorNet
from tfrnn.d2l.texts import Vocab
from tfrnn.data.batches import Batch
from tfrnn.data.vocabulary import UNKNOWN, Vocabulary
from tfrnn.errors import DivergedError, UserError
from tfrnn.inference import generation
from tfrnn.runtime import devices
from tfrnn.training import step
from tfrnn.training.live_curve import LiveCurve


def try_gpu(i: int = 0) -> Any:
    """tf.device of GPU i if there is one, else of the CPU."""
    return tf.device(devices.device_name(f"gpu:{i}" if i < len(tf.config.list_physical_devices("GPU")) else "cpu"))


def grad_clipping(grads: Iterable, theta: float) -> list[tf.Tensor]:
    """The gradients, scaled where their global norm is above theta."""
    return step.clip([tf.convert_to_tensor(grad) for grad in grads], theta)[0]


def predict_ch8(prefix: str, num_preds: int, net: Any, vocab: Any) -> str:
    """The prefix and the num_preds likeliest tokens after it, one after the other."""
    if not isinstance(vocab, Vocabulary):  # a reader's own class
        if vocab.to_tokens(0) != UNKNOWN:
            raise UserError(f"expected a vocabulary whose id 0 is {UNKNOWN!r}; got {vocab.to_tokens(0)!r}")
        vocab = Vocab([], reserved_tokens=[vocab.to_tokens(i) for i in range(1, len(vocab))])
    return generation.generate(TimeMajorNet.of(net), vocab, prefix, num_preds, unknown="unk")


def train_epoch_ch8(
    net: Any, train_iter: Iterable, loss: Callable, updater: keras.optimizers.Optimizer, use_random_iter: bool
) -> tuple[float, float]:
    """Trains for an epoch, with gradients clipped at 1; gives perplexity and tokens per second.

    Args:
      net: called as net(X [B, T], state), with trainable_variables and begin_state(batch_size=...).
      train_iter: gives X and Y, int32 [B, T].
      loss: (labels [T * B], outputs [T * B, V]) -> their loss, mean or for each.
      updater: a Keras optimizer.
      use_random_iter: whether each batch starts from a fresh state.
    """
    model = TimeMajorNet.of(net)
    train_step = model.train_step(loss, updater)
    state, sums, start = None, step.Sums.zero(), time.perf_counter()
    for X, Y in train_iter:  # noqa: N806
        rows = X.shape[0]
        reset = tf.fill([rows], use_random_iter or state is None)
        state = model.initial_state(rows) if state is None or use_random_iter else state
        state, sums, _, finite = train_step(Batch(tf.transpose(X), tf.transpose(Y), reset), state, sums)
        if not finite:
            raise DivergedError("training diverged: the loss or the gradient norm was not finite; try a smaller lr")
    tokens = float(sums.tokens)
    if not tokens:
        raise UserError("expected a train_iter that gives batches X and Y each time; it gave none")
    return math.exp(float(sums.loss) / tokens), tokens / (time.perf_counter() - start)


def train_ch8(
    net: Any,
    train_iter: Iterable,
    vocab: Any,
    lr: float,
    num_epochs: int,
    strategy: tf.distribute.Strategy,
    use_random_iter: bool = False,
) -> None:
    """Trains by SGD, and prints what the net predicts every ten epochs, and the book's lines at the end.

    In a notebook the perplexity is drawn meanwhile.
    """
    curve = LiveCurve()
    curve.set_params({"epochs": num_epochs, "steps": 1})
    curve.on_train_begin()
    with strategy.scope(), contextlib.ExitStack() as at_the_end:
        at_the_end.callback(curve.on_train_end)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        updater = keras.optimizers.SGD(float(lr))
        for epoch in range(num_epochs):
            curve.on_epoch_begin(epoch)
            perplexity, speed = train_epoch_ch8(net, train_iter, loss, updater, use_random_iter)
            logs = {"perplexity": perplexity, "tokens_per_sec": speed}
            curve.on_train_batch_end(0, logs)
            curve.on_epoch_end(epoch, logs)
            if (epoch + 1) % 10 == 0:
                tqdm.write(predict_ch8("time traveller", 50, net, vocab), file=sys.stdout)
    print(f"perplexity {perplexity:.1f}, {speed:.1f} tokens/sec on {try_gpu()._device_name}")
    for prefix in ("time traveller", "traveller"):
        print(predict_ch8(prefix, 50, net, vocab))
