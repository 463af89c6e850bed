"""Corpora: a story in the package, texts that are downloaded and verified once, and the user's own files.

The input is a name or a path. The result is a `Source`, which is read in pieces as often as necessary, and what passes
over it find: the counts of its tokens, their ids, parts of the text. The results for a large text are cached. A folder
here that contains a dataset builder is a corpus of TensorFlow Datasets.
"""
