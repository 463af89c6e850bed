"""Continues a text with what a trained model makes of it."""

import contextlib
import dataclasses
import importlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from tfrnn.cli import flags as flags_lib
from tfrnn.cli import invocation, messages, program
from tfrnn.config.config import Config
from tfrnn.config.settings import TEXTS, Section, setting
from tfrnn.config.trained_run import Sampling, Trained
from tfrnn.data import text_rules
from tfrnn.data.vocabulary import UNKNOWN_POLICIES, Vocabulary
from tfrnn.errors import UserError
from tfrnn.runtime import host, threads

EXAMPLES = (
    '--run_dir=runs/first --prefix="the well " --length=200',
    "--run_dir=runs/first --interactive",
)
MOST_TOKENS = 10**8  # of all samples, which are held in memory
PROMPT = "> "


@dataclasses.dataclass(frozen=True)
class Sample(Section):
    """What is read and written"""

    prefix: TEXTS = setting((), "text to continue (repeatable); else the run's own")
    length: int = setting(50, "how many tokens to add", minimum=1, maximum=10**7)
    num_samples: int = setting(1, "samples for each prefix", minimum=1, maximum=10**5)
    beam_width: int = setting(
        0,
        "draw nothing, but search the likeliest text, keeping so many beginnings; 0: draw",
        minimum=0,
        maximum=10**4,
        rare=True,
    )
    seed: int = setting(0, "fixes what is drawn; another number, another text", minimum=0, below=2**31)
    stream: bool = setting(False, "write each token as it comes")
    interactive: bool = setting(False, "type a line, read on, type the next")
    unknown: str = setting(
        "error",
        "what to do with tokens of a prefix that the run does not know",
        choices=UNKNOWN_POLICIES,
        rare=True,
    )


def make_flags() -> flags_lib.Flags:
    flags = flags_lib.Flags("sample", __doc__, EXAMPLES)
    for section in (Trained, Sample, Sampling):
        flags.define(section)
    return flags


def main(argv: Sequence[str]) -> None:
    flags = make_flags()
    given = flags.parse(argv)
    check(given)
    rest = dict(given)
    sample(flags.take(rest, Trained), flags.take(rest, Sample), flags.take(rest, Sampling))
    if not given.get("interactive"):
        messages.show_next_steps(further(given))


def further(given: dict[str, Any]) -> dict[str, str]:
    """What to do after the samples, by the flags that were given."""
    steps = {}
    if not given.get("beam_width"):
        other = {**given, "temperature": 1.0 if given.get("temperature", 1.0) < 1 else 0.5}
        steps["try another temperature"] = invocation.command_line("sample", *flags_lib.as_flags(other))
    if given.get("checkpoint") != "last":
        last = {**given, "checkpoint": "last"}
        steps["use the last weights, not the best"] = invocation.command_line("sample", *flags_lib.as_flags(last))
    talk: dict[str, Any] = {name: given[name] for name in ("run_dir", "checkpoint") if name in given}
    steps["write with it, line by line"] = invocation.command_line("sample", *flags_lib.as_flags(talk), "--interactive")
    return steps


def check(given: dict[str, Any]) -> None:
    """Raises UserError where the given flags contradict each other."""
    given = {name: value for name, value in given.items() if value is not False}
    drawing = [*(field.name for field, _ in Sampling.fields()), "seed"]
    for flag, why, others in (
        ("beam_width", "searches the likeliest text and draws nothing", [*drawing, "stream", "interactive"]),
        ("interactive", "reads prefixes from standard input, and writes on one text", ["prefix", "num_samples"]),
    ):
        if given.get(flag) and (found := [other for other in others if other in given]):
            raise UserError(f"--{flag} {why}; got --{found[0]} too; leave one of them out")
    if given.get("temperature") == 0:
        several = ["num_samples"] if given.get("num_samples", 1) > 1 else []
        if found := [name for name in ("top_k", "top_p", "min_p") if name in given] + several:
            raise UserError(
                f"--temperature=0 takes the likeliest token always; got --{found[0]} too; leave one of them out"
            )
    if "repetition_window" in given and "repetition_penalty" not in given:
        raise UserError("--repetition_window is for --repetition_penalty; give that too, or leave it out")


def sample(trained: Trained, settings: Sample, sampling: Sampling) -> None:
    """Prints the samples."""
    side_by_side = max(settings.num_samples, settings.beam_width)
    if 0 < settings.beam_width < settings.num_samples:
        raise UserError(
            f"--num_samples must be at most --beam_width={settings.beam_width}, which finds no more texts; got "
            f"{settings.num_samples}"
        )
    if max(1, len(settings.prefix)) * side_by_side * settings.length > MOST_TOKENS:
        raise UserError(
            f"--num_samples or --beam_width times --length must be at most {MOST_TOKENS:,} tokens for all prefixes; "
            f"got {side_by_side} times {settings.length}; take less, or more than one command with another --seed"
        )
    host.import_tensorflow_quietly()
    threads.set_threads()
    from tfrnn.inference.samplers import Sampler
    from tfrnn.runs.loading import load_run

    model, vocabulary, config = load_run(trained.run_dir, trained.checkpoint)
    sampler = Sampler(**vars(sampling))
    rows = max(1, len(settings.prefix or config.run.prefix)) * side_by_side
    # Logits, what they are sorted into, and probabilities; the section of random numbers; the text.
    needed = rows * (40 * len(vocabulary) + 8 * 1024 + 8 * settings.length)
    host.check_memory(needed, f"sampling {rows:,} texts side by side from {len(vocabulary):,} different tokens")
    if settings.interactive:
        converse(model, vocabulary, config, settings, sampler)
        return
    prefixes = text_rules.clean_prefixes(settings.prefix, config.data.text_rule, config.data.tokens)
    prefixes = prefixes or config.run.prefix
    for prefix in prefixes:
        vocabulary.encode_prefix(prefix, settings.unknown)  # all are checked before the first is continued
    if settings.beam_width:
        _print_beams(model, vocabulary, prefixes, settings)
    elif settings.stream:
        _print_streams(model, vocabulary, prefixes, settings, sampler)
    else:
        _print_samples(model, vocabulary, prefixes, settings, sampler)


def _print_samples(model: Any, vocabulary: Vocabulary, prefixes: Sequence[str], settings: Sample, sampler: Any) -> None:
    from tfrnn.inference.generation import generate_many

    samples = generate_many(
        model, vocabulary, prefixes, settings.length, settings.num_samples, sampler, settings.seed, settings.unknown
    )
    for text in (text for of_prefix in samples for text in of_prefix):
        print(text)


def _print_streams(model: Any, vocabulary: Vocabulary, prefixes: Sequence[str], settings: Sample, sampler: Any) -> None:
    from tfrnn.inference.generation import stream_on
    from tfrnn.inference.reading import read_prefixes

    reading = read_prefixes(model, vocabulary, prefixes, None, settings.unknown).repeat(settings.num_samples)
    for row, prefix in enumerate(prefix for prefix in prefixes for _ in range(settings.num_samples)):
        sys.stdout.write(prefix)
        for piece, _ in stream_on(model, vocabulary, reading.row(row), settings.length, sampler, settings.seed):
            sys.stdout.write(piece)
            sys.stdout.flush()
        print(flush=True)


def _print_beams(model: Any, vocabulary: Vocabulary, prefixes: Sequence[str], settings: Sample) -> None:
    from tfrnn.inference.beams import beam_search

    for prefix in prefixes:
        beams = beam_search(model, vocabulary, prefix, settings.length, settings.beam_width, settings.unknown)
        for beam in beams[: settings.num_samples]:
            print(beam.text, flush=True)
            messages.note(f"log-probability {beam.score:.4f}, {-beam.score / settings.length:.4f} nats a token")


def converse(model: Any, vocabulary: Vocabulary, config: Config, settings: Sample, sampler: Any) -> None:
    """Reads a line, goes on from it, and so on until the end of the input; an empty line goes on from where it is."""
    from tfrnn.inference.generation import stream_on
    from tfrnn.inference.reading import Reading, read_prefixes

    rule, tokens = config.data.text_rule, config.data.tokens
    reading: Reading | None = None
    for line in _lines():
        try:
            if line:
                (text,) = text_rules.clean_prefixes([line], rule, tokens)
                if reading is not None and line[0].isspace() and not text[0].isspace() and tokens == "char":
                    text = f" {text}"  # which a rule strips from a text's beginning; here it is none
                reading = read_prefixes(model, vocabulary, [text], reading, settings.unknown)
            elif reading is None:
                raise UserError("expected a text to go on from; got an empty line")
        except UserError as error:  # the line is wrong, not what came before
            messages.show_error(str(error).removeprefix("--prefix "))
            continue
        with contextlib.suppress(KeyboardInterrupt):  # which ends this text alone
            for piece, later in stream_on(model, vocabulary, reading, settings.length, sampler, settings.seed):
                reading = later
                sys.stdout.write(piece)
                sys.stdout.flush()
        print(flush=True)


def _lines() -> Iterator[str]:
    """The lines of standard input; at a terminal with a prompt and what `readline` gives for editing."""
    if not sys.stdin.isatty():
        yield from (line.rstrip("\r\n") for line in sys.stdin)
        return
    with contextlib.suppress(ImportError):  # Windows
        importlib.import_module("readline")
    while True:
        try:
            if sys.stdout.isatty():
                yield input(PROMPT)
            else:  # the prompt is no result
                sys.stderr.write(PROMPT)
                sys.stderr.flush()
                yield input()
        except EOFError:
            messages.note("")
            return


if __name__ == "__main__":
    program.run(main)
