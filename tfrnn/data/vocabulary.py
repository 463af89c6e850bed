"""The vocabulary: from tokens to ids and back."""

import collections
import functools
import json
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from tfrnn.config.sections import Data
from tfrnn.data import byte_pairs, text_rules
from tfrnn.data.text_rules import NOUNS
from tfrnn.errors import UserError, join_with_or

UNKNOWN = "<unk>"
UNKNOWN_POLICIES = ("error", "skip", "unk")
SPACE_TO_COME = "\b"  # what a text ends with if the next token brings the space at its end: see `gap_of`
MAX_KEPT = 2**16  # words whose byte-pair tokens are kept
_WHAT_TO_DO = "leave them out, or give `unknown=skip`"


class Vocabulary:
    """The tokens of a text and their ids: `<unk>` is 0, then tokens by falling frequency.

    Tokens of equal frequency are in order of first appearance, as in the book. Of byte pairs, the characters come
    first, and then the tokens that are made of them, in the order in which they are joined.

    >>> vocabulary = tfrnn.Vocabulary.from_text("to be or not to be")
    >>> vocabulary.id_to_token
    ['<unk>', ' ', 'o', 't', 'b', 'e', 'r', 'n']
    >>> vocabulary.encode("bet")
    array([4, 5, 3], dtype=int32)
    >>> vocabulary.decode([3, 2])
    'to'

    Args:
      id_to_token: every token once, `<unk>` first.
      tokens: what a token is: `char`; `word` for words, punctuation marks and line ends; `spaced` for what stands
        between white space; `bpe` for byte pairs, which are characters and what is joined of them.
    """

    def __init__(self, id_to_token: Iterable[str], tokens: str = "char"):
        self.id_to_token = list(id_to_token)
        self.tokens = tokens
        self._token_to_id = {token: i for i, token in enumerate(self.id_to_token)}
        if tokens not in NOUNS:
            raise UserError(f"`tokens` must be {join_with_or(NOUNS)}; got {tokens!r}")
        if self.id_to_token[:1] != [UNKNOWN] or len(self._token_to_id) != len(self.id_to_token):
            raise UserError(f"a vocabulary must begin with {UNKNOWN!r} and hold every token once")
        if tokens == "bpe" and (lacking := sorted(set("".join(self.id_to_token[1:])).difference(self._token_to_id))):
            raise UserError(f"a vocabulary of byte pairs must hold each of their characters; it lacks {lacking[0]!r}")
        self._kept: dict[str, list[str]] = {}

    @classmethod
    def from_counts(cls, counts: Mapping[str, int], tokens: str = "char", max_tokens: int = 0) -> "Vocabulary":
        """Makes the vocabulary of counted tokens.

        Args:
          counts: the number of times each token occurs, in order of first appearance; of byte pairs, each character.
          tokens: `char`, `word`, `spaced` or `bpe`; for the last, those that are joined can be added, see `extended`.
          max_tokens: keep at most this number of tokens, the most frequent, not counting `<unk>`; 0 keeps all.
        """
        known = [token for token in counts if token != UNKNOWN]  # a text of words may contain "<unk>"
        known.sort(key=counts.__getitem__, reverse=True)  # a stable sort: ties keep their order
        return cls([UNKNOWN, *known[: max_tokens or None]], tokens)

    @classmethod
    def from_text(cls, text: str, tokens: str = "char", max_tokens: int = 0, merges: int | None = None) -> "Vocabulary":
        """Makes the vocabulary of a cleaned text.

        Args:
          text: a cleaned text, as `load_corpus` returns it.
          tokens: `char`, `word`, `spaced` or `bpe`.
          max_tokens: keep at most this number of tokens, the most frequent, not counting `<unk>`; 0 keeps all.
          merges: for byte pairs, the number of tokens that are joined of others, as the setting `merges`; fewer if the
            text has not as many pairs that occur twice.
        Raises:
          UserError: `max_tokens` is given for byte pairs, or `merges` for others; or the package tokenizers is needed
            and not installed.
        """
        if tokens != "bpe":
            if merges is not None:
                raise UserError(f"`merges` is for `tokens=bpe`; got `tokens={tokens}`; leave one out")
            counts = collections.Counter(text if tokens == "char" else text_rules.split(text, tokens))
            return cls.from_counts(counts, tokens, max_tokens)
        if max_tokens:
            raise UserError(
                f"`max_tokens={max_tokens}` is not for `tokens=bpe`, which keeps all characters; give `merges`"
            )
        characters = cls.from_counts(collections.Counter(text), tokens)
        return characters.extended(byte_pairs.find(text, Data.merges if merges is None else merges))

    def extended(self, tokens: Iterable[str]) -> "Vocabulary":
        """Returns a vocabulary with those of the tokens at its end that this one does not have."""
        return Vocabulary([*self.id_to_token, *(t for t in tokens if t not in self._token_to_id)], self.tokens)

    def united(self, other: "Vocabulary") -> "Vocabulary":
        """Returns a vocabulary that begins with this one's tokens, with their ids, and has the other's after them.

        Raises UserError if the tokens of one are characters and those of the other are not.
        """
        if self.tokens != other.tokens:
            raise UserError(f"expected two vocabularies of `tokens={self.tokens}`; got one of {other.tokens}")
        return self.extended(other.id_to_token)

    def __len__(self) -> int:
        """The number of tokens, including `<unk>`."""
        return len(self.id_to_token)

    @property
    def dtype(self) -> np.dtype:
        """The smallest of uint8, uint16 and int32 that can hold every id."""
        return np.dtype(next(t for t in (np.uint8, np.uint16, np.int32) if len(self) - 1 <= np.iinfo(t).max))

    @property
    def line_end(self) -> str:
        """The token of a line end, which a text may begin after; empty if there is none."""
        return text_rules.LINE_END if text_rules.LINE_END in self._token_to_id else ""

    def id_of(self, token: str) -> int:
        """Returns the id of a token, or 0 if it is not in the vocabulary."""
        return self._token_to_id.get(token, 0)

    def unknown(self, text: str) -> list[str]:
        """Returns the tokens of a text that are not in the vocabulary, each once, in order of appearance."""
        return [t for t in dict.fromkeys(self.split(text)) if t not in self._token_to_id]

    def split(self, text: str) -> list[str]:
        """Returns the tokens of a cleaned text, known or unknown."""
        if self.tokens != "bpe":
            return text_rules.split(text, self.tokens)
        return [token for chunk in text_rules.chunks(text) for token in self._divided(chunk)]

    def _divided(self, chunk: str) -> list[str]:
        """Returns the byte-pair tokens of one of `text_rules.chunks`, or of a piece of it."""
        tokens = self._kept.get(chunk)
        if tokens is None:
            pieces = text_rules.split_chunk(chunk)
            if len(pieces) == 1:
                tokens = byte_pairs.divide(chunk, self._token_to_id)
            else:
                tokens = [token for piece in pieces for token in self._divided(piece)]
            if len(chunk) <= text_rules.MAX_PIECE_LENGTH:
                if len(self._kept) == MAX_KEPT:
                    self._kept.clear()
                self._kept[chunk] = tokens
        return tokens

    def encode(self, text: str, unknown: str = "error") -> np.ndarray:
        """Returns the ids of the tokens of a text, int32 [N].

        Args:
          text: a cleaned text.
          unknown: how to treat a token that is not in the vocabulary: `error` raises UserError, `unk` encodes it as
            id 0, `skip` leaves it out.
        Raises:
          UserError: the text has unknown tokens and `unknown` is `error`; the message names them.
        """
        tokens = text if self.tokens == "char" else self.split(text)
        return self._encode_tokens(tokens, unknown, repr(text_rules.shortened(text)), _WHAT_TO_DO)

    def _encode_tokens(self, tokens: str | Sequence[str], unknown: str, shown: str, what_to_do: str) -> np.ndarray:
        """Encodes the tokens of a text, characters in a string or others in a list: see `encode`.

        A message shows the text as `shown`, and says what to do.
        """
        if unknown not in UNKNOWN_POLICIES:
            raise UserError(f"`unknown` must be one of {', '.join(UNKNOWN_POLICIES)}; got {unknown!r}")
        ids = self.ids(tokens).astype(np.int32)
        known = ids > 0 if isinstance(tokens, str) else np.array([token in self._token_to_id for token in tokens], bool)
        if unknown == "error" and not known.all():
            unknown_tokens = [token for token in dict.fromkeys(tokens) if token not in self._token_to_id]
            listed = ", ".join(map(_quoted, unknown_tokens[:10])) + (", ..." if len(unknown_tokens) > 10 else "")
            expected = ", ".join(map(_quoted, self.id_to_token[1:31])) + (", ..." if len(self) > 31 else "")
            raise UserError(
                f"unknown {NOUNS[self.tokens]}s {listed} in {shown}: expected only those of the vocabulary "
                f"({expected}); {what_to_do}"
            )
        return ids[known] if unknown == "skip" else ids

    def as_written(self, text: str) -> str | list[str]:
        """Returns the tokens of a text in the form in which the vocabulary knows them.

        A character or word that it does not know is taken with its accents composed or decomposed, if it knows it so,
        and a punctuation mark as one that touches its neighbours, or not.
        """
        if self.tokens in ("char", "bpe"):
            whole = (text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD")))
            known = next((form for form in whole if not self.unknown(form)), None)
            written = known or "".join(map(self._known_form, _with_accents(text)))
            return written if self.tokens == "char" else self.split(written)
        return [self._known_form(token) for token in text_rules.split(text, self.tokens)]

    def _known_form(self, part: str) -> str:
        """Returns a word, or a character with its accents, in a form that the vocabulary knows; itself if none is."""
        forms = [part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD"))]
        if self.tokens == "word":
            forms += sorted(text_rules.variants(part), key=lambda form: self._token_to_id.get(form, len(self)))
        for form in forms:
            if all(token in self._token_to_id for token in ([form] if NOUNS[self.tokens] == "word" else form)):
                return form
        return part

    def ids(self, tokens: str | Sequence[str]) -> np.ndarray:
        """Returns the ids of tokens in a list or of those of a string, `dtype` [N], with 0 for an unknown one."""
        if isinstance(tokens, str) and self.tokens == "bpe":
            tokens = self.split(tokens)
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

    def encode_prefix(self, prefix: str, unknown: str = "error", what_to_do: str = _WHAT_TO_DO) -> np.ndarray:
        """Encodes a prefix as `encode` does, as the vocabulary writes it: see `as_written`.

        A space at its end is left out if the token that continues it brings it: see `gap_of`.

        Args:
          prefix: the prefix.
          unknown: as for `encode`.
          what_to_do: about unknown tokens, for the message.
        Raises:
          UserError: there is no token in it to continue, or as `encode`.
        """
        read = prefix[:-1] if self._brings_space(prefix) else prefix
        shown = f"`prefix` {text_rules.shortened(prefix)!r}"
        if r"\n" in read:
            what_to_do += r"; a line end is a single character, which bash writes as $'\n'"
        ids = self._encode_tokens(self.as_written(read), unknown, shown, what_to_do)
        if not len(ids):
            raise UserError(f"{shown}: expected at least one known {NOUNS[self.tokens]} to continue; give a longer one")
        return ids

    def _brings_space(self, prefix: str) -> bool:
        """Returns whether the space at the end of a prefix belongs to the token that continues it."""
        return self.tokens == "bpe" and len(prefix) > 1 and prefix[-1] == " " and " " in self._token_to_id

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of ids [N], with a space between words. Raises IndexError if an id is too large."""
        return text_rules.join([self.id_to_token[int(i)] for i in ids], self.tokens)

    def decode_after(self, gap: str, ids: Sequence[int] | np.ndarray) -> str:
        """Returns the text of ids [N] as it continues a text, after `gap` (see `gap_of`) if they do not touch it."""
        if not len(ids):
            return ""
        if gap == SPACE_TO_COME:
            return self.decode(ids).removeprefix(" ")
        return (gap and text_rules.gap("", self.id_to_token[int(ids[0])], self.tokens)) + self.decode(ids)

    def gap_after(self, token_id: int) -> str:
        """Returns what separates a token from the next one, unless that touches it: a space, or nothing."""
        return text_rules.gap(self.id_to_token[int(token_id)], "", self.tokens)

    def gap_of(self, prefix: str, last_id: int) -> str:
        """Returns what separates a prefix from the token that continues it.

        Args:
          prefix: the text.
          last_id: that of its last token.
        Returns:
          A space, or nothing, as `gap_after`; or SPACE_TO_COME if that token must begin with the space at the prefix's
          end. (A byte-pair token has the space before a word, so that a lone one is hardly ever followed by a word.)
        """
        if self._brings_space(prefix):
            return SPACE_TO_COME
        return "" if prefix[-1:].isspace() else self.gap_after(last_id)

    @functools.cached_property
    def begins_with_space(self) -> np.ndarray:
        """Whether each token begins with a space, bool [V]."""
        return np.array([token.startswith(" ") for token in self.id_to_token])

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
            if any("\ud800" <= c <= "\udfff" for c in token) or not text_rules.is_token(token, tokens):
                raise UserError(f"each entry of a vocabulary must be one {NOUNS[tokens]}; got {token[:40]!r}")
        return cls(data, tokens)


def _with_accents(text: str) -> Iterator[str]:
    """Yields the characters of a text, each with the combining marks after it."""
    begin = 0
    for end in range(1, len(text) + 1):
        if end == len(text) or not unicodedata.combining(text[end]):
            yield text[begin:end]
            begin = end


def _quoted(token: str) -> str:
    return repr(text_rules.shown(token))
