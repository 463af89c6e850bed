"""Using a trained model: scoring a text, continuing a prefix, and looking at hidden units and gates.

Input: a model, a vocabulary and texts. Output: surprisals in nats and bits (`scoring`); continuations, sampled,
streamed or found by beam search (`reading`, `samplers`, `generation`, `beams`), or ended before a text (`records`); the
values of units and gates at each token (`inspection`); and which parts of a generated text are copies of the training
text (`memorisation`). Nothing here trains.
"""
