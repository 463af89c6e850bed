"""Evaluates a trained model on a text: `python -m tfrnn.evaluate --help`."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrnn import command_line, corpora, durable, memorisation, runtime, text_rules
from tfrnn.config import Config
from tfrnn.errors import UserError
from tfrnn.heat_map import heat_map
from tfrnn.settings import Section, setting
from tfrnn.vocabulary import NOUNS, UNKNOWN, Vocabulary

ABOUT = """Measures how well a model that `python -m tfrnn.train` has trained predicts a text, token after token.

  python -m tfrnn.evaluate --run_dir=runs/my_run
  python -m tfrnn.evaluate --run_dir=runs/my_run --text_file=other.txt --heatmap=other.html

Without --corpus or --text_file the text is what the run held out."""
MOST_TOKENS = 10**9
PARTS = ("held_out", "training", "all")


@dataclasses.dataclass(frozen=True)
class Evaluate(Section):
    """What is evaluated"""

    run_dir: str = setting("", "folder of the trained run (required)")
    corpus: str = setting("", "another corpus than the run's, or the same; read by the run's own text rule")
    text_file: str = setting("", "the path of a UTF-8 text, read by the run's own text rule")
    part: str = setting(
        "auto",
        "of the text, as the run cuts its own: what it held out, what it trained on, or all; auto: held_out where no "
        "text is named, else all",
        choices=("auto", *PARTS),
    )
    checkpoint: str = setting("best", "the best weights by validation, or the last", choices=("best", "last"))


@dataclasses.dataclass(frozen=True)
class Outputs(Section):
    """What is written"""

    heatmap: str = setting("", "HTML file for the text, coloured by the surprisal of each token")
    heatmap_tokens: int = setting(20_000, "so much of the text's beginning is in it", minimum=2, maximum=10**7)
    json_lines: str = setting("", "file for an object a token: its surprisal, and what was thought likelier")


@dataclasses.dataclass(frozen=True)
class Memorised(Section):
    """What was learnt by heart"""

    memorised: bool = setting(False, "generate a text, and report how much of it stands in the training text")
    length: int = setting(5_000, "tokens to generate for that", minimum=1, maximum=10**6)
    temperature: float = setting(1.0, "and its temperature; 0: greedy", minimum=0)
    seed: int = setting(0, "and what fixes it", minimum=0, below=2**31)


def main(argv: Sequence[str]) -> None:
    flags = command_line.Flags("evaluate", ABOUT)
    sections: tuple[type[Section], ...] = (Evaluate, Outputs, Memorised)
    for section in sections:
        flags.define(section)
    given = flags.parse(argv)
    what, outputs, memorised = (
        section(**{field.name: given[field.name] for field, _ in section.fields() if field.name in given})
        for section in sections
    )
    only = [name for name in ("length", "temperature", "seed") if name in given]
    if only and not memorised.memorised:  # type: ignore[attr-defined]
        raise UserError(f"--{only[0]} is for the text that --memorised generates; give that too, or leave it out")
    evaluate(what, outputs, memorised)  # type: ignore[arg-type]


def evaluate(what: Evaluate, outputs: Outputs, memorised: Memorised) -> None:
    """Prints the measures, and writes what was asked for."""
    if not what.run_dir:
        raise UserError("--run_dir must name the folder of a trained run; got none")
    if what.corpus and what.text_file:
        raise UserError(f"expected --corpus or --text_file; got {what.corpus} and {what.text_file}; leave one out")
    for flag in ("heatmap", "json_lines"):
        command_line.check_output(flag, getattr(outputs, flag))
    runtime.import_tensorflow_quietly()
    runtime.set_threads()
    from tfrnn.run_dir import RunDir, load_run
    from tfrnn.scoring import score

    model, vocabulary, config = load_run(what.run_dir, what.checkpoint)
    data, named, own = config.data, what.corpus or what.text_file, ""
    if memorised.memorised or not named:
        own = corpora.load_corpus(data.corpus, data.text_rule, data.tokens)
    if own:
        RunDir(what.run_dir).check_text(hashlib.sha256(own.encode()).digest(), config, vocabulary)
    text = read(what, config, own)
    ids = vocabulary.encode(text, "unk")
    _check_known(vocabulary, text, ids)
    scored = score(model, ids)
    tokens, noun = text_rules.split(text, vocabulary.tokens), NOUNS[vocabulary.tokens]
    remarks = _remarks(vocabulary, ids, scored, noun)
    for remark in remarks:
        command_line.note(remark)
    bits = f"{scored.bits_per_char:.4f} bits/{'char' if noun == 'character' else noun}"
    result = f"perplexity {_shown(scored.perplexity)}, {bits} over {len(scored.nats)} {noun}s"
    if outputs.json_lines:
        rows = _rows(tokens, ids, scored, vocabulary)
        _write("json_lines", outputs.json_lines, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    if outputs.heatmap:
        _write("heatmap", outputs.heatmap, _page(what, outputs, tokens, scored, vocabulary, [result, *remarks]))
    if memorised.memorised:
        for line in _by_heart(model, vocabulary, config, memorised, own):
            print(line)
    print(result)


def read(what: Evaluate, config: Config, own: str) -> str:
    """The text to evaluate, cleaned as the run's was."""
    data, named = config.data, what.corpus
    if what.text_file:
        if not Path(what.text_file).exists():
            raise UserError(f"--text_file must be the path of a text; there is no file {what.text_file!r}")
        named = str(Path(what.text_file).absolute())  # a file, though it may have the name of a corpus
    text = corpora.load_corpus(named, data.text_rule, data.tokens) if named else own
    part = what.part if what.part != "auto" else "all" if named else "held_out"
    if part == "all":
        return text
    training, held_out = corpora.split(text, data.tokens, data.max_tokens, data.validation_tokens)
    text = {"training": training, "held_out": held_out}[part]
    if len(text_rules.split(text, data.tokens)) < 2:
        raise UserError(
            f"--part={part}: expected two tokens at least, but the run has held out nothing of that length; give "
            "--part=all, --corpus or --text_file"
        )
    return text


def _check_known(vocabulary: Vocabulary, text: str, ids: np.ndarray) -> None:
    noun = NOUNS[vocabulary.tokens]
    if len(ids) < 2:
        raise UserError(f"expected a text of two {noun}s at least, of which the first is given; got {text[:40]!r}")
    if not ids.any():
        raise UserError(
            f"expected a text with {noun}s of the run's vocabulary, got none that it knows in {text[:40]!r}; is it "
            "of another language, or of upper case where the run has lower?"
        )


def _remarks(vocabulary: Vocabulary, ids: np.ndarray, scored: Any, noun: str) -> list[str]:
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


def _likeliest(scored: Any, vocabulary: Vocabulary) -> list[list[tuple[str, float]]]:
    names = vocabulary.id_to_token
    return [
        [(names[i], float(share)) for i, share in zip(*pair, strict=True)]
        for pair in zip(scored.likeliest, scored.probabilities, strict=True)
    ]


def _page(
    what: Evaluate, outputs: Outputs, tokens: list[str], scored: Any, vocabulary: Vocabulary, remarks: list[str]
) -> str:
    shown = tokens[: outputs.heatmap_tokens]
    if len(shown) < len(tokens):
        remarks = [*remarks, f"Shown are the first {len(shown):,} of {len(tokens):,} {NOUNS[vocabulary.tokens]}s."]
    predicted = scored._replace(**{name: values[: len(shown) - 1] for name, values in scored._asdict().items()})
    text = what.text_file or what.corpus or "its own corpus"
    return heat_map(
        shown,
        predicted.bits,
        _likeliest(predicted, vocabulary),
        f"{Path(what.run_dir).name} reads {text}",
        remarks,
        " " if vocabulary.tokens == "word" else "",
    )


def _by_heart(model: Any, vocabulary: Vocabulary, config: Config, settings: Memorised, own: str) -> list[str]:
    from tfrnn.generation import generate
    from tfrnn.samplers import Sampler

    data, prefix = config.data, config.run.prefix[0]
    sampler = Sampler(settings.temperature)
    generated = generate(model, vocabulary, prefix, settings.length, sampler, settings.seed)[len(prefix) :]
    training, held_out = corpora.split(own, data.tokens, data.max_tokens, data.validation_tokens)
    return memorisation.report(generated, held_out, training)


def _write(flag: str, path: str, text: str) -> None:
    try:
        durable.write(Path(path), text.encode(errors="replace"))
    except OSError as error:
        raise UserError(f"--{flag}={path}: expected a file that can be written, but {error.strerror}") from None
    command_line.note(f"{flag}: {path}")


if __name__ == "__main__":
    command_line.run(main)
