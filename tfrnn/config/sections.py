"""The sections of a training run's settings: data, model, training and run. Each setting stands here once.

Their names are unique among all sections, so that a setting is known by its name alone.
"""

import dataclasses
from typing import Any

from tfrnn.config.settings import TEXTS, Section, setting
from tfrnn.errors import UserError

# Names of the classes: scratch in tfrnn.cells, keras in keras.layers.
CELLS = {
    "rnn": {"scratch": "RNNCell", "keras": "SimpleRNNCell"},
    "gru": {"scratch": "GRUCell", "keras": "GRUCell"},
    "lstm": {"scratch": "LSTMCell", "keras": "LSTMCell"},
}
# Classes of keras.optimizers with the arguments that differ from their defaults.
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "rmsprop": ("RMSprop", {}),
    "adam": ("Adam", {}),
    "adamw": ("AdamW", {}),
}
DECAYING = {"cosine", "exponential"}  # schedules that know when training ends


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
        0, "most frequent tokens to keep; all others are read as unknown; 0: all", minimum=0, rare=True
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
