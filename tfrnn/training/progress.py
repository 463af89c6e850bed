"""Progress: shows a bar or lines on stderr while a model trains."""

import sys
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from tfrnn.cli import messages
from tfrnn.runtime import host
from tfrnn.training.timing import Timed

SECONDS_BETWEEN_LINES = 30.0


class Progress(Timed):
    """Shows a bar if stderr is a terminal, else a line about every 30 seconds; and predictions at intervals.

    Args:
      predict: returns the predictions, one per line.
      show_every: epochs between predictions; 0 for none.
      measure: the name of the measure that is shown.
    """

    def __init__(self, predict: Callable[[], list[str]], show_every: int, measure: str = "perplexity"):
        super().__init__()
        self._predict, self._show_every, self._measure = predict, show_every, measure
        self._bar: Any = None
        self._last_line = time.perf_counter()

    def on_train_begin(self, logs: Any = None) -> None:
        self._bar = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch
        self._bar = self._bar or tqdm(
            total=self.params["epochs"],
            initial=epoch,
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
            ncols=host.terminal_columns(),
            bar_format="{percentage:3.0f}%|{bar:10}| epoch {n:.1f}/{total}, {remaining} left{postfix}",
        )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        fraction = min(1, (batch + 1) / self.params["steps"])
        self._bar.set_postfix_str(self._format(logs), refresh=False)
        self._bar.update(self._epoch + fraction - self._bar.n)
        if self._bar.disable and time.perf_counter() - self._last_line > SECONDS_BETWEEN_LINES:
            self._write_lines(f"epoch {self._epoch + fraction:.2f}/{self.params['epochs']}: {self._format(logs)}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        measures = self._format(logs)
        self._bar.set_postfix_str(measures, refresh=False)
        if self._show_every and (epoch + 1) % self._show_every == 0:
            with self.timed():
                lines = self._predict()
            held_out = f", held out {logs['val_perplexity']:.2f}" if "val_perplexity" in logs else ""
            first_line = f"epoch {epoch + 1}/{self.params['epochs']}: {measures}{held_out}"
            self._write_lines(first_line, *(f"  {line}" for line in lines))

    def on_train_end(self, logs: Any = None) -> None:
        if self._bar:
            self._bar.close()

    def _format(self, logs: Any) -> str:
        speed = f", {logs['tokens_per_sec']:.0f} tokens/sec" if logs["tokens_per_sec"] else ""
        value = logs[self._measure]
        return f"{self._measure} {value:.2f}{speed}" if value >= 1 else f"{self._measure} {value:.3g}{speed}"

    def _write_lines(self, *lines: str) -> None:
        for line in lines:
            tqdm.write(messages.harmless(line), file=sys.stderr)
        sys.stderr.flush()
        self._last_line = time.perf_counter()
