"""The data of edition 1.0, chapters 9 and 10, as DataModules, and its vocabulary.

Letters: N number of tokens, T num_steps, B batch_size.
"""

import collections
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrnn.d2l.modules import DataModule
from tfrnn.data.corpora import catalogue
from tfrnn.data.vocabulary import UNKNOWN


class Vocab:
    """The vocabulary of edition 1.0 (section 9.2): its tokens, `<unk>` among them, have ids in the order of sorting.

    `vocab[tokens]` returns ids and `vocab.to_tokens(ids)` tokens, for one or for lists.

    Args:
      tokens: a list of tokens, or a list of lists of tokens.
      min_freq: tokens that occur less often are left out.
      reserved_tokens: tokens that get an id even if they do not occur.
    """

    def __init__(self, tokens: Sequence = (), min_freq: int = 0, reserved_tokens: Sequence[str] = ()):
        flat = [token for part in tokens for token in (part if isinstance(part, list) else [part])]
        self.token_freqs = collections.Counter(flat).most_common()
        known = {token for token, count in self.token_freqs if count >= min_freq}
        self.idx_to_token = sorted({UNKNOWN, *reserved_tokens, *known})
        self.token_to_idx = {token: i for i, token in enumerate(self.idx_to_token)}

    @property
    def unk(self) -> int:
        """The id of `<unk>`."""
        return self.token_to_idx[UNKNOWN]

    def __len__(self) -> int:
        return len(self.idx_to_token)

    def __getitem__(self, tokens: Any) -> Any:
        if isinstance(tokens, (list, tuple)):
            return [self[token] for token in tokens]
        return self.token_to_idx.get(tokens, self.unk)

    def to_tokens(self, indices: Any) -> Any:
        """Returns the token of one id, or a list of the tokens of a list, array or tensor of ids."""
        if np.ndim(indices):
            return [self.to_tokens(i) for i in indices]
        return self.idx_to_token[int(indices)]


class TimeMachine(DataModule):
    """Windows of The Time Machine's characters (section 9.3): batches of inputs and targets, int32 [B, T] each.

    Args:
      batch_size: B.
      num_steps: T. Each window begins one character after the last.
      num_train: the number of windows to train on, from the beginning.
      num_val: the number of windows for validation, after them.
    Attributes:
      vocab: the Vocab of all characters.
      X, Y: all windows and their targets, int32 [N - T, T].
    """

    def __init__(self, batch_size: int, num_steps: int, num_train: int = 10000, num_val: int = 5000):
        super().__init__()
        self.save_hyperparameters()
        corpus, self.vocab = self.build(self._download())
        windows = np.lib.stride_tricks.sliding_window_view(np.array(corpus, np.int32), num_steps + 1)
        self.X, self.Y = tf.constant(windows[:, :-1]), tf.constant(windows[:, 1:])

    def _download(self) -> str:
        return catalogue.load_corpus("time_machine", "raw")

    def _preprocess(self, text: str) -> str:
        return re.sub("[^A-Za-z]+", " ", text).lower()

    def _tokenize(self, text: str) -> list[str]:
        return list(text)

    def build(self, raw_text: str, vocab: Any = None) -> tuple[list[int], Any]:
        """Returns the ids of the characters of a text, and their vocabulary, a new one by default."""
        tokens = self._tokenize(self._preprocess(raw_text))
        vocab = Vocab(tokens) if vocab is None else vocab
        return [vocab[token] for token in tokens], vocab

    def get_dataloader(self, train: bool) -> tf.data.Dataset:
        rows = slice(0, self.num_train) if train else slice(self.num_train, self.num_train + self.num_val)
        return self.get_tensorloader([self.X, self.Y], train, rows)
