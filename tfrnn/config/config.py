"""Every setting once: its name, default, bounds and help. Flags, notebook arguments and config.json are made from it.

`Config` has four sections of plain fields whose names are unique among all sections, so that a setting
is known by its name alone: `Config().replace(units=512)`, `--units=512`, `config.model.units`.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from tfrnn.config.settings import TEXTS, Section, setting
from tfrnn.data.vocabulary import UNKNOWN
from tfrnn.errors import UserError, did_you_mean

# Names of the classes: scratch in tfrnn.cells, keras in keras.layers.
CELLS = {
    "rnn": {"scratch": "RNNCell", "keras": "SimpleRNNCell"},
    "gru": {"scratch": "GRUCell", "keras": "GRUCell"},
    "lstm": {"scratch": "LSTMCell", "keras": "LSTMCell"},
}
GATES = {"rnn": 1, "gru": 3, "lstm": 4}  # a candidate, and what gates it: blocks of H columns in a cell's kernels
# Classes of keras.optimizers with the arguments that differ from their defaults.
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "rmsprop": ("RMSprop", {}),
    "adam": ("Adam", {}),
    "adamw": ("AdamW", {}),
}
# Settings that differ from the defaults, which are those of rnn_concise (Dive into Deep Learning, 8.6).
_SCRATCH_RNN = {"implementation": "scratch", "units": 512}
_SCRATCH_GRU = {"implementation": "scratch", "cell": "gru"}
_SCRATCH_LSTM = {"implementation": "scratch", "cell": "lstm"}
# The lyrics are of the book's first edition, whose batches have no random offset.
_LYRICS = {"corpus": "jay_lyrics", "vocabulary": "training", "random_offset": False, "clip_norm": 0.01}
_LYRICS_SCRATCH = {**_LYRICS, "implementation": "scratch", "learning_rate": 100.0}
_LYRICS_ADAM = {**_LYRICS, "optimizer": "adam", "learning_rate": 0.01, "epochs": 160}
PRESETS: dict[str, dict[str, Any]] = {
    "rnn_scratch": _SCRATCH_RNN,  # section 8.5
    "rnn_scratch_random": {**_SCRATCH_RNN, "sampling": "random"},  # 8.5
    "rnn_concise": {},  # 8.6
    "gru_scratch": _SCRATCH_GRU,  # 9.1
    "gru_scratch_random": {**_SCRATCH_GRU, "units": 512, "sampling": "random"},
    "gru_concise": {"cell": "gru"},  # 9.1
    "lstm_scratch": _SCRATCH_LSTM,  # 9.2
    "lstm_concise": {"cell": "lstm"},  # 9.2
    "deep_lstm": {"cell": "lstm", "num_layers": 2, "learning_rate": 2.0},  # 9.3
    "jay_rnn_scratch": {**_LYRICS_SCRATCH, "epochs": 250},
    "jay_rnn_scratch_random": {**_LYRICS_SCRATCH, "sampling": "random", "epochs": 250},
    "jay_rnn_concise": {**_LYRICS_ADAM, "learning_rate": 0.001, "epochs": 250},
    "jay_gru_scratch": {**_LYRICS_SCRATCH, "cell": "gru", "epochs": 160},
    "jay_gru_concise": {**_LYRICS_ADAM, "cell": "gru"},
    "jay_lstm_scratch": {**_LYRICS_SCRATCH, "cell": "lstm", "epochs": 160},
    "jay_lstm_concise": {**_LYRICS_ADAM, "cell": "lstm"},
}
DEFAULT_PRESET = "rnn_concise"
DECAYING = {"cosine", "exponential"}  # schedules that know when training ends
# What forecasting a series takes in place of the defaults, which are for texts.
FORECAST: dict[str, Any] = {
    "cell": "gru",
    "units": 16,
    "optimizer": "adam",
    "learning_rate": 0.01,
    "schedule": "cosine",
    "decay_to": 0.0,
    "epochs": 500,
}


@dataclasses.dataclass(frozen=True)
class Data(Section):
    """The text"""

    corpus: str = setting(
        "sample",
        "sample, time_machine, jay_lyrics, tiny_shakespeare, or the path of a UTF-8 text or of a folder of them",
    )
    text_rule: str = setting(
        "auto",
        "how the text is cleaned. book: lower-case letters alone, lines joined without a space; lines: the same with "
        "a space; spaces: line ends become spaces; raw: not at all; auto: as is usual for the corpus",
        choices=("auto", "book", "lines", "spaces", "raw"),
        rare=True,
    )
    tokens: str = setting("char", "what a token is", choices=("char", "word"))
    max_tokens: int = setting(10_000, "tokens to train on, from the start; 0: all not held out", minimum=0)
    validation_tokens: int = setting(5_000, "tokens held out, right behind those", minimum=0)
    vocabulary: str = setting(
        "corpus",
        "which tokens there are: those of the whole corpus, or of the training text alone",
        choices=("corpus", "training"),
        rare=True,
    )
    max_vocabulary: int = setting(
        0, f"so many tokens at most, the commonest; others are read as {UNKNOWN}; 0: all", minimum=0, rare=True
    )
    sampling: str = setting(
        "sequential",
        "sequential: each row reads on, with its state; random: shuffled pieces, each from a zero state",
        choices=("sequential", "random"),
    )
    random_offset: bool = setting(True, "begin each epoch at a random token of the first --num_steps", rare=True)
    batch_size: int = setting(32, "pieces of the text read side by side", minimum=1, maximum=2**20)
    num_steps: int = setting(35, "tokens that a step of training reads of each", minimum=1, maximum=2**20)


@dataclasses.dataclass(frozen=True)
class Model(Section):
    """The network"""

    cell: str = setting("rnn", "the recurrent cell", choices=tuple(CELLS))
    implementation: str = setting(
        "keras", "scratch: the book's equations; keras: Keras's own", choices=("scratch", "keras")
    )
    units: int = setting(256, "hidden units in a layer", minimum=1, maximum=2**14)
    num_layers: int = setting(1, "recurrent layers", minimum=1, maximum=64)
    embedding_dim: int = setting(
        0, "size of a learnt embedding; 0: none, tokens come in one-hot", minimum=0, maximum=2**14, rare=True
    )
    tie_weights: bool = setting(
        False, "one matrix for embedding and output; needs --embedding_dim equal to --units", rare=True
    )
    dropout: float = setting(
        0.0, "share of the values dropped after each layer",
        minimum=0, below=1,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tie_weights and self.embedding_dim != self.units:
            raise UserError(
                f"--tie_weights needs --embedding_dim equal to --units, since one matrix serves as both; got "
                f"{self.embedding_dim} and {self.units}"
            )

    def weight_shapes(self, vocab_size: int) -> list[tuple[int, ...]]:
        """The shapes of a language model's weights in their order, known before any of them takes memory."""
        columns = GATES[self.cell] * self.units
        resets_after = (self.cell, self.implementation) == ("gru", "keras")  # which has two biases
        shapes: list[tuple[int, ...]] = []
        for layer in range(self.num_layers):
            inputs = self.units if layer else self.embedding_dim or vocab_size
            shapes += [(inputs, columns), (self.units, columns), (2, columns) if resets_after else (columns,)]
        embedding = [(vocab_size, self.embedding_dim)] if self.embedding_dim else []
        return [*shapes, *embedding, *([] if self.tie_weights else [(self.units, vocab_size), (vocab_size,)])]

    def weight_bytes(self, vocab_size: int) -> int:
        """What they take as float32."""
        return 4 * sum(map(math.prod, self.weight_shapes(vocab_size)))


@dataclasses.dataclass(frozen=True)
class Training(Section):
    """Training"""

    optimizer: str = setting("sgd", "the optimizer", choices=tuple(OPTIMIZERS))
    learning_rate: float = setting(1.0, "its learning rate", above=0, maximum=1e9)
    schedule: str = setting(
        "constant",
        "how the learning rate goes on. constant: as it is; cosine, exponential: falling until the last epoch; "
        "plateau: halved whenever the held-out text gets no better",
        choices=("constant", "cosine", "exponential", "plateau"),
        rare=True,
    )
    warmup_steps: int = setting(
        0, "so many first steps let the learning rate rise from zero", minimum=0, maximum=10**9, rare=True
    )
    decay_to: float = setting(
        0.01, "the share of the learning rate at which a schedule ends", minimum=0, maximum=1, rare=True
    )
    plateau_patience: int = setting(
        2, "for --schedule=plateau: halve after so many epochs without gain", minimum=1, maximum=10**6, rare=True
    )
    clip_norm: float = setting(1.0, "bound on the norm of the gradients; 0: none", minimum=0, maximum=1e30)
    epochs: int = setting(500, "times that the training data are read", minimum=1, may_change=True)
    early_stopping: int = setting(
        0, "end after so many epochs without gain on the held-out text; 0: never", minimum=0, may_change=True, rare=True
    )
    chains: int = setting(
        0,
        "cut each batch into so many slices, computed side by side; 0: one for each core, where that pays",
        minimum=0,
        maximum=2**10,
        may_change=True,
        rare=True,
    )
    jit_compile: str = setting(
        "auto",
        "whether XLA compiles what runs long: on, off, or auto, which is on with a GPU alone",
        choices=("auto", "on", "off"),
        may_change=True,
        rare=True,
    )
    seed: int = setting(0, "fixes all that is random; another one, another run", minimum=0, below=2**31)
    deterministic: bool = setting(
        False, "use only operations that TensorFlow promises to repeat bit for bit, also on a GPU", rare=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.schedule == "plateau" and self.warmup_steps:
            raise UserError(
                f"--schedule=plateau has no warm-up, as it sets the learning rate itself; got --warmup_steps="
                f"{self.warmup_steps}; take another schedule or leave it out"
            )
        if self.schedule == "exponential" and not self.decay_to:
            raise UserError("--schedule=exponential never reaches zero; got --decay_to=0.0; give a number above 0")

    @property
    def jit(self) -> bool | None:
        """jit_compile as the trainer takes it; None for auto."""
        return {"auto": None, "on": True, "off": False}[self.jit_compile]


@dataclasses.dataclass(frozen=True)
class Run(Section):
    """What it runs on and shows"""

    device: str = setting(
        "auto",
        "cpu, gpu:0, ..., or auto: a GPU if there is one",
        pattern=r"auto|cpu|gpu:\d{1,3}",
        may_change=True,
    )
    strategy: str = setting(
        "one_device",
        "who computes. one_device: the one of --device; mirrored: all GPUs here, which divide each batch; "
        "multi_worker: also those of other machines, as the environment variable TF_CONFIG says",
        choices=("one_device", "mirrored", "multi_worker"),
        may_change=True,
        rare=True,
    )
    worker_timeout: float = setting(
        600.0,
        "for --strategy=multi_worker: seconds that workers wait for each other",
        above=0,
        maximum=1e6,
        may_change=True,
        rare=True,
    )
    cpu_devices: int = setting(
        1,
        "for --strategy=mirrored without GPUs, to try it: divide the CPU into so many devices",
        minimum=1,
        maximum=64,
        may_change=True,
        rare=True,
    )
    prefix: TEXTS = setting((), "text to continue (repeatable); else the corpus's own", may_change=True)
    show_every: int = setting(
        50, "epochs between the predictions shown; 0: none", minimum=0, may_change=True, rare=True
    )
    save_every: float = setting(30.0, "seconds between checkpoints", minimum=0, maximum=1e9, may_change=True, rare=True)
    cache_dir: str = setting(
        "", "folder for what is kept of large texts; by default ~/.cache/tfrnn", may_change=True, rare=True
    )
    log_dir: str = setting(
        "", "folder for TensorBoard's files: the measures, and predictions as text", may_change=True, rare=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cpu_devices > 1 and self.strategy != "mirrored":
            raise UserError(f"--cpu_devices is for --strategy=mirrored; got {self.strategy}; leave one out")
        if self.strategy != "one_device" and self.device.startswith("gpu"):
            raise UserError(
                f"--strategy={self.strategy} takes all devices of a kind; got --device={self.device}; give auto or cpu"
            )


@dataclasses.dataclass(frozen=True)
class Trained(Section):
    """The run"""

    run_dir: str = setting("", "the folder that train wrote; must be given")
    checkpoint: str = setting("best", "which weights: best on the held-out text, or last", choices=("best", "last"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.run_dir:
            raise UserError("--run_dir must name the folder of a trained run, which train shows as it begins; got none")


@dataclasses.dataclass(frozen=True)
class Sampling(Section):
    """How a token is chosen"""

    temperature: float = setting(
        1.0,
        "below 1 safer, above 1 bolder; 0: always the likeliest token",
        minimum=0,
        maximum=1e6,
    )
    top_k: int = setting(0, "draw from so many likeliest tokens alone; 0: from all", minimum=0)
    top_p: float = setting(
        1.0, "draw from the fewest likeliest tokens that together have this probability", above=0, maximum=1
    )
    min_p: float = setting(
        0.0,
        "draw from tokens with at least this share of the likeliest one's probability",
        minimum=0,
        maximum=1,
        rare=True,
    )
    repetition_penalty: float = setting(
        1.0, "above 1: tokens that were among the last ones become rarer", minimum=0.01, maximum=100, rare=True
    )
    repetition_window: int = setting(
        64, "for --repetition_penalty: how many last tokens these are", minimum=1, maximum=256, rare=True
    )


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a run, in four sections."""

    data: Data = dataclasses.field(default_factory=Data)
    model: Model = dataclasses.field(default_factory=Model)
    training: Training = dataclasses.field(default_factory=Training)
    run: Run = dataclasses.field(default_factory=Run)

    def replace(self, **settings: Any) -> "Config":
        """A config with these settings changed, each given by its own name. Raises UserError on a wrong one."""
        sections = {}
        for name, section in vars(self).items():
            own = {f.name: settings.pop(f.name) for f in dataclasses.fields(section) if f.name in settings}
            sections[name] = dataclasses.replace(section, **own)
        if settings:
            raise UserError(f"unknown setting {', '.join(sorted(settings))}; the settings are {', '.join(self.flat())}")
        return Config(**sections)

    def flat(self) -> dict[str, Any]:
        """Every setting by its name."""
        return {name: value for section in vars(self).values() for name, value in vars(section).items()}

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """What config.json holds: sections of settings."""
        return {name: dict(vars(section)) for name, section in vars(self).items()}

    def least_bytes(self, vocab_size: int) -> int:
        """What training takes at the least: of the weights also their parts, gradients, the sum of these, and the best;
        logits with their softmax and gradient; outputs of the layers."""
        of_token = 3 * vocab_size + self.model.num_layers * self.model.units
        return 5 * self.model.weight_bytes(vocab_size) + 4 * self.data.batch_size * self.data.num_steps * of_token

    def most_checkpoint_bytes(self, vocab_size: int) -> int:
        """What a checkpoint takes at the most: weights, the best of them, four values of an optimizer for each, the
        states, and a megabyte for what is small."""
        states = 2 * 4 * self.model.num_layers * self.model.units * self.data.batch_size
        return 6 * self.model.weight_bytes(vocab_size) + states + 2**20

    @classmethod
    def from_dict(cls, data: Any) -> "Config":
        """The inverse of to_dict, for data from a file: nothing missing, nothing unknown, every value checked."""
        sections = {}
        expected = cls()
        _check_keys("config", data, vars(expected))
        for name, section in vars(expected).items():
            _check_keys(f"config section {name}", data[name], vars(section))
            sections[name] = type(section)(**data[name])
        return cls(**sections)

    @classmethod
    def from_preset(cls, preset: str = DEFAULT_PRESET, **settings: Any) -> "Config":
        """A preset's config, with these settings in place of its own."""
        if preset not in PRESETS:
            raise UserError(
                f"--preset must be one of {', '.join(PRESETS)}; got {preset!r}{did_you_mean(preset, PRESETS)}"
            )
        return cls().replace(**{**PRESETS[preset], **settings})


SECTIONS = (Data, Model, Training, Run)


def may_change_on_resume(name: str) -> bool:
    fields = (field for section in SECTIONS for field, _ in section.fields())
    return any(field.name == name and field.metadata.get("may_change") for field in fields)


def _check_keys(what: str, data: Any, expected: Mapping[str, Any]) -> None:
    if not isinstance(data, dict):
        raise UserError(f"{what} must be an object with {', '.join(expected)}; got {type(data).__name__}")
    unknown, missing = sorted(set(data) - set(expected)), sorted(set(expected) - set(data))
    if unknown or missing:
        raise UserError(f"{what} has unknown keys [{', '.join(unknown)}] and lacks [{', '.join(missing)}]")
