"""Vocabulary: tokens to ids and back."""

import collections
import functools
import json
import sys
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tfrnn.data import text_rules
from tfrnn.errors import UserError

UNKNOWN = "<unk>"
UNKNOWN_POLICIES = ("error", "skip", "unk")
NOUNS = {"char": "character", "word": "word"}


class Vocabulary:
    """Tokens in id order: `<unk>` is 0, then by falling frequency, ties by first appearance (the book's order).

    >>> vocabulary = tfrnn.Vocabulary.from_text("to be or not to be")
    >>> vocabulary.id_to_token
    ['<unk>', ' ', 'o', 't', 'b', 'e', 'r', 'n']
    >>> vocabulary.encode("bet")
    array([4, 5, 3], dtype=int32)
    >>> vocabulary.decode([3, 2])
    'to'

    Args:
      id_to_token: every token once, `<unk>` first.
      tokens: what a token is, `char` or `word`.
    """

    def __init__(self, id_to_token: Iterable[str], tokens: str = "char"):
        self.id_to_token = list(id_to_token)
        self.tokens = tokens
        self._token_to_id = {token: i for i, token in enumerate(self.id_to_token)}
        if self.id_to_token[:1] != [UNKNOWN] or len(self._token_to_id) != len(self.id_to_token):
            raise UserError(f"a vocabulary must begin with {UNKNOWN!r} and hold every token once")

    @classmethod
    def from_counts(cls, counts: Mapping[str, int], tokens: str = "char", max_tokens: int = 0) -> "Vocabulary":
        """The vocabulary of counted tokens, which are in order of first appearance.

        Args:
          counts: how often each token occurs.
          tokens: `char` or `word`.
          max_tokens: at most so many beside `<unk>`; 0: all.
        """
        found = [token for token in counts if token != UNKNOWN]  # a text of words may hold it
        found.sort(key=counts.__getitem__, reverse=True)  # which keeps ties in their order
        return cls([UNKNOWN, *found[: max_tokens or None]], tokens)

    @classmethod
    def from_text(cls, text: str, tokens: str = "char", max_tokens: int = 0) -> "Vocabulary":
        """The vocabulary of a cleaned text.

        Args:
          text: as load_corpus gives it.
          tokens: `char` or `word`.
          max_tokens: at most so many beside `<unk>`, the commonest; 0: all.
        """
        counts = collections.Counter(text.split() if tokens == "word" else text)
        return cls.from_counts(counts, tokens, max_tokens)

    def __len__(self) -> int:
        return len(self.id_to_token)

    @property
    def dtype(self) -> np.dtype:
        """The smallest of uint8, uint16 and int32 that holds all ids."""
        return np.dtype(next(t for t in (np.uint8, np.uint16, np.int32) if len(self) - 1 <= np.iinfo(t).max))

    def id_of(self, token: str) -> int:
        """The id of a token; 0 where it is unknown."""
        return self._token_to_id.get(token, 0)

    def unknown(self, text: str) -> list[str]:
        """The tokens of the text that are not in the vocabulary, each once, in order of appearance."""
        return [t for t in dict.fromkeys(text_rules.split(text, self.tokens)) if t not in self._token_to_id]

    def encode(self, text: str, unknown: str = "error") -> np.ndarray:
        """The ids of a text, int32 [N].

        Args:
          text: a cleaned text.
          unknown: what becomes of a token that is not in the vocabulary: `error`, `unk` (id 0) or `skip`.
        Raises:
          UserError: names the unknown tokens, where they are an error.
        """
        if unknown not in UNKNOWN_POLICIES:
            raise UserError(f"unknown must be one of {', '.join(UNKNOWN_POLICIES)}; got {unknown!r}")
        if self.tokens == "char":
            ids = self.ids(text).astype(np.int32)
            known = ids > 0
        else:
            words = text_rules.split(text, self.tokens)
            ids = self.ids(words).astype(np.int32)
            known = np.array([word in self._token_to_id for word in words], bool)
        if unknown == "error" and not known.all():
            strangers = self.unknown(text)
            shown = ", ".join(map(repr, strangers[:10])) + (", ..." if len(strangers) > 10 else "")
            there = ", ".join(map(repr, self.id_to_token[1:31])) + (", ..." if len(self) > 31 else "")
            raise UserError(
                f"unknown {NOUNS[self.tokens]}s {shown} in {_shortened(text)!r}: expected only those of the "
                f"vocabulary ({there}); leave them out, or give unknown='skip' (--unknown=skip)"
            )
        return ids[known] if unknown == "skip" else ids

    def ids(self, tokens: str | Sequence[str]) -> np.ndarray:
        """The ids of tokens, `dtype` [N], 0 where one is unknown; characters come as a string, words as a list."""
        if isinstance(tokens, str):
            return self._id_of_code_point[np.frombuffer(tokens.encode("utf-32-le", "surrogatepass"), np.uint32)]
        return np.fromiter((self._token_to_id.get(token, 0) for token in tokens), self.dtype, len(tokens))

    @functools.cached_property
    def _id_of_code_point(self) -> np.ndarray:
        """In `dtype`, 0 for what is unknown."""
        table = np.zeros(sys.maxunicode + 1, self.dtype)
        for i, token in enumerate(self.id_to_token):
            if len(token) == 1:
                table[ord(token)] = i
        return table

    def encode_prefix(self, prefix: str, unknown: str = "error") -> np.ndarray:
        """As encode, for a text to go on from. Raises UserError where no token is left to read."""
        ids = self.encode(prefix, unknown)
        if not len(ids):
            raise UserError(
                f"--prefix {prefix!r}: expected a known {NOUNS[self.tokens]} at least to go on from; give a longer one"
            )
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids [N]; words are joined by one space. Raises IndexError where there is no such id."""
        return text_rules.join([self.id_to_token[int(i)] for i in ids], self.tokens)

    def to_json(self) -> str:
        """A JSON list of the tokens in id order."""
        return json.dumps(self.id_to_token, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, tokens: str = "char") -> "Vocabulary":
        """The inverse of to_json. Raises UserError on anything but a list of distinct tokens, `<unk>` first."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"a vocabulary must be a JSON list of tokens; it cannot be parsed ({error})") from None
        if not isinstance(data, list) or not all(isinstance(token, str) for token in data):
            raise UserError("a vocabulary must be a JSON list of tokens; got something else")
        for token in data[1:]:
            # A surrogate alone is no character, but JSON can hold it.
            if any("\ud800" <= c <= "\udfff" for c in token) or text_rules.split(token, tokens) != [token]:
                raise UserError(f"a vocabulary of {NOUNS[tokens]}s must hold one in each place; got {token[:40]!r}")
        return cls(data, tokens)


def _shortened(text: str, limit: int = 40) -> str:
    return text if len(text) <= limit else text[:limit] + "..."
