# The public names in the order of the reference: read by type checkers, and by __init__.py, which loads each when it is
# asked for.
# ruff: isort: skip_file
from tfrnn.corpora import load_corpus as load_corpus
from tfrnn.vocabulary import Vocabulary as Vocabulary
from tfrnn.batches import sequential_batches as sequential_batches, random_batches as random_batches
from tfrnn.batches import labelled_batches as labelled_batches, Batches as Batches, Batch as Batch

from tfrnn.rnn import RNN as RNN, Bidirectional as Bidirectional
from tfrnn.cells import RNNCell as RNNCell, GRUCell as GRUCell, LSTMCell as LSTMCell
from tfrnn.model import LanguageModel as LanguageModel, SequenceLabeller as SequenceLabeller, Forecaster as Forecaster
from tfrnn.transfer import transfer_weights as transfer_weights, to_pytorch as to_pytorch

from tfrnn.runtime import set_threads as set_threads
from tfrnn.trainer import Trainer as Trainer
from tfrnn.live import LiveCurve as LiveCurve
from tfrnn.step import cross_entropy as cross_entropy, squared_error as squared_error
from tfrnn.config import Config as Config
from tfrnn.run_dir import load_run as load_run
from tfrnn.exporting import load_export as load_export

from tfrnn.generation import generate as generate, generate_many as generate_many, stream as stream
from tfrnn.samplers import Sampler as Sampler, GREEDY as GREEDY
from tfrnn.reading import read_prefixes as read_prefixes, Reading as Reading
from tfrnn.generation import continue_texts as continue_texts, stream_on as stream_on
from tfrnn.beams import beam_search as beam_search, Beam as Beam

from tfrnn.scoring import score as score, Score as Score
from tfrnn.inspection import activations as activations, gates as gates

from tfrnn.plots import plot_perplexity as plot_perplexity, plot_curves as plot_curves
from tfrnn.plots import plot_gradient_norms as plot_gradient_norms, plot_forecasts as plot_forecasts
from tfrnn.text_plots import plot_batches as plot_batches, plot_unit as plot_unit, plot_gates as plot_gates
from tfrnn.pictures import Picture as Picture

from tfrnn.errors import UserError as UserError, MissingFileError as MissingFileError, DivergedError as DivergedError
from tfrnn.errors import RunWarning as RunWarning
from tfrnn import samplers as samplers, memorisation as memorisation, heat_map as heat_map, series as series, d2l as d2l

__version__: str
