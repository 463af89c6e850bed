"""From a text to batches: rules that clean it, a vocabulary, token ids, and time-major batches of them.

In comes the name of a corpus or the path of a file; out come a `Vocabulary`, token ids of the training and the held-out
text, and `Batches` of `Batch(inputs [T, B], targets [T, B], reset [B])`. A text may be larger than memory.
"""
