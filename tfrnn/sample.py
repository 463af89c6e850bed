"""Continues a prefix with a trained model: `python -m tfrnn.sample --help`."""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from tfrnn import command_line, runtime, text_rules
from tfrnn.config import Config, Sampling
from tfrnn.errors import UserError
from tfrnn.settings import TEXTS, Section, setting
from tfrnn.vocabulary import UNKNOWN_POLICIES, Vocabulary

ABOUT = """Continues prefixes with a model that `python -m tfrnn.train` has trained.

  python -m tfrnn.sample --run_dir=runs/my_run --prefix="once upon" --length=200 --temperature=0.7
  python -m tfrnn.sample --run_dir=runs/my_run --interactive"""
MOST_TOKENS = 10**8  # of all samples, which are held in memory
PROMPT = "> "


@dataclasses.dataclass(frozen=True)
class Sample(Section):
    """What is read and written"""

    run_dir: str = setting("", "folder of the trained run (required)")
    prefix: TEXTS = setting((), "text to continue (may be repeated); by default the run's own")
    length: int = setting(50, "tokens to add", minimum=1, maximum=10**7)
    num_samples: int = setting(1, "samples for each prefix", minimum=1, maximum=10**5)
    beam_width: int = setting(
        0, "in place of drawing, search the likeliest text with so many beginnings at a time; 0: draw",
        minimum=0, maximum=10**4,
    )  # fmt: skip
    seed: int = setting(0, "fixes what is drawn", minimum=0, below=2**31)
    stream: bool = setting(False, "write each token as it comes")
    interactive: bool = setting(False, "read lines, and go on after each with all that came before in mind")
    unknown: str = setting("error", "what becomes of unknown tokens in a prefix", choices=UNKNOWN_POLICIES)
    checkpoint: str = setting("best", "the best weights by validation, or the last", choices=("best", "last"))


def main(argv: Sequence[str]) -> None:
    flags = command_line.Flags("sample", ABOUT)
    flags.define(Sample)
    flags.define(Sampling)
    given = flags.parse(argv)
    sampling = {name: given.pop(name) for name in [field.name for field, _ in Sampling.fields()] if name in given}
    settings = Sample(**given)
    check(settings, given, sampling)
    sample(settings, Sampling(**sampling))


def check(settings: Sample, given: dict[str, Any], sampling: dict[str, Any]) -> None:
    """Raises UserError where flags contradict each other or ask for too much."""
    if not settings.run_dir:
        raise UserError("--run_dir must name the folder of a trained run; got none")

    def refuse(flag: str, why: str, others: Sequence[str]) -> None:
        if found := [other for other in others if {**given, **sampling}.get(other)]:
            raise UserError(f"{flag} {why}; got --{found[0]} too; leave one of them out")

    if settings.beam_width:
        refuse("--beam_width", "searches the likeliest text and draws nothing", [*sampling, "stream", "interactive"])
        if settings.num_samples > settings.beam_width:
            raise UserError(
                f"--num_samples must be at most --beam_width={settings.beam_width}, which finds no more texts; got "
                f"{settings.num_samples}"
            )
    if settings.interactive:
        refuse("--interactive", "reads prefixes from standard input, and writes on one text", ["prefix", "num_samples"])
    if sampling.get("temperature") == 0:
        refuse("--temperature=0", "takes the likeliest token always", ["top_k", "top_p", "min_p", "num_samples"])
    if settings.num_samples * max(1, len(settings.prefix)) * settings.length > MOST_TOKENS:
        raise UserError(
            f"--num_samples times --length must be at most {MOST_TOKENS:,} tokens for all prefixes; got "
            f"{settings.num_samples} times {settings.length}; take less, or more than one command with another --seed"
        )


def sample(settings: Sample, sampling: Sampling) -> None:
    """Prints the samples."""
    runtime.import_tensorflow_quietly()
    runtime.set_threads()
    from tfrnn.beams import beam_search
    from tfrnn.generation import generate_many, stream_on
    from tfrnn.reading import warm_up
    from tfrnn.run_dir import load_run
    from tfrnn.samplers import Sampler

    model, vocabulary, config = load_run(settings.run_dir, settings.checkpoint)
    sampler = Sampler(**vars(sampling))
    if settings.interactive:
        converse(model, vocabulary, config, settings, sampler)
        return
    prefixes = text_rules.clean_prefixes(settings.prefix, config.data.text_rule, config.data.tokens)
    prefixes = prefixes or config.run.prefix
    for prefix in prefixes:
        vocabulary.encode_prefix(prefix, settings.unknown)  # all are checked before the first is continued
    if settings.beam_width:
        for prefix in prefixes:
            beams = beam_search(
                model, vocabulary, prefix, settings.length, settings.beam_width, settings.unknown
            )  # fmt: skip
            for beam in beams[: settings.num_samples]:
                print(beam.text, flush=True)
                command_line.note(f"log-probability {beam.score:.4f}, {-beam.score / settings.length:.4f} nats a token")
    elif settings.stream:
        reading = warm_up(model, vocabulary, prefixes, None, settings.unknown).repeat(settings.num_samples)
        for row, prefix in enumerate(prefix for prefix in prefixes for _ in range(settings.num_samples)):
            pieces = stream_on(model, vocabulary, reading.row(row), settings.length, sampler, settings.seed)
            sys.stdout.write(prefix)
            for piece, _ in pieces:
                sys.stdout.write(piece)
                sys.stdout.flush()
            print(flush=True)
    else:
        samples = generate_many(
            model, vocabulary, prefixes, settings.length, settings.num_samples, sampler, settings.seed, settings.unknown
        )
        for text in (text for of_prefix in samples for text in of_prefix):
            print(text)


def converse(model: Any, vocabulary: Vocabulary, config: Config, settings: Sample, sampler: Any) -> None:
    """Reads a line, goes on from it, and so on until the end of the input; an empty line goes on from where it is."""
    from tfrnn.generation import stream_on
    from tfrnn.reading import Reading, warm_up

    reading: Reading | None = None
    for line in _lines():
        try:
            if line:
                (text,) = text_rules.clean_prefixes([line], config.data.text_rule, config.data.tokens)
                reading = warm_up(model, vocabulary, [text], reading, settings.unknown)
            elif reading is None:
                raise UserError("expected a text to go on from; got an empty line")
        except UserError as error:  # the line is wrong, not what came before
            command_line.show_error(error)
            continue
        for piece, later in stream_on(model, vocabulary, reading, settings.length, sampler, settings.seed):
            sys.stdout.write(piece)
            sys.stdout.flush()
            reading = later
        print(flush=True)


def _lines() -> Iterator[str]:
    """The lines of standard input; at a terminal with a prompt and what `readline` gives for editing."""
    if not sys.stdin.isatty():
        yield from (line.rstrip("\r\n") for line in sys.stdin)
        return
    import contextlib
    import importlib

    with contextlib.suppress(ImportError):  # Windows
        importlib.import_module("readline")
    while True:
        try:
            yield input(PROMPT)
        except EOFError:
            print(flush=True)
            return


if __name__ == "__main__":
    command_line.run(main)
