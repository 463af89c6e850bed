"""A run on disk: its settings, vocabulary, metrics and checkpoints, and how they are loaded again.

Takes arrays by name and rows of metrics, and writes files that are complete or absent however the process ends. Loads a
model with its vocabulary and settings from them. Nothing here trains, and no content of a run directory is executed.
"""
