"""Settings: the name, default, bounds and help of each, written once.

Input: values by name, from flags, Python or config.json. Output: frozen, validated sections of settings. `sections` has
the settings of a training run with their defaults, `config` joins them into a `Config`, `presets` has the settings by
which the book's models differ from the defaults, `sizes` the memory that a config needs, and `settings` the means by
which a setting is declared and validated. Nothing here imports TensorFlow.
"""
