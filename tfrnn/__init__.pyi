# The public names in the order of the reference: read by type checkers, and by __init__.py, which loads each when it is
# asked for.
# ruff: isort: skip_file
from tfrnn.data.corpora import load_corpus as load_corpus
from tfrnn.data.vocabulary import Vocabulary as Vocabulary
from tfrnn.data.batches import sequential_batches as sequential_batches
from tfrnn.data.batches import random_batches as random_batches
from tfrnn.data.batches import labelled_batches as labelled_batches
from tfrnn.data.batches import Batches as Batches
from tfrnn.data.batches import Batch as Batch

from tfrnn.layers.rnn import RNN as RNN
from tfrnn.layers.rnn import Bidirectional as Bidirectional
from tfrnn.layers.cells import RNNCell as RNNCell
from tfrnn.layers.cells import GRUCell as GRUCell
from tfrnn.layers.cells import LSTMCell as LSTMCell
from tfrnn.models.model import LanguageModel as LanguageModel
from tfrnn.models.model import SequenceLabeller as SequenceLabeller
from tfrnn.models.model import Forecaster as Forecaster
from tfrnn.models.transfer import transfer_weights as transfer_weights
from tfrnn.models.transfer import to_pytorch as to_pytorch

from tfrnn.runtime.runtime import set_threads as set_threads
from tfrnn.training.trainer import Trainer as Trainer
from tfrnn.training.live_curve import LiveCurve as LiveCurve
from tfrnn.training.step import cross_entropy as cross_entropy
from tfrnn.training.step import squared_error as squared_error
from tfrnn.config.config import Config as Config
from tfrnn.runs.run_dir import load_run as load_run
from tfrnn.formats.exporting import load_export as load_export

from tfrnn.inference.generation import generate as generate
from tfrnn.inference.generation import generate_many as generate_many
from tfrnn.inference.generation import stream as stream
from tfrnn.inference.samplers import Sampler as Sampler
from tfrnn.inference.samplers import GREEDY as GREEDY
from tfrnn.inference.reading import read_prefixes as read_prefixes
from tfrnn.inference.reading import Reading as Reading
from tfrnn.inference.generation import continue_texts as continue_texts
from tfrnn.inference.generation import stream_on as stream_on
from tfrnn.inference.beams import beam_search as beam_search
from tfrnn.inference.beams import Beam as Beam

from tfrnn.inference.scoring import score as score
from tfrnn.inference.scoring import Score as Score
from tfrnn.inference.inspection import activations as activations
from tfrnn.inference.inspection import gates as gates

from tfrnn.plots.curves import plot_perplexity as plot_perplexity
from tfrnn.plots.curves import plot_curves as plot_curves
from tfrnn.plots.curves import plot_gradient_norms as plot_gradient_norms
from tfrnn.plots.curves import plot_forecasts as plot_forecasts
from tfrnn.plots.text_plots import plot_batches as plot_batches
from tfrnn.plots.text_plots import plot_unit as plot_unit
from tfrnn.plots.text_plots import plot_gates as plot_gates
from tfrnn.plots.figures import Picture as Picture

from tfrnn.errors import UserError as UserError
from tfrnn.errors import MissingFileError as MissingFileError
from tfrnn.errors import DivergedError as DivergedError
from tfrnn.errors import RunWarning as RunWarning
from tfrnn.inference import samplers as samplers
from tfrnn.inference import memorisation as memorisation
from tfrnn.plots import heat_map as heat_map
from tfrnn import series as series
from tfrnn import d2l as d2l

__version__: str
