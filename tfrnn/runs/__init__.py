"""A run on disk: its settings, vocabulary, metrics and checkpoints.

Input: arrays by name, and rows of metrics. Output: the files of a run directory (`run_dir`), of which each is the old
or the new one however the process ends (`checkpoints`); only metrics.jsonl grows row by row, and a torn last row is cut
off (`metrics`). Nothing here trains, and nothing in a run directory is executed.
"""
