"""Measures how well a trained model predicts a text, and shows where.

Without --corpus or --text_file the text is what the run held out.
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
from tfrnn.config.sections import Run
from tfrnn.config.settings import Section, setting
from tfrnn.config.trained_run import Sampling, Trained
from tfrnn.data import run_text, text_rules
from tfrnn.data.run_text import Corpus
from tfrnn.data.vocabulary import NOUNS, UNKNOWN, Vocabulary
from tfrnn.errors import MissingFileError, UserError
from tfrnn.inference import memorisation
from tfrnn.plots.heat_map import heat_map
from tfrnn.runtime import host, threads

EXAMPLES = (
    "--run_dir=runs/first --heatmap=surprise.html",
    "--run_dir=runs/first --text_file=other.txt",
)
PARTS = {"held_out": "what it held out of", "training": "what it was trained on of", "all": "all of"}


@dataclasses.dataclass(frozen=True)
class Read(Section):
    """What is read"""

    corpus: str = setting("", "another corpus; cleaned as the run's own was")
    text_file: str = setting("", "path of a UTF-8 text; cleaned as the run's own was")
    part: str = setting(
        "auto",
        "which part of the text: held_out or training, as the run cuts its own, or all; auto: all of a text that is "
        "named, else held_out",
        choices=("auto", *PARTS),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.corpus and self.text_file:
            raise UserError(f"expected --corpus or --text_file; got {self.corpus} and {self.text_file}; leave one out")

    @property
    def named(self) -> str:
        """The text that was asked for; empty for the run's own."""
        return self.corpus or self.text_file

    @property
    def which(self) -> str:
        """A key of PARTS."""
        return self.part if self.part != "auto" else "all" if self.named else "held_out"


@dataclasses.dataclass(frozen=True)
class Written(Section):
    """What is written"""

    heatmap: str = setting("", "HTML file to write: the text on colours, for how surprising each token was")
    heatmap_tokens: int = setting(20_000, "how many tokens of the text are in it", minimum=2, maximum=10**7, rare=True)
    json_lines: str = setting("", "file to write: a JSON object for each token")

    def __post_init__(self) -> None:
        super().__post_init__()
        for flag in ("heatmap", "json_lines"):
            if getattr(self, flag):
                flags_lib.check_output_file(flag, getattr(self, flag))
        if self.heatmap and self.json_lines and Path(self.heatmap).resolve() == Path(self.json_lines).resolve():
            raise UserError(f"expected --heatmap and --json_lines to be two files; got {self.heatmap} for both")


@dataclasses.dataclass(frozen=True)
class Memorised(Section):
    """What was learnt by heart"""

    memorised: bool = setting(False, "also let it write a text, and say how much of that stands in the training text")
    length: int = setting(5_000, "for --memorised: tokens that it writes", minimum=1, maximum=10**6, rare=True)
    seed: int = setting(0, "for --memorised: fixes what is drawn", minimum=0, below=2**31, rare=True)


def make_flags() -> flags_lib.Flags:
    flags = flags_lib.Flags("evaluate", __doc__, EXAMPLES)
    for section in (Trained, Read, Written, Memorised):
        flags.define(section)
    flags.define(Sampling, ["temperature"], title="How the text of --memorised is drawn")
    flags.define(Run, ["cache_dir"], title="Large texts")
    return flags


def main(argv: Sequence[str]) -> None:
    flags = make_flags()
    given = flags.parse(argv)
    for owner, names in (("memorised", ("length", "temperature", "seed")), ("heatmap", ("heatmap_tokens",))):
        if found := [name for name in names if name in given and not given.get(owner)]:
            raise UserError(f"--{found[0]} is for --{owner}; give that too, or leave it out")
    rest = dict(given)
    sections = [flags.take(rest, section) for section in (Trained, Read, Written, Memorised, Sampling, Run)]
    evaluate(*sections)  # type: ignore[arg-type]
    messages.show_next_steps(further(given))


def further(given: dict[str, Any]) -> dict[str, str]:
    """What to do after the measures, by the flags that were given."""
    run_dir, steps = given["run_dir"], {}
    if "heatmap" not in given:
        same = [field.name for section in (Trained, Read) for field, _ in section.fields()]
        page = {name: given[name] for name in same if name in given} | {"heatmap": str(Path(run_dir, "heatmap.html"))}
        steps["see where it was surprised"] = invocation.command_line("evaluate", *flags_lib.as_flags(page))
    trained: dict[str, Any] = {name: given[name] for name in ("run_dir", "checkpoint") if name in given}
    steps["use the model elsewhere"] = invocation.command_line("export", *flags_lib.as_flags(trained))
    return steps


def evaluate(
    trained: Trained, what: Read, written: Written, memorised: Memorised, sampling: Sampling, where: Run
) -> None:
    """Prints the measures, and writes what was asked for."""
    host.import_tensorflow_quietly()
    threads.set_threads()
    from tfrnn.inference.scoring import score
    from tfrnn.runs.loading import load_run
    from tfrnn.runs.run_dir import RunDir

    for flag in ("heatmap", "json_lines"):
        path = getattr(written, flag)
        read_too = bool(what.named) and Path(path).resolve() == Path(what.named).resolve()
        if path and (read_too or RunDir(trained.run_dir).owns(path)):
            raise UserError(f"--{flag}={path}: expected a file that is not read here; name another")
    model, vocabulary, config = load_run(trained.run_dir, trained.checkpoint)
    own = None if what.named and not memorised.memorised else open_own(trained, vocabulary, config, where.cache_dir)
    text = read(what, config, own, memorised.memorised, where.cache_dir)
    ids = vocabulary.encode(text, "unk")
    _check_known(vocabulary, text, ids)
    scored = score(model, ids)
    tokens, noun = text_rules.split(text, vocabulary.tokens), NOUNS[vocabulary.tokens]
    remarks = _remarks(ids, scored, noun)
    for remark in remarks:
        messages.note(remark)
    bits = f"{scored.bits_per_char:.4f} bits/{'char' if noun == 'character' else noun}"
    result = f"perplexity {_shown(scored.perplexity)}, {bits} over {len(scored.nats)} {noun}s"
    if written.json_lines:
        rows = _rows(tokens, ids, scored, vocabulary)
        _write("json_lines", written.json_lines, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    if written.heatmap:
        title = f"{Path(trained.run_dir).name} reads {PARTS[what.which]} {what.named or config.data.corpus}"
        page = _page(title, written.heatmap_tokens, tokens, scored, vocabulary, [result, *remarks])
        _write("heatmap", written.heatmap, [page])
    if memorised.memorised:
        assert own
        for line in _by_heart(model, vocabulary, config, memorised, sampling, own):
            print(line)
    print(result)


def open_own(trained: Trained, vocabulary: Vocabulary, config: Config, cache_dir: str) -> Corpus:
    """The run's own corpus. Raises UserError where its text is not as it was trained on."""
    from tfrnn.runs.run_dir import RunDir

    data = config.data
    try:
        corpus = Corpus(data.corpus, data.text_rule, data.tokens, cache_dir)  # the run's own may be a stranger's
    except MissingFileError as error:
        raise MissingFileError(
            f"--run_dir {trained.run_dir}: expected the run's own corpus {data.corpus!r}, but it cannot be had "
            f"({error}); evaluate from where train was called, or give --corpus=PATH with --part=held_out"
        ) from None
    RunDir(trained.run_dir).check_text(bytes.fromhex(corpus.survey.sha256), config, vocabulary)
    return corpus


def read(what: Read, config: Config, own: Corpus | None, memorised: bool, cache_dir: str) -> str:
    """The text to evaluate, cleaned as the run's was; with `memorised` there may be none held out."""
    data, named = config.data, what.named
    if what.text_file:
        if not Path(what.text_file).exists():
            raise MissingFileError(f"--text_file must be the path of a text; there is no file {what.text_file!r}")
        named = str(Path(what.text_file).absolute())  # a file, though it may have the name of a corpus
    corpus = Corpus(named, data.text_rule, data.tokens, cache_dir) if named else own
    assert corpus
    if what.which == "all":
        return corpus.part(0, corpus.survey.num_tokens)
    parts = parts_of(corpus, config)
    begin, end = parts[what.which]
    if end - begin >= 2:
        return corpus.part(begin, end)
    if memorised and what.part == "auto":
        messages.note("the run held out no text: what is measured is the text that it was trained on")
        return corpus.part(*parts["training"])
    raise UserError(
        f"--part={what.which}: expected two tokens at least, but that part of the text has fewer; give "
        "--part=training, --corpus or --text_file"
    )


def parts_of(corpus: Corpus, config: Config) -> dict[str, tuple[int, int]]:
    """Where the parts of its text begin and end, in tokens, as a run cuts its own."""
    data = config.data
    end, held_out_end = run_text.bounds(corpus.survey.num_tokens, data.max_tokens, data.validation_tokens)
    return {"training": (0, end), "held_out": (end, held_out_end)}


def _check_known(vocabulary: Vocabulary, text: str, ids: np.ndarray) -> None:
    noun = NOUNS[vocabulary.tokens]
    if len(ids) < 2:
        raise UserError(f"expected a text of two {noun}s at least, of which the first is given; got {text[:40]!r}")
    if not ids.any():
        raise UserError(
            f"expected a text with {noun}s of the run's vocabulary, got none that it knows in {text[:40]!r}; is it "
            "of another language, or of upper case where the run has lower?"
        )


def _remarks(ids: np.ndarray, scored: Any, noun: str) -> list[str]:
    unknown = ids[1:] == 0
    if not unknown.any():
        return []
    known = scored._replace(nats=scored.nats[~unknown])
    rest = f"; over the others alone: perplexity {_shown(known.perplexity)}" if len(known.nats) else ""
    return [
        f"{int(unknown.sum()):,} of the {len(unknown):,} predicted {noun}s are not in the run's vocabulary: read and "
        f"predicted as {UNKNOWN}{rest}"
    ]


def _shown(perplexity: float) -> str:
    return f"{perplexity:.4f}" if perplexity < 1e6 else f"{perplexity:.5e}"


def _rows(tokens: list[str], ids: np.ndarray, scored: Any, vocabulary: Vocabulary) -> Iterator[dict[str, Any]]:
    for i, (bits, best) in enumerate(zip(scored.bits, _likeliest(scored, vocabulary), strict=True), 1):
        yield {
            "position": i,
            "token": tokens[i],
            "bits": round(float(bits), 4),
            "unknown": bool(ids[i] == 0),
            "likeliest": [[token, round(share, 4)] for token, share in best],
        }


def _likeliest(scored: Any, vocabulary: Vocabulary) -> Iterator[list[tuple[str, float]]]:
    names = vocabulary.id_to_token
    for ids, shares in zip(scored.likeliest, scored.probabilities, strict=True):
        yield [(names[i], float(share)) for i, share in zip(ids, shares, strict=True)]


def _page(title: str, most: int, tokens: list[str], scored: Any, vocabulary: Vocabulary, remarks: list[str]) -> str:
    shown = tokens[:most]
    if len(shown) < len(tokens):
        remarks = [*remarks, f"Shown are the first {len(shown):,} of {len(tokens):,} {NOUNS[vocabulary.tokens]}s."]
    predicted = scored.first(len(shown))
    between = " " if vocabulary.tokens == "word" else ""
    return heat_map(shown, predicted.bits, list(_likeliest(predicted, vocabulary)), title, remarks, between)


def _by_heart(
    model: Any, vocabulary: Vocabulary, config: Config, settings: Memorised, sampling: Sampling, own: Corpus
) -> list[str]:
    from tfrnn.inference.generation import generate
    from tfrnn.inference.samplers import Sampler

    prefix = config.run.prefix[0]
    sampler = Sampler(**vars(sampling))
    generated = generate(model, vocabulary, prefix, settings.length, sampler, settings.seed)[len(prefix) :]
    training, held_out = (own.part(*where) for where in parts_of(own, config).values())
    return memorisation.report(generated, held_out, training)


def _write(flag: str, path: str, parts: Sequence[str] | Iterator[str]) -> None:
    try:
        with open(path, "w", encoding="utf-8", errors="replace", newline="") as file:
            file.writelines(parts)
    except OSError as error:
        raise UserError(f"--{flag}={path}: expected a file that can be written, but {error.strerror}") from None
    messages.note(f"{flag}: {path}")


if __name__ == "__main__":
    program.run(main)
