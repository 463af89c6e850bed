"""The machine: cores, memory, devices, distribution strategies, workers, and crash-safe files.

Input: the settings of a run and the environment. Output: a `tf.distribute` strategy (`devices`), the workers that
TF_CONFIG names (`cluster`), the number of threads and of chains, the parts of a batch that a step computes in parallel
(`threads`), and files that are replaced as a whole (`durable`). Nothing here knows about texts or models.
"""
