"""A net of the book's kind, or a reader's own, as training and generation here know a model.

Letters: T num_steps, B batch_size, V vocab_size, H num_hiddens.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfrnn.data.batches import Batch
from tfrnn.errors import UserError
from tfrnn.training import step
from tfrnn.training.replicas import Replicas


class TimeMajorNet:
    """A net of the book's kind, ours or a reader's own, as training and generation here know a model.

    The state is a flat tuple, packed as `begin_state` gives it for the net: readers' nets return it in other forms.
    """

    built = True

    def __init__(self, net: Any):
        self._net = net
        # A first call, which also makes the weights of a Keras layer.
        ids, state = tf.zeros([1, 2], tf.int32), net.begin_state(batch_size=1)
        outputs, _ = net(ids, state)
        self._vocab_size = outputs.shape[-1]
        self.compiles = True
        try:
            tf.function(net, autograph=False).get_concrete_function(ids, state)
        except Exception:  # whatever it is: the net has just run without being compiled
            self.compiles = False

    @classmethod
    def of(cls, net: Any) -> "TimeMajorNet":
        """The net's own, made at its first use: what is compiled for it is found again."""
        if "_time_major" not in vars(net):
            object.__setattr__(net, "_time_major", cls(net))  # not by Keras's, which would track it
        return vars(net)["_time_major"]

    @property
    def trainable_variables(self) -> list:
        return self._net.trainable_variables

    def cached_weights(self) -> contextlib.AbstractContextManager:
        return contextlib.nullcontext()

    def initial_state(self, batch_size: int) -> tuple:
        return tuple(tf.nest.flatten(self._net.begin_state(batch_size=batch_size)))

    def __call__(self, inputs: tf.Tensor, state: tuple, training: bool = False) -> tuple:
        if not self.compiles and not tf.executing_eagerly():
            return self._uncompiled(inputs, state)
        if inputs.shape[0] is None:  # a net that unrolls itself must know how many steps there are
            before = tf.zeros([tf.shape(inputs)[1], self._vocab_size]), state
            outputs, states = tf.scan(lambda last, ids: self._one_step(ids, last[1]), inputs, before)
            return outputs, tuple(tensor[-1] for tensor in states)
        state = tf.nest.pack_sequence_as(self._net.begin_state(batch_size=1), list(state))
        outputs, state = self._net(tf.transpose(inputs), state)  # [T * B, V]
        outputs = tf.reshape(outputs, [inputs.shape[0], -1, self._vocab_size])
        return outputs, tuple(tf.nest.flatten(state))

    def _uncompiled(self, inputs: tf.Tensor, state: tuple) -> tuple:
        """The net run by Python from within compiled generation."""

        def call(ids: tf.Tensor, *state: tf.Tensor) -> list:
            outputs, state = self(ids, state)
            return [outputs, *state]

        outputs, *new_state = tf.py_function(call, [inputs, *state], [tf.float32] + [t.dtype for t in state])
        outputs.set_shape([*inputs.shape, self._vocab_size])
        for new, old in zip(new_state, state, strict=True):
            new.set_shape(old.shape)
        return outputs, tuple(new_state)

    def _one_step(self, ids: tf.Tensor, state: tuple) -> tuple:
        outputs, state = self(ids[None], state)
        return outputs[0], state

    def train_step(self, loss: Callable, updater: keras.optimizers.Optimizer) -> Callable:
        """The compiled step for this loss and updater; the last one asked for is kept."""
        if getattr(self, "_step_for", None) != (loss, updater):
            if not updater.built:
                updater.build(self.trainable_variables)

            def summed(outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
                flat = tf.reshape(outputs, [-1, outputs.shape[-1]])
                mean = tf.reduce_mean(loss(tf.reshape(targets, [-1]), flat))
                return mean * tf.cast(tf.size(targets), mean.dtype)

            # An optimizer works under the strategy in whose scope it was made.
            replicas = Replicas(getattr(updater, "_distribution_strategy", None) or tf.distribute.get_strategy())
            if replicas.count > 1:
                raise UserError(
                    f"expected a strategy of one device, got one of {replicas.count} replicas; use tfrnn.Trainer for it"
                )

            def train_step(batch: Batch, state: tuple, sums: step.Sums) -> tuple:
                return step.train_step(self, updater, summed, 1.0, batch, state, sums, replicas=replicas)

            if self.compiles:
                train_step = tf.function(train_step, autograph=False, reduce_retracing=True)
            self._step_for, self._train_step = (loss, updater), train_step
        return self._train_step
