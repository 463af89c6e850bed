"""Records what PyTorch's recurrent layers compute, so that the tests can compare with it without PyTorch.

    python tests/support/pytorch_reference.py

writes pytorch_reference.npz next to this file: for each case the state dict, the inputs [T, B, D], the initial state,
the outputs, the last state, and the gradients of sum(outputs ** 2) with respect to the inputs and the initial state.
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_suffix(".npz")
T, B, D, H = 5, 2, 3, 4
CASES = {
    f"{kind}_{num_layers}{'_both' if bidirectional else ''}": (kind, num_layers, bidirectional)
    for kind in ("RNN", "GRU", "LSTM")
    for num_layers, bidirectional in ((1, False), (2, False), (2, True))
}


def compute(case: str) -> dict[str, np.ndarray]:
    """Computes the arrays of a case with PyTorch."""
    import torch

    kind, num_layers, bidirectional = CASES[case]
    torch.manual_seed(0)
    net = getattr(torch.nn, kind)(D, H, num_layers=num_layers, bidirectional=bidirectional)
    inputs = torch.randn(T, B, D, requires_grad=True)
    num_states = 2 if kind == "LSTM" else 1
    state = [torch.randn(num_layers * (1 + bidirectional), B, H, requires_grad=True) for _ in range(num_states)]
    outputs, last = net(inputs, tuple(state) if num_states == 2 else state[0])
    (outputs**2).sum().backward()
    tensors = {
        "inputs": inputs,
        "outputs": outputs,
        "inputs_gradient": inputs.grad,
        **{f"state_{i}": tensor for i, tensor in enumerate(state)},
        **{f"state_gradient_{i}": tensor.grad for i, tensor in enumerate(state)},
        **{f"last_{i}": tensor for i, tensor in enumerate(last if num_states == 2 else [last])},
        **{f"net.{name}": tensor for name, tensor in net.state_dict().items()},
    }
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def recorded(case: str) -> dict[str, np.ndarray]:
    """Returns the arrays of a case from the file."""
    with np.load(FILE) as arrays:
        return {name.split("/")[1]: arrays[name] for name in arrays.files if name.split("/")[0] == case}


if __name__ == "__main__":
    np.savez_compressed(FILE, **{f"{case}/{name}": array for case in CASES for name, array in compute(case).items()})
