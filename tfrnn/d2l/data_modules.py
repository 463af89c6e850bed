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
from tfrnn.d2l.translation import preprocess_nmt, read_data_nmt
from tfrnn.data.corpora import catalogue
from tfrnn.data.vocabulary import UNKNOWN
from tfrnn.errors import UserError


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
        if not isinstance(indices, (list, tuple)):
            indices = np.asarray(indices).tolist()
        if isinstance(indices, (list, tuple)):
            return [self.to_tokens(i) for i in indices]
        return self.idx_to_token[indices]


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
        if len(corpus) <= num_steps:
            raise UserError(f"expected `num_steps` below the text's {len(corpus)} characters; got {num_steps}")
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


class MTFraEng(DataModule):
    """Pairs of English and French sentences (section 10.5): batches of source, decoder's input, valid lengths, labels.

    Source, decoder's input and labels are ids, int32 [B, T]; the valid lengths of the source are int32 [B].

    Args:
      batch_size: B.
      num_steps: T. Longer sentences are cut, shorter ones padded.
      num_train: the number of pairs to train on, from the beginning.
      num_val: the number of pairs for validation; as in the book there is one more.
    Attributes:
      src_vocab, tgt_vocab: the Vocab of each language.
      arrays: all rows of the four tensors of a batch.
    """

    def __init__(self, batch_size: int, num_steps: int = 9, num_train: int = 512, num_val: int = 128):
        super().__init__()
        self.save_hyperparameters()
        self.arrays, self.src_vocab, self.tgt_vocab = self._build_arrays(self._download())

    def _download(self) -> str:
        return read_data_nmt()

    def _preprocess(self, text: str) -> str:
        return preprocess_nmt(text)

    def _tokenize(self, text: str, max_examples: int | None = None) -> tuple[list[list[str]], list[list[str]]]:
        """Returns the words of each pair, with `<eos>` at the end; of max_examples + 1 lines, if it is given."""
        lines = text.split("\n")[: max_examples + 1 if max_examples else None]
        pairs = [sides for sides in (line.split("\t") for line in lines) if len(sides) == 2]
        source, target = ([[t for t in f"{pair[i]} <eos>".split(" ") if t] for pair in pairs] for i in (0, 1))
        return source, target

    def _build_arrays(self, raw_text: str, src_vocab: Any = None, tgt_vocab: Any = None) -> tuple:
        """Returns the four tensors of a batch with all pairs as rows, and the vocabularies, new ones by default."""
        num_pairs = self.num_train + self.num_val
        lines = raw_text.split("\n", num_pairs + 1)[: num_pairs + 1]  # the rest of the file is long
        sides = self._tokenize(self._preprocess("\n".join(lines)), num_pairs)
        source, target = (
            [(words + ["<pad>"] * self.num_steps)[: self.num_steps] for words in sentences] for sentences in sides
        )
        target = [["<bos>", *words] for words in target]
        src_vocab, tgt_vocab = src_vocab or Vocab(source, min_freq=2), tgt_vocab or Vocab(target, min_freq=2)
        src, tgt = tf.constant(src_vocab[source]), tf.constant(tgt_vocab[target])
        valid_len = tf.reduce_sum(tf.cast(src != src_vocab["<pad>"], tf.int32), 1)
        return (src, tgt[:, :-1], valid_len, tgt[:, 1:]), src_vocab, tgt_vocab

    def get_dataloader(self, train: bool) -> tf.data.Dataset:
        return self.get_tensorloader(
            self.arrays, train, slice(self.num_train) if train else slice(self.num_train, None)
        )

    def build(self, src_sentences: Sequence[str], tgt_sentences: Sequence[str]) -> tuple:
        """Returns sentences as the four tensors of a batch, with the vocabularies of the data."""
        raw_text = "\n".join(map("\t".join, zip(src_sentences, tgt_sentences, strict=True)))
        return self._build_arrays(raw_text, self.src_vocab, self.tgt_vocab)[0]
