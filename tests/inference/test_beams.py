"""Beam search, compared with greedy generation and with all continuations."""

import itertools

import keras
import numpy as np
import pytest
from small_models import (
    ALL_CELLS,
    VOCABULARY,
    cells_together_and_slowly_one_by_one,
    rounding,
    shared_model,
    shared_word_model,
)

import tfrnn
from tfrnn.errors import UserError
from tfrnn.inference.beams import beam_search

PAIRS = ["".join(pair) for pair in itertools.product("abcde ", repeat=2)]


def log_probabilities(model, prefix, continuations):
    """Those of each continuation after the prefix, `<unk>` taken to be impossible."""
    ids = np.stack([VOCABULARY.encode(prefix + text) for text in continuations], 1)  # [T, N]
    logits, _ = model(ids[:-1])
    known = keras.ops.log_softmax(logits[len(prefix) - 1 :, :, 1:]).numpy()
    chosen = np.take_along_axis(known, ids[len(prefix) :, :, None] - 1, 2)[:, :, 0]
    return chosen.sum(0)


@pytest.mark.parametrize("cells", cells_together_and_slowly_one_by_one())
@pytest.mark.parametrize("prefix", ["a", "bcd e"])
def test_width_1_equals_greedy_generation(cells, prefix):
    model = shared_model(cells)
    (beam,) = beam_search(model, VOCABULARY, prefix, 12, width=1)
    assert beam.text == tfrnn.generate(model, VOCABULARY, prefix, 12)


@pytest.mark.parametrize("cells", cells_together_and_slowly_one_by_one())
@pytest.mark.parametrize("prefix", ["a", "bcd e"])
def test_a_beam_for_each_token_finds_the_likeliest_of_all_pairs(cells, prefix):
    model = shared_model(cells)
    scores = log_probabilities(model, prefix, PAIRS)
    best, *_ = beam_search(model, VOCABULARY, prefix, 2, width=len(VOCABULARY))
    assert best.text == prefix + PAIRS[scores.argmax()]
    assert best.score == pytest.approx(scores.max(), abs=rounding(len(best.text)))


def test_more_beams_than_continuations_find_all_of_them_in_order():
    model = shared_model()
    beams = beam_search(model, VOCABULARY, "ab", 2, width=50)
    scores = [beam.score for beam in beams]
    assert sorted(beam.text for beam in beams) == sorted("ab" + pair for pair in PAIRS)  # and so none has <unk>
    assert scores == sorted(scores, reverse=True)
    assert np.exp(scores).sum() == pytest.approx(1, abs=len(PAIRS) * rounding(4))
    expected = log_probabilities(model, "ab", [beam.text[2:] for beam in beams])
    np.testing.assert_allclose(scores, expected, rtol=0, atol=rounding(4))


def test_a_wider_search_finds_nothing_worse_for_this_model_and_scores_are_those_of_the_texts():
    model = shared_model(ALL_CELLS)
    (greedy,), beams = (beam_search(model, VOCABULARY, "ab", 4, width) for width in (1, 7))
    assert greedy.score <= beams[0].score
    expected = log_probabilities(model, "ab", [beam.text[2:] for beam in beams])
    np.testing.assert_allclose([beam.score for beam in beams], expected, rtol=0, atol=rounding(6))


def test_words_are_joined_as_generate_joins_them():
    model, vocabulary = shared_word_model()
    (beam,) = beam_search(model, vocabulary, "to be", 3, width=1)
    assert beam.text == tfrnn.generate(model, vocabulary, "to be", 3)


def test_numpy_integers_are_whole_numbers():
    expected = beam_search(shared_model(), VOCABULARY, "ab", 4, 7)
    assert beam_search(shared_model(), VOCABULARY, "ab", np.int64(4), np.int32(7)) == expected


@pytest.mark.parametrize(("length", "width"), [(0, 4), (5, 0), (-1, 1), (3, 2.5)])
def test_length_and_width_must_be_positive_whole_numbers(length, width):
    with pytest.raises(
        UserError, match=f"`length` and `width` must be whole numbers of at least 1; got {length} and {width}"
    ):
        beam_search(shared_model(), VOCABULARY, "a", length, width)
