"""Copies weights between the cells of tfrnn, Keras and PyTorch, and between the two forms of the GRU.

Letters: D inputs' size, H units. Kernels are [D, gates * H] and [H, gates * H], with their columns in Keras's order:
z, r, c for the GRU; i, f, g, o for the LSTM.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from tfrnn.config import sections, sizes
from tfrnn.errors import UserError
from tfrnn.layers import cells
from tfrnn.layers.cell_protocol import validate_cells
from tfrnn.layers.stack import RecurrentStack

CLASSES_BY_KIND = {
    kind: (getattr(cells, names["scratch"]), getattr(keras.layers, names["keras"]))
    for kind, names in sections.CELLS.items()
}
# For each block of columns in Keras's order, its index in PyTorch's: r, z, n for the GRU; i, f, g, o for the LSTM.
PYTORCH_ORDER = {"rnn": (0,), "gru": (1, 0, 2), "lstm": (0, 1, 2, 3)}


class _Weights(NamedTuple):
    """The weights of a cell, and the options that change what it computes."""

    kind: str
    kernel: np.ndarray  # [D, gates * H]
    recurrent_kernel: np.ndarray  # [H, gates * H]
    bias: np.ndarray  # [gates * H]
    state_bias: np.ndarray  # [gates * H], added to the product with the state
    reset_after: bool  # for a GRU
    activations: tuple[str, str] | None  # None if they are unknown


def transfer_weights(source: Any, target: Any) -> None:
    """Copies the weights of `source` to `target`, so that both compute the same.

    >>> source, target = keras.layers.LSTM(8), tfrnn.RNN(tfrnn.LSTMCell(8))
    >>> inputs = np.ones([2, 5, 3], "float32")  # B = 2, T = 5, D = 3
    >>> outputs = source(inputs)
    >>> tfrnn.transfer_weights(source, target)
    >>> np.allclose(outputs, target(inputs))
    True

    Args:
      source: a built cell (tfrnn's or Keras's), a built RNN or Bidirectional layer of such cells (tfrnn's or Keras's),
        the `rnn` of a model, or the state dict of PyTorch's nn.RNN, nn.GRU or nn.LSTM with its tensors as numpy arrays,
        `{name: tensor.numpy() for name, tensor in net.state_dict().items()}`.
        The state dict of an nn.RNN does not tell its activation, which is assumed to be the target's.
      target: a cell, or layers with the same number of cells; they are built if they have no weights yet.
    Raises:
      UserError: if the kinds or sizes of the two differ, or the target cannot compute what the source does. The target
        is then unchanged.
    """
    if isinstance(source, Mapping):
        sources = _from_pytorch(source)
    else:
        sources = [[read_weights(cell) for cell in layer_cells] for layer_cells in _cells_by_layer(source)]
    targets = _cells_by_layer(target)
    directions = [[len(layer) for layer in layers] for layers in (sources, targets)]  # per layer, of source and target
    if directions[0] != directions[1]:
        source_size, target_size = (f"{len(counts)} of {max(counts)}" for counts in directions)
        raise UserError(
            "expected the same number of layers and of directions in source and target; got layers and directions "
            f"{source_size} and {target_size}"
        )
    pairs = [pair for layers in zip(sources, targets, strict=True) for pair in zip(*layers, strict=True)]
    for weights, cell in pairs:
        _check_fit(weights, cell)  # all of them before the first is changed
    for weights, cell in pairs:
        _assign_weights(weights, cell)


def to_pytorch(layers: Any) -> dict[str, np.ndarray]:
    """Returns the weights of built recurrent layers as the state dict of PyTorch's nn.RNN, nn.GRU or nn.LSTM.

    In PyTorch, `net.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})` loads them into a
    net of the same sizes. The numpy arrays are the transposed kernels, with their blocks of rows in PyTorch's order.

    >>> layer = tfrnn.LSTM(8)
    >>> outputs = layer(np.ones([2, 5, 3], "float32"))  # builds the layer
    >>> arrays = tfrnn.to_pytorch(layer)
    >>> arrays["weight_ih_l0"].shape, sorted(arrays)
    ((32, 3), ['bias_hh_l0', 'bias_ih_l0', 'weight_hh_l0', 'weight_ih_l0'])

    Args:
      layers: what `transfer_weights` takes as a source of tfrnn or Keras.
    Raises:
      UserError: if they are not built, or PyTorch's layers cannot compute what they do: a GRU without reset_after, or
        activations other than tanh and sigmoid.
    """
    arrays = {}
    for layer, layer_cells in enumerate(_cells_by_layer(layers)):
        for direction, cell in zip(("", "_reverse"), layer_cells, strict=False):
            weights = read_weights(cell)
            if weights.kind == "gru" and not weights.reset_after:
                raise UserError(
                    "expected a GRU with reset_after=True, as PyTorch's is; got one with reset_after=False, whose "
                    "weights PyTorch's GRU cannot use"
                )
            if weights.activations != ("tanh", "sigmoid"):
                raise UserError(f"expected the activations tanh and sigmoid, as PyTorch's; got {weights.activations}")
            blocks = zip(
                ("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
                (weights.kernel, weights.recurrent_kernel, weights.bias, weights.state_bias),
                strict=True,
            )
            for name, columns in blocks:
                parts = np.split(columns.T, sizes.GATES[weights.kind])
                pytorch_parts = [parts[i] for i in np.argsort(PYTORCH_ORDER[weights.kind])]
                arrays[f"{name}_l{layer}{direction}"] = np.concatenate(pytorch_parts)
    return arrays


def _cells_by_layer(layer: Any) -> list[tuple]:
    """Returns the cells of each layer, one per direction; a single cell counts as one layer."""
    if isinstance(layer, RecurrentStack):
        return layer.cells_by_layer
    directions = [layer]
    if isinstance(layer, keras.layers.Bidirectional):
        directions = [layer.forward_layer, layer.backward_layer]
    if not isinstance(directions[0], keras.layers.RNN):
        return [(layer,)]
    return list(zip(*(validate_cells(direction.cell) for direction in directions), strict=True))


def _kind(cell: Any) -> str:
    for kind, classes in CLASSES_BY_KIND.items():
        if type(cell) in classes:  # a subclass may compute something else
            return kind
    names = [
        f"tfrnn.{scratch.__name__}, keras.layers.{keras_cell.__name__}"
        for scratch, keras_cell in CLASSES_BY_KIND.values()
    ]
    raise UserError(f"expected one of {', '.join(names)}, an RNN of them or a PyTorch state dict; got {cell!r}")


def _activations(cell: Any) -> tuple[str, str]:
    names = [
        getattr(cell, name, default) for name, default in (("activation", ""), ("recurrent_activation", "sigmoid"))
    ]
    if _kind(cell) == "rnn":
        names[1] = "sigmoid"  # it has no gates
    return tuple(name if isinstance(name, str) else str(keras.activations.serialize(name)) for name in names)  # type: ignore[return-value]


def read_weights(cell: Any) -> _Weights:
    """Returns the weights of a built cell, tfrnn's or Keras's, in the form that all kinds of cells share."""
    kind = _kind(cell)
    if not cell.built:
        raise UserError(f"expected a source with weights; got {cell!r}, which is not built; call it, or its RNN, once")
    kernel, recurrent_kernel = (_array(weight) for weight in (cell.kernel, cell.recurrent_kernel))
    bias = np.zeros(kernel.shape[1], kernel.dtype) if cell.bias is None else _array(cell.bias)
    bias, state_bias = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
    reset_after = getattr(cell, "reset_after", False)
    return _Weights(kind, kernel, recurrent_kernel, bias, state_bias, reset_after, _activations(cell))


def _from_pytorch(state_dict: Mapping[str, Any]) -> list[list[_Weights]]:
    arrays = {name: np.asarray(array) for name, array in state_dict.items()}
    prefixes = {name[: -len("weight_hh_l0")] for name in arrays if name.endswith("weight_hh_l0")}
    if len(prefixes) != 1:
        raise UserError(
            "expected the state dict of one nn.RNN, nn.GRU or nn.LSTM, with weight_ih_l0 and weight_hh_l0; "
            f"got {', '.join(arrays) or 'nothing'}"
        )
    prefix = prefixes.pop()
    layers = [[f"l{layer}", f"l{layer}_reverse"] for layer in range(len(arrays))]
    present = [[suffix for suffix in layer if f"{prefix}weight_hh_{suffix}" in arrays] for layer in layers]
    return [[_from_pytorch_cell(arrays, prefix, suffix) for suffix in layer] for layer in present if layer]


def _from_pytorch_cell(arrays: Mapping[str, np.ndarray], prefix: str, suffix: str) -> _Weights:
    def array(name: str) -> np.ndarray | None:
        return arrays.get(f"{prefix}{name}_{suffix}")

    if array("weight_hr") is not None:
        raise UserError(
            "expected an nn.LSTM without proj_size; got one with weight_hr, which no cell of tfrnn or Keras can use"
        )
    w_x, w_h = array("weight_ih"), array("weight_hh")
    if w_x is None or w_h is None or w_x.ndim != 2 or w_h.ndim != 2 or w_x.shape[0] != w_h.shape[0]:
        raise UserError(
            f"expected weight_ih_{suffix} and weight_hh_{suffix} with the same number of rows in the state dict"
        )
    kind = {gates: kind for kind, gates in sizes.GATES.items()}.get(w_h.shape[0] / w_h.shape[1])
    if kind is None:
        raise UserError(f"expected weight_hh_{suffix} of H, 3H or 4H rows and H columns; got shape {w_h.shape}")

    def reorder_blocks(rows: np.ndarray) -> np.ndarray:
        blocks = np.split(rows, sizes.GATES[kind])
        return np.concatenate([blocks[i] for i in PYTORCH_ORDER[kind]])

    bias, state_bias = (
        reorder_blocks(np.zeros(len(w_h), w_h.dtype) if b is None else b) for b in (array("bias_ih"), array("bias_hh"))
    )
    if kind != "gru":  # its two biases are only used in their sum
        bias, state_bias = bias + state_bias, np.zeros_like(bias)
    kernels = reorder_blocks(w_x).T, reorder_blocks(w_h).T
    activations = None if kind == "rnn" else ("tanh", "sigmoid")
    return _Weights(kind, *kernels, bias, state_bias, kind == "gru", activations)


def _check_fit(weights: _Weights, cell: Any) -> None:
    kind, size = _kind(cell), len(weights.recurrent_kernel)
    if (kind, cell.units) != (weights.kind, size):
        raise UserError(f"expected a target {weights.kind} cell of {size} units; got {kind} of {cell.units}")
    if cell.built and cell.kernel.shape[0] != len(weights.kernel):
        raise UserError(f"expected a target of {len(weights.kernel)} inputs; got one built for {cell.kernel.shape[0]}")
    if weights.activations and _activations(cell) != weights.activations:
        raise UserError(
            f"expected a target with the activations of the source, {weights.activations}; got {_activations(cell)}"
        )
    biased = getattr(cell, "use_bias", True)
    if not biased and (weights.bias.any() or weights.state_bias.any()):
        raise UserError(
            "expected a target with biases, since those of the source are not zero; got one without; use use_bias=True"
        )
    if kind == "gru" and weights.reset_after != cell.reset_after:
        *_, candidate = np.split(weights.recurrent_kernel, 3, 1)
        diagonal = np.array_equal(candidate, np.diag(np.diag(candidate)))
        if not diagonal or np.split(weights.state_bias, 3)[2].any():
            raise UserError(
                f"expected a target GRU with reset_after={weights.reset_after}, as the source; got "
                f"{cell.reset_after}. (R * H) W and R * (H W + b) are the same only if the candidate's recurrent "
                "kernel W is diagonal and its bias b is zero"
            )


def _assign_weights(weights: _Weights, cell: Any) -> None:
    if not cell.built:
        cell.build((None, len(weights.kernel)))
    cell.kernel.assign(weights.kernel)
    cell.recurrent_kernel.assign(weights.recurrent_kernel)
    if cell.bias is not None:
        two_biases = len(cell.bias.shape) == 2
        cell.bias.assign(
            np.stack([weights.bias, weights.state_bias]) if two_biases else weights.bias + weights.state_bias
        )


def _array(weight: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(weight)
