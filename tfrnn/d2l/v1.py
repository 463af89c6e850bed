"""The names of Dive into Deep Learning's TensorFlow code, edition 1.0.3: `from tfrnn.d2l import v1 as d2l`.

They are those that chapters 9 and 10 use; arguments and returns are the book's. `modules` has the classes of its
object-oriented design, `module_nets` its nets, `data_modules` its data and vocabulary.

`Trainer.fit` compiles the training, also of classes that you copied from the book or wrote, and says so where it
cannot. Three faults of that edition are not in these classes: `Classifier.loss`, and with it `Seq2Seq.loss`, counts
padding; `EncoderDecoder` has dropout in validation; and section 10.2 builds a GRU that reads the batch as the time, of
which `RNN` warns.

Letters: T num_steps, B batch_size, V vocab_size, H num_hiddens.
"""

from tfrnn.d2l import editions as _editions
from tfrnn.d2l.data_modules import MTFraEng, TimeMachine, Vocab
from tfrnn.d2l.files_by_url import DATA_URL, download, extract
from tfrnn.d2l.hyperparameters import HyperParameters, add_to_class
from tfrnn.d2l.keras_2 import as_printed
from tfrnn.d2l.module_nets import (
    GRU,
    RNN,
    RNNLM,
    Classifier,
    EncoderDecoder,
    LinearRegression,
    RNNLMScratch,
    RNNScratch,
    Seq2Seq,
    Seq2SeqEncoder,
    check_len,
    check_shape,
)
from tfrnn.d2l.modules import DataModule, Module, Trainer
from tfrnn.d2l.plotting import plot, plt, set_axes, set_figsize, use_svg_display
from tfrnn.d2l.progress_board import ProgressBoard
from tfrnn.d2l.seq2seq import Decoder, Encoder
from tfrnn.d2l.tensors import (
    arange,
    argmax,
    astype,
    concat,
    exp,
    expand_dims,
    float32,
    int32,
    int64,
    matmul,
    normal,
    numpy,
    ones,
    reduce_sum,
    reshape,
    sigmoid,
    sin,
    stack,
    tanh,
    tensor,
    transpose,
    zeros,
)
from tfrnn.d2l.training import try_gpu
from tfrnn.d2l.translation import bleu, show_list_len_pair_hist

# In the order of the book's sections.
__all__ = [  # noqa: RUF022
    "as_printed",
    # sections 2 to 6
    "plt",
    "use_svg_display",
    "set_figsize",
    "set_axes",
    "plot",
    "add_to_class",
    "HyperParameters",
    "ProgressBoard",
    "Module",
    "DataModule",
    "Trainer",
    "LinearRegression",
    "Classifier",
    "try_gpu",
    "DATA_URL",
    "download",
    "extract",
    # sections 9.2 to 9.6
    "TimeMachine",
    "Vocab",
    "RNNScratch",
    "check_len",
    "check_shape",
    "RNNLMScratch",
    "RNN",
    "RNNLM",
    # sections 10.3 to 10.7
    "GRU",
    "MTFraEng",
    "show_list_len_pair_hist",
    "Encoder",
    "Decoder",
    "EncoderDecoder",
    "Seq2SeqEncoder",
    "Seq2Seq",
    "bleu",
    # short names of functions on tensors
    "reshape",
    "ones",
    "zeros",
    "sin",
    "tanh",
    "exp",
    "normal",
    "matmul",
    "reduce_sum",
    "argmax",
    "tensor",
    "arange",
    "astype",
    "int32",
    "int64",
    "float32",
    "transpose",
    "concat",
    "stack",
    "sigmoid",
    "expand_dims",
    "numpy",
]

if not _editions.TYPE_CHECKING:  # type checkers find a missing name by themselves
    __getattr__ = _editions.error_for(__name__)
