"""Recurrent cells from scratch, one screen each: the equations of Dive into Deep Learning, in their order.

A cell computes one time step and follows Keras's cell protocol: `cell(inputs, states) -> (output, states)`, with
`units`, `state_size`, `output_size` and `get_initial_state(batch_size)`. It therefore runs in `tfrnn.RNN` and in
`keras.layers.RNN`, as Keras's cells do. The weights have Keras's names and layout.

Letters: B batch_size, D inputs' size, H units; X [B, D] inputs, H [B, H] hidden state, C [B, H] memory cell.
The matrices W_x* are columns of `kernel` [D, gates * H], and W_h* are columns of `recurrent_kernel` [H, gates * H].
"""

from typing import Any

import keras
from keras import ops

SCRATCH_INITIALIZER = {"class_name": "RandomNormal", "config": {"mean": 0.0, "stddev": 0.01}}  # the book's


class _Cell(keras.layers.Layer):
    """The base class of the cells: makes the weights [D, gates * H], [H, gates * H] and [gates * H]."""

    gates: int  # the number of matrices in each kernel
    num_states = 1  # the number of tensors in the state

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        kernel_initializer: Any = SCRATCH_INITIALIZER,
        recurrent_initializer: Any = SCRATCH_INITIALIZER,
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not isinstance(units, int) or units < 1:
            raise ValueError(f"`units` must be a whole number of at least 1; got {units!r}")
        self.units = units
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.output_size = units
        self.state_size = units if self.num_states == 1 else [units] * self.num_states

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        columns = self.gates * self.units
        self.kernel = self.add_weight((input_shape[-1], columns), self.kernel_initializer, name="kernel")
        self.recurrent_kernel = self.add_weight(
            (self.units, columns), self.recurrent_initializer, name="recurrent_kernel"
        )
        self.bias = self.add_weight(self._bias_shape(columns), self._initial_bias, name="bias")
        super().build(input_shape)

    def _bias_shape(self, columns: int) -> tuple[int, ...]:
        return (columns,)

    def _initial_bias(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        return self.bias_initializer(shape, dtype)

    def get_initial_state(self, batch_size: int | None = None) -> list:
        """Returns the state before the first step: zeros, a list of tensors [B, H]."""
        return [ops.zeros((batch_size, self.units), self.compute_dtype) for _ in range(self.num_states)]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": keras.initializers.serialize(self.recurrent_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }


@keras.saving.register_keras_serializable("tfrnn")
class RNNCell(_Cell):
    """The simple recurrent cell (section 8.4):

        H' = tanh(X W_xh + H W_hh + b_h)

    >>> cell = tfrnn.RNNCell(8)
    >>> output, (h,) = cell(np.ones([2, 3]), cell.get_initial_state(2))  # B = 2, D = 3
    >>> output.shape, h.shape
    (TensorShape([2, 8]), TensorShape([2, 8]))

    Call: takes inputs [B, D] and states, a list of one tensor [B, H]; returns the output [B, H] and the new states.
    It computes what keras.layers.SimpleRNNCell does, but starts with other weights.

    Args:
      units: H.
      activation: the activation of H', by default tanh.
      kernel_initializer, recurrent_initializer, bias_initializer: by default the book's: a normal distribution with
        standard deviation 0.01 for the kernels, and zeros for the bias.
    Raises:
      ValueError: if units is not a whole number of at least 1.
    """

    gates = 1

    def call(self, inputs: Any, states: Any) -> tuple:
        (h,) = states
        h = self.activation(ops.matmul(inputs, self.kernel) + ops.matmul(h, self.recurrent_kernel) + self.bias)
        return h, [h]


@keras.saving.register_keras_serializable("tfrnn")
class GRUCell(_Cell):
    """The gated recurrent unit (section 9.1), which applies the reset gate before the product with W_hh:

        Z = sigmoid(X W_xz + H W_hz + b_z)
        R = sigmoid(X W_xr + H W_hr + b_r)
        C = tanh(X W_xh + (R * H) W_hh + b_h)
        H' = Z * H + (1 - Z) * C

    >>> cell = tfrnn.GRUCell(8)
    >>> output, (h,) = cell(np.ones([2, 3]), cell.get_initial_state(2))  # B = 2, D = 3
    >>> cell.kernel.shape, cell.recurrent_kernel.shape, cell.bias.shape
    (TensorShape([3, 24]), TensorShape([8, 24]), TensorShape([24]))

    Call: takes inputs [B, D] and states, a list of one tensor [B, H]; returns the output [B, H] and the new states.
    It computes what keras.layers.GRUCell with the same reset_after does, but starts with other weights. The columns of
    the kernels are in the order z, r, c.

    Args:
      units: H.
      activation: the activation of C, by default tanh.
      kernel_initializer, recurrent_initializer, bias_initializer: by default the book's: a normal distribution with
        standard deviation 0.01 for the kernels, and zeros for the bias.
      reset_after: whether to apply the reset gate after the product, as PyTorch does, and Keras by default:
        `C = tanh(X W_xh + b_h + R * (H W_hh + b_hh))`. Then `bias` is [2, 3H]: first the bias that is added to the
        product with the inputs, then the one that is added to the product with the state.
    Raises:
      ValueError: if units is not a whole number of at least 1.
    """

    gates = 3

    def __init__(self, units: int, *args: Any, reset_after: bool = False, **kwargs: Any):
        super().__init__(units, *args, **kwargs)
        self.reset_after = reset_after

    def _bias_shape(self, columns: int) -> tuple[int, ...]:
        return (2, columns) if self.reset_after else (columns,)

    def call(self, inputs: Any, states: Any) -> tuple:
        (h,) = states
        bias, state_bias = ops.unstack(self.bias) if self.reset_after else (self.bias, None)
        x_z, x_r, x_c = ops.split(ops.matmul(inputs, self.kernel) + bias, 3, -1)
        if self.reset_after:
            h_z, h_r, h_c = ops.split(ops.matmul(h, self.recurrent_kernel) + state_bias, 3, -1)
            z = ops.sigmoid(x_z + h_z)
            r = ops.sigmoid(x_r + h_r)
            c = self.activation(x_c + r * h_c)
        else:
            u_z, u_r, u_c = ops.split(ops.convert_to_tensor(self.recurrent_kernel), 3, -1)
            z = ops.sigmoid(x_z + ops.matmul(h, u_z))
            r = ops.sigmoid(x_r + ops.matmul(h, u_r))
            c = self.activation(x_c + ops.matmul(r * h, u_c))
        h = z * h + (1 - z) * c
        return h, [h]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "reset_after": self.reset_after}


@keras.saving.register_keras_serializable("tfrnn")
class LSTMCell(_Cell):
    """Long short-term memory (section 9.2):

        I = sigmoid(X W_xi + H W_hi + b_i)
        F = sigmoid(X W_xf + H W_hf + b_f)
        O = sigmoid(X W_xo + H W_ho + b_o)
        G = tanh(X W_xc + H W_hc + b_c)
        C' = F * C + I * G
        H' = O * tanh(C')

    >>> cell = tfrnn.LSTMCell(8)
    >>> output, (h, c) = cell(np.ones([2, 3]), cell.get_initial_state(2))  # B = 2, D = 3
    >>> output.shape, c.shape
    (TensorShape([2, 8]), TensorShape([2, 8]))

    Call: takes inputs [B, D] and states, a list of hidden state and memory cell, [B, H] each; returns the output [B, H]
    and the new states. It computes what keras.layers.LSTMCell does, but starts with other weights. The columns of the
    kernels are in the order i, f, g, o.

    Args:
      units: H.
      activation: the activation of G and of C', by default tanh.
      kernel_initializer, recurrent_initializer, bias_initializer: by default the book's: a normal distribution with
        standard deviation 0.01 for the kernels, and zeros for the bias.
      unit_forget_bias: whether the bias of the forget gate starts as ones, as by default in Keras (Jozefowicz et al.,
        2015); otherwise it starts as zeros, as in the book.
    Raises:
      ValueError: if units is not a whole number of at least 1.
    """

    gates = 4
    num_states = 2

    def __init__(self, units: int, *args: Any, unit_forget_bias: bool = False, **kwargs: Any):
        super().__init__(units, *args, **kwargs)
        self.unit_forget_bias = unit_forget_bias

    def _initial_bias(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        bias = super()._initial_bias(shape, dtype)
        i, f, g, o = ops.split(bias, 4)
        return ops.concatenate([i, ops.ones_like(f), g, o]) if self.unit_forget_bias else bias

    def call(self, inputs: Any, states: Any) -> tuple:
        h, c = states
        gates = ops.matmul(inputs, self.kernel) + ops.matmul(h, self.recurrent_kernel) + self.bias  # [B, 4H]
        i, f, g, o = ops.split(gates, 4, -1)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * self.activation(g)
        h = ops.sigmoid(o) * self.activation(c)
        return h, [h, c]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "unit_forget_bias": self.unit_forget_bias}
