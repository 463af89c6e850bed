"""How much of a text stands in another, word for word: what a model has learnt by heart."""

from typing import NamedTuple

import numpy as np

LENGTHS = range(5, 51, 5)  # of the n-grams in a report
SHOWN = 80  # characters of the longest passage


class Copied(NamedTuple):
    """What of a text was found in a source."""

    lengths: np.ndarray  # how many characters from each position on stand in the source together, int [N]
    begin: int  # where the longest such passage begins in the text
    place: int  # and where in the source

    def share(self, n: int) -> float | None:
        """Of the text's n-grams those found in the source; None where the text is shorter than n."""
        grams = len(self.lengths) - n + 1
        return float((self.lengths >= n).sum()) / grams if grams > 0 else None

    @property
    def longest(self) -> int:
        return int(self.lengths[self.begin]) if len(self.lengths) else 0


def find_copied(text: str, source: str) -> Copied:
    """Compares a text with a source, at two searches of the source for each character."""
    lengths, length, begin, place = np.zeros(len(text), int), 0, 0, 0
    for i in range(len(text)):
        length = max(length - 1, 0)  # what stood there from i - 1 on stands there from i on
        while i + length < len(text) and (found := source.find(text[i : i + length + 1])) >= 0:
            length += 1
            if length > lengths[begin]:
                begin, place = i, found
                lengths[i] = length
        lengths[i] = length
    return Copied(lengths, begin, place)


def report(generated: str, held_out: str, source: str) -> list[str]:
    """Lines: for each n the share of n-grams found in the source, of a generated text and, to compare, of as much text
    that is not from the source (`held_out`, perhaps empty); the longest copied passage, and where it stands."""
    rows = {"generated": generated, "held out": held_out[: len(generated)]}
    found = {name: find_copied(text, source) for name, text in rows.items() if text}
    lines = [
        f"n-grams found in the training text ({len(source):,} characters), of "
        + " and ".join(f"{len(rows[name]):,} characters {name}" for name in found),
        f"{'n':<10}" + "".join(f"{n:>7}" for n in LENGTHS),
    ]
    for name, copied in found.items():
        shares = [copied.share(n) for n in LENGTHS]
        lines.append(f"{name:<10}" + "".join("      -" if s is None else f"{100 * s:>6.1f}%" for s in shares))
    for name, copied in found.items():
        passage = rows[name][copied.begin : copied.begin + copied.longest]
        shown = passage if len(passage) <= SHOWN else passage[:SHOWN] + "..."
        if not copied.longest:
            lines.append(f"longest passage {name}: none")
            continue
        line = f" (line {source.count(chr(10), 0, copied.place) + 1:,})" if "\n" in source else ""
        lines.append(
            f"longest passage {name}: {copied.longest} characters, from character {copied.place + 1:,} of the training "
            f"text{line}: {shown!r}"
        )
    return lines
