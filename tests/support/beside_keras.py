"""The same training by Keras's own `fit` of a functional model and by this package, and how their results compare.

Letters: N rows, T steps, V vocab_size, D values per step, H units.
"""

import contextlib
import dataclasses
import pathlib
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfrnn

V, E, D, H = 5, 3, 2, 4
N, T, EPOCHS = 4, 3, 3
DOORS = ("fit(x, y)", "fit(batches)", "Trainer")
AS_IN_KERAS = "as in Keras"

_random = np.random.default_rng(0)
IDS, NEXT_IDS = _random.integers(0, V, [2, N, T]).astype("int32")
# Values and targets between 0 and 1, so that losses and metrics of probabilities have a meaning too.
SERIES = _random.uniform(0.2, 0.8, [N, T, D]).astype("float32")
LABELS = np.eye(D, dtype="float32")[_random.integers(0, D, [N, T])]


@dataclasses.dataclass(frozen=True)
class Case:
    """What is given to both models. Functions are called anew for each model.

    Attributes:
      tokens: whether the models are of tokens; if not, of series.
      compiled: () -> the arguments of `compile`; by default SGD(0.5), and the cross entropy of logits or the squared
        error.
      cell: () -> arguments of the SimpleRNN layer, and of our cell.
      model: () -> arguments of both models.
      callbacks: (a folder) -> callbacks for `fit`.
      fit: () -> other arguments of `fit`.
      validated: whether the training data are also given as validation data.
      interrupted: whether a first training stops before its last epoch, and a second one with a new model follows.
      doors: those of DOORS at which the case has a meaning.
      policy: the global dtype policy; None: float32.
      same_as_plain: whether the result may be that of the case without arguments.
    """

    tokens: bool = False
    compiled: Callable[[], dict[str, Any]] = dict
    cell: Callable[[], dict[str, Any]] = dict
    model: Callable[[], dict[str, Any]] = dict
    callbacks: Callable[[pathlib.Path], list] | None = None
    fit: Callable[[], dict[str, Any]] = dict
    validated: bool = False
    interrupted: bool = False
    doors: tuple[str, ...] = DOORS
    policy: Any = None
    same_as_plain: bool = False

    @property
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets, batch-major."""
        return (IDS, NEXT_IDS) if self.tokens else (SERIES, LABELS)

    def make_callbacks(self, folder: pathlib.Path) -> list:
        """Returns the callbacks of one training, whose files are in the folder."""
        return self.callbacks(folder) if self.callbacks else []

    def compile_arguments(self) -> dict[str, Any]:
        """Returns the arguments of Keras's `compile`."""
        own_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if self.tokens else "mse"
        return {"optimizer": keras.optimizers.SGD(0.5), "loss": own_loss, **self.compiled()}


@dataclasses.dataclass
class Result:
    """What a training left: weights in the order of Keras's model, and the history; or the error that refused it."""

    weights: list[np.ndarray] | None = None
    history: dict[str, list[float]] | None = None
    error: Exception | None = None


def keras_model(case: Case) -> keras.Model:
    """Returns the functional model, with the same weights at each call."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input([T], dtype="int32") if case.tokens else keras.Input([T, D])
    sequence = keras.layers.Embedding(V, E)(inputs) if case.tokens else inputs
    sequence = keras.layers.SimpleRNN(H, return_sequences=True, **case.cell())(sequence)
    outputs = keras.layers.Dense(V if case.tokens else D, bias_initializer=_bias(case))(sequence)
    return keras.Model(inputs, outputs, **case.model())


def our_model(case: Case, weights: list[np.ndarray]) -> keras.Model:
    """Returns the model of this package, with these weights of Keras's model."""
    cell, options = keras.layers.SimpleRNNCell(H, **case.cell()), case.model()
    model = tfrnn.LanguageModel(cell, V, E, **options) if case.tokens else tfrnn.Forecaster(cell, D, **options)
    model.build()
    model.set_weights([*weights[1:4], weights[0], *weights[4:]] if case.tokens else weights)
    return model


def train_by_keras(case: Case, folder: pathlib.Path, eagerly: bool) -> Result:
    """Trains the functional model by Keras."""

    def train(*interruption: keras.callbacks.Callback) -> Result:
        model = keras_model(case)
        model.compile(**{"run_eagerly": eagerly, **case.compile_arguments()})
        arguments = {"callbacks": [*case.make_callbacks(folder), *interruption], **fit_arguments(case)}
        history = model.fit(*case.data, **arguments).history
        return Result(model.get_weights(), history)

    return _result(train, case)


def train_by_us(case: Case, door: str, folder: pathlib.Path, eagerly: bool) -> Result:
    """Trains the model of this package by one of DOORS. All rows are one batch, since `Batches` shuffle them."""

    def train(*interruption: keras.callbacks.Callback) -> Result:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Keras warns of was seen in its own training
            model = our_model(case, keras_model(case).get_weights())
            compiled = case.compile_arguments()
        callbacks = [*case.make_callbacks(folder), *interruption]
        x, y = case.data
        batches = tfrnn.labelled_batches(x, y, N)
        validation = {"validation_data": batches} if case.validated else {}
        if door == "Trainer":
            history = tfrnn.Trainer(model, **compiled, clip_norm=0).fit(
                batches, EPOCHS, callbacks=callbacks, **validation
            )
        elif door == "fit(batches)":
            model.compile(**compiled, clip_norm=0)
            history = model.fit(
                batches, **{"epochs": EPOCHS, "verbose": 0, "callbacks": callbacks, **validation, **case.fit()}
            )
        else:
            model.compile(**{"clip_norm": 0, "run_eagerly": eagerly, **compiled})
            history = model.fit(x, y, callbacks=callbacks, **fit_arguments(case))
        weights = model.get_weights()
        return Result([weights[3], *weights[:3], *weights[4:]] if case.tokens else weights, history.history)

    return _result(train, case)


def fit_arguments(case: Case) -> dict[str, Any]:
    """Returns the arguments of Keras's `fit` on arrays, but for the data and the callbacks."""
    validation = {"validation_data": case.data} if case.validated else {}
    return {"batch_size": N, "epochs": EPOCHS, "verbose": 0, "shuffle": False, **validation, **case.fit()}


class Interruption(keras.callbacks.Callback):
    """Interrupts the first training that it sees, before its last epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == EPOCHS - 1:
            raise KeyboardInterrupt


def verdict(case: Case, reference: Result, ours: Result) -> str:
    """Returns in one line how our result compares with Keras's: AS_IN_KERAS, what differs, or the refusal."""
    if ours.error:
        line = f"{type(ours.error).__name__}: {ours.error}"
        if isinstance(ours.error, ValueError) and "\n" not in line.strip():
            return f"refused: {ours.error}"
        if reference.error and type(reference.error) is type(ours.error):
            return f"{AS_IN_KERAS}, which refuses it: {_first_line(reference.error)}"
        return f"FAILS: {line[:300]}"
    if reference.error:
        return f"COMPUTES what Keras refuses: {_first_line(reference.error)}"
    initial = keras_model(case).get_weights() if case.policy is None else None
    if difference := _difference(reference.weights, ours.weights, bound=_bound(case, reference, initial)):
        return f"OTHER WEIGHTS: {difference}"
    missing = sorted(set(reference.history) - set(ours.history))
    if missing:
        return f"NOT IN HISTORY: {missing}"
    for name, values in reference.history.items():
        # Keras keeps its measures in float32 whatever the policy.
        bound = max(_tolerance(case), _tolerance(Case())) * _size(values)
        if difference := _difference(values, ours.history[name], bound=bound):
            return f"OTHER {name}: {difference}"
    return AS_IN_KERAS


def differ(case: Case, some: Result, others: Result) -> bool:
    """Returns whether two results of Keras's differ by more than what counts as rounding."""
    if some.error or others.error:
        return True
    bound = 10 * _tolerance(case)
    if [w.shape for w in some.weights] != [w.shape for w in others.weights]:
        return True
    pairs = [(some.weights, others.weights), (some.history["loss"], others.history["loss"])]
    return any(_difference(a, b, bound=bound * _size(b)) for a, b in pairs)


def _tolerance(case: Case) -> float:
    """Returns the largest difference that counts as rounding, as a share of the size of what is compared.

    A gradient is a sum of N * T * H = 48 products, each rounded a few times by eps / 2 on its way through T steps; a
    weight adds up EPOCHS gradients. That is below 2**10 eps where sums cancel to no less than a tenth of their terms.
    What is computed otherwise differs by percents.
    """
    if case.policy is None:
        return 2**10 * float(np.finfo("float32").eps)
    dtype = keras.dtype_policies.get(case.policy).compute_dtype
    eps = {"float16": 2**-10, "bfloat16": 2**-7, "float32": 2**-23, "float64": 2**-52}[dtype]
    return (4 if eps > 1e-5 else 2**10) * eps


def _bound(case: Case, reference: Result, initial: list[np.ndarray] | None) -> float:
    """Returns the bound on differences of weights: a share of the largest change that training made."""
    changes = [a - b for a, b in zip(reference.weights, initial, strict=True)] if initial else reference.weights
    eps = float(np.finfo("float32").eps)
    return _tolerance(case) * _size(changes) + 4 * eps * _size(reference.weights)


def _size(values: Any) -> float:
    return max(float(np.max(np.abs(np.asarray(v, "float64")), initial=0)) for v in keras.tree.flatten(values))


def _difference(expected: Any, received: Any, bound: float) -> str:
    """Returns what differs by more than the bound; "" if nothing does."""
    for i, (e, r) in enumerate(zip(keras.tree.flatten(expected), keras.tree.flatten(received), strict=True)):
        e, r = np.asarray(e, "float64"), np.asarray(r, "float64")
        error = np.max(np.where(np.isnan(e) & np.isnan(r), 0, np.abs(e - r)), initial=0)
        if not error <= bound:
            return f"number {i} differs by {error:.2g}, bound {bound:.2g}"
    return ""


def _result(train: Callable[[], Result], case: Case) -> Result:
    before = keras.config.dtype_policy()
    try:
        if case.policy is not None:
            keras.config.set_dtype_policy(case.policy)
        if case.interrupted:
            with contextlib.suppress(KeyboardInterrupt):
                train(Interruption())
        return train()
    except Exception as error:
        return Result(error=error)
    finally:
        keras.config.set_dtype_policy(before)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:150]}" if str(error) else type(error).__name__


def _bias(case: Case) -> Any:
    return "zeros" if case.tokens else keras.initializers.Constant(0.5)


class eagerly_if:  # noqa: N801  a context
    """Runs TensorFlow's functions without tracing them, which takes longer than to run such small ones once."""

    def __init__(self, eagerly: bool):
        self.eagerly = eagerly

    def __enter__(self) -> None:
        tf.config.run_functions_eagerly(self.eagerly)

    def __exit__(self, *_: Any) -> None:
        tf.config.run_functions_eagerly(False)
