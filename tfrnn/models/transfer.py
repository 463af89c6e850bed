"""Weights from one cell to another: ours and Keras's both ways, the GRU's two forms, and from PyTorch.

Letters: D inputs' size, H units. Kernels are [D, gates * H] and [H, gates * H], columns in Keras's order: z, r, c for
the GRU; i, f, g, o for the LSTM.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from tfrnn.config import sections, sizes
from tfrnn.errors import UserError
from tfrnn.layers import cells
from tfrnn.layers.rnn import RNN

KINDS = {
    kind: (getattr(cells, names["scratch"]), getattr(keras.layers, names["keras"]))
    for kind, names in sections.CELLS.items()
}
# Where each block of our columns stands among PyTorch's: r, z, n for its GRU; i, f, g, o for its LSTM.
PYTORCH_ORDER = {"rnn": (0,), "gru": (1, 0, 2), "lstm": (0, 1, 2, 3)}


class _Weights(NamedTuple):
    """A cell's weights, and what else its function depends on."""

    kind: str
    kernel: np.ndarray  # [D, gates * H]
    recurrent_kernel: np.ndarray  # [H, gates * H]
    bias: np.ndarray  # [gates * H]
    state_bias: np.ndarray  # [gates * H], added to the product with the state
    reset_after: bool  # for a GRU
    activations: tuple[str, str] | None  # None: not known


def transfer_weights(source: Any, target: Any) -> None:
    """Gives `target` the weights of `source`, so that both compute the same.

    >>> source, target = tfrnn.RNN(keras.layers.LSTMCell(8)), tfrnn.RNN(tfrnn.LSTMCell(8))
    >>> inputs = np.ones([5, 2, 3], "float32")  # T = 5, B = 2, D = 3
    >>> outputs, state = source(inputs)
    >>> tfrnn.transfer_weights(source, target)
    >>> np.allclose(outputs, target(inputs)[0])
    True

    Args:
      source: a built cell (ours or Keras's), a built RNN of such cells, or the state dict of PyTorch's nn.RNN,
        nn.GRU or nn.LSTM with its tensors as numpy arrays,
        `{name: tensor.numpy() for name, tensor in net.state_dict().items()}`.
        That of an nn.RNN does not tell its non-linearity: it is taken for the target's.
      target: a cell or an RNN of as many layers; it is built if it is not yet.
    Raises:
      UserError: the two are of different kinds or sizes, or the target cannot compute what the source does.
    """
    if isinstance(source, Mapping):
        sources = _from_pytorch(source)
    else:
        sources = [[read_weights(cell) for cell in cells_of_layer] for cells_of_layer in _cells(source)]
    targets = _cells(target)
    shapes = [[len(layer) for layer in layers] for layers in (sources, targets)]
    if shapes[0] != shapes[1]:
        found = [f"{len(shape)} of {max(shape)}" for shape in shapes]
        raise UserError(
            f"expected as many layers of as many directions in source and target; got {found[0]} and {found[1]}"
        )
    pairs = [pair for layers in zip(sources, targets, strict=True) for pair in zip(*layers, strict=True)]
    for weights, cell in pairs:
        _check_fit(weights, cell)  # before the first is changed
    for weights, cell in pairs:
        _write(weights, cell)


def to_pytorch(rnn: RNN) -> dict[str, np.ndarray]:
    """The weights of a built RNN as the state dict of PyTorch's nn.RNN, nn.GRU or nn.LSTM of the same sizes, as arrays.

    There, `net.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})` reads them. A row there
    is a column here, and the blocks of rows are in PyTorch's order.

    >>> rnn = tfrnn.RNN(tfrnn.LSTMCell(8))
    >>> outputs, state = rnn(np.ones([5, 2, 3], "float32"))  # which builds it
    >>> arrays = tfrnn.to_pytorch(rnn)
    >>> arrays["weight_ih_l0"].shape, sorted(arrays)
    ((32, 3), ['bias_hh_l0', 'bias_ih_l0', 'weight_hh_l0', 'weight_ih_l0'])

    Raises:
      UserError: PyTorch's layers do not compute the same: a GRU with the reset gate before the product, or activations
        other than tanh and sigmoid; or it is not built.
    """
    arrays = {}
    for layer, cells_of_layer in enumerate(_cells(rnn)):
        for direction, cell in zip(("", "_reverse"), cells_of_layer, strict=False):
            weights = read_weights(cell)
            if weights.kind == "gru" and not weights.reset_after:
                raise UserError(
                    "expected a GRU with reset_after=True, as PyTorch's is; got one with the reset gate before the "
                    "product, whose weights PyTorch's GRU cannot use"
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
                in_their_order = [parts[i] for i in np.argsort(PYTORCH_ORDER[weights.kind])]
                arrays[f"{name}_l{layer}{direction}"] = np.concatenate(in_their_order)
    return arrays


def _cells(layer: Any) -> list[tuple]:
    """The cells of each layer, one for each direction."""
    return layer.cells_of_layers if isinstance(layer, RNN) else [(layer,)]


def _kind(cell: Any) -> str:
    for kind, classes in KINDS.items():
        if type(cell) in classes:  # a subclass may compute something else
            return kind
    known = ", ".join(f"tfrnn.{ours.__name__}, keras.layers.{theirs.__name__}" for ours, theirs in KINDS.values())
    raise UserError(f"expected one of {known}, an RNN of them or a PyTorch state dict; got {cell!r}")


def _activations(cell: Any) -> tuple[str, str]:
    names = [
        getattr(cell, name, default) for name, default in (("activation", ""), ("recurrent_activation", "sigmoid"))
    ]
    if _kind(cell) == "rnn":
        names[1] = "sigmoid"  # it has no gates
    return tuple(name if isinstance(name, str) else str(keras.activations.serialize(name)) for name in names)  # type: ignore[return-value]


def read_weights(cell: Any) -> _Weights:
    """The weights of a built cell, ours or Keras's, in the form that all kinds share."""
    kind = _kind(cell)
    if not cell.built:
        raise UserError(f"expected a source with weights; {cell!r} is not built: call it once, or its RNN")
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
    there = [[suffix for suffix in layer if f"{prefix}weight_hh_{suffix}" in arrays] for layer in layers]
    return [[_from_pytorch_cell(arrays, prefix, suffix) for suffix in layer] for layer in there if layer]


def _from_pytorch_cell(arrays: Mapping[str, np.ndarray], prefix: str, suffix: str) -> _Weights:
    def array(name: str) -> np.ndarray | None:
        return arrays.get(f"{prefix}{name}_{suffix}")

    if array("weight_hr") is not None:
        raise UserError("expected an nn.LSTM without proj_size; no cell here projects its state")
    w_x, w_h = array("weight_ih"), array("weight_hh")
    if w_x is None or w_h is None or w_x.ndim != 2 or w_h.ndim != 2 or w_x.shape[0] != w_h.shape[0]:
        raise UserError(f"expected weight_ih_{suffix} and weight_hh_{suffix} with equally many rows in the state dict")
    kind = {gates: kind for kind, gates in sizes.GATES.items()}.get(w_h.shape[0] / w_h.shape[1])
    if kind is None:
        raise UserError(f"expected weight_hh_{suffix} of H, 3H or 4H rows and H columns; got shape {w_h.shape}")

    def in_our_order(rows: np.ndarray) -> np.ndarray:
        blocks = np.split(rows, sizes.GATES[kind])
        return np.concatenate([blocks[i] for i in PYTORCH_ORDER[kind]])

    bias, state_bias = (
        in_our_order(np.zeros(len(w_h), w_h.dtype) if b is None else b) for b in (array("bias_ih"), array("bias_hh"))
    )
    if kind != "gru":  # two biases that are only ever added
        bias, state_bias = bias + state_bias, np.zeros_like(bias)
    kernels = in_our_order(w_x).T, in_our_order(w_h).T
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
            "expected a target with biases, as those of the source are not zero; use one with use_bias=True"
        )
    if kind == "gru" and weights.reset_after != cell.reset_after:
        *_, candidate = np.split(weights.recurrent_kernel, 3, 1)
        diagonal = np.array_equal(candidate, np.diag(np.diag(candidate)))
        if not diagonal or np.split(weights.state_bias, 3)[2].any():
            raise UserError(
                f"expected a target GRU with reset_after={weights.reset_after}, as the source; got "
                f"{cell.reset_after}. (R * H) W and R * (H W + b) are the same only where the candidate's recurrent "
                "kernel W is diagonal and its bias b zero"
            )


def _write(weights: _Weights, cell: Any) -> None:
    if not cell.built:
        cell.build((None, len(weights.kernel)))
    cell.kernel.assign(weights.kernel)
    cell.recurrent_kernel.assign(weights.recurrent_kernel)
    if cell.bias is not None:
        two = len(cell.bias.shape) == 2
        cell.bias.assign(np.stack([weights.bias, weights.state_bias]) if two else weights.bias + weights.state_bias)


def _array(weight: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(weight)
