"""Sequential and random batches."""

import functools
import itertools
import re

import numpy as np
import pytest
import tensorflow as tf
from rounding import assert_identical

import tfrnn
from tfrnn.data import window_counts
from tfrnn.data.batches import as_batches
from tfrnn.data.stored_ids import StoredIds
from tfrnn.errors import UserError

IDS = np.arange(300)  # each token is its position
B, T = 4, 5
KINDS = {"sequential": tfrnn.sequential_batches, "random": tfrnn.random_batches}
both = pytest.mark.parametrize("kind", KINDS)


def make(kind, **arguments):
    return KINDS[kind](IDS, B, T, **arguments)


def arrays(dataset):
    return list(dataset.as_numpy_iterator())


@functools.cache
def epochs(kind, num_epochs, **arguments):
    """The batches of the first epochs, a list for each, as arrays; read as one stream, which is traced once."""
    batches = make(kind, **arguments)
    stream = batches.from_position(0, 0).as_numpy_iterator()
    return [list(itertools.islice(stream, batches.num_batches(epoch))) for epoch in range(num_epochs)]


@both
def test_a_factory_returns_batches(kind):
    batches = make(kind)
    assert isinstance(batches, tfrnn.Batches)
    assert (batches.batch_size, batches.num_steps) == (B, T)


@both
def test_batches_are_time_major(kind):
    for batch in itertools.chain(*epochs(kind, 40)):
        assert (batch.inputs.shape, batch.targets.shape, batch.reset.shape) == ((T, B), (T, B), (B,))
        assert (batch.inputs.dtype, batch.targets.dtype, batch.reset.dtype) == (np.int32, np.int32, np.bool_)


@both
def test_every_target_is_the_next_token(kind):
    for batch in itertools.chain(*epochs(kind, 40)):
        np.testing.assert_array_equal(batch.targets, batch.inputs + 1)  # nothing wraps round to the first token
        np.testing.assert_array_equal(batch.inputs[1:], batch.inputs[:-1] + 1)


@both
def test_no_token_is_read_twice_in_an_epoch(kind):
    for epoch in epochs(kind, 40):
        tokens = np.concatenate([batch.inputs.ravel() for batch in epoch])
        assert len(set(tokens)) == len(tokens)


@both
def test_a_batch_is_a_function_of_seed_epoch_and_number(kind):
    first_epochs = epochs(kind, 12, seed=7)
    expected = [*first_epochs[1][3:], *first_epochs[2], *first_epochs[3]]
    resumed = arrays(make(kind, seed=7).from_position(1, 3).take(len(expected)))
    np.testing.assert_array_equal([b.inputs for b in resumed], [b.inputs for b in expected])
    np.testing.assert_array_equal([b.reset for b in resumed], [b.reset for b in expected])


@both
def test_epoch_returns_the_batches_of_one_epoch(kind):
    epoch = arrays(make(kind).epoch(1))
    np.testing.assert_array_equal([b.inputs for b in epoch], [b.inputs for b in epochs(kind, 40)[1]])


@both
def test_epochs_and_seeds_differ(kind):
    firsts, others = (
        [epoch[0].inputs.tobytes() for epoch in read] for read in (epochs(kind, 40), epochs(kind, 12, seed=7))
    )
    assert firsts[:12] != others
    # A sequential epoch begins at one of T + 1 offsets.
    assert len({*firsts, *others}) == (T + 1 if kind == "sequential" else 52)


@both
def test_ids_from_a_file_and_rows_of_a_batch_are_the_same_batches(kind, tmp_path):
    IDS.astype(np.uint16).tofile(tmp_path / "ids")
    stored = StoredIds(tmp_path / "ids", np.uint16, 0, len(IDS))
    rows = range(1, 3)
    part = arrays(KINDS[kind](stored, B, T).from_position(0, 0, rows).take(20))
    whole = list(itertools.chain(*epochs(kind, 40)))[:20]
    assert part[0].inputs.dtype == np.int32
    np.testing.assert_array_equal([b.inputs for b in part], [b.inputs[:, 1:3] for b in whole])
    np.testing.assert_array_equal([b.targets for b in part], [b.targets[:, 1:3] for b in whole])
    np.testing.assert_array_equal([b.reset for b in part], [b.reset[1:3] for b in whole])


def test_a_sequential_row_continues_where_it_ended():
    for epoch in epochs("sequential", 40):
        for before, after in itertools.pairwise(epoch):
            np.testing.assert_array_equal(after.inputs[0], before.targets[-1])
        assert [batch.reset.tolist() for batch in epoch] == [[k == 0] * B for k in range(len(epoch))]


@pytest.mark.parametrize(
    ("kind", "offsets"), [("sequential", range(T + 1)), ("random", range(T))], ids=["sequential", "random"]
)
def test_offsets_are_those_of_the_book(kind, offsets):
    first_tokens = [epoch[0].inputs[0, 0] for epoch in epochs(kind, 40)]
    # A random epoch begins with any window, whose first token is the offset plus a multiple of T.
    assert set(first_tokens if kind == "sequential" else np.mod(first_tokens, T)) == set(offsets)


@both
def test_random_offset_false_skips_nothing_in_any_epoch(kind):
    first_tokens = [epoch[0].inputs[0, 0] for epoch in epochs(kind, 9, random_offset=False)]
    assert set(first_tokens if kind == "sequential" else np.mod(first_tokens, T)) == {0}


def test_streams_without_an_offset_are_those_of_the_first_edition():
    batch = epochs("sequential", 9, random_offset=False)[0][0]
    np.testing.assert_array_equal(batch.inputs[0], [0, 75, 150, 225])
    (batch,) = arrays(tfrnn.sequential_batches(IDS[:64], 8, 7, random_offset=False).epoch(0))  # N // B = 8 tokens a row
    np.testing.assert_array_equal(batch.inputs[0], np.arange(0, 64, 8))
    np.testing.assert_array_equal(batch.targets[-1], np.arange(7, 64, 8))


def test_random_windows_are_shuffled():
    batches = tfrnn.random_batches(np.arange(1_000), 20, T, seed=3)
    firsts = (batch.inputs[0] for batch in batches.from_position(0, 0).as_numpy_iterator())
    orders = [np.concatenate([next(firsts) for _ in range(batches.num_batches(epoch))]) for epoch in range(30)]
    # With rare keys (1 in 200) TensorFlow 2.21's index_shuffle leaves 0.4 of the windows in order; not with this seed.
    neighbours = [(np.diff(order) == T).mean() for order in orders]
    assert max(neighbours) < 0.2
    # The first window is uniform over the text: its mean position over 30 epochs is within 4 standard errors.
    assert abs(np.mean([order[0] for order in orders]) - 500) < 4 * 1000 / 12**0.5 / 30**0.5


def test_every_random_row_starts_from_a_zero_state():
    assert all(batch.reset.all() for batch in itertools.chain(*epochs("random", 40)))


@both
def test_no_thread_tunes_the_pipeline(kind):
    """The tuning thread would delay the end of training, see from_position."""
    assert not make(kind).from_position(0, 0).options().autotune.enabled


@both
def test_10_000_tokens_make_8_batches(kind):
    batches = KINDS[kind](np.zeros(10_000, np.int32), 32, 35)
    assert {batches.num_batches(epoch) for epoch in range(20)} == {8}


@pytest.mark.parametrize(
    ("kind", "random_offset", "needed"),
    [("sequential", True, 26), ("random", True, 25), ("sequential", False, 24), ("random", False, 21)],
)
def test_a_text_that_is_too_short_is_refused_with_the_number_of_tokens_needed(kind, random_offset, needed):
    batches = KINDS[kind](IDS[:needed], B, T, random_offset=random_offset)
    assert min(batches.num_batches(epoch) for epoch in range(20)) >= 1
    with pytest.raises(UserError, match=f"{needed - 1} tokens.* need {needed}"):
        KINDS[kind](IDS[: needed - 1], B, T, random_offset=random_offset)


@both
@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_1_is_refused(kind, batch_size):
    with pytest.raises(UserError, match="at least 1"):
        KINDS[kind](IDS, batch_size, T)


# Sequences of several lengths

ROWS = ([1, 2, 3], [4], [5, 6])
LABELS = ([2, 3, 1], [5], [6, 4])
PADDED, PADDED_LABELS = np.array([[1, 2, 3], [4, 0, 0], [5, 6, 0]]), np.array([[2, 3, 1], [5, 0, 0], [6, 4, 0]])
MASK = np.array([[True, True, True], [True, False, False], [True, True, False]])
FORMS = {
    "lists": (ROWS, LABELS, None),
    "arrays": ([np.array(row) for row in ROWS], [np.array(row) for row in LABELS], None),
    "ragged": (tf.ragged.constant(ROWS), tf.ragged.constant(LABELS), None),
    "padded": (PADDED, PADDED_LABELS, MASK),
    "padded at the beginning": (PADDED[:, ::-1].copy(), None, MASK[:, ::-1].copy()),
}


def rows_of(batch):
    """The inputs of each row, and its targets, as its mask says."""
    mask = np.array(batch.mask).T
    return sorted(
        (inputs[there].tolist(), targets[there].tolist())
        for inputs, targets, there in zip(np.array(batch.inputs).T, np.array(batch.targets).T, mask, strict=True)
    )


@pytest.mark.parametrize("form", FORMS)
def test_rows_of_several_lengths_are_padded_at_their_ends(form):
    inputs, targets, mask = FORMS[form]
    (batch,) = tfrnn.labelled_batches(inputs, inputs if targets is None else targets, 3, mask=mask).epoch(0)
    lengths = np.sum(batch.mask, 0)
    assert np.array_equal(batch.mask, np.arange(3)[:, None] < lengths)  # padding is at the end
    expected = [list(row) for row in ROWS] if targets is not None else [[3, 2, 1], [4], [6, 5]]
    labels = [list(row) for row in LABELS] if targets is not None else expected
    assert rows_of(batch) == sorted(zip(expected, labels, strict=True))
    assert np.all(np.array(batch.inputs)[~np.array(batch.mask)] == 0)


def test_rows_of_one_length_need_no_mask():
    for mask in (None, np.ones([3, 3], bool)):
        assert isinstance(next(iter(tfrnn.labelled_batches(PADDED, PADDED, 3, mask=mask).epoch(0))), tfrnn.Batch)
    one_length = tfrnn.labelled_batches([[1, 2], [3, 4]], [[1, 2], [3, 4]], 2)
    assert isinstance(next(iter(one_length.epoch(0))), tfrnn.Batch)


def test_series_of_several_lengths_are_padded_with_zeros():
    rows = [np.ones([3, 2], "f"), np.ones([1, 2], "f")]
    (batch,) = tfrnn.labelled_batches(rows, rows, 2).epoch(0)
    assert batch.inputs.shape == [3, 2, 2]
    assert float(tf.reduce_sum(batch.inputs)) == 8


NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tfrnn.labelled_batches([[1, 2], []], [[1, 2], []]), "`inputs` .* an empty sequence in row 1"),
        (lambda: tfrnn.labelled_batches([], []), "`inputs` .* got none"),
        (lambda: tfrnn.labelled_batches([[1, 2], [3]], [[1, 2], [3, 4]]), "1 inputs and 2 targets in row 1"),
        (lambda: tfrnn.labelled_batches([[1, 2]], [[1, 2], [3, 4]]), "1 sequences of inputs and 2 of targets"),
        (lambda: tfrnn.labelled_batches(PADDED, PADDED, mask=MASK[:, :2]), "`mask`, bool"),
        (lambda: tfrnn.labelled_batches(PADDED, PADDED, mask=MASK.astype(int)), "`mask`, bool"),
        (lambda: tfrnn.labelled_batches([[0.0, NAN]], [[1, 2]]), "`inputs` has NaN at row 0, step 1"),
        (lambda: tfrnn.labelled_batches([[1, 2]], [[INF, 0.0]]), "`targets` has an infinite number at row 0, step 0"),
        (lambda: tfrnn.sequential_batches(np.array([0.0] * 9 + [NAN]), 1, 2), "the series has NaN at step 9"),
        (
            lambda: tfrnn.random_batches(np.array([0.0] * 9 + [-INF]), 1, 2),
            "the series has an infinite number at step 9",
        ),
    ],
)
def test_what_is_wrong_with_the_data_is_named_with_its_place(make, message):
    with pytest.raises(UserError, match=message):
        make()


# What Keras's fit takes


def dataset_of(rows, batch_size, **kwargs):
    return tf.data.Dataset.from_tensor_slices((rows, rows + 1)).batch(batch_size, **kwargs)


TABLE = np.arange(24).reshape(6, 4)


@pytest.mark.parametrize("drop_remainder", [True, False])
def test_a_dataset_of_rows_is_transposed_and_read_again_in_each_epoch(drop_remainder):
    batches = as_batches(dataset_of(TABLE, 3, drop_remainder=drop_remainder))
    assert (batches.batch_size, batches.num_steps, batches.num_batches(7)) == (3, 4, 2)
    for epoch in range(2):
        read = list(batches.epoch(epoch))
        assert_identical([b.inputs for b in read], [tf.constant(TABLE[i : i + 3].T, tf.int32) for i in (0, 3)])
        assert_identical([b.targets for b in read], [tf.constant(TABLE[i : i + 3].T + 1, tf.int32) for i in (0, 3)])
        assert all(b.reset.numpy().all() for b in read)
    later = list(batches.from_position(1, 1, range(1, 3)).take(2))
    assert_identical([b.inputs for b in later], [tf.constant(TABLE[i : i + 2].T, tf.int32) for i in (4, 1)])


@pytest.mark.slow
def test_a_dataset_of_batches_is_read_as_it_is():
    for made in (tfrnn.sequential_batches(IDS, B, T), tfrnn.labelled_batches(ROWS, LABELS, 3)):
        again = as_batches(made.epoch(0))  # of which TensorFlow does not know the number
        assert again.num_batches(0) == made.num_batches(0)
        for expected, actual in zip(made.epoch(0), again.epoch(0), strict=True):
            assert type(actual) is type(expected)
            assert_identical(tuple(actual), tuple(expected))


def test_arrays_are_cut_into_batches_of_32():
    assert [as_batches((x := np.zeros([n, 2], int), x)).batch_size for n in (5, 32, 64)] == [5, 32, 32]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda: dataset_of(TABLE, 4), r"one shape.*\(4, 4\) and, in batch 1, \(4, 2\).*drop_remainder=True"),
        (lambda: dataset_of(TABLE, 3).repeat(), "infinite"),
        (lambda: dataset_of(TABLE, 3).take(0), "at least one batch"),
        (lambda: tf.data.Dataset.from_tensor_slices((TABLE, TABLE)), r"got \(4,\) and \(4,\); `batch` the dataset"),
        (lambda: tf.data.Dataset.from_tensor_slices(TABLE), "pairs"),
        (lambda: (np.zeros([50, 3], int),) * 2, "a multiple of 32 rows; got 50"),
        (lambda: [TABLE, TABLE], "got list"),
        (lambda: iter(()), "got tuple_iterator"),
    ],
)
def test_other_data_are_refused(data, message):
    with pytest.raises(UserError, match=message):
        as_batches(data())


@both
def test_the_epochs_of_a_pass_together_read_what_one_epoch_of_a_whole_pass_does(kind):
    whole, parts = (make(kind, seed=3, epochs_per_pass=count) for count in (1, 3))
    sizes = [parts.num_batches(epoch) for epoch in range(6)]
    assert max(sizes) - min(sizes) <= 1
    assert [whole.num_batches(0), whole.num_batches(1)] == [sum(sizes[:3]), sum(sizes[3:])]
    for skipped, position in ((0, (0, 0)), (sizes[0] + 1, (1, 1)), (sum(sizes[:5]), (5, 0))):
        expected = arrays(whole.from_position(0, 0).skip(skipped).take(sum(sizes) - skipped))
        found = arrays(parts.from_position(*position).take(sum(sizes) - skipped))
        for batch, expected_batch in zip(found, expected, strict=True):
            for part, expected_part in zip(batch, expected_batch, strict=True):
                np.testing.assert_array_equal(part, expected_part)
    assert [parts.continues(epoch) for epoch in range(4)] == [False, kind == "sequential", kind == "sequential", False]


@both
def test_a_pass_has_no_more_epochs_than_batches(kind):
    with pytest.raises(UserError, match="`epochs_per_pass` must be at most 14"):
        make(kind, epochs_per_pass=15)
    with pytest.raises(UserError, match="at least 1"):
        make(kind, epochs_per_pass=0)


@both
@pytest.mark.parametrize("random_offset", [True, False])
def test_a_text_that_is_too_short_is_told_without_making_batches(kind, random_offset):
    for num_tokens in range(8, 26):
        arguments = np.arange(num_tokens), 2, 7, 0, random_offset
        try:
            window_counts.check_length(num_tokens, kind, 2, 7, random_offset)
        except UserError as error:
            with pytest.raises(UserError, match=re.escape(str(error))):
                KINDS[kind](*arguments)
        else:
            batches = KINDS[kind](*arguments)
            assert min(batches.num_batches(epoch) for epoch in range(9)) >= 1
