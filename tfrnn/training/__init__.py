"""Training: one step, the loop around it, and a run that can be stopped, even killed, and resumed.

Input: a model, an optimizer and `Batches`. Output: trained weights, the measures of each epoch and, in a run directory,
checkpoints from which the same training resumes: bit for bit on the same machine, if its operations are deterministic.
`step` has the mathematics of one step, `loops` makes many steps in one call, `training_state` holds all that changes,
and `trainer` joins them over epochs; `replicas` and `workers` do the same on several devices and in several processes.
`training_run` is what `python -m tfrnn.train` does with a run directory; there, Ctrl-C is noticed by `stopping`, and
`saving` writes what is kept.
"""
