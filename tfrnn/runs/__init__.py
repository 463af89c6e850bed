"""A run on disk: its settings, vocabulary, metrics and checkpoints, and how they are loaded again.

In come arrays by name and rows of metrics; out come files that are whole or absent, however the process ends, and from
them a model with its vocabulary and settings. Nothing here trains, and nothing that a run directory holds is executed.
"""
