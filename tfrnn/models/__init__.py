"""Whole models: a language model, a labeller and a forecaster, each an RNN between an input and a dense layer.

In come token ids or values and a state; out come logits or predictions and the new state: `model(inputs, state) ->
(outputs, state)`. `transfer` moves weights between cells of ours, Keras's and PyTorch's.
"""
