"""Recurrent cells from scratch, and the time-major layers that run them, or Keras's cells, over all steps.

In come inputs [T, B, D] and a state; out come outputs [T, B, H] and the state after the last step. `cells` has the
book's equations, `rnn` the layer, and `fused` the same arithmetic in fewer and larger operations, which is what makes
it fast.
"""
