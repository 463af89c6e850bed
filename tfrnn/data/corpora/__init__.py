"""Corpora: a story in the package, texts that are fetched and verified once, and any files of the user's.

In comes a name or a path; out comes a `Source`, which is read piece by piece as often as need be, and what passes over
it find: counts of its tokens, its ids, parts of it. What is learnt of a large text is kept in a cache. A folder here
with a dataset builder is a corpus of TensorFlow Datasets.
"""
