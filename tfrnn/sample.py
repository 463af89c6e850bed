"""Continues a prefix with a trained model: `python -m tfrnn.sample --help`."""

import dataclasses
import sys
from collections.abc import Sequence

from tfrnn import command_line, runtime, text_rules
from tfrnn.errors import UserError
from tfrnn.settings import TEXTS, Section, setting
from tfrnn.vocabulary import UNKNOWN_POLICIES

ABOUT = """Continues prefixes with a model that `python -m tfrnn.train` has trained.

  python -m tfrnn.sample --run_dir=runs/my_run --prefix="once upon" --length=200 --temperature=0.7"""
MOST_TOKENS = 10**8  # for each prefix, which are held in memory


@dataclasses.dataclass(frozen=True)
class Sample(Section):
    """Flags"""

    run_dir: str = setting("", "folder of the trained run (required)")
    prefix: TEXTS = setting((), "text to continue (may be repeated); by default the run's own")
    length: int = setting(50, "tokens to add", minimum=1, maximum=10**7)
    temperature: float = setting(1.0, "below 1 safer, above 1 bolder; 0 takes the likeliest always", minimum=0)
    top_k: int = setting(0, "choose among the k likeliest tokens only; 0: all", minimum=0)
    top_p: float = setting(1.0, "choose among the likeliest that together have probability p", above=0, maximum=1)
    num_samples: int = setting(1, "samples for each prefix", minimum=1, maximum=10**5)
    seed: int = setting(0, "fixes what is drawn", minimum=0, below=2**31)
    stream: bool = setting(False, "write each token as it comes")
    unknown: str = setting("error", "what becomes of unknown tokens in a prefix", choices=UNKNOWN_POLICIES)
    checkpoint: str = setting("best", "the best weights by validation, or the last", choices=("best", "last"))


def main(argv: Sequence[str]) -> None:
    flags = command_line.Flags("sample", ABOUT)
    flags.define(Sample)
    settings = Sample(**flags.parse(argv))
    if not settings.run_dir:
        raise UserError("--run_dir must name the folder of a trained run; got none")
    if settings.num_samples * settings.length > MOST_TOKENS:
        raise UserError(
            f"--num_samples times --length must be at most {MOST_TOKENS:,} tokens; got {settings.num_samples} times "
            f"{settings.length}; take less, or more than one command with another --seed"
        )
    sample(settings)


def sample(settings: Sample) -> None:
    """Prints the samples."""
    runtime.import_tensorflow_quietly()
    runtime.set_threads()
    from tfrnn.generation import Sampler, generate_many, stream
    from tfrnn.run_dir import load_run

    model, vocabulary, config = load_run(settings.run_dir, settings.checkpoint)
    sampler = Sampler(settings.temperature, settings.top_k, settings.top_p)
    rule, tokens = config.data.text_rule, config.data.tokens
    prefixes = text_rules.clean_prefixes(settings.prefix, rule, tokens) or config.run.prefix
    for prefix in prefixes:
        vocabulary.encode_prefix(prefix, settings.unknown)  # all are checked before the first is continued
    for prefix in prefixes:
        if not settings.stream:
            for text in generate_many(
                model,
                vocabulary,
                prefix,
                settings.length,
                settings.num_samples,
                sampler,
                settings.seed,
                settings.unknown,
            ):
                print(text)
            continue
        for i in range(settings.num_samples):
            pieces = stream(
                model, vocabulary, prefix, settings.length, sampler, (settings.seed + i) % 2**31, settings.unknown
            )  # fmt: skip
            sys.stdout.write(prefix)
            for piece in pieces:
                sys.stdout.write(piece)
                sys.stdout.flush()
            print()


if __name__ == "__main__":
    command_line.run(main)
