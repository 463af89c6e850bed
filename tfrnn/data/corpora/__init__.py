"""Corpora: a story in the package, texts that are downloaded and verified, and the user's own files.

Input: a name or a path. Output: a `Source`, which can be read in pieces any number of times, and what is computed from
it: the counts of its tokens, their ids, parts of the text (`passes`). `catalogue` lists the named corpora and `fetch`
gets their files; a folder here is a corpus of TensorFlow Datasets, with the address, size and SHA-256 of its file in
checksums.tsv. The results for a large text are cached (`cache`).
"""
