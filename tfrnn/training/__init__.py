"""Training: one step, the loop around it, and a run that can be interrupted and resumed at any moment.

In come a model, an optimizer and `Batches`; out come trained weights, measures of each epoch, and in a run directory
checkpoints from which the same training resumes bit for bit. `step` has the mathematics, `trainer` the loop,
`training_run` what `python -m tfrnn.train` does with a run directory.
"""
