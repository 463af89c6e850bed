"""Replicas on logical devices of this machine's CPU: what several compute is what one does."""

from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from entry_points import run

import tfrnn
from tfrnn import train
from tfrnn.errors import UserError
from tfrnn.runs import checkpoints
from tfrnn.runtime import threads
from tfrnn.training import step
from tfrnn.training import trainer as trainer_module
from tfrnn.training.replicas import Replicas

T, B, UNITS, V = 3, 12, 7, 9
IDS = np.random.default_rng(0).integers(1, V, 400)
CELLS = {
    "rnn": tfrnn.RNNCell,
    "gru": tfrnn.GRUCell,
    "lstm": tfrnn.LSTMCell,
    "keras_rnn": keras.layers.SimpleRNNCell,
    "keras_gru": keras.layers.GRUCell,
    "keras_lstm": keras.layers.LSTMCell,
}


def strategy_of(count):
    if count == 1:
        return tf.distribute.OneDeviceStrategy("/CPU:0")
    # Collective operations, the default, know one set of devices in a process.
    return tf.distribute.MirroredStrategy([f"/CPU:{i}" for i in range(count)], tf.distribute.ReductionToOneDevice())


def trainer_of(strategy, cell="rnn", optimizer="Adam", layers=1, dropout=0.0, **kwargs):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        rnn = tfrnn.RNN([CELLS[cell](UNITS) for _ in range(layers)], dropout=dropout)
        model = tfrnn.LanguageModel(rnn, V)
        return tfrnn.Trainer(model, getattr(keras.optimizers, optimizer)(0.01), 0.5, strategy, **kwargs)


def batches(sampling):
    return {"sequential": tfrnn.sequential_batches, "random": tfrnn.random_batches}[sampling](IDS, B, T, seed=3)


VALIDATION = tfrnn.sequential_batches(IDS[:150], B, T, random_offset=False)
BOTH = ("sequential", "random")


def trained(trainer):
    """What comes of two epochs of each sampling: losses, weights, state."""
    found = []
    for sampling in BOTH:
        history = trainer.fit(batches(sampling), 2, VALIDATION).history
        found += [history[name] for name in ("loss", "val_loss", "gradient_norm")]
    return found + [array for name, array in trainer.snapshot().items() if not name.startswith("best")]


class ReplicasTest(parameterized.TestCase, tf.test.TestCase):
    @parameterized.parameters(*CELLS)
    def test_replicas_compute_what_one_device_does(self, cell):
        expected = trained(trainer_of(strategy_of(1), cell))
        for count in (2, 4):
            for one, other in zip(expected, trained(trainer_of(strategy_of(count), cell)), strict=True):
                self.assertAllClose(one, other, 1e-4, 1e-5)

    @parameterized.parameters("SGD", "RMSprop", "AdamW")
    def test_so_they_do_with_each_optimizer(self, optimizer):
        results = [trained(trainer_of(strategy_of(count), optimizer=optimizer, layers=2)) for count in (1, 2)]
        for one, other in zip(*results, strict=True):
            self.assertAllClose(one, other, 1e-3, 1e-4)  # those that divide by small gradients magnify rounding

    def test_so_they_do_under_xla(self):
        results = [trained(trainer_of(strategy_of(n), jit_compile=n > 1)) for n in (1, 2)]
        for one, other in zip(*results, strict=True):
            self.assertAllClose(one, other, 1e-4, 1e-5)

    def test_all_replicas_have_the_same_weights(self):
        strategy = strategy_of(2)
        trainer = trainer_of(strategy, dropout=0.5, layers=2)
        trainer.fit(batches("sequential"), 2)
        for variable in [*trainer.model.variables, *trainer.optimizer.variables]:
            first, second = strategy.experimental_local_results(variable.value)
            self.assertAllEqual(first, second)

    def test_the_replicas_dropout_differs(self):
        replicas = Replicas(strategy_of(2))
        trainer = trainer_of(replicas.strategy, dropout=0.5, layers=2)
        batch = next(iter(batches("sequential").epoch(0)))
        same = tf.repeat(batch.inputs[:, :1], B // 2, 1)

        @tf.function
        def losses():
            def in_replica():
                number = tf.distribute.get_replica_context().replica_id_in_sync_group
                own = tfrnn.Batch(same, same, tf.fill([B // 2], True))
                state = trainer.model.initial_state(B // 2)
                return step.gradients(trainer.model, tfrnn.cross_entropy, own, state, replicas=2, replica=number).loss

            return replicas.strategy.experimental_local_results(replicas.run(in_replica))

        first, second = losses()
        self.assertNotAllClose(first, second)

    def test_going_on_is_as_if_it_had_not_been_stopped(self):
        """In the middle of an epoch, with dropout; the snapshot goes through the bytes of a checkpoint."""
        data = batches("sequential")
        whole = trainer_of(strategy_of(2), "gru", dropout=0.5, layers=2)
        whole.fit(data, 3)

        class Stop(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                if (self.params["steps"], batch) == (data.num_batches(1), 2):
                    self.model.stop_training = True

        with mock.patch.object(trainer_module, "CALL_SECONDS", 0.0):
            first = trainer_of(strategy_of(2), "gru", dropout=0.5, layers=2)
            first.fit(data, 3, callbacks=[Stop()])
        self.assertGreater(first.batch, 0)
        second = trainer_of(strategy_of(2), "gru", dropout=0.5, layers=2)
        second.restore(checkpoints.unpack(bytes(checkpoints.pack(first.snapshot()))))
        second.fit(data, 3 - second.epoch)
        for name, array in whole.snapshot().items():
            self.assertAllEqual(array, second.snapshot()[name], name)

    def test_another_number_of_replicas_goes_on(self):
        data = batches("sequential")
        alone, first = trainer_of(strategy_of(1)), trainer_of(strategy_of(4))
        alone.fit(data, 4)
        first.fit(data, 2)
        second = trainer_of(strategy_of(2))
        second.restore(first.snapshot())
        second.fit(data, 2)
        self.assertAllClose(alone.model.get_weights(), second.model.get_weights(), 1e-4, 1e-5)

    def test_a_cell_may_keep_numbers_of_its_own(self):
        """A counter and a moving average, which are no weights of an optimizer; a frozen weight is left alone."""

        class Counting(tfrnn.RNNCell):
            def build(self, input_shape):
                super().build(input_shape)
                self.seen = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False)
                self.average = self.add_weight(shape=(), initializer="zeros", trainable=False)
                self.frozen = self.add_weight(shape=(), initializer="ones", trainable=False)

            def call(self, inputs, states, training=False):
                outputs, states = super().call(inputs, states)
                if training:
                    self.seen.assign(self.seen + 1)
                    self.average.assign(0.9 * self.average + 0.1 * keras.ops.mean(outputs) * self.frozen)
                return outputs, states

        results = []
        for count in (1, 2):
            with strategy_of(count).scope(), mock.patch.dict(CELLS, counting=Counting):
                trainer = trainer_of(tf.distribute.get_strategy(), "counting", chains=1)
                trainer.fit(batches("sequential"), 1)
            cell = trainer.model.rnn.cells[0]
            results.append([cell.seen.numpy(), cell.average.numpy(), cell.frozen.numpy()])
        self.assertEqual(results[0][0], T * batches("sequential").num_batches(0))
        self.assertAllClose(*results)

    def test_a_batch_that_diverges_leaves_all_as_it_was(self):
        trainer = trainer_of(strategy_of(2), optimizer="SGD", dropout=0.5, layers=2)
        trainer.fit(batches("sequential"), 1)
        trainer.model.layers[-1].bias.assign(np.full(V, np.inf, np.float32))
        before = trainer.snapshot()
        with self.assertRaisesRegex(UserError, "training diverged"):
            trainer.fit(batches("sequential"), 1)
        for name, array in trainer.snapshot().items():
            if name.startswith(("weights", "optimizer", "generators")):
                self.assertAllEqual(array, before[name], name)

    def test_what_cannot_be_divided_is_refused_with_the_numbers(self):
        trainer = trainer_of(strategy_of(4))
        with self.assertRaisesRegex(UserError, "--batch_size=10 cannot be divided evenly over 4 replicas.* such as 8"):
            trainer.fit(tfrnn.sequential_batches(IDS, 10, T), 1)
        with self.assertRaisesRegex(UserError, "validation batches=3 cannot be divided evenly over 4"):
            trainer.fit(batches("random"), 1, tfrnn.sequential_batches(IDS, 3, T))
        with self.assertRaisesRegex(UserError, "cannot be cut into --chains=2 equal slices for each of 4 replicas"):
            trainer_of(strategy_of(4), chains=2).fit(batches("random"), 1)

    def test_rows_of_a_worker_are_those_of_the_whole_batch(self):
        for sampling in BOTH:
            data = batches(sampling)
            whole, part = (next(iter(data.from_position(1, 2, rows))) for rows in (None, range(3, 9)))
            self.assertAllEqual(whole.inputs[:, 3:9], part.inputs)
            self.assertAllEqual(whole.targets[:, 3:9], part.targets)
            self.assertAllEqual(whole.reset[3:9], part.reset)

    def test_chains_are_cores_of_a_replica(self):
        with mock.patch.object(threads, "num_cores", return_value=4):
            self.assertEqual(threads.num_chains(64, strategy_of(2)), 2)
            self.assertEqual(threads.num_chains(64, strategy_of(4)), 1)

    def test_the_command_trains_on_all_devices(self):
        folder = self.create_tempdir().full_path
        flags = ["--units=8", "--batch_size=8", "--num_steps=5", "--max_tokens=400", "--validation_tokens=100"]
        flags += ["--epochs=2", "--strategy=mirrored", f"--run_dir={folder}/run"]
        status, out, err = run(train.main, *flags)
        self.assertEqual(status, 0, err)
        devices = len(tf.config.list_logical_devices("CPU"))
        self.assertIn(f"tokens/sec on {devices} x /CPU:0\n", out)
        status, _, err = run(train.main, *flags[:-2], "--strategy=one_device", "--epochs=3", flags[-1])
        self.assertEqual(status, 0, err)
        self.assertIn(f"1 chains, XLA off, {devices} replicas before", err)
