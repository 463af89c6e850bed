"""Pairs of sentences as ids (section 9.5), and BLEU (section 9.7)."""

import hashlib
import math
import os
import zipfile

import numpy as np
import pytest

from tfrnn.d2l import translation
from tfrnn.d2l.texts import Vocab
from tfrnn.data.corpora import english_french, fetch
from tfrnn.errors import MissingFileError, UserError

LINES = "Go.\tVa !\nHi,you.\tSalut\u202f!\nno pair\nWow!!\tÇa\xa0alors !!"
needs_pairs = pytest.mark.skipif("TFRNN_DATA_DIR" not in os.environ, reason="needs fra-eng.zip in TFRNN_DATA_DIR")


@needs_pairs
def test_the_pairs_are_those_that_the_book_prints():
    text = translation.read_data_nmt()
    assert (
        text[:75]
        == "Go.\tVa !\nHi.\tSalut !\nRun!\tCours\u202f!\nRun!\tCourez\u202f!\nWho?\tQui ?\nWow!\tÇa alors\u202f!\n"
    )
    preprocessed = translation.preprocess_nmt(text[:2000])
    assert preprocessed[:80] == (
        "go .\tva !\nhi .\tsalut !\nrun !\tcours !\nrun !\tcourez !\nwho ?\tqui ?\nwow !\tça alors !"
    )
    source, target = translation.tokenize_nmt(preprocessed, 5)
    assert source == [["go", "."], ["hi", "."], ["run", "!"], ["run", "!"], ["who", "?"], ["wow", "!"]]
    assert target[4:] == [["qui", "?"], ["ça", "alors", "!"]]


@pytest.mark.slow
@needs_pairs
def test_the_vocabulary_is_as_large_as_the_book_prints():
    source, _ = translation.tokenize_nmt(translation.preprocess_nmt(translation.read_data_nmt()))
    vocab = Vocab(source, min_freq=2, reserved_tokens=["<pad>", "<bos>", "<eos>"])
    assert len(vocab) == 10012
    assert translation.truncate_pad(vocab[source[0]], 10, vocab["<pad>"]) == [47, 4, *[1] * 8]


@needs_pairs
def test_batches_are_the_pairs_with_their_lengths():
    data_iter, src_vocab, tgt_vocab = translation.load_data_nmt(batch_size=100, num_steps=8)
    batches = [[part.numpy() for part in batch] for batch in data_iter]
    assert [len(batch[0]) for batch in batches] == [100] * 6 + [1]  # as in the book, one more than 600
    for X, X_len, Y, Y_len in batches:  # noqa: N806
        for ids, lengths, vocab in ((X, X_len, src_vocab), (Y, Y_len, tgt_vocab)):
            padding = np.arange(8) >= lengths[:, None]
            np.testing.assert_array_equal(ids == vocab["<pad>"], padding)
            ends = ids[np.arange(len(ids)), lengths - 1]
            np.testing.assert_array_equal(ends[lengths < 8], vocab["<eos>"])
    assert src_vocab.to_tokens([0, 1, 2, 3]) == ["<unk>", "<pad>", "<bos>", "<eos>"]


def test_punctuation_gets_a_space_and_other_lines_are_left_out():
    text = translation.preprocess_nmt(LINES)
    assert text == "go .\tva !\nhi ,you .\tsalut !\nno pair\nwow ! !\tça alors ! !"
    source, target = translation.tokenize_nmt(text)
    assert source == [["go", "."], ["hi", ",you", "."], ["wow", "!", "!"]]
    assert target == [["va", "!"], ["salut", "!"], ["ça", "alors", "!", "!"]]
    assert translation.tokenize_nmt(text, 1)[0] == source[:2]


def test_sentences_of_no_words_are_refused():
    vocab = Vocab([["a"]], reserved_tokens=["<pad>", "<eos>"])
    for num_steps in (0, -1, 2.0, "2", None, True):
        with pytest.raises(UserError, match=f"`num_steps` as a whole number of at least 1; got {num_steps!r}"):
            translation.build_array_nmt([["a"]], vocab, num_steps)
    for lines, got in (([], "none"), (["a b"], "a text")):
        with pytest.raises(UserError, match=f"`lines` as at least one sentence, each a list of its words; got {got}"):
            translation.build_array_nmt(lines, vocab, 2)


def test_sizes_of_the_pairs_that_are_no_whole_numbers_are_refused():
    for arguments, got in (
        ((0, 5), "`batch_size` as a whole number of at least 1; got 0"),
        ((2, "5"), "`num_steps` as a whole number of at least 1; got '5'"),
        ((2, 5, -5), "`num_examples` as a whole number of at least 1; got -5"),
    ):
        with pytest.raises(UserError, match=got):
            translation.load_data_nmt(*arguments)
    with pytest.raises(UserError, match=r"`num_examples` as a whole number of at least 1; got 2\.5"):
        translation.tokenize_nmt(LINES, 2.5)
    with pytest.raises(UserError, match="`num_steps` as a whole number of at least 0; got -1"):
        translation.truncate_pad([1], -1, 0)


def test_bleu_of_what_is_no_sentence_is_refused():
    with pytest.raises(UserError, match="words with a space between them; got a list"):
        translation.bleu("a", ["a"], 2)
    with pytest.raises(UserError, match="`k` as a whole number of at least 1; got 0"):
        translation.bleu("a", "a", 0)


def test_sentences_are_cut_and_padded():
    vocab = Vocab([["a", "b", "c"]], reserved_tokens=["<pad>", "<bos>", "<eos>"])
    array, lengths = translation.build_array_nmt([["a"], ["a", "b", "x"], ["a", "b", "c", "a"]], vocab, 3)
    words = [vocab.to_tokens(row) for row in array.numpy().tolist()]
    assert words == [["a", "<eos>", "<pad>"], ["a", "b", "<unk>"], ["a", "b", "c"]]
    assert lengths.numpy().tolist() == [2, 3, 3]


@pytest.mark.parametrize(
    ("predicted", "label", "score"),
    [
        ("va !", "va !", 1.0),
        ("il est calme .", "il est calme .", 1.0),
        # Three of four words and one of three pairs.
        ("je suis calme .", "il suis calme .", (3 / 4) ** 0.5 * (2 / 3) ** 0.25),
        ("va va", "va !", (1 / 2) ** 0.5 * 0.0),
        ("va", "va !", math.exp(-1)),  # too short; it has no pairs
        ("a b c d", "a b", (2 / 4) ** 0.5 * (1 / 3) ** 0.25),
        ("", "va !", 0.0),
    ],
)
def test_bleu_of_words_and_pairs(predicted, label, score):
    assert translation.bleu(predicted, label, k=2) == pytest.approx(score)


def test_histograms_of_the_lengths():
    from matplotlib import pyplot

    translation.show_list_len_pair_hist(["source", "target"], "length", "count", [[1], [1, 2]], [[1, 2], [3, 4]])
    axes = pyplot.gca()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["source", "target"]
    assert [sum(bar.get_height() for bar in bars) for bars in axes.containers] == [2, 2]
    assert {bar.get_hatch() for bar in axes.containers[1]} == {"/"}
    for bars, heights in zip(axes.containers, ([1, 1], [0, 2]), strict=True):
        assert [bar.get_height() for bar in bars] == heights
    edges = [[bars[i].get_x() for bars in axes.containers] for i in (0, 1)]
    assert all(0.5 < x < 1.5 < next_x < 2.5 for x, next_x in zip(*edges, strict=True))  # over 1 and 2
    translation.show_list_len_pair_hist(["source", "target"], "length", "count", ["a" * n for n in range(61)], ["a"])
    (source, _) = pyplot.gca().containers
    assert len(source) <= 20
    assert sum(bar.get_height() for bar in source) == 61
    with pytest.raises(UserError, match="`xlist` and `ylist` with a list each; got 0 and 1"):
        translation.show_list_len_pair_hist(["source", "target"], "length", "count", [], [[1]])
    pyplot.close("all")


def archive(path, text="Go.\tVa !\n"):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("fra.txt", text)
    return path.read_bytes()


def test_another_archive_is_refused_and_the_recorded_one_is_kept(tmp_path, monkeypatch):
    content = archive(tmp_path / "fra-eng.zip")
    monkeypatch.setenv("TFRNN_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match=r"fra-eng\.zip: expected the English-French pairs with SHA-256 .*; replace"):
        translation.read_data_nmt()
    monkeypatch.delenv("TFRNN_DATA_DIR")
    monkeypatch.setattr(english_french, "SHA1", hashlib.sha1(content).hexdigest())
    monkeypatch.setattr(fetch, "_download", lambda url, seconds: content)
    assert english_french.read_pairs(tmp_path / "cache") == "Go.\tVa !\n"

    def no_network(url, seconds):
        raise OSError("no network")

    monkeypatch.setattr(fetch, "_download", no_network)
    assert english_french.read_pairs(tmp_path / "cache") == "Go.\tVa !\n"  # of the cache
    with pytest.raises(
        MissingFileError, match=r"could not be downloaded \(no network\); save that file as fra-eng.zip"
    ):
        english_french.read_pairs(tmp_path / "other")
