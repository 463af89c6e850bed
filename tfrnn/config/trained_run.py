"""Sections of the commands that read a trained run: which run, and how a token is chosen."""

import dataclasses

from tfrnn.config.settings import Section, setting
from tfrnn.errors import UserError


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
