"""The vocabulary: from tokens to ids and back."""

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
    """The tokens of a text and their ids: `<unk>` is 0, then tokens by falling frequency.

    Tokens of equal frequency are in order of first appearance, as in the book.

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
        """Makes the vocabulary of counted tokens.

        Args:
          counts: the number of times each token occurs, in order of first appearance.
          tokens: `char` or `word`.
          max_tokens: keep at most this number of tokens, the most frequent, not counting `<unk>`; 0 keeps all.
        """
        known = [token for token in counts if token != UNKNOWN]  # a text of words may contain "<unk>"
        known.sort(key=counts.__getitem__, reverse=True)  # a stable sort: ties keep their order
        return cls([UNKNOWN, *known[: max_tokens or None]], tokens)

    @classmethod
    def from_text(cls, text: str, tokens: str = "char", max_tokens: int = 0) -> "Vocabulary":
        """Makes the vocabulary of a cleaned text.

        Args:
          text: a cleaned text, as `load_corpus` returns it.
          tokens: `char` or `word`.
          max_tokens: keep at most this number of tokens, the most frequent, not counting `<unk>`; 0 keeps all.
        """
        counts = collections.Counter(text.split() if tokens == "word" else text)
        return cls.from_counts(counts, tokens, max_tokens)

    def united(self, other: "Vocabulary") -> "Vocabulary":
        """Returns a vocabulary that begins with this one's tokens, with their ids, and has the other's after them.

        Raises UserError if the tokens of one are characters and those of the other are not.
        """
        if self.tokens != other.tokens:
            raise UserError(f"expected two vocabularies of `tokens={self.tokens}`; got one of {other.tokens}")
        return Vocabulary(
            [*self.id_to_token, *(t for t in other.id_to_token if t not in self._token_to_id)], self.tokens
        )

    def __len__(self) -> int:
        """The number of tokens, including `<unk>`."""
        return len(self.id_to_token)

    @property
    def dtype(self) -> np.dtype:
        """The smallest of uint8, uint16 and int32 that can hold every id."""
        return np.dtype(next(t for t in (np.uint8, np.uint16, np.int32) if len(self) - 1 <= np.iinfo(t).max))

    def id_of(self, token: str) -> int:
        """Returns the id of a token, or 0 if it is not in the vocabulary."""
        return self._token_to_id.get(token, 0)

    def unknown(self, text: str) -> list[str]:
        """Returns the tokens of a text that are not in the vocabulary, each once, in order of appearance."""
        return [t for t in dict.fromkeys(text_rules.split(text, self.tokens)) if t not in self._token_to_id]

    def encode(self, text: str, unknown: str = "error") -> np.ndarray:
        """Returns the ids of the tokens of a text, int32 [N].

        Args:
          text: a cleaned text.
          unknown: how to treat a token that is not in the vocabulary: `error` raises UserError, `unk` encodes it as
            id 0, `skip` leaves it out.
        Raises:
          UserError: the text has unknown tokens and `unknown` is `error`; the message names them.
        """
        if unknown not in UNKNOWN_POLICIES:
            raise UserError(f"`unknown` must be one of {', '.join(UNKNOWN_POLICIES)}; got {unknown!r}")
        if self.tokens == "char":
            ids = self.ids(text).astype(np.int32)
            known = ids > 0
        else:
            words = text_rules.split(text, self.tokens)
            ids = self.ids(words).astype(np.int32)
            known = np.array([word in self._token_to_id for word in words], bool)
        if unknown == "error" and not known.all():
            unknown_tokens = self.unknown(text)
            shown = ", ".join(map(repr, unknown_tokens[:10])) + (", ..." if len(unknown_tokens) > 10 else "")
            expected = ", ".join(map(repr, self.id_to_token[1:31])) + (", ..." if len(self) > 31 else "")
            raise UserError(
                f"unknown {NOUNS[self.tokens]}s {shown} in {_shortened(text)!r}: expected only those of the "
                f"vocabulary ({expected}); leave them out, or give `unknown=skip`"
            )
        return ids[known] if unknown == "skip" else ids

    def ids(self, tokens: str | Sequence[str]) -> np.ndarray:
        """Returns the ids of characters in a string or of words in a list, `dtype` [N], with 0 for an unknown one."""
        if isinstance(tokens, str):
            return self._id_of_code_point[np.frombuffer(tokens.encode("utf-32-le", "surrogatepass"), np.uint32)]
        return np.fromiter((self._token_to_id.get(token, 0) for token in tokens), self.dtype, len(tokens))

    @functools.cached_property
    def _id_of_code_point(self) -> np.ndarray:
        """The id of each code point, `dtype` [0x110000], with 0 for an unknown one."""
        table = np.zeros(sys.maxunicode + 1, self.dtype)
        for i, token in enumerate(self.id_to_token):
            if len(token) == 1:
                table[ord(token)] = i
        return table

    def encode_prefix(self, prefix: str, unknown: str = "error") -> np.ndarray:
        """Encodes a prefix as `encode` does. Raises UserError if there is no token in it to continue."""
        ids = self.encode(prefix, unknown)
        if not len(ids):
            raise UserError(
                f"`prefix` {prefix!r}: expected at least one known {NOUNS[self.tokens]} to continue; give a longer one"
            )
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of ids [N]; words are joined by one space. Raises IndexError if an id is too large."""
        return text_rules.join([self.id_to_token[int(i)] for i in ids], self.tokens)

    def to_json(self) -> str:
        """Returns the tokens in id order as a JSON list."""
        return json.dumps(self.id_to_token, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, tokens: str = "char") -> "Vocabulary":
        """Reads what `to_json` returns. Raises UserError unless it is a list of distinct tokens, `<unk>` first."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"a vocabulary must be a JSON list of tokens; it cannot be parsed ({error})") from None
        if not isinstance(data, list) or not all(isinstance(token, str) for token in data):
            raise UserError("a vocabulary must be a JSON list of tokens; got something else")
        for token in data[1:]:
            # A lone surrogate is not a character, but JSON can contain it.
            if any("\ud800" <= c <= "\udfff" for c in token) or text_rules.split(token, tokens) != [token]:
                raise UserError(f"each entry of a vocabulary must be one {NOUNS[tokens]}; got {token[:40]!r}")
        return cls(data, tokens)


def _shortened(text: str, limit: int = 40) -> str:
    return text if len(text) <= limit else text[:limit] + "..."
