"""The models: an RNN between what goes in and a dense layer. LanguageModel: tokens in, logits of the next token out.

Letters: T num_steps, B batch_size, V vocab_size, E embedding_dim, H units, D values of a step.
"""

import abc
import contextlib
import math
from typing import Any

import keras
import tensorflow as tf

from tfrnn.config import config
from tfrnn.layers import cells
from tfrnn.layers.rnn import RNN, Bidirectional, State


class _RecurrentModel(keras.Model):
    """What the models share: inputs become vectors, an RNN reads them, a dense layer reads its outputs.

    The state goes in with a call and comes out of it. The gradient goes no further back than the call's first step
    (truncated backpropagation through time).
    """

    def __init__(self, rnn: RNN, dropout: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(rnn, RNN):
            raise ValueError(f"a model needs a tfrnn.RNN, which runs any cell of Keras; got {rnn!r}")
        if not (rnn.time_major and rnn.return_sequences and rnn.return_state):
            raise ValueError(
                "a model needs an RNN with time_major, return_sequences and return_state all true; got "
                f"{rnn.time_major}, {rnn.return_sequences}, {rnn.return_state}"
            )
        self.rnn = rnn
        self.dropout = keras.layers.Dropout(dropout) if dropout else None

    def initial_state(self, batch_size: int) -> State:
        """The state before the first step, of B rows."""
        return self.rnn.initial_state(batch_size)

    def weights_read_once(self) -> contextlib.AbstractContextManager:
        """As RNN.weights_read_once."""
        return self.rnn.weights_read_once()

    def call(self, inputs: tf.Tensor, state: Any = None, training: bool = False) -> tuple[tf.Tensor, State]:
        outputs, state = self.rnn(self._vectors(inputs), state, training=training)  # [T, B, H]
        if self.dropout:
            outputs = self.dropout(outputs, training=training)
        return self._head(outputs), state

    @abc.abstractmethod
    def _vectors(self, inputs: tf.Tensor) -> tf.Tensor:
        """The inputs as the RNN reads them, [T, B, ...]."""

    @abc.abstractmethod
    def _head(self, outputs: tf.Tensor) -> tf.Tensor:
        """What the model gives from the RNN's outputs [T, B, H]."""

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rnn": keras.saving.serialize_keras_object(self.rnn),
            "dropout": self.dropout.rate if self.dropout else 0.0,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        return cls(**{**config, "rnn": keras.saving.deserialize_keras_object(config["rnn"], custom_objects)})


@keras.saving.register_keras_serializable("tfrnn")
class SequenceLabeller(_RecurrentModel):
    """One-hot vectors or an embedding, an RNN, and a dense layer to the logits of a label for each token.

    >>> rnn = tfrnn.Bidirectional(tfrnn.GRUCell(8))
    >>> model = tfrnn.SequenceLabeller(rnn, vocab_size=28, num_labels=3)
    >>> logits, state = model(np.zeros([5, 2], "int32"))  # T = 5, B = 2
    >>> logits.shape
    TensorShape([5, 2, 3])

    Call: inputs, int32 [T, B], and a state (by default zeros); gives logits [T, B, num_labels] and the state after the
    last step.

    Args:
      rnn: a time-major RNN that returns sequences and its state; it may be bidirectional.
      vocab_size: V.
      num_labels: kinds of labels.
      embedding_dim: E; 0 for one-hot vectors.
      dropout: share of the RNN's outputs dropped in training.
      output_initializer: of the dense layer's kernel.
      tie_weights: whether the embedding's matrix is also the kernel of the output, without a bias (Press and Wolf,
        2017). Then num_labels must be V, and E the RNN's output size.
    Raises:
      ValueError: tied weights of different sizes; the RNN is not time-major, or gives no sequences or no state.
    """

    def __init__(
        self,
        rnn: RNN,
        vocab_size: int,
        num_labels: int,
        embedding_dim: int = 0,
        dropout: float = 0.0,
        output_initializer: Any = "glorot_uniform",
        tie_weights: bool = False,
        **kwargs: Any,
    ):
        super().__init__(rnn, dropout, **kwargs)
        if tie_weights and (embedding_dim, num_labels) != (rnn.output_size, vocab_size):
            raise ValueError(
                "tied weights are one matrix for embedding and output: expected embedding_dim equal to the RNN's "
                f"output size, and a label per token; got {embedding_dim} and {rnn.output_size}, {num_labels} labels "
                f"for {vocab_size} tokens"
            )
        self.vocab_size = vocab_size
        self.num_labels = num_labels
        self.embedding_dim = embedding_dim
        self.output_initializer = keras.initializers.get(output_initializer)
        self.tie_weights = tie_weights
        self.embedding: Any = keras.layers.Embedding(vocab_size, embedding_dim) if embedding_dim else None
        self.dense = None if tie_weights else keras.layers.Dense(num_labels, kernel_initializer=self.output_initializer)

    def build(self, input_shape: Any = None) -> None:
        """Makes the weights, whose shapes do not depend on the inputs'."""
        if self.embedding:
            self.embedding.build((None, None))
        self.rnn.build((None, None, self.embedding_dim or self.vocab_size))
        if self.dense:
            self.dense.build((None, None, self.rnn.output_size))
        self.built = True

    @property
    def named_weights(self) -> dict[str, Any]:
        """Its weights in their order, by readable names: rnn.0.kernel, ..., embedding.embeddings, dense.kernel, ..."""
        layers: list[tuple[str, Any]] = []
        for i, of_layer in enumerate(self.rnn.cells_of_layers):
            directions = (f"rnn.{i}",) if len(of_layer) == 1 else (f"rnn.{i}.forward", f"rnn.{i}.backward")
            layers += zip(directions, of_layer, strict=True)
        layers += [(name, layer) for name, layer in (("embedding", self.embedding), ("dense", self.dense)) if layer]
        named: dict[str, Any] = {}
        for name, layer in layers:
            for weight in layer.weights:
                full = f"{name}.{weight.name}"
                named[full if full not in named else f"{full}_{len(named)}"] = weight  # cells of more than one layer
        return named

    def _vectors(self, inputs: tf.Tensor) -> tf.Tensor:
        if len(inputs.shape) != 2:
            raise ValueError(f"inputs must be token ids of shape [T, B]; got shape {tuple(inputs.shape)}")
        if self.embedding:
            return self.embedding(inputs)  # [T, B, E]
        return inputs

    def _head(self, outputs: tf.Tensor) -> tf.Tensor:
        if self.dense:
            return self.dense(outputs)
        return keras.ops.matmul(outputs, keras.ops.transpose(self.embedding.embeddings))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "vocab_size": self.vocab_size,
            "num_labels": self.num_labels,
            "embedding_dim": self.embedding_dim,
            "output_initializer": keras.initializers.serialize(self.output_initializer),
            "tie_weights": self.tie_weights,
        }


@keras.saving.register_keras_serializable("tfrnn")
class LanguageModel(SequenceLabeller):
    """A sequence labeller whose label for a token is the token after it.

    >>> model = tfrnn.LanguageModel(tfrnn.RNN(keras.layers.GRUCell(8)), vocab_size=28)
    >>> ids = np.zeros([5, 2], "int32")  # T = 5, B = 2
    >>> logits, state = model(ids, model.initial_state(2))
    >>> logits.shape
    TensorShape([5, 2, 28])

    Call: inputs, int32 [T, B], and a state (by default zeros); gives logits [T, B, V] and the state after the last
    step.

    Args:
      rnn: a time-major RNN that returns sequences and its state.
      vocab_size: V.
      embedding_dim: E; 0 for one-hot vectors.
      dropout, output_initializer, tie_weights: as SequenceLabeller.
    Raises:
      ValueError: a bidirectional RNN, or what SequenceLabeller refuses.
    """

    def __init__(self, rnn: RNN, vocab_size: int, embedding_dim: int = 0, **kwargs: Any):
        if isinstance(rnn, Bidirectional):
            raise ValueError(
                "a language model needs an RNN that reads forward alone; got a bidirectional one, whose backward "
                "direction would read the tokens to be predicted. SequenceLabeller takes it"
            )
        super().__init__(rnn, vocab_size, vocab_size, embedding_dim, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {name: value for name, value in super().get_config().items() if name != "num_labels"}


@keras.saving.register_keras_serializable("tfrnn")
class Forecaster(_RecurrentModel):
    """An RNN over a series of values, and a dense layer to the values of the next step.

    >>> model = tfrnn.Forecaster(tfrnn.RNN(tfrnn.GRUCell(8)), num_values=3)
    >>> predictions, state = model(np.zeros([5, 2, 3], "float32"))  # T = 5, B = 2, D = 3
    >>> predictions.shape
    TensorShape([5, 2, 3])

    Call: inputs, float32 [T, B, D], and a state (by default zeros); gives predictions [T, B, D], each of the step
    after, and the state after the last step. It is trained with `tfrnn.squared_error` as the trainer's loss_fn.

    Args:
      rnn: a time-major RNN that returns sequences and its state.
      num_values: D.
      dropout: share of the RNN's outputs dropped in training.
    Raises:
      ValueError: a bidirectional RNN, or one that is not time-major or gives no sequences or no state.
    """

    def __init__(self, rnn: RNN, num_values: int = 1, dropout: float = 0.0, **kwargs: Any):
        super().__init__(rnn, dropout, **kwargs)
        if isinstance(rnn, Bidirectional):
            raise ValueError(
                "a forecaster needs an RNN that reads forward alone; got a bidirectional one, whose backward direction "
                "would read the values to be predicted"
            )
        self.num_values = num_values
        self.dense = keras.layers.Dense(num_values)

    def build(self, input_shape: Any = None) -> None:
        """Makes the weights, whose shapes do not depend on the inputs'."""
        self.rnn.build((None, None, self.num_values))
        self.dense.build((None, None, self.rnn.output_size))
        self.built = True

    def _vectors(self, inputs: tf.Tensor) -> tf.Tensor:
        if inputs.shape[-1] != self.num_values or len(inputs.shape) != 3:
            raise ValueError(f"inputs must be of shape [T, B, {self.num_values}]; got shape {tuple(inputs.shape)}")
        return inputs

    def _head(self, outputs: tf.Tensor) -> tf.Tensor:
        return self.dense(outputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_values": self.num_values}


def build_rnn(settings: config.Model, initialized: bool = True) -> RNN:
    """The recurrent layers that a config describes; with zeros for weights where they need no initial values."""
    module = cells if settings.implementation == "scratch" else keras.layers
    cell_class = getattr(module, config.CELLS[settings.cell][settings.implementation])
    # An orthogonal matrix of thousands of rows takes minutes.
    zeros = {} if initialized else {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}
    return RNN([cell_class(settings.units, **zeros) for _ in range(settings.num_layers)], dropout=settings.dropout)


def build_language_model(settings: config.Model, vocab_size: int, initialized: bool = True) -> LanguageModel:
    """The model that a config describes; with zeros for the cells' weights where they will be loaded.

    Raises UserError where its weights cannot be tied.
    """
    scratch = settings.implementation == "scratch"
    return LanguageModel(
        build_rnn(settings, initialized),
        vocab_size,
        settings.embedding_dim,
        dropout=settings.dropout,
        output_initializer=cells.SCRATCH_INITIALIZER if scratch else "glorot_uniform",
        tie_weights=settings.tie_weights,
    )


def summary(model: SequenceLabeller) -> list[str]:
    """A table of the model as lines: its layers, the shapes of their weights, and how many parameters these are."""
    rows: dict[str, list] = {}
    for name, weight in model.named_weights.items():
        layer, kind = name.rsplit(".", 1)
        rows.setdefault(layer, []).append((f"{kind} {'x'.join(map(str, weight.shape))}", math.prod(weight.shape)))
    table = [(layer, ", ".join(kind for kind, _ in of), sum(size for _, size in of)) for layer, of in rows.items()]
    table.append(("in all", "", sum(size for *_, size in table)))
    widths = [max(len(f"{row[i]:,}" if i == 2 else row[i]) for row in table) for i in range(3)]
    return [f"{layer:<{widths[0]}}  {kinds:<{widths[1]}}  {size:>{widths[2]},}" for layer, kinds, size in table]
