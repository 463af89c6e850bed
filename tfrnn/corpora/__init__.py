"""Texts to train on: an embedded story, corpora that are fetched and verified once, and any UTF-8 file."""

import dataclasses

from tfrnn import text_rules
from tfrnn.corpora import fetch
from tfrnn.corpora.files import read_text
from tfrnn.errors import MissingFileError, UserError


@dataclasses.dataclass(frozen=True)
class Corpus:
    """What is known of a corpus by name: its text rule, the prefixes to continue, where its builder is."""

    text_rule: str
    prefixes: tuple[str, ...]
    builder: str = ""  # the package of its TFDS builder; none: embedded here


CORPORA = {
    "sample": Corpus("book", ("well digger", "digger")),
    "time_machine": Corpus("book", ("time traveller", "traveller"), "tfrnn.corpora.time_machine"),
    "jay_lyrics": Corpus("spaces", ("分开", "不分开"), "tfrnn.corpora.jay_lyrics"),
    "tiny_shakespeare": Corpus("raw", ("ROMEO:\n", "First "), "tensorflow_datasets.datasets.tiny_shakespeare"),
}
BEGINNING = {"char": 12, "word": 3}  # so many tokens of a text are the default prefix of a file


def text_rule_of(name_or_path: str) -> str:
    """The rule that `auto` stands for: the corpus's own, `raw` for a file."""
    return CORPORA[name_or_path].text_rule if name_or_path in CORPORA else "raw"


def prefixes_of(name_or_path: str, text: str, tokens: str = "char") -> tuple[str, ...]:
    """The corpus's own prefixes; the first tokens of the cleaned text, for a file or where a rule has changed it."""
    own = CORPORA[name_or_path].prefixes if name_or_path in CORPORA else ()
    if own and tokens == "char" and set("".join(own)) <= set(text):
        return own
    if tokens == "word":
        return (" ".join(text.split(maxsplit=BEGINNING[tokens])[: BEGINNING[tokens]]),)
    return (text[: BEGINNING[tokens]],)


def split(text: str, tokens: str, max_tokens: int, validation_tokens: int) -> tuple[str, str]:
    """What of a cleaned text is trained on, and what is held out: so many tokens right behind that, or, where all is to
    be trained on (max_tokens 0), at the end.

    Raises UserError where nothing is left to train on.
    """
    parts = text if tokens == "char" else text_rules.split(text, tokens)
    end = max_tokens or len(parts) - validation_tokens
    if end <= 0:
        raise UserError(
            f"--validation_tokens={validation_tokens} leaves nothing to train on of the text's {len(parts)} tokens; "
            "take a longer text, or hold out fewer"
        )
    return text_rules.join(parts[:end], tokens), text_rules.join(parts[end:][:validation_tokens], tokens)


def load_corpus(name_or_path: str, text_rule: str = "auto", tokens: str = "char") -> str:
    """The cleaned text of a corpus.

    A corpus that is not embedded is read from the folder that TFRNN_DATA_DIR names if its file is there, else
    from TensorFlow Datasets' cache, else it is downloaded. Its SHA-256 is verified where it is read from that folder
    and when it is downloaded.

    Args:
      name_or_path: a key of CORPORA, or the path of a UTF-8 text.
      text_rule: a key of text_rules.TEXT_RULES, or `auto` for the corpus's own.
      tokens: `char` or `word`, see text_rules.clean.
    Raises:
      MissingFileError: there is no such file, or it cannot be had.
      UserError: the file is empty, no UTF-8 text, not the recorded one, or nothing is left of it by the rule.
    """
    if name_or_path == "sample":
        _, text = read_text(fetch.path_in_package("tfrnn.corpora", "sample.txt")).split("\n\n", 1)  # notice, story
    elif name_or_path in CORPORA:
        text = fetch.fetch_text(name_or_path, CORPORA[name_or_path].builder)
    else:
        try:
            text = read_text(name_or_path or "no such file")  # an empty name would be this folder
        except FileNotFoundError:
            names = ", ".join(CORPORA)
            raise MissingFileError(
                f"--corpus must be one of {names} or the path of a text; there is no file {name_or_path!r}"
            ) from None
    rule = text_rule_of(name_or_path) if text_rule == "auto" else text_rule
    if rule not in text_rules.TEXT_RULES:
        raise UserError(f"--text_rule must be one of auto, {', '.join(text_rules.TEXT_RULES)}; got {rule!r}")
    cleaned = text_rules.clean(text, rule, tokens)
    if not cleaned.strip():
        raise UserError(
            f"corpus {name_or_path}: expected a text with letters, but the rule {rule!r} leaves nothing of its "
            f"{len(text)} characters; take another text, or a text rule that keeps what it has, such as raw"
        )
    return cleaned
