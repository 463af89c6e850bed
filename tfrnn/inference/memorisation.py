"""Memorisation: how much of a generated text is found verbatim in the training text."""

from typing import NamedTuple

import numpy as np

REPORTED_NGRAM_LENGTHS = range(5, 51, 5)
MAX_PASSAGE_SHOWN = 80  # characters


class Copied(NamedTuple):
    """The passages of a text of N characters that are found verbatim in a source.

    Attributes:
      lengths: for each position of the text, the length of the longest passage beginning there that is found in the
        source; int [N].
      begin: the position in the text at which the longest of these passages begins.
      place: the position in the source at which it is first found.
    """

    lengths: np.ndarray
    begin: int
    place: int

    def share(self, n: int) -> float | None:
        """Returns the share of the text's n-grams that are found in the source; None if the text is shorter than n."""
        num_ngrams = len(self.lengths) - n + 1
        return float((self.lengths >= n).sum()) / num_ngrams if num_ngrams > 0 else None

    @property
    def longest(self) -> int:
        """The number of characters of the longest passage."""
        return int(self.lengths[self.begin]) if len(self.lengths) else 0


def find_copied(text: str, source: str) -> Copied:
    """Finds the passages of a text that are in a source, by at most two searches of the source for each character."""
    lengths, length, begin, place = np.zeros(len(text), int), 0, 0, 0
    for i in range(len(text)):
        length = max(length - 1, 0)  # a passage that begins at i - 1 is still found without its first character
        while i + length < len(text) and (position := source.find(text[i : i + length + 1])) >= 0:
            length += 1
            if length > lengths[begin]:
                begin, place = i, position
                lengths[i] = length
        lengths[i] = length
    return Copied(lengths, begin, place)


def report(generated: str, held_out: str, source: str) -> list[str]:
    """Compares a generated text with its training text, and returns the lines of a table for people.

    For each n the table has the share of n-grams that are found in the source; below it are the longest passages that
    are found there, and their positions.

    Args:
      generated: the text that a model generated.
      held_out: a text that is not part of the source, to compare with; may be empty. As many of its characters are used
        as `generated` has.
      source: the training text.
    """
    texts = {"generated": generated, "held out": held_out[: len(generated)]}
    comparisons = {name: find_copied(text, source) for name, text in texts.items() if text}
    lines = [
        f"n-grams found in the training text ({len(source):,} characters), of "
        + " and ".join(f"{len(texts[name]):,} characters {name}" for name in comparisons),
        f"{'n':<10}" + "".join(f"{n:>7}" for n in REPORTED_NGRAM_LENGTHS),
    ]
    for name, copied in comparisons.items():
        shares = [copied.share(n) for n in REPORTED_NGRAM_LENGTHS]
        lines.append(f"{name:<10}" + "".join("      -" if s is None else f"{100 * s:>6.1f}%" for s in shares))
    for name, copied in comparisons.items():
        passage = texts[name][copied.begin : copied.begin + copied.longest]
        shown = passage if len(passage) <= MAX_PASSAGE_SHOWN else passage[:MAX_PASSAGE_SHOWN] + "..."
        if not copied.longest:
            lines.append(f"longest passage {name}: none")
            continue
        line = f" (line {source.count(chr(10), 0, copied.place) + 1:,})" if "\n" in source else ""
        lines.append(
            f"longest passage {name}: {copied.longest} characters, from character {copied.place + 1:,} of the training "
            f"text{line}: {shown!r}"
        )
    return lines
