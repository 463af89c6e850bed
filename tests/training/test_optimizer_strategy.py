"""The strategy that a Keras optimizer acts under, and Keras's private names, which are used in one module only."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from replica_models import NUM_TERMS, OPTIMIZERS, batches, strategy_of, trainer_of
from rounding import assert_float32_sums_equal

from tfrnn.errors import UserError
from tfrnn.training.optimizer_strategy import acting_under
from tfrnn.training.optimizer_strategy import strategy_of as strategy_of_optimizer


def test_after_the_context_the_optimizer_is_as_it_was_even_after_an_error():
    optimizer, strategy = keras.optimizers.SGD(), strategy_of(2)
    attributes = set(vars(optimizer))

    def fail():
        with acting_under(strategy, optimizer, sums_gradients=False):
            raise ZeroDivisionError(strategy_of_optimizer(optimizer) is strategy)

    with pytest.raises(ZeroDivisionError, match="True"):
        fail()
    assert strategy_of_optimizer(optimizer) is tf.distribute.get_strategy()
    assert set(vars(optimizer)) == attributes


@pytest.mark.parametrize("name", ["_distribution_strategy", "_all_reduce_sum_gradients"])
def test_a_keras_that_has_renamed_them_is_noticed(name):
    private_names = {"_distribution_strategy", "_all_reduce_sum_gradients"} - {name}
    with pytest.raises(AttributeError, match=f"expected Keras's optimizers to have {name}"):
        strategy_of_optimizer(types.SimpleNamespace(**dict.fromkeys(private_names)))


def test_after_training_on_replicas_the_optimizer_sums_gradients_as_keras_does():
    """Each replica's gradient is 1, so that SGD with rate 0.5 subtracts 0.5 * 2 from a weight."""
    trainer = trainer_of(strategy_of(2), optimizer="sgd")
    trainer.fit(batches(), 1)
    variables = trainer.model.trainable_variables
    before = [np.array(variable) for variable in variables]
    trainer.optimizer.learning_rate = 0.5

    @tf.function
    def update():
        trainer.strategy.run(lambda: trainer.optimizer.apply([tf.ones(v.shape) for v in variables], variables))

    update()
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_allclose(np.array(variable), value - 1.0, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_optimizer_made_outside_of_the_scope_of_one_device_trains_the_same(jit_compile):
    weights = []
    for strategy in (strategy_of(1), tf.distribute.MirroredStrategy(["/CPU:0"])):
        inside = trainer_of(strategy, optimizer="adam", jit_compile=jit_compile)
        outside = type(inside)(inside.model, OPTIMIZERS["adam"](), 0.5, strategy, jit_compile=jit_compile)
        outside.fit(batches(), 2)
        assert outside.optimizer.iterations == 2 * batches().num_batches(0)
        weights.append(outside.model.get_weights())
        with strategy.scope():  # and within the scope it may be used as well
            outside.fit(batches(), 1)
    assert_float32_sums_equal(*weights, num_terms=10 * NUM_TERMS)


@pytest.mark.slow
def test_an_optimizer_made_outside_of_the_scope_of_several_replicas_is_refused():
    """Each replica would add 1 to the number of steps, by which Adam corrects its means and schedules go."""
    strategy = strategy_of(2)
    inside = trainer_of(strategy, optimizer="adam")
    inside.fit(batches(), 2)
    assert inside.optimizer.iterations == 2 * batches().num_batches(0)
    with pytest.raises(UserError, match=r"expected an `optimizer` made within `strategy\.scope\(\)`"):
        type(inside)(inside.model, keras.optimizers.Adam(), 0.5, strategy)
