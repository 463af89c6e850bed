"""Texts, vocabularies and iterators of sections 8.2 and 8.3."""

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
def test_each_loop_is_the_next_epoch_however_the_last_one_ended():
    def loader():
        random.seed(3)
        return d2l.load_data_time_machine(32, 35, max_tokens=4000)[0]

    whole = loader()
    expected = [[x.numpy() for x, _ in whole] for _ in range(4)]
    broken = loader()
    for x, _ in broken:
        np.testing.assert_array_equal(x, expected[0][0])
        break
    np.testing.assert_equal([x.numpy() for x, _ in broken], expected[1])
    first, second = iter(broken), iter(broken)  # two loops at once
    np.testing.assert_array_equal(next(first)[0], expected[2][0])
    np.testing.assert_equal([x.numpy() for x, _ in second], expected[3])
    np.testing.assert_equal([x.numpy() for x, _ in first], expected[2][1:])


@corpora
def test_load_data_time_machine_at_random():
    random_iter, _ = d2l.load_data_time_machine(32, 35, use_random_iter=True, max_tokens=5000)
    first, second = (x for x, _ in list(random_iter)[:2])
    assert not np.array_equal(second[:, 0], first[:, -1] + 1)
    assert len(random_iter.corpus) == 5000


@pytest.mark.parametrize("data_iter", [d2l.seq_data_iter_random, d2l.seq_data_iter_sequential])
def test_sizes_of_batches_are_whole_numbers(data_iter):
    for name, sizes in (("batch_size", lambda size: (size, 5)), ("num_steps", lambda size: (2, size))):
        for size in (0, -2, 2.0, "2", None):
            with pytest.raises(UserError, match=f"`{name}` as a whole number of at least 1; got {size!r}"):
                data_iter(list(range(35)), *sizes(size))
    assert list(data_iter(list(range(35)), np.int64(2), np.int64(5)))
    with pytest.raises(UserError, match="text too short: 3 tokens"):
        data_iter([0, 1, 2], 2, 5)


@corpora
def test_sizes_of_the_time_machine_are_whole_numbers():
    for arguments, got in (
        ((0, 5), "`batch_size` as a whole number of at least 1; got 0"),
        ((2, 5.0), "`num_steps` as a whole number of at least 1; got 5.0"),
        ((2, 5, False, "all"), "`max_tokens` as a whole number of at least -1; got 'all'"),
    ):
        with pytest.raises(UserError, match=got):
            d2l.load_data_time_machine(*arguments)


def test_what_is_no_list_of_tokens_is_refused():
    assert d2l.Vocab(np.array(["a", "b", "a"])).idx_to_token == ["<unk>", "a", "b"]
    for tokens in (5, [["a"], {"b"}]):
        with pytest.raises(UserError, match=r"`tokens` as a list of tokens, or of lists of them; got (int|list)"):
            d2l.Vocab(tokens)
    for index in (3, -1, "a", 1.0):
        with pytest.raises(UserError, match=f"`indices` as a whole number from 0 to 2; got {index!r}"):
            d2l.Vocab(["a", "b"]).to_tokens(index)


def test_count_corpus():
    counts = d2l.count_corpus([["a", "b"], ["a"], []])
    assert counts == d2l.count_corpus(["a", "b", "a"]) == {"a": 2, "b": 1}
    assert counts.most_common(1) == [("a", 2)]


def test_load_array_takes_a_list_of_arrays_and_refuses_what_is_none():
    X, y = np.arange(6).reshape(3, 2), np.arange(6, 12).reshape(3, 2)  # noqa: N806
    (batch,) = d2l.load_array([X, y], 3, is_train=False)
    np.testing.assert_array_equal(batch, [X, y])
    for arrays, got in (((X, y[:2]), r"\(3, 2\), \(2, 2\)"), ((1, 2), "int, int"), (None, "NoneType")):
        with pytest.raises(UserError, match=f"`data_arrays` as a tuple of arrays with as many rows each; got {got}"):
            d2l.load_array(arrays, 2)
    with pytest.raises(UserError, match="`batch_size` as a whole number of at least 1; got 0"):
        d2l.load_array((X,), 0)


def test_load_array_gives_all_rows_in_another_order():
    rows = np.arange(20).reshape(10, 2)
    shuffled = [batch.numpy() for (batch,) in d2l.load_array((rows,), 4)]
    assert [len(batch) for batch in shuffled] == [4, 4, 2]
    np.testing.assert_array_equal(np.sort(np.concatenate(shuffled), 0), rows)
    in_order = [batch.numpy() for (batch,) in d2l.load_array((rows,), 4, is_train=False)]
    np.testing.assert_array_equal(np.concatenate(in_order), rows)
