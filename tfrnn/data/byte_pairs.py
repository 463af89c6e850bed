"""Byte pairs: tokens of several characters, made by joining again and again the two that most often stand side by side.

The method is that of Sennrich, Haddow and Birch (2016), on characters in place of bytes. The package tokenizers finds
the tokens; a text is divided into them without it, so that a run can be used where it is not installed.
"""

import importlib
import itertools
import os
import re
from collections.abc import Mapping
from typing import Any

from tfrnn.data import text_rules
from tfrnn.errors import UserError

MAX_TRAINING_CHARACTERS = 10_000_000  # from which tokens are found; more would take longer and hardly change them
MIN_FREQUENCY = 2  # of a pair that is joined


def check_installed() -> None:
    """Raises UserError if the package that finds the tokens is not installed."""
    _library()


def _library() -> Any:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # else it writes a warning if a process forks later
    try:
        return importlib.import_module("tokenizers")
    except ImportError:
        raise UserError(
            "`tokens=bpe`: expected the package tokenizers, but it is not installed; install it by "
            "`pip install tokenizers`"
        ) from None


def find(text: str, number: int) -> list[str]:
    """Returns the tokens of several characters that a text makes, in the order in which they are joined.

    Args:
      text: a cleaned text, of which at most the first MAX_TRAINING_CHARACTERS are read.
      number: how many tokens to find; there are fewer if no pair is left that occurs twice.
    Raises:
      UserError: the package tokenizers is not installed, or the text has half a character (a lone surrogate).
    """
    if not number:
        return []
    library, text = _library(), text[:MAX_TRAINING_CHARACTERS]
    if half := re.search("[\ud800-\udfff]", text):
        raise UserError(f"expected a text of whole characters; got {half[0]!r} at {half.start()}, which is half of one")
    lines = text.split(text_rules.LINE_END)
    pieces = itertools.chain.from_iterable(
        text_rules.split_chunk(chunk) for line in lines for chunk in text_rules.chunks(line)
    )
    tokenizer = library.Tokenizer(library.models.BPE())
    trainer = library.trainers.BpeTrainer(
        vocab_size=len(set(text) - {text_rules.LINE_END}) + number, min_frequency=MIN_FREQUENCY, show_progress=False
    )
    tokenizer.train_from_iterator(pieces, trainer)
    ids = tokenizer.get_vocab()
    return [token for token in sorted(ids, key=ids.__getitem__) if len(token) > 1]


def divide(piece: str, ids: Mapping[str, int]) -> list[str]:
    """Divides one of the pieces that no token goes beyond into tokens.

    Of all pairs that stand side by side that is joined first which makes the token of the lowest id, the leftmost one.

    Args:
      piece: one of the pieces that `text_rules.split(text, "bpe")` returns.
      ids: of tokens; those of several characters are in the order in which they were found.
    """
    parts = list(piece)
    while len(parts) > 1:
        joined = [
            (ids[token], i) for i, pair in enumerate(itertools.pairwise(parts)) if (token := "".join(pair)) in ids
        ]
        if not joined:
            break
        _, i = min(joined)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts
