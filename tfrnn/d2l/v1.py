"""The names of Dive into Deep Learning's TensorFlow code, edition 1.0.3, chapters 9 and 10."""

from matplotlib import pyplot as plt

from tfrnn.d2l.data_modules import MTFraEng, TimeMachine, Vocab
from tfrnn.d2l.hyperparameters import HyperParameters, add_to_class
from tfrnn.d2l.module_nets import (
    GRU,
    RNN,
    RNNLM,
    Classifier,
    Decoder,
    Encoder,
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
from tfrnn.d2l.plotting import plot
from tfrnn.d2l.progress_board import ProgressBoard
from tfrnn.d2l.training import try_gpu
from tfrnn.d2l.translation import bleu, show_list_len_pair_hist
