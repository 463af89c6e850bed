"""Recurrent cells from scratch, and the time-major layers that run them, or Keras's cells, over all steps.

The input is a sequence [T, B, D] and a state; the output is a sequence [T, B, H] and the state after the last step.
`cells` has the book's equations, `rnn` and `bidirectional` the layers, and `fused` the same arithmetic in fewer and
larger operations, which makes it fast.
"""
