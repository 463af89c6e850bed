"""Settings of the commands that read a trained run: which run to read, and how to sample tokens."""

import dataclasses

from tfrnn.config.settings import Section, setting
from tfrnn.errors import UserError


@dataclasses.dataclass(frozen=True)
class Trained(Section):
    """Trained run"""

    run_dir: str = setting("", "run directory written by train; required")
    checkpoint: str = setting("best", "which weights: best on the held-out text, or last", choices=("best", "last"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.run_dir:
            raise UserError("`run_dir` must name the folder of a trained run, which train prints first; got none")


@dataclasses.dataclass(frozen=True)
class Sampling(Section):
    """Sampling"""

    temperature: float = setting(
        1.0,
        "divisor of the logits: below 1 safer, above 1 bolder; 0: always the most likely token",
        minimum=0,
        maximum=1e6,
    )
    top_k: int = setting(0, "sample only from this number of most likely tokens; 0: from all", minimum=0)
    top_p: float = setting(
        1.0, "sample only from the most likely tokens whose probabilities add up to this", above=0, maximum=1
    )
    min_p: float = setting(
        0.0,
        "sample only from tokens with at least this fraction of the highest probability",
        minimum=0,
        maximum=1,
        rare=True,
    )
    repetition_penalty: float = setting(
        1.0, "above 1: makes tokens that occurred recently less likely", minimum=0.01, maximum=100, rare=True
    )
    repetition_window: int = setting(
        64, "for --repetition_penalty: number of tokens that are recent", minimum=1, maximum=256, rare=True
    )
