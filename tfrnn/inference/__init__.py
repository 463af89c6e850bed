"""Using a trained model: scoring a text, continuing a prefix, and looking at hidden units and gates.

In come a model, a vocabulary and texts; out come probabilities, continuations (sampled, streamed or by beam search),
and activations of units and gates. Nothing here trains or needs a corpus.
"""
