"""Settings: each with its name, default, bounds and help, written once.

In come values by name, from flags, from Python or from config.json; out come frozen sections that are known to be valid
(`Config` has those of a training run), the presets of the book's sections, and how much memory a config takes. Flags,
help and config.json are made from the same fields. Nothing here imports TensorFlow.
"""
