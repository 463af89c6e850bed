"""The sections of a training run's settings: data or, of a forecast, series; model, training and run.

The name of a setting is unique among the sections of a run, so that it needs no section in front of it.
"""

import codecs
import dataclasses
from encodings.aliases import aliases
from typing import Any

from tfrnn.config.settings import TEXTS, Section, setting
from tfrnn.errors import UserError, did_you_mean

# Names of the cells' classes: scratch in tfrnn.layers.cells, keras in keras.layers.
CELLS = {
    "rnn": {"scratch": "RNNCell", "keras": "SimpleRNNCell"},
    "gru": {"scratch": "GRUCell", "keras": "GRUCell"},
    "lstm": {"scratch": "LSTMCell", "keras": "LSTMCell"},
}
# Names of classes in keras.optimizers, with the arguments that differ from Keras's defaults.
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "rmsprop": ("RMSprop", {}),
    "adam": ("Adam", {}),
    "adamw": ("AdamW", {}),
}
# Python's codecs that are no encodings of texts.
_NOT_OF_TEXTS = {"base64_codec", "bz2_codec", "hex_codec", "mbcs", "quopri_codec", "rot_13", "uu_codec", "zlib_codec"}
_CALLED_IN_WINDOWS = {"ansi": "cp1252", "unicode": "utf_16"}
DECOUPLED = "adamw"  # the one that takes `weight_decay`
DECAYING_SCHEDULES = {"cosine", "exponential"}  # they depend on the number of epochs


@dataclasses.dataclass(frozen=True)
class Data(Section):
    """Data"""

    corpus: str = setting(
        "sample",
        "sample, time_machine, jay_lyrics, tiny_shakespeare, or paths of texts, folders or archives (repeatable)",
        several=True,
    )
    encoding: str = setting(
        "auto",
        "encoding of the text files, e.g. gb18030 or cp1252; auto: UTF-8, or what a byte order mark at the beginning "
        "tells (UTF-16, UTF-32)",
        before="auto",
        rare=True,
    )
    text_rule: str = setting(
        "auto",
        "how the text is cleaned. book: only letters, in lower case, lines joined without a space; lines: the same, "
        "joined with a space; spaces: line ends become spaces; plain: every line end becomes a line feed; raw: "
        "unchanged; auto: the rule of the corpus, plain for a file",
        choices=("auto", "book", "lines", "spaces", "plain", "raw"),
        rare=True,
    )
    tokens: str = setting("char", "what a token is", choices=("char", "word", "bpe"))
    merges: int = setting(
        500,
        "for --tokens=bpe (byte pairs): number of tokens to make of characters that often stand side by side; "
        "--max_tokens and --validation_tokens then count characters",
        minimum=1,
        maximum=2**20,
        before=500,
        rare=True,
    )
    word_rule: str = setting(
        "auto",
        "for --tokens=word. marks: words, punctuation marks and line ends; spaces: what stands between white space; "
        "auto: marks, or the rule of the run that is resumed",
        choices=("auto", "marks", "spaces"),
        before="spaces",
        rare=True,
    )
    max_tokens: int = setting(10_000, "number of tokens to train on; 0: all not held out", minimum=0)
    validation_tokens: int = setting(5_000, "number of tokens held out, right after those", minimum=0)
    validation_fraction: float = setting(
        0.0,
        "fraction of the whole text to hold out, at most 500,000 tokens: its end, or what follows --max_tokens; 0: "
        "--validation_tokens says",
        minimum=0,
        below=1,
        rare=True,
        before=0.0,
    )
    vocabulary: str = setting(
        "corpus",
        "where the vocabulary comes from: the whole corpus, or only the training text",
        choices=("corpus", "training"),
        rare=True,
    )
    max_vocabulary: int = setting(
        0, "number of most frequent tokens to keep; all others become unknown; 0: keep all", minimum=0, rare=True
    )
    sampling: str = setting(
        "sequential",
        "sequential: with carried state; random: shuffled",
        choices=("sequential", "random"),
    )
    random_offset: bool = setting(True, "start each epoch at a random one of the first --num_steps tokens", rare=True)
    epochs_per_pass: int = setting(
        1,
        "number of epochs into which a pass over the training text is divided; each ends with a validation",
        minimum=1,
        maximum=10**6,
        rare=True,
        before=1,
    )
    batch_size: int = setting(32, "number of pieces of the text read in parallel", minimum=1, maximum=2**20)
    num_steps: int = setting(35, "number of tokens of each read in a training step", minimum=1, maximum=2**20)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_encoding(self.encoding)
        if self.tokens == "bpe" and self.max_vocabulary:
            raise UserError(
                f"`max_vocabulary={self.max_vocabulary}` is not for `tokens=bpe`, which keeps all characters; `merges` "
                "says how many tokens are joined of them"
            )

    @property
    def token_kind(self) -> str:
        """What a token is, with the rule of words: a key of `text_rules.NOUNS`."""
        return "spaced" if (self.tokens, self.word_rule) == ("word", "spaces") else self.tokens


def check_encoding(name: str) -> None:
    """Raises UserError if a setting `encoding` is neither auto nor the name of an encoding of texts."""
    if name == "auto":
        return
    try:
        "a".encode(name)
        codecs.getincrementaldecoder(name)
    except (LookupError, ValueError):  # unknown, not of texts, or no name at all
        of_texts = {name for names in aliases.items() if names[1] not in _NOT_OF_TEXTS for name in names}
        meant = _CALLED_IN_WINDOWS.get(name.lower(), name.lower())
        hint = did_you_mean(meant, sorted(of_texts))
        raise UserError(
            "`encoding` must be auto or the name of an encoding of texts that Python knows, e.g. gb18030; got "
            f"{name!r}{hint}"
        ) from None


@dataclasses.dataclass(frozen=True)
class Series(Section):
    """The series"""

    csv: str = setting(
        "", "file with a column for each series, also .gz; default: the book's noisy sine (8.1)", may_change=True
    )
    column: TEXTS = setting((), "name of the column to forecast, if the file has several (repeatable)")
    inputs: TEXTS = setting(
        (),
        "name of a column that is read beside those, such as a price; also ahead, if lines after their last value have "
        "it (repeatable)",
    )
    date_column: str = setting(
        "", "name of the column of dates; default: the first that has some", may_change=True, rare=True
    )
    fill: str = setting(
        "none",
        "what to do with gaps and missing dates. none: stop and name the first; linear: draw a line; previous: repeat "
        "the last value; zero: put 0; skip: leave such rows out",
        choices=("none", "linear", "previous", "zero", "skip"),
        may_change=True,
    )
    header: str = setting(
        "auto", "whether line 1 has the names of the columns: yes, no, or auto, which looks",
        choices=("auto", "yes", "no"), may_change=True, rare=True,
    )  # fmt: skip
    separator: str = setting(
        "auto", "what is between fields: auto, tab, or one of , ; |",
        choices=("auto", "tab", ",", ";", "|"), may_change=True, rare=True,
    )  # fmt: skip
    decimal: str = setting(
        "auto", "the decimal mark: auto, or one of . ,", choices=("auto", ".", ","), may_change=True, rare=True
    )
    comment: str = setting("#", "lines that begin with this are left out; empty: none is", may_change=True, rare=True)
    encoding: str = setting(
        "auto", "the file's encoding, such as cp1252; auto: UTF-8, or what a byte order mark says",
        may_change=True, rare=True,
    )  # fmt: skip
    noise: float = setting(0.2, "standard deviation of the sine's noise", minimum=0, maximum=1e6)
    method: str = setting(
        "auto",
        "how steps far ahead are predicted. direct: one output each, added to a seasonal naive forecast; "
        "recursive: as in the book, each from predictions of those before; auto: direct for a file, else recursive",
        choices=("auto", "direct", "recursive"),
    )
    horizon: int = setting(
        0, "number of steps to forecast after the end; 0: about a season, or as far as inputs are known", minimum=0,
        maximum=10_000,
    )  # fmt: skip
    season: int = setting(
        0, "number of steps in a season, such as 12 of months; 1: none; 0: it is found", minimum=0, maximum=100_000
    )
    interval: float = setting(
        0.8, "share of the values that the intervals should hold", above=0, below=1, may_change=True
    )
    train_fraction: float = setting(0.75, "share of the steps to train on, from the beginning", above=0, below=1)
    batch_size: int = setting(32, "number of rows in a batch", minimum=1, maximum=2**20, rare=True)
    num_steps: int = setting(
        0, "steps of each row in a batch; 0: by the length and the season", minimum=0, maximum=2**20, rare=True
    )
    k: str = setting(
        "", "numbers of steps ahead to show the errors of, separated by commas; default: some up to the horizon",
        pattern=r"([1-9]\d{0,6}(,[1-9]\d{0,6})*)?", form="whole numbers of at least 1, separated by commas",
        may_change=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, columns in (("column", self.column), ("inputs", self.inputs)):
            if twice := [column for i, column in enumerate(columns) if column in columns[:i]]:
                raise UserError(f"expected each `{name}` once; got {twice[0]!r} twice")
        if both := sorted(set(self.column) & set(self.inputs)):
            raise UserError(f"expected `inputs` that are not forecast themselves; got {both[0]!r} as `column` too")

    @property
    def ks(self) -> list[int]:
        """The numbers of steps ahead in `k`, each once, in order."""
        return sorted({int(k) for k in self.k.split(",") if k})


@dataclasses.dataclass(frozen=True)
class Model(Section):
    """Model"""

    cell: str = setting("rnn", "the recurrent cell", choices=tuple(CELLS))
    implementation: str = setting(
        "keras", "scratch: the book's equations; keras: Keras's cells", choices=("scratch", "keras")
    )
    units: int = setting(256, "number of hidden units in each layer", minimum=1, maximum=2**14)
    num_layers: int = setting(1, "number of recurrent layers", minimum=1, maximum=64)
    embedding_dim: int = setting(
        0, "size of the token embedding; 0: none, tokens are one-hot", minimum=0, maximum=2**14, rare=True
    )
    embedding_initializer: str = setting(
        "uniform",
        "how the embedding begins. uniform: numbers up to 0.05, as in Keras; normal: of standard deviation 1, as in "
        "PyTorch",
        choices=("uniform", "normal"),
        rare=True,
        before="uniform",
    )
    tie_weights: bool = setting(
        False, "share one matrix between embedding and output; needs --embedding_dim equal to --units", rare=True
    )
    dropout: float = setting(
        0.0, "fraction of each layer's outputs to drop in training",
        minimum=0, below=1,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tie_weights and self.embedding_dim != self.units:
            raise UserError(
                f"`tie_weights` needs `embedding_dim` equal to `units`, since both use the same matrix; got "
                f"{self.embedding_dim} and {self.units}"
            )

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The names of a language model's layers, with which those of its weights begin."""
        others = {"embedding": self.embedding_dim > 0, "dense": not self.tie_weights}
        return (*(f"rnn.{i}" for i in range(self.num_layers)), *(name for name, has_it in others.items() if has_it))


@dataclasses.dataclass(frozen=True)
class Training(Section):
    """Training"""

    init_from: str = setting(
        "",
        "folder of a run whose weights a new one begins with",
        before="",
    )
    freeze: TEXTS = setting(
        (),
        "layer that keeps the weights that it begins with (repeatable): rnn.0, rnn.1, ..., embedding or dense",
        rare=True,
        before=(),
    )
    optimizer: str = setting("sgd", "the optimizer", choices=tuple(OPTIMIZERS))
    learning_rate: float = setting(1.0, "the learning rate", above=0, maximum=1e9)
    weight_decay: float = setting(
        0.004,
        "for --optimizer=adamw: each step takes this fraction, times the learning rate, from each weight",
        minimum=0,
        maximum=1e6,
        rare=True,
        before=0.004,
    )
    decayed: str = setting(
        "kernels",
        "what --weight_decay is for. kernels: not biases and embeddings; all: all weights",
        choices=("kernels", "all"),
        rare=True,
        before="all",
    )
    schedule: str = setting(
        "constant",
        "how the learning rate changes. constant: not at all; cosine, exponential: falls until the last epoch; "
        "plateau: halves when the held-out perplexity stops improving",
        choices=("constant", "cosine", "exponential", "plateau"),
        rare=True,
    )
    warmup_steps: int = setting(
        0, "number of first steps over which the learning rate rises from zero", minimum=0, maximum=10**9, rare=True
    )
    decay_to: float = setting(
        0.01, "fraction of the learning rate at a schedule's end", minimum=0, maximum=1, rare=True
    )
    plateau_patience: int = setting(
        2,
        "for --schedule=plateau: halve after this number of epochs without improvement",
        minimum=1,
        maximum=10**6,
        rare=True,
    )
    clip_norm: float = setting(1.0, "maximum norm of the gradients; 0: no clipping", minimum=0, maximum=1e30)
    epochs: int = setting(500, "number of passes over the training data", minimum=1, may_change=True)
    minutes: float = setting(
        0.0,
        "about how long, 10 for own_text; 0: as --epochs says",
        minimum=0,
        maximum=1e5,
        may_change=True,
        before=0.0,
    )
    early_stopping: int = setting(
        0,
        "stop after this number of epochs without improvement on held-out text; 0: never",
        minimum=0,
        may_change=True,
        rare=True,
    )
    chains: int = setting(
        0,
        "number of slices of each batch that are computed in parallel; 0: one per core if that is faster",
        minimum=0,
        maximum=2**10,
        may_change=True,
        rare=True,
    )
    jit_compile: str = setting(
        "auto",
        "whether XLA compiles the training step: on, off, or auto, which is on only with a GPU",
        choices=("auto", "on", "off"),
        may_change=True,
        rare=True,
    )
    mixed_precision: str = setting(
        "float32",
        "what a training step computes in: float32; or bfloat16 or float16, for GPUs, with weights, sums and losses in "
        "float32",
        choices=("float32", "bfloat16", "float16"),
        rare=True,
        before="float32",
    )
    seed: int = setting(0, "seed of everything random", minimum=0, below=2**31)
    deterministic: bool = setting(
        False, "use only deterministic operations, so that a run repeats bit for bit also on a GPU", rare=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.schedule == "plateau" and self.warmup_steps:
            raise UserError(
                "`schedule=plateau` has no warm-up, since it sets the learning rate itself; got "
                f"`warmup_steps={self.warmup_steps}`; choose another schedule or leave `warmup_steps` out"
            )
        if self.schedule == "exponential" and not self.decay_to:
            raise UserError("`schedule=exponential` never reaches zero; got `decay_to=0.0`; give a number above 0")

    @property
    def jit(self) -> bool | None:
        """The value of jit_compile for the trainer: True, False, or None for auto."""
        return {"auto": None, "on": True, "off": False}[self.jit_compile]

    @property
    def dtype_policy(self) -> str:
        """The name of Keras's dtype policy in which a model is trained."""
        return self.mixed_precision if self.mixed_precision == "float32" else f"mixed_{self.mixed_precision}"


@dataclasses.dataclass(frozen=True)
class Run(Section):
    """Device and output"""

    device: str = setting(
        "auto",
        "cpu, gpu:N, or auto: the first GPU if there is one",
        pattern=r"auto|cpu|gpu:\d{1,3}",
        may_change=True,
    )
    strategy: str = setting(
        "one_device",
        "which devices train. one_device: that of --device; mirrored: all GPUs of this machine, which divide each "
        "batch; multi_worker: also those of other machines, which the environment variable TF_CONFIG lists",
        choices=("one_device", "mirrored", "multi_worker"),
        may_change=True,
        rare=True,
    )
    worker_timeout: float = setting(
        600.0,
        "for --strategy=multi_worker: seconds to wait for the other workers",
        above=0,
        maximum=1e6,
        may_change=True,
        rare=True,
    )
    cpu_devices: int = setting(
        1,
        "for --strategy=mirrored without GPUs, to try it: number of devices to divide the CPU into",
        minimum=1,
        maximum=64,
        may_change=True,
        rare=True,
    )
    prefix: TEXTS = setting((), "text to continue (repeatable); default: the corpus's", may_change=True)
    temperature: float = setting(
        0.0,
        "of the text that is shown; 0: always the most likely token, as in the book",
        minimum=0,
        maximum=1e6,
        may_change=True,
        before=0.0,
        rare=True,
    )
    show_every: int = setting(
        50, "number of epochs between predictions on the terminal; 0: show none", minimum=0, may_change=True, rare=True
    )
    save_every: float = setting(30.0, "seconds between checkpoints", minimum=0, maximum=1e9, may_change=True, rare=True)
    cache_dir: str = setting(
        "", "folder for the token ids of large texts; by default ~/.cache/tfrnn", may_change=True, rare=True
    )
    log_dir: str = setting(
        "", "folder for TensorBoard files: metrics, and predictions as text", may_change=True, rare=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cpu_devices > 1 and self.strategy != "mirrored":
            raise UserError(f"`cpu_devices` is for `strategy=mirrored`; got {self.strategy}; leave one out")
        if self.strategy != "one_device" and self.device.startswith("gpu"):
            raise UserError(
                f"`strategy={self.strategy}` uses all devices of a kind; got `device={self.device}`; give auto or cpu"
            )
