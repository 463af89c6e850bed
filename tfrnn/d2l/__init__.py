"""The names of Dive into Deep Learning's TensorFlow code (edition 0.17), sections 8.2 to 9.3: `from tfrnn import d2l`.

Arguments and returns are the book's: tokens and batches are [B, T] here, and a net gives outputs [T * B, V]. A reader's
own cells run but for two edits that Keras 3 asks for: `tf.keras.layers.RNN(cell, time_major=True, ...)` becomes
`tfrnn.RNN(cell, time_major=True, ...)`, and `get_initial_state(..., dtype=...)` loses its dtype (docs/guide.md has the
smaller differences). The last functions are of the book's first edition, for the lyrics.

Letters: T num_steps, B batch_size, V vocab_size, H num_hiddens.
"""

import collections
import contextlib
import math
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfrnn.data import corpora, text_rules
from tfrnn.data.batches import Batch, Batches, random_batches, sequential_batches
from tfrnn.data.vocabulary import NOUNS, UNKNOWN, Vocabulary
from tfrnn.errors import DivergedError, UserError
from tfrnn.inference import generation
from tfrnn.layers.rnn import RNN
from tfrnn.models.model import LanguageModel
from tfrnn.runtime import runtime
from tfrnn.training import step
from tfrnn.training.live_curve import LiveCurve
from tfrnn.training.replicas import Replicas


def try_gpu(i: int = 0) -> Any:
    """tf.device of GPU i if there is one, else of the CPU."""
    return tf.device(runtime.device_name(f"gpu:{i}" if i < len(tf.config.list_physical_devices("GPU")) else "cpu"))


# Section 8.2: text


def read_time_machine() -> list[str]:
    """The lines of The Time Machine, of lower-case letters and single spaces."""
    return text_rules.clean_lines(corpora.load_corpus("time_machine", "raw").removesuffix("\n"))


def tokenize(lines: Iterable[str], token: str = "word") -> list[list[str]]:
    """The tokens of each line, `word` or `char`."""
    if token not in NOUNS:
        raise UserError(f"token must be one of {', '.join(NOUNS)}; got {token!r}")
    return [text_rules.split(line, token) for line in lines]


class Vocab(Vocabulary):
    """The book's vocabulary: `vocab[tokens]` and `vocab.to_tokens(ids)`, of one or of lists.

    Args:
      tokens: a list of tokens, or of lists of them.
      min_freq: tokens that are rarer are left out.
      reserved_tokens: take the ids behind `<unk>`, which is 0.
    """

    def __init__(self, tokens: Any = None, min_freq: int = 0, reserved_tokens: Sequence[str] | None = None):
        # A tuple is one token, as the book's pairs of words are.
        flat = [token for part in tokens or [] for token in (part if isinstance(part, list) else [part])]
        self.token_freqs = collections.Counter(flat).most_common()
        first = [UNKNOWN, *(reserved_tokens or [])]
        rest = [token for token, count in self.token_freqs if count >= min_freq and token not in first]
        self._tuples = any(isinstance(token, tuple) for token in rest)
        characters = all(isinstance(token, str) and len(token) == 1 for token in rest)
        super().__init__([*first, *rest], "char" if characters else "word")

    @property
    def unk(self) -> int:
        """The id of `<unk>`."""
        return 0

    @property
    def idx_to_token(self) -> list[str]:
        """The tokens in id order."""
        return self.id_to_token

    @property
    def token_to_idx(self) -> dict[str, int]:
        """The id of each token."""
        return self._token_to_id

    def __getitem__(self, tokens: Any) -> Any:
        if isinstance(tokens, list) or (isinstance(tokens, tuple) and not self._tuples):
            return [self[token] for token in tokens]
        return self.id_of(tokens)

    def to_tokens(self, indices: Any) -> Any:
        """The token of an id; of ids (lists of them, arrays, tensors), lists of tokens."""
        if isinstance(indices, (list, tuple)) or len(getattr(indices, "shape", ())):
            return [self.to_tokens(i) for i in indices]
        return self.id_to_token[int(indices)]


def load_corpus_time_machine(max_tokens: int = -1) -> tuple[list[int], Vocab]:
    """The ids of The Time Machine's characters, the first max_tokens if that is positive, and their vocabulary."""
    characters = [char for line in tokenize(read_time_machine(), "char") for char in line]
    vocab = Vocab(characters)
    corpus = vocab[characters]
    return (corpus[:max_tokens] if max_tokens > 0 else corpus), vocab


# Section 8.3: batches


def plot(
    X: Any,  # noqa: N803
    Y: Any = None,  # noqa: N803
    xlabel: str | None = None,
    ylabel: str | None = None,
    legend: Sequence[str] = (),
    xlim: Any = None,
    ylim: Any = None,
    xscale: str = "linear",
    yscale: str = "linear",
    figsize: tuple[float, float] = (3.5, 2.5),
) -> None:
    """Lines Y over X, one or a list of them; without Y, the lines X over their indices."""
    from matplotlib import pyplot

    def lines(values: Any) -> list:
        return list(values) if np.ndim(values[0]) else [values]

    ys = lines(X if Y is None else Y)
    xs = [range(len(y)) for y in ys] if Y is None else lines(X)
    xs = xs * len(ys) if len(xs) == 1 else xs
    _, axes = pyplot.subplots(figsize=figsize)
    for x, y in zip(xs, ys, strict=True):
        axes.plot(x, y)
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=xlim, ylim=ylim, xscale=xscale, yscale=yscale)
    axes.grid()
    if legend:
        axes.legend(legend)


def _pairs(batches: Batches, epoch: int = 0) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """One epoch as X and Y, int32 [B, T] each."""
    for batch in batches.epoch(epoch):
        yield tf.transpose(batch.inputs), tf.transpose(batch.targets)


def seq_data_iter_random(corpus: Sequence[int], batch_size: int, num_steps: int) -> Iterator[tuple]:
    """X and Y, int32 [B, T], of windows in random order; Python's `random.seed` fixes it."""
    return _pairs(random_batches(corpus, batch_size, num_steps, random.getrandbits(31)))


def seq_data_iter_sequential(corpus: Sequence[int], batch_size: int, num_steps: int) -> Iterator[tuple]:
    """X and Y, int32 [B, T]; each row goes on where it ended in the batch before."""
    return _pairs(sequential_batches(corpus, batch_size, num_steps, random.getrandbits(31)))


class SeqDataLoader:
    """Iterates over The Time Machine, an epoch each time; `corpus` and `vocab` are what it reads."""

    def __init__(self, batch_size: int, num_steps: int, use_random_iter: bool, max_tokens: int):
        self.corpus, self.vocab = load_corpus_time_machine(max_tokens)
        self.batch_size, self.num_steps = batch_size, num_steps
        kind = random_batches if use_random_iter else sequential_batches
        self._batches = kind(self.corpus, batch_size, num_steps, random.getrandbits(31))
        self._epoch = 0

    def __iter__(self) -> Iterator[tuple]:
        self._epoch += 1
        return _pairs(self._batches, self._epoch - 1)


def load_data_time_machine(
    batch_size: int, num_steps: int, use_random_iter: bool = False, max_tokens: int = 10000
) -> tuple[SeqDataLoader, Vocab]:
    """The iterator over The Time Machine and its vocabulary."""
    data_iter = SeqDataLoader(batch_size, num_steps, use_random_iter, max_tokens)
    return data_iter, data_iter.vocab


# Sections 8.5 and 8.6: nets


class _Steps(tuple):
    """Inputs as T tensors [B, V]: a reader's `for X in inputs` cannot be compiled over a tensor."""

    @property
    def shape(self) -> tf.TensorShape:
        return tf.TensorShape([len(self), *self[0].shape])


class RNNModelScratch:
    """A net of the reader's own functions.

    Args:
      vocab_size, num_hiddens: V and H.
      init_state: (batch_size, num_hiddens) -> a tuple of tensors [B, H].
      forward_fn: (inputs one-hot [T, B, V], state, params) -> (outputs [T * B, V], state). Where it can be compiled,
        the inputs come as T tensors.
      get_params: (vocab_size, num_hiddens) -> a list of tf.Variable.
    """

    def __init__(
        self, vocab_size: int, num_hiddens: int, init_state: Callable, forward_fn: Callable, get_params: Callable
    ):
        self.vocab_size, self.num_hiddens = vocab_size, num_hiddens
        self.init_state, self.forward_fn = init_state, forward_fn
        self.trainable_variables = get_params(vocab_size, num_hiddens)

    def __call__(self, X: tf.Tensor, state: Any) -> tuple:  # noqa: N803 (the book's letter)
        inputs = tf.one_hot(tf.transpose(X), self.vocab_size)
        inputs = inputs if tf.executing_eagerly() else _Steps(tf.unstack(inputs))
        return self.forward_fn(inputs, state, self.trainable_variables)

    def begin_state(self, batch_size: int, *args: Any, **kwargs: Any) -> Any:
        """The first state of so many rows, as init_state makes it."""
        return self.init_state(batch_size, self.num_hiddens)


class RNNModel(keras.layers.Layer):
    """An RNN layer and a dense one: X [B, T] and a state give outputs [T * B, V] and the new state."""

    def __init__(self, rnn_layer: RNN, vocab_size: int, **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(rnn_layer, RNN):
            raise UserError(f"expected a tfrnn.RNN, since Keras's RNN knows no time_major any more; got {rnn_layer!r}")
        self.rnn, self.vocab_size = rnn_layer, vocab_size
        self.language_model = LanguageModel(rnn_layer, vocab_size)

    def build(self, *_: Any) -> None:
        self.language_model.build()
        self.built = True

    def call(self, inputs: tf.Tensor, state: Any) -> tuple:
        logits, state = self.language_model(tf.transpose(inputs), state)
        return tf.reshape(logits, [-1, self.vocab_size]), state

    def begin_state(self, batch_size: int, *args: Any, **kwargs: Any) -> Any:
        """The first state of so many rows: a tuple with a tuple of tensors [B, H] for each layer."""
        return self.rnn.initial_state(batch_size)


class _TimeMajor:
    """A net of the book's kind, ours or a reader's own, as training and generation here know a model.

    The state is a flat tuple, packed as `begin_state` gives it for the net: readers' nets return it in other forms.
    """

    built = True

    def __init__(self, net: Any):
        self._net = net
        # A first call, which also makes the weights of a Keras layer.
        ids, state = tf.zeros([1, 2], tf.int32), net.begin_state(batch_size=1)
        outputs, _ = net(ids, state)
        self._vocab_size = outputs.shape[-1]
        self.compiles = True
        try:
            tf.function(net, autograph=False).get_concrete_function(ids, state)
        except Exception:  # whatever it is: the net has just run without being compiled
            self.compiles = False

    @classmethod
    def of(cls, net: Any) -> "_TimeMajor":
        """The net's own, made at its first use: what is compiled for it is found again."""
        if "_time_major" not in vars(net):
            object.__setattr__(net, "_time_major", cls(net))  # not by Keras's, which would track it
        return vars(net)["_time_major"]

    @property
    def trainable_variables(self) -> list:
        return self._net.trainable_variables

    def weights_read_once(self) -> contextlib.AbstractContextManager:
        return contextlib.nullcontext()

    def initial_state(self, batch_size: int) -> tuple:
        return tuple(tf.nest.flatten(self._net.begin_state(batch_size=batch_size)))

    def __call__(self, inputs: tf.Tensor, state: tuple, training: bool = False) -> tuple:
        if not self.compiles and not tf.executing_eagerly():
            return self._uncompiled(inputs, state)
        if inputs.shape[0] is None:  # a net that unrolls itself must know how many steps there are
            before = tf.zeros([tf.shape(inputs)[1], self._vocab_size]), state
            outputs, states = tf.scan(lambda last, ids: self._one_step(ids, last[1]), inputs, before)
            return outputs, tuple(tensor[-1] for tensor in states)
        state = tf.nest.pack_sequence_as(self._net.begin_state(batch_size=1), list(state))
        outputs, state = self._net(tf.transpose(inputs), state)  # [T * B, V]
        outputs = tf.reshape(outputs, [inputs.shape[0], -1, self._vocab_size])
        return outputs, tuple(tf.nest.flatten(state))

    def _uncompiled(self, inputs: tf.Tensor, state: tuple) -> tuple:
        """The net run by Python from within compiled generation."""

        def call(ids: tf.Tensor, *state: tf.Tensor) -> list:
            outputs, state = self(ids, state)
            return [outputs, *state]

        outputs, *new_state = tf.py_function(call, [inputs, *state], [tf.float32] + [t.dtype for t in state])
        outputs.set_shape([*inputs.shape, self._vocab_size])
        for new, old in zip(new_state, state, strict=True):
            new.set_shape(old.shape)
        return outputs, tuple(new_state)

    def _one_step(self, ids: tf.Tensor, state: tuple) -> tuple:
        outputs, state = self(ids[None], state)
        return outputs[0], state

    def train_step(self, loss: Callable, updater: keras.optimizers.Optimizer) -> Callable:
        """The compiled step for this loss and updater; the last one asked for is kept."""
        if getattr(self, "_step_for", None) != (loss, updater):
            if not updater.built:
                updater.build(self.trainable_variables)

            def summed(outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
                flat = tf.reshape(outputs, [-1, outputs.shape[-1]])
                mean = tf.reduce_mean(loss(tf.reshape(targets, [-1]), flat))
                return mean * tf.cast(tf.size(targets), mean.dtype)

            # An optimizer works under the strategy in whose scope it was made.
            replicas = Replicas(getattr(updater, "_distribution_strategy", None) or tf.distribute.get_strategy())
            if replicas.count > 1:
                raise UserError(
                    f"expected a strategy of one device, got one of {replicas.count} replicas; use tfrnn.Trainer for it"
                )

            def train_step(batch: Batch, state: tuple, sums: step.Sums) -> tuple:
                return step.train_step(self, updater, summed, 1.0, batch, state, sums, replicas=replicas)

            if self.compiles:
                train_step = tf.function(train_step, autograph=False, reduce_retracing=True)
            self._step_for, self._train_step = (loss, updater), train_step
        return self._train_step


def grad_clipping(grads: Iterable, theta: float) -> list[tf.Tensor]:
    """The gradients, scaled where their global norm is above theta."""
    return step.clip([tf.convert_to_tensor(grad) for grad in grads], theta)[0]


def predict_ch8(prefix: str, num_preds: int, net: Any, vocab: Any) -> str:
    """The prefix and the num_preds likeliest tokens after it, one after the other."""
    if not isinstance(vocab, Vocabulary):  # a reader's own class
        if vocab.to_tokens(0) != UNKNOWN:
            raise UserError(f"expected a vocabulary whose id 0 is {UNKNOWN!r}; got {vocab.to_tokens(0)!r}")
        vocab = Vocab([], reserved_tokens=[vocab.to_tokens(i) for i in range(1, len(vocab))])
    return generation.generate(_TimeMajor.of(net), vocab, prefix, num_preds, unknown="unk")


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
    model = _TimeMajor.of(net)
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


# The book's first edition


def load_data_jay_lyrics() -> tuple[list[int], dict[str, int], list[str], int]:
    """corpus_indices, char_to_idx, idx_to_char and vocab_size of the first 10,000 characters of the lyrics."""
    text = corpora.load_corpus("jay_lyrics")[:10_000]
    idx_to_char = Vocabulary.from_text(text).id_to_token[1:]  # without <unk>, which that edition lacks
    char_to_idx = {char: i for i, char in enumerate(idx_to_char)}
    return [char_to_idx[char] for char in text], char_to_idx, idx_to_char, len(idx_to_char)


def data_iter_random(corpus_indices: Sequence[int], batch_size: int, num_steps: int, ctx: Any = None) -> Iterator:
    """As seq_data_iter_random, without dropping leading tokens."""
    return _pairs(random_batches(corpus_indices, batch_size, num_steps, random.getrandbits(31), random_offset=False))


def data_iter_consecutive(corpus_indices: Sequence[int], batch_size: int, num_steps: int, ctx: Any = None) -> Iterator:
    """As seq_data_iter_sequential, without a random start."""
    return _pairs(sequential_batches(corpus_indices, batch_size, num_steps, random_offset=False))


def to_onehot(X: tf.Tensor, n_class: int) -> list[tf.Tensor]:  # noqa: N803
    """X [B, T] as T tensors, float32 [B, n_class]."""
    return tf.unstack(tf.one_hot(tf.transpose(X), n_class))


__all__ = [
    name for name, value in list(globals().items()) if getattr(value, "__module__", "") == __name__ and name[0] != "_"
]


if not TYPE_CHECKING:  # for checkers a name that is not here is an error as it is

    def __getattr__(name: str) -> Any:
        raise AttributeError(
            f"tfrnn.d2l has no {name}: it has what sections 8.2 to 9.3 use, not what they define it with; leave out "
            "the cells that define what is here already"
        )
