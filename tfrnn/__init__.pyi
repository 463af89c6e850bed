# The public names in the order of the reference: read by type checkers, and by __init__.py, which loads each when it is
# asked for.
# ruff: isort: skip_file
from tfrnn.data.corpora.catalogue import load_corpus as load_corpus
from tfrnn.data.vocabulary import Vocabulary as Vocabulary
from tfrnn.data.batches import sequential_batches as sequential_batches, random_batches as random_batches
from tfrnn.data.batches import labelled_batches as labelled_batches, Batches as Batches, Batch as Batch
from tfrnn.data.batches import MaskedBatch as MaskedBatch

from tfrnn.layers.rnn import RNN as RNN, SimpleRNN as SimpleRNN, GRU as GRU, LSTM as LSTM
from tfrnn.layers.bidirectional import Bidirectional as Bidirectional
from tfrnn.layers.cells import RNNCell as RNNCell, GRUCell as GRUCell, LSTMCell as LSTMCell
from tfrnn.models.language_model import LanguageModel as LanguageModel
from tfrnn.models.labeller import SequenceLabeller as SequenceLabeller
from tfrnn.models.forecaster import Forecaster as Forecaster
from tfrnn.models.transfer import transfer_weights as transfer_weights, to_pytorch as to_pytorch

from tfrnn.runtime.threads import set_threads as set_threads
from tfrnn.training.trainer import Trainer as Trainer
from tfrnn.training.live_curve import LiveCurve as LiveCurve
from tfrnn.training.losses import cross_entropy as cross_entropy, squared_error as squared_error
from tfrnn.training.keras_metrics import Perplexity as Perplexity, BitsPerChar as BitsPerChar
from tfrnn.config.config import Config as Config
from tfrnn.models.loading import load_run as load_run
from tfrnn.formats.safetensors import load_export as load_export
from tfrnn.formats.page import show as show, Page as Page

from tfrnn.inference.generation import generate as generate, generate_many as generate_many, stream as stream
from tfrnn.inference.samplers import Sampler as Sampler, GREEDY as GREEDY
from tfrnn.inference.reading import read_prefixes as read_prefixes, Reading as Reading
from tfrnn.inference.generation import continue_texts as continue_texts, stream_on as stream_on
from tfrnn.inference.beams import beam_search as beam_search, Beam as Beam

from tfrnn.inference.scoring import score as score, Score as Score
from tfrnn.inference.inspection import activations as activations, gates as gates

from tfrnn.plots.curves import plot_perplexity as plot_perplexity, plot_curves as plot_curves
from tfrnn.plots.curves import plot_gradient_norms as plot_gradient_norms, plot_forecasts as plot_forecasts
from tfrnn.plots.curves import plot_ahead as plot_ahead
from tfrnn.plots.text_plots import plot_batches as plot_batches, plot_unit as plot_unit, plot_gates as plot_gates
from tfrnn.plots.figures import Picture as Picture

from tfrnn.errors import UserError as UserError, MissingFileError as MissingFileError, DivergedError as DivergedError
from tfrnn.errors import RunWarning as RunWarning
from tfrnn.data import text_rules as text_rules
from tfrnn.inference import samplers as samplers, memorisation as memorisation
from tfrnn import series as series, d2l as d2l

__version__: str
