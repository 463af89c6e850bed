"""LanguageModel: tokens in, logits of the next token out.

Letters: T num_steps, B batch_size, V vocab_size, E embedding_dim.
"""

from typing import Any

import keras

from tfrnn.layers.bidirectional import Bidirectional
from tfrnn.layers.rnn import RNN
from tfrnn.models.labeller import SequenceLabeller


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
