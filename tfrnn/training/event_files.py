"""Event files for TensorBoard, which need not be installed to write them."""

import os
import textwrap
import warnings
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfrnn.errors import RunWarning, UserError


class LogForTensorBoard(keras.callbacks.Callback):
    """Writes event files for TensorBoard: each epoch's measures, and predictions as text.

    Args:
      log_dir: their folder.
      predict: gives the lines to write.
      show_every: epochs between them; 0 for those at the end of training alone.
    Raises:
      UserError: it cannot be written.
    """

    def __init__(self, log_dir: str, predict: Callable[[], list[str]], show_every: int):
        super().__init__()
        self._log_dir, self._predict, self._show_every = log_dir, predict, show_every
        self._epochs, self._warned = 0, False
        try:
            os.makedirs(log_dir, exist_ok=True)
            self._writer = tf.summary.create_file_writer(log_dir)
            self._writer.init()
            self._writer.flush()
        except (OSError, ValueError, tf.errors.OpError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(
                f"--log_dir={log_dir}: expected a folder that can be written, but {reason}; name another"
            ) from None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        for name, value in (logs or {}).items():
            if value is not None:
                self._write(name, tf.constant(value, tf.float32), epoch + 1, "scalars")
        self._epochs = epoch + 1
        if self._show_every and self._epochs % self._show_every == 0:
            self._write_predictions()

    def on_train_end(self, logs: Any = None) -> None:
        if self._epochs and not (self._show_every and self._epochs % self._show_every == 0):
            self._write_predictions()
        self._try(self._writer.close)

    def _write_predictions(self) -> None:
        # TensorBoard shows Markdown, in which an indented text is shown as it is.
        texts = [textwrap.indent(text, "    ", lambda _: True) for text in self._predict()]
        self._write("predictions", tf.constant(texts), self._epochs, "text")

    def _write(self, name: str, value: tf.Tensor, step: int, plugin: str) -> None:
        # What tf.summary.scalar and text do, which need TensorBoard installed to write for it.
        metadata = tf.compat.v1.SummaryMetadata()
        metadata.plugin_data.plugin_name = plugin

        def write() -> None:
            with self._writer.as_default():
                tf.summary.write(name, value, step, metadata)
                self._writer.flush()

        self._try(write)

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except tf.errors.OpError as error:
            if not self._warned:
                warnings.warn(
                    f"--log_dir={self._log_dir}: cannot be written now ({error.message}); training goes on without",
                    RunWarning,
                    stacklevel=2,
                )
            self._warned = True
