"""LanguageModel: a model that predicts the next token.

Letters: T num_steps, B batch_size, V vocab_size, E embedding_dim.
"""

from typing import Any

import keras

from tfrnn.errors import UserError
from tfrnn.models.labeller import SequenceLabeller


@keras.saving.register_keras_serializable("tfrnn")
class LanguageModel(SequenceLabeller):
    """A SequenceLabeller whose label for each token is the next token.

    >>> model = tfrnn.LanguageModel(keras.layers.GRUCell(8), vocab_size=28)
    >>> ids = np.zeros([5, 2], "int32")  # T = 5, B = 2
    >>> logits, state = model(ids, model.initial_state(2))
    >>> logits.shape
    TensorShape([5, 2, 28])

    Call: takes inputs, token ids [T, B]; a state, by default zeros; and a mask, booleans [T, B], by default none.
    Returns logits [T, B, V] and the state after the last step.

    Args:
      cells: a cell, a list of cells, one per layer, or an RNN layer whose cells are taken: see SequenceLabeller.
      vocab_size: V.
      embedding_dim: E; 0 for one-hot vectors.
      dropout: the fraction of each layer's outputs that is dropped in training.
      output_initializer: the initializer of the dense layer's kernel.
      embedding_initializer: that of the embedding, by default Keras's.
      tie_weights: whether the embedding matrix is also the kernel of the output layer, which then has no bias (Press
        and Wolf, 2017). Then E must equal the size of the last layer's outputs.
    Raises:
      UserError: as for SequenceLabeller, or if a layer is bidirectional.
    """

    def __init__(self, cells: Any, vocab_size: int, embedding_dim: int = 0, **kwargs: Any):
        super().__init__(cells, vocab_size, vocab_size, embedding_dim, **kwargs)
        if self.rnn.is_bidirectional:
            raise UserError(
                "a language model needs layers that only read forward; got a bidirectional one, whose backward "
                "direction would read the tokens to be predicted; use SequenceLabeller with it"
            )

    def get_config(self) -> dict[str, Any]:
        return {name: value for name, value in super().get_config().items() if name != "num_labels"}
