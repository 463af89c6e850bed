"""The names of Dive into Deep Learning's first edition with TensorFlow 2: `from tfrnn.d2l import first as d2l`.

They are those of its sections 6.3 to 6.8, on Jay Chou's lyrics; arguments and returns are the book's. `lyrics` has the
functions.
"""

from tfrnn.d2l import editions as _editions
from tfrnn.d2l.keras_2 import as_printed
from tfrnn.d2l.lyrics import (
    RNNModel,
    data_iter_consecutive,
    data_iter_random,
    load_data_jay_lyrics,
    predict_rnn,
    predict_rnn_keras,
    to_onehot,
    train_and_predict_rnn,
    train_and_predict_rnn_keras,
)
from tfrnn.d2l.training import grad_clipping

# In the order of the book's sections.
__all__ = [  # noqa: RUF022
    "as_printed",
    "load_data_jay_lyrics",
    "data_iter_random",
    "data_iter_consecutive",
    "to_onehot",
    "grad_clipping",
    "predict_rnn",
    "train_and_predict_rnn",
    "RNNModel",
    "predict_rnn_keras",
    "train_and_predict_rnn_keras",
]

if not _editions.TYPE_CHECKING:  # type checkers find a missing name by themselves
    __getattr__ = _editions.error_for(__name__)
