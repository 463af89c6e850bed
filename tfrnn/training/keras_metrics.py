"""Perplexity and bits per character as Keras's metrics, for `compile(metrics=...)` of any model.

Letters: T num_steps, B batch_size, V vocab_size.
"""

import math
from typing import Any

import keras


class _OfCrossEntropy(keras.metrics.MeanMetricWrapper):
    """The mean cross entropy per token, of which a subclass returns a function."""

    def __init__(self, from_logits: bool, name: str, dtype: Any):
        super().__init__(_cross_entropies, name, dtype, from_logits=from_logits)
        self._from_logits = from_logits
        # What the mode "auto" of EarlyStopping and other callbacks reads; without it they raise an error.
        self._direction = "down"

    def get_config(self) -> dict[str, Any]:
        return {"from_logits": self._from_logits, "name": self.name, "dtype": self.dtype}


@keras.saving.register_keras_serializable("tfrnn")
class Perplexity(_OfCrossEntropy):
    """The exponential of the mean cross entropy per token, as a metric of Keras's.

    >>> metric = tfrnn.Perplexity()
    >>> metric.update_state(np.array([[0, 1]]), np.ones([1, 2, 8]))  # of 8 tokens each is as likely as the others
    >>> round(float(metric.result()), 3)
    8.0

    `update_state` takes token ids [B, T] or [B, T, 1], or one-hot vectors [B, T, V]; predictions [B, T, V]; and weights
    of the mean, [B] or [B, T].

    Args:
      from_logits: whether the predictions are logits, as those of this package's models are; if not, probabilities.
      name, dtype: as for each of Keras's metrics.
    """

    def __init__(self, from_logits: bool = True, name: str = "perplexity", dtype: Any = None):
        super().__init__(from_logits, name, dtype)

    def result(self) -> Any:
        return keras.ops.exp(super().result())


@keras.saving.register_keras_serializable("tfrnn")
class BitsPerChar(_OfCrossEntropy):
    """The mean cross entropy per token in bits, as a metric of Keras's: bits per character if tokens are characters.

    >>> metric = tfrnn.BitsPerChar()
    >>> metric.update_state(np.array([[0, 1]]), np.ones([1, 2, 8]))
    >>> round(float(metric.result()), 3)
    3.0

    Args:
      from_logits, name, dtype: as for `Perplexity`, as are the arguments of `update_state`.
    """

    def __init__(self, from_logits: bool = True, name: str = "bits_per_char", dtype: Any = None):
        super().__init__(from_logits, name, dtype)

    def result(self) -> Any:
        return super().result() / math.log(2)


def _cross_entropies(targets: Any, predictions: Any, from_logits: bool) -> Any:
    """Returns the cross entropy of each token, [B, T], in float32 or more."""
    targets, predictions = keras.ops.convert_to_tensor(targets), keras.ops.convert_to_tensor(predictions)
    if keras.backend.standardize_dtype(predictions.dtype) in ("float16", "bfloat16"):
        predictions = keras.ops.cast(predictions, "float32")
    if len(targets.shape) == len(predictions.shape) and targets.shape[-1] != 1:
        return keras.losses.categorical_crossentropy(targets, predictions, from_logits)
    return keras.losses.sparse_categorical_crossentropy(targets, predictions, from_logits)
