"""Iterators over batches of a text (section 8.3): inputs X and targets Y, int32 [B, T].

Letters: T num_steps, B batch_size, V vocab_size.
"""

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence

import tensorflow as tf

from tfrnn.d2l.given_numbers import whole_number
from tfrnn.d2l.texts import Vocab, load_corpus_time_machine
from tfrnn.data.batches import Batches, random_batches, sequential_batches
from tfrnn.errors import UserError


def pairs(batches: Iterable) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Yields batches as inputs X and targets Y, int32 [B, T] each."""
    for batch in batches:
        yield tf.transpose(batch.inputs), tf.transpose(batch.targets)


def seq_data_iter_random(corpus: Sequence[int], batch_size: int, num_steps: int) -> Iterator[tuple]:
    """Yields X and Y, int32 [B, T], of windows of the corpus in random order, which `random.seed` determines."""
    return pairs(_cut(random_batches, corpus, batch_size, num_steps).epoch(0))


def seq_data_iter_sequential(corpus: Sequence[int], batch_size: int, num_steps: int) -> Iterator[tuple]:
    """Yields X and Y, int32 [B, T]; each row continues the same row of the previous batch."""
    return pairs(_cut(sequential_batches, corpus, batch_size, num_steps).epoch(0))


def _cut(kind: Callable, corpus: Sequence[int], batch_size: int, num_steps: int) -> Batches:
    """Returns batches of this kind, which `random.seed` determines."""
    sizes = whole_number("batch_size", batch_size), whole_number("num_steps", num_steps)
    return kind(corpus, *sizes, random.getrandbits(31))


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
        self._batches = _cut(kind, self.corpus, batch_size, num_steps)
        self._epoch = 0
        self._next_epochs: Iterator | None = None  # that begin with this epoch, if it is not None

    def __iter__(self) -> Iterator[tuple]:
        epoch, epochs = self._epoch, self._next_epochs
        self._epoch, self._next_epochs = epoch + 1, None
        if epochs is None:
            epochs = pairs(self._batches.from_position(epoch, 0))
        yield from itertools.islice(epochs, self._batches.num_batches(epoch))
        if self._epoch == epoch + 1:  # else another loop has begun
            self._next_epochs = epochs  # to make a dataset for each epoch takes longer than to train on it


def load_data_time_machine(
    batch_size: int, num_steps: int, use_random_iter: bool = False, max_tokens: int = 10000
) -> tuple[SeqDataLoader, Vocab]:
    """Returns a SeqDataLoader over the first max_tokens characters of The Time Machine, and its vocabulary."""
    data_iter = SeqDataLoader(batch_size, num_steps, use_random_iter, max_tokens)
    return data_iter, data_iter.vocab


def load_array(data_arrays: Sequence, batch_size: int, is_train: bool = True) -> tf.data.Dataset:
    """Returns batches of the rows of several arrays (section 3.3), in a new random order each time if is_train.

    Args:
      data_arrays: a tuple or list of arrays with as many rows each.
      batch_size: the number of rows of a batch.
      is_train: see above.
    """
    batch_size = whole_number("batch_size", batch_size)
    try:
        # TensorFlow would take a list of arrays of one shape for one array.
        rows = tf.data.Dataset.from_tensor_slices(tuple(data_arrays) if isinstance(data_arrays, list) else data_arrays)
    except (TypeError, ValueError) as error:
        shapes = [getattr(array, "shape", type(array).__name__) for array in _several(data_arrays)]
        raise UserError(
            "expected `data_arrays` as a tuple of arrays with as many rows each; got "
            f"{', '.join(map(str, shapes)) or type(data_arrays).__name__}"
        ) from error
    return (rows.shuffle(buffer_size=1000) if is_train else rows).batch(batch_size)


def _several(arrays: object) -> Sequence:
    return arrays if isinstance(arrays, (list, tuple)) else ()
