"""Continues a text with a trained model."""

import contextlib
import dataclasses
import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from tfrnn.cli import flags as flags_lib
from tfrnn.cli import invocation, messages, program
from tfrnn.config.config import Config
from tfrnn.config.sections import Data
from tfrnn.config.settings import TEXTS, Section, setting
from tfrnn.config.trained_run import Sampling, Trained
from tfrnn.data import run_text, text_rules
from tfrnn.data.vocabulary import NOUNS, UNKNOWN_POLICIES, Vocabulary
from tfrnn.errors import UserError
from tfrnn.inference import records
from tfrnn.runs.opening import open_corpus_of, open_run
from tfrnn.runs.run_dir import RunDir
from tfrnn.runtime import host, threads

EXAMPLES = (
    '--run_dir=runs/first --prefix="the well " --length=200',
    "--run_dir=runs/first --interactive",
)
MAX_TOTAL_TOKENS = 10**8  # of all samples, because they are held in memory
PROMPT = "> "


@dataclasses.dataclass(frozen=True)
class SampleSettings(Section):
    """What is read and written"""

    prefix: TEXTS = setting((), "text to continue (repeatable); by default the run's own")
    length: int = setting(50, "how many tokens to add", minimum=1, maximum=10**7)
    stop: str = setting(
        "",
        r"end a sample before this text, with \n for a line end: \n for names, one a line, \n\n for poems; an empty "
        "--prefix begins after it",
    )
    report_new: bool = setting(False, "with --stop: say how many of the samples are not in the training text")
    num_samples: int = setting(1, "how many samples of each prefix", minimum=1, maximum=10**5)
    beam_width: int = setting(
        0,
        "search the likeliest text instead of drawing one, keeping this many sequences at each token; 0: draw",
        minimum=0,
        maximum=10**4,
        rare=True,
    )
    seed: int = setting(0, "fixes the random numbers; with another seed another text is drawn", minimum=0, below=2**31)
    stream: bool = setting(False, "write each token as soon as it is generated")
    interactive: bool = setting(False, "type a line, read its continuation, type the next")
    unknown: str = setting(
        "error",
        "what to do with tokens of a prefix that are not in the run's vocabulary",
        choices=UNKNOWN_POLICIES,
        rare=True,
    )

    @property
    def stop_text(self) -> str:
        """The text before which a sample ends."""
        return self.stop.replace(r"\n", "\n").replace(r"\t", "\t")

    @property
    def separator(self) -> str:
        """What parts the samples: a line end, or several if these part the records of the text."""
        return self.stop_text if re.fullmatch(r"\n+", self.stop_text) else "\n"


def make_flags() -> flags_lib.Flags:
    flags = flags_lib.Flags("sample", __doc__, EXAMPLES)
    for section in (Trained, SampleSettings, Sampling):
        flags.define(section)
    return flags


def main(argv: Sequence[str]) -> None:
    flags = make_flags()
    given = flags.parse(argv)
    check_flags(given)
    remaining = dict(given)
    sample(flags.take(remaining, Trained), flags.take(remaining, SampleSettings), flags.take(remaining, Sampling))
    if not given.get("interactive"):
        messages.show_next_steps(next_steps(given))


def next_steps(given: dict[str, Any]) -> dict[str, str]:
    """Returns what to do after this command, by the flags that were given: a command line for each purpose.

    Long prefixes are not repeated.
    """
    steps, same_prefix = {}, ""
    if sum(map(len, given.get("prefix", ()))) > invocation.LONG_PREFIX:
        given, same_prefix = (
            {name: value for name, value in given.items() if name != "prefix"},
            ", with the same --prefix",
        )
    if not given.get("beam_width"):
        other = {**given, "temperature": 1.0 if given.get("temperature", 1.0) < 1 else 0.5}
        steps[f"try another temperature{same_prefix}"] = invocation.command_line("sample", *flags_lib.as_flags(other))
    if given.get("checkpoint") != "last":
        last = {**given, "checkpoint": "last"}
        steps[f"use the last weights, not the best{same_prefix}"] = invocation.command_line(
            "sample", *flags_lib.as_flags(last)
        )
    trained: dict[str, Any] = {name: given[name] for name in ("run_dir", "checkpoint") if name in given}
    steps["write with it, line by line"] = invocation.command_line(
        "sample", *flags_lib.as_flags(trained), "--interactive"
    )
    return steps


def check_flags(given: dict[str, Any]) -> None:
    """Raises UserError if the given flags contradict each other."""
    given = {name: value for name, value in given.items() if value is not False}
    if given.get("stop") == "":
        raise UserError(
            r"`stop`: expected the text before which a sample ends; got an empty one; give one, such as \n for a line "
            "end, or leave it out"
        )
    drawing = [*(field.name for field, _ in Sampling.fields()), "seed"]
    for flag, reason, excluded in (
        ("beam_width", "searches the likeliest text and draws nothing", [*drawing, "stream", "interactive", "stop"]),
        ("interactive", "reads prefixes from standard input and continues a single text", ["prefix", "num_samples"]),
    ):
        if given.get(flag) and (conflicting := [name for name in excluded if name in given]):
            raise UserError(f"`{flag}` {reason}; got `{conflicting[0]}` too; leave one of them out")
    if given.get("report_new"):
        if not given.get("stop"):
            raise UserError("`report_new` compares the records that `stop` ends; give that too, or leave it out")
        if conflicting := [name for name in ("stream", "interactive") if name in given]:
            raise UserError(f"`report_new` counts all samples at the end; got `{conflicting[0]}` too; leave one out")
    if given.get("temperature") == 0:
        conflicting = [name for name in ("top_k", "top_p", "min_p", "seed") if name in given]
        if given.get("num_samples", 1) > 1:
            conflicting.append("num_samples")
        if conflicting:
            raise UserError(
                f"`temperature=0` always takes the likeliest token; got `{conflicting[0]}` too; leave one of them out"
            )
    if "repetition_window" in given and "repetition_penalty" not in given:
        raise UserError("`repetition_window` is for `repetition_penalty`; give that too, or leave it out")


def check_sizes(settings: SampleSettings) -> None:
    """Raises UserError if the samples are too many to be held in memory, or more than the beams."""
    per_prefix = max(settings.num_samples, settings.beam_width)
    if 0 < settings.beam_width < settings.num_samples:
        raise UserError(
            f"`num_samples` must be at most `beam_width={settings.beam_width}`, which finds no more texts; got "
            f"{settings.num_samples}"
        )
    if max(1, len(settings.prefix)) * per_prefix * settings.length > MAX_TOTAL_TOKENS:
        raise UserError(
            f"`num_samples` or `beam_width` times `length` must be at most {MAX_TOTAL_TOKENS:,} tokens for all "
            f"prefixes; got {per_prefix} times {settings.length}; take less, or run the command more than once with "
            "another `seed` each time"
        )


def sample(trained: Trained, settings: SampleSettings, sampling: Sampling) -> None:
    """Prints the samples."""
    check_sizes(settings)
    opened = open_run(trained.run_dir)
    _, vocabulary, config = opened
    stop = records.as_written(vocabulary, settings.stop_text)
    if unknown := vocabulary.unknown(stop):
        raise UserError(
            f"`stop` must be of {NOUNS[vocabulary.tokens]}s that the run knows, or no text ends; got {unknown[0]!r}"
        )
    cleaned = iter(
        text_rules.clean_prefixes(filter(None, settings.prefix), config.data.text_rule, config.data.token_kind)
    )
    prefixes = tuple(next(cleaned) if prefix else "" for prefix in settings.prefix)
    beginning = "" if settings.beam_width else stop or vocabulary.line_end
    for prefix in prefixes:  # before TensorFlow loads, and before the first is continued
        vocabulary.encode_prefix(prefix or beginning, settings.unknown)
    prefixes = prefixes or config.run.prefix
    check_memory(settings, config, vocabulary)
    known = _known_records(*opened, stop) if settings.report_new else None
    host.import_tensorflow_for_command()
    threads.set_threads()
    from tfrnn.inference.generation import TextGenerator
    from tfrnn.inference.samplers import Sampler
    from tfrnn.models.loading import load_text_run

    model, vocabulary, config = load_text_run(trained.run_dir, trained.checkpoint)
    generator = TextGenerator(model, vocabulary, Sampler(**vars(sampling)), settings.seed, settings.unknown, stop)
    if settings.interactive:
        converse(generator, config.data, settings.length)
    elif settings.beam_width:
        _print_beams(generator, prefixes, settings)
    elif settings.stream:
        _print_streams(generator, prefixes, settings)
    else:
        _print_samples(generator, prefixes, settings, known)


def check_memory(settings: SampleSettings, config: Config, vocabulary: Vocabulary) -> None:
    """Raises UserError if the memory of this machine is too small for the samples."""
    rows = max(1, len(settings.prefix or config.run.prefix)) * max(settings.num_samples, settings.beam_width)
    # Logits, their sorted copies and probabilities; the random numbers of a block; the text.
    needed = rows * (40 * len(vocabulary) + 8 * 1024 + 8 * settings.length)
    host.check_memory(needed, f"sampling {rows:,} texts side by side from {len(vocabulary):,} different tokens")


def _print_samples(
    generator: Any, prefixes: Sequence[str], settings: SampleSettings, known: set[str] | None = None
) -> None:
    for i, samples in enumerate(generator.samples(prefixes, settings.length, settings.num_samples)):
        print(settings.separator[1:] if i else "", end="")
        print(*(sample.text for sample in samples), sep=settings.separator)
        if known is not None:
            messages.note(records.describe(samples, known, settings.length))


def _known_records(run: RunDir, vocabulary: Vocabulary, config: Config, stop: str) -> set[str]:
    """Returns the records of the run's training text. Raises UserError if it cannot be read, or has changed."""
    corpus = open_corpus_of(run, vocabulary, config, config.run.cache_dir, "leave `report_new` out")
    end, _ = run_text.split_bounds(corpus.survey.num_tokens, config.data)
    return records.split(corpus.part(0, end), stop)


def _print_streams(generator: Any, prefixes: Sequence[str], settings: SampleSettings) -> None:
    reading = generator.read(prefixes).repeat(settings.num_samples)
    for row, prefix in enumerate(prefix for prefix in prefixes for _ in range(settings.num_samples)):
        sys.stdout.write((settings.separator[1:] if row else "") + prefix)
        for piece, _ in generator.stream(reading.row(row), settings.length, prefix):
            _write_now(piece)
        print(flush=True)


def _print_beams(generator: Any, prefixes: Sequence[str], settings: SampleSettings) -> None:
    from tfrnn.inference.beams import beam_search

    model, vocabulary = generator.model, generator.vocabulary
    for prefix in prefixes:
        beams = beam_search(model, vocabulary, prefix, settings.length, settings.beam_width, settings.unknown)
        for beam in beams[: settings.num_samples]:
            print(beam.text, flush=True)
            messages.note(f"log-probability {beam.score:.4f}, {-beam.score / settings.length:.4f} nats a token")


def _write_now(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def converse(generator: Any, data: Data, length: int) -> None:
    """Reads lines from standard input until its end, and continues the text after each of them by `length` tokens.

    An empty line continues the text without adding to it. Ctrl-C ends only the continuation being written.
    """
    reading = None
    for line in _read_lines():
        try:
            reading = _read_line(generator, data, line, reading)
        except UserError as error:  # the conversation continues without this line
            messages.show_error(str(error).replace("`prefix` ", "", 1))
            continue
        pieces = generator.stream(reading, length, line)
        with contextlib.suppress(KeyboardInterrupt):
            for piece, reading_after in pieces:
                reading = reading_after
                _write_now(piece)
        print(flush=True)


def _read_line(generator: Any, data: Data, line: str, after: Any) -> Any:
    """Lets the model read a line after the text so far. Raises UserError if it cannot, or there is no text at all."""
    if line:
        (text,) = text_rules.clean_prefixes([line], data.text_rule, data.token_kind)
        if after is not None and line[0].isspace() and not text[0].isspace() and data.tokens != "word":
            text = f" {text}"  # the text rule strips it, but this is not the beginning of the text
        return generator.read([text], after)
    if after is None:
        raise UserError("expected a text to continue; got an empty line")
    return after


def _read_lines() -> Iterator[str]:
    """Yields the lines of standard input; at a terminal with a prompt, and with line editing by `readline`."""
    if not sys.stdin.isatty():
        yield from (line.rstrip("\r\n") for line in sys.stdin)
        return
    with contextlib.suppress(ImportError):  # there is none on Windows
        importlib.import_module("readline")
    while True:
        try:
            if sys.stdout.isatty():
                yield input(PROMPT)
            else:  # stdout is for results
                sys.stderr.write(PROMPT)
                sys.stderr.flush()
                yield input()
        except EOFError:
            messages.note("")
            return


if __name__ == "__main__":
    program.run(main)
