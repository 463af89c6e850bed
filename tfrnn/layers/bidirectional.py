"""Bidirectional: layers that read a sequence in both directions.

Letters: T num_steps, B batch_size, D inputs' size, H units.
"""

from typing import Any

import keras
import tensorflow as tf

from tfrnn.layers.cell_protocol import checked_cells, state_sizes
from tfrnn.layers.rnn import RNN
from tfrnn.layers.unrolling import unroll


@keras.saving.register_keras_serializable("tfrnn")
class Bidirectional(RNN):
    """One or more layers that read the sequence in both directions, for tasks in which all of it is known.

    Each layer's outputs are those of both directions side by side, 2 * H; the next layer reads them. Its entry in the
    state holds the tensors of the forward cell, then those of the backward cell (Schuster and Paliwal, 1997). Without
    return_sequences the output is what each direction ends with: the forward one at the last step, the backward one at
    the first.

    >>> rnn = tfrnn.Bidirectional(tfrnn.GRUCell(8))
    >>> outputs, state = rnn(np.ones([5, 2, 3], "float32"))  # T = 5, B = 2, D = 3
    >>> outputs.shape
    TensorShape([5, 2, 16])

    Args:
      cell: the forward cell, or a list of them, one per layer.
      backward_cell: the same for the other direction; by default copies of the forward ones, with weights of their own.
      other arguments: as RNN.
    Raises:
      ValueError: there are not as many backward as forward cells.
    """

    def __init__(self, cell: Any, backward_cell: Any = None, **kwargs: Any):
        super().__init__(cell, **kwargs)
        copies = [type(cell).from_config(cell.get_config()) for cell in self.cells] if backward_cell is None else []
        self.backward_cells = copies or checked_cells(backward_cell)
        if len(self.backward_cells) != len(self.cells):
            raise ValueError(
                f"a bidirectional layer needs as many backward as forward cells; got {len(self.backward_cells)} and "
                f"{len(self.cells)}"
            )

    @property
    def cells_of_layers(self) -> list[tuple]:
        return list(zip(self.cells, self.backward_cells, strict=True))

    def _run_layer(self, cells: tuple, sequence: tf.Tensor, state: tuple, training: bool) -> tuple:
        forward, backward = cells
        cut = len(state_sizes(forward))
        ahead, ahead_state = unroll(forward, sequence, state[:cut], training)
        back, back_state = unroll(backward, tf.reverse(sequence, [0]), state[cut:], training)
        outputs = tf.concat([ahead, tf.reverse(back, [0])], -1)  # [T, B, 2H]
        return outputs, tf.concat([ahead[-1], back[-1]], -1), (*ahead_state, *back_state)

    def get_config(self) -> dict[str, Any]:
        backward = [keras.saving.serialize_keras_object(cell) for cell in self.backward_cells]
        return {**super().get_config(), "backward_cell": backward}
