# ruff: noqa: N803, N806 (the names are the book's)
"""What Python computes in a step counts in each step: programs that a compiled step would compute otherwise."""

import argparse
import collections
import copy
import dataclasses
import functools
import itertools
import random
import sys
import types
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfrnn
from tfrnn import d2l as edition_0
from tfrnn.d2l import first
from tfrnn.d2l import v1 as d2l
from tfrnn.d2l.python_state import NotWatched

count_of_module = 0
kept_of_module = None


class Rows(d2l.DataModule):
    """Four rows, in batches of two."""

    batch_size = 2

    def get_dataloader(self, train):
        X = tf.constant(np.random.default_rng(0).normal(size=[4, 3]).astype("float32"))
        return self.get_tensorloader([X, X[:, :1] + 1], False)


class Line(d2l.LinearRegression):
    """Its loss is multiplied by `self.factor()`, which Python computes."""

    def __init__(self):
        super().__init__(lr=0.1)
        self.set_up()

    def set_up(self):
        pass

    def loss(self, y_hat, y):
        return super().loss(y_hat, y) * self.factor()


class OfEpoch(Line):
    def factor(self):
        return 0.0 if self.trainer.epoch < 1 else 1.0


class OfBatch(Line):
    def factor(self):
        return self.trainer.train_batch_idx / 10


class OfRandom(Line):
    def factor(self):
        return random.random()


class OfNumPy(Line):
    def factor(self):
        return np.random.uniform()


class OfOwnGenerator(Line):
    def set_up(self):
        self.rng = np.random.default_rng(3)

    def factor(self):
        return self.rng.random()


class OfPrivateCounter(Line):
    def set_up(self):
        self._n = 0

    def factor(self):
        self._n += 1
        return self._n / 10


class OfArray(OfPrivateCounter):
    def set_up(self):
        self.total = np.zeros(1, "float32")

    def factor(self):
        self.total += 0.1
        return self.total[0]


class OfNestedList(Line):
    def set_up(self):
        self.log = {"seen": [[1]]}

    def factor(self):
        self.log["seen"][0].append(1)
        return len(self.log["seen"][0]) / 10


class OfGlobal(Line):
    def factor(self):
        global count_of_module
        count_of_module += 1
        return count_of_module / 10


class OfClass(Line):
    count = 0

    def factor(self):
        type(self).count += 1
        return self.count / 10


class OfDeque(Line):
    def set_up(self):
        self.last = collections.deque([0], maxlen=2)

    def factor(self):
        self.last.append(self.last[-1] + 1)
        return sum(self.last) / 10


class OfIterator(Line):
    def set_up(self):
        self.numbers = iter(range(100))

    def factor(self):
        return next(self.numbers) / 10


class Counting(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.n, self.dense = 0, keras.layers.Dense(1)

    def call(self, X):
        self.n += 1
        return self.dense(X) * (1 + self.n / 10)


class OfSublayer(d2l.LinearRegression):
    def __init__(self):
        super().__init__(lr=0.1)
        self.net = keras.Sequential([Counting()])


class OfNestedModule(d2l.LinearRegression):
    def __init__(self):
        class Net(d2l.Module):
            def __init__(self):
                super().__init__()
                self.nets = [Counting()]

            def forward(self, X):
                return self.nets[0](X)

        super().__init__(lr=0.1)
        self.net = Net()


class OfClosure(d2l.LinearRegression):
    def __init__(self):
        n = 0

        def scaled(X):
            nonlocal n
            n += 1
            return X * n / 10

        super().__init__(lr=0.1)
        self.net = keras.Sequential([keras.layers.Lambda(scaled), keras.layers.Dense(1)])


class OfOptimizer(Line):
    def factor(self):
        return 1.0

    def configure_optimizers(self):
        class Decaying:
            def __init__(self):
                self.t = 0

            def apply_gradients(self, pairs):
                self.t += 1
                for gradient, variable in pairs:
                    variable.assign_sub(gradient * 0.1 / self.t)

        return Decaying()


class OfRate(d2l.LinearRegression):
    """The validation changes an attribute of a layer of Keras's."""

    def __init__(self):
        super().__init__(lr=0.1)
        self.net = keras.Sequential([keras.layers.LeakyReLU(0.5), keras.layers.Dense(1)])

    def validation_step(self, batch):
        self.net.layers[0].negative_slope /= 2
        super().validation_step(batch)


class OfValidation(Line):
    """The training reads what the validation has counted."""

    def set_up(self):
        self.epochs = 0

    def factor(self):
        return self.epochs / 10

    def validation_step(self, batch):
        self.epochs += 1
        super().validation_step(batch)


@dataclasses.dataclass(slots=True)
class Slots:
    n: float = 0.0


class OfSlots(Line):
    def set_up(self):
        self.counter = Slots()

    def factor(self):
        self.counter.n += 1
        return self.counter.n / 10


class Halving(Line):
    """The validation changes the factor, which lies in `self.holder()`."""

    def set_up(self):
        self.value = self.holder()
        self.value.n = 1.0

    def factor(self):
        return self.value.n

    def validation_step(self, batch):
        self.value.n /= 2
        super().validation_step(batch)


class OfSlotsRead(Halving):
    holder = Slots


class OfNamespace(Halving):
    holder = types.SimpleNamespace


class OfArguments(Halving):
    holder = argparse.Namespace


package = types.ModuleType("package_of_reader")
package.config = types.ModuleType("package_of_reader.config")


class OfModuleInPackage(Halving):
    def set_up(self):
        package.config.n = 1.0
        self.value = types.SimpleNamespace(n=1.0)

    def factor(self):
        return package.config.n

    def validation_step(self, batch):
        package.config.n /= 2
        super().validation_step(batch)


class OfModuleInAttribute(Halving):
    def holder(self):
        return package.config


class OfDict(Halving):
    holder = types.SimpleNamespace

    def factor(self):
        return vars(self)["value"].n * vars(vars(self)["value"])["n"]


class OfMissingAttribute(Halving):
    holder = types.SimpleNamespace

    def factor(self):
        return getattr(self, "there_later", 1.0)

    def validation_step(self, batch):
        self.there_later = getattr(self, "there_later", 1.0) / 2
        super().validation_step(batch)


class OfMadeClass(Halving):
    holder = dataclasses.make_dataclass("Made", [("n", float, 1.0)])


class OfContainer(Halving):
    class holder(dict):  # noqa: N801
        """With an attribute."""

    def set_up(self):
        self.kept = types.SimpleNamespace(value=self.holder())  # Keras would make it a dict of its own
        self.kept.value.n = 1.0

    def factor(self):
        return self.kept.value.n

    def validation_step(self, batch):
        self.kept.value.n /= 2
        Line.validation_step(self, batch)


class Plain:
    """An object of a reader's own."""


class OfCopy(Halving):
    holder = Plain

    def factor(self):
        return copy.copy(self.value).n


class OfGetattribute(Halving):
    holder = Plain

    def factor(self):
        return object.__getattribute__(self.value, "n")


@functools.lru_cache
def ones_of_cache(n):
    return tf.ones([n])


class OfCache(Line):
    """The first batch has two rows, and the cache is filled by it, but not for another size."""

    def set_up(self):
        ones_of_cache.cache_clear()

    def factor(self):
        return tf.reduce_sum(ones_of_cache(2 if self.trainer.train_batch_idx < 3 else 3)) / 10


class OfSwallowedError(OfIterator):
    def factor(self):
        try:
            return next(self.numbers) / 10
        except RuntimeError:
            return 1.0


class OfFile(Line):
    def set_up(self):
        self.helper = types.SimpleNamespace(log=iter(range(99)))

    def factor(self):
        return next(self.helper.log) / 10


PROGRAMS = [
    OfSlots,
    OfSlotsRead,
    OfNamespace,
    OfArguments,
    OfModuleInPackage,
    OfModuleInAttribute,
    OfDict,
    OfMissingAttribute,
    OfMadeClass,
    OfContainer,
    OfCopy,
    OfGetattribute,
    OfCache,
    OfSwallowedError,
    OfFile,
    OfEpoch,
    OfBatch,
    OfRandom,
    OfNumPy,
    OfOwnGenerator,
    OfPrivateCounter,
    OfArray,
    OfNestedList,
    OfGlobal,
    OfClass,
    OfDeque,
    OfIterator,
    OfSublayer,
    OfNestedModule,
    OfClosure,
    OfOptimizer,
    OfRate,
    OfValidation,
]


ALWAYS = (OfEpoch, OfRandom, OfNestedList, OfSublayer, OfClosure, OfModuleInPackage, OfSlotsRead, OfCache)
HALVING = tuple(kind for kind in PROGRAMS if issubclass(kind, Halving))
COMPILED_AGAIN = (OfEpoch, OfRate, OfValidation)  # what they read changes twice


def messages_of(run):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    return [str(warning.message) for warning in caught if "compiled" in str(warning.message)]


def trained(kind, eagerly, epochs=3):
    """The model after a training, the state of Python's random numbers then, and what was said."""
    global count_of_module
    count_of_module = OfClass.count = 0
    keras.utils.set_random_seed(0)
    tf.config.run_functions_eagerly(eagerly)
    try:
        model = kind()
        model.board.display = False
        messages = messages_of(lambda: d2l.Trainer(epochs).fit(model, Rows()))
    finally:
        tf.config.run_functions_eagerly(False)
    return model, (random.random(), np.random.uniform(), count_of_module), messages


@pytest.mark.parametrize("kind", [pytest.param(k, marks=[] if k in ALWAYS else pytest.mark.slow) for k in PROGRAMS])
def test_what_python_computes_in_a_step_is_computed_in_each(kind):
    (model, state, messages), (expected, expected_state, _) = trained(kind, False), trained(kind, True)
    for one, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert state == expected_state
    assert model.board.data.keys() == expected.board.data.keys()
    for name, curve in model.board.data.items():
        np.testing.assert_allclose(curve, expected.board.data[name], rtol=1e-5, atol=1e-6)
    if kind in HALVING:
        assert [message.partition(" ")[0] for message in messages] == [f"{kind.__name__}.validation_step"]
        return
    said = any("training_step runs without being compiled, more slowly: " in message for message in messages)
    assert said is (kind not in COMPILED_AGAIN)


def test_what_a_step_keeps_is_a_value():
    class Keeping(Line):
        def factor(self):
            return 1.0

        def training_step(self, batch):
            global kept_of_module
            self.last = kept_of_module = super().training_step(batch)
            return self.last

    (model, _, messages), (expected, _, _) = trained(Keeping, False), trained(Keeping, True)
    assert float(model.last) == float(kept_of_module) == pytest.approx(float(expected.last), rel=1e-5)
    assert "it changes Keeping.last" in messages[0]


def test_a_step_that_prints_prints_for_each_batch(capsys):
    class Printing(Line):
        def factor(self):
            print("a batch")
            return 1.0

    _, _, messages = trained(Printing, False)
    assert capsys.readouterr().out.count("a batch") == 12  # 6 steps of training and 6 of validation
    assert "it prints" in messages[0]


def test_what_a_step_does_not_read_may_change():
    class Data(Rows):
        def train_dataloader(self):
            for batch in self.get_dataloader(True):
                random.random()
                yield batch

    class Best(Line):
        def set_up(self):
            self.best, self.log = np.inf, []

        def factor(self):
            return 1.0

        def validation_step(self, batch):
            self.best = min(self.best, float(self.loss(self(*batch[:-1]), batch[-1])))
            self.log.append(self.best)

    _, _, messages = trained(Best, False)
    assert [message.partition(" ")[0] for message in messages] == ["Best.validation_step"]


class Logger:
    """An object of a reader's own."""

    def __init__(self):
        self.n, self.file = 0.5, open(__file__)  # noqa: SIM115


class Idle(Line):
    """It has iterators, and plots a number that it has."""

    def set_up(self):
        self.logger, self.numbers, self.kept = Logger(), itertools.count(), [iter("abc")]

    def factor(self):
        return self.logger.n

    def training_step(self, batch):
        self.plot("lr", self.lr, train=True)
        return super().training_step(batch)


def test_an_iterator_that_a_step_does_not_read_and_a_number_that_it_plots_leave_it_compiled():
    (model, _, messages), (expected, _, _) = trained(Idle, False), trained(Idle, True)
    assert messages == []
    assert model.board.data["train_lr"] == expected.board.data["train_lr"]
    assert model.board.data["train_lr"][-1].y == 0.1
    assert next(model.numbers) == 0
    for one in (model, expected):
        one.logger.file.close()


def test_a_number_that_python_computes_for_a_plot_is_computed_for_each_batch():
    class Timing(Idle):
        def training_step(self, batch):
            self.plot("time", len(sys.argv) + 0.5, train=True)
            return super().training_step(batch)

    model, _, messages = trained(Timing, False)
    model.logger.file.close()
    assert [message.partition(": ")[2] for message in messages] == [
        f"it plots {len(sys.argv) + 0.5}, which Python computes"
    ]


n_of_net = 0


def counting_forward(inputs, state, params):
    global n_of_net
    n_of_net += 1
    return tf.concat([X @ params[0] * (n_of_net / 10) for X in inputs], 0), state


def reading_forward(inputs, state, params):
    return tf.concat([X @ params[0] * n_of_net for X in inputs], 0), state


def net_of(forward):
    return edition_0.RNNModelScratch(
        5, 2, lambda B, H: (tf.zeros([B, H]),), forward, lambda V, H: [tf.Variable(tf.eye(V))]
    )


def epoch_of(net, updater, eagerly):
    """The perplexity of an epoch of three batches."""
    ids = tf.constant(np.random.default_rng(0).integers(0, 5, [3, 2, 4]), tf.int32)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    tf.config.run_functions_eagerly(eagerly)
    try:
        return edition_0.train_epoch_ch8(net, list(zip(ids, ids, strict=True)), loss, updater, False)[0]
    finally:
        tf.config.run_functions_eagerly(False)


def test_a_net_that_counts_counts_in_each_step_of_train_ch8():
    global n_of_net
    perplexities, vocab = [], edition_0.Vocab([list("abcd")])
    for eagerly in (False, True):
        net, updater = net_of(counting_forward), keras.optimizers.SGD(0.1)
        n_of_net, epochs = 0, []
        messages = messages_of(lambda: epochs.extend(epoch_of(net, updater, eagerly) for _ in range(2)))  # noqa: B023
        perplexities.append(epochs)
        assert n_of_net == 6
        assert eagerly or "it changes `n_of_net`" in messages[0]
        assert edition_0.predict_ch8("ab", 3, net, vocab) == "abbbb"  # the eye of get_params repeats the last token
        assert n_of_net > 9
    np.testing.assert_allclose(*perplexities, rtol=1e-5)


@pytest.mark.slow
def test_what_a_net_reads_may_change_between_epochs_and_predictions():
    global n_of_net
    vocab, results = edition_0.Vocab([list("abcd")]), []
    for eagerly in (False, True):
        net, updater = net_of(reading_forward), keras.optimizers.SGD(0.1)
        for n_of_net in (1.0, 0.5, -1.0):  # noqa: B007
            results.append((epoch_of(net, updater, eagerly), edition_0.predict_ch8("ab", 5, net, vocab)))
    np.testing.assert_allclose([r[0] for r in results[:3]], [r[0] for r in results[3:]], rtol=1e-5)
    assert [r[1] for r in results[:3]] == [r[1] for r in results[3:]]
    assert results[1][1] != results[2][1]


def test_a_decoder_that_counts_counts_in_each_step_of_train_seq2seq():
    class Decoder(edition_0.Decoder):
        def __init__(self):
            super().__init__()
            self.embedding, self.dense, self.count = keras.layers.Embedding(5, 3), keras.layers.Dense(5), 0

        def init_state(self, enc_outputs, *args):
            return enc_outputs[1]

        def call(self, X, state, **kwargs):
            self.count += 1
            return self.dense(self.embedding(X) + tf.reduce_mean(state[0])), state

    net = edition_0.EncoderDecoder(edition_0.Seq2SeqEncoder(5, 3, 2, 1), Decoder())
    ids, lengths = tf.ones([2, 3], tf.int32), tf.constant([3, 2])
    batches = [(ids, lengths, ids, lengths)] * 3
    vocab = edition_0.Vocab([["a"]], reserved_tokens=["<bos>"])
    messages = messages_of(lambda: edition_0.train_seq2seq(net, batches, 0.01, 2, vocab, "a CPU"))
    assert net.decoder.count == 6
    assert "it changes Decoder.count" in messages[0]
    assert isinstance(net.encoder.rnn, tfrnn.RNN)


def test_a_function_that_counts_counts_in_each_step_of_the_first_edition():
    n = 0

    def rnn(inputs, state, params):
        nonlocal n
        n += 1
        return [X @ params[0] for X in inputs], state

    messages = messages_of(
        lambda: first.train_and_predict_rnn(
            rnn,
            lambda: [tf.Variable(tf.eye(2))],
            lambda B, H: (tf.zeros([B, H]),),
            1,
            2,
            [0, 1] * 9,
            "ab",
            {"a": 0, "b": 1},
            False,
            num_epochs=2,
            num_steps=2,
            lr=0.1,
            clipping_theta=1,
            batch_size=2,
            pred_period=5,
            pred_len=1,
            prefixes=["a"],
        )
    )
    assert n == 8
    assert "it changes `n`" in messages[0]


class Looks(NotWatched):
    """How often a list was looked at."""

    n = 0


class Looked(list):
    """A list that counts how often it is looked at."""

    looks = Looks()

    def __iter__(self):
        self.looks.n += 1
        return super().__iter__()


def test_a_list_that_a_step_does_not_read_costs_nothing():
    net, updater = net_of(reading_forward), keras.optimizers.SGD(0.1)
    net.corpus = Looked([1, 2])
    ids, loss = tf.ones([2, 4], tf.int32), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    edition_0.train_epoch_ch8(net, [(ids, ids)] * 3, loss, updater, False)
    looks = net.corpus.looks.n
    edition_0.train_epoch_ch8(net, [(ids, ids)] * 3, loss, updater, False)
    assert net.corpus.looks.n == looks > 0


def test_a_list_that_a_step_reads_is_compared_by_what_is_in_it():
    class OfList(Line):
        def set_up(self):
            self.factors = [1.0, [1.0]]

        def factor(self):
            return self.factors[0] * self.factors[1][0]

        def validation_step(self, batch):
            if self.trainer.epoch == 0:
                self.factors[1][0] = 0.5
            super().validation_step(batch)

    (model, _, _), (expected, _, _) = trained(OfList, False), trained(OfList, True)
    for one, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
