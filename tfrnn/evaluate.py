"""Measures how well a trained model predicts a text, and shows which tokens surprise it.

Without --corpus or --text_file the text is the one that the run held out.
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrnn.cli import flags as flags_lib
from tfrnn.cli import invocation, messages, program
from tfrnn.config.config import Config
from tfrnn.config.sections import Run, check_encoding
from tfrnn.config.settings import Section, setting
from tfrnn.config.trained_run import Sampling, Trained
from tfrnn.data import run_text, text_rules
from tfrnn.data.corpora import catalogue
from tfrnn.data.run_text import SurveyedCorpus
from tfrnn.data.text_rules import NOUNS
from tfrnn.data.vocabulary import UNKNOWN, Vocabulary
from tfrnn.errors import MissingFileError, UserError
from tfrnn.inference import memorisation
from tfrnn.runs.opening import open_corpus_of, open_run
from tfrnn.runtime import host, threads

EXAMPLES = (
    "--run_dir=runs/first --heatmap=surprise.html",
    "--run_dir=runs/first --text_file=other.txt",
)
# What to do if the run's own text cannot be had.
OTHERWISE = "read another by `corpus` or `text_file`, with `part=held_out` if it is the same, without `memorised`"
PARTS = {"held_out": "what it held out of", "training": "what it was trained on of", "all": "all of"}  # in titles


@dataclasses.dataclass(frozen=True)
class TextChoice(Section):
    """The text"""

    corpus: str = setting("", "another corpus, or paths of texts, cleaned as the run's own was", several=True)
    text_file: str = setting("", "path of a text, cleaned as the run's own was")
    encoding: str = setting(
        "auto", "encoding of that text; auto: UTF-8, or what a byte order mark at its beginning tells", rare=True
    )
    part: str = setting(
        "auto",
        "which part of the text: held_out or training, as the run divides its own text, or all; auto: all of the text "
        "if --corpus or --text_file names one, else held_out",
        choices=("auto", *PARTS),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.corpus and self.text_file:
            raise UserError(f"expected `corpus` or `text_file`; got {self.corpus} and {self.text_file}; leave one out")
        check_encoding(self.encoding)
        if self.encoding != "auto" and not self.name_or_path:
            raise UserError(
                f"`encoding={self.encoding}` is for `corpus` or `text_file`; the run's own text is read as it was in "
                "training; leave it out"
            )

    @property
    def name_or_path(self) -> str:
        """The corpus or file that was asked for; empty for the run's own corpus."""
        return self.corpus or self.text_file

    @property
    def resolved_part(self) -> str:
        """The part of the text, a key of PARTS: what `auto` means here, or the part that was given."""
        return self.part if self.part != "auto" else "all" if self.name_or_path else "held_out"


@dataclasses.dataclass(frozen=True)
class OutputFiles(Section):
    """What is written"""

    heatmap: str = setting("", "HTML file to write: the text, coloured by how surprising each token was")
    heatmap_tokens: int = setting(
        20_000, "for --heatmap: how many tokens of the text it shows", minimum=2, maximum=10**7, rare=True
    )
    json_lines: str = setting("", "file to write: a JSON object for each token")

    def __post_init__(self) -> None:
        super().__post_init__()
        for flag, path in self.paths().items():
            flags_lib.check_output_file(flag, path)
        if len({Path(path).resolve() for path in self.paths().values()}) < len(self.paths()):
            raise UserError(f"expected `heatmap` and `json_lines` to be two files; got {self.heatmap} for both")

    def paths(self) -> dict[str, str]:
        """The paths of the files to write, by their flags."""
        paths = {"heatmap": self.heatmap, "json_lines": self.json_lines}
        return {flag: path for flag, path in paths.items() if path}


@dataclasses.dataclass(frozen=True)
class MemorisationTest(Section):
    """How much of the training text the model has memorised"""

    memorised: bool = setting(
        False, "also generate a text, and show how much of it is found verbatim in the training text"
    )
    length: int = setting(5_000, "for --memorised: how many tokens to generate", minimum=1, maximum=10**6, rare=True)
    seed: int = setting(0, "for --memorised: fixes the random numbers", minimum=0, below=2**31, rare=True)


def make_flags() -> flags_lib.Flags:
    flags = flags_lib.Flags("evaluate", __doc__, EXAMPLES)
    for section in (Trained, TextChoice, OutputFiles, MemorisationTest):
        flags.define(section)
    flags.define(Sampling, ["temperature"], title="How the text for --memorised is generated")
    flags.define(Run, ["cache_dir"], title="Large texts")
    return flags


def main(argv: Sequence[str]) -> None:
    flags = make_flags()
    given = flags.parse(argv)
    check_flags(given)
    remaining = dict(given)
    sections = [
        flags.take(remaining, section)
        for section in (Trained, TextChoice, OutputFiles, MemorisationTest, Sampling, Run)
    ]
    evaluate(*sections)  # type: ignore[arg-type]
    messages.show_next_steps(next_steps(given))


def check_flags(given: dict[str, Any]) -> None:
    """Raises UserError if a flag is given that has no effect without another one."""
    for required, names in (("memorised", ("length", "temperature", "seed")), ("heatmap", ("heatmap_tokens",))):
        if not given.get(required) and (without_effect := [name for name in names if name in given]):
            raise UserError(f"`{without_effect[0]}` is for `{required}`; give that too, or leave it out")


def next_steps(given: dict[str, Any]) -> dict[str, str]:
    """Returns what to do after this command, by the flags that were given: a command line for each purpose."""
    run_dir, steps = given["run_dir"], {}
    if "heatmap" not in given:
        repeated = [field.name for section in (Trained, TextChoice) for field, _ in section.fields()]
        again = {name: given[name] for name in repeated if name in given}
        again["heatmap"] = str(Path(run_dir, "heatmap.html"))
        steps["see where it was surprised"] = invocation.command_line("evaluate", *flags_lib.as_flags(again))
    trained: dict[str, Any] = {name: given[name] for name in ("run_dir", "checkpoint") if name in given}
    steps["use the model elsewhere"] = invocation.command_line("export", *flags_lib.as_flags(trained))
    return steps


def evaluate(
    trained: Trained,
    choice: TextChoice,
    outputs: OutputFiles,
    memorisation_test: MemorisationTest,
    sampling: Sampling,
    run: Run,
) -> None:
    """Prints how well the model predicts the text, and writes the files that were asked for."""
    check_outputs_are_not_inputs(trained, choice, outputs)
    opened = open_run(trained.run_dir)
    _, vocabulary, config = opened
    memorised = memorisation_test.memorised
    needs_run_corpus = memorised or not choice.name_or_path
    run_corpus = open_corpus_of(*opened, run.cache_dir, OTHERWISE) if needs_run_corpus else None
    text = read_text(choice, config, run_corpus, memorised, run.cache_dir)

    ids = vocabulary.encode(text, "unk")
    _check_predictable(vocabulary, text, ids)

    host.import_tensorflow_for_command()
    threads.set_threads()
    from tfrnn.inference.scoring import score
    from tfrnn.models.loading import load_run

    model, _, _ = load_run(trained.run_dir, trained.checkpoint)
    scored = score(model, ids)
    tokens, noun = vocabulary.split(text), NOUNS[vocabulary.tokens]
    result, remarks = describe(scored, tokens, vocabulary.tokens)
    remarks = [*_remarks_on_unknown(ids, scored, noun), *remarks]
    for remark in remarks:
        messages.note(remark)

    if outputs.json_lines:
        rows = _json_rows(tokens, ids, scored, vocabulary)
        _write("json_lines", outputs.json_lines, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    if outputs.heatmap:
        text_name = choice.name_or_path or config.data.corpus
        # Not its path: the page may be sent to others.
        text_title = catalogue.title_of(text_name)
        title = f"{Path(trained.run_dir).name} reads {PARTS[choice.resolved_part]} {text_title}"
        page = _heat_map_page(title, outputs.heatmap_tokens, tokens, model, vocabulary, config, [result, *remarks])
        _write("heatmap", outputs.heatmap, [page])
    if memorised:
        assert run_corpus
        for line in _report_memorisation(model, vocabulary, config, memorisation_test, sampling, run_corpus):
            print(line)
    print(result)


def describe(scored: Any, tokens: Sequence[str], kind: str) -> tuple[str, list[str]]:
    """Returns the closing line, and remarks that tell the bits of a character beside those of a word, and so on.

    Args:
      scored: the Score.
      tokens: those of the text, of which all but the first were predicted.
      kind: what they are, a key of `text_rules.NOUNS`.
    """
    noun, num_tokens = NOUNS[kind], len(scored.nats)
    num_characters = len(text_rules.join(tokens, kind)) - len(text_rules.join(tokens[:1], kind))
    perplexity = f"perplexity {_format_perplexity(scored.perplexity)}"
    per_token = f"{scored.bits_per_char:.4f} bits/{noun} over {num_tokens} {noun}s"
    per_character = f"{scored.bits.sum(dtype=float) / num_characters:.4f} bits/char over {num_characters} characters"
    if kind == "char":
        return f"{perplexity}, {per_character}", []
    if kind == "bpe":  # bits of a token would compare with nothing
        return f"{perplexity}, {per_character}", [f"the perplexity is that of a token: {per_token}"]
    return f"{perplexity}, {per_token}", [per_character]


def check_outputs_are_not_inputs(trained: Trained, choice: TextChoice, outputs: OutputFiles) -> None:
    """Raises UserError if a file to write is the text to read or a file of the run."""
    from tfrnn.runs.run_dir import RunDir

    texts = {Path(path).resolve() for path in catalogue.paths_of(choice.name_or_path)} if choice.name_or_path else set()
    for flag, path in outputs.paths().items():
        if Path(path).resolve() in texts or RunDir(trained.run_dir).is_run_file(path):
            raise UserError(f"`{flag}={path}`: expected a file that this command does not read; name another")


def read_text(
    choice: TextChoice, config: Config, run_corpus: SurveyedCorpus | None, use_training_text: bool, cache_dir: str
) -> str:
    """Reads the text to evaluate, cleaned as the run's was.

    Args:
      choice: which text and which part of it.
      config: the run's.
      run_corpus: the run's own corpus; used if `choice` names no other.
      use_training_text: whether to take the training text, with a note, if the run held out none and `choice` asks for
        no part.
      cache_dir: the folder in which large texts are cached.
    """
    data, name = config.data, choice.name_or_path
    if choice.text_file:
        if not Path(choice.text_file).exists():
            raise MissingFileError(
                f"`text_file` must be the path of a text; the file {choice.text_file!r} does not exist"
            )
        name = str(Path(choice.text_file).absolute())  # a relative path might be the name of a corpus
    if name:
        corpus = SurveyedCorpus(name, data.text_rule, data.token_kind, cache_dir, choice.encoding)
    else:
        assert run_corpus
        corpus = run_corpus
    if choice.resolved_part == "all":
        return corpus.part(0, corpus.survey.num_tokens)
    ranges = part_ranges(corpus, config)
    begin, end = ranges[choice.resolved_part]
    if end - begin >= 2:
        return corpus.part(begin, end)
    if use_training_text and choice.part == "auto":
        messages.note("the run held out no text: the text that it was trained on is measured instead")
        return corpus.part(*ranges["training"])
    raise UserError(
        f"`part={choice.resolved_part}`: expected at least two tokens, but that part of the text has fewer; give "
        "`part=training`, `corpus` or `text_file`"
    )


def part_ranges(corpus: SurveyedCorpus, config: Config) -> dict[str, tuple[int, int]]:
    """Returns the first and the last position (exclusive) of each part of a text, divided as the run divides its own.

    Positions count tokens. The parts are keys of PARTS, without `all`.
    """
    data = config.data
    end, held_out_end = run_text.split_bounds(corpus.survey.num_tokens, data)
    return {"training": (0, end), "held_out": (end, held_out_end)}


def _check_predictable(vocabulary: Vocabulary, text: str, ids: np.ndarray) -> None:
    noun = NOUNS[vocabulary.tokens]
    if len(ids) < 2:
        raise UserError(f"expected a text of at least two {noun}s, of which the first is given; got {text[:40]!r}")
    if not ids.any():
        raise UserError(
            f"expected a text with {noun}s of the run's vocabulary; got none that it knows in {text[:40]!r}; is the "
            "text in another language, or in upper case while the run's is in lower case?"
        )


def _remarks_on_unknown(ids: np.ndarray, scored: Any, noun: str) -> list[str]:
    unknown = ids[1:] == 0
    if not unknown.any():
        return []
    known = scored._replace(nats=scored.nats[~unknown])
    of_known = f"; perplexity of the known ones: {_format_perplexity(known.perplexity)}" if len(known.nats) else ""
    return [
        f"{int(unknown.sum()):,} of the {len(unknown):,} predicted {noun}s are not in the run's vocabulary: read and "
        f"predicted as {UNKNOWN}{of_known}"
    ]


def _format_perplexity(perplexity: float) -> str:
    return f"{perplexity:.4f}" if perplexity < 1e6 else f"{perplexity:.5e}"


def _json_rows(tokens: list[str], ids: np.ndarray, scored: Any, vocabulary: Vocabulary) -> Iterator[dict[str, Any]]:
    predictions = zip(scored.bits, _likeliest_tokens(scored, vocabulary), strict=True)
    for position, (bits, likeliest) in enumerate(predictions, 1):
        yield {
            "position": position,
            "token": text_rules.shown(tokens[position]),
            "bits": round(float(bits), 4),
            "unknown": bool(ids[position] == 0),
            "likeliest": [[token, round(probability, 4)] for token, probability in likeliest],
        }


def _likeliest_tokens(scored: Any, vocabulary: Vocabulary) -> Iterator[list[tuple[str, float]]]:
    """Yields, for each predicted token, the tokens that the model thought likeliest, with their probabilities."""
    for ids, probabilities in zip(scored.likeliest, scored.probabilities, strict=True):
        yield [(text_rules.shown(vocabulary.id_to_token[i]), float(p)) for i, p in zip(ids, probabilities, strict=True)]


def _heat_map_page(
    title: str,
    max_tokens: int,
    tokens: list[str],
    model: Any,
    vocabulary: Vocabulary,
    config: Config,
    remarks: list[str],
) -> str:
    from tfrnn.formats.page import show

    shown = tokens[:max_tokens]
    if len(shown) < len(tokens):
        noun = NOUNS[vocabulary.tokens]
        remarks = [*remarks, f"Shown are the first {len(shown):,} of {len(tokens):,} {noun}s."]
    text = text_rules.join(shown, vocabulary.tokens)
    return show(model, vocabulary, text, title, config.run.prefix[0], config.data.text_rule, remarks).html


def _report_memorisation(
    model: Any,
    vocabulary: Vocabulary,
    config: Config,
    settings: MemorisationTest,
    sampling: Sampling,
    run_corpus: SurveyedCorpus,
) -> list[str]:
    from tfrnn.inference.generation import generate
    from tfrnn.inference.samplers import Sampler

    prefix = config.run.prefix[0]
    sampler = Sampler(**vars(sampling))
    generated = generate(model, vocabulary, prefix, settings.length, sampler, settings.seed)[len(prefix) :]
    parts = {name: run_corpus.part(*limits) for name, limits in part_ranges(run_corpus, config).items()}
    return memorisation.report(generated, parts["held_out"], parts["training"])


def _write(flag: str, path: str, parts: Sequence[str] | Iterator[str]) -> None:
    try:
        with open(path, "w", encoding="utf-8", errors="replace", newline="") as file:
            file.writelines(parts)
    except OSError as error:
        raise UserError(f"`{flag}={path}`: expected a file that can be written, but {error.strerror}") from None
    messages.note(f"{flag}: {path}")


if __name__ == "__main__":
    program.run(main)
