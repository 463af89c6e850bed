"""What single changes of a recipe bring, in bits a character of held-out text, and what they cost.

    python -m benchmarks.techniques [--corpus=TEXT] [--share=1] [--passes=2] [--seed=0] [--only=NAME ...]

The first row is one layer of GRU on characters, trained by Adam with own_text's warm-up and a cosine to 0; each
other row changes what its name says. The last tenth of the text is held out; `--share` trains on the first part of the
rest. Seconds are those of all cores together, which other programs on the machine hardly lengthen.
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
from tfrnn.training.optimizers import WarmUp


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a model is made and trained.

    Attributes:
      cell, units, num_layers: of Keras's cells.
      rows, num_steps: B and T of a batch.
      optimizer, rate, more: the name of Keras's optimizer, its largest learning rate, and its other arguments.
      dropout: after each layer, drawn for each step anew.
      variational: Keras's dropout of the cells' inputs and states, one draw for all steps (Gal and Ghahramani, 2016).
      weight_drop: of the recurrent kernels, one draw for all steps of a batch (Merity et al., 2018).
      merges: byte-pair tokens beside the characters, which are embedded then.
    """

    cell: str = "GRU"
    units: int = 384
    num_layers: int = 1
    rows: int = 32
    num_steps: int = 64
    optimizer: str = "Adam"
    rate: float = 0.01
    more: tuple[tuple[str, Any], ...] = ()
    dropout: float = 0.0
    variational: float = 0.0
    weight_drop: float = 0.0
    merges: int = 0


CHANGES: dict[str, dict[str, Any]] = {
    "GRU 384, Adam 0.01, 32 rows of 64 steps": {},
    "learning rate 0.003": {"rate": 0.003},
    "learning rate 0.006": {"rate": 0.006},
    "learning rate 0.02": {"rate": 0.02},
    "16 rows, 0.007": {"rows": 16, "rate": 0.007},
    "64 rows of 32 steps, 0.014": {"rows": 64, "num_steps": 32, "rate": 0.014},
    "16 rows of 128 steps": {"rows": 16, "num_steps": 128},
    "second moments over 100 steps": {"more": (("beta_2", 0.99),)},
    "weight decay 0.1": {"optimizer": "AdamW", "more": (("weight_decay", 0.1),)},
    "weight decay 0.5": {"optimizer": "AdamW", "more": (("weight_decay", 0.5),)},
    "averaged weights": {"more": (("use_ema", True), ("ema_momentum", 0.99))},
    "Muon 0.02": {"optimizer": "Muon", "rate": 0.02},
    "LSTM 320": {"cell": "LSTM", "units": 320},
    "GRU 512": {"units": 512},
    "GRU 2 x 256": {"units": 256, "num_layers": 2},
    "dropout 0.2": {"dropout": 0.2},
    "dropout 0.5": {"dropout": 0.5},
    "variational dropout 0.2": {"variational": 0.2},
    "weight drop 0.2": {"weight_drop": 0.2},
    "weight drop 0.5": {"weight_drop": 0.5},
    "500 byte pairs": {"merges": 500},
    "1,000 byte pairs": {"merges": 1000},
}


class WeightDropped(tfrnn.LanguageModel):
    """A language model whose recurrent kernels lose some of their elements in each training step."""

    rate = 0.0

    def call(
        self, inputs: Any, state: Any = None, training: bool = False, weights: Any = None, mask: Any = None
    ) -> tuple:
        weights = self.rnn.read_weights() if weights is None else weights
        if training:
            kept = (tuple(map(self._drop, layer)) for layer in weights.by_layer)
            weights = StackWeights(tuple(kept))
        return super().call(inputs, state, training, weights, mask)

    def _drop(self, weights: Any) -> Any:
        kernels = [tf.nn.dropout(u, self.rate) if len(u.shape) == 2 else u for u in weights.recurrent]
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
    dropped = {"dropout": recipe.variational, "recurrent_dropout": recipe.variational} if recipe.variational else {}
    cells = [getattr(keras.layers, f"{recipe.cell}Cell")(recipe.units, **dropped) for _ in range(recipe.num_layers)]
    model_class = WeightDropped if recipe.weight_drop else tfrnn.LanguageModel
    model = model_class(cells, len(vocabulary), 128 if recipe.merges else 0, dropout=recipe.dropout)
    model.rate = recipe.weight_drop
    steps = passes * batches.num_batches(0)
    warmup = own_text.warmup_steps(steps)
    rate = WarmUp(keras.optimizers.schedules.CosineDecay(recipe.rate, steps - warmup), warmup)
    optimizer = getattr(keras.optimizers, recipe.optimizer)(rate, **dict(recipe.more))
    trainer = tfrnn.Trainer(model, optimizer, clip_norm=1.0)
    start = time.process_time()
    trainer.fit(batches, passes)
    seconds = time.process_time() - start
    if dict(recipe.more).get("use_ema"):
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
    options = parser.parse_args()
    tfrnn.set_threads()
    text = tfrnn.load_corpus(options.corpus)
    print(f"{describe()}; {options.corpus}, {options.share:g} of it, {options.passes} passes, seed {options.seed}\n")
    print("| change | bits/char | CPU seconds | weights |\n|---|---|---|---|", flush=True)
    for name in options.only or CHANGES:
        bits, seconds, weights = measure(Recipe(**CHANGES[name]), text, options.share, options.passes, options.seed)
        print(f"| {name} | {bits:.4f} | {seconds:.0f} | {weights:,} |", flush=True)


if __name__ == "__main__":
    main()
