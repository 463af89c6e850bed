"""Gives a net with the book's interface the interface of this package's models.

Letters: T num_steps, B batch_size, V vocab_size, H num_hiddens.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfrnn.d2l.compiled_steps import CompiledStep, NotCompiledError, as_when_not_compiled, traced
from tfrnn.d2l.python_state import NotWatched, PythonState
from tfrnn.errors import UserError
from tfrnn.training.losses import MeanLoss
from tfrnn.training.optimizer_strategy import strategy_of
from tfrnn.training.replicas import replicas_of
from tfrnn.training.step import StepResult, TrainStep


class NetAdapter(NotWatched):
    """A net with the book's interface, called as training and generation call a model: `model(inputs [T, B], state)`.

    The net is one of tfrnn.d2l or your own. Nets return their state in different structures; here it is a flat tuple,
    which is packed into the structure of `begin_state` when the net is called.

    Attributes:
      reason_against: why the net must not be compiled, so that Python runs it at each step; None if it can be.
    """

    def __init__(self, net: Any):
        self._net = net
        before, num_weights = PythonState([net]), len(net.trainable_variables)
        ids, state = tf.zeros([1, 2], tf.int32), net.begin_state(batch_size=1)
        outputs, _ = net(ids, state)  # this also makes the weights of a Keras layer
        if len(net.trainable_variables) == num_weights:
            before.restore()  # what the net counts or draws by this call of ours
        self._vocab_size = outputs.shape[-1]
        self.reason_against: str | None = None
        self._reads: PythonState | None = None
        try:
            trace = tf.function(net, autograph=False).get_concrete_function
            _, self._reads = traced(lambda: trace(ids, state), [net])
        except NotCompiledError as error:
            self.reason_against = str(error)

    @classmethod
    def for_net(cls, net: Any) -> "NetAdapter":
        """Returns the adapter of a net: the same one, and its compiled functions, while Python values stay the same."""
        adapter = vars(net).get("_net_adapter")
        is_of_net = adapter is not None and adapter._net is net  # not that of the net of which this one is a copy
        if not is_of_net or (adapter._reads and adapter._reads.change(with_random=False)):
            object.__setattr__(net, "_net_adapter", cls(net))  # Keras's own __setattr__ would track it
        return vars(net)["_net_adapter"]

    def __reduce__(self) -> tuple:
        """Leaves the adapter out of a copy of the net, and out of a file: None takes its place."""
        return type(None), ()

    @property
    def trainable_variables(self) -> list:
        return self._net.trainable_variables

    def initial_state(self, batch_size: int) -> tuple:
        """Returns the state before the first step as a flat tuple of tensors [B, H]."""
        return tuple(tf.nest.flatten(self._net.begin_state(batch_size=batch_size)))

    def __call__(self, inputs: tf.Tensor, state: tuple, training: bool = False) -> tuple:
        """Returns the outputs [T, B, V] for token ids, int32 [T, B], and the state after the last step."""
        if self.reason_against and not tf.executing_eagerly():
            return self._call_in_python(inputs, state)
        if inputs.shape[0] is None:  # a net that loops over the steps in Python must know their number
            before = tf.zeros([tf.shape(inputs)[1], self._vocab_size]), state
            outputs, states = tf.scan(lambda last, ids: self._one_step(ids, last[1]), inputs, before)
            return outputs, tuple(tensor[-1] for tensor in states)
        state = tf.nest.pack_sequence_as(self._net.begin_state(batch_size=1), list(state))
        with as_when_not_compiled():
            outputs, state = self._net(tf.transpose(inputs), state)  # [T * B, V]
        outputs = tf.reshape(outputs, [inputs.shape[0], -1, self._vocab_size])
        return outputs, tuple(tf.nest.flatten(state))

    def _call_in_python(self, inputs: tf.Tensor, state: tuple) -> tuple:
        """Calls a net that cannot be compiled from within compiled generation."""

        def call(ids: tf.Tensor, *state: tf.Tensor) -> list:
            outputs, state = self(ids, state)
            return [outputs, *state]

        outputs, *new_state = tf.py_function(call, [inputs, *state], [tf.float32] + [t.dtype for t in state])
        outputs.set_shape([*inputs.shape, self._vocab_size])
        for after, before in zip(new_state, state, strict=True):
            after.set_shape(before.shape)
        return outputs, tuple(new_state)

    def _one_step(self, ids: tf.Tensor, state: tuple) -> tuple:
        outputs, state = self(ids[None], state)
        return outputs[0], state

    def train_step(
        self, loss: Callable, updater: keras.optimizers.Optimizer, theta: float
    ) -> Callable[..., StepResult]:
        """Returns the training step for this loss and updater, compiled if the net can be; the latest one is kept.

        Args:
          loss, updater: as in train_epoch_ch8.
          theta: the norm to which gradients are clipped.
        Raises:
           UserError: the updater was made in the scope of a strategy of several replicas.
        """
        if getattr(self, "_step_for", None) != (loss, updater, theta):
            if (count := strategy_of(updater).num_replicas_in_sync) > 1:
                raise UserError(
                    f"expected a strategy of one device, got one of {count} replicas; use tfrnn.Trainer for it"
                )
            if not updater.built:
                updater.build(self.trainable_variables)

            def mean_of_all(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
                flat = tf.reshape(outputs, [-1, outputs.shape[-1]])
                return tf.fill(tf.shape(targets), tf.reduce_mean(loss(tf.reshape(targets, [-1]), flat)))

            # An optimizer works only under the strategy in whose scope it was made.
            objective = MeanLoss(mean_of_all, "mean", is_cross_entropy=True, adds_up=True)
            step = replicas_of(strategy_of(updater)).train_step(TrainStep(self, updater, objective, theta), False)
            compiled = CompiledStep(lambda flows: step(*flows), "the step of training", self._net, loss, updater)
            if self.reason_against:
                compiled.do_not_compile(self.reason_against)
            self._step_for, self._train_step = (loss, updater, theta), lambda *flows: compiled(flows)
        return self._train_step
