"""The text of a run: read and counted, split into a training and a held-out part, and encoded; of any size.

Letters: N the number of tokens.
"""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator

import numpy as np
from tqdm import tqdm

from tfrnn.config import sections
from tfrnn.config.config import Config
from tfrnn.data import byte_pairs, text_rules
from tfrnn.data.corpora import cache, catalogue, passes
from tfrnn.data.corpora.files import Files
from tfrnn.data.corpora.sources import Source
from tfrnn.data.stored_ids import StoredIds
from tfrnn.data.vocabulary import UNKNOWN, Vocabulary
from tfrnn.errors import UserError
from tfrnn.runtime import host

MAX_FRACTION_TOKENS = 500_000  # held out by a fraction: more would take longer to score than they tell more
IN_MEMORY_LIMIT = 2**24  # a text of more bytes is surveyed once and cached; more ids than this stay in a file
FEWEST_LINES = 15  # whose order is no chance


@dataclasses.dataclass(frozen=True)
class Text:
    """The text of a run as token ids.

    Attributes:
      vocabulary: the tokens and their ids.
      training: the ids that are trained on, integers [N].
      validation: the held-out ids after them, integers [N].
      sha256: the SHA-256 of the whole cleaned text in UTF-8, in hex.
      rule: the text rule that cleaned it: the setting `text_rule`, or that of the corpus if it is `auto`.
      prefixes: what to continue, cleaned: the setting `prefix`, or what suits the text if it is empty.
      max_tokens: the setting `max_tokens`, or a smaller one that leaves as many tokens as are to be held out.
      characters_per_token: of the training and the held-out ids, if tokens are byte pairs; else 1.
      facts: lines for the user about what was read, trained on, held out and left out.
      notes: sentences for the user about how the text was read.
    """

    vocabulary: Vocabulary
    training: np.ndarray | StoredIds
    validation: np.ndarray | StoredIds
    sha256: str
    rule: str
    prefixes: tuple[str, ...]
    max_tokens: int = 0
    characters_per_token: tuple[float, float] = (1.0, 1.0)
    facts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class SurveyedCorpus:
    """A corpus that is cleaned by a text rule, with a survey of its tokens, or of its characters for byte pairs.

    Positions and numbers of tokens are then those of characters, too. The survey and the ids of a large corpus are
    cached on disk.

    Args:
      name: the name of a corpus or the path of a text, as for `catalogue.open_corpus`.
      rule: a key of text_rules.TEXT_RULES, or `auto`.
      tokens: a key of text_rules.NOUNS.
      cache_dir: the folder of the cache; empty: `cache.default_cache_dir()`.
      encoding: that of the files, as for `catalogue.open_corpus`.
    Raises:
      MissingFileError: the file does not exist, or the corpus cannot be downloaded.
      UserError: the text cannot be read.
    """

    def __init__(self, name: str, rule: str, tokens: str, cache_dir: str = "", encoding: str = "auto"):
        self.name, self.counted = name, tokens if tokens in text_rules.COUNTED else "char"
        self.rule = catalogue.text_rule_of(name, rule)
        self._source = catalogue.open_corpus(name, encoding)
        self._is_large = self._source.size > IN_MEMORY_LIMIT
        self._cache = cache.Cache(cache_dir or cache.default_cache_dir())
        self._sha256 = ""
        if self._is_large:
            with self._progress_bar("reading") as on_bytes:
                self._sha256 = self._source.sha256(on_bytes)
            with self._progress_bar("counting") as on_bytes:
                self.survey = self._cache.survey(self._source, self._sha256, self.rule, self.counted, on_bytes)
        else:
            self.survey = passes.survey(self._source, self.rule, self.counted)

    def describe(self) -> list[str]:
        """Returns lines that tell what was read, each with one fact."""
        noun, survey = _plural(self.counted), self.survey
        several = f" ({survey.num_texts:,} texts)" if survey.num_texts > 1 else ""
        unchanged = isinstance(self._source, Files) and self.rule in ("plain", "raw")
        cleaned = "" if unchanged else f" that the text rule {self.rule} leaves"
        return [
            f"text: {self.name}{several}",
            f"encoding: {survey.encoding}",
            f"{noun}: {survey.num_tokens:,}{cleaned}",
            f"different {noun}: {len(survey.counts):,}",
        ]

    @property
    def num_left_out(self) -> int:
        """The number of hidden files and the like that were left out of a folder or an archive."""
        of_folders = self._source.num_left_out_of_folders if isinstance(self._source, Files) else 0
        return self.survey.num_left_out + of_folders

    def vocabulary(self, num_tokens: int, max_size: int) -> Vocabulary:
        """Returns the vocabulary of the first `num_tokens` tokens, its `max_size` most frequent ones (0: all)."""
        counts = self.survey.counts
        if num_tokens < self.survey.num_tokens:
            counts = passes.count_first(self._source, self.rule, self.counted, num_tokens)
        return Vocabulary.from_counts(counts, self.counted, max_size)

    def byte_pairs(self, characters: Vocabulary, num_tokens: int, merges: int) -> Vocabulary:
        """Returns a vocabulary of byte pairs.

        Args:
          characters: that of the characters.
          num_tokens: the pairs are those of as many characters at the beginning, see `byte_pairs.find`.
          merges: the number of tokens to join of others.
        """
        text = self.part(0, min(num_tokens, byte_pairs.MAX_TRAINING_CHARACTERS)) if merges else ""
        return Vocabulary(characters.id_to_token, "bpe").extended(byte_pairs.find(text, merges))

    def ids(self, vocabulary: Vocabulary, begin: int, end: int) -> np.ndarray | StoredIds:
        """Returns the ids of the tokens [begin, end), with 0 for a token that is not in the vocabulary."""
        if vocabulary.tokens != "bpe":
            return self._first_ids(vocabulary, end)[begin:]
        if end - begin > IN_MEMORY_LIMIT:
            with self._caching() as (of_source, on_bytes):
                return self._cache.ids_of_characters(*of_source, vocabulary, begin, end, on_bytes)
        pieces = passes.encode_characters(self._source, self.rule, vocabulary, begin, end)
        return np.concatenate([np.empty(0, vocabulary.dtype), *pieces])

    def _first_ids(self, vocabulary: Vocabulary, num_tokens: int) -> np.ndarray | StoredIds:
        if num_tokens > IN_MEMORY_LIMIT:
            with self._caching() as (of_source, on_bytes):
                return self._cache.ids(*of_source, vocabulary, num_tokens, on_bytes)
        return np.concatenate(list(passes.encode(self._source, self.rule, vocabulary, num_tokens)))

    @contextlib.contextmanager
    def _caching(self) -> Iterator[tuple[tuple[Source, str, str], Callable[[int], object]]]:
        """Gives what the cache knows a text by, and what shows the progress of encoding it."""
        self._sha256 = self._sha256 or self._source.sha256()
        with self._progress_bar("encoding") as on_bytes:
            yield (self._source, self._sha256, self.rule), on_bytes

    def part(self, begin: int, end: int) -> str:
        """Returns the text of the tokens [begin, end)."""
        return passes.take(self._source, self.rule, self.counted, begin, end)

    @contextlib.contextmanager
    def _progress_bar(self, action: str) -> Iterator[Callable[[int], object]]:
        """Shows the progress through a large text if stderr is a terminal."""
        hidden = not (self._is_large and sys.stderr.isatty())
        with tqdm(
            desc=f"{action} {self.name}",
            total=self._source.size,
            unit="B",
            unit_scale=True,
            disable=hidden,
            leave=False,
            file=sys.stderr,
            ncols=host.terminal_columns(),
        ) as bar:
            yield bar.update


def split_bounds(num_tokens: int, data: sections.Data) -> tuple[int, int]:
    """Splits a cleaned text: the tokens [0, end) are trained on, and [end, held_out_end) are held out.

    A fraction is held out whatever `max_tokens` are trained on; of `validation_tokens` those that are left.

    Args:
      num_tokens: the number of tokens of the whole text.
      data: the settings `max_tokens`, `validation_tokens` and `validation_fraction`.
    Returns:
      end and held_out_end, at most `num_tokens` each.
    Raises:
      UserError: nothing is left to train on.
    """
    max_tokens, validation_tokens = data.max_tokens, data.validation_tokens
    if data.validation_fraction:
        validation_tokens = min(int(num_tokens * data.validation_fraction), MAX_FRACTION_TOKENS)
    end = max_tokens or num_tokens - validation_tokens
    if data.validation_fraction:
        end = min(end, num_tokens - validation_tokens)
    if end <= 0:
        raise UserError(
            f"`validation_tokens={validation_tokens}` leaves nothing to train on of the text's {num_tokens} tokens; "
            "take a longer text, or hold out fewer"
        )
    return min(end, num_tokens), min(end + validation_tokens, num_tokens)


def read(config: Config, hold_out_exactly: bool = False, known: Vocabulary | None = None) -> Text:
    """Reads the text of a run with these settings.

    Args:
      config: the settings.
      hold_out_exactly: whether `validation_tokens` are held out although the text has fewer after `max_tokens`, so that
        fewer are trained on; else what there is after those is held out. A fraction must then be of a token at least.
      known: a vocabulary with whose tokens and ids that of the run begins, if it begins with another run's weights.
    Raises:
      MissingFileError: the corpus does not exist or cannot be downloaded.
      UserError: the text cannot be read, or is too short for the settings.
    """
    data = config.data
    if data.tokens == "bpe" and not known:
        byte_pairs.check_installed()
    corpus = SurveyedCorpus(data.corpus, data.text_rule, data.token_kind, config.run.cache_dir, data.encoding)
    survey = corpus.survey
    if hold_out_exactly:
        end, _ = split_bounds(survey.num_tokens, dataclasses.replace(data, max_tokens=0))
        data = dataclasses.replace(data, max_tokens=min(data.max_tokens, end))
    end, held_out_end = split_bounds(survey.num_tokens, data)
    if hold_out_exactly and data.validation_fraction and end == held_out_end:
        raise UserError(
            f"`validation_fraction={data.validation_fraction:g}`: expected a fraction of at least one token; got a "
            f"text of {survey.num_tokens}; take a longer text, a larger fraction, or 0 to hold out nothing"
        )
    _check_held_out(config, held_out_end - end)
    vocabulary = corpus.vocabulary(survey.num_tokens if data.vocabulary == "corpus" else end, data.max_vocabulary)
    if data.tokens == "bpe":  # of another run only characters are added: more pairs would divide the text otherwise
        vocabulary = corpus.byte_pairs(vocabulary, end, 0 if known else data.merges)
    if known:
        vocabulary = known.united(vocabulary)
    prefixes = _prefixes(config, corpus, vocabulary)
    training, validation = corpus.ids(vocabulary, 0, end), corpus.ids(vocabulary, end, held_out_end)
    _check_held_out(config, len(validation))
    facts = [*corpus.describe(), *_describe_parts(data, corpus, config.data.max_tokens, end, held_out_end)]
    ratios = 1.0, 1.0
    if data.tokens == "bpe":
        ratios = end / len(training), (held_out_end - end) / max(1, len(validation))
        facts.append(_describe_byte_pairs(vocabulary, ratios[0], end))
    notes = []
    for part, part_ids in (("training", training), ("validation", validation)):
        if unknown := _count_unknown(part_ids, len(vocabulary)):
            notes.append(f"{unknown:,} of {len(part_ids):,} {part} tokens are not in the vocabulary: read as {UNKNOWN}")
    if end < held_out_end and _is_alphabetical(survey.beginning):
        notes.append(
            "the lines are in alphabetical order, so that what is held out is unlike what is trained on; shuffle them, "
            "e.g. by `shuf FILE > NEW`"
        )
    return Text(
        vocabulary, training, validation, survey.sha256, corpus.rule, prefixes, data.max_tokens, ratios, tuple(facts),
        tuple(notes),
    )  # fmt: skip


def _is_alphabetical(beginning: str) -> bool:
    """Returns whether the beginning of a text is that of a list of names or words in order; a log has digits."""
    lines = [line.casefold() for line in beginning.split(text_rules.LINE_END)[:-1]]
    is_list = len(set(lines)) >= FEWEST_LINES and not any(map(str.isdigit, beginning))
    return is_list and lines == sorted(lines)


def _check_held_out(config: Config, num_tokens: int) -> None:
    """Raises UserError if too few tokens are held out for the settings."""
    if num_tokens < 2 and (config.training.early_stopping or config.training.schedule == "plateau"):
        raise UserError(
            "`early_stopping` and `schedule=plateau` need a held-out text of at least two tokens; got "
            f"{num_tokens}; give `validation_tokens`, or less `max_tokens`"
        )


def _describe_byte_pairs(vocabulary: Vocabulary, characters_per_token: float, num_characters: int) -> str:
    """Returns a line that tells what the tokens are, and on how much of the text they were found."""
    joined = sum(len(token) > 1 for token in vocabulary.id_to_token[1:])
    first = byte_pairs.MAX_TRAINING_CHARACTERS
    found = f", found in the first {first:,} characters" if num_characters > first else ""
    return (
        f"different tokens: {len(vocabulary) - 1:,}, of which {joined:,} are joined of others{found}; "
        f"{characters_per_token:.2f} characters a token of what is trained on"
    )


def _describe_parts(
    data: sections.Data, corpus: SurveyedCorpus, asked_to_train_on: int, end: int, held_out_end: int
) -> list[str]:
    """Returns lines that tell what is trained on, held out and left out, and why."""
    noun, asked, max_tokens = _plural(corpus.counted), data.validation_tokens, data.max_tokens
    num_tokens = corpus.survey.num_tokens
    held_out, left_out = held_out_end - end, num_tokens - held_out_end
    where = "all of them" if end == num_tokens else "the first"
    if not held_out:
        why = f"the text ends before `max_tokens={max_tokens}`" if asked else "`validation_tokens=0`"
        if data.validation_fraction:
            why = f"`validation_fraction={data.validation_fraction:g}` of the whole text is none"
        held_out_line = f"held out: nothing, since {why}"
    else:
        fewer = f"; fewer than `validation_tokens={asked}`, since the text ends" if held_out < asked else ""
        if data.validation_fraction:
            fraction = f"`validation_fraction={data.validation_fraction:g}`"
            fewer = f", {fraction} of the whole text, at most {MAX_FRACTION_TOKENS:,}"
        held_out_line = f"held out: {held_out:,} {noun}, {'the next' if left_out else 'the last'}{fewer}"
    is_reduced = end < min(asked_to_train_on, num_tokens)
    why_fewer = f"; fewer than `max_tokens={asked_to_train_on}`, so that those can be held out"
    lines = [f"trained on: {end:,} {noun}, {where}{why_fewer if is_reduced else ''}", held_out_line]
    if left_out:
        lines.append(
            f"left out: {left_out:,} {noun}, the last, since `max_tokens={max_tokens}`; `max_tokens=0` trains on all "
            "that are not held out"
        )
    if corpus.num_left_out:
        lines.append(f"left out: {corpus.num_left_out:,} hidden or special files and folders")
    return lines if len(lines) > 2 else [*lines, "left out: nothing"]


def _plural(tokens: str) -> str:
    """Returns what the tokens of a kind in text_rules.NOUNS are called together."""
    return "words, marks and line ends" if tokens == "word" else f"{text_rules.NOUNS[tokens]}s"


def _prefixes(config: Config, corpus: SurveyedCorpus, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Returns the prefixes to continue. Raises UserError if one has unknown tokens, before training begins."""
    data, survey = config.data, corpus.survey
    given = config.run.prefix or catalogue.prefixes_of(data.corpus, survey.beginning, survey.counts, corpus.counted)
    prefixes = text_rules.clean_prefixes(given, corpus.rule, data.token_kind)
    if not config.run.prefix and data.max_vocabulary:
        prefixes = tuple(_known_part(prefix, vocabulary) for prefix in prefixes)
    for prefix in prefixes:
        vocabulary.encode_prefix(prefix, what_to_do="leave them out" if config.run.prefix else "give another")
    return prefixes


def _known_part(prefix: str, vocabulary: Vocabulary) -> str:
    """Returns a prefix without its unknown tokens, or the most frequent token if all are unknown."""
    known = [t for t in vocabulary.split(prefix) if vocabulary.id_of(t)]
    return text_rules.join(known or vocabulary.id_to_token[1:2], vocabulary.tokens)


def _count_unknown(ids: np.ndarray | StoredIds, vocab_size: int) -> int:
    """Returns the number of unknown tokens. Raises UserError if an id is too large: the file is damaged."""
    unknown = 0
    for begin in range(0, len(ids), IN_MEMORY_LIMIT):
        piece = np.asarray(ids[begin : begin + IN_MEMORY_LIMIT])
        unknown += len(piece) - int(np.count_nonzero(piece))
        if isinstance(ids, StoredIds) and piece.max(initial=0) >= vocab_size:
            raise UserError(
                f"{ids.path}: expected ids below {vocab_size}, got {piece.max()}; remove the file and start again "
                "to rebuild it"
            )
    return unknown
