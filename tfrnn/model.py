"""LanguageModel: tokens in, logits of the next token out.

Letters: T num_steps, B batch_size, V vocab_size, E embedding_dim, H units.
"""

from typing import Any

import keras
import tensorflow as tf

from tfrnn import cells, config
from tfrnn.rnn import RNN, State


@keras.saving.register_keras_serializable("tfrnn")
class LanguageModel(keras.Model):
    """One-hot vectors or an embedding, an RNN, and a dense layer to logits.

    Args:
      rnn: a time-major RNN that returns sequences and its state.
      vocab_size: V.
      embedding_dim: E; 0 for one-hot vectors.
      dropout: share of the RNN's outputs dropped in training.
      output_initializer: of the dense layer's kernel.

    Call: inputs, int32 [T, B], and a state; gives logits [T, B, V] and the state after the last step. The gradient
    goes no further back than the call's first step (truncated backpropagation through time).
    """

    def __init__(
        self,
        rnn: RNN,
        vocab_size: int,
        embedding_dim: int = 0,
        dropout: float = 0.0,
        output_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not (rnn.time_major and rnn.return_sequences and rnn.return_state):
            raise ValueError(
                "a language model needs an RNN with time_major, return_sequences and return_state all true; got "
                f"{rnn.time_major}, {rnn.return_sequences}, {rnn.return_state}"
            )
        self.rnn = rnn
        self.vocab_size = vocab_size
        self.embedding_dim = embedding_dim
        self.embedding = keras.layers.Embedding(vocab_size, embedding_dim) if embedding_dim else None
        self.dropout = keras.layers.Dropout(dropout) if dropout else None
        self.dense = keras.layers.Dense(vocab_size, kernel_initializer=output_initializer)

    def build(self, input_shape: Any = None) -> None:
        """Makes the weights, whose shapes do not depend on the inputs'."""
        if self.embedding:
            self.embedding.build((None, None))
        self.rnn.build((None, None, self.embedding_dim or self.vocab_size))
        self.dense.build((None, None, self.rnn.output_size))
        self.built = True

    def initial_state(self, batch_size: int) -> State:
        """The state before the first token, of B rows."""
        return self.rnn.initial_state(batch_size)

    def call(self, inputs: tf.Tensor, state: Any = None, training: bool = False) -> tuple[tf.Tensor, State]:
        if len(inputs.shape) != 2:
            raise ValueError(f"inputs must be token ids of shape [T, B]; got shape {tuple(inputs.shape)}")
        if self.embedding:
            vectors = self.embedding(inputs)  # [T, B, E]
        else:
            vectors = tf.one_hot(inputs, self.vocab_size, dtype=self.compute_dtype)  # [T, B, V]
        outputs, state = self.rnn(vectors, state, training=training)  # [T, B, H]
        if self.dropout:
            outputs = self.dropout(outputs, training=training)
        return self.dense(outputs), state

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rnn": keras.saving.serialize_keras_object(self.rnn),
            "vocab_size": self.vocab_size,
            "embedding_dim": self.embedding_dim,
            "dropout": self.dropout.rate if self.dropout else 0.0,
            "output_initializer": keras.initializers.serialize(self.dense.kernel_initializer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "LanguageModel":
        return cls(**{**config, "rnn": keras.saving.deserialize_keras_object(config["rnn"], custom_objects)})


def build_language_model(settings: config.Model, vocab_size: int) -> LanguageModel:
    """The model that a config describes."""
    scratch = settings.implementation == "scratch"
    name = config.CELLS[settings.cell][settings.implementation]
    cell_class = getattr(cells if scratch else keras.layers, name)
    rnn = RNN([cell_class(settings.units) for _ in range(settings.num_layers)], dropout=settings.dropout)
    initializer = cells.SCRATCH_INITIALIZER if scratch else "glorot_uniform"
    return LanguageModel(rnn, vocab_size, settings.embedding_dim, settings.dropout, initializer)
