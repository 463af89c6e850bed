"""Texts of section 8.2: The Time Machine, its tokens and their vocabulary."""

import collections
from collections.abc import Iterable, Sequence
from typing import Any

from tfrnn.d2l.given_numbers import whole_number
from tfrnn.data import text_rules
from tfrnn.data.corpora import catalogue
from tfrnn.data.vocabulary import UNKNOWN, Vocabulary
from tfrnn.errors import UserError


def read_time_machine() -> list[str]:
    """Returns the lines of The Time Machine, reduced to lower-case letters and single spaces."""
    return text_rules.clean_lines(catalogue.load_corpus("time_machine", "raw").removesuffix("\n"))


def tokenize(lines: Iterable[str], token: str = "word") -> list[list[str]]:
    """Returns the tokens of each line: its words, or its characters if token is `char`."""
    kinds = {"char": "char", "word": "spaced"}
    if token not in kinds:
        raise UserError(f"`token` must be one of {', '.join(kinds)}; got {token!r}")
    return [text_rules.split(line, kinds[token]) for line in lines]


class Vocab(Vocabulary):
    """The book's vocabulary: `vocab[tokens]` returns ids and `vocab.to_tokens(ids)` tokens, for one or for lists.

    Id 0 is `<unk>`, then come the reserved tokens, then the others, the most frequent first.

    Args:
      tokens: a list of tokens, or a list of lists of tokens.
      min_freq: tokens that occur less often are left out.
      reserved_tokens: tokens that get an id even if they do not occur.
    """

    def __init__(self, tokens: Any = None, min_freq: int = 0, reserved_tokens: Sequence[str] | None = None):
        self.token_freqs = count_corpus([] if tokens is None else tokens).most_common()
        first = [UNKNOWN, *(reserved_tokens or [])]
        rest = [token for token, count in self.token_freqs if count >= min_freq and token not in first]
        self._tuples = any(isinstance(token, tuple) for token in rest)
        characters = all(isinstance(token, str) and len(token) == 1 for token in rest)
        super().__init__([*first, *rest], "char" if characters else "spaced")

    @property
    def unk(self) -> int:
        """The id of `<unk>`, 0."""
        return 0

    @property
    def idx_to_token(self) -> list[str]:
        """The list of tokens, ordered by id."""
        return self.id_to_token

    @property
    def token_to_idx(self) -> dict[str, int]:
        """The dict from tokens to ids."""
        return self._token_to_id

    def __getitem__(self, tokens: Any) -> Any:
        if isinstance(tokens, list) or (isinstance(tokens, tuple) and not self._tuples):
            return [self[token] for token in tokens]
        return self.id_of(tokens)

    def to_tokens(self, indices: Any) -> Any:
        """Returns the token of one id, or a list of the tokens of a list, array or tensor of ids."""
        if isinstance(indices, (list, tuple)) or len(getattr(indices, "shape", ())):
            return [self.to_tokens(i) for i in indices]
        return self.id_to_token[whole_number("indices", indices, 0, len(self) - 1)]


def count_corpus(tokens: Sequence) -> collections.Counter:
    """Returns how often each token occurs in a list of tokens, or in a list of lists of them."""
    try:
        # A tuple is one token: the book's bigrams are pairs of words.
        return collections.Counter(token for part in tokens for token in (part if isinstance(part, list) else [part]))
    except TypeError as error:  # nothing to iterate over, or tokens that are no keys
        raise UserError(
            f"expected `tokens` as a list of tokens, or of lists of them; got {type(tokens).__name__} ({error})"
        ) from error


def load_corpus_time_machine(max_tokens: int = -1) -> tuple[list[int], Vocab]:
    """Returns the ids of The Time Machine's characters, the first max_tokens if that is positive, and a Vocab."""
    max_tokens = whole_number("max_tokens", max_tokens, -1)
    characters = [char for line in tokenize(read_time_machine(), "char") for char in line]
    vocab = Vocab(characters)
    corpus = vocab[characters]
    return (corpus[:max_tokens] if max_tokens > 0 else corpus), vocab
