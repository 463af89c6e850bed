"""What `--log_dir` writes for TensorBoard: the measures of each epoch, and predictions as text."""

import contextlib
import os
import textwrap
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tfrnn.errors import RunWarning, UserError


class TensorBoardLog(keras.callbacks.TensorBoard):
    """Keras's TensorBoard callback, with predictions as text.

    Keras writes the scalars of each epoch, `epoch_loss` and others, into the folders `train` and `validation`. Steps
    are numbers of finished epochs, as in metrics.jsonl. If a write fails during training, e.g. because the disk is
    full, one warning says so and training continues. The package tensorboard must be installed.

    Args:
      log_dir: the folder, which is made if it does not exist.
      predict: returns the lines of text to write.
      show_every: the number of epochs between predictions; 0 to write them only at the end of training.
    Raises:
      UserError: the folder cannot be written.
    """

    def __init__(self, log_dir: str, predict: Callable[[], list[str]], show_every: int):
        super().__init__(log_dir, write_graph=False, update_freq="epoch")
        self._predict, self._show_every = predict, show_every
        self._epochs, self._warned = 0, False
        with self._must_write():
            os.makedirs(log_dir, exist_ok=True)
            self._text_writer = tf.summary.create_file_writer(log_dir)
            self._text_writer.flush()

    def on_train_begin(self, logs: Any = None) -> None:
        with self._must_write():
            super().on_train_begin(logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Writes nothing. (Keras's would convert the values of `logs` to tensors, of which some may be None.)"""

    def on_test_end(self, logs: Any = None) -> None:
        """Writes nothing: the measures of each epoch have those of its validation."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._epochs = epoch + 1
        with self._may_fail():
            super().on_epoch_end(epoch + 1, {name: value for name, value in (logs or {}).items() if value is not None})
        if self._show_every and self._epochs % self._show_every == 0:
            self._write_predictions()

    def on_train_end(self, logs: Any = None) -> None:
        if self._epochs and not (self._show_every and self._epochs % self._show_every == 0):
            self._write_predictions()
        for close in (super().on_train_end, self._text_writer.close):
            with self._may_fail():
                close()

    def _write_predictions(self) -> None:
        # TensorBoard shows Markdown, which leaves indented text unchanged.
        texts = [textwrap.indent(text, "    ", lambda _: True) for text in self._predict()]
        with self._may_fail(), self._text_writer.as_default(self._epochs):  # flushed at its end
            tf.summary.text("predictions", tf.constant(texts, tf.string))

    @contextlib.contextmanager
    def _must_write(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, tf.errors.OpError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(
                f"`log_dir={self.log_dir}`: expected a folder that can be written, but {reason}; name another"
            ) from None

    @contextlib.contextmanager
    def _may_fail(self) -> Iterator[None]:
        try:
            yield
        except tf.errors.OpError as error:
            if not self._warned:
                warnings.warn(
                    f"`log_dir={self.log_dir}`: cannot be written now ({error.message}); training continues without it",
                    RunWarning,
                    stacklevel=2,
                )
            self._warned = True
