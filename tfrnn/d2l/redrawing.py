"""Draws a figure anew in a notebook while something runs, at most twice a second and in at most a tenth of the time."""

import time
from typing import Any

from tfrnn.training.live_curve import MAX_SHARE_OF_TIME, MIN_SECONDS_BETWEEN_DRAWINGS, in_notebook


class Redrawing:
    """Shows the newest state of a figure in a notebook, as often as that costs little; elsewhere nothing."""

    def __init__(self) -> None:
        self._next_drawing = 0.0

    def show(self, figure: Any) -> None:
        """Shows the figure in place of the one that was shown before, if it is time."""
        if not in_notebook() or time.perf_counter() < self._next_drawing:
            return
        from IPython.display import clear_output, display

        start = time.perf_counter()
        display(figure)
        clear_output(wait=True)  # the next picture takes this one's place; at the end of the cell pyplot shows the last
        now = time.perf_counter()
        self._next_drawing = now + max(MIN_SECONDS_BETWEEN_DRAWINGS, (now - start) / MAX_SHARE_OF_TIME)
