"""Bidirectional: Keras's wrapper, for time-major layers as well.

Letters: T num_steps, B batch_size, D inputs' size, H units.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfrnn.errors import UserError
from tfrnn.layers.rnn import RegularizedByRows, swap_in_shape, swap_time_and_batch


@keras.saving.register_keras_serializable("tfrnn")
class Bidirectional(RegularizedByRows, keras.layers.Bidirectional):
    """keras.layers.Bidirectional, for time-major layers as well: reads sequences in both directions.

    >>> layer = tfrnn.Bidirectional(tfrnn.GRU(8, return_sequences=True, time_major=True))
    >>> layer(np.ones([5, 2, 3], "float32")).shape  # T = 5, B = 2, D = 3
    TensorShape([5, 2, 16])

    Call: as Keras's wrapper. Sequences and masks are [T, B, ...] if the wrapped layer is time-major, otherwise
    [B, T, ...]. Like Keras's wrapper, it runs a copy of `layer` with weights of its own. These copies are batch-major:
    the wrapper transposes what comes in and goes out.

    Args:
      layer, merge_mode, weights, backward_layer, **kwargs: those of keras.layers.Bidirectional. A backward_layer that
        is time-major is copied too.
    Raises:
      ValueError: if `layer` is not a recurrent layer, or only one of the two layers is time-major.
    """

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        weights: Any = None,
        backward_layer: Any = None,
        **kwargs: Any,
    ):
        if not hasattr(layer, "go_backwards"):
            raise UserError(
                f"expected a recurrent layer, such as tfrnn.GRU; got {layer!r}; a cell runs in tfrnn.RNN(cell)"
            )
        time_major = getattr(layer, "time_major", False)
        if backward_layer is not None and getattr(backward_layer, "time_major", False) != time_major:
            raise UserError(
                "expected `layer` and `backward_layer` with the same `time_major`; got "
                f"`time_major={time_major}` and `time_major={not time_major}`"
            )
        if time_major:
            layer, backward_layer = _batch_major(layer), backward_layer and _batch_major(backward_layer)
        super().__init__(layer, merge_mode, weights, backward_layer, **kwargs)
        self.time_major = time_major
        if time_major:
            self.prepare_to_regularize()

    def build(self, sequences_shape: Sequence[int | None], initial_state_shape: Any = None) -> None:
        super().build(swap_in_shape(sequences_shape) if self.time_major else sequences_shape)

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: Any = None) -> Any:
        if self.time_major:
            sequences, mask = swap_time_and_batch(sequences), None if mask is None else swap_time_and_batch(mask)
        results = super().call(sequences, initial_state=initial_state, mask=mask, training=training)
        return self._swap_in_results(results, swap_time_and_batch)

    def compute_output_shape(self, sequences_shape: Sequence[int | None], initial_state_shape: Any = None) -> Any:
        shape = super().compute_output_shape(swap_in_shape(sequences_shape) if self.time_major else sequences_shape)
        return self._swap_in_results(shape, swap_in_shape)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in ("layer", "backward_layer") if self.time_major else ():
            config[name]["config"]["time_major"] = True
            config[name].pop("build_config", None)  # its shape is batch-major
        return config

    def _swap_in_results(self, results: Any, swap: Callable) -> Any:
        if not (self.time_major and self.return_sequences):
            return results
        if self.merge_mode is not None and not self.return_state:
            return swap(results)
        num_outputs = 1 if self.merge_mode else 2
        return *map(swap, results[:num_outputs]), *results[num_outputs:]


def _batch_major(layer: Any) -> Any:
    """Returns a batch-major copy of a time-major layer, with weights of its own."""
    copy = type(layer).from_config({**layer.get_config(), "time_major": False})
    if hasattr(layer, "use_cudnn"):  # which is not in the config
        copy.use_cudnn = layer.use_cudnn
    return copy
