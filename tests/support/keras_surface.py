"""The public names of Keras that training meets, each with a case of use, for the table of what each does here."""

import dataclasses
import inspect
from typing import Any

import keras
import numpy as np
from beside_keras import DOORS, Case, N, T, V

SGD = keras.optimizers.SGD
_BASES = {
    "Optimizer", "OptimizerMap", "LearningRateSchedule", "Loss", "Metric", "Callback", "CallbackList", "Regularizer",
    "Constraint", "Initializer",
}  # fmt: skip


def names_of(module: Any) -> list[str]:
    """Returns the classes of a public module, without base classes and second names of the same class."""
    found: dict[Any, str] = {}
    for name in sorted(dir(module), key=lambda name: (name[0].islower(), -len(name))):
        value = getattr(module, name)
        if inspect.isclass(value) and not name.startswith("_") and name not in _BASES:
            found.setdefault(value, name)
    return sorted(found.values())


def functions_of(module: Any) -> list[str]:
    """Returns the functions of a public module by which `compile` takes a loss or a metric, once each."""
    found: dict[Any, str] = {}
    for name in sorted(dir(module), key=lambda name: -len(name)):
        if inspect.isfunction(value := getattr(module, name)) and name not in ("get", "serialize", "deserialize"):
            found.setdefault(value, name)
    return sorted(found.values())


def _optimizer(name: str) -> Case:
    if name == "LossScaleOptimizer":
        return Case(compiled=lambda: {"optimizer": keras.optimizers.LossScaleOptimizer(SGD(0.5), initial_scale=8.0)})
    if name == "MultiOptimizer":
        return Case(compiled=lambda: {"optimizer": keras.optimizers.MultiOptimizer(lambda variable: SGD(0.5))})
    return Case(compiled=lambda: {"optimizer": getattr(keras.optimizers, name)(learning_rate=0.01)})


_SCHEDULES: dict[str, tuple] = {
    "CosineDecay": (0.5, 4), "CosineDecayRestarts": (0.5, 2), "ExponentialDecay": (0.5, 2, 0.5),
    "InverseTimeDecay": (0.5, 2, 0.5), "PiecewiseConstantDecay": ([1, 2], [0.5, 0.2, 0.1]), "PolynomialDecay": (0.5, 4),
}  # fmt: skip


def _schedule(name: str) -> Case:
    schedule = getattr(keras.optimizers.schedules, name)
    return Case(compiled=lambda: {"optimizer": SGD(schedule(*_SCHEDULES[name]))})


_OF_IDS = {"SparseCategoricalCrossentropy", "sparse_categorical_crossentropy"}


def _loss(name: str) -> Case:
    options = {"from_logits": True} if name in _OF_IDS else {}
    make = getattr(keras.losses, name)
    return Case(name in _OF_IDS, lambda: {"loss": make(**options), "optimizer": SGD(0.05)})


_METRIC_ARGUMENTS: dict[str, dict] = {
    "SparseCategoricalCrossentropy": {"from_logits": True},
    "IoU": {"num_classes": 2, "target_class_ids": [0]}, "BinaryIoU": {}, "MeanIoU": {"num_classes": 2},
    "OneHotIoU": {"num_classes": 2, "target_class_ids": [0]}, "OneHotMeanIoU": {"num_classes": 2},
    "PrecisionAtRecall": {"recall": 0.5}, "RecallAtPrecision": {"precision": 0.5},
    "SensitivityAtSpecificity": {"specificity": 0.5}, "SpecificityAtSensitivity": {"sensitivity": 0.5},
    "MeanMetricWrapper": {"fn": keras.losses.mean_squared_error},
}  # fmt: skip


def _metric(name: str) -> Case:
    tokens = name.startswith("Sparse")
    make = getattr(keras.metrics, name)
    arguments = {"name": "measure", **_METRIC_ARGUMENTS.get(name, {})}
    return Case(tokens=tokens, compiled=lambda: {"metrics": [make(**arguments)]}, same_as_plain=True)


_CALLBACKS: dict[str, Any] = {
    "BackupAndRestore": lambda folder: keras.callbacks.BackupAndRestore(folder / "backup"),
    "CSVLogger": lambda folder: keras.callbacks.CSVLogger(folder / "log.csv"),
    "EarlyStopping": lambda folder: keras.callbacks.EarlyStopping("loss", min_delta=9.0, restore_best_weights=True),
    "History": lambda folder: keras.callbacks.History(),
    "LambdaCallback": lambda folder: keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None),
    "LearningRateScheduler": lambda folder: keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2),
    "ModelCheckpoint": lambda folder: keras.callbacks.ModelCheckpoint(folder / "best.keras", "loss"),
    "OrbaxCheckpoint": lambda folder: keras.callbacks.OrbaxCheckpoint(folder / "orbax"),
    "ProgbarLogger": lambda folder: keras.callbacks.ProgbarLogger(),
    "ReduceLROnPlateau": lambda folder: keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=9.0),
    "RemoteMonitor": lambda folder: keras.callbacks.RemoteMonitor("http://localhost:9"),  # it only warns
    "SwapEMAWeights": lambda folder: keras.callbacks.SwapEMAWeights(),
    "TensorBoard": lambda folder: keras.callbacks.TensorBoard(folder / "logs"),
    "TerminateOnNaN": lambda folder: keras.callbacks.TerminateOnNaN(),
}


def _callback(name: str) -> Case:
    make = _CALLBACKS.get(name)
    compiled = (lambda: {"optimizer": SGD(0.5, use_ema=True)}) if name == "SwapEMAWeights" else dict
    return Case(
        compiled=compiled,
        callbacks=lambda folder: [make(folder)],
        validated=True,
        interrupted=name == "BackupAndRestore",
        same_as_plain=True,
    )


def _regularizer(name: str) -> Case:
    arguments = {"L1L2": {"l1": 0.01, "l2": 0.01}}.get(name, {})
    return Case(cell=lambda: {"kernel_regularizer": getattr(keras.regularizers, name)(**arguments)})


def _constraint(name: str) -> Case:
    arguments = {"MaxNorm": {"max_value": 0.5}, "MinMaxNorm": {"max_value": 0.5}}.get(name, {})
    return Case(cell=lambda: {"kernel_constraint": getattr(keras.constraints, name)(**arguments)})


_SQUARE = {"Identity", "IdentityInitializer"}  # for matrices with as many rows as columns


def _initializer(name: str) -> Case:
    weight = "recurrent_initializer" if name in _SQUARE else "kernel_initializer"
    return Case(cell=lambda: {weight: getattr(keras.initializers, name)()}, same_as_plain=True)


def _policy(name: str) -> Case:
    # Keras computes no orthogonal matrix in bfloat16.
    initializer = {"recurrent_initializer": "glorot_uniform"} if name == "bfloat16" else {}
    return Case(tokens=True, cell=lambda: initializer, policy=name, same_as_plain=name == "float32")


def _loss_function(name: str) -> Case:
    return Case(name in _OF_IDS, lambda: {"loss": _by_name(keras.losses, name), "optimizer": SGD(0.05)})


def _metric_function(name: str) -> Case:
    return Case(name.startswith("sparse"), lambda: {"metrics": [_by_name(keras.metrics, name)]}, same_as_plain=True)


def _by_name(module: Any, name: str) -> Any:
    """Returns the name of a function, if Keras finds it by that, otherwise the function."""
    try:
        module.get(name)
    except ValueError:
        return getattr(module, name)
    return name


_LAYER: dict[str, Case] = {
    "model trainable=False": Case(model=lambda: {"trainable": False}),
    "model name": Case(model=lambda: {"name": "a_name"}, same_as_plain=True),
    "cell trainable=False": Case(cell=lambda: {"trainable": False}),
    "cell activity_regularizer": Case(cell=lambda: {"activity_regularizer": "l2"}),
    "cell dtype": Case(cell=lambda: {"dtype": "float64"}),
    "model activity_regularizer": Case(model=lambda: {"activity_regularizer": "l2"}),
    "model dtype": Case(model=lambda: {"dtype": "float64"}),
    "cell use_bias=False": Case(cell=lambda: {"use_bias": False}),
    "cell activation": Case(cell=lambda: {"activation": "relu"}),
    "cell bias_regularizer": Case(cell=lambda: {"bias_regularizer": "l2", "bias_initializer": "ones"}),
    "cell recurrent_regularizer": Case(cell=lambda: {"recurrent_regularizer": "l1"}),
}

_POLICIES = ("float32", "float64", "bfloat16", "float16", "mixed_bfloat16", "mixed_float16")

_COMPILE: dict[str, Case] = {
    "auto_scale_loss": Case(compiled=lambda: {"auto_scale_loss": False}, same_as_plain=True),
    "jit_compile": Case(compiled=lambda: {"jit_compile": True, "run_eagerly": False}, same_as_plain=True),
    "loss_weights": Case(compiled=lambda: {"loss_weights": 3.0}),
    "run_eagerly": Case(compiled=lambda: {"run_eagerly": True}, same_as_plain=True),
    "steps_per_execution": Case(compiled=lambda: {"steps_per_execution": 2}, same_as_plain=True),
    "weighted_metrics": Case(compiled=lambda: {"weighted_metrics": ["mae"]}, same_as_plain=True),
}
_FIT: dict[str, Case] = {
    "batch_size": Case(fit=lambda: {"batch_size": 3}),
    "class_weight": Case(tokens=True, fit=lambda: {"class_weight": dict.fromkeys(range(V), 2.0)}),
    "initial_epoch": Case(fit=lambda: {"initial_epoch": 1}),
    "sample_weight": Case(fit=lambda: {"sample_weight": np.arange(N * T, dtype="float32").reshape(N, T)}),
    "shuffle": Case(fit=lambda: {"shuffle": True}, same_as_plain=True),  # all rows are one batch
    "steps_per_epoch": Case(fit=lambda: {"batch_size": 2, "steps_per_epoch": 1}),
    "validation_batch_size": Case(validated=True, fit=lambda: {"validation_batch_size": 3}, same_as_plain=True),
    "validation_data": Case(validated=True, same_as_plain=True),
    "validation_freq": Case(validated=True, fit=lambda: {"validation_freq": 2}, same_as_plain=True),
    "validation_split": Case(fit=lambda: {"validation_split": 0.25}),
    "validation_steps": Case(validated=True, fit=lambda: {"validation_steps": 1}, same_as_plain=True),
}
# For each module, its names, found in it, and what makes the case of a name.
SECTIONS: dict[str, tuple[list[str], Any]] = {
    "optimizers": (names_of(keras.optimizers), _optimizer),
    "optimizers.schedules": (names_of(keras.optimizers.schedules), _schedule),
    "losses": (names_of(keras.losses), _loss),
    "metrics": (names_of(keras.metrics), _metric),
    "callbacks": (names_of(keras.callbacks), _callback),
    "regularizers": (names_of(keras.regularizers), _regularizer),
    "constraints": (names_of(keras.constraints), _constraint),
    "initializers": (names_of(keras.initializers), _initializer),
    "dtype_policies": (list(_POLICIES), _policy),
    "layers.Layer": (list(_LAYER), _LAYER.__getitem__),
    "losses, functions": (functions_of(keras.losses), _loss_function),
    "metrics, functions": (functions_of(keras.metrics), _metric_function),
    "Model.compile": (list(_COMPILE), lambda name: dataclasses.replace(_COMPILE[name], doors=DOORS[:2])),
    "Model.fit": (list(_FIT), lambda name: dataclasses.replace(_FIT[name], doors=DOORS[:2])),
}

# What a model with outputs of each step, [N, T, D], refuses, as Keras's model does: the words of the refusal.
REFUSED = {
    ("losses", "CTC"): "expected to be a tensor of shape",
    ("metrics", "F1Score"): "expects 2D inputs|has its variables",
    ("metrics", "FBetaScore"): "expects 2D inputs|has its variables",
    ("metrics", "R2Score"): "expects 2D inputs|has its variables",
    ("losses, functions", "ctc"): "expected to be a tensor of shape",
}
# What Keras takes, and would here be computed otherwise.
REFUSED_HERE = {
    ("layers.Layer", "cell activity_regularizer"): "divides by the rows of one step",
    ("layers.Layer", "model activity_regularizer"): "would divide by the steps",
    ("layers.Layer", "cell dtype"): "the same `dtype`",
    ("layers.Layer", "model dtype"): "the same `dtype`",
    ("losses, functions", "sparse_categorical_crossentropy"): "takes logits",
    ("Model.fit", "class_weight"): "give `sample_weight`",
}
# What would have no meaning with `Batches`, whose rows and order are set where they are cut.
REFUSED_WITH_BATCHES = {
    ("optimizers", "MultiOptimizer"): "one `learning_rate`",
    **{("Model.compile", name): f"no `{name}` with `Batches`" for name in ("loss_weights", "run_eagerly")},
    **{
        ("Model.fit", name): f"no `{'batch_size' if name == 'steps_per_epoch' else name}` with `Batches`"
        for name in _FIT
        if name not in ("class_weight", "initial_epoch", "validation_data")
    },
}
# What Keras itself cannot compute of such outputs, or without another package or with these arguments.
NOT_IN_KERAS = {
    ("losses", "CategoricalGeneralizedCrossEntropy"), ("losses", "Circle"), ("metrics", "Mean"), ("metrics", "Sum"),
    ("callbacks", "OrbaxCheckpoint"), ("initializers", "STFTInitializer"),
    ("losses, functions", "categorical_generalized_cross_entropy"), ("losses, functions", "circle"),
}  # fmt: skip


def page() -> str:
    """Returns the text of docs/keras.md."""
    lines = [
        "# Keras's names in tfrnn",
        "",
        "What the public names of Keras do in `compile` and `fit` of tfrnn's models, and in `Trainer`. With each of",
        "them a model was trained, on arrays and on `Batches`, next to Keras's own `fit` of a model with the same",
        "layers and weights. Both gave the same weights and measures, to rounding, or the name is refused with one",
        "line. `python -m pytest -s -m slow tests/models/test_keras_surface.py` does it again and prints the table.",
        "Outputs are those of each step, `[N, T, D]`, for which Keras refuses some losses and metrics, and cannot",
        "compute others.",
        "",
        "| in `keras.` | as in Keras | refused by both | refused here | not computed by Keras |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for section, (names, _) in SECTIONS.items():
        refused = [name for name in names if (section, name) in REFUSED]
        here = [name for name in names if (section, name) in REFUSED_HERE]
        neither = [name for name in names if (section, name) in NOT_IN_KERAS]
        same = [name for name in names if name not in (*refused, *here, *neither)]
        lines.append(
            f"| {section} | {', '.join(same)} | {', '.join(refused)} | {', '.join(here)} | {', '.join(neither)} |"
        )
    lines += [
        "",
        "Refused everywhere, with one line: losses of probabilities for a model that returns logits, `reduction=None`,",
        "losses of one number together with weights, masks or several replicas; and an `activity_regularizer` of a",
        "layer within a model, which Keras would divide by the steps. Refused with `Batches`, whose rows and order are",
        "set where they are cut: `loss_weights`, `run_eagerly`, and of `fit` all but `epochs`, `initial_epoch`,",
        "`callbacks`, `verbose` and `validation_data`; and MultiOptimizer, which has no learning rate of its own.",
        "",
        "Dropout in a cell draws as in Keras's layer, but Keras also draws in calls that do not train. A trainable",
        "weight on which the loss does not depend stays as it is, with Keras's warning.",
        "",
        "The gradient of an embedding is summed over all places of a token before the optimizer and every clipping see",
        "it. Keras hands over a row for each place: Adam, RMSprop, Adagrad and their kin then square each row alone,",
        "and `clipnorm` and `global_clipnorm` take the norm over the rows, so that models with an embedding get other",
        "numbers there than in Keras's `fit`; SGD without clipping, and models without an embedding, get the same.",
        "",
        "A layer with `unroll=True` that reads backwards with a mask is zero where the mask says so",
        "(`zero_output_for_mask`, and every `Bidirectional`); Keras's unrolled loop forgets to reverse the mask there.",
        "",
        "A `sample_weight` `[N]` weighs rows. Keras would broadcast it along the last axis of the losses `[N, T]`:",
        "it would weigh steps if N equals T, and fail otherwise. NaN in the data is named, and so are token ids that",
        "are fractions or unknown; but in a dataset, which is checked while it is read, not if XLA compiles the step",
        "(`jit_compile=True`, and by default on a GPU).",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(page(), end="")
