"""The data of edition 1.0: sizes, vocabularies and sentences that cannot be taken are refused in a line."""

import os

import numpy as np
import pytest
import tensorflow as tf

from tfrnn.d2l import v1 as d2l
from tfrnn.errors import UserError

PAIRS = "Go.\tVa !\nGo on.\tVa encore.\nRun!\tCours !\nRun on!\tCours encore !\n"


class Story(d2l.TimeMachine):
    """Windows of another text."""

    def _download(self):
        return "to be or not to be " * 3


class Pairs(d2l.MTFraEng):
    """Four pairs."""

    def _download(self):
        return PAIRS


@pytest.mark.parametrize("kind", [Story, Pairs])
def test_sizes_are_whole_numbers(kind):
    sizes = {"batch_size": 2, "num_steps": 3, "num_train": 2, "num_val": 1}
    for name, least in (("batch_size", 1), ("num_steps", 1), ("num_train", 0), ("num_val", 0)):
        for size in (-1, 2.0, "2", None, True):
            with pytest.raises(UserError, match=f"`{name}` as a whole number of at least {least}; got {size!r}"):
                kind(**{**sizes, name: size})
    data = kind(**{name: np.int64(size) for name, size in sizes.items()})
    assert data.hparams == sizes
    assert [len(batch[0]) for batch in data.train_dataloader()] == [2]


def test_more_rows_than_there_are_are_refused():
    there = len("to be or not to be " * 3) - 4
    data = Story(2, 4, there - 5, 5)
    assert len(data.X) == there
    assert sum(len(X) for X, _ in data.val_dataloader()) == 5
    with pytest.raises(
        UserError, match=rf"`num_val` of at most the {there} windows of 4 characters; got {there - 5} \+ 6"
    ):
        Story(2, 4, there - 5, 6)
    with pytest.raises(UserError, match="`num_steps` below the text's 57 characters; got 57"):
        Story(2, 57, 0, 0)
    with pytest.raises(UserError, match=r"`num_val` of at most the 4 pairs of sentences; got 512 \+ 128"):
        Pairs(2)


def test_a_length_that_cuts_all_sentences_leaves_the_reserved_tokens_known():
    data = Pairs(2, 1, 2, 2)
    assert np.array_equal(data.arrays[2], [1] * 4)
    assert data.src_vocab.to_tokens(data.src_vocab[["<pad>", "<eos>"]]) == ["<pad>", "<eos>"]
    assert data.tgt_vocab.to_tokens(data.tgt_vocab[["<bos>", "<pad>", "<eos>"]]) == ["<bos>", "<pad>", "<eos>"]


def test_a_vocabulary_without_the_reserved_tokens_is_refused():
    data = Pairs(2, 4, 2, 2)
    data.src_vocab = d2l.Vocab(["run"], reserved_tokens=["<eos>"])
    with pytest.raises(UserError, match="`src_vocab` to have <pad>, <eos>; got one without <pad>; make it as Vocab"):
        data.build(["Run!"], ["Cours !"])
    data = Pairs(2, 4, 2, 2)
    data.tgt_vocab = d2l.Vocab(["cours"], reserved_tokens=["<eos>", "<pad>"])
    with pytest.raises(UserError, match="`tgt_vocab` to have <pad>, <bos>, <eos>; got one without <bos>; make it as"):
        data.build(["Run!"], ["Cours !"])


def test_every_sentence_is_built_or_refused():
    data = Pairs(2, 4, 2, 1)
    assert [len(part) for part in data.build(["Run!"] * 9, ["Cours !"] * 9)] == [9] * 4  # more than it was made of
    with pytest.raises(UserError, match="two lists of as many sentences, at least one; got 1 and 2"):
        data.build(["Run!"], ["Cours !", "Va !"])
    with pytest.raises(UserError, match="at least one; got 0 and 0"):
        data.build([], [])
    with pytest.raises(UserError, match="at least one; got 'Run!' and 'Va !'"):
        data.build("Run!", "Va !")
    with pytest.raises(UserError, match=r"sentences without tabs and ends of lines; got 'Run\\tnow'; leave them out"):
        data.build(["Run!", "Run\tnow"], ["Cours !", "Va !"])


def test_tokens_that_cannot_be_sorted_are_refused():
    assert d2l.Vocab(token for token in "ba").idx_to_token == ["<unk>", "a", "b"]
    with pytest.raises(UserError, match="`tokens` as a list of tokens, or of lists of them; got NoneType"):
        d2l.Vocab(None)
    with pytest.raises(UserError, match=r"tokens of type str, which can be sorted; got \('a', 'b'\); join or convert"):
        d2l.Vocab([("a", "b")])
    for index in (2, -1, "a"):
        with pytest.raises(UserError, match=f"`indices` as a whole number from 0 to 1; got {index!r}"):
            d2l.Vocab(["a"]).to_tokens(index)
    assert d2l.Vocab(["a"]).to_tokens(tf.constant([[0, 1]])) == [["<unk>", "a"]]


@pytest.mark.skipif("TFRNN_DATA_DIR" not in os.environ, reason="needs the corpora in TFRNN_DATA_DIR")
def test_the_time_machine_has_fewer_windows_than_a_thousand_millions():
    with pytest.raises(UserError, match=r"at most the 173423 windows of 5 characters; got 1000000000 \+ 5000"):
        d2l.TimeMachine(4, 5, num_train=10**9)
