"""SequenceLabeller: a model that predicts a label for each token.

Letters: T num_steps, B batch_size, V vocab_size, E embedding_dim, H units.
"""

import math
from typing import Any

import keras
import tensorflow as tf

from tfrnn.errors import UserError
from tfrnn.layers.model_protocol import check_ids
from tfrnn.layers.stack import split_directions
from tfrnn.models.recurrent_model import RecurrentModel


@keras.saving.register_keras_serializable("tfrnn")
class SequenceLabeller(RecurrentModel):
    """One-hot vectors or an embedding, recurrent layers, and a dense layer that returns each token's logits of labels.

    >>> model = tfrnn.SequenceLabeller(tfrnn.GRUCell(8), vocab_size=28, num_labels=3, bidirectional=True)
    >>> logits, state = model(np.zeros([5, 2], "int32"))  # T = 5, B = 2
    >>> logits.shape
    TensorShape([5, 2, 3])

    Call: takes inputs, token ids [T, B]; a state, by default zeros; and a mask, booleans [T, B], by default none.
    Returns logits [T, B, num_labels] and the state after the last step. A step where the mask is False, such as padding
    at the end of a shorter row, leaves the row's state as it was.

    Args:
      cells: a cell, tfrnn's, Keras's or any layer that follows Keras's cell protocol; a list of cells, one per layer;
        or an RNN layer, tfrnn's or Keras's, whose cells are taken. A Bidirectional layer gives the backward cells too.
      vocab_size: V.
      num_labels: the number of different labels.
      embedding_dim: E; 0 for one-hot vectors.
      dropout: the fraction of each layer's outputs that is dropped in training.
      output_initializer: the initializer of the dense layer's kernel.
      embedding_initializer: that of the embedding, by default Keras's.
      tie_weights: whether the embedding matrix is also the kernel of the output layer, which then has no bias (Press
        and Wolf, 2017). Then num_labels must equal V, and E must equal the size of the last layer's outputs.
      bidirectional: whether each layer has a second cell, a copy with other weights, that reads the sequence from its
        end, for tasks in which the whole sequence is known.
      backward_cells: these second cells, if they are not copies.
    Raises:
      UserError: these are no cells, an RNN layer was made with an argument that the model could not follow, or the
        weights are to be tied and their sizes differ.
    """

    returns_logits = True
    step_shape = ()

    def __init__(
        self,
        cells: Any,
        vocab_size: int,
        num_labels: int,
        embedding_dim: int = 0,
        dropout: float = 0.0,
        output_initializer: Any = "glorot_uniform",
        embedding_initializer: Any = "uniform",
        tie_weights: bool = False,
        bidirectional: bool = False,
        backward_cells: Any = None,
        **kwargs: Any,
    ):
        if bidirectional and not backward_cells:
            cells, backward_cells = split_directions(cells)
            backward_cells = backward_cells or [_with_other_weights(cell) for cell in cells]
        super().__init__(cells, dropout, backward_cells, **kwargs)
        output_size = self.rnn.output_size
        if tie_weights and (embedding_dim, num_labels) != (output_size, vocab_size):
            raise UserError(
                "tied weights are one matrix for embedding and output: expected embedding_dim equal to the RNN's "
                f"output size, and num_labels equal to vocab_size; got {embedding_dim} and {output_size}, "
                f"{num_labels} and {vocab_size}"
            )
        self.vocab_size = vocab_size
        self.num_labels = num_labels
        self.embedding_dim = embedding_dim
        self.output_initializer = keras.initializers.get(output_initializer)
        self.embedding_initializer = keras.initializers.get(embedding_initializer)
        self.tie_weights = tie_weights
        dtype = self.dtype_policy
        self.embedding: Any = None
        if embedding_dim:
            self.embedding = keras.layers.Embedding(vocab_size, embedding_dim, self.embedding_initializer, dtype=dtype)
        self.dense = None
        if not tie_weights:
            self.dense = keras.layers.Dense(num_labels, kernel_initializer=self.output_initializer, dtype=dtype)

    def build(self, input_shape: Any = None) -> None:
        """Makes the weights, if there are none; their shapes do not depend on `input_shape`."""
        if self.built:
            return
        if self.embedding:
            self.embedding.build((None, None))
        self.rnn.build((None, None, self.embedding_dim or self.vocab_size))
        if self.dense:
            self.dense.build((None, None, self.rnn.output_size))
        self.built = True

    @property
    def named_weights(self) -> dict[str, Any]:
        """The weights by readable names, in order: rnn.0.kernel, ..., embedding.embeddings, dense.kernel, ..."""
        layers: list[tuple[str, Any]] = []
        for i, cells in enumerate(self.rnn.cells_by_layer):
            names = (f"rnn.{i}",) if len(cells) == 1 else (f"rnn.{i}.forward", f"rnn.{i}.backward")
            layers += zip(names, cells, strict=True)
        layers += [(name, layer) for name, layer in (("embedding", self.embedding), ("dense", self.dense)) if layer]
        named: dict[str, Any] = {}
        for name, layer in layers:
            for weight in layer.weights:
                full_name = f"{name}.{weight.name}"
                if full_name in named:  # a cell made of several layers
                    full_name = f"{full_name}_{len(named)}"
                named[full_name] = weight
        return named

    def _prepare_inputs(self, inputs: tf.Tensor) -> tf.Tensor:
        inputs = tf.convert_to_tensor(inputs)
        if len(inputs.shape) != 2 or not inputs.dtype.is_integer:
            raise UserError(
                f"expected token ids, integers [T, B]; got {inputs.dtype.name} of shape {tuple(inputs.shape)}"
            )
        if tf.executing_eagerly():  # in a graph they are known only when it runs
            check_ids(inputs, "inputs", self)
        inputs = tf.cast(inputs, tf.int32)
        if self.embedding:
            return self.embedding(inputs)  # [T, B, E]
        return inputs

    def _apply_head(self, outputs: tf.Tensor) -> tf.Tensor:
        if self.dense:
            return self._apply_dense(self.dense, outputs)
        return keras.ops.matmul(outputs, keras.ops.transpose(self.embedding.embeddings))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "vocab_size": self.vocab_size,
            "num_labels": self.num_labels,
            "embedding_dim": self.embedding_dim,
            "output_initializer": keras.initializers.serialize(self.output_initializer),
            "embedding_initializer": keras.initializers.serialize(self.embedding_initializer),
            "tie_weights": self.tie_weights,
        }


def _with_other_weights(cell: Any) -> Any:
    """Returns a copy of a cell with weights of its own: its initializers are copied without their seeds."""
    copy = type(cell).from_config(cell.get_config())
    for name, value in vars(copy).items():
        if isinstance(value, keras.initializers.Initializer) and value.get_config().get("seed") is not None:
            setattr(copy, name, type(value).from_config({**value.get_config(), "seed": None}))
    return copy


def summary(model: SequenceLabeller) -> list[str]:
    """Returns the lines of a table of the model: its layers, the shapes of their weights, the numbers of parameters."""
    rows: dict[str, list] = {}
    for name, weight in model.named_weights.items():
        layer, weight_name = name.rsplit(".", 1)
        shape = "x".join(map(str, weight.shape))
        rows.setdefault(layer, []).append((f"{weight_name} {shape}", math.prod(weight.shape)))
    table = [
        (layer, ", ".join(text for text, _ in weights), sum(size for _, size in weights))
        for layer, weights in rows.items()
    ]
    table.append(("in all", "", sum(size for *_, size in table)))
    widths = [max(len(f"{row[i]:,}" if i == 2 else row[i]) for row in table) for i in range(3)]
    return [f"{layer:<{widths[0]}}  {weights:<{widths[1]}}  {size:>{widths[2]},}" for layer, weights, size in table]
