"""The perplexity curve in a notebook, redrawn while a model trains."""

import sys
import time
from typing import Any

from tfrnn.plots.curves import plot_perplexity
from tfrnn.training.progress import Progress

MIN_SECONDS_BETWEEN_DRAWINGS = 0.5
MAX_SHARE_OF_TIME = 0.1  # that drawing takes


def in_notebook() -> bool:
    """Returns whether pictures can be shown: True in Jupyter and Colab, False in a terminal."""
    ipython = sys.modules.get("IPython")
    return hasattr(ipython and ipython.get_ipython(), "kernel")


class LiveCurve(Progress):
    """A Keras callback for `Trainer.fit` of a language model that redraws its perplexity in place in a notebook.

    The curve of the training text is solid, that of the validation batches dashed. Outside of a notebook it shows a
    progress bar instead. Drawing takes at most a tenth of the time and is not counted in tokens per second.

    Example: `trainer.fit(batches, 200, validation_data=held_out, callbacks=[tfrnn.LiveCurve()])`
    """

    def __init__(self) -> None:
        super().__init__(list, 0)
        self._draws = in_notebook()

    def on_train_begin(self, logs: Any = None) -> None:
        super().on_train_begin(logs)
        self._rows: list[dict[str, Any]] = []
        self._display_handle: Any = None  # the output cell that is updated
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
            figure = plot_perplexity(self._rows, title=title, epochs=max(self.params["epochs"], last["epoch"]))
            if self._display_handle:
                self._display_handle.update(figure)
            else:
                self._display_handle = display(figure, display_id=True)
        now = time.perf_counter()
        self._next_drawing = now + max(MIN_SECONDS_BETWEEN_DRAWINGS, (now - start) / MAX_SHARE_OF_TIME)
