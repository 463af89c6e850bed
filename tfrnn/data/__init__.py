"""From a text to batches: rules that clean it, a vocabulary, token ids, and time-major batches of them.

The input is the name of a corpus or the path of a file. The results are a `Vocabulary`, the token ids of the training
and the held-out text, and `Batches` of `Batch(inputs [T, B], targets [T, B], reset [B])`. A text may be larger than
memory.
"""
