"""LanguageModel: a model that predicts the next token.

Letters: T num_steps, B batch_size, V vocab_size, E embedding_dim.
"""

from typing import Any

import keras

from tfrnn.layers.bidirectional import Bidirectional
from tfrnn.layers.rnn import RNN
from tfrnn.models.labeller import SequenceLabeller


@keras.saving.register_keras_serializable("tfrnn")
class LanguageModel(SequenceLabeller):
    """A SequenceLabeller whose label for each token is the next token.

    >>> model = tfrnn.LanguageModel(tfrnn.RNN(keras.layers.GRUCell(8)), vocab_size=28)
    >>> ids = np.zeros([5, 2], "int32")  # T = 5, B = 2
    >>> logits, state = model(ids, model.initial_state(2))
    >>> logits.shape
    TensorShape([5, 2, 28])

    Call: takes inputs, int32 [T, B], and a state (by default zeros); returns logits [T, B, V] and the state after the
    last step.

    Args:
      rnn: a time-major RNN that returns sequences and its state.
      vocab_size: V.
      embedding_dim: E; 0 for one-hot vectors.
      dropout: the fraction of the RNN's outputs that is dropped in training.
      output_initializer: the initializer of the dense layer's kernel.
      tie_weights: whether the embedding matrix is also the kernel of the output layer, which then has no bias (Press
        and Wolf, 2017). Then E must equal the RNN's output size.
    Raises:
      ValueError: if the RNN is bidirectional, is not time-major, or does not return sequences and state; or if the
        weights are to be tied and their sizes differ.
    """

    def __init__(self, rnn: RNN, vocab_size: int, embedding_dim: int = 0, **kwargs: Any):
        if isinstance(rnn, Bidirectional):
            raise ValueError(
                "a language model needs an RNN that only reads forward; got a bidirectional one, whose backward "
                "direction would read the tokens to be predicted; use SequenceLabeller with it"
            )
        super().__init__(rnn, vocab_size, vocab_size, embedding_dim, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {name: value for name, value in super().get_config().items() if name != "num_labels"}
