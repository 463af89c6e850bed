"""The data of edition 1.0, chapters 9 and 10, as DataModules, and its vocabulary.

Letters: N number of tokens, T num_steps, B batch_size.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrnn.d2l.given_numbers import whole_number
from tfrnn.d2l.modules import DataModule
from tfrnn.d2l.texts import count_corpus
from tfrnn.d2l.translation import RESERVED, ids_of, preprocess_nmt, read_data_nmt
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
        self.token_freqs = count_corpus(tokens).most_common()
        known = {token for token, count in self.token_freqs if count >= min_freq}
        if others := [token for token in known if not isinstance(token, str)]:
            raise UserError(
                f"expected tokens of type str, which can be sorted; got {others[0]!r}; join or convert them"
            )
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
        return self.idx_to_token[whole_number("indices", indices, 0, len(self) - 1)]


def _sizes(batch_size: int, num_steps: int, num_train: int, num_val: int) -> tuple[int, int, int, int]:
    """Returns the sizes that a DataModule is given, as ints."""
    return (
        whole_number("batch_size", batch_size),
        whole_number("num_steps", num_steps),
        whole_number("num_train", num_train, 0),
        whole_number("num_val", num_val, 0),
    )


def _check_split(num_train: int, num_val: int, there: int, rows: str) -> None:
    """Raises UserError unless this number of rows, which are called so, is enough for training and validation."""
    if num_train + num_val > there:
        raise UserError(f"expected `num_train` + `num_val` of at most the {there} {rows}; got {num_train} + {num_val}")


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
        batch_size, num_steps, num_train, num_val = _sizes(batch_size, num_steps, num_train, num_val)
        super().__init__()
        self.save_hyperparameters()
        ids, self.vocab = self.build(self._download())
        if len(ids) <= num_steps:
            raise UserError(f"expected `num_steps` below the text's {len(ids)} characters; got {num_steps}")
        _check_split(num_train, num_val, len(ids) - num_steps, f"windows of {num_steps} characters")
        windows = np.lib.stride_tricks.sliding_window_view(np.array(ids, np.int32), num_steps + 1)
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
        first, number = (0, self.num_train) if train else (self.num_train, self.num_val)
        return self.get_tensorloader((self.X, self.Y), train, slice(first, first + number))


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
        batch_size, num_steps, num_train, num_val = _sizes(batch_size, num_steps, num_train, num_val)
        super().__init__()
        self.save_hyperparameters()
        self.arrays, *vocabs = self._build_arrays(self._download())
        self.src_vocab, self.tgt_vocab = vocabs
        _check_split(num_train, num_val, len(self.arrays[0]), "pairs of sentences")

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
        num_pairs = None
        if src_vocab is None:  # then it is the whole file, of which the rest is long
            num_pairs = self.num_train + self.num_val
            raw_text = "\n".join(raw_text.split("\n", num_pairs + 1)[: num_pairs + 1])
        source, target = (
            [(words + ["<pad>"] * self.num_steps)[: self.num_steps] for words in sentences]
            for sentences in self._tokenize(self._preprocess(raw_text), num_pairs)
        )
        target = [["<bos>", *words] for words in target]
        # Where all sentences are cut, `<pad>` and `<eos>` are in none, and yet in what is translated later.
        src_vocab = src_vocab or Vocab(source, 2, ("<pad>", "<eos>"))
        tgt_vocab = tgt_vocab or Vocab(target, 2, RESERVED)
        pad, _ = ids_of("src_vocab", src_vocab, "<pad>", "<eos>")
        ids_of("tgt_vocab", tgt_vocab, *RESERVED)
        src, tgt = tf.constant(src_vocab[source]), tf.constant(tgt_vocab[target])
        valid_len = tf.reduce_sum(tf.cast(src != pad, tf.int32), 1)
        return (src, tgt[:, :-1], valid_len, tgt[:, 1:]), src_vocab, tgt_vocab

    def get_dataloader(self, train: bool) -> tf.data.Dataset:
        return self.get_tensorloader(
            self.arrays, train, slice(None, self.num_train) if train else slice(self.num_train, None)
        )

    def build(self, src_sentences: Sequence[str], tgt_sentences: Sequence[str]) -> tuple:
        """Returns sentences as the four tensors of a batch, with the vocabularies of the data."""
        sides = [src_sentences, tgt_sentences]
        if any(isinstance(side, str) for side in sides) or not len(src_sentences) == len(tgt_sentences) > 0:
            got = [repr(side) if isinstance(side, str) else len(side) for side in sides]
            raise UserError(f"expected two lists of as many sentences, at least one; got {got[0]} and {got[1]}")
        if broken := [sentence for side in sides for sentence in side if re.search("[\t\n]", sentence)]:
            raise UserError(f"expected sentences without tabs and ends of lines; got {broken[0]!r}; leave them out")
        raw_text = "\n".join(map("\t".join, zip(*sides, strict=True)))
        return self._build_arrays(raw_text, self.src_vocab, self.tgt_vocab)[0]
