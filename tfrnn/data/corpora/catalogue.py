"""Corpora by name or path: an embedded story, corpora that are fetched and verified once, and any UTF-8 files."""

import dataclasses
from collections.abc import Container

from tfrnn.data import text_rules
from tfrnn.data.corpora import fetch
from tfrnn.data.corpora.files import Files, read_text
from tfrnn.data.corpora.passes import cleaned
from tfrnn.data.corpora.sources import InMemory, Source, joined
from tfrnn.errors import MissingFileError, UserError, did_you_mean


@dataclasses.dataclass(frozen=True)
class KnownCorpus:
    """What is known of a corpus by name: its text rule, the prefixes to continue, where its builder is."""

    text_rule: str
    prefixes: tuple[str, ...]
    builder: str = ""  # the package of its TFDS builder; none: embedded here


CORPORA = {
    "sample": KnownCorpus("book", ("well digger", "digger")),
    "time_machine": KnownCorpus("book", ("time traveller", "traveller"), "tfrnn.data.corpora.time_machine"),
    "jay_lyrics": KnownCorpus("spaces", ("分开", "不分开"), "tfrnn.data.corpora.jay_lyrics"),
    "tiny_shakespeare": KnownCorpus("raw", ("ROMEO:\n", "First "), "tensorflow_datasets.datasets.tiny_shakespeare"),
}
BEGINNING = {"char": 12, "word": 3}  # so many tokens of a text are the default prefix of a file


def text_rule_of(name_or_path: str, text_rule: str = "auto") -> str:
    """The rule itself; for `auto` the corpus's own, `raw` for a file. Raises UserError on an unknown one."""
    if text_rule == "auto":
        return CORPORA[name_or_path].text_rule if name_or_path in CORPORA else "raw"
    if text_rule not in text_rules.TEXT_RULES:
        raise UserError(f"--text_rule must be one of auto, {', '.join(text_rules.TEXT_RULES)}; got {text_rule!r}")
    return text_rule


def prefixes_of(name_or_path: str, beginning: str, known: Container[str], tokens: str = "char") -> tuple[str, ...]:
    """The corpus's own prefixes; the first tokens of the cleaned text, for a file or where a rule has changed it.

    Args:
      name_or_path: as for open_corpus.
      beginning: of the cleaned text, with so many tokens as BEGINNING has at the least, if there are as many.
      known: the tokens that occur in the cleaned text.
      tokens: `char` or `word`.
    """
    own = CORPORA[name_or_path].prefixes if name_or_path in CORPORA else ()
    if own and tokens == "char" and all(character in known for character in "".join(own)):
        return own
    if tokens == "word":
        return (" ".join(beginning.split(maxsplit=BEGINNING[tokens])[: BEGINNING[tokens]]),)
    return (beginning[: BEGINNING[tokens]],)


def open_corpus(name_or_path: str) -> Source:
    """A corpus to read, piece by piece.

    A corpus that is not embedded is read from the folder that TFRNN_DATA_DIR names if its file is there, else
    from TensorFlow Datasets' cache, else it is downloaded. Its SHA-256 is verified where it is read from that folder
    and when it is downloaded.

    Args:
      name_or_path: a key of CORPORA, which is read into memory, or the path of a UTF-8 text or a folder of them.
    Raises:
      MissingFileError: there is no such file, or it cannot be had.
      UserError: it cannot be read, is not the recorded one, or its beginning is no text. To read on may find more to
        be wrong, see files.Files.
    """
    if name_or_path == "sample":
        _, text = read_text(fetch.path_in_package("tfrnn.data.corpora", "sample.txt")).split("\n\n", 1)  # notice, story
        return InMemory(name_or_path, text)
    if name_or_path in CORPORA:
        return InMemory(name_or_path, fetch.fetch_text(name_or_path, CORPORA[name_or_path].builder))
    try:
        files = Files(name_or_path or "no such file")  # an empty name would be this folder
    except FileNotFoundError:
        names = ", ".join(CORPORA)
        raise MissingFileError(
            f"--corpus must be one of {names} or the path of a text; there is no file {name_or_path!r}"
            f"{did_you_mean(name_or_path, CORPORA)}"
        ) from None
    next(files.pieces(), None)  # what is wrong at the beginning is said before hours are spent on the rest
    return files


def load_corpus(name_or_path: str, text_rule: str = "auto", tokens: str = "char") -> str:
    """The cleaned text of a corpus, in memory.

    >>> tfrnn.load_corpus("sample")[:34]
    'the road to ambry goes up the hill'
    >>> tfrnn.load_corpus("sample", text_rule="raw")[:34]
    'The road to Ambry goes up the hill'

    A corpus that is not in the package is read from the folder that the environment variable TFRNN_DATA_DIR names, else
    from TensorFlow Datasets' cache, else it is downloaded. It is verified by its SHA-256.

    Args:
      name_or_path: `sample` (a story in the package), `time_machine`, `jay_lyrics`, `tiny_shakespeare`, or the path of
        a UTF-8 text (plain or gzip) or of a folder of such texts.
      text_rule: `book` keeps lower-case letters and glues the lines, `lines` does so with a space between them,
        `spaces` turns line ends into spaces, `raw` changes nothing; `auto` is the corpus's own, `raw` for a file.
      tokens: what the text will be cut into, `char` or `word`: with words, the rule `book` keeps a space between lines.
    Raises:
      MissingFileError: there is no such file, or it cannot be had.
      UserError: the file is empty, no UTF-8 text, not the recorded one, or nothing is left of it by the rule.
    """
    source = open_corpus(name_or_path)
    rule = text_rule_of(name_or_path, text_rule)
    return joined(source, cleaned(source, rule, tokens))
