"""Section 8.2, text: The Time Machine, its tokens and their vocabulary; and the first edition's lyrics."""

import collections
from collections.abc import Iterable, Sequence
from typing import Any

from tfrnn.data import text_rules
from tfrnn.data.corpora import catalogue
from tfrnn.data.vocabulary import NOUNS, UNKNOWN, Vocabulary
from tfrnn.errors import UserError


def read_time_machine() -> list[str]:
    """The lines of The Time Machine, of lower-case letters and single spaces."""
    return text_rules.clean_lines(catalogue.load_corpus("time_machine", "raw").removesuffix("\n"))


def tokenize(lines: Iterable[str], token: str = "word") -> list[list[str]]:
    """The tokens of each line, `word` or `char`."""
    if token not in NOUNS:
        raise UserError(f"token must be one of {', '.join(NOUNS)}; got {token!r}")
    return [text_rules.split(line, token) for line in lines]


class Vocab(Vocabulary):
    """The book's vocabulary: `vocab[tokens]` and `vocab.to_tokens(ids)`, of one or of lists.

    Args:
      tokens: a list of tokens, or of lists of them.
      min_freq: tokens that are rarer are left out.
      reserved_tokens: take the ids behind `<unk>`, which is 0.
    """

    def __init__(self, tokens: Any = None, min_freq: int = 0, reserved_tokens: Sequence[str] | None = None):
        # A tuple is one token, as the book's pairs of words are.
        flat = [token for part in tokens or [] for token in (part if isinstance(part, list) else [part])]
        self.token_freqs = collections.Counter(flat).most_common()
        first = [UNKNOWN, *(reserved_tokens or [])]
        rest = [token for token, count in self.token_freqs if count >= min_freq and token not in first]
        self._tuples = any(isinstance(token, tuple) for token in rest)
        characters = all(isinstance(token, str) and len(token) == 1 for token in rest)
        super().__init__([*first, *rest], "char" if characters else "word")

    @property
    def unk(self) -> int:
        """The id of `<unk>`."""
        return 0

    @property
    def idx_to_token(self) -> list[str]:
        """The tokens in id order."""
        return self.id_to_token

    @property
    def token_to_idx(self) -> dict[str, int]:
        """The id of each token."""
        return self._token_to_id

    def __getitem__(self, tokens: Any) -> Any:
        if isinstance(tokens, list) or (isinstance(tokens, tuple) and not self._tuples):
            return [self[token] for token in tokens]
        return self.id_of(tokens)

    def to_tokens(self, indices: Any) -> Any:
        """The token of an id; of ids (lists of them, arrays, tensors), lists of tokens."""
        if isinstance(indices, (list, tuple)) or len(getattr(indices, "shape", ())):
            return [self.to_tokens(i) for i in indices]
        return self.id_to_token[int(indices)]


def load_corpus_time_machine(max_tokens: int = -1) -> tuple[list[int], Vocab]:
    """The ids of The Time Machine's characters, the first max_tokens if that is positive, and their vocabulary."""
    characters = [char for line in tokenize(read_time_machine(), "char") for char in line]
    vocab = Vocab(characters)
    corpus = vocab[characters]
    return (corpus[:max_tokens] if max_tokens > 0 else corpus), vocab


def load_data_jay_lyrics() -> tuple[list[int], dict[str, int], list[str], int]:
    """corpus_indices, char_to_idx, idx_to_char and vocab_size of the first 10,000 characters of the lyrics."""
    text = catalogue.load_corpus("jay_lyrics")[:10_000]
    idx_to_char = Vocabulary.from_text(text).id_to_token[1:]  # without <unk>, which that edition lacks
    char_to_idx = {char: i for i, char in enumerate(idx_to_char)}
    return [char_to_idx[char] for char in text], char_to_idx, idx_to_char, len(idx_to_char)
