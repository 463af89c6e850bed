"""Bidirectional: layers that read a sequence in both directions.

Letters: T num_steps, B batch_size, D inputs' size, H units.
"""

from typing import Any

import keras
import tensorflow as tf

from tfrnn.layers.cell_protocol import get_state_sizes, validate_cells
from tfrnn.layers.rnn import RNN
from tfrnn.layers.unrolling import unroll


@keras.saving.register_keras_serializable("tfrnn")
class Bidirectional(RNN):
    """One or more layers that read the sequence in both directions, for tasks in which the whole sequence is known.

    The outputs of a layer are those of both directions concatenated, of size 2 * H; the next layer reads them. A
    layer's entry in the state holds the tensors of the forward cell, then those of the backward cell (Schuster and
    Paliwal, 1997). Without return_sequences, the output is the last one that each direction computes: of the forward
    direction at the last step, of the backward direction at the first.

    >>> rnn = tfrnn.Bidirectional(tfrnn.GRUCell(8))
    >>> outputs, state = rnn(np.ones([5, 2, 3], "float32"))  # T = 5, B = 2, D = 3
    >>> outputs.shape
    TensorShape([5, 2, 16])

    Args:
      cell: the forward cell, or a list of them, one per layer.
      backward_cell: the backward cell, or a list of them; by default copies of the forward cells with other weights.
      **kwargs: the other arguments of RNN.
    Raises:
      ValueError: if the numbers of backward and forward cells differ.
    """

    def __init__(self, cell: Any, backward_cell: Any = None, **kwargs: Any):
        super().__init__(cell, **kwargs)
        copies = [type(cell).from_config(cell.get_config()) for cell in self.cells] if backward_cell is None else []
        self.backward_cells = copies or validate_cells(backward_cell)
        if len(self.backward_cells) != len(self.cells):
            raise ValueError(
                "a bidirectional layer needs the same number of backward and forward cells; got "
                f"{len(self.backward_cells)} and {len(self.cells)}"
            )

    @property
    def cells_by_layer(self) -> list[tuple]:
        """The forward and the backward cell of each layer."""
        return list(zip(self.cells, self.backward_cells, strict=True))

    def _run_layer(self, cells: tuple, sequence: tf.Tensor, state: tuple, training: bool, weights: tuple) -> tuple:
        forward, backward = cells
        num_forward = len(get_state_sizes(forward))
        forward_outputs, forward_state = unroll(forward, sequence, state[:num_forward], training, weights[0])
        backward_outputs, backward_state = unroll(
            backward, tf.reverse(sequence, [0]), state[num_forward:], training, weights[1]
        )
        outputs = tf.concat([forward_outputs, tf.reverse(backward_outputs, [0])], -1)  # [T, B, 2H]
        last = tf.concat([forward_outputs[-1], backward_outputs[-1]], -1)
        return outputs, last, (*forward_state, *backward_state)

    def get_config(self) -> dict[str, Any]:
        backward = [keras.saving.serialize_keras_object(cell) for cell in self.backward_cells]
        return {**super().get_config(), "backward_cell": backward}
