"""Keras callbacks of a run: progress on the screen, the run directory kept up to date, a clean end on Ctrl-C."""

import math
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from tfrnn.errors import RunWarning, UserError
from tfrnn.runs.metrics import MEASURES
from tfrnn.runs.run_dir import RunDir
from tfrnn.runtime import runtime

SECONDS_BETWEEN_LINES = 30.0
NO_LOSS = sys.float_info.max  # a checkpoint holds finite numbers alone


class Timed(keras.callbacks.Callback):
    """A callback that adds up the time of its own work in `seconds`."""

    seconds = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start


class Progress(Timed):
    """A bar where stderr is a terminal, else a line now and then; with predictions every `show_every` epochs.

    Args:
      predict: gives the lines to show.
      show_every: epochs between them; 0 for none.
      measure: which of the epoch's measures is shown.
    """

    def __init__(self, predict: Callable[[], list[str]], show_every: int, measure: str = "perplexity"):
        super().__init__()
        self._predict, self._show_every, self._measure = predict, show_every, measure
        self._bar: Any = None
        self._line_shown = time.perf_counter()

    def on_train_begin(self, logs: Any = None) -> None:
        self._bar = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch
        self._bar = self._bar or tqdm(
            total=self.params["epochs"],
            initial=epoch,
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
            ncols=runtime.terminal_columns(),
            bar_format="{percentage:3.0f}%|{bar:10}| epoch {n:.1f}/{total}, {remaining} left{postfix}",
        )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        part = min(1, (batch + 1) / self.params["steps"])
        self._bar.set_postfix_str(self._measures(logs), refresh=False)
        self._bar.update(self._epoch + part - self._bar.n)
        if self._bar.disable and time.perf_counter() - self._line_shown > SECONDS_BETWEEN_LINES:
            self._line(f"epoch {self._epoch + part:.2f}/{self.params['epochs']}: {self._measures(logs)}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        measures = self._measures(logs)
        self._bar.set_postfix_str(measures, refresh=False)
        if self._show_every and (epoch + 1) % self._show_every == 0:
            with self.timed():
                lines = self._predict()
            held_out = f", held out {logs['val_perplexity']:.2f}" if "val_perplexity" in logs else ""
            beginning = f"epoch {epoch + 1}/{self.params['epochs']}: {measures}{held_out}"
            self._line(beginning, *(f"  {line}" for line in lines))

    def on_train_end(self, logs: Any = None) -> None:
        if self._bar:
            self._bar.close()

    def _measures(self, logs: Any) -> str:
        speed = f", {logs['tokens_per_sec']:.0f} tokens/sec" if logs["tokens_per_sec"] else ""
        value = logs[self._measure]
        return f"{self._measure} {value:.2f}{speed}" if value >= 1 else f"{self._measure} {value:.3g}{speed}"

    def _line(self, *lines: str) -> None:
        for line in lines:
            tqdm.write(line, file=sys.stderr)
        sys.stderr.flush()
        self._line_shown = time.perf_counter()


class SaveRun(Timed):
    """Adds each finished epoch to metrics.jsonl and saves a checkpoint from time to time and at the end.

    Where that fails on the way, on a full disk say, a warning says so and training goes on; the next save tries again.

    Args:
      run: the run directory.
      save: writes a checkpoint of where training stands.
      save_plot: makes the picture, after the last checkpoint.
      save_every: seconds between checkpoints.

    Raises (at the end of training):
      UserError: it cannot be saved.
    """

    def __init__(self, run: RunDir, save: Callable[[], None], save_plot: Callable[[], None], save_every: float):
        super().__init__()
        self._run, self._save, self._save_plot, self._save_every = run, save, save_plot, save_every
        self._saved = time.perf_counter()
        self._warned = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        measured = {name: logs.get(name) for name in MEASURES}
        # A loss on held-out text may overflow; JSON has no infinity.
        finite = {name: value if value is None or math.isfinite(value) else None for name, value in measured.items()}
        row = {"epoch": epoch + 1, **finite}
        self._try(lambda: self._run.metrics.add(row))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if time.perf_counter() - self._saved > self._save_every:
            if self._try(self._save):
                self._warned = False
            self._saved = time.perf_counter()

    def on_train_end(self, logs: Any = None) -> None:
        with self.timed():
            try:
                self._save()
            except OSError as error:
                raise UserError(
                    f"--run_dir {self._run.path}: the end of training cannot be saved ({error.strerror}); what was "
                    "saved before is as it was. Once it can be written again, the same command goes on from there"
                ) from None
        self._save_plot()

    def _try(self, write: Callable[[], None]) -> bool:
        """Whether it could be written."""
        with self.timed():
            try:
                write()
            except OSError as error:
                if not self._warned:
                    warnings.warn(
                        f"--run_dir {self._run.path}: cannot be written now ({error.strerror}); what was saved before "
                        "is as it was, training goes on, and the next save tries again",
                        RunWarning,
                        stacklevel=2,
                    )
                self._warned = True
                return False
            return True


class EarlyStopping(keras.callbacks.Callback):
    """Ends training where so many epochs in turn have brought no gain on the validation batches.

    (Keras's own counts for itself, so it would begin anew when training goes on.)

    Args:
      epochs_without_gain: gives their number, as the trainer keeps it.
      patience: epochs.
    """

    def __init__(self, epochs_without_gain: Callable[[], int], patience: int):
        super().__init__()
        self._epochs_without_gain, self._patience = epochs_without_gain, patience

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training |= self._epochs_without_gain() >= self._patience


class Plateau(keras.callbacks.ReduceLROnPlateau):
    """Keras's, with a state that can be saved: the learning rate is halved where val_loss falls no more.

    Args:
      patience: epochs without gain before that.
      lowest: learning rate.
    """

    def __init__(self, patience: int, lowest: float):
        super().__init__("val_loss", factor=0.5, patience=patience, mode="min", min_delta=0, min_lr=lowest)
        self._restored = (math.inf, 0, 0)

    @property
    def state(self) -> np.ndarray:
        """float64: the lowest loss, the largest number where there is none yet; epochs since then or the last change;
        the cooldown."""
        best = NO_LOSS if self.best is None else min(self.best, NO_LOSS)
        return np.array([best, self.wait, self.cooldown_counter])

    @state.setter
    def state(self, state: np.ndarray) -> None:
        best, wait, cooldown = state
        self._restored = (math.inf if best == NO_LOSS else best), int(wait), int(cooldown)

    def on_train_begin(self, logs: Any = None) -> None:
        super().on_train_begin(logs)  # begins anew
        self.best, self.wait, self.cooldown_counter = self._restored


class StopOnSignal(keras.callbacks.Callback):
    """Ends training after the call under way on Ctrl-C or SIGTERM; a second one acts as usual.

    Only within `with`, so that the usual handlers come back whatever happens.
    """

    stopped = False

    def __enter__(self) -> "StopOnSignal":
        self._usual: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is signal.SIG_IGN:
                    continue  # of a job that is not to be interrupted
                self._usual[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training |= self.stopped  # it may have come before training did

    def _stop(self, number: int, frame: Any) -> None:
        self.stopped = True
        if self.model:
            self.model.stop_training = True
        signal.signal(number, self._usual[number])
