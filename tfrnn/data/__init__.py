"""From a text to batches: rules that clean it, a vocabulary, token ids, and time-major batches of them.

Input: the name of a corpus, or the path of a file or folder (`corpora`), or arrays. Output: a `Vocabulary`, the token
ids of the training and the held-out text (`run_text`), and `Batches` of `Batch(inputs [T, B], targets [T, B], reset
[B])`, which `batches` cuts from ids, from series of numbers or from labelled sequences. `text_rules` cleans a text. A
text may be larger than memory.
"""
