"""The names of Dive into Deep Learning's TensorFlow code, editions 0.17 (English) and 2.0 (Chinese).

`from tfrnn import d2l` has what sections 8.1 to 9.7 use; `from tfrnn.d2l import v1 as d2l` is for edition 1.0, and
`from tfrnn.d2l import first as d2l` for the first edition. Arguments and returns are the book's: batches are [B, T],
and a net returns outputs [T * B, V]. One module holds the names of an edition; the others are shared: `texts`,
`iterators`, `translation` and `data_modules` have the data, `nets`, `seq2seq`, `lyrics` and `module_nets` the models,
`training` train_ch8 and predict_ch8.

The pages are written for Keras 2. `d2l.as_printed()`, one line before the cells, lets Keras 3 take what they print.
docs/guide.md lists the differences.

Letters: T num_steps, B batch_size, V vocab_size, H num_hiddens.
"""

from tfrnn.d2l import editions as _editions
from tfrnn.d2l.data_hub import DATA_HUB, download, download_extract
from tfrnn.d2l.files_by_url import DATA_URL
from tfrnn.d2l.iterators import (
    SeqDataLoader,
    load_array,
    load_data_time_machine,
    seq_data_iter_random,
    seq_data_iter_sequential,
)
from tfrnn.d2l.keras_2 import as_printed
from tfrnn.d2l.measuring import Accumulator, Timer
from tfrnn.d2l.nets import RNNModel, RNNModelScratch
from tfrnn.d2l.plotting import Animator, plot, plt, set_axes, set_figsize, use_svg_display
from tfrnn.d2l.seq2seq import (
    Decoder,
    Encoder,
    EncoderDecoder,
    MaskedSoftmaxCELoss,
    Seq2SeqEncoder,
    predict_seq2seq,
    sequence_mask,
    train_seq2seq,
)
from tfrnn.d2l.tensors import (
    abs,
    arange,
    argmax,
    astype,
    concat,
    cos,
    cosh,
    exp,
    eye,
    float32,
    int32,
    linspace,
    matmul,
    meshgrid,
    normal,
    numpy,
    ones,
    rand,
    reduce_sum,
    reshape,
    sin,
    sinh,
    size,
    stack,
    tanh,
    tensor,
    transpose,
    zeros,
)
from tfrnn.d2l.texts import Vocab, count_corpus, load_corpus_time_machine, read_time_machine, tokenize
from tfrnn.d2l.training import evaluate_loss, grad_clipping, predict_ch8, train_ch8, train_epoch_ch8, try_gpu
from tfrnn.d2l.translation import (
    bleu,
    build_array_nmt,
    load_data_nmt,
    preprocess_nmt,
    read_data_nmt,
    show_list_len_pair_hist,
    tokenize_nmt,
    truncate_pad,
)

# In the order of the book's sections; the reference page keeps it.
__all__ = [  # noqa: RUF022
    "as_printed",
    # sections 2 to 5
    "plt",
    "use_svg_display",
    "set_figsize",
    "set_axes",
    "plot",
    "Timer",
    "load_array",
    "Accumulator",
    "Animator",
    "evaluate_loss",
    "DATA_HUB",
    "DATA_URL",
    "download",
    "download_extract",
    "try_gpu",
    # sections 8.2 to 8.6
    "read_time_machine",
    "tokenize",
    "Vocab",
    "count_corpus",
    "load_corpus_time_machine",
    "seq_data_iter_random",
    "seq_data_iter_sequential",
    "SeqDataLoader",
    "load_data_time_machine",
    "RNNModelScratch",
    "predict_ch8",
    "grad_clipping",
    "train_epoch_ch8",
    "train_ch8",
    "RNNModel",
    # sections 9.5 to 9.7
    "read_data_nmt",
    "preprocess_nmt",
    "tokenize_nmt",
    "show_list_len_pair_hist",
    "truncate_pad",
    "build_array_nmt",
    "load_data_nmt",
    "Encoder",
    "Decoder",
    "EncoderDecoder",
    "Seq2SeqEncoder",
    "sequence_mask",
    "MaskedSoftmaxCELoss",
    "train_seq2seq",
    "predict_seq2seq",
    "bleu",
    # short names of functions on tensors
    "size",
    "reshape",
    "ones",
    "zeros",
    "meshgrid",
    "sin",
    "sinh",
    "cos",
    "cosh",
    "tanh",
    "linspace",
    "exp",
    "normal",
    "rand",
    "matmul",
    "reduce_sum",
    "argmax",
    "tensor",
    "arange",
    "astype",
    "int32",
    "float32",
    "transpose",
    "concat",
    "stack",
    "abs",
    "eye",
    "numpy",
]

if not _editions.TYPE_CHECKING:  # type checkers find a missing name by themselves
    __getattr__ = _editions.error_for(__name__)
