"""The implementations ("ways") of training and generation that benchmarks/speed.py compares, one per process.

    python -m benchmarks.ways <way> <task> <case as JSON>

The process writes one JSON object per line to stdout: first the seconds that building took; then, for each line on
stdin with a number of seconds, the measurements of about this many seconds of work. Each way uses the number of threads
that is best for it, and prepares its batches before the time is taken.
"""

import json
import math
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.cases import Case, batches, flop_per_token, tokens
from tfrnn.runtime import host

Work = Callable[[float], dict[str, float]]  # seconds -> measurements
GENERATED = 10_000  # characters per sample and call
EPOCHS_OF_LAYERS = 4  # passes through the batches in an epoch of fit, in which an epoch has a cost of its own


def _repeated(once: Callable[[], int], measures: Callable[[], dict[str, float]] = dict) -> Work:
    """Runs `once`, which returns a number of tokens, and returns a function that repeats it until the time is over."""

    def work(seconds: float) -> dict[str, float]:
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            done += once()
        return {"tokens_per_sec": done / (time.perf_counter() - start), **measures()}

    once()
    return work


def _perplexity(loss: float) -> dict[str, float]:
    return {"perplexity": math.exp(min(loss, 700))}


def _tfrnn_model(case: Case, vocab_size: int) -> Any:
    from tfrnn.config import sections
    from tfrnn.models.building import build_language_model
    from tfrnn.runtime import threads as threads_lib

    threads_lib.set_threads()
    settings = sections.Model(
        cell=case.cell, implementation=case.implementation, units=case.units, num_layers=case.num_layers
    )
    return build_language_model(settings, vocab_size)


def tfrnn_trainer(case: Case) -> tuple[Any, Any]:
    """Returns a Trainer of the case's network, and its batches."""
    ids, vocab_size = tokens(case)
    model = _tfrnn_model(case, vocab_size)
    import keras

    import tfrnn

    trainer = tfrnn.Trainer(model, keras.optimizers.SGD(1.0), chains=case.chains)
    return trainer, tfrnn.sequential_batches(ids, case.batch_size, case.num_steps)


def trained(trainer: Any, cut: Any) -> Work:
    """Returns a function that lets a Trainer train, including its input pipeline, until the time is over."""

    def work(seconds: float) -> dict[str, float]:
        timed, first = _timed(seconds), trainer.epoch
        history = trainer.fit(cut, 10**6, callbacks=[timed]).history
        done = sum(cut.num_batches(epoch) for epoch in range(first, trainer.epoch)) * cut.batch_size * cut.num_steps
        return {"tokens_per_sec": done / timed.passed, "perplexity": history["perplexity"][-1]}

    work(0.0)  # one epoch, to warm up
    return work


def train_tfrnn(case: Case) -> Work:
    """tfrnn as users call it, including its input pipeline with random offsets."""
    return trained(*tfrnn_trainer(case))


def _timed(seconds: float, at_beginning: Callable[[], None] = lambda: None) -> Any:
    """Returns a callback that stops training at the end of an epoch when `seconds` have passed since the first began.

    It calls `at_beginning` before each epoch.
    """
    import keras

    class Timed(keras.callbacks.Callback):
        start, passed = 0.0, 0.0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.start = self.start or time.perf_counter()
            at_beginning()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.passed = time.perf_counter() - self.start
            self.model.stop_training = self.passed >= seconds

    return Timed()


def train_keras_fit(case: Case) -> Work:
    """Keras's own layers and fit; the layers store the state."""
    import keras
    import tensorflow as tf

    ids, vocab_size = tokens(case)
    inputs, targets = (a.transpose(0, 2, 1) for a in batches(case, ids))
    layer = {"rnn": keras.layers.SimpleRNN, "gru": keras.layers.GRU, "lstm": keras.layers.LSTM}[case.cell]
    recurrent = [layer(case.units, return_sequences=True, stateful=True) for _ in range(case.num_layers)]
    model = keras.Sequential([
        keras.Input(batch_shape=(case.batch_size, case.num_steps), dtype="int32"),
        keras.layers.Lambda(lambda x: keras.ops.one_hot(x, vocab_size)),
        *recurrent,
        keras.layers.Dense(vocab_size),
    ])  # fmt: skip
    model.compile(
        keras.optimizers.SGD(1.0, global_clipnorm=1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    data = tf.data.Dataset.from_tensor_slices((inputs, targets)).prefetch(2)

    def reset() -> None:
        for layer in recurrent:
            layer.reset_state()

    def work(seconds: float) -> dict[str, float]:
        timed = _timed(seconds, reset)
        losses = model.fit(data, epochs=10**6, verbose=0, callbacks=[timed]).history["loss"]
        return {"tokens_per_sec": targets.size * len(losses) / timed.passed, **_perplexity(losses[-1])}

    work(0.0)
    return work


def train_layer(case: Case, package: str, time_major: bool = False) -> Work:
    """One recurrent layer of Keras or tfrnn, by its name there, and a Dense layer, in Keras's fit on vectors."""
    import keras
    import tensorflow as tf

    import tfrnn

    ids, vocab_size = tokens(case)
    inputs, targets = (a if time_major else a.transpose(0, 2, 1) for a in batches(case, ids))
    layer = getattr({"keras": keras.layers, "tfrnn": tfrnn}[package], case.cell.upper())
    options = {"time_major": True} if time_major else {}
    model = keras.Sequential([
        keras.Input(batch_shape=(*inputs.shape[1:], vocab_size)),
        layer(case.units, return_sequences=True, **options),
        keras.layers.Dense(vocab_size),
    ])  # fmt: skip
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1.0, global_clipnorm=1.0), loss, steps_per_execution=len(inputs))
    vectors = np.eye(vocab_size, dtype=np.float32)[inputs]
    data = tf.data.Dataset.from_tensor_slices((vectors, targets)).repeat(EPOCHS_OF_LAYERS).prefetch(2)

    def work(seconds: float) -> dict[str, float]:
        timed = _timed(seconds)
        losses = model.fit(data, epochs=10**6, verbose=0, callbacks=[timed]).history["loss"]
        done = EPOCHS_OF_LAYERS * targets.size * len(losses)
        return {"tokens_per_sec": done / timed.passed, **_perplexity(losses[-1])}

    work(0.0)
    return work


def train_book(case: Case) -> Work:
    """The book's TensorFlow code: eager, a Keras cell in Keras's RNN, clipping with Python numbers."""
    import keras
    import tensorflow as tf

    ids, vocab_size = tokens(case)
    inputs, targets = (a.transpose(0, 2, 1) for a in batches(case, ids))
    kinds = {"rnn": keras.layers.SimpleRNNCell, "gru": keras.layers.GRUCell, "lstm": keras.layers.LSTMCell}
    cells = [kinds[case.cell](case.units) for _ in range(case.num_layers)]
    rnn = keras.layers.RNN(cells if len(cells) > 1 else cells[0], return_sequences=True, return_state=True)
    dense = keras.layers.Dense(vocab_size)
    optimizer, loss_fn = keras.optimizers.SGD(1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    measured = {}

    def epoch() -> int:
        state, total = None, 0.0
        for x, y in zip(inputs, targets, strict=True):
            with tf.GradientTape(persistent=True) as tape:
                outputs, *state = rnn(tf.one_hot(x, vocab_size), initial_state=state)
                logits = dense(tf.reshape(outputs, [-1, case.units]))
                loss = loss_fn(y.reshape(-1), logits)
            variables = rnn.trainable_variables + dense.trainable_variables
            gradients = tape.gradient(loss, variables)
            norm = math.sqrt(sum(float(tf.reduce_sum(gradient**2)) for gradient in gradients))
            if norm > 1:
                gradients = [gradient / norm for gradient in gradients]
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
            total += float(loss)
        measured.update(_perplexity(total / len(targets)))
        return targets.size

    return _repeated(epoch, lambda: measured)


def _torch_model(case: Case, vocab_size: int, threads: int) -> Any:
    import torch

    torch.set_num_threads(threads)

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            kind = getattr(torch.nn, case.cell.upper())
            self.rnn = kind(vocab_size, case.units, case.num_layers)
            self.dense = torch.nn.Linear(case.units, vocab_size)

        def forward(self, ids: Any, state: Any) -> tuple:
            outputs, state = self.rnn(torch.nn.functional.one_hot(ids, vocab_size).float(), state)
            return self.dense(outputs), state

    return Model().to("cuda" if torch.cuda.is_available() else "cpu")


def train_torch(case: Case, threads: int, compiled: bool = False, epochs: int = 0) -> Work | None:
    """PyTorch's modules in the usual loop; the loss is read once per epoch.

    If `epochs` is not 0, trains for this number of epochs and returns None.
    """
    import torch

    ids, vocab_size = tokens(case)
    model = _torch_model(case, vocab_size, threads)
    inputs, targets = (torch.from_numpy(a).to(model.dense.weight.device) for a in batches(case, ids))
    forward = torch.compile(model) if compiled else model
    optimizer, loss_fn = torch.optim.SGD(model.parameters(), 1.0), torch.nn.CrossEntropyLoss()

    measured = {}

    def epoch() -> int:
        state, total = None, 0.0
        for x, y in zip(inputs, targets, strict=True):
            logits, state = forward(x, state)
            loss = loss_fn(logits.flatten(0, 1), y.flatten())
            state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            total += loss.detach()
        measured.update(_perplexity(float(total) / len(targets)))
        return targets.numel()

    for _ in range(epochs):
        epoch()
    return None if epochs else _repeated(epoch, lambda: measured)


def generate_tfrnn(case: Case) -> Work:
    """tfrnn's greedy generation, from text to text."""
    import tfrnn
    from tfrnn.inference.generation import generate_many

    text = tfrnn.load_corpus(case.corpus)
    vocabulary = tfrnn.Vocabulary.from_text(text)
    model = _tfrnn_model(case, len(vocabulary))
    model.build()

    def once() -> int:
        return GENERATED * len(generate_many(model, vocabulary, [text[:20]], GENERATED, case.batch_size)[0])

    return _repeated(once)


def generate_torch(case: Case, threads: int) -> Work:
    """The usual eager loop, greedy; returns ids and does not decode them."""
    import torch

    ids, vocab_size = tokens(case)
    model = _torch_model(case, vocab_size, threads)
    prefix = torch.from_numpy(ids[:20].astype(np.int64))[:, None].repeat(1, case.batch_size)
    prefix = prefix.to(model.dense.weight.device)

    @torch.inference_mode()
    def once() -> int:
        logits, state = model(prefix, None)
        chosen = []
        for _ in range(GENERATED):
            chosen.append(logits[-1:].argmax(-1))
            logits, state = model(chosen[-1], state)
        return torch.cat(chosen).numel()

    return _repeated(once)


def sgemm_numpy(case: Case) -> Work:
    """An upper limit in tokens per second, from the rate at which NumPy's library multiplies large float32 matrices."""
    matrix = np.random.default_rng(0).random((1024, 1024), np.float32)
    out = np.empty_like(matrix)
    return _product_rate(case, lambda: np.dot(matrix, matrix, out=out))


def sgemm_tensorflow(case: Case) -> Work:
    """An upper limit in tokens per second, from the rate at which TensorFlow multiplies large float32 matrices."""
    import tensorflow as tf

    matrix = tf.random.uniform((1024, 1024))
    product = tf.function(lambda a: tf.matmul(a, a)[0, 0])
    return _product_rate(case, lambda: product(matrix).numpy())


def _product_rate(case: Case, multiply: Callable[[], Any]) -> Work:
    # Element-wise work counts as free.
    operations = flop_per_token(case, tokens(case)[1])

    def work(seconds: float) -> dict[str, float]:
        start, best = time.perf_counter(), math.inf
        while time.perf_counter() - start < seconds or best == math.inf:
            before = time.perf_counter()
            multiply()
            best = min(best, time.perf_counter() - before)
        return {"tokens_per_sec": 2 * 1024**3 / best / operations, "gflops": 2 * 1024**3 / best / 1e9}

    work(0.2)
    return work


WAYS: dict[str, dict[str, Callable[[Case], Work | None]]] = {
    "train": {
        "tfrnn": train_tfrnn,
        "keras_fit": train_keras_fit,
        "book": train_book,
        "torch_1": lambda case: train_torch(case, 1),
        "torch_2": lambda case: train_torch(case, 2),
        "torch_all": lambda case: train_torch(case, host.num_cores()),
        "torch_compile": lambda case: train_torch(case, 2, compiled=True),
        "sgemm_numpy": sgemm_numpy,
        "sgemm_tensorflow": sgemm_tensorflow,
    },
    "generate": {
        "tfrnn": generate_tfrnn,
        "torch_1": lambda case: generate_torch(case, 1),
        "torch_2": lambda case: generate_torch(case, 2),
        "torch_all": lambda case: generate_torch(case, host.num_cores()),
    },
    "layers": {
        "time_major": lambda case: train_layer(case, "tfrnn", time_major=True),
        "batch_major": lambda case: train_layer(case, "tfrnn"),
        "keras": lambda case: train_layer(case, "keras"),
    },
    "train_500": {"torch_2": lambda case: train_torch(case, 2, epochs=500)},
}


def serve(ways: dict[str, dict[str, Callable[[Case], Work | None]]]) -> None:
    """Runs the way of the task that this process was started for; `ways` has those of each task."""
    way, task, case = sys.argv[1], sys.argv[2], Case(**json.loads(sys.argv[3]))
    start = time.perf_counter()
    work = ways[task][way](case)
    print(json.dumps({"ready": time.perf_counter() - start}), flush=True)
    if work:
        for line in sys.stdin:
            done = work(float(line))
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6  # ru_maxrss is in KiB on Linux
            print(json.dumps({**done, "peak_mb": peak_mb}), flush=True)


if __name__ == "__main__":
    serve(WAYS)
