"""The Trainer learns what Keras's own fit learns with the same layers, optimizer, loss and metrics: equal numbers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from all_cells import combinations
from half_precision import needs_16_bits
from replica_models import strategy_of
from rounding import assert_float32_sums_equal, assert_identical

import tfrnn
from tfrnn.errors import UserError

T, B, V, H, EPOCHS = 3, 4, 7, 5, 2
X, Y = np.random.default_rng(0).integers(0, V, [2, 5 * B, T])
ONE_HOT = np.eye(V, dtype="f")[X]
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
NUM_TERMS = T * B * 5 * EPOCHS  # that a weight adds up


def dataset(x=X):
    return tf.data.Dataset.from_tensor_slices((x.astype("f" if x is ONE_HOT else "i"), Y.astype("i"))).batch(B, True)


def keras_model(cell):
    keras.utils.set_random_seed(0)
    rnn = keras.layers.RNN(cell(), return_sequences=True, unroll=True)  # without unroll, cells cannot add losses
    return keras.Sequential([keras.Input([T, V]), rnn, keras.layers.Dense(V)])


def trained_by_keras(cell, optimizer, metrics=(), loss=LOSS, validation=True):
    model, data = keras_model(cell), dataset(ONE_HOT)
    model.compile(optimizer(), loss, metrics=list(metrics), run_eagerly=True)  # tracing takes most of the time
    options = {"validation_data": data} if validation else {}
    logs = model.fit(data, epochs=EPOCHS, shuffle=False, verbose=0, **options).history
    return logs, model.get_weights()


def trainer_of(cell, optimizer, count=1, metrics=(), loss=LOSS, chains=2):
    with strategy_of(count).scope():
        model = tfrnn.LanguageModel(cell(), V)
        model.build()
        trainer = tfrnn.Trainer(model, optimizer(), 0.0, strategy_of(count), loss, chains, metrics=metrics)
    model.set_weights(keras_model(cell).get_weights())
    return trainer


def trained_by_us(cell, optimizer, count=1, validation=True, **kwargs):
    trainer = trainer_of(cell, optimizer, count, **kwargs)
    logs = trainer.fit(dataset(), EPOCHS, dataset() if validation else None).history
    return logs, trainer.model.get_weights(), trainer


def check(cell, optimizer, counts=(1,), **kwargs):
    expected_logs, expected = trained_by_keras(cell, optimizer, **kwargs)
    for count in counts:
        logs, weights, trainer = trained_by_us(cell, optimizer, count, **kwargs)
        assert_float32_sums_equal(weights, expected, NUM_TERMS)
        assert_float32_sums_equal({name: logs[name] for name in expected_logs}, expected_logs, NUM_TERMS)
    return logs, trainer


def gru(**kwargs):
    return lambda: keras.layers.GRUCell(H, **kwargs)


def sgd(**kwargs):
    return lambda: keras.optimizers.SGD(0.5, **kwargs)


def metrics():
    return ["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(3, name="among_three")]


L2, L1 = keras.regularizers.L2(0.1), keras.regularizers.L1(0.02)
REGULARIZERS = {"kernel_regularizer": L2, "recurrent_regularizer": L1, "bias_regularizer": L2}
CONSTRAINTS = {"kernel_constraint": "max_norm", "bias_constraint": "max_norm"}


@pytest.mark.slow
def test_regularizers_constraints_and_metrics_are_those_of_all_rows_however_they_are_divided():
    """All in one training; the slow part has each of them in one of its own."""
    logs, _ = check(gru(**REGULARIZERS, **CONSTRAINTS), sgd(), counts=(2,), metrics=metrics())
    assert logs["loss"][0] > np.log(logs["perplexity"][0]) + 0.1  # which is of the cross entropy alone
    assert logs["val_loss"][0] > np.log(logs["val_perplexity"][0]) + 0.1


@pytest.mark.slow
def test_regularizers_are_added_once_however_the_rows_are_divided():
    logs, _ = check(gru(**REGULARIZERS), sgd(), counts=(1, 2))
    assert logs["loss"][0] > np.log(logs["perplexity"][0]) + 0.1  # which is of the cross entropy alone
    assert logs["val_loss"][0] > np.log(logs["val_perplexity"][0]) + 0.1


class AddingCell(keras.layers.SimpleRNNCell):
    """Adds a loss that is a sum over rows, which differs from the mean over chains of theirs."""

    def call(self, sequence, states, training=False):
        outputs, states = super().call(sequence, states, training)
        self.add_loss(0.1 * keras.ops.sum(keras.ops.square(outputs)) ** 2)
        return outputs, states


@pytest.mark.slow
def test_losses_that_depend_on_the_rows_are_those_of_the_whole_batch():
    """With regularizers, constraints and metrics, as on several replicas above."""
    _, trainer = check(lambda: AddingCell(H, **REGULARIZERS, **CONSTRAINTS), lambda: "sgd", metrics=metrics())
    assert "added_losses" not in trainer.snapshot()  # the epoch is finished


OPTIMIZERS = {
    "loss_scale_factor": sgd(loss_scale_factor=1024.0),
    "LossScaleOptimizer": lambda: keras.optimizers.LossScaleOptimizer(sgd()(), 2.0**10, dynamic_growth_steps=2),
    "weight_decay": sgd(weight_decay=0.1),
    "clipnorm": sgd(clipnorm=0.1),
    "clipvalue": sgd(clipvalue=0.01),
    "global_clipnorm": sgd(global_clipnorm=0.1),
    "use_ema": sgd(use_ema=True, ema_momentum=0.9),
    "ema_overwrite_frequency": sgd(use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=2),
    "gradient_accumulation_steps": sgd(gradient_accumulation_steps=2),
    "Adam": lambda: keras.optimizers.Adam(0.01, epsilon=1e-3),
    "a name": lambda: "sgd",
    "many": sgd(
        loss_scale_factor=1024.0,
        weight_decay=0.1,
        global_clipnorm=0.1,
        use_ema=True,
        ema_momentum=0.9,
        ema_overwrite_frequency=2,
        gradient_accumulation_steps=2,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [n if n == "many" else pytest.param(n, marks=pytest.mark.slow) for n in OPTIMIZERS])
def test_optimizers_do_what_they_do_in_fit(name):
    check(gru(), OPTIMIZERS[name])


NOT_ON_REPLICAS = ("gradient_accumulation_steps", "ema_overwrite_frequency")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in ("a name", "many", *NOT_ON_REPLICAS)])
def test_optimizers_do_it_on_replicas(name):
    (_, expected, _), (_, weights, _) = (trained_by_us(gru(), OPTIMIZERS[name], count) for count in (1, 2))
    assert_float32_sums_equal(weights, expected, NUM_TERMS)


@pytest.mark.parametrize("name", NOT_ON_REPLICAS)
def test_what_keras_cannot_do_on_replicas_is_refused(name):
    with pytest.raises(UserError, match=f"without `{name}=2`"):
        trainer_of(gru(), OPTIMIZERS[name], count=2)


def thousandfold(y_true, y_pred):
    return 1000 * keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_steps_whose_scaled_gradients_overflow_are_left_out_while_the_scale_falls(count):
    def optimizer():
        return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(5e-4, weight_decay=0.1), 2.0**127)

    if count == 1:
        _, trainer = check(gru(), optimizer, loss=thousandfold, validation=False)
    else:
        trainer = trained_by_us(gru(), optimizer, count, loss=thousandfold, validation=False)[-1]
    assert 0 < trainer.optimizer.iterations.numpy() < len(trainer.gradient_norms)


@pytest.mark.slow
@pytest.mark.parametrize("constraint", ["max_norm", "non_neg", "unit_norm"])
def test_constraints_hold_after_each_step(constraint):
    check(gru(kernel_constraint=constraint, bias_constraint=constraint), sgd(), counts=(1, 2))


@pytest.mark.slow
def test_metrics_are_those_of_all_steps_of_an_epoch():
    check(gru(), sgd(), counts=(1, 2), metrics=metrics())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reduction", "count"),
    combinations(["sum", "sum_over_batch_size"], [1, 2], quick=[("sum", 2), ("sum_over_batch_size", 1)]),
)
def test_reductions_are_keras_s_on_any_number_of_replicas(reduction, count):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction, ignore_class=2)
    case = {"cell": gru(), "optimizer": lambda: keras.optimizers.SGD(0.02), "loss": loss, "validation": False}
    _, expected = trained_by_keras(**case)
    # The loss of an epoch is not that of Keras, which weights batches by their rows.
    _, weights, _ = trained_by_us(**case, count=count)
    assert_float32_sums_equal(weights, expected, NUM_TERMS)


@needs_16_bits
@pytest.mark.parametrize("policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)])
def test_mixed_precision_sums_many_losses_exactly_and_learns(policy):
    """The sum of these losses is beyond the largest float16, and in bfloat16 the loss would not change."""
    ids = np.random.default_rng(0).integers(0, 3, 8500 * T + 1)
    batches, keras_policy = tfrnn.random_batches(ids, 8500, T, random_offset=False), keras.config.dtype_policy()
    assert 8500 * T * np.log(20) > np.finfo("float16").max
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    try:
        model = tfrnn.LanguageModel(keras.layers.SimpleRNNCell(4), 20)
        trainer = tfrnn.Trainer(model, keras.optimizers.SGD(0.1))
        losses = trainer.fit(batches, 3).history["loss"]
    finally:
        keras.config.set_dtype_policy(keras_policy)
    assert losses == sorted(losses, reverse=True)
    assert len(set(losses)) == 3
    assert isinstance(trainer.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")


@pytest.mark.slow
def test_a_run_with_metrics_and_regularizers_resumes_within_an_epoch():
    """The snapshot has their sums then, and not between epochs."""
    cell = gru(kernel_regularizer=L2)
    stop = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: setattr(stop.model, "stop_training", True)
    )
    trainers = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        model = tfrnn.LanguageModel(cell(), V)
        trainers.append(tfrnn.Trainer(model, sgd()(), metrics=["accuracy"]))
    first, second = trainers
    start = first.snapshot()
    whole, weights = first.fit(dataset(), 1).history, first.model.get_weights()
    first.restore(start)
    first._train_timer.steps_per_call = 1
    first.fit(dataset(), 1, callbacks=[stop])
    assert 0 < first.batch < 5
    snapshot = first.snapshot()
    assert {"added_losses", "metrics.0"} <= set(snapshot)
    second.restore(snapshot)
    history = second.fit(dataset(), 1).history
    assert [history[name] for name in ("loss", "accuracy")] == [whole[name] for name in ("loss", "accuracy")]
    assert_identical(second.model.get_weights(), weights)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"loss_fn": tfrnn.cross_entropy}, r"`loss`, a function in Keras's order, \(y_true, y_pred\).*got `loss_fn`"),
        ({"loss": "no such"}, "`loss` the name"),
        ({"optimizer": "adamm"}, "`optimizer` one of keras.optimizers.*'adamm'"),
        ({"metrics": ["accurate"]}, "`metrics`.*'accurate'"),
        ({"metrics": ["accuracy"], "loss": "mse"}, "clear from its name"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(kwargs, message):
    model = tfrnn.LanguageModel(keras.layers.SimpleRNNCell(2), V)
    with pytest.raises(UserError, match=message):
        tfrnn.Trainer(model, **{"optimizer": "sgd", **kwargs})


def test_the_name_of_version_0_1_for_validation_data_is_refused():
    trainer = trainer_of(gru(), sgd())
    with pytest.raises(UserError, match="`validation_data`; got `validation`"):
        trainer.fit(dataset(), 1, validation=dataset())
