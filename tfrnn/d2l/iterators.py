"""Iterators over batches of a text (section 8.3): inputs X and targets Y, int32 [B, T].

Letters: T num_steps, B batch_size, V vocab_size.
"""

import random
from collections.abc import Iterator, Sequence

import tensorflow as tf

from tfrnn.d2l.texts import Vocab, load_corpus_time_machine
from tfrnn.data.batches import Batches, random_batches, sequential_batches


def pairs(batches: Batches, epoch: int = 0) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Yields the batches of one epoch as inputs X and targets Y, int32 [B, T] each."""
    for batch in batches.epoch(epoch):
        yield tf.transpose(batch.inputs), tf.transpose(batch.targets)


def seq_data_iter_random(corpus: Sequence[int], batch_size: int, num_steps: int) -> Iterator[tuple]:
    """Yields X and Y, int32 [B, T], of windows of the corpus in random order, which `random.seed` determines."""
    return pairs(random_batches(corpus, batch_size, num_steps, random.getrandbits(31)))


def seq_data_iter_sequential(corpus: Sequence[int], batch_size: int, num_steps: int) -> Iterator[tuple]:
    """Yields X and Y, int32 [B, T]; each row continues the same row of the previous batch."""
    return pairs(sequential_batches(corpus, batch_size, num_steps, random.getrandbits(31)))


class SeqDataLoader:
    """Iterates over The Time Machine: each loop over it is one epoch of X and Y, int32 [B, T].

    Attributes:
      corpus: the ids of the characters that are read.
      vocab: their Vocab.
    """

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
    """Returns a SeqDataLoader over the first max_tokens characters of The Time Machine, and its vocabulary."""
    data_iter = SeqDataLoader(batch_size, num_steps, use_random_iter, max_tokens)
    return data_iter, data_iter.vocab


def load_array(data_arrays: Sequence, batch_size: int, is_train: bool = True) -> tf.data.Dataset:
    """Returns batches of the rows of several arrays (section 3.3), in a new random order each time if is_train."""
    dataset = tf.data.Dataset.from_tensor_slices(data_arrays)
    return (dataset.shuffle(buffer_size=1000) if is_train else dataset).batch(batch_size)
