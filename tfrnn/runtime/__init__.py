"""The machine: cores, memory, devices, strategies, workers, and files that are whole or absent.

In come the settings of a run and the environment; out come a `tf.distribute` strategy, thread and chain counts, and
writes that a crash cannot leave half done. Nothing here knows of texts or models.
"""
