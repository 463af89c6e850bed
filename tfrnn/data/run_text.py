"""The text of a run: surveyed, cut into what is trained on and what is held out, and encoded; however large it is.

Letters: N tokens.
"""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator

import numpy as np
from tqdm import tqdm

from tfrnn.config.config import Config
from tfrnn.data import text_rules
from tfrnn.data.corpora import cache, catalogue, passes
from tfrnn.data.stored_ids import StoredIds
from tfrnn.data.vocabulary import UNKNOWN, Vocabulary
from tfrnn.errors import UserError
from tfrnn.runtime import host

LARGE = 2**24  # bytes of a text, or tokens of it, from which on nothing of it is kept in memory


@dataclasses.dataclass(frozen=True)
class Text:
    """A corpus as a run reads it."""

    vocabulary: Vocabulary
    training: np.ndarray | StoredIds  # ids, integers [N]
    validation: np.ndarray | StoredIds
    sha256: str  # of the whole cleaned text in UTF-8
    remarks: tuple[str, ...] = ()  # for the user


class Corpus:
    """A corpus under a text rule, whose passes are remembered on the disk where it is large.

    Raises MissingFileError and UserError as corpora.open_corpus does.
    """

    def __init__(self, name: str, rule: str, tokens: str, cache_dir: str = ""):
        self.name, self.tokens = name, tokens
        self.rule = catalogue.text_rule_of(name, rule)
        self._source = catalogue.open_corpus(name)
        self._is_large = self._source.size > LARGE
        self._cache = cache.Cache(cache_dir or cache.default_cache_dir())
        self._sha256 = ""
        if self._is_large:
            with self._bar("reading") as on_bytes:
                self._sha256 = self._source.sha256(on_bytes)
            with self._bar("counting") as on_bytes:
                self.survey = self._cache.survey(self._source, self._sha256, self.rule, tokens, on_bytes)
        else:
            self.survey = passes.survey(self._source, self.rule, tokens)

    def vocabulary(self, num_tokens: int, most: int) -> Vocabulary:
        """That of the first so many tokens, of `most` tokens at most (0: all)."""
        if num_tokens >= self.survey.num_tokens:
            return Vocabulary.from_counts(self.survey.counts, self.tokens, most)
        counts = passes.count_first(self._source, self.rule, self.tokens, num_tokens)
        return Vocabulary.from_counts(counts, self.tokens, most)

    def ids(self, vocabulary: Vocabulary, num_tokens: int) -> np.ndarray | StoredIds:
        """The ids of the first so many tokens, 0 for one that the vocabulary lacks."""
        if num_tokens > LARGE:
            self._sha256 = self._sha256 or self._source.sha256()
            with self._bar("encoding") as on_bytes:
                return self._cache.ids(self._source, self._sha256, self.rule, vocabulary, num_tokens, on_bytes)
        return np.concatenate(list(passes.encode(self._source, self.rule, vocabulary, num_tokens)))

    def part(self, begin: int, end: int) -> str:
        """The text of these tokens."""
        return passes.take(self._source, self.rule, self.tokens, begin, end)

    @contextlib.contextmanager
    def _bar(self, what: str) -> Iterator[Callable[[int], object]]:
        """A bar on the way through a large text, where stderr is a terminal."""
        hidden = not (self._is_large and sys.stderr.isatty())
        with tqdm(
            desc=f"{what} {self.name}",
            total=self._source.size,
            unit="B",
            unit_scale=True,
            disable=hidden,
            leave=False,
            file=sys.stderr,
            ncols=host.terminal_columns(),
        ) as bar:
            yield bar.update


def bounds(num_tokens: int, max_tokens: int, validation_tokens: int) -> tuple[int, int]:
    """What of a cleaned text is trained on, the tokens [0, end), and what is held out, [end, held_out_end).

    Args:
      num_tokens: of the whole text.
      max_tokens: to train on so many; 0: on all but what is held out, at the end.
      validation_tokens: to hold out so many, right behind those.
    Returns:
      end and held_out_end, where the text ends at the latest.
    Raises:
      UserError: nothing is left to train on.
    """
    end = max_tokens or num_tokens - validation_tokens
    if end <= 0:
        raise UserError(
            f"--validation_tokens={validation_tokens} leaves nothing to train on of the text's {num_tokens} tokens; "
            "take a longer text, or hold out fewer"
        )
    return min(end, num_tokens), min(end + validation_tokens, num_tokens)


def read(config: Config) -> tuple[Config, Text]:
    """The run's text, and the config with what depends on the text filled in: its rule and its prefixes.

    Raises:
      MissingFileError: there is no such corpus.
      UserError: it cannot be read, or is too short for what is asked of it.
    """
    data = config.data
    corpus = Corpus(data.corpus, data.text_rule, data.tokens, config.run.cache_dir)
    survey = corpus.survey
    end, held_out_end = bounds(survey.num_tokens, data.max_tokens, data.validation_tokens)
    if held_out_end - end < 2 and (config.training.early_stopping or config.training.schedule == "plateau"):
        raise UserError(
            "--early_stopping and --schedule=plateau need a held-out text of two tokens at least; got "
            f"{held_out_end - end}; give --validation_tokens, or less --max_tokens"
        )
    vocabulary = corpus.vocabulary(survey.num_tokens if data.vocabulary == "corpus" else end, data.max_vocabulary)
    given = config.run.prefix or catalogue.prefixes_of(data.corpus, survey.beginning, survey.counts, data.tokens)
    prefixes = text_rules.clean_prefixes(given, corpus.rule, data.tokens)
    if not config.run.prefix and data.max_vocabulary:
        prefixes = tuple(_known(prefix, vocabulary) for prefix in prefixes)
    for prefix in prefixes:
        vocabulary.encode_prefix(prefix)  # an unknown character is an error, and now is the time to say so
    ids = corpus.ids(vocabulary, held_out_end)
    training, validation = ids[:end], ids[end:]
    remarks = []
    for what, part in (("training", training), ("validation", validation)):
        if unknown := _count_unknown(part, len(vocabulary)):
            remarks.append(f"{unknown:,} of {len(part):,} {what} tokens are not in the vocabulary: read as {UNKNOWN}")
    text = Text(vocabulary, training, validation, survey.sha256, tuple(remarks))
    return config.replace(text_rule=corpus.rule, prefix=prefixes), text


def _known(prefix: str, vocabulary: Vocabulary) -> str:
    """What the vocabulary knows of a prefix; its commonest token where that is nothing."""
    known = [t for t in text_rules.split(prefix, vocabulary.tokens) if vocabulary.id_of(t)]
    return text_rules.join(known or vocabulary.id_to_token[1:2], vocabulary.tokens)


def _count_unknown(ids: np.ndarray | StoredIds, vocab_size: int) -> int:
    """How many there are. Raises UserError where one is none of the vocabulary's, so that the file is damaged."""
    unknown = 0
    for begin in range(0, len(ids), LARGE):
        piece = np.asarray(ids[begin : begin + LARGE])
        unknown += len(piece) - int(np.count_nonzero(piece))
        if isinstance(ids, StoredIds) and piece.max(initial=0) >= vocab_size:
            raise UserError(
                f"{ids.path}: expected ids below {vocab_size}, got {piece.max()}; remove the file and start again, "
                "and it is made anew"
            )
    return unknown
