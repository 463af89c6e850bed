"""Section 8.3, batches as X and Y, int32 [B, T]; and the first edition's.

Letters: T num_steps, B batch_size, V vocab_size.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from tfrnn.d2l.texts import Vocab, load_corpus_time_machine
from tfrnn.data.batches import Batches, random_batches, sequential_batches


def pairs(batches: Batches, epoch: int = 0) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """One epoch as X and Y, int32 [B, T] each."""
    for batch in batches.epoch(epoch):
        yield tf.transpose(batch.inputs), tf.transpose(batch.targets)


def seq_data_iter_random(corpus: Sequence[int], batch_size: int, num_steps: int) -> Iterator[tuple]:
    """X and Y, int32 [B, T], of windows in random order; Python's `random.seed` fixes it."""
    return pairs(random_batches(corpus, batch_size, num_steps, random.getrandbits(31)))


def seq_data_iter_sequential(corpus: Sequence[int], batch_size: int, num_steps: int) -> Iterator[tuple]:
    """X and Y, int32 [B, T]; each row goes on where it ended in the batch before."""
    return pairs(sequential_batches(corpus, batch_size, num_steps, random.getrandbits(31)))


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
        return pairs(self._batches, self._epoch - 1)


def load_data_time_machine(
    batch_size: int, num_steps: int, use_random_iter: bool = False, max_tokens: int = 10000
) -> tuple[SeqDataLoader, Vocab]:
    """The iterator over The Time Machine and its vocabulary."""
    data_iter = SeqDataLoader(batch_size, num_steps, use_random_iter, max_tokens)
    return data_iter, data_iter.vocab


def data_iter_random(corpus_indices: Sequence[int], batch_size: int, num_steps: int, ctx: Any = None) -> Iterator:
    """As seq_data_iter_random, without dropping leading tokens."""
    return pairs(random_batches(corpus_indices, batch_size, num_steps, random.getrandbits(31), random_offset=False))


def data_iter_consecutive(corpus_indices: Sequence[int], batch_size: int, num_steps: int, ctx: Any = None) -> Iterator:
    """As seq_data_iter_sequential, without a random start."""
    return pairs(sequential_batches(corpus_indices, batch_size, num_steps, random_offset=False))


def to_onehot(X: tf.Tensor, n_class: int) -> list[tf.Tensor]:  # noqa: N803
    """X [B, T] as T tensors, float32 [B, n_class]."""
    return tf.unstack(tf.one_hot(tf.transpose(X), n_class))
