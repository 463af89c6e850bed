"""Recurrent cells from scratch, and the time-major layers that run them, or Keras's cells, over all steps.

Input: a sequence [T, B, D] and a state. Output: a sequence [T, B, H], [T, B, 2H] if the layer is bidirectional, and the
state after the last step. `cells` has the book's equations, `rnn` and `bidirectional` have the layers, and `fused` has
the same arithmetic in fewer, larger operations, and so faster.
"""
