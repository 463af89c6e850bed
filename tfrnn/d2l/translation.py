"""Pairs of English and French sentences as ids of words (section 9.5), and BLEU (section 9.7).

Letters: N number of pairs, T num_steps, B batch_size.
"""

import collections
import math
import re
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfrnn.d2l.given_numbers import whole_number
from tfrnn.d2l.iterators import load_array
from tfrnn.d2l.plotting import new_figure
from tfrnn.d2l.texts import Vocab
from tfrnn.data.corpora import english_french
from tfrnn.errors import UserError

RESERVED = ("<pad>", "<bos>", "<eos>")
MAX_BARS = 20


def read_data_nmt() -> str:
    """Returns the text of the English-French pairs: lines of two sentences with a tab between them."""
    return english_french.read_pairs()


def preprocess_nmt(text: str) -> str:
    """Returns a text in lower case, with plain spaces, and with one before each of `,`, `.`, `!` and `?`."""
    return re.sub(r"(?<=[^ ])(?=[,.!?])", " ", text.replace("\u202f", " ").replace("\xa0", " ").lower())


def tokenize_nmt(text: str, num_examples: int | None = None) -> tuple[list[list[str]], list[list[str]]]:
    """Returns the words of the English and of the French sentences.

    Args:
      text: lines of two sentences with a tab between them; other lines are left out.
      num_examples: to read only the first num_examples + 1 lines, as the book does; None or 0: all.
    """
    num_examples = num_examples and whole_number("num_examples", num_examples)
    lines = text.split("\n", num_examples + 1)[: num_examples + 1] if num_examples else text.split("\n")
    pairs = [sentences for line in lines if len(sentences := line.split("\t")) == 2]
    source, target = ([pair[side].split(" ") for pair in pairs] for side in (0, 1))
    return source, target


def truncate_pad(line: list, num_steps: int, padding_token: Any) -> list:
    """Returns the first num_steps elements of a list; a shorter one is continued with padding_token."""
    num_steps = whole_number("num_steps", num_steps, 0)
    return [*line[:num_steps], *[padding_token] * (num_steps - len(line))]


def build_array_nmt(lines: Sequence[list[str]], vocab: Any, num_steps: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns sentences as ids, each with `<eos>` at its end, cut or padded to num_steps.

    Args:
      lines: the words of N sentences.
      vocab: a Vocab with `<eos>` and `<pad>`.
      num_steps: T.
    Returns:
      The ids, int32 [N, T], and the number of those in each row that are no padding, int32 [N].
    """
    num_steps = whole_number("num_steps", num_steps)
    eos, pad = ids_of("vocab", vocab, "<eos>", "<pad>")
    if not len(lines) or any(isinstance(line, str) for line in lines):
        got = "a text" if len(lines) else "none"
        raise UserError(f"expected `lines` as at least one sentence, each a list of its words; got {got}")
    array = tf.constant([truncate_pad([*vocab[list(line)], eos], num_steps, pad) for line in lines], tf.int32)
    return array, tf.math.count_nonzero(array != pad, axis=1, dtype=tf.int32)


def ids_of(name: str, vocab: Any, *tokens: str) -> list[int]:
    """Returns the ids of tokens that a vocabulary must have, where it would give that of `<unk>` for others.

    Args:
      name: what the vocabulary is called in the message.
      vocab: a Vocab, of any edition or of the reader's own.
      tokens: what it must have.
    Raises:
      UserError: it lacks some of them.
    """
    ids = [vocab[token] for token in tokens]
    if missing := [token for token, i in zip(tokens, ids, strict=True) if vocab.to_tokens(i) != token]:
        raise UserError(
            f"expected `{name}` to have {', '.join(tokens)}; got one without {', '.join(missing)}; make it as "
            f"Vocab(tokens, min_freq, reserved_tokens={[*tokens]})"
        )
    return ids


def load_data_nmt(
    batch_size: int, num_steps: int, num_examples: int | None = 600
) -> tuple[tf.data.Dataset, Vocab, Vocab]:
    """Returns batches of the first pairs in random order, and the vocabularies of both languages.

    Args:
      batch_size, num_steps: B and T.
      num_examples: the number of pairs, of which as in the book one more is read; None or 0: all.
    Returns:
      A dataset of batches (X, X_valid_len, Y, Y_valid_len): English and French ids, int32 [B, T], and the lengths of
      their sentences, int32 [B]; then the English and the French Vocab, of the words that occur at least twice.
    """
    batch_size, num_steps = whole_number("batch_size", batch_size), whole_number("num_steps", num_steps)
    num_examples = num_examples and whole_number("num_examples", num_examples)
    text = read_data_nmt()
    text = _beginning(text, num_examples + 1) if num_examples else text
    sides = tokenize_nmt(preprocess_nmt(text), num_examples)
    vocabs = [Vocab(lines, min_freq=2, reserved_tokens=RESERVED) for lines in sides]
    arrays = [build_array_nmt(lines, vocab, num_steps) for lines, vocab in zip(sides, vocabs, strict=True)]
    return load_array((*arrays[0], *arrays[1]), batch_size), *vocabs


def _beginning(text: str, num_lines: int) -> str:
    """Returns the first lines of a text, whose rest need not be read in detail."""
    return "\n".join(text.split("\n", num_lines)[:num_lines])


def show_list_len_pair_hist(legend: Sequence[str], xlabel: str, ylabel: str, xlist: Sequence, ylist: Sequence) -> None:
    """Plots how often the lists in xlist, and those in ylist, have which length, as two histograms side by side.

    A bar stands for one length, or for some if there are more than MAX_BARS.
    """
    lengths = [[*map(len, xlist)], [*map(len, ylist)]]
    if not (lengths[0] and lengths[1]):
        raise UserError(f"expected `xlist` and `ylist` with a list each; got {len(lengths[0])} and {len(lengths[1])}")
    first, last = min(map(min, lengths)), max(map(max, lengths))
    width = math.ceil((last - first + 1) / MAX_BARS)
    _, axes = new_figure()
    axes.hist(lengths, [edge - 0.5 for edge in range(first, last + width + 1, width)], label=legend)
    for bar in axes.containers[1]:
        bar.set_hatch("/")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.legend()


def bleu(pred_seq: str, label_seq: str, k: int) -> float:
    """Returns the BLEU of a predicted sentence (section 9.7; Papineni et al., 2002): 1 if it equals the label.

    It is exp(min(0, 1 - label's length / prediction's length)) times the product of p_n ** (1 / 2 ** n), where p_n is
    the share of the prediction's n-grams that occur in the label, each at most as often as there.

    Args:
      pred_seq, label_seq: words with a space between them.
      k: the largest n; n-grams that are longer than the prediction do not count.
    """
    k = whole_number("k", k)
    if not isinstance(pred_seq, str) or not isinstance(label_seq, str):
        wrong = label_seq if isinstance(pred_seq, str) else pred_seq
        raise UserError(f"expected sentences as words with a space between them; got a {type(wrong).__name__}")
    predicted, label = pred_seq.split(" "), label_seq.split(" ")
    score = math.exp(min(0, 1 - len(label) / len(predicted)))
    for n in range(1, min(k, len(predicted)) + 1):
        grams, there = (
            collections.Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
            for words in (predicted, label)
        )
        score *= ((grams & there).total() / grams.total()) ** 0.5**n
    return score
