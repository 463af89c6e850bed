"""Models and trainers for the laws of replicas, in this process and in those of several workers."""

import functools

import keras
import numpy as np
import tensorflow as tf
from all_cells import CELLS

import tfrnn

T, B, H, V = 2, 12, 5, 9
IDS = np.random.default_rng(0).integers(1, V, 150)
SAMPLINGS = {"sequential": tfrnn.sequential_batches, "random": tfrnn.random_batches}
VALIDATION = tfrnn.sequential_batches(IDS[:100], B, T, random_offset=False)
EPOCHS = 2  # of each sampling, by `trained`
# Of optimizers that divide by the root of mean squares. By Keras's 1e-7, gradients that are zero but for rounding would
# become updates as large as any.
EPSILON = 1e-3
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01, epsilon=EPSILON),
    "adam": lambda: keras.optimizers.Adam(0.01, epsilon=EPSILON),
    "adamw": lambda: keras.optimizers.AdamW(0.01, epsilon=EPSILON),
}


def batches(sampling="sequential"):
    return SAMPLINGS[sampling](IDS, B, T, seed=3)


# What `trained` adds up: see rounding.assert_equal_but_for_rounding.
NUM_TERMS = T * B * EPOCHS * sum(batches(sampling).num_batches(0) for sampling in SAMPLINGS)


@functools.cache
def strategy_of(count):
    """A strategy of `count` replicas on logical devices of the CPU."""
    if count == 1:
        return tf.distribute.OneDeviceStrategy("/CPU:0")
    # Collective operations, the default, know one set of devices in a process.
    return tf.distribute.MirroredStrategy([f"/CPU:{i}" for i in range(count)], tf.distribute.ReductionToOneDevice())


def trainer_of(strategy, cell="rnn_scratch", optimizer="adam", layers=1, dropout=0.0, **kwargs):
    """A new trainer; `cell` is a name in CELLS or a class."""
    keras.utils.set_random_seed(0)
    cell = CELLS.get(cell, cell)
    with strategy.scope():
        model = tfrnn.LanguageModel([cell(H) for _ in range(layers)], V, dropout=dropout)
        return tfrnn.Trainer(model, OPTIMIZERS[optimizer](), 0.5, strategy, **kwargs)


def trained(trainer, samplings=tuple(SAMPLINGS), validation=VALIDATION):
    """Losses, weights and state after two epochs of each sampling."""
    results = []
    for sampling in samplings:
        history = trainer.fit(batches(sampling), EPOCHS, validation).history
        results += [history[name] for name in ("loss", "val_loss", "gradient_norm") if name in history]
    return results + [array for name, array in trainer.snapshot().items() if not name.startswith("best")]
