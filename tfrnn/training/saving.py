"""SaveRun: writes metrics and checkpoints while a model trains."""

import math
import time
import warnings
from collections.abc import Callable
from typing import Any

from tfrnn.errors import RunWarning, UserError
from tfrnn.runs.run_dir import RunDir
from tfrnn.training.timing import Timed


class SaveRun(Timed):
    """Adds a row to metrics.jsonl after each epoch, and saves a checkpoint at intervals and at the end.

    If a write fails while training, e.g. on a full disk, training continues with a warning, and the next save tries
    again.

    Args:
      run: the run directory.
      save: writes a checkpoint of the current position.
      save_plot: writes the picture, after the last checkpoint.
      save_every: seconds between checkpoints.

    Raises (at the end of training):
      UserError: the last checkpoint cannot be written.
    """

    def __init__(self, run: RunDir, save: Callable[[], None], save_plot: Callable[[], None], save_every: float):
        super().__init__()
        self._run, self._save, self._save_plot, self._save_every = run, save, save_plot, save_every
        self._last_save = time.perf_counter()
        self._warned = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        measured = {name: logs.get(name) for name in self._run.metrics.measures}
        # A loss on the held-out text may overflow, and JSON has no infinity.
        finite = {name: value if value is None or math.isfinite(value) else None for name, value in measured.items()}
        row = {"epoch": epoch + 1, **finite}
        self._try(lambda: self._run.metrics.add(row))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if time.perf_counter() - self._last_save > self._save_every:
            if self._try(self._save):
                self._warned = False
            self._last_save = time.perf_counter()

    def on_train_end(self, logs: Any = None) -> None:
        with self.timed():
            try:
                self._save()
            except OSError as error:
                raise UserError(
                    f"`run_dir={self._run.path}`: the end of training cannot be saved ({error.strerror}); what was "
                    "saved before is unchanged. When the folder can be written again, the same command resumes the run"
                ) from None
        self._save_plot()

    def _try(self, write: Callable[[], None]) -> bool:
        """Calls `write`, and returns whether it succeeded; warns of a failure unless the one before has been told."""
        with self.timed():
            try:
                write()
            except OSError as error:
                if not self._warned:
                    warnings.warn(
                        f"`run_dir={self._run.path}`: cannot be written now ({error.strerror}); what was saved "
                        "before is unchanged, training continues, and the next save tries again",
                        RunWarning,
                        stacklevel=2,
                    )
                self._warned = True
                return False
            return True
