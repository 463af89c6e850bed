"""The log for TensorBoard: Keras's callback, with predictions as text."""

import contextlib
import resource
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from entry_points import SMALL, metrics, run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import tfrnn
from tfrnn import train
from tfrnn.errors import RunWarning, UserError
from tfrnn.training.tensorboard_log import TensorBoardLog

COMMON = ["perplexity", "bits_per_char"]  # of both texts
TRAINING = [*COMMON, "loss", "tokens_per_sec", "gradient_norm", "learning_rate", "seconds"]


def read_events(folder):
    """Reads all event files of a folder."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return events


def scalars(events, name):
    """Steps and values of a scalar."""
    assert events.SummaryMetadata(name).plugin_data.plugin_name == "scalars"
    tensors = events.Tensors(name)
    return [event.step for event in tensors], [float(tf.make_ndarray(event.tensor_proto)) for event in tensors]


def compiled_model():
    """A model without weights that matter, with an optimizer, as callbacks expect one."""
    model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.5))
    return model


def begun_log(log_dir, predict=list, show_every=0):
    log = TensorBoardLog(str(log_dir), predict, show_every)
    log.set_model(compiled_model())
    log.on_train_begin()
    return log


@pytest.mark.slow
def test_a_run_and_its_continuation_log_the_measures_and_the_predictions_of_each_epoch(tmp_path):
    log_dir = tmp_path / "a" / "log"
    flags = [*SMALL, f"--run_dir={tmp_path}/run", f"--log_dir={log_dir}", "--show_every=2", "--prefix=the"]
    status, _, err = run(train.main, *flags, "--epochs=3")
    assert status == 0, err
    status, _, err = run(train.main, *flags, "--epochs=4")  # writes more files into the same folders
    assert status == 0, err
    rows = metrics(tmp_path / "run")
    training, validation = read_events(log_dir / "train"), read_events(log_dir / "validation")
    assert set(training.Tags()["tensors"]) >= {f"epoch_{name}" for name in TRAINING}
    assert set(validation.Tags()["tensors"]) == {f"epoch_{name}" for name in (*COMMON, "loss")}
    logged = {name: scalars(training, f"epoch_{name}") for name in (*COMMON, "learning_rate", "seconds")}
    logged |= {f"val_{name}": scalars(validation, f"epoch_{name}") for name in COMMON}
    for name, (steps, values) in logged.items():
        assert steps == [row["epoch"] for row in rows] == [1, 2, 3, 4]
        # The events are float32: half a unit in the last place is 2**-24 of a value.
        np.testing.assert_allclose(values, [row[name] for row in rows], rtol=2**-23, err_msg=name)
    predictions = read_events(log_dir)
    texts = predictions.Tensors("predictions")
    assert [event.step for event in texts] == [2, 3, 4]  # each second epoch, and the last of each command
    assert predictions.SummaryMetadata("predictions").plugin_data.plugin_name == "text"
    written = tf.make_ndarray(texts[-1].tensor_proto)[0].decode()
    loaded, vocabulary, _ = tfrnn.load_run(tmp_path / "run", "last")
    assert written.removeprefix("    ") == tfrnn.generate(loaded, vocabulary, "the")


def test_kerass_own_callback_serves_a_trainer_that_has_traced(tmp_path):
    """(Before, tokens_per_sec is None in the logs, which Keras's callback cannot write.)"""
    batches = tfrnn.sequential_batches(np.arange(40) % 5, 2, 4)
    model = tfrnn.LanguageModel(keras.layers.SimpleRNNCell(3), 5)
    trainer = tfrnn.Trainer(model, keras.optimizers.SGD(0.1))
    trainer.fit(batches, 1)
    history = trainer.fit(batches, 2, batches, [keras.callbacks.TensorBoard(tmp_path, write_graph=False)]).history
    steps, values = scalars(read_events(tmp_path / "train"), "epoch_loss")
    assert steps == [1, 2]
    np.testing.assert_allclose(values, history["loss"], rtol=2**-23)
    np.testing.assert_allclose(
        scalars(read_events(tmp_path / "validation"), "epoch_loss")[1], history["val_loss"], rtol=2**-23
    )


def test_unknown_measures_are_left_out(tmp_path):
    log = begun_log(tmp_path)
    log.on_train_batch_end(0, {"tokens_per_sec": None})
    log.on_epoch_end(0, {"loss": 1.0, "tokens_per_sec": None})
    log.on_train_end()
    assert set(read_events(tmp_path / "train").Tags()["tensors"]) == {"epoch_loss", "epoch_learning_rate"}


@contextlib.contextmanager
def full_disk():
    """A limit on the size of files, by which writes fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_warning_and_training_continues(tmp_path):
    log = begun_log(tmp_path, predict=lambda: ["text" * 1000], show_every=1)
    with full_disk():
        with pytest.warns(RunWarning, match=r"(?s)cannot be written now .*; training continues without it"):
            log.on_epoch_end(0, {"loss": 1.0, "val_loss": 2.0})
        log.on_epoch_end(1, {"loss": 1.0, "val_loss": 2.0})  # a second warning would be an error
        log.on_train_end()


@pytest.mark.parametrize("place", ["log", "log/train"])
def test_a_folder_that_cannot_be_written_is_refused_at_the_start(place, tmp_path):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("a file")
    with pytest.raises(UserError, match=r"log`: expected a folder that can be written, but .*; name another"):
        begun_log(tmp_path / "log")


def test_without_the_package_log_dir_is_refused_before_the_run_begins(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    flags = [*SMALL, f"--run_dir={tmp_path}/run"]
    status, out, err = run(train.main, *flags, f"--log_dir={tmp_path}/log")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("tfrnn: error: --log_dir: expected the package tensorboard, but it is not installed; ")
    assert "`pip install tensorboard`" in err
    assert list(tmp_path.iterdir()) == []
