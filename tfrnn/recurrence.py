"""The cells that we know, ours and Keras's, over many steps at once: few operations a step, their gradients by hand.

What a cell does to its inputs is done to all steps in one product (a row look-up where they are token ids), and the
gradient of the recurrent kernel is one product after the last step, not one a step. That is what makes it faster than
autodiff through a cell's own steps, and it is all that this module is for: results are the same up to rounding.

Letters: T steps, B batch_size, D inputs' size, H units, G gates. Lists are of T tensors.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfrnn import cells

# A recurrence reads x, T tensors [B, G * H], the projected inputs; u [H, G * H], the recurrent kernel; b [G * H], which
# is added to the product with the state where the GRU's reset gate comes after it; and the state, tensors [B, H]. It
# gives the outputs, T tensors [B, H], the new state, and a function from their gradients to those of x, u, b and state.
Gradients = Callable[[list, tuple], tuple]
LONGEST_UNROLLED = 64  # steps; a longer sequence is a loop in the graph, over blocks of
BLOCK = 32  # steps


def _rnn(x: list, u: tf.Tensor, b: tf.Tensor, h: tf.Tensor) -> tuple[list, tuple, Gradients]:
    """H' = tanh(X + H U)."""
    hs = [h]
    for x_t in x:
        hs.append(tf.tanh(x_t + tf.matmul(hs[-1], u)))

    def gradients(d_outputs: list, d_state: tuple) -> tuple:
        d_x, (d_h,) = [], d_state
        for t in reversed(range(len(x))):
            d_x.append(_tanh_gradient(hs[t + 1], d_outputs[t] + d_h))
            d_h = tf.matmul(d_x[-1], u, transpose_b=True)
        d_x = d_x[::-1]
        return d_x, _of_kernel(hs[:-1], d_x), tf.zeros_like(b), (d_h,)

    return hs[1:], (hs[-1],), gradients


def _gru(x: list, u: tf.Tensor, b: tf.Tensor, h: tf.Tensor) -> tuple[list, tuple, Gradients]:
    """Z, R = sigmoid(X + H U), C = tanh(X + (R * H) U), H' = Z * H + (1 - Z) * C; columns z, r, c."""
    units = h.shape[1]
    u_zr, u_c = tf.split(u, [2 * units, units], 1)
    hs, zrs, cs, rhs = [h], [], [], []
    for x_t in x:
        h = hs[-1]
        x_zr, x_c = tf.split(x_t, [2 * units, units], 1)
        zrs.append(tf.sigmoid(x_zr + tf.matmul(h, u_zr)))
        z, r = tf.split(zrs[-1], 2, 1)
        rhs.append(r * h)
        cs.append(tf.tanh(x_c + tf.matmul(rhs[-1], u_c)))
        hs.append(cs[-1] + z * (h - cs[-1]))

    def gradients(d_outputs: list, d_state: tuple) -> tuple:
        d_zrs, d_cs, (d_h,) = [], [], d_state
        for t in reversed(range(len(x))):
            h, c, (z, r) = hs[t], cs[t], tf.split(zrs[t], 2, 1)
            d_h = d_outputs[t] + d_h
            kept = z * d_h
            d_cs.append(_tanh_gradient(c, d_h - kept))
            d_rh = tf.matmul(d_cs[-1], u_c, transpose_b=True)
            d_zrs.append(_sigmoid_gradient(zrs[t], tf.concat([d_h * (h - c), d_rh * h], 1)))
            d_h = kept + d_rh * r + tf.matmul(d_zrs[-1], u_zr, transpose_b=True)
        d_zrs, d_cs = d_zrs[::-1], d_cs[::-1]
        d_u = tf.concat([_of_kernel(hs[:-1], d_zrs), _of_kernel(rhs, d_cs)], 1)
        d_x = [tf.concat(both, 1) for both in zip(d_zrs, d_cs, strict=True)]
        return d_x, d_u, tf.zeros_like(b), (d_h,)

    return hs[1:], (hs[-1],), gradients


def _gru_reset_after(x: list, u: tf.Tensor, b: tf.Tensor, h: tf.Tensor) -> tuple[list, tuple, Gradients]:
    """As _gru, but C = tanh(X + R * (H U + b))."""
    units = h.shape[1]
    hs, zrs, cs, h_cs = [h], [], [], []
    for x_t in x:
        h = hs[-1]
        x_zr, x_c = tf.split(x_t, [2 * units, units], 1)
        h_zr, h_c = tf.split(tf.matmul(h, u) + b, [2 * units, units], 1)
        h_cs.append(h_c)
        zrs.append(tf.sigmoid(x_zr + h_zr))
        z, r = tf.split(zrs[-1], 2, 1)
        cs.append(tf.tanh(x_c + r * h_c))
        hs.append(cs[-1] + z * (h - cs[-1]))

    def gradients(d_outputs: list, d_state: tuple) -> tuple:
        d_x, d_hu, (d_h,) = [], [], d_state
        for t in reversed(range(len(x))):
            h, c, (z, r) = hs[t], cs[t], tf.split(zrs[t], 2, 1)
            d_h = d_outputs[t] + d_h
            kept = z * d_h
            d_c = _tanh_gradient(c, d_h - kept)
            d_zr = _sigmoid_gradient(zrs[t], tf.concat([d_h * (h - c), d_c * h_cs[t]], 1))
            d_x.append(tf.concat([d_zr, d_c], 1))
            d_hu.append(tf.concat([d_zr, d_c * r], 1))
            d_h = kept + tf.matmul(d_hu[-1], u, transpose_b=True)
        d_hu = d_hu[::-1]
        return d_x[::-1], _of_kernel(hs[:-1], d_hu), tf.reduce_sum(tf.concat(d_hu, 0), 0), (d_h,)

    return hs[1:], (hs[-1],), gradients


def _lstm(x: list, u: tf.Tensor, b: tf.Tensor, h: tf.Tensor, c: tf.Tensor) -> tuple[list, tuple, Gradients]:
    """I, F, O = sigmoid(X + H U), G = tanh(X + H U), C' = F * C + I * G, H' = O * tanh(C'); columns i, f, o, g."""
    units = h.shape[1]
    hs, cs, ifos, gs, tanh_cs = [h], [c], [], [], []
    for x_t in x:
        gates = x_t + tf.matmul(hs[-1], u)
        ifo, g = tf.split(gates, [3 * units, units], 1)
        ifos.append(tf.sigmoid(ifo))
        gs.append(tf.tanh(g))
        i, f, o = tf.split(ifos[-1], 3, 1)
        cs.append(f * cs[-1] + i * gs[-1])
        tanh_cs.append(tf.tanh(cs[-1]))
        hs.append(o * tanh_cs[-1])

    def gradients(d_outputs: list, d_state: tuple) -> tuple:
        d_x, (d_h, d_c) = [], d_state
        for t in reversed(range(len(x))):
            i, f, o = tf.split(ifos[t], 3, 1)
            d_h = d_outputs[t] + d_h
            d_c = d_c + _tanh_gradient(tanh_cs[t], d_h * o)
            d_ifo = _sigmoid_gradient(ifos[t], tf.concat([d_c * gs[t], d_c * cs[t], d_h * tanh_cs[t]], 1))
            d_x.append(tf.concat([d_ifo, _tanh_gradient(gs[t], d_c * i)], 1))
            d_h, d_c = tf.matmul(d_x[-1], u, transpose_b=True), d_c * f
        d_x = d_x[::-1]
        return d_x, _of_kernel(hs[:-1], d_x), tf.zeros_like(b), (d_h, d_c)

    return hs[1:], (hs[-1], cs[-1]), gradients


def _tanh_gradient(y: tf.Tensor, d_y: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.TanhGrad(y=y, dy=d_y)


def _sigmoid_gradient(y: tf.Tensor, d_y: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.SigmoidGrad(y=y, dy=d_y)


def _of_kernel(left: list, d_products: list) -> tf.Tensor:
    """The gradient of a kernel by which each of the tensors on its left was multiplied, all steps in one product."""
    return tf.matmul(tf.concat(left, 0), tf.concat(d_products, 0), transpose_a=True)


def _i_f_o_g(columns: tf.Tensor) -> tf.Tensor:
    """Columns i, f, g, o in the order i, f, o, g, so that one sigmoid serves three gates."""
    i_f, g, o = tf.split(columns, [columns.shape[-1] // 2] + 2 * [columns.shape[-1] // 4], -1)
    return tf.concat([i_f, o, g], -1)


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
    recurrence, order = _recurrence_of(cell)
    kernel, u = (order(tf.convert_to_tensor(weight)) for weight in (cell.kernel, cell.recurrent_kernel))
    bias = tf.zeros([kernel.shape[1]], kernel.dtype) if cell.bias is None else tf.convert_to_tensor(cell.bias)
    bias, state_bias = tf.unstack(bias) if len(bias.shape) == 2 else (order(bias), tf.zeros([], kernel.dtype))
    x = _projected(inputs, kernel, bias)  # [T, B, G * H]

    @tf.custom_gradient
    def steps(x: tf.Tensor, u: tf.Tensor, b: tf.Tensor, *state: tf.Tensor) -> tuple:
        outputs, new_state, gradients = recurrence(tf.unstack(x), u, b, *state)

        def gradient(d_outputs: tf.Tensor, *d_state: tf.Tensor) -> tuple:
            d_x, d_u, d_b, d_before = gradients(tf.unstack(d_outputs), d_state)
            return tf.stack(d_x), d_u, d_b, *d_before

        return (tf.stack(outputs), *new_state), gradient

    def block(x: tf.Tensor, state: tuple) -> tuple[tf.Tensor, tuple]:
        outputs, *new_state = steps(x, u, state_bias, *state)
        return outputs, tuple(new_state)

    return over_blocks(block, x, state, cell.units)


def _projected(inputs: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Inputs times kernel plus bias; of token ids, rows of the kernel."""
    if not inputs.dtype.is_integer:
        return tf.tensordot(inputs, kernel, 1) + bias
    ids = tf.cast(inputs, tf.int32)
    if kernel.shape[0] < (ids.shape.num_elements() or 1):  # fewer rows to add the bias to than are read
        return tf.gather(kernel + bias, ids)
    return tf.gather(kernel, ids) + bias


def over_blocks(block: Callable, x: tf.Tensor, state: tuple, output_size: int) -> tuple[tf.Tensor, tuple]:
    """Applies `block`, (x [t, ...], state) -> (outputs [t, B, output_size], state), to parts of x [T, ...].

    A few steps are one part. Of many, the parts are a loop in the graph, so that neither its size nor the time to trace
    it grows with T; where T is unknown, each part is one step.
    """
    num_steps = x.shape[0]
    if num_steps is not None and 1 <= num_steps <= LONGEST_UNROLLED:
        return block(x, state)
    if num_steps is None:
        return _loop(block, x, tf.shape(x)[0], 1, state, output_size)
    whole = num_steps // BLOCK * BLOCK
    outputs, state = _loop(block, x[:whole], num_steps // BLOCK, BLOCK, state, output_size)
    if whole == num_steps:
        return outputs, state
    last, state = block(x[whole:], state)
    return tf.concat([outputs, last], 0), state


def _loop(
    block: Callable, x: tf.Tensor, count: Any, size: int, state: tuple, output_size: int
) -> tuple[tf.Tensor, tuple]:
    """The block over `count` parts of `size` steps each."""
    dtype = state[0].dtype
    outputs = tf.TensorArray(dtype, count, element_shape=[size, x.shape[1], output_size])

    def body(i: tf.Tensor, state: tuple, outputs: tf.TensorArray) -> tuple:
        part = tf.ensure_shape(x[i * size : (i + 1) * size], [size, *x.shape[1:]])
        output, new_state = block(part, state)
        for new, old in zip(new_state, state, strict=True):
            new.set_shape(old.shape)
        return i + 1, new_state, outputs.write(i, output)

    _, state, outputs = tf.while_loop(lambda i, *_: i < count, body, (0, state, outputs))
    return tf.reshape(outputs.stack(), [count * size, tf.shape(x)[1], output_size]), state


def _recurrence_of(cell: Any) -> tuple[Callable, Callable]:
    """Its recurrence, and what brings the cell's columns into the recurrence's order."""
    if isinstance(cell, (cells.LSTMCell, keras.layers.LSTMCell)):
        return _lstm, _i_f_o_g
    if isinstance(cell, (cells.GRUCell, keras.layers.GRUCell)):
        return _gru_reset_after if cell.reset_after else _gru, tf.identity
    return _rnn, tf.identity
