"""A language model as the page holds it: a description, and its weights in 8, 16 or 32 bits.

Letters: V vocab_size, E embedding_dim, D inputs' size, H units. Matrices are stored by rows, [outputs, inputs], except
those whose rows are looked up by a token's id: the embedding [V, E], or the first kernel [V, gates * H].
"""

import base64
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tfrnn.errors import UserError
from tfrnn.models import transfer
from tfrnn.models.language_model import LanguageModel

ALL_BITS = (8, 16, 32)
# What page_model.js can compute; the gates of a simple RNN are never asked for.
ACTIVATIONS = ("tanh", "sigmoid", "relu", "linear", "hard_sigmoid")
_DTYPES = {16: "<f2", 32: "<f4"}


@dataclasses.dataclass(frozen=True)
class PageModel:
    """A language model that the page can compute.

    Attributes:
      description: what is computed, as page_model.js reads it.
      arrays: the weights by name, float32, matrices before the vectors of the same layer.
    """

    description: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @classmethod
    def of(cls, model: Any) -> "PageModel":
        """Reads a model. Raises UserError if a page cannot compute it, for example a cell of the user's own."""
        if not isinstance(model, LanguageModel):
            raise UserError(f"expected a LanguageModel for a page; got {type(model).__name__}; give its language model")
        model.build()
        layers, arrays = [], {}
        for number, cell in enumerate(model.rnn.cells):
            weights = _read_cell(cell)
            looked_up = not number and not model.embedding_dim
            arrays[f"{number}.kernel"] = weights.kernel if looked_up else weights.kernel.T
            arrays[f"{number}.recurrent_kernel"] = weights.recurrent_kernel.T
            arrays[f"{number}.bias"] = weights.bias
            arrays[f"{number}.state_bias"] = weights.state_bias
            assert weights.activations
            activation, gate_activation = weights.activations
            layers.append(
                {
                    "kind": weights.kind,
                    "units": len(weights.recurrent_kernel),
                    "activation": activation,
                    "gate_activation": gate_activation,
                    "reset_after": bool(weights.reset_after),
                }
            )
        if model.embedding:
            arrays["embedding"] = _array(model.embedding.embeddings)
        if model.dense:
            arrays["head"], arrays["head_bias"] = _array(model.dense.kernel).T, _array(model.dense.bias)
        description = {
            "vocab_size": model.vocab_size,
            "embedding_dim": model.embedding_dim,
            "tied": model.tie_weights,
            "layers": layers,
        }
        return cls(description, {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()})

    def to_language_model(self) -> LanguageModel:
        """Returns the model as one that Keras computes; only for comparisons, since its cells are Keras's."""
        cells = [_make_cell(**layer) for layer in self.description["layers"]]
        sizes = {name: self.description[name] for name in ("vocab_size", "embedding_dim")}
        model = LanguageModel(cells, **sizes, tie_weights=self.description["tied"])
        model.build()
        for number, cell in enumerate(cells):
            kernel, u, bias, state_bias = (
                self.arrays[f"{number}.{name}"] for name in ("kernel", "recurrent_kernel", "bias", "state_bias")
            )
            cell.kernel.assign(kernel if not number and not model.embedding_dim else kernel.T)
            cell.recurrent_kernel.assign(u.T)
            cell.bias.assign(np.stack([bias, state_bias]) if len(cell.bias.shape) == 2 else bias + state_bias)
        if model.embedding:
            model.embedding.embeddings.assign(self.arrays["embedding"])
        if model.dense:
            model.dense.kernel.assign(self.arrays["head"].T)
            model.dense.bias.assign(self.arrays["head_bias"])
        return model

    def pack(self, bits: int) -> tuple[list[dict[str, Any]], str]:
        """Returns the layout of the weights, and the weights in base64.

        With 8 bits a row of a matrix has a scale, float32, by which its numbers from -127 to 127 are multiplied. The
        scales of a matrix stand before its rows. Vectors always have 32 bits.
        """
        layout, parts = [], []
        for name, array in self.arrays.items():
            array_bits = bits if array.ndim == 2 else 32
            layout.append({"name": name, "shape": list(array.shape), "bits": array_bits})
            if array_bits == 8:
                scales = np.abs(array).max(1, keepdims=True) / np.float32(127)
                levels = np.rint(array / np.where(scales > 0, scales, 1))
                parts += [scales.astype("<f4").tobytes(), levels.astype(np.int8).tobytes()]
            else:
                with np.errstate(over="ignore"):  # a weight above 65504 becomes infinite, which the comparison finds
                    parts.append(array.astype(_DTYPES[array_bits]).tobytes())
        return layout, base64.b64encode(b"".join(parts)).decode()

    @classmethod
    def unpack(cls, description: dict[str, Any], layout: Sequence[Mapping[str, Any]], packed: str) -> "PageModel":
        """Returns the model with the weights as the page has them: the inverse of `pack`, up to rounding."""
        data, position, arrays = base64.b64decode(packed), 0, {}

        def take(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
            nonlocal position
            taken = np.frombuffer(data, dtype, math.prod(shape), position).reshape(shape)
            position += taken.nbytes
            return taken.astype(np.float32)

        for entry in layout:
            shape, bits = tuple(entry["shape"]), entry["bits"]
            if bits == 8:
                scales = take("<f4", (shape[0], 1))
                arrays[entry["name"]] = take("i1", shape) * scales
            else:
                arrays[entry["name"]] = take(_DTYPES[bits], shape)
        return cls(description, arrays)


def _read_cell(cell: Any) -> Any:
    """Returns the weights of a cell. Raises UserError if it is not one that the page can compute."""
    classes = [one for pair in transfer.CLASSES_BY_KIND.values() for one in pair]
    if type(cell) not in classes:  # a subclass may compute something else
        raise UserError(
            "a page computes the cells RNNCell, GRUCell and LSTMCell of tfrnn and SimpleRNNCell, GRUCell and LSTMCell "
            f"of Keras; got {cell!r}; export the model as `format=saved_model`"
        )
    weights = transfer.read_weights(cell)
    assert weights.activations
    for activation in weights.activations:
        if activation not in ACTIVATIONS:
            raise UserError(
                f"a page computes the activations {', '.join(ACTIVATIONS)}; got "
                f"{activation if activation.isidentifier() else 'a function'} in {cell!r}; export the model as "
                "`format=saved_model`"
            )
    return weights


def _make_cell(kind: str, units: int, activation: str, gate_activation: str, reset_after: bool) -> Any:
    _, cell_class = transfer.CLASSES_BY_KIND[kind]
    options: dict[str, Any] = {} if kind == "rnn" else {"recurrent_activation": gate_activation}
    if kind == "gru":
        options["reset_after"] = reset_after
    zeros = {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}
    return cell_class(units, activation=activation, **options, **zeros)


def _array(weight: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(weight)
