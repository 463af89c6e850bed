"""The preset own_text: a model and its training that fit the size of a text and the time.

`python -m benchmarks.recipes` measures what it reaches; the numbers below are first estimates.
"""

from collections.abc import Collection
from typing import Any

from tfrnn.config import sizes
from tfrnn.config.config import Config
from tfrnn.config.presets import OWN_TEXT, PRESETS

MINUTES = float(PRESETS[OWN_TEXT]["minutes"])
# What the time decides, and what the text and the time decide, if it is not given.
BY_TIME = ("epochs", "epochs_per_pass")
BY_TEXT = (
    "units",
    "num_layers",
    "embedding_dim",
    "dropout",
    "batch_size",
    "num_steps",
    "learning_rate",
    "warmup_steps",
)
# Layers and units, from small to large.
MODELS = ((1, 64), (1, 128), (1, 256), (1, 384), (1, 512), (2, 384), (2, 512), (2, 768), (2, 1024))
BYTE_PAIR_EMBEDDING = 128  # one-hot inputs of so many tokens would be most of the weights
TOKENS_PER_WEIGHT = 5  # a larger model learns less in the same time if it reads fewer
WEIGHTS_PER_TOKEN = 10  # of the text; a larger model only learns it by heart
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
    """Returns a config with a model, and its learning rate and dropout, that fit the text and the time.

    Args:
      config, free, num_tokens: as for `choose_batches`; `minutes` says how long it may train.
      vocab_size: the number of different tokens.
      flops: floating-point operations a second, as the device does them in a step.
    """
    budget = flops * 60 * (config.training.minutes or MINUTES) / FLOPS_PER_WEIGHT  # tokens times weights

    if config.data.tokens == "bpe":
        config = _replaced(config, free, embedding_dim=BYTE_PAIR_EMBEDDING)

    def num_weights(candidate: Config) -> float:
        model = candidate.model
        looked_up = 0 if model.tie_weights else vocab_size * model.embedding_dim  # which takes no time
        return sizes.weight_bytes(model, vocab_size) / 4 - looked_up

    models = [_replaced(config, free, num_layers=layers, units=units) for layers, units in MODELS]
    fitting = [
        model
        for model in models
        if num_weights(model) <= WEIGHTS_PER_TOKEN * num_tokens
        and num_weights(model) ** 2 * TOKENS_PER_WEIGHT <= budget
    ]
    config = (fitting or models[:1])[-1]
    passes = budget / num_weights(config) / num_tokens
    return _replaced(
        config,
        free,
        dropout=0.5 if passes > 8 else 0.2 if passes > 3 else 0.0,
        learning_rate=0.003 if config.model.num_layers > 1 else 0.005,
    )


def _replaced(config: Config, free: Collection[str], **settings: Any) -> Config:
    """Returns a config with those of the settings changed that are free."""
    return config.replace(**{name: value for name, value in settings.items() if name in free})


def warmup_steps(total_steps: int) -> int:
    """Returns the number of steps in which the learning rate rises, given that of the whole training."""
    return min(100, total_steps // 10)


def max_passes(num_tokens: int) -> int:
    """Returns the number of passes over a text after which a chosen model learns nothing more that is general."""
    return max(20, min(200, 40_000_000 // max(1, num_tokens)))
