"""The names of Dive into Deep Learning's TensorFlow code (edition 0.17), sections 8.2 to 9.3: `from tfrnn import d2l`.

Arguments and returns are the book's: batches are [B, T], and a net returns outputs [T * B, V]. `texts` has the book's
functions of chapter 8.2 and 8.3, `nets` its models, `training` train_ch8 and predict_ch8. Code that you copied from the
book runs after two edits, which Keras 3 requires: `tf.keras.layers.RNN(cell, time_major=True, ...)` becomes
`tfrnn.RNN(cell, time_major=True, ...)`, and `get_initial_state(..., dtype=...)` becomes `get_initial_state(...)`.
docs/guide.md lists the smaller differences. `__all__` ends with four functions of the first edition, which trains on
lyrics.

Letters: T num_steps, B batch_size, V vocab_size, H num_hiddens.
"""

from typing import TYPE_CHECKING, Any

from tfrnn.d2l.iterators import (
    SeqDataLoader,
    data_iter_consecutive,
    data_iter_random,
    load_data_time_machine,
    seq_data_iter_random,
    seq_data_iter_sequential,
    to_onehot,
)
from tfrnn.d2l.nets import RNNModel, RNNModelScratch
from tfrnn.d2l.plotting import plot
from tfrnn.d2l.texts import Vocab, load_corpus_time_machine, load_data_jay_lyrics, read_time_machine, tokenize
from tfrnn.d2l.training import grad_clipping, predict_ch8, train_ch8, train_epoch_ch8, try_gpu

# In the order of the book's sections; the reference page keeps it.
__all__ = [  # noqa: RUF022
    "try_gpu",
    "read_time_machine",
    "tokenize",
    "Vocab",
    "load_corpus_time_machine",
    "plot",
    "seq_data_iter_random",
    "seq_data_iter_sequential",
    "SeqDataLoader",
    "load_data_time_machine",
    "RNNModelScratch",
    "RNNModel",
    "grad_clipping",
    "predict_ch8",
    "train_epoch_ch8",
    "train_ch8",
    "load_data_jay_lyrics",
    "data_iter_random",
    "data_iter_consecutive",
    "to_onehot",
]


if not TYPE_CHECKING:  # type checkers report an unknown name by themselves

    def __getattr__(name: str) -> Any:
        raise AttributeError(
            f"tfrnn.d2l has no {name}: it has what sections 8.2 to 9.3 use, but not the helpers of its definitions; "
            "leave out the cells that define names of tfrnn.d2l"
        )
