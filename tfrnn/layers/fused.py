"""Runs the simple RNN, GRU and LSTM cells, tfrnn's and Keras's, over many steps at once, with gradients by hand.

The inputs of all steps are multiplied by the kernel in one product (for token ids, rows of the kernel are looked up),
and the gradient of the recurrent kernel is one product after the last step, not one per step. This is faster than
autodiff through a cell's own steps. The results are the same up to rounding.

Letters: T num_steps, t steps of a block, B batch_size, D inputs' size, H units, n columns of a part (see below).
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tfrnn.layers import cells, time_blocks

# The functions _rnn, _gru, _gru_reset_after and _lstm, the recurrences, have one signature. The columns of the kernels
# are divided into parts, one for each non-linearity that they go through.
#
# Args:
#   x: for each part, the projected inputs of all steps, a list of t tensors [B, n].
#   u: for each part, the recurrent kernel [H, n].
#   b: [H], which only the GRU with reset_after uses: added to the product of its candidate with the state.
#   h, c: the state, tensors [B, H].
# Returns:
#   The outputs, a list of t tensors [B, H]; the new state; and the backward function, from the gradients of outputs and
#   new state to those of x (each part [t, B, n]), u, b and the state.
BackwardFunction = Callable[[list, tuple], tuple]

# Up to this number of rows, the gradient of a kernel's rows is a product with one-hot vectors, which is faster than the
# sums of rows that are computed for larger kernels.
MAX_ROWS_OF_ONE_HOT_GRADIENT = 64


def _rnn(x: list, u: list, b: tf.Tensor, h: tf.Tensor) -> tuple[list, tuple, BackwardFunction]:
    """The simple RNN: H' = tanh(X + H U)."""
    hs = [h]
    for x_t in x[0]:
        hs.append(tf.tanh(x_t + tf.matmul(hs[-1], u[0])))

    def backward(d_outputs: list, d_state: tuple) -> tuple:
        d_x, u_t, (d_h,) = [], _transposed(u[0]), d_state
        for t in reversed(range(len(x[0]))):
            d_x.append(_tanh_gradient(hs[t + 1], d_outputs[t] + d_h))
            d_h = tf.matmul(d_x[-1], u_t)
        d_x = tf.stack(d_x[::-1])
        return [d_x], [_kernel_gradient(hs[:-1], d_x)], tf.zeros_like(b), (d_h,)

    return hs[1:], (hs[-1],), backward


def _gru(x: list, u: list, b: tf.Tensor, h: tf.Tensor) -> tuple[list, tuple, BackwardFunction]:
    """The GRU of the book: Z, R = sigmoid(X + H U), C = tanh(X + (R * H) U), H' = Z * H + (1 - Z) * C."""
    (u_zr, u_c), hs, zrs, cs, h_minus_cs, rhs = u, [h], [], [], [], []
    for x_zr, x_c in zip(*x, strict=True):
        h = hs[-1]
        zrs.append(tf.split(tf.sigmoid(x_zr + tf.matmul(h, u_zr)), 2, 1))
        z, r = zrs[-1]
        rhs.append(r * h)
        cs.append(tf.tanh(x_c + tf.matmul(rhs[-1], u_c)))
        h_minus_cs.append(h - cs[-1])
        hs.append(cs[-1] + z * h_minus_cs[-1])

    def backward(d_outputs: list, d_state: tuple) -> tuple:
        d_zrs, d_cs, (d_h,) = [], [], d_state
        u_zr_t, u_c_t = _transposed(u_zr), _transposed(u_c)
        for t in reversed(range(len(zrs))):
            h, c, (z, r) = hs[t], cs[t], zrs[t]
            d_h = d_outputs[t] + d_h
            kept = z * d_h
            d_cs.append(_tanh_gradient(c, d_h - kept))
            d_rh = tf.matmul(d_cs[-1], u_c_t)
            d_z = _sigmoid_gradient(z, d_h * h_minus_cs[t])
            d_zrs.append(tf.concat([d_z, _sigmoid_gradient(r, d_rh * h)], 1))
            d_h = kept + d_rh * r + tf.matmul(d_zrs[-1], u_zr_t)
        d_x = [tf.stack(d_zrs[::-1]), tf.stack(d_cs[::-1])]
        return d_x, [_kernel_gradient(hs[:-1], d_x[0]), _kernel_gradient(rhs, d_x[1])], tf.zeros_like(b), (d_h,)

    return hs[1:], (hs[-1],), backward


def _gru_reset_after(x: list, u: list, b: tf.Tensor, h: tf.Tensor) -> tuple[list, tuple, BackwardFunction]:
    """The GRU with reset_after: Z, R = sigmoid(X + H U), C = tanh(X + R * (H U + b)), H' = Z * H + (1 - Z) * C."""
    (u_zr, u_c), hs, zrs, cs, h_minus_cs, h_cs = u, [h], [], [], [], []
    for x_zr, x_c in zip(*x, strict=True):
        h = hs[-1]
        h_cs.append(tf.matmul(h, u_c) + b)
        zrs.append(tf.split(tf.sigmoid(x_zr + tf.matmul(h, u_zr)), 2, 1))
        z, r = zrs[-1]
        cs.append(tf.tanh(x_c + r * h_cs[-1]))
        h_minus_cs.append(h - cs[-1])
        hs.append(cs[-1] + z * h_minus_cs[-1])

    def backward(d_outputs: list, d_state: tuple) -> tuple:
        d_zrs, d_cs, d_h_cs, (d_h,) = [], [], [], d_state
        u_zr_t, u_c_t = _transposed(u_zr), _transposed(u_c)
        for t in reversed(range(len(zrs))):
            c, (z, r) = cs[t], zrs[t]
            d_h = d_outputs[t] + d_h
            kept = z * d_h
            d_cs.append(_tanh_gradient(c, d_h - kept))
            d_h_cs.append(d_cs[-1] * r)
            d_z = _sigmoid_gradient(z, d_h * h_minus_cs[t])
            d_zrs.append(tf.concat([d_z, _sigmoid_gradient(r, d_cs[-1] * h_cs[t])], 1))
            d_h = kept + tf.matmul(d_h_cs[-1], u_c_t) + tf.matmul(d_zrs[-1], u_zr_t)
        d_x, d_h_c = [tf.stack(d_zrs[::-1]), tf.stack(d_cs[::-1])], tf.stack(d_h_cs[::-1])
        d_u = [_kernel_gradient(hs[:-1], d_x[0]), _kernel_gradient(hs[:-1], d_h_c)]
        return d_x, d_u, tf.reduce_sum(d_h_c, [0, 1]), (d_h,)

    return hs[1:], (hs[-1],), backward


def _lstm(x: list, u: list, b: tf.Tensor, h: tf.Tensor, c: tf.Tensor) -> tuple[list, tuple, BackwardFunction]:
    """The LSTM: I, F, O = sigmoid(X + H U), G = tanh(X + H U), C' = F * C + I * G, H' = O * tanh(C')."""
    (u_ifo, u_g), hs, cs, ifos, gs, tanh_cs = u, [h], [c], [], [], []
    for x_ifo, x_g in zip(*x, strict=True):
        h, c = hs[-1], cs[-1]
        ifos.append(tf.split(tf.sigmoid(x_ifo + tf.matmul(h, u_ifo)), 3, 1))
        gs.append(tf.tanh(x_g + tf.matmul(h, u_g)))
        i, f, o = ifos[-1]
        cs.append(f * c + i * gs[-1])
        tanh_cs.append(tf.tanh(cs[-1]))
        hs.append(o * tanh_cs[-1])

    def backward(d_outputs: list, d_state: tuple) -> tuple:
        d_ifos, d_gs, (d_h, d_c) = [], [], d_state
        u_ifo_t, u_g_t = _transposed(u_ifo), _transposed(u_g)
        for t in reversed(range(len(gs))):
            (i, f, o), g, tanh_c = ifos[t], gs[t], tanh_cs[t]
            d_h = d_outputs[t] + d_h
            d_c = d_c + _tanh_gradient(tanh_c, d_h * o)
            d_i, d_f = _sigmoid_gradient(i, d_c * g), _sigmoid_gradient(f, d_c * cs[t])
            d_ifos.append(tf.concat([d_i, d_f, _sigmoid_gradient(o, d_h * tanh_c)], 1))
            d_gs.append(_tanh_gradient(g, d_c * i))
            d_h, d_c = tf.matmul(d_ifos[-1], u_ifo_t) + tf.matmul(d_gs[-1], u_g_t), d_c * f
        d_x = [tf.stack(d_ifos[::-1]), tf.stack(d_gs[::-1])]
        return d_x, [_kernel_gradient(hs[:-1], d_part) for d_part in d_x], tf.zeros_like(b), (d_h, d_c)

    return hs[1:], (hs[-1], cs[-1]), backward


def _tanh_gradient(y: tf.Tensor, d_y: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.TanhGrad(y=y, dy=d_y)


def _sigmoid_gradient(y: tf.Tensor, d_y: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.SigmoidGrad(y=y, dy=d_y)


def _transposed(u: tf.Tensor) -> tf.Tensor:
    """Returns the transpose of a kernel in a memory layout of its own.

    A product of a few rows with it is twice as fast as one that reads the kernel's columns. It is transposed in three
    dimensions, since TensorFlow would fold a transposition in two into the product.
    """
    return tf.reshape(tf.transpose(tf.expand_dims(u, 0), [2, 0, 1]), u.shape[::-1])


def _kernel_gradient(left_factors: list, d_products: tf.Tensor) -> tf.Tensor:
    """Returns the gradient of a kernel that each left factor [B, m] was multiplied by, for all steps in one product.

    `d_products`, [t, B, n], is the gradient of the products.
    """
    return tf.matmul(tf.concat(left_factors, 0), tf.reshape(d_products, [-1, d_products.shape[-1]]), transpose_a=True)


def supports(cell: Any, training: bool) -> bool:
    """Returns whether run_all_steps computes what the cell does.

    It does for built cells of tfrnn and Keras, but not for subclasses, which may compute something else, and only with
    the activations tanh and sigmoid, without mixed precision, and without dropout in training.
    """
    scratch_classes = (cells.RNNCell, cells.GRUCell, cells.LSTMCell)
    keras_classes = (keras.layers.SimpleRNNCell, keras.layers.GRUCell, keras.layers.LSTMCell)
    return (
        type(cell) in scratch_classes + keras_classes
        and cell.built
        and cell.compute_dtype == cell.variable_dtype
        and cell.activation is keras.activations.tanh
        and getattr(cell, "recurrent_activation", keras.activations.sigmoid) is keras.activations.sigmoid
        and not (training and any(getattr(cell, name, None) for name in ("dropout", "recurrent_dropout")))
    )


def run_all_steps(cell: Any, inputs: tf.Tensor, state: tuple) -> tuple[tf.Tensor, tuple]:
    """Runs a cell over all steps of a sequence.

    Args:
      cell: a cell that `supports` accepts.
      inputs: [T, B, D]; or token ids, integers [T, B], which stand for one-hot vectors.
      state: the cell's state before the first step, a tuple of tensors [B, H].
    Returns:
      The outputs [T, B, H], and the cell's state after the last step.
    """
    recurrence, *weights = _cached_weights.get().get(id(cell)) or _read_and_split_weights(cell)

    def run_block(inputs: tf.Tensor, state: tuple, weights: list = weights) -> tuple[tf.Tensor, tuple]:
        kernels, recurrent_kernels, biases, state_bias = weights
        x = [_project_inputs(inputs, kernel, bias) for kernel, bias in zip(kernels, biases, strict=True)]  # [t, B, n]
        return _run_recurrence(recurrence, x, recurrent_kernels, state_bias, state)

    def run_blocks(inputs: tf.Tensor, num_blocks: Any, block_steps: int, state: tuple) -> tuple[tf.Tensor, tuple]:
        if block_steps == 1:  # checkpoints between single steps would save little memory
            return time_blocks.autodiff_loop(run_block, inputs, state, num_blocks, block_steps, cell.units)
        return time_blocks.checkpointed_loop(run_block, inputs, weights, state, num_blocks, block_steps)

    return time_blocks.unroll_or_loop(run_block, run_blocks, inputs, state)


def _run_recurrence(recurrence: Callable, x: list, u: list, b: tf.Tensor, state: tuple) -> tuple[tf.Tensor, tuple]:
    """Runs a recurrence with its backward function as its gradient.

    The parts of x are [t, B, n]; u and b are as for a recurrence. Returns the outputs [t, B, H] and the new state.
    """
    num_parts = len(x)

    @tf.custom_gradient
    def run(*arguments: tf.Tensor) -> tuple:
        x, u, (b, *state) = arguments[:num_parts], arguments[num_parts : 2 * num_parts], arguments[2 * num_parts :]
        outputs, new_state, backward = recurrence([tf.unstack(part) for part in x], u, b, *state)

        def gradient(d_outputs: tf.Tensor, *d_new_state: tf.Tensor) -> tuple:
            d_x, d_u, d_b, d_state = backward(tf.unstack(d_outputs), d_new_state)
            return *d_x, *d_u, d_b, *d_state

        return (tf.stack(outputs), *new_state), gradient

    outputs, *new_state = run(*x, *u, b, *state)
    return outputs, tuple(new_state)


@contextlib.contextmanager
def cached_weights(supported_cells: list) -> Iterator[None]:
    """Reads the weights of the cells and splits them into parts once, for all calls of run_all_steps in the context.

    This is for several calls in one graph, and for a loop in a graph that runs the cells step by step: each call would
    read and split the weights again. Inside the context the cells compute with the weights that they had when it was
    opened. If gradients are wanted, open it inside the tape.
    """
    token = _cached_weights.set({id(cell): _read_and_split_weights(cell) for cell in supported_cells})
    try:
        yield
    finally:
        _cached_weights.reset(token)


_cached_weights: contextvars.ContextVar[dict[int, tuple]] = contextvars.ContextVar("cached_weights", default={})  # noqa: B039


def _read_and_split_weights(cell: Any) -> tuple[Callable, list, list, list, tf.Tensor]:
    """Returns the cell's recurrence; its kernels, recurrent kernels and biases by parts; and the recurrence's b."""
    recurrence, split_columns = _choose_recurrence(cell)
    kernels, recurrent_kernels = split_columns(cell.kernel), split_columns(cell.recurrent_kernel)
    return recurrence, kernels, recurrent_kernels, *_split_biases(cell, split_columns)


def _split_biases(cell: Any, split_columns: Callable) -> tuple[list, tf.Tensor]:
    """Returns what is added to the projected inputs, by parts, and b, what is added to the product with the state."""
    zeros = tf.zeros([cell.units], cell.compute_dtype)
    if cell.bias is None:
        return [tf.zeros([], zeros.dtype) for _ in split_columns(cell.recurrent_kernel)], zeros
    if len(cell.bias.shape) == 1:
        return split_columns(cell.bias), zeros
    (input_zr, state_zr), (input_c, state_c) = (tf.unstack(part) for part in split_columns(cell.bias))
    return [input_zr + state_zr, input_c], state_c  # the reset gate multiplies state_c, so the two cannot be added


def _project_inputs(inputs: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Returns inputs times kernel plus bias, [t, B, n]; for token ids, rows of the kernel plus bias."""
    if not inputs.dtype.is_integer:
        return tf.tensordot(inputs, kernel, 1) + bias
    ids = tf.cast(inputs, tf.int32)
    if kernel.shape[0] < (ids.shape.num_elements() or 1):  # adding the bias to the kernel takes fewer additions
        return _look_up_rows(kernel + bias, ids)
    return _look_up_rows(kernel, ids) + bias


@tf.custom_gradient
def _look_up_rows(table: tf.Tensor, ids: tf.Tensor) -> tuple:
    """Returns tf.gather(table, ids), with a gradient that is faster than TensorFlow's if the table has few rows."""

    def gradient(d_rows: tf.Tensor) -> tuple:
        flat_ids, flat_d_rows = tf.reshape(ids, [-1]), tf.reshape(d_rows, [-1, table.shape[1]])
        if table.shape[0] <= MAX_ROWS_OF_ONE_HOT_GRADIENT:
            one_hot = tf.one_hot(flat_ids, table.shape[0], dtype=d_rows.dtype)
            return tf.matmul(one_hot, flat_d_rows, transpose_a=True), None
        return tf.math.unsorted_segment_sum(flat_d_rows, flat_ids, table.shape[0]), None

    return tf.gather(table, ids), gradient


def _choose_recurrence(cell: Any) -> tuple[Callable, Callable]:
    """Returns the cell's recurrence, and the function that splits the last axis of a weight into its parts."""
    units = cell.units
    if isinstance(cell, (cells.LSTMCell, keras.layers.LSTMCell)):
        return _lstm, _split_lstm_columns
    if isinstance(cell, (cells.GRUCell, keras.layers.GRUCell)):
        return _gru_reset_after if cell.reset_after else _gru, lambda weight: tf.split(weight, [2 * units, units], -1)
    return _rnn, lambda weight: [tf.convert_to_tensor(weight)]


def _split_lstm_columns(weight: Any) -> list[tf.Tensor]:
    """Splits the columns i, f, g, o of a weight into the parts (i, f, o), for the sigmoid, and g, for tanh."""
    i_f, g, o = tf.split(weight, [weight.shape[-1] // 2] + 2 * [weight.shape[-1] // 4], -1)
    return [tf.concat([i_f, o], -1), g]
