"""The perplexity curve while a model trains."""

import sys
import time
from typing import Any

from tfrnn.plots.curves import plot_perplexity
from tfrnn.training.progress import Progress

SHORTEST = 0.5  # seconds between two drawings
SHARE = 0.1  # of the time, at most, that drawing takes


def in_notebook() -> bool:
    """Whether pictures can be shown: in Jupyter or Colab, not in a terminal."""
    ipython = sys.modules.get("IPython")
    return hasattr(ipython and ipython.get_ipython(), "kernel")


class LiveCurve(Progress):
    """A Keras callback for `Trainer.fit` of a language model that redraws its perplexity in place in a notebook.

    The curve of the training text is drawn through, that of the validation batches dashed. Elsewhere a progress bar
    takes its place. Pass it as
    `trainer.fit(batches, 200, validation=held_out, callbacks=[tfrnn.LiveCurve()])`. Drawing
    is held back to a tenth of the time, and does not count in tokens per second.
    """

    def __init__(self) -> None:
        super().__init__(list, 0)
        self._draws = in_notebook()

    def on_train_begin(self, logs: Any = None) -> None:
        super().on_train_begin(logs)
        self._rows: list[dict[str, Any]] = []
        self._shown: Any = None  # where in the notebook
        self._next_drawing = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if not self._draws:
            super().on_epoch_begin(epoch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if not self._draws:
            super().on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._rows.append({"epoch": epoch + 1, **logs})
        if not self._draws:
            super().on_epoch_end(epoch, logs)
        elif time.perf_counter() >= self._next_drawing:
            self._draw()

    def on_train_end(self, logs: Any = None) -> None:
        super().on_train_end(logs)
        if self._draws and self._rows:
            self._draw()

    def _draw(self) -> None:
        from IPython.display import display

        start = time.perf_counter()
        with self.timed():
            last = self._rows[-1]
            speed = f", {last['tokens_per_sec']:,.0f} tokens/sec" if last.get("tokens_per_sec") else ""
            title = f"training perplexity {last['perplexity']:.2f} after epoch {last['epoch']}{speed}"
            picture = plot_perplexity(self._rows, title=title, epochs=max(self.params["epochs"], last["epoch"]))
            if self._shown:
                self._shown.update(picture)
            else:
                self._shown = display(picture, display_id=True)
        now = time.perf_counter()
        self._next_drawing = now + max(SHORTEST, (now - start) / SHARE)
