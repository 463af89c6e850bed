"""Corpora by name or path: a story in the package, corpora that are downloaded once, and any text files."""

import collections
import dataclasses
import glob
import os
from collections.abc import Container
from pathlib import PurePath

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
      title: what it is called in a sentence.
      builder: the package of its builder of TensorFlow Datasets; empty: the text is in this package.
    """

    text_rule: str
    prefixes: tuple[str, ...]
    title: str
    builder: str = ""


CORPORA = {
    "sample": KnownCorpus("book", ("well digger", "digger"), "The Water at Ambry"),
    "time_machine": KnownCorpus(
        "book", ("time traveller", "traveller"), "The Time Machine", "tfrnn.data.corpora.time_machine"
    ),
    "jay_lyrics": KnownCorpus("spaces", ("分开", "不分开"), "Jay Chou's lyrics", "tfrnn.data.corpora.jay_lyrics"),
    "tiny_shakespeare": KnownCorpus(
        "raw", ("ROMEO:\n", "First "), "Shakespeare", "tensorflow_datasets.datasets.tiny_shakespeare"
    ),
}
DEFAULT_PREFIX_LENGTH = {"char": 12, "word": 3, "spaced": 3}  # tokens at the beginning of a file


def text_rule_of(name_or_path: str, text_rule: str = "auto") -> str:
    """Returns the text rule to use; `auto` is the rule of a named corpus, and `plain` for a file.

    Raises UserError if there is no such rule.
    """
    if text_rule == "auto":
        return CORPORA[name_or_path].text_rule if name_or_path in CORPORA else "plain"
    if text_rule not in text_rules.TEXT_RULES:
        raise UserError(f"`text_rule` must be one of auto, {', '.join(text_rules.TEXT_RULES)}; got {text_rule!r}")
    return text_rule


def title_of(corpus: str) -> str:
    """Returns what a corpus is called in a sentence: files by their names, patterns by their folders."""
    if corpus in CORPORA:
        return CORPORA[corpus].title
    paths = [path.parent if any(c in path.name for c in "*?[") else path for path in map(PurePath, corpus.split(","))]
    names = [path.stem.removesuffix(".txt").replace("_", " ") for path in paths]
    return ", ".join(dict.fromkeys(filter(None, names))) or "a text"


def prefixes_of(name_or_path: str, beginning: str, known: Container[str], tokens: str = "char") -> tuple[str, ...]:
    """Returns the prefixes to continue by default.

    They are the prefixes of a named corpus if the cleaned text has all their characters; else, and for a file, the
    first tokens of the cleaned text.

    Args:
      name_or_path: the name of a corpus or the path of a text, as for `open_corpus`.
      beginning: the beginning of the cleaned text, of at least DEFAULT_PREFIX_LENGTH tokens if it has as many.
      known: the tokens that occur in the cleaned text.
      tokens: a key of text_rules.NOUNS.
    """
    prefixes = CORPORA[name_or_path].prefixes if name_or_path in CORPORA else ()
    if prefixes and tokens == "char" and all(character in known for character in "".join(prefixes)):
        return prefixes
    length = DEFAULT_PREFIX_LENGTH[tokens]
    return (text_rules.join(text_rules.split(beginning, tokens)[:length], tokens),)


def paths_of(corpus: str) -> list[str]:
    """Returns the paths that a setting names, in its order.

    Commas separate paths. A path may itself contain some, if there is such a file. The files that match a pattern, such
    as `texts/*.txt` or `texts/**/*.txt`, are in the order of their paths; some may be among the other paths, or in
    folders among these.

    Raises:
      MissingFileError: nothing matches a pattern.
      UserError: a path is named twice.
    """
    paths: list[str] = []
    named: list[str] = []
    parts = corpus.split(",")
    while parts:
        candidates = ((n, ",".join(parts[:n])) for n in range(len(parts), 0, -1))
        count, path = next(((n, path) for n, path in candidates if os.path.lexists(path)), (1, parts[0]))
        if not os.path.lexists(path) and any(character in path for character in "*?[") and "\0" not in path:
            matches = sorted(glob.glob(path, recursive=True))
            if not matches:
                raise MissingFileError(f"`corpus`: expected a pattern of paths; nothing matches {path!r}; correct it")
            paths += matches
        else:
            paths.append(path)
            named.append(path)
        parts = parts[count:]
    if len(named) > 1:
        seen = collections.Counter(map(os.path.realpath, named))
        if named_twice := [path for path in named if seen[os.path.realpath(path)] > 1]:
            raise UserError(f"`corpus`: expected each path once; got {named_twice[0]!r} twice; leave one out")
    return paths


def open_corpus(name_or_path: str, encoding: str = "auto") -> Source:
    """Opens a corpus to be read in pieces.

    A named corpus that is not in the package is read from the folder that TFRNN_DATA_DIR names if that folder contains
    its file, else from the cache of TensorFlow Datasets, else it is downloaded. The SHA-256 of a file in that folder
    and of a download is verified.

    Args:
      name_or_path: a key of CORPORA, which is read into memory, or the path of a text or of a folder of texts, or
        several, see `paths_of`.
      encoding: that of the files; `auto`: UTF-8, or what a byte order mark tells.
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
    paths = paths_of(name_or_path)
    try:
        files = Files([path or "no such file" for path in paths], encoding=encoding)  # "" would be the current folder
    except FileNotFoundError:
        missing = next(path for path in paths if not path or not os.path.exists(path))
        hint = "; a shell leaves ~ as it is after =: write $HOME in its place" if missing.startswith("~/") else ""
        names = ", ".join(CORPORA)
        if missing in CORPORA:
            raise UserError(f"`corpus`: expected paths, or one of {names} alone; got {missing} among others") from None
        raise MissingFileError(
            f"`corpus` must be one of {names} or the path of a text; there is no file {missing!r}"
            f"{did_you_mean(missing, CORPORA)}{hint}"
        ) from None
    next(files.pieces(), None)  # reports a fault at the beginning now, not after a long pass over the whole text
    return files


def load_corpus(name_or_path: str, text_rule: str = "auto", tokens: str = "char", encoding: str = "auto") -> str:
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
        a text (plain, compressed or in an archive) or of a folder of such texts; several are separated by commas.
      text_rule: `book` keeps letters, in lower case, and joins the lines with nothing between them; `lines` does so
        with a space between them; `spaces` turns line ends into spaces; `plain` turns each into a line feed; `raw`
        changes nothing; `auto` is the rule of a named corpus, and `plain` for a file.
      tokens: `char`, `word`, `spaced` or `bpe`, the kind of tokens that the text will be split into: with words, the
        rule `book` keeps a space between lines.
      encoding: the encoding of the files; `auto`: UTF-8, or what a byte order mark at the beginning tells.
    Returns:
      The text as one string.
    Raises:
      MissingFileError: the file does not exist, or the corpus cannot be downloaded.
      UserError: the file is empty or in another encoding, has another SHA-256 than recorded, or the rule leaves nothing
        of it.
    """
    source = open_corpus(name_or_path, encoding)
    rule = text_rule_of(name_or_path, text_rule)
    return joined(source, cleaned(source, rule, tokens))
