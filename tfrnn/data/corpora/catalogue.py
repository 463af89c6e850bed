"""Corpora by name or path: a story in the package, corpora that are downloaded once, and any UTF-8 files."""

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
    """A corpus that has a name.

    Attributes:
      text_rule: the rule that cleans it, a key of text_rules.TEXT_RULES.
      prefixes: the prefixes to continue by default.
      builder: the package of its builder of TensorFlow Datasets; empty: the text is in this package.
    """

    text_rule: str
    prefixes: tuple[str, ...]
    builder: str = ""


CORPORA = {
    "sample": KnownCorpus("book", ("well digger", "digger")),
    "time_machine": KnownCorpus("book", ("time traveller", "traveller"), "tfrnn.data.corpora.time_machine"),
    "jay_lyrics": KnownCorpus("spaces", ("分开", "不分开"), "tfrnn.data.corpora.jay_lyrics"),
    "tiny_shakespeare": KnownCorpus("raw", ("ROMEO:\n", "First "), "tensorflow_datasets.datasets.tiny_shakespeare"),
}
DEFAULT_PREFIX_LENGTH = {"char": 12, "word": 3}  # tokens at the beginning of a file


def text_rule_of(name_or_path: str, text_rule: str = "auto") -> str:
    """Returns the text rule to use; `auto` is the rule of a named corpus, and `raw` for a file.

    Raises UserError if there is no such rule.
    """
    if text_rule == "auto":
        return CORPORA[name_or_path].text_rule if name_or_path in CORPORA else "raw"
    if text_rule not in text_rules.TEXT_RULES:
        raise UserError(f"`text_rule` must be one of auto, {', '.join(text_rules.TEXT_RULES)}; got {text_rule!r}")
    return text_rule


def prefixes_of(name_or_path: str, beginning: str, known: Container[str], tokens: str = "char") -> tuple[str, ...]:
    """Returns the prefixes to continue by default.

    They are the prefixes of a named corpus if the cleaned text has all their characters; else, and for a file, the
    first tokens of the cleaned text.

    Args:
      name_or_path: the name of a corpus or the path of a text, as for `open_corpus`.
      beginning: the beginning of the cleaned text, of at least DEFAULT_PREFIX_LENGTH tokens if it has as many.
      known: the tokens that occur in the cleaned text.
      tokens: `char` or `word`.
    """
    prefixes = CORPORA[name_or_path].prefixes if name_or_path in CORPORA else ()
    if prefixes and tokens == "char" and all(character in known for character in "".join(prefixes)):
        return prefixes
    length = DEFAULT_PREFIX_LENGTH[tokens]
    if tokens == "word":
        return (" ".join(beginning.split(maxsplit=length)[:length]),)
    return (beginning[:length],)


def open_corpus(name_or_path: str) -> Source:
    """Opens a corpus to be read in pieces.

    A named corpus that is not in the package is read from the folder that TFRNN_DATA_DIR names if that folder contains
    its file, else from the cache of TensorFlow Datasets, else it is downloaded. The SHA-256 of a file in that folder
    and of a download is verified.

    Args:
      name_or_path: a key of CORPORA, which is read into memory, or the path of a UTF-8 text or of a folder of texts.
    Raises:
      MissingFileError: the file does not exist, or the corpus cannot be downloaded.
      UserError: the file cannot be read, has another SHA-256 than recorded, or does not begin with text. Reading the
        rest may raise further errors, see `files.Files`.
    """
    if name_or_path == "sample":
        path = fetch.path_in_package("tfrnn.data.corpora", "sample.txt")
        _notice, story = read_text(path).split("\n\n", 1)
        return InMemory(name_or_path, story)
    if name_or_path in CORPORA:
        return InMemory(name_or_path, fetch.fetch_text(name_or_path, CORPORA[name_or_path].builder))
    try:
        files = Files(name_or_path or "no such file")  # an empty path would be the current folder
    except FileNotFoundError:
        names = ", ".join(CORPORA)
        raise MissingFileError(
            f"`corpus` must be one of {names} or the path of a text; there is no file {name_or_path!r}"
            f"{did_you_mean(name_or_path, CORPORA)}"
        ) from None
    next(files.pieces(), None)  # reports a fault at the beginning now, not after a long pass over the whole text
    return files


def load_corpus(name_or_path: str, text_rule: str = "auto", tokens: str = "char") -> str:
    """Returns the cleaned text of a corpus.

    >>> tfrnn.load_corpus("sample")[:34]
    'the road to ambry goes up the hill'
    >>> tfrnn.load_corpus("sample", text_rule="raw")[:34]
    'The road to Ambry goes up the hill'

    A named corpus that is not in the package is read from the folder that the environment variable TFRNN_DATA_DIR
    names, else from the cache of TensorFlow Datasets, else it is downloaded. The SHA-256 of a file in that folder and
    of a download is verified.

    Args:
      name_or_path: `sample` (a story in the package), `time_machine`, `jay_lyrics`, `tiny_shakespeare`, or the path of
        a UTF-8 text (plain or gzip) or of a folder of such texts.
      text_rule: `book` keeps letters, in lower case, and joins the lines with nothing between them; `lines` does so
        with a space between them; `spaces` turns line ends into spaces; `raw` changes nothing; `auto` is the rule of a
        named corpus, and `raw` for a file.
      tokens: `char` or `word`, the kind of tokens that the text will be split into: with words, the rule `book` keeps
        a space between lines.
    Returns:
      The text as one string.
    Raises:
      MissingFileError: the file does not exist, or the corpus cannot be downloaded.
      UserError: the file is empty, is not UTF-8, has another SHA-256 than recorded, or the rule leaves nothing of it.
    """
    source = open_corpus(name_or_path)
    rule = text_rule_of(name_or_path, text_rule)
    return joined(source, cleaned(source, rule, tokens))
