"""Whole models: a language model, a labeller and a forecaster, each an RNN between an input and an output layer.

Input: token ids or values, and a state. Output: logits or predictions, and the new state: `model(inputs, state) ->
(outputs, state)`. `building` makes the model that a config describes, `loading` the one in a run directory, and
`transfer` copies weights between the cells of tfrnn, Keras and PyTorch.
"""
