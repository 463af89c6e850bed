"""Texts, vocabularies and iterators of sections 8.2 and 8.3 and of the first edition."""

import itertools
import os
import random

import numpy as np
import pytest
import tensorflow as tf

from tfrnn import d2l
from tfrnn.errors import UserError

corpora = pytest.mark.skipif("TFRNN_DATA_DIR" not in os.environ, reason="needs the corpora in TFRNN_DATA_DIR")


@corpora
def test_section_8_2_prints_what_the_book_prints():
    lines = d2l.read_time_machine()
    assert len(lines) == 3221
    assert lines[0] == "the time machine by h g wells"
    assert lines[10] == "twinkled and his usually pale face was flushed and animated the"
    tokens = d2l.tokenize(lines)
    assert tokens[0] == ["the", "time", "machine", "by", "h", "g", "wells"]
    vocab = d2l.Vocab(tokens)
    assert list(vocab.token_to_idx.items())[:10] == [
        ("<unk>", 0), ("the", 1), ("i", 2), ("and", 3), ("of", 4), ("a", 5), ("to", 6), ("was", 7), ("in", 8),
        ("that", 9),
    ]  # fmt: skip
    assert vocab[tokens[0]] == [1, 19, 50, 40, 2183, 2184, 400]
    assert vocab.to_tokens(vocab[tokens[0]]) == tokens[0]
    corpus, vocab = d2l.load_corpus_time_machine()
    assert (len(corpus), len(vocab)) == (170580, 28)
    assert len(d2l.load_corpus_time_machine(max_tokens=100)[0]) == 100
    words = [token for line in tokens for token in line]
    bigrams = d2l.Vocab(list(itertools.pairwise(words)))
    assert bigrams.token_freqs[:2] == [(("of", "the"), 309), (("in", "the"), 169)]
    with pytest.raises(UserError, match="word; got 'line'"):
        d2l.tokenize(lines, "line")


def test_vocab():
    vocab = d2l.Vocab([["a", "b"], ["a", "c"], ["a", "c"]], min_freq=2, reserved_tokens=["<pad>"])
    assert vocab.idx_to_token == ["<unk>", "<pad>", "a", "c"]
    assert (len(vocab), vocab.unk, vocab["b"], vocab[["a", "b"]]) == (4, 0, 0, [2, 0])
    assert vocab.token_freqs == [("a", 3), ("c", 2), ("b", 1)]
    assert (vocab.to_tokens(2), vocab.to_tokens([2, 3])) == ("a", ["a", "c"])
    assert len(d2l.Vocab()) == 1
    np.testing.assert_array_equal(vocab.to_tokens(tf.constant([2, 3])), ["a", "c"])
    pairs = d2l.Vocab([("of", "the"), ("of", "the"), ("in", "the")])
    assert pairs.token_freqs == [(("of", "the"), 2), (("in", "the"), 1)]
    assert (pairs["of", "the"], pairs[[("in", "the"), ("no", "one")]]) == (1, [2, 0])


@pytest.mark.parametrize("data_iter", [d2l.seq_data_iter_random, d2l.seq_data_iter_sequential])
def test_targets_are_the_next_tokens(data_iter):
    random.seed(0)
    pairs = list(data_iter(list(range(35)), batch_size=2, num_steps=5))
    assert len(pairs) in (2, 3)
    for x, y in pairs:
        assert (x.shape, y.shape, x.dtype) == ((2, 5), (2, 5), tf.int32)
        np.testing.assert_array_equal(x + 1, y)


def test_sequential_rows_continue_the_previous_batch():
    batches = [x for x, _ in d2l.seq_data_iter_sequential(list(range(35)), 2, 5)]
    assert len(batches) > 1
    for previous, x in itertools.pairwise(batches):
        np.testing.assert_array_equal(previous[:, -1] + 1, x[:, 0])


@corpora
def test_load_data_time_machine():
    train_iter, vocab = d2l.load_data_time_machine(32, 35)
    assert len(vocab) == 28
    epochs = [[x.numpy() for x, _ in train_iter] for _ in range(3)]
    for batches in epochs:
        assert (len(batches), batches[0].shape) == (8, (32, 35))
    assert not all(np.array_equal(epochs[0][0], batches[0]) for batches in epochs)


@corpora
def test_load_data_time_machine_at_random():
    random_iter, _ = d2l.load_data_time_machine(32, 35, use_random_iter=True, max_tokens=5000)
    first, second = (x for x, _ in list(random_iter)[:2])
    assert not np.array_equal(second[:, 0], first[:, -1] + 1)
    assert len(random_iter.corpus) == 5000


@corpora
def test_first_edition_lyrics():
    corpus_indices, char_to_idx, idx_to_char, vocab_size = d2l.load_data_jay_lyrics()
    assert (len(corpus_indices), vocab_size, len(char_to_idx)) == (10_000, 1027, 1027)
    assert "".join(idx_to_char[i] for i in corpus_indices[:6]) == "想要有直升机"
    assert [char_to_idx[char] for char in idx_to_char] == list(range(1027))
    assert d2l.load_data_jay_lyrics()[0] == corpus_indices


@pytest.mark.parametrize("data_iter", [d2l.data_iter_random, d2l.data_iter_consecutive])
def test_first_edition_targets_are_the_next_tokens(data_iter):
    pairs = list(data_iter(list(range(30)), batch_size=2, num_steps=6))
    assert len(pairs) == 2
    for x, y in pairs:
        assert x.shape == (2, 6)
        np.testing.assert_array_equal(x + 1, y)


def test_first_edition_rows_begin_at_the_first_token():
    first = next(d2l.data_iter_consecutive(list(range(30)), 2, 6))[0]
    np.testing.assert_array_equal(first, [list(range(6)), list(range(15, 21))])


def test_to_onehot():
    onehot = d2l.to_onehot(tf.constant([[0, 2, 1]]), 4)
    assert len(onehot) == 3
    np.testing.assert_array_equal(onehot[1], [[0, 0, 1, 0]])


def test_an_unknown_name_is_an_error_that_says_what_to_leave_out():
    with pytest.raises(AttributeError, match=r"no Animator.*leave out the cells"):
        d2l.Animator  # noqa: B018


def test_all_names_are_the_books():
    assert {"train_ch8", "Vocab", "plot", "to_onehot"} <= set(d2l.__all__)
    assert not {"keras", "tf", "Vocabulary"} & set(d2l.__all__)


def test_plot_takes_the_books_arguments():
    d2l.plot([[1, 2, 3], [2, 3, 4]], xlabel="n", ylabel="f", legend=["a", "b"], xscale="log", yscale="log")
