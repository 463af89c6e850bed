"""The machine: cores, memory, devices, distribution strategies, workers, and crash-safe files.

Input: the settings of a run and the environment. Output: a `tf.distribute` strategy, numbers of threads and chains, and
files that are either complete or absent, even after a crash. Nothing here knows about texts or models.
"""
