"""What single changes of a recipe bring, in bits a character of held-out text, and what they cost.

    python -m benchmarks.techniques [--corpus=TEXT] [--share=1] [--passes=2] [--seed=0] [--only=NAME ...]
        [--set=units=768 ...]

The first row is one layer of GRU on characters, trained by Adam with own_text's warm-up and a cosine to 0; each
other row changes what its name says. The last tenth of the text is held out; `--share` trains on the first part of the
rest; `--set` gives all rows another value of one of Recipe's attributes. Seconds are those of all cores together, which
other programs on the machine hardly lengthen. The cells that are defined here are not fused, so that their seconds are
more than they would have to be.
"""

import argparse
import dataclasses
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfrnn
from benchmarks.machine import describe
from tfrnn.config import own_text
from tfrnn.layers.stack import StackWeights
from tfrnn.models.building import EMBEDDING_INITIALIZERS
from tfrnn.training import optimizers


class ZoneoutGRUCell(keras.layers.GRUCell):
    """A GRU whose state keeps some of its elements in each step (Krueger et al., 2017)."""

    rate = 0.1

    def call(self, inputs: Any, states: Any, training: bool = False) -> tuple:
        outputs, _ = super().call(inputs, states, training=training)
        kept = self.rate
        if training:
            kept = tf.cast(tf.random.uniform(tf.shape(outputs)) < self.rate, outputs.dtype)
        outputs = kept * states[0] + (1 - kept) * outputs
        return outputs, [outputs]


class NormalizedGRUCell(keras.layers.Layer):
    """A GRU (reset after the product) with layer normalization of both products (Ba et al., 2016)."""

    def __init__(self, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = self.state_size = units
        self.of_inputs = keras.layers.Dense(3 * units, use_bias=False)
        self.of_state = keras.layers.Dense(3 * units, use_bias=False, kernel_initializer="orthogonal")
        self.norms = [keras.layers.LayerNormalization(), keras.layers.LayerNormalization()]

    def build(self, input_shape: Any) -> None:
        self.of_inputs.build((None, input_shape[-1]))
        self.of_state.build((None, self.units))
        for norm in self.norms:
            norm.build((None, 3 * self.units))

    def call(self, inputs: Any, states: Any) -> tuple:
        z, r, g = tf.split(self.norms[0](self.of_inputs(inputs)), 3, -1)
        of_z, of_r, of_g = tf.split(self.norms[1](self.of_state(states[0])), 3, -1)
        z = tf.sigmoid(z + of_z)
        outputs = z * states[0] + (1 - z) * tf.tanh(g + tf.sigmoid(r + of_r) * of_g)
        return outputs, [outputs]


class MinGRUCell(keras.layers.Layer):
    """The minimal GRU, whose gate and candidate do not read the state (Feng et al., 2024, algorithm 2)."""

    def __init__(self, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = self.state_size = units
        self.dense = keras.layers.Dense(2 * units)

    def build(self, input_shape: Any) -> None:
        self.dense.build((None, input_shape[-1]))

    def call(self, inputs: Any, states: Any) -> tuple:
        z, candidate = tf.split(self.dense(inputs), 2, -1)
        z = tf.sigmoid(z)
        outputs = (1 - z) * states[0] + z * candidate
        return outputs, [outputs]


@keras.saving.register_keras_serializable("benchmarks")
class ChronoBias(keras.initializers.Initializer):
    """Biases of a GRU's update gate for memories of 1 to `steps` steps (Tallec and Ollivier, 2018)."""

    def __init__(self, steps: int = 64):
        self.steps = steps

    def __call__(self, shape: Any, dtype: Any = None, **kwargs: Any) -> Any:
        units = shape[-1] // 3
        update = tf.math.log(tf.random.uniform([units], 1.0, self.steps - 1.0))
        rows = [tf.concat([update, tf.zeros([2 * units])], 0), *[tf.zeros([3 * units])] * (shape[0] - 1)]
        return tf.cast(tf.stack(rows), dtype or "float32")

    def get_config(self) -> dict[str, Any]:
        return {"steps": self.steps}


CELLS = {
    "GRU": keras.layers.GRUCell,
    "LSTM": keras.layers.LSTMCell,
    "zoneout": ZoneoutGRUCell,
    "normalized": NormalizedGRUCell,
    "minimal": MinGRUCell,
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a model is made and trained.

    Attributes:
      cell: a key of CELLS.
      units, num_layers: of the cells.
      of_cells: further arguments of the cells.
      embedding_dim, embedding_initializer, tie_weights, dropout: of the model.
      rows, num_steps: B and T of a batch.
      optimizer, rate, of_optimizer: the name of Keras's optimizer, its largest learning rate, its other arguments.
      kernels_alone: whether the weight decay leaves out embeddings and biases.
      weight_drop: of the recurrent kernels, one draw for all steps of a batch (Merity et al., 2018).
      embedding_dropout: of whole tokens, one draw for all steps (Gal and Ghahramani, 2016).
      activation, change: what is added to the loss, times the mean square of the last layer's outputs, and of their
        differences from step to step (AR and TAR; Merity et al., 2018).
      merges: byte-pair tokens beside the characters.
    """

    cell: str = "GRU"
    units: int = 384
    num_layers: int = 1
    of_cells: tuple[tuple[str, Any], ...] = ()
    embedding_dim: int = 0
    embedding_initializer: Any = "uniform"
    tie_weights: bool = False
    dropout: float = 0.0
    rows: int = 32
    num_steps: int = 64
    optimizer: str = "Adam"
    rate: float = 0.01
    of_optimizer: tuple[tuple[str, Any], ...] = ()
    kernels_alone: bool = False
    weight_drop: float = 0.0
    embedding_dropout: float = 0.0
    activation: float = 0.0
    change: float = 0.0
    merges: int = 0


def _decay(passes: float) -> dict[str, Any]:
    return {"optimizer": "AdamW", "of_optimizer": (("passes_to_decay", passes),)}


_EMBEDDED = {
    "embedding_dim": own_text.EMBEDDING_DIM,
    "embedding_initializer": EMBEDDING_INITIALIZERS["normal"],
}
_REGULARIZED = {"dropout": 0.4, "kernels_alone": True, **_decay(2)}
CHANGES: dict[str, dict[str, Any]] = {
    "GRU 384, Adam 0.01, 32 rows of 64 steps": {},
    "learning rate 0.003": {"rate": 0.003},
    "learning rate 0.006": {"rate": 0.006},
    "learning rate 0.02": {"rate": 0.02},
    "16 rows, 0.007": {"rows": 16, "rate": 0.007},
    "64 rows of 32 steps, 0.014": {"rows": 64, "num_steps": 32, "rate": 0.014},
    "16 rows of 128 steps": {"rows": 16, "num_steps": 128},
    "second moments over 100 steps": {"of_optimizer": (("beta_2", 0.99),)},
    "Muon 0.02": {"optimizer": "Muon", "rate": 0.02},
    "averaged weights": {"of_optimizer": (("use_ema", True), ("ema_momentum", 0.99))},
    "weight decay in 4 passes": _decay(4),
    "weight decay in 2 passes": _decay(2),
    "weight decay in 1 pass": _decay(1),
    "dropout 0.2": {"dropout": 0.2},
    "dropout 0.5": {"dropout": 0.5},
    "variational dropout 0.2": {"of_cells": (("dropout", 0.2), ("recurrent_dropout", 0.2))},
    "weight drop 0.2": {"weight_drop": 0.2},
    "weight drop 0.5": {"weight_drop": 0.5},
    "zoneout 0.1": {"cell": "zoneout"},
    "activations 2, changes 1 (AR, TAR)": {"activation": 2.0, "change": 1.0},
    "layer normalization": {"cell": "normalized"},
    "chrono biases": {"of_cells": (("bias_initializer", ChronoBias()),)},
    "recurrent kernel uniform, not orthogonal": {"of_cells": (("recurrent_initializer", "glorot_uniform"),)},
    "embedding of 128, uniform": {"embedding_dim": own_text.EMBEDDING_DIM},
    "embedding of 128, normal": _EMBEDDED,
    "embedding of 128, normal, dropout 0.1 of it": {**_EMBEDDED, "embedding_dropout": 0.1},
    "tied weights": {"embedding_dim": 384, "tie_weights": True},
    "GRU 512": {"units": 512},
    "GRU 2 x 256": {"units": 256, "num_layers": 2},
    "LSTM 320": {"cell": "LSTM", "units": 320},
    "minGRU 3 x 384": {"cell": "minimal", "num_layers": 3},
    "500 byte pairs, embedding normal": {"merges": 500, **_EMBEDDED},
    "1,000 byte pairs, embedding normal": {"merges": 1000, **_EMBEDDED},
    "dropout 0.4, decay in 2 passes": {"dropout": 0.4, **_decay(2)},
    "the same, embedding normal": {"dropout": 0.4, **_EMBEDDED, **_decay(2)},
    "the same, only kernels decay": {**_EMBEDDED, **_REGULARIZED},
    "the same, decay in half a pass": {**_EMBEDDED, **_REGULARIZED, **_decay(0.5)},
    "the same, decay in 1 pass": {**_EMBEDDED, **_REGULARIZED, **_decay(1)},
    "the same, decay in 4 passes": {**_EMBEDDED, **_REGULARIZED, **_decay(4)},
    "the same, decay in 8 passes": {**_EMBEDDED, **_REGULARIZED, **_decay(8)},
    "the same, embedding dropout 0.1": {**_EMBEDDED, **_REGULARIZED, "embedding_dropout": 0.1},
    "the same, layer normalization": {**_EMBEDDED, **_REGULARIZED, "cell": "normalized"},
    "the same, weight drop 0.2": {**_EMBEDDED, **_REGULARIZED, "weight_drop": 0.2},
    "the same, 500 byte pairs": {**_EMBEDDED, **_REGULARIZED, "merges": 500},
}
OF_MODEL = ("embedding_dim", "embedding_initializer", "tie_weights", "dropout")


class RegularizedModel(tfrnn.LanguageModel):
    """A language model with those means of AWD-LSTM that tfrnn.LanguageModel lacks; see Recipe."""

    recipe = Recipe()

    def call(
        self, inputs: Any, state: Any = None, training: bool = False, weights: Any = None, mask: Any = None
    ) -> tuple:
        if not training:
            return super().call(inputs, state, training, weights, mask)
        weights = self.rnn.read_weights() if weights is None else weights
        if self.recipe.weight_drop:
            weights = StackWeights(tuple(tuple(map(self._drop, layer)) for layer in weights.by_layer))
        prepared = self._prepare_inputs(inputs)
        if rate := self.recipe.embedding_dropout:
            kept = tf.cast(tf.random.uniform([self.vocab_size, 1]) >= rate, prepared.dtype) / (1 - rate)
            prepared *= tf.gather(kept, inputs)
        outputs, state = self.rnn(prepared, state, training=training, weights=weights, mask=mask)
        dropped = self.dropout(outputs, training=training) if self.dropout else outputs
        if self.recipe.activation or self.recipe.change:
            self.add_loss(self.recipe.activation * tf.reduce_mean(dropped**2))
            self.add_loss(self.recipe.change * tf.reduce_mean((outputs[1:] - outputs[:-1]) ** 2))
        return self._apply_head(dropped), state

    def _drop(self, weights: Any) -> Any:
        kernels = [tf.nn.dropout(u, self.recipe.weight_drop) if len(u.shape) == 2 else u for u in weights.recurrent]
        return weights._replace(recurrent=kernels)


def measure(recipe: Recipe, text: str, share: float, passes: int, seed: int) -> tuple[float, float, int]:
    """Trains by a recipe; returns the bits per character held out, CPU seconds, and the number of weights."""
    keras.utils.set_random_seed(seed)
    end = len(text) - len(text) // 10
    trained_on, held_out = text[: int(share * end)], text[end:]
    if recipe.merges:
        vocabulary = tfrnn.Vocabulary.from_text(trained_on, "bpe", merges=recipe.merges)
    else:
        vocabulary = tfrnn.Vocabulary.from_text(text)
    ids, held_out_ids = (np.array(vocabulary.encode(part, "unk"), np.int32) for part in (trained_on, held_out))
    batches = tfrnn.sequential_batches(ids, recipe.rows, recipe.num_steps, seed)
    cells = [CELLS[recipe.cell](recipe.units, **dict(recipe.of_cells)) for _ in range(recipe.num_layers)]
    of_model = {name: getattr(recipe, name) for name in OF_MODEL}
    needs_more = recipe.weight_drop or recipe.embedding_dropout or recipe.activation or recipe.change
    model = (RegularizedModel if needs_more else tfrnn.LanguageModel)(cells, len(vocabulary), **of_model)
    model.recipe = recipe
    per_pass = batches.num_batches(0)
    warmup = own_text.warmup_steps(passes * per_pass)
    rate = optimizers.WarmUp(keras.optimizers.schedules.CosineDecay(recipe.rate, passes * per_pass - warmup), warmup)
    of_optimizer = dict(recipe.of_optimizer)
    if in_passes := of_optimizer.pop("passes_to_decay", 0):
        of_optimizer["weight_decay"] = 1 / (recipe.rate * in_passes * per_pass)
    optimizer = getattr(keras.optimizers, recipe.optimizer)(rate, **of_optimizer)
    if recipe.kernels_alone:
        optimizer.exclude_from_weight_decay(var_names=optimizers.NOT_KERNELS)
    trainer = tfrnn.Trainer(model, optimizer, clip_norm=1.0)
    start = time.process_time()
    trainer.fit(batches, passes)
    seconds = time.process_time() - start
    if of_optimizer.get("use_ema"):
        optimizer.finalize_variable_values(model.trainable_variables)
    nats = tfrnn.score(model, held_out_ids).nats
    return float(np.sum(nats)) / np.log(2) / (len(held_out) - 1), seconds, model.count_params()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default="tiny_shakespeare", help="a name or a path")
    parser.add_argument("--share", type=float, default=1.0, help="the part of the training text that is trained on")
    parser.add_argument("--passes", type=int, default=2, help="the number of passes over it")
    parser.add_argument("--seed", type=int, default=0, help="the seed")
    parser.add_argument("--only", action="append", choices=CHANGES, metavar="NAME", help="measure only this row")
    parser.add_argument("--set", action="append", default=[], metavar="ATTRIBUTE=NUMBER", help="of all rows")
    options = parser.parse_args()
    changed = {name: float(value) for name, value in (each.split("=") for each in options.set)}
    changed = {name: int(value) if value.is_integer() else value for name, value in changed.items()}
    tfrnn.set_threads()
    text = tfrnn.load_corpus(options.corpus)
    print(f"{describe()}; {options.corpus}, {options.share:g} of it, {options.passes} passes, seed {options.seed}")
    print(*options.set, end="\n\n")
    print("| change | bits/char | CPU seconds | weights |\n|---|---|---|---|", flush=True)
    for name in options.only or CHANGES:
        recipe = Recipe(**{**CHANGES[name], **changed})
        bits, seconds, weights = measure(recipe, text, options.share, options.passes, options.seed)
        print(f"| {name} | {bits:.4f} | {seconds:.0f} | {weights:,} |", flush=True)


if __name__ == "__main__":
    main()
