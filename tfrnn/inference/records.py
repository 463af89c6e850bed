"""Records: texts that end before a stop text, such as names, one a line; and how many of them are new."""

import unicodedata
from collections.abc import Container, Iterable
from typing import NamedTuple

from tfrnn.data.vocabulary import Vocabulary


class Sample(NamedTuple):
    """A generated text.

    Attributes:
      text: the prefix and its continuation.
      record: the record with which it ends, as the vocabulary writes it; None if it was cut off before the stop text.
    """

    text: str
    record: str | None = None


class Ending:
    """Lets the pieces of a text pass, up to the first stop text that ends in them.

    Args:
      stop: the stop text; empty: all passes.
      before: the text that they continue, in which the stop text may begin.
    Attributes:
      is_reached: whether the stop text has come.
    """

    def __init__(self, stop: str, before: str = ""):
        self.is_reached = False
        self._stop, self._before, self._overlap = stop, before, 0  # how much of `before` belongs to `stop`
        self._text = before[max(0, len(before) - len(stop) + 1) :]
        self._num_passed = len(self._text)

    def feed(self, piece: str) -> str:
        """Returns what passes now: all that cannot be the beginning of the stop text."""
        if self.is_reached or not self._stop:
            return "" if self.is_reached else piece
        self._text += piece
        begin = self._text.find(self._stop)
        if begin >= 0:
            self.is_reached, self._overlap = True, max(0, self._num_passed - begin)
            return self._pass(begin)
        beginnings = range(min(len(self._stop) - 1, len(self._text)), 0, -1)
        held = next((n for n in beginnings if self._text.endswith(self._stop[:n])), 0)
        return self._pass(len(self._text) - held)

    def rest(self) -> str:
        """Returns what was held back, after the last piece."""
        return "" if self.is_reached else self._text[self._num_passed :]

    def record(self, passed: str) -> str | None:
        """Returns the record with which a text ends, given all of it that passed; None if it was cut off."""
        if not self.is_reached:
            return None
        return (self._before[: len(self._before) - self._overlap] + passed).split(self._stop)[-1]

    def _pass(self, end: int) -> str:
        passed = self._text[self._num_passed : end]
        self._text, self._num_passed = self._text[end:], max(0, self._num_passed - end)
        return passed


def as_written(vocabulary: Vocabulary, text: str) -> str:
    """Returns a text with its accents composed or decomposed as the vocabulary knows them: see its `as_written`."""
    if vocabulary.tokens in ("char", "bpe"):
        return "".join(vocabulary.as_written(text))
    forms = (text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD")))  # joined words would lose spaces
    return next((form for form in forms if not vocabulary.unknown(form)), text)


def split(text: str, stop: str) -> set[str]:
    """Returns the different records of a text, without the white space around them."""
    return {record.strip() for record in text.split(stop)}


def describe(samples: Iterable[Sample], known: Container[str], length: int) -> str:
    """Returns a line that tells how many samples are new.

    Args:
      samples: the samples.
      known: the records of the training text, see `split`.
      length: the setting at which samples are cut off.
    """
    records = [sample.record and sample.record.strip() for sample in samples]
    complete = [record for record in records if record]
    new = [record for record in complete if record not in known]
    line = (
        f"{len(records)} samples: {len(complete) - len(new)} are in the training text, {len(new)} are new, "
        f"{len(set(new))} of them different"
    )
    if cut := records.count(None):
        line += f"; {cut} cut at `length={length}`, not counted"
    if empty := records.count(""):
        line += f"; {empty} empty, not counted"
    return line
