"""Settings: the name, default, bounds and help of each, written once.

Input: values by name, from flags, Python or config.json. Output: frozen, validated sections of settings (`Config` holds
those of a training run), the presets of the book's sections, and the memory that a config needs. Flags, help pages and
config.json are made from the same fields. Nothing here imports TensorFlow.
"""
