"""What is done with a trained model: it scores a text, continues a prefix, and shows what its units do.

In come a model, a vocabulary and texts; out come probabilities, continuations (sampled, streamed or by beam search),
and activations of units and gates. Nothing here trains or needs a corpus.
"""
