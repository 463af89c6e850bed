"""The cells that we know, ours and Keras's, over many steps at once: few operations a step, their gradients by hand.

What a cell does to its inputs is done to all steps in one product (a row look-up where they are token ids), and the
gradient of the recurrent kernel is one product after the last step, not one a step. That is what makes it faster than
autodiff through a cell's own steps, and it is all that this module is for: results are the same up to rounding.

Letters: T steps, B batch_size, D inputs' size, H units, G gates. Lists are of T tensors.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tfrnn.layers import cells
from tfrnn.layers import time_blocks as blocks_lib

# A recurrence reads x, the projected inputs, and u, the recurrent kernel, each as parts by the non-linearity that their
# columns go through: of x T tensors [B, n] a part, of u one tensor [H, n]; b, which the GRU with its reset gate after
# the product adds to the product with the state; and the state, tensors [B, H]. It gives the outputs, T tensors [B, H],
# the new state, and a function from their gradients to those of x and u by parts, of b and of the state.
Gradients = Callable[[list, tuple], tuple]
FEW_ROWS = 64  # up to so many, the gradient of a kernel's rows is a product with one-hot vectors; above, sums of rows


def _rnn(x: list, u: list, b: tf.Tensor, h: tf.Tensor) -> tuple[list, tuple, Gradients]:
    """H' = tanh(X + H U)."""
    hs = [h]
    for x_t in x[0]:
        hs.append(tf.tanh(x_t + tf.matmul(hs[-1], u[0])))

    def gradients(d_outputs: list, d_state: tuple) -> tuple:
        d_x, u_t, (d_h,) = [], _transposed(u[0]), d_state
        for t in reversed(range(len(x[0]))):
            d_x.append(_tanh_gradient(hs[t + 1], d_outputs[t] + d_h))
            d_h = tf.matmul(d_x[-1], u_t)
        d_x = tf.stack(d_x[::-1])
        return [d_x], [_of_kernel(hs[:-1], d_x)], tf.zeros_like(b), (d_h,)

    return hs[1:], (hs[-1],), gradients


def _gru(x: list, u: list, b: tf.Tensor, h: tf.Tensor) -> tuple[list, tuple, Gradients]:
    """Z, R = sigmoid(X + H U), C = tanh(X + (R * H) U), H' = Z * H + (1 - Z) * C."""
    (u_zr, u_c), hs, zrs, cs, h_minus_cs, rhs = u, [h], [], [], [], []
    for x_zr, x_c in zip(*x, strict=True):
        h = hs[-1]
        zrs.append(tf.split(tf.sigmoid(x_zr + tf.matmul(h, u_zr)), 2, 1))
        z, r = zrs[-1]
        rhs.append(r * h)
        cs.append(tf.tanh(x_c + tf.matmul(rhs[-1], u_c)))
        h_minus_cs.append(h - cs[-1])
        hs.append(cs[-1] + z * h_minus_cs[-1])

    def gradients(d_outputs: list, d_state: tuple) -> tuple:
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
        return d_x, [_of_kernel(hs[:-1], d_x[0]), _of_kernel(rhs, d_x[1])], tf.zeros_like(b), (d_h,)

    return hs[1:], (hs[-1],), gradients


def _gru_reset_after(x: list, u: list, b: tf.Tensor, h: tf.Tensor) -> tuple[list, tuple, Gradients]:
    """As _gru, but C = tanh(X + R * (H U + b))."""
    (u_zr, u_c), hs, zrs, cs, h_minus_cs, h_cs = u, [h], [], [], [], []
    for x_zr, x_c in zip(*x, strict=True):
        h = hs[-1]
        h_cs.append(tf.matmul(h, u_c) + b)
        zrs.append(tf.split(tf.sigmoid(x_zr + tf.matmul(h, u_zr)), 2, 1))
        z, r = zrs[-1]
        cs.append(tf.tanh(x_c + r * h_cs[-1]))
        h_minus_cs.append(h - cs[-1])
        hs.append(cs[-1] + z * h_minus_cs[-1])

    def gradients(d_outputs: list, d_state: tuple) -> tuple:
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
        d_u = [_of_kernel(hs[:-1], d_x[0]), _of_kernel(hs[:-1], d_h_c)]
        return d_x, d_u, tf.reduce_sum(d_h_c, [0, 1]), (d_h,)

    return hs[1:], (hs[-1],), gradients


def _lstm(x: list, u: list, b: tf.Tensor, h: tf.Tensor, c: tf.Tensor) -> tuple[list, tuple, Gradients]:
    """I, F, O = sigmoid(X + H U), G = tanh(X + H U), C' = F * C + I * G, H' = O * tanh(C')."""
    (u_ifo, u_g), hs, cs, ifos, gs, tanh_cs = u, [h], [c], [], [], []
    for x_ifo, x_g in zip(*x, strict=True):
        h, c = hs[-1], cs[-1]
        ifos.append(tf.split(tf.sigmoid(x_ifo + tf.matmul(h, u_ifo)), 3, 1))
        gs.append(tf.tanh(x_g + tf.matmul(h, u_g)))
        i, f, o = ifos[-1]
        cs.append(f * c + i * gs[-1])
        tanh_cs.append(tf.tanh(cs[-1]))
        hs.append(o * tanh_cs[-1])

    def gradients(d_outputs: list, d_state: tuple) -> tuple:
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
        return d_x, [_of_kernel(hs[:-1], d_part) for d_part in d_x], tf.zeros_like(b), (d_h, d_c)

    return hs[1:], (hs[-1], cs[-1]), gradients


def _tanh_gradient(y: tf.Tensor, d_y: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.TanhGrad(y=y, dy=d_y)


def _sigmoid_gradient(y: tf.Tensor, d_y: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.SigmoidGrad(y=y, dy=d_y)


def _transposed(u: tf.Tensor) -> tf.Tensor:
    """A kernel's transpose, laid out anew: a product of a few rows with it is twice as fast as one that reads columns.

    In three dimensions, since TensorFlow would fold a plain transposition back into the product.
    """
    return tf.reshape(tf.transpose(tf.expand_dims(u, 0), [2, 0, 1]), u.shape[::-1])


def _of_kernel(left: list, d_product: tf.Tensor) -> tf.Tensor:
    """The gradient of a kernel by which each of the tensors on its left was multiplied, all steps in one product."""
    return tf.matmul(tf.concat(left, 0), tf.reshape(d_product, [-1, d_product.shape[-1]]), transpose_a=True)


def knows(cell: Any, training: bool) -> bool:
    """Whether `run` computes what the cell does: its class is ours or Keras's, and its options are the usual ones."""
    kinds = (cells.RNNCell, cells.GRUCell, cells.LSTMCell)
    keras_kinds = (keras.layers.SimpleRNNCell, keras.layers.GRUCell, keras.layers.LSTMCell)
    return (
        type(cell) in kinds + keras_kinds  # not a subclass, which may do something else
        and cell.built
        and cell.compute_dtype == cell.variable_dtype
        and cell.activation is keras.activations.tanh
        and getattr(cell, "recurrent_activation", keras.activations.sigmoid) is keras.activations.sigmoid
        and not (training and any(getattr(cell, name, None) for name in ("dropout", "recurrent_dropout")))
    )


def run(cell: Any, inputs: tf.Tensor, state: tuple) -> tuple[tf.Tensor, tuple]:
    """A cell that `knows` accepts over all steps.

    Args:
      cell: built.
      inputs: [T, B, D]; or token ids, integers [T, B], in place of one-hot vectors.
      state: of the cell, [B, H] tensors.
    Returns:
      the outputs [T, B, H] and the state after the last step.
    """
    recurrence, *weights = _weights_once.get().get(id(cell)) or _weights(cell)

    def block(inputs: tf.Tensor, state: tuple, weights: list = weights) -> tuple[tf.Tensor, tuple]:
        kernels, us, biases, state_bias = weights
        x = [_projected(inputs, kernel, bias) for kernel, bias in zip(kernels, biases, strict=True)]  # [t, B, n] each
        return _steps(recurrence, x, us, state_bias, state)

    def blocks(inputs: tf.Tensor, count: Any, size: int, state: tuple) -> tuple[tf.Tensor, tuple]:
        if size == 1:  # of unknown number; little would be kept between them
            return blocks_lib.loop_over_blocks(block, inputs, state, count, size, cell.units)
        return blocks_lib.run_again_going_back(block, inputs, weights, state, count, size)

    return blocks_lib.over_blocks(block, blocks, inputs, state)


def _steps(recurrence: Callable, x: list, u: list, b: tf.Tensor, state: tuple) -> tuple[tf.Tensor, tuple]:
    """The recurrence over x, whose parts are [t, B, n]: outputs [t, B, H] and the new state."""
    num = len(x)

    @tf.custom_gradient
    def steps(*arguments: tf.Tensor) -> tuple:
        x, u, (b, *state) = arguments[:num], arguments[num : 2 * num], arguments[2 * num :]
        outputs, new_state, gradients = recurrence([tf.unstack(part) for part in x], u, b, *state)

        def gradient(d_outputs: tf.Tensor, *d_state: tf.Tensor) -> tuple:
            d_x, d_u, d_b, d_before = gradients(tf.unstack(d_outputs), d_state)
            return *d_x, *d_u, d_b, *d_before

        return (tf.stack(outputs), *new_state), gradient

    outputs, *new_state = steps(*x, *u, b, *state)
    return outputs, tuple(new_state)


@contextlib.contextmanager
def weights_read_once(known_cells: list) -> Iterator[None]:
    """While it lasts, `run` takes these cells' weights as they are read and cut into parts here: for several calls in
    one graph, or a loop in it that runs the cells step by step, which would each cut them up again. To be opened inside
    the tape where gradients are wanted."""
    token = _weights_once.set({id(cell): _weights(cell) for cell in known_cells})
    try:
        yield
    finally:
        _weights_once.reset(token)


_weights_once: contextvars.ContextVar[dict[int, tuple]] = contextvars.ContextVar("weights_once", default={})  # noqa: B039


def _weights(cell: Any) -> tuple[Callable, list, list, list, tf.Tensor]:
    """The cell's recurrence, and by its parts: kernels, recurrent kernels, biases; and the state's bias."""
    recurrence, parts = _recurrence_of(cell)
    return recurrence, parts(cell.kernel), parts(cell.recurrent_kernel), *_biases(cell, parts)


def _biases(cell: Any, parts: Callable) -> tuple[list, tf.Tensor]:
    """What is added to the projected inputs, by parts, and what the recurrence adds to the product with the state."""
    none = tf.zeros([cell.units], cell.compute_dtype)
    if cell.bias is None:
        return [tf.zeros([], none.dtype) for _ in parts(cell.recurrent_kernel)], none
    if len(cell.bias.shape) == 1:
        return parts(cell.bias), none
    (zr, zr_of_state), (c, c_of_state) = (tf.unstack(part) for part in parts(cell.bias))
    return [zr + zr_of_state, c], c_of_state  # where the reset gate multiplies, the two biases are two


def _projected(inputs: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Inputs times kernel plus bias; of token ids, rows of the kernel."""
    if not inputs.dtype.is_integer:
        return tf.tensordot(inputs, kernel, 1) + bias
    ids = tf.cast(inputs, tf.int32)
    if kernel.shape[0] < (ids.shape.num_elements() or 1):  # fewer rows to add the bias to than are read
        return _rows(kernel + bias, ids)
    return _rows(kernel, ids) + bias


@tf.custom_gradient
def _rows(table: tf.Tensor, ids: tf.Tensor) -> tuple:
    """tf.gather, whose own gradient is slower where there are few rows."""

    def gradient(d_rows: tf.Tensor) -> tuple:
        flat, d_flat = tf.reshape(ids, [-1]), tf.reshape(d_rows, [-1, table.shape[1]])
        if table.shape[0] <= FEW_ROWS:
            return tf.matmul(tf.one_hot(flat, table.shape[0], dtype=d_rows.dtype), d_flat, transpose_a=True), None
        return tf.math.unsorted_segment_sum(d_flat, flat, table.shape[0]), None

    return tf.gather(table, ids), gradient


def _recurrence_of(cell: Any) -> tuple[Callable, Callable]:
    """Its recurrence, and what cuts the cell's columns, the last axis of a weight, into the recurrence's parts."""
    units = cell.units
    if isinstance(cell, (cells.LSTMCell, keras.layers.LSTMCell)):
        return _lstm, _ifo_and_g
    if isinstance(cell, (cells.GRUCell, keras.layers.GRUCell)):
        return _gru_reset_after if cell.reset_after else _gru, lambda weight: tf.split(weight, [2 * units, units], -1)
    return _rnn, lambda weight: [tf.convert_to_tensor(weight)]


def _ifo_and_g(weight: Any) -> list[tf.Tensor]:
    """Of columns i, f, g, o."""
    i_f, g, o = tf.split(weight, [weight.shape[-1] // 2] + 2 * [weight.shape[-1] // 4], -1)
    return [tf.concat([i_f, o], -1), g]
