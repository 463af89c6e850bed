"""Training: one step, the loop around it, and a run that can be interrupted and resumed at any moment.

A model, an optimizer and `Batches` come in. Trained weights and the measures of each epoch come out and, in a run
directory, checkpoints from which the same training resumes bit for bit. `step` has the mathematics, `trainer` the loop,
and `training_run` what `python -m tfrnn.train` does with a run directory.
"""
