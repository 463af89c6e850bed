"""Sequential and random batches."""

import functools
import itertools
import operator

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tfrnn.data.batches import random_batches, sequential_batches
from tfrnn.errors import UserError

IDS = np.arange(1_000)  # every token tells where it stands
BOTH = parameterized.named_parameters(("sequential", sequential_batches), ("random", random_batches))


def arrays(dataset):
    return [tf.nest.map_structure(lambda t: t.numpy(), batch) for batch in dataset]


def firsts(batches, epochs):
    """The inputs of the first batch of each epoch."""
    stream = iter(batches.from_position(0, 0))
    for epoch in range(epochs):
        found = [next(stream).inputs.numpy() for _ in range(batches.num_batches(epoch))]
        yield found[0]


class BatchesTest(tf.test.TestCase, parameterized.TestCase):
    @BOTH
    def test_time_major_and_every_target_is_the_next_token(self, kind):
        batches = kind(IDS, 4, 5, seed=1)
        for epoch in range(5):
            found = arrays(batches.epoch(epoch))
            self.assertLen(found, batches.num_batches(epoch))
            for batch in found:
                self.assertEqual((batch.inputs.shape, batch.targets.shape, batch.reset.shape), ((5, 4), (5, 4), (4,)))
                self.assertEqual((batch.inputs.dtype, batch.reset.dtype), (np.int32, np.bool_))
                self.assertAllEqual(batch.targets, batch.inputs + 1)  # nothing wraps
                self.assertAllEqual(batch.inputs[1:], batch.inputs[:-1] + 1)  # windows are contiguous

    @BOTH
    def test_no_token_is_read_twice_in_an_epoch(self, kind):
        tokens = np.concatenate([batch.inputs.ravel() for batch in arrays(kind(IDS, 4, 5).epoch(3))])
        self.assertLen(set(tokens), len(tokens))

    @BOTH
    def test_a_batch_is_a_function_of_seed_epoch_and_number(self, kind):
        batches = kind(IDS, 4, 5, seed=7)
        epochs = [arrays(batches.epoch(e)) for e in range(3)]
        stream = functools.reduce(operator.iadd, epochs, [])
        for start in (0, 1, len(epochs[0])):
            epoch, k = (0, start) if start < len(epochs[0]) else (1, 0)
            again = arrays(kind(IDS, 4, 5, seed=7).from_position(epoch, k).take(len(stream) - start))
            self.assertAllEqual([b.inputs for b in again], [b.inputs for b in stream[start:]])
            self.assertAllEqual([b.reset for b in again], [b.reset for b in stream[start:]])

    @BOTH
    def test_epochs_and_seeds_differ(self, kind):
        firsts = [arrays(kind(IDS, 4, 5, seed=s).epoch(e))[0].inputs for s in range(3) for e in range(8)]
        self.assertGreater(len({first.tobytes() for first in firsts}), 5 if kind is sequential_batches else 23)

    def test_a_row_goes_on_where_it_ended(self):
        for epoch in range(5):
            found = arrays(sequential_batches(IDS, 4, 5).epoch(epoch))
            for before, after in itertools.pairwise(found):
                self.assertAllEqual(after.inputs[0], before.targets[-1])
            self.assertAllEqual([batch.reset.tolist() for batch in found], [[i == 0] * 4 for i in range(len(found))])

    def test_offsets_are_the_books(self):
        self.assertEqual({int(first[0, 0]) for first in firsts(sequential_batches(IDS, 4, 5), 40)}, set(range(6)))
        self.assertEqual({int(first[0, 0]) % 5 for first in firsts(random_batches(IDS, 4, 5), 40)}, set(range(5)))
        without = sequential_batches(IDS, 4, 5, random_offset=False)
        self.assertEqual({int(first[0, 0]) for first in firsts(without, 9)}, {0})
        self.assertAllEqual(arrays(without.epoch(0))[0].inputs[0], [0, 250, 500, 750])
        first_edition = sequential_batches(IDS[:64], 8, 7, random_offset=False)  # N // B = 8 tokens a row
        (batch,) = arrays(first_edition.epoch(0))
        self.assertAllEqual(batch.inputs[0], np.arange(0, 64, 8))
        self.assertAllEqual(batch.targets[-1], np.arange(7, 64, 8))

    @BOTH
    def test_no_thread_tunes_the_pipeline(self, kind):
        """Its end would hold up the end of training, see from_position."""
        self.assertFalse(kind(IDS, 4, 5).from_position(0, 0).options().autotune.enabled)

    def test_10_000_tokens_give_8_batches(self):
        ids = np.zeros(10_000, np.int32)
        for kind in (sequential_batches, random_batches):
            self.assertEqual({kind(ids, 32, 35).num_batches(e) for e in range(20)}, {8})

    def test_random_windows_are_shuffled_and_reset_every_row(self):
        batches = random_batches(IDS, 4, 5, seed=3)
        orders = [np.concatenate([b.inputs[0] for b in arrays(batches.epoch(e))]) for e in range(30)]
        for order in orders:
            self.assertFalse((np.diff(order) == 5).mean() > 0.2)
        # Every place is as likely for the first window: a mean over 30 epochs within 4 standard errors.
        self.assertNear(np.mean([order[0] for order in orders]), 500, 4 * 289 / 30**0.5)
        self.assertTrue(all(batch.reset.all() for batch in arrays(batches.epoch(0))))

    @parameterized.parameters((sequential_batches, 26), (random_batches, 25))
    def test_too_short_a_text_says_how_many_tokens_are_needed(self, kind, needed):
        kind(IDS[:needed], 4, 5)
        with self.assertRaisesRegex(UserError, f"{needed - 1} tokens.* need {needed}"):
            kind(IDS[: needed - 1], 4, 5)
        for epoch in range(20):
            self.assertGreaterEqual(kind(IDS[:needed], 4, 5).num_batches(epoch), 1)
        fixed = 24 if kind is sequential_batches else 21
        kind(IDS[:fixed], 4, 5, random_offset=False)
        with self.assertRaisesRegex(UserError, f"need {fixed}"):
            kind(IDS[: fixed - 1], 4, 5, random_offset=False)
        for wrong in (0, -1):
            with self.assertRaisesRegex(UserError, "at least 1"):
                kind(IDS, wrong, 5)
