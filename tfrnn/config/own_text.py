"""The preset own_text: a model and its training that fit the size of a text and the time.

`python -m benchmarks.recipes` measures what it reaches, `python -m benchmarks.techniques` what its parts bring.
"""

import math
from collections.abc import Collection
from typing import Any

from tfrnn.config import sections, sizes
from tfrnn.config.config import Config
from tfrnn.config.presets import OWN_TEXT, PRESETS

MINUTES = float(PRESETS[OWN_TEXT]["minutes"])
# What the time decides, and what the text and the time decide, if it is not given.
BY_TIME = ("epochs", "epochs_per_pass")
BY_TEXT = (
    "units",
    "num_layers",
    "embedding_dim",
    "embedding_initializer",
    "dropout",
    "batch_size",
    "num_steps",
    "learning_rate",
    "weight_decay",
    "warmup_steps",
)
# Layers and units, from small to large. One wide layer learns more in the same time than two narrow ones.
MODELS = ((1, 64), (1, 128), (1, 256), (1, 384), (1, 512), (1, 768), (1, 1024), (2, 1024))
EMBEDDING_DIM = 128
# A larger model learns less in the same time if it reads fewer tokens than so many for each of its weights, or in all.
TOKENS_PER_WEIGHT, TOKENS_FOR_ANY = 8, 8e6
# Numbers of weights, and how many a model of at most as many may have for each token of the text: a larger one only
# learns it by heart.
WEIGHTS_PER_TOKEN = ((1e6, 10), (math.inf, 4))
LEARNING_RATE = 0.008  # by OPTIMIZERS, of one layer of at most UNITS; more of both learned little at it
UNITS = 512
OPTIMIZERS = ("adam", sections.DECOUPLED)
# Numbers of passes; from each on, the dropout, and in how many passes a weight decays.
REGULARIZATION = ((3, 0.2, 2.0), (8, 0.4, 1.0), (16, 0.5, 1.0))
STEPS_TO_DECAY = 150  # at least: short texts have few steps a pass, in which weights cannot grow to the size they need
# More readings of tokens in all only make a model learn a text by heart, by the number of different tokens: words and
# Chinese characters are learned by heart sooner than letters. A small model may read a long text more often: until the
# passes times its weights for each token of the text are PASSES_TIMES_WEIGHTS_PER_TOKEN.
READINGS_OF_TOKENS = ((256, 5e6), (math.inf, 1.2e6))
PASSES_TIMES_WEIGHTS_PER_TOKEN = 54
MOST_PASSES = 200
FLOPS_PER_WEIGHT = 6  # of a training step, for each token: a product forward and two back, of two operations each
STEPS_PER_PASS = 8  # at least, if the text is long enough
FEWEST_ROWS = 4


def choose_batches(config: Config, free: Collection[str], num_tokens: int) -> Config:
    """Returns a config with batches that fit the text.

    Args:
      config: the settings.
      free: the settings that may be changed; of these, the ones in BY_TEXT are.
      num_tokens: the number of tokens that are trained on.
    """
    num_steps = 64 if num_tokens >= 64 * FEWEST_ROWS * STEPS_PER_PASS else 32
    rows = max(FEWEST_ROWS, min(32, num_tokens // (num_steps * STEPS_PER_PASS)))
    # A multiple, which two or four chains divide.
    return _replaced(config, free, num_steps=num_steps, batch_size=rows - rows % FEWEST_ROWS)


def choose_model(config: Config, free: Collection[str], num_tokens: int, vocab_size: int, flops: float) -> Config:
    """Returns a config with a model, and its learning rate, that fit the text and the time.

    Args:
      config, free, num_tokens: as for `choose_batches`; `minutes` says how long it may train.
      vocab_size: the number of different tokens.
      flops: floating-point operations a second, as the device does them in products.
    """
    seconds = 60 * (config.training.minutes or MINUTES)
    budget = flops * seconds / FLOPS_PER_WEIGHT  # tokens times weights
    if config.model.tie_weights:  # the sizes are fixed, and a normal embedding would make large logits
        free = {*free}.difference(("units", "embedding_dim", "embedding_initializer"))
    config = _replaced(config, free, embedding_dim=EMBEDDING_DIM)
    if config.model.embedding_dim:
        config = _replaced(config, free, embedding_initializer="normal")

    # Of given units one layer is taken: a second one would double the time, and is worth less than wider ones.
    sizes_to_try = MODELS if "units" in free else MODELS[:1]
    models = [_replaced(config, free, num_layers=layers, units=units) for layers, units in sizes_to_try]
    fitting = [
        model
        for model in models
        if (num_weights := _num_weights(model, vocab_size)) <= _weights_per_token(num_weights) * num_tokens
        and num_weights * min(TOKENS_PER_WEIGHT * num_weights, TOKENS_FOR_ANY) <= budget
    ]
    model = (fitting or models[:1])[-1]
    return _replaced(model, free, learning_rate=_learning_rate(model))


def _num_weights(config: Config, vocab_size: int) -> float:
    """Returns the number of weights of a model, without an embedding that is looked up, which takes no time."""
    model = config.model
    looked_up = 0 if model.tie_weights else vocab_size * model.embedding_dim
    return sizes.weight_bytes(model, vocab_size) / 4 - looked_up


def _weights_per_token(num_weights: float) -> float:
    return next(per_token for most, per_token in WEIGHTS_PER_TOKEN if num_weights <= most)


def choose_regularization(config: Config, free: Collection[str], num_tokens: int, passes: float) -> Config:
    """Returns a config with the dropout and the weight decay that fit how often the text is read.

    Weight decay is chosen so that a weight which no gradient moves falls to 1/e in a number of passes, at the learning
    rate that is chosen: the best number of passes stays alike as a model and its text grow (Wang and
    Aitchison, 2024). It does so in STEPS_TO_DECAY steps if that is longer: with AdamW the root mean square of the
    weights comes to sqrt(rate / (2 decay)) (Kosson et al., 2024), which grows with the steps. At a smaller rate, which
    was given to go on from other weights, they are forgotten as much more slowly.

    Args:
      config, free, num_tokens: as for `choose_batches`.
      passes: the number of passes over the text.
    """
    found = [(dropout, to_decay) for fewest, dropout, to_decay in REGULARIZATION if passes >= fewest]
    dropout, passes_to_decay = found[-1] if found else (0.0, math.inf)
    config = _replaced(config, free, dropout=dropout)
    if config.training.optimizer != sections.DECOUPLED:
        return config
    steps = max(STEPS_TO_DECAY, passes_to_decay * num_tokens / (config.data.batch_size * config.data.num_steps))
    return _replaced(config, free, weight_decay=1 / (_learning_rate(config) * steps))


def _learning_rate(config: Config) -> float:
    return LEARNING_RATE * min(1.0, UNITS / config.model.units) / config.model.num_layers


def _replaced(config: Config, free: Collection[str], **settings: Any) -> Config:
    """Returns a config with those of the settings changed that are free."""
    return config.replace(**{name: value for name, value in settings.items() if name in free})


def choose_warmup(config: Config, free: Collection[str], total_steps: int) -> Config:
    """Returns a config with the steps in which the learning rate rises, given the number of steps of the training."""
    if config.training.schedule == "plateau":  # which sets the rate itself
        return config
    return _replaced(config, free, warmup_steps=warmup_steps(total_steps))


def warmup_steps(total_steps: int) -> int:
    """Returns the number of steps in which the learning rate rises, given that of the whole training."""
    return min(100, total_steps // 10)


def max_passes(config: Config, num_tokens: int, vocab_size: int) -> int:
    """Returns the number of passes over a text after which a model learns nothing more that is general.

    Args:
      config: the settings, with a model that `choose_model` has chosen.
      num_tokens, vocab_size: as for `choose_model`.
    """
    readings = next(tokens for most, tokens in READINGS_OF_TOKENS if vocab_size <= most)
    by_weights = PASSES_TIMES_WEIGHTS_PER_TOKEN * num_tokens / _num_weights(config, vocab_size)
    return math.ceil(min(MOST_PASSES, max(readings / max(1, num_tokens), by_weights)))
