"""The step and the trainer."""

import contextlib
import json
import math
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from all_cells import CELLS

import tfrnn
from tfrnn.config.sections import OPTIMIZERS, Training
from tfrnn.data.batches import Batch
from tfrnn.errors import DivergedError, UserError
from tfrnn.layers import time_blocks
from tfrnn.runtime import devices, execution, threads
from tfrnn.training import losses as losses_lib
from tfrnn.training import optimizers, step
from tfrnn.training import trainer as trainer_module

T, B, V, H = 5, 3, 7, 4
IDS = np.random.default_rng(0).integers(1, V, 400)


def language_model(cell=tfrnn.RNNCell, layers=1, dropout=0.0, **kwargs):
    initial = {"kernel_initializer": "glorot_uniform", "recurrent_initializer": "orthogonal"}
    model = tfrnn.LanguageModel(tfrnn.RNN([cell(H, **initial) for _ in range(layers)]), V, dropout=dropout, **kwargs)
    model.build()
    return model


def trainer_of(optimizer=None, clip_norm=1.0, seed=0, chains=0, jit_compile=None, **kwargs):
    keras.utils.set_random_seed(seed)
    strategy = devices.one_device()
    with strategy.scope():
        model = language_model(**kwargs)
        optimizer = optimizer or keras.optimizers.SGD(1.0)
    return tfrnn.Trainer(model, optimizer, clip_norm, strategy, chains=chains, jit_compile=jit_compile)


def one_batch(seed=0, reset=(True,) * B):
    ids = np.random.default_rng(seed).integers(0, V, [T + 1, B]).astype("i")
    return Batch(*map(tf.constant, (ids[:-1], ids[1:], reset)))


class StepTest(tf.test.TestCase, parameterized.TestCase):
    def test_cross_entropy_is_that_of_the_softmax_of_the_logits(self):
        logits = np.random.default_rng(0).normal(size=[T, B, V]).astype("f")
        targets = one_batch().targets.numpy()
        probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        expected = -np.log(np.take_along_axis(probabilities, targets[..., None], -1)).sum()
        self.assertAllClose(losses_lib.cross_entropy(tf.constant(logits), tf.constant(targets)), expected, 1e-5)

    def test_clipping(self):
        gradients = [tf.constant([3.0, 0.0]), tf.constant([[0.0, 4.0]])]
        for bound, scale in ((0, 1), (100, 1), (5.0, 1), (1.0, 0.2), (0.01, 0.002)):
            clipped, norm = step.clip(gradients, bound)
            self.assertAllClose(norm, 5.0)
            self.assertAllClose(clipped, [g * scale for g in gradients], 1e-6)  # the direction is kept

    def test_one_step_of_sgd_is_the_clipped_gradient_of_the_mean_loss(self):
        for clip_norm in (0.0, 1e-3, 1e3):
            keras.utils.set_random_seed(0)
            model, batch = language_model(), one_batch()
            before = [w.numpy() for w in model.trainable_variables]
            with tf.GradientTape() as tape:
                logits, _ = model(batch.inputs)
                loss = keras.losses.sparse_categorical_crossentropy(batch.targets, logits, from_logits=True)
                loss = tf.reduce_mean(loss)
            gradients = tape.gradient(loss, model.trainable_variables)
            norm = math.sqrt(sum(float(tf.reduce_sum(g**2)) for g in gradients))
            scale = min(1, clip_norm / norm) if clip_norm else 1
            optimizer = keras.optimizers.SGD(0.5)
            _, sums, found_norm, finite = step.train_step(
                model, optimizer, losses_lib.cross_entropy, clip_norm, batch, model.initial_state(B), step.Sums.zero()
            )
            self.assertTrue(finite)
            self.assertAllClose(found_norm, norm, 1e-5)
            self.assertAllClose(tuple(sums), (T * B * float(loss), T * B), 1e-5)
            after = [w.numpy() for w in model.trainable_variables]
            expected = [w - 0.5 * scale * g for w, g in zip(before, gradients, strict=True)]
            self.assertAllClose(after, expected, 1e-5, 1e-6)

    def test_reset_zeroes_exactly_the_rows_it_names(self):
        keras.utils.set_random_seed(0)
        model = language_model()
        state = ((tf.ones([B, H]),),)
        reset = (False, True, False)
        _, sums = step.eval_step(model, losses_lib.cross_entropy, one_batch(reset=reset), state, step.Sums.zero())
        rows = []
        for row, zero in enumerate(reset):
            batch = one_batch()
            logits, _ = model(batch.inputs[:, row : row + 1], ((tf.ones([1, H]) * (0 if zero else 1),),))
            rows.append(float(losses_lib.cross_entropy(logits, batch.targets[:, row : row + 1])))
        self.assertAllClose(sums.loss, sum(rows), 1e-5)

    def test_a_loss_that_is_not_finite_changes_nothing(self):
        model = language_model()
        model.dense.bias.assign([math.inf] * V)
        before = model.get_weights()
        optimizer = keras.optimizers.Adam(1.0)
        state, sums = ((tf.ones([B, H]),),), step.Sums.zero().add(tf.constant(3.0), tf.constant(2))
        *after, _, finite = step.train_step(model, optimizer, losses_lib.cross_entropy, 1.0, one_batch(), state, sums)
        self.assertFalse(finite)
        self.assertAllClose(tuple(after), (state, sums), 0, 0)
        self.assertAllEqual(model.get_weights()[0], before[0])
        self.assertEqual(int(optimizer.iterations), 0)

    def test_an_embeddings_gradient_is_clipped_by_its_true_norm(self):
        model = language_model(embedding_dim=H)
        batch = Batch(tf.ones([T, B], tf.int32), tf.ones([T, B], tf.int32) * 2, tf.constant([True] * B))
        before = model.get_weights()
        state = model.initial_state(B)
        step.train_step(
            model, keras.optimizers.SGD(1.0), losses_lib.cross_entropy, 1e-3, batch, state, step.Sums.zero()
        )  # fmt: skip
        change = np.concatenate([(a - b).ravel() for a, b in zip(model.get_weights(), before, strict=True)])
        self.assertNear(np.linalg.norm(change), 1e-3, 1e-5)

    @parameterized.parameters(list(OPTIMIZERS))
    def test_every_optimizer_lowers_the_loss(self, name):
        rate = 0.1 if name in ("sgd", "momentum") else 0.01
        trainer = trainer_of(optimizers.make_optimizer(Training(optimizer=name, learning_rate=rate)))
        losses = trainer.fit(tfrnn.sequential_batches(IDS, B, T), 5).history["loss"]
        self.assertLess(losses[-1], losses[0])


class TrainerTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(cell=list(CELLS), embedding_dim=[0, 8])
    def test_a_tiny_text_is_memorised(self, cell, embedding_dim):
        text = "the quick brown fox jumps over the lazy dog while seven wizards box"
        vocabulary = tfrnn.Vocabulary.from_text(text)
        keras.utils.set_random_seed(0)
        initial = {"kernel_initializer": "glorot_uniform", "recurrent_initializer": "orthogonal"}
        model = tfrnn.LanguageModel(tfrnn.RNN(CELLS[cell](64, **initial)), len(vocabulary), embedding_dim)
        trainer = tfrnn.Trainer(model, keras.optimizers.Adam(0.01))
        batches = tfrnn.sequential_batches(vocabulary.encode(text), 1, 16)
        history = trainer.fit(batches, 150).history
        self.assertLess(history["perplexity"][-1], 1.1)
        self.assertEqual(tfrnn.generate(model, vocabulary, text[:15], len(text) - 15), text)

    def test_perplexity_is_from_summed_loss_over_summed_tokens(self):
        trainer = trainer_of(keras.optimizers.SGD(0.0))
        batches = tfrnn.sequential_batches(IDS, B, T)
        state, losses = trainer.model.initial_state(B), []
        for batch in batches.epoch(0):
            logits, state = trainer.model(batch.inputs, state)
            losses.append(keras.losses.sparse_categorical_crossentropy(batch.targets, logits, from_logits=True))
        expected = float(np.mean(losses))
        measured = trainer.evaluate(batches)
        history = trainer.fit(batches, 1, validation=batches).history
        for found in (measured["loss"], history["loss"][0], history["val_loss"][0]):
            self.assertNear(found, expected, 1e-5)
        self.assertNear(measured["perplexity"], math.exp(expected), 1e-4)
        self.assertNear(measured["bits_per_char"], expected / math.log(2), 1e-5)

    def test_an_untrained_model_is_as_unsure_as_the_vocabulary_is_large(self):
        model = tfrnn.LanguageModel(tfrnn.RNN(tfrnn.RNNCell(H)), V, output_initializer="zeros")
        perplexity = tfrnn.Trainer(model, keras.optimizers.SGD()).evaluate(
            tfrnn.sequential_batches(IDS, B, T)
        )["perplexity"]  # fmt: skip
        self.assertNear(perplexity, V, 1e-4)

    @parameterized.product(cell=list(CELLS), layers=[1, 2])
    def test_the_state_is_carried_over_an_epoch(self, cell, layers):
        """Batches of 5 steps with a learning rate of 0 have the loss of one unroll of all steps."""
        ids, steps = IDS[: 3 * 21], 20
        trainer = trainer_of(keras.optimizers.SGD(0.0), cell=CELLS[cell], layers=layers)
        short = trainer.fit(tfrnn.sequential_batches(ids, 3, 5, random_offset=False), 1).history["loss"]
        whole = trainer.evaluate(tfrnn.sequential_batches(ids, 3, steps, random_offset=False))["loss"]
        self.assertAllClose(short[0], whole, 1e-5)

    @parameterized.parameters(tfrnn.sequential_batches, tfrnn.random_batches)
    def test_a_seed_fixes_everything(self, kind):
        histories = []
        for seed in (1, 1, 2):
            trainer = trainer_of(keras.optimizers.Adam(0.01), seed=seed, layers=2, dropout=0.3)
            histories.append(trainer.fit(kind(IDS, B, T, seed), 3).history["loss"])
        self.assertEqual(histories[0], histories[1])
        self.assertNotEqual(histories[0], histories[2])

    @parameterized.product(kind=[tfrnn.sequential_batches, tfrnn.random_batches], stop_after=[3, 30, 40])
    def test_resumed_equals_uninterrupted(self, kind, stop_after):
        self.resumed_equals_uninterrupted(kind, stop_after, tfrnn.RNNCell)

    @parameterized.parameters(list(CELLS)[1:])
    def test_so_it_does_with_every_cell(self, cell):
        self.resumed_equals_uninterrupted(tfrnn.sequential_batches, 30, CELLS[cell])

    def resumed_equals_uninterrupted(self, kind, stop_after, cell):
        """Stopped in the middle of an epoch, saved, and restored into new objects: the same to the bit."""

        class StopAfter(keras.callbacks.Callback):
            calls = 0

            def on_train_batch_end(self, batch, logs=None):
                self.calls += 1
                self.model.stop_training = self.calls == stop_after

        def make():
            return trainer_of(keras.optimizers.Adam(0.01), cell=cell, layers=2, dropout=0.2), kind(IDS, B, T, 3)

        with mock.patch.object(trainer_module, "CALL_SECONDS", 0.0):  # a step a call
            whole, batches = make()
            whole.fit(batches, 3, validation=batches)
            first, batches = make()
            first.fit(batches, 3, validation=batches, callbacks=[StopAfter()])
            self.assertEqual((first.epoch, first.batch), divmod(stop_after, batches.num_batches(0)))
            second, batches = make()
            second.restore(first.snapshot())
            history = second.fit(batches, 3 - second.epoch, validation=batches).history
        self.assertAllClose(whole.model.get_weights(), second.model.get_weights(), 0, 0)
        self.assertEqual(whole.model.history.history["loss"][-1], history["loss"][-1])
        self.assertEqual(whole.model.history.history["val_loss"][-1], history["val_loss"][-1])

    @parameterized.product(cell=list(CELLS), layers=[1, 2])
    def test_chains_give_the_same_weights(self, cell, layers):
        results = []
        for chains in (1, 3):
            trainer = trainer_of(cell=CELLS[cell], layers=layers, chains=chains)
            trainer.fit(tfrnn.sequential_batches(IDS, 6, T), 2)
            results.append([trainer.model.get_weights(), trainer.model.history.history["loss"]])
        self.assertAllClose(*results, 1e-5, 1e-5)

    @parameterized.product(cell=list(CELLS), steps=[T, 9])
    @mock.patch.object(time_blocks, "LONGEST_UNROLLED", 8)
    @mock.patch.object(time_blocks, "BLOCK", 4)
    def test_xla_gives_the_same_weights(self, cell, steps):
        results = []
        for jit_compile in (False, True):
            trainer = trainer_of(cell=CELLS[cell], jit_compile=jit_compile)
            batches = tfrnn.sequential_batches(IDS, B, steps)
            history = trainer.fit(batches, 2, validation=batches).history
            results.append([trainer.model.get_weights(), history["loss"], history["val_loss"]])
        self.assertAllClose(*results, 1e-4, 1e-5)

    def test_a_gpu_has_one_chain_and_xla(self):
        gpu = mock.Mock(tf.distribute.OneDeviceStrategy)
        gpu.extended.worker_devices = ("/job:localhost/replica:0/task:0/device:GPU:0",)
        for strategy, compiled, chains in ((gpu, True, 1), (devices.one_device(), False, 2), (None, False, 2)):
            with mock.patch.object(threads, "num_cores", return_value=2):
                self.assertEqual(execution.jit_by_default(strategy), compiled)
                self.assertEqual(threads.num_chains(32, strategy), chains)

    def test_says_once_what_tensorflows_own_threads_cost(self):
        with mock.patch.object(threads, "num_cores", return_value=2):
            threads.warn_of_default_threads(devices.one_device())  # set by conftest.py
            self.enter_context(mock.patch.object(threads, "_remarked", False))
            threading = "tensorflow.config.threading"
            with (
                mock.patch(f"{threading}.get_intra_op_parallelism_threads", return_value=0),
                mock.patch(f"{threading}.get_inter_op_parallelism_threads", return_value=0),
                self.assertWarnsRegex(UserWarning, r"restart and call tfrnn.set_threads\(\)"),
            ):
                trainer_of().fit(tfrnn.sequential_batches(IDS, B, T), 1)
            self.assertTrue(threads._remarked)

    def test_a_batch_is_cut_into_equal_chains_alone(self):
        with self.assertRaisesRegex(UserError, "--batch_size=3 cannot be cut into --chains=2"):
            trainer_of(chains=2).fit(tfrnn.sequential_batches(IDS, B, T), 1)

    def test_chains_by_cores_and_rows(self):
        for cores, rows, chains in (
            (2, 32, 2),
            (2, 33, 1),
            (8, 32, 4),
            (1, 32, 1),
            (2, 8, 1),
            (3, 24, 3),
            (64, 1024, 8),
        ):
            with mock.patch.object(threads, "num_cores", lambda cores=cores: cores):
                self.assertEqual(threads.num_chains(rows), chains)

    def test_calls_of_any_length_give_the_same_weights(self):
        results = []
        for seconds in (0.0, 10.0):
            with mock.patch.object(trainer_module, "CALL_SECONDS", seconds):
                trainer = trainer_of()
                trainer.fit(tfrnn.sequential_batches(IDS, B, T), 3)
                results.append(trainer.model.get_weights())
        self.assertAllClose(*results, 0, 0)

    @parameterized.parameters(False, True)
    def test_a_batch_that_diverges_draws_nothing_from_the_generators(self, jit_compile):
        trainer = trainer_of(keras.optimizers.SGD(1e39), 0.0, dropout=0.5, jit_compile=jit_compile)
        (generator,) = step.generators(trainer.model)
        start = generator.numpy()
        with self.assertRaises(DivergedError):
            trainer.fit(tfrnn.sequential_batches(IDS, B, T), 5)
        self.assertEqual(trainer.position, (0, 0))
        self.assertAllEqual(generator, start)

    def test_a_snapshot_is_of_this_model_and_of_some_position(self):
        trainer = trainer_of(layers=2)
        trainer.fit(tfrnn.sequential_batches(IDS, B, T), 1)
        good = trainer.snapshot()
        trainer.restore(good)
        for change in (
            {"position": np.array([-1, 0])},
            {"position": np.array([1, 3])},
            {"position": np.array([1, -7])},
            {"best_epoch": np.array(2)},
            {"sums": np.array([1.0, 5.0])},
            {"state.0": np.zeros([9, H], np.float32)},
            {"weights.0": np.zeros([1, 1], np.float32)},
            {"another": np.zeros(3)},
        ):
            with self.assertRaisesRegex(UserError, "expected a snapshot of"):
                trainer_of(layers=2).restore({**good, **change})
        fresh = trainer_of(layers=2)
        fresh.restore({**good, "position": np.array([1, 99]), "sums": np.array([1.0, 5.0])})
        with self.assertRaisesRegex(UserError, "at most [0-9]+ batches in epoch 2; 99 are done"):
            fresh.fit(tfrnn.sequential_batches(IDS, B, T), 1)

    def test_divergence_stops_before_the_weights_are_spoiled(self):
        trainer = trainer_of(keras.optimizers.SGD(1e38), clip_norm=0.0)
        with self.assertRaisesRegex(DivergedError, "epoch 1, batch [0-9]+, at learning rate 1e\\+38.*--learning_rate"):
            trainer.fit(tfrnn.sequential_batches(IDS, B, T), 5)
        self.assertTrue(all(np.isfinite(w).all() for w in trainer.model.get_weights()))

    @parameterized.parameters(
        (keras.optimizers.SGD(1e39), 1.0), (keras.optimizers.SGD(1e30), 1e39), (keras.optimizers.AdamW(1e9), 1.0)
    )
    def test_an_update_that_would_overflow_is_not_made(self, optimizer, clip_norm):
        trainer = trainer_of(optimizer, clip_norm)
        with contextlib.suppress(DivergedError):
            trainer.fit(tfrnn.sequential_batches(IDS, B, T), 2)
        self.assertTrue(all(np.isfinite(w).all() for w in trainer.model.get_weights()))

    def test_a_trainer_takes_batches_of_another_size_between_epochs(self):
        trainer = trainer_of()
        trainer.fit(tfrnn.sequential_batches(IDS, B, T), 1)
        trainer.fit(tfrnn.sequential_batches(IDS, B + 1, T + 1), 1)
        fresh = trainer_of()
        fresh.restore(trainer_of(seed=1).snapshot())
        fresh.fit(tfrnn.sequential_batches(IDS, B, T), 1)
        self.assertEqual(fresh.epoch, 1)

    def test_the_optimizer_is_the_users_own(self):
        optimizer = keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(0.1, 10))
        model = tfrnn.LanguageModel(tfrnn.RNN(tfrnn.RNNCell(H)), V)
        trainer = tfrnn.Trainer(model, optimizer)
        self.assertIsInstance(trainer.strategy, tf.distribute.OneDeviceStrategy)
        trainer.fit(tfrnn.sequential_batches(IDS, B, T), 1)
        self.assertGreater(int(optimizer.iterations), 0)

    def test_kerass_callbacks_are_served(self):
        batches = tfrnn.sequential_batches(IDS, B, T)
        seen = []
        logger = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: seen.append(("begin", epoch)),
            on_train_batch_end=lambda batch, logs: seen.append(("batch", batch)) if logs["perplexity"] else None,
            on_epoch_end=lambda epoch, logs: seen.append(("end", epoch)),
        )
        schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.5 / (epoch + 1))
        stopping = keras.callbacks.EarlyStopping("val_loss", min_delta=1e9, patience=1)
        path = self.create_tempdir().full_path + "/log.csv"
        trainer = trainer_of()
        history = trainer.fit(batches, 9, batches, [logger, schedule, stopping, keras.callbacks.CSVLogger(path)])
        self.assertIsInstance(history, keras.callbacks.History)
        self.assertEqual([s for s in seen if s[0] != "batch"], [("begin", 0), ("end", 0), ("begin", 1), ("end", 1)])
        self.assertIn(("batch", batches.num_batches(0) - 1), seen)
        self.assertAllClose(history.history["learning_rate"], [0.5, 0.25])
        with open(path) as file:
            self.assertIn("val_perplexity", file.readline())
        again = trainer.fit(batches, 2, callbacks=[schedule])  # goes on where it stands
        self.assertEqual(again.epoch, [2, 3])
        self.assertAllClose(again.history["learning_rate"], [0.5 / 3, 0.5 / 4])

    def test_history_can_be_written_as_json(self):
        history = trainer_of().fit(tfrnn.random_batches(IDS, B, T), 2).history
        self.assertEqual(json.loads(json.dumps(history)), history)
        self.assertEqual(
            set(history),
            {"loss", "perplexity", "bits_per_char", "tokens_per_sec", "learning_rate", "gradient_norm", "seconds"},
        )

    def test_runs_on_one_device_of_the_name_asked_for(self):
        self.assertIsInstance(devices.one_device("cpu"), tf.distribute.OneDeviceStrategy)
        self.assertEqual(devices.device_name("cpu"), "/CPU:0")
        with self.assertRaisesRegex(ValueError, "gpu:99"):
            devices.device_name("gpu:99")
