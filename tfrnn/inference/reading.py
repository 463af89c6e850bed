"""Reading: texts are read by a model, and its state after them is a value from which texts can be continued.

Letters: P tokens of a prefix, B rows (one text each), V vocab_size.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrnn.config.trained_run import Sampling
from tfrnn.data.vocabulary import SPACE_TO_COME, Vocabulary
from tfrnn.errors import UserError
from tfrnn.layers.model_protocol import ensure_built
from tfrnn.layers.state import State
from tfrnn.runtime import execution

(_WINDOW_FIELD,) = (field for field, _ in Sampling.fields() if field.name == "repetition_window")
MAX_RECENT = _WINDOW_FIELD.metadata["maximum"]  # the number of last tokens that are kept for samplers


class Reading(NamedTuple):
    """A model's state after B texts, from which they can be continued. Several rows may continue the same text.

    Attributes:
      logits: the logits of the next token, float32 [B, V].
      state: the model's state, one tuple of tensors [B, H] for each layer.
      recent: the last tokens, int32 [B, 256]; 0 before the first.
      sample: the number of the sample of its text that each row is, int64 [B]; with `generated` and the seed it
        determines the random numbers of the row.
      generated: the number of tokens generated so far.
      gaps: for each row, what separates the text from the next token unless that touches it: a space or nothing; or
        `vocabulary.SPACE_TO_COME`, if the next token must begin with the space that the text ends with.
    """

    logits: tf.Tensor
    state: State
    recent: np.ndarray
    sample: np.ndarray
    generated: int
    gaps: tuple[str, ...]

    def repeat(self, num_samples: int) -> "Reading":
        """Returns a reading that has each row `num_samples` times, as different samples."""
        if num_samples == 1:
            return self
        return Reading(
            tf.repeat(self.logits, num_samples, 0),
            tf.nest.map_structure(lambda tensor: tf.repeat(tensor, num_samples, 0), self.state),
            self.recent.repeat(num_samples, 0),
            np.repeat(self.sample, num_samples) * num_samples + np.tile(np.arange(num_samples), len(self.sample)),
            self.generated,
            tuple(gap for gap in self.gaps for _ in range(num_samples)),
        )

    def row(self, row: int) -> "Reading":
        """Returns a reading of that row only; -1 is the last. Raises IndexError if there is no such row."""
        row = range(len(self.sample))[row]
        one = slice(row, row + 1)
        logits, state = tf.nest.map_structure(lambda tensor: tensor[one], (self.logits, self.state))
        return Reading(logits, state, self.recent[one], self.sample[one], self.generated, self.gaps[one])

    def advanced(self, tokens: np.ndarray, logits: tf.Tensor, state: State, gaps: tuple[str, ...]) -> "Reading":
        """Returns the reading after generated tokens.

        Args:
          tokens: int32 [n, B].
          logits, state: of the model after the last of them.
          gaps: for each row, what separates it from the next token.
        """
        recent = np.concatenate([self.recent, tokens.T], 1)[:, -MAX_RECENT:]
        return Reading(logits, state, recent, self.sample, self.generated + len(tokens), gaps)


def read_prefixes(
    model: Any,
    vocabulary: Vocabulary,
    prefixes: Sequence[str],
    after: Reading | None = None,
    unknown: str = "error",
) -> Reading:
    """Reads texts side by side, from a zero state or after an earlier reading; `continue_texts` continues them.

    >>> vocabulary = tfrnn.Vocabulary.from_text("to be or not to be")
    >>> model = tfrnn.LanguageModel(tfrnn.GRUCell(8), len(vocabulary))
    >>> reading = tfrnn.read_prefixes(model, vocabulary, ["to be ", "not "])
    >>> texts, reading = tfrnn.continue_texts(model, vocabulary, reading, length=5)
    >>> more, reading = tfrnn.continue_texts(model, vocabulary, reading, length=5)
    >>> reading.generated
    10

    Args:
      model: a LanguageModel, or another model of the form that `Trainer` describes; trained or not.
      vocabulary: the vocabulary that the model was trained with.
      prefixes: a list with one text for each row (or a single text), cleaned as the training text was.
      after: an earlier reading with the same number of rows, whose texts these continue.
      unknown: what to do with unknown tokens: `error`, `unk` or `skip`.
    Raises:
      UserError: the vocabulary has another size than the model's; there is no prefix; a prefix has no known token, or
        has an unknown one and `unknown` is `error`; `after` has another number of rows.
    """
    prefixes = [prefixes] if isinstance(prefixes, (str, bytes)) else list(prefixes)
    if not prefixes or not all(isinstance(prefix, str) for prefix in prefixes):
        raise UserError(f"expected a list of at least one text to continue; got {prefixes!r}")
    rows = len(prefixes)
    if after is not None and len(after.sample) != rows:
        raise UserError(
            f"expected one text for each of the {len(after.sample)} rows of the earlier reading; got {rows}"
        )
    if after is not None:  # a space that no token has brought yet is read now
        begun = [" " * (gap == SPACE_TO_COME) for gap in after.gaps]
        prefixes = [space + prefix for space, prefix in zip(begun, prefixes, strict=True)]
    encoded = [vocabulary.encode_prefix(prefix, unknown) for prefix in prefixes]
    ensure_built(model)
    if len(vocabulary) != (vocab_size := getattr(model, "vocab_size", len(vocabulary))):
        raise UserError(
            f"expected the vocabulary that the model was trained with, of {vocab_size} tokens (`vocab_size="
            f"{vocab_size}`); got one of {len(vocabulary)}"
        )
    before = _of_nothing(model, rows) if after is None else after
    logits, state = _read_rows(model, encoded, before.state)
    recent = [np.concatenate([row, ids])[-MAX_RECENT:] for row, ids in zip(before.recent, encoded, strict=True)]
    gaps = tuple(vocabulary.gap_of(text, ids[-1]) for text, ids in zip(prefixes, encoded, strict=True))
    if SPACE_TO_COME in gaps:
        may_come = np.array([gap != SPACE_TO_COME for gap in gaps])[:, None] | vocabulary.begins_with_space
        logits = tf.where(may_come, tf.cast(logits, tf.float32), -math.inf)
    return Reading(logits, state, np.stack(recent), before.sample, before.generated, gaps)


def _of_nothing(model: Any, rows: int) -> Reading:
    """Returns a reading before the first token, which has no logits yet."""
    recent, sample = np.zeros([rows, MAX_RECENT], np.int32), np.zeros(rows, np.int64)
    return Reading(tf.zeros([rows, 0]), model.initial_state(rows), recent, sample, 0, ("",) * rows)


def _read_rows(model: Any, encoded: list[np.ndarray], state: State) -> tuple[tf.Tensor, State]:
    """Reads rows of different lengths; returns the logits [B, V] after the last token of each row, and the state."""
    lengths = np.array([len(ids) for ids in encoded])
    spec = tf.nest.map_structure(lambda tensor: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype), state)
    read = read_tokens.trace(model, tf.TensorSpec([None, None], tf.int32), spec)  # one trace for all lengths
    results, begin, unfinished = [], 0, np.arange(len(encoded))
    for end in np.unique(lengths):  # all rows up to the end of the shortest, the rest up to that of the next, ...
        ids = np.stack([encoded[row][begin:end] for row in unfinished], 1)
        logits, state = read(model, tf.constant(ids), state)
        ends_here = lengths[unfinished] == end
        if ends_here.all():
            results.append((unfinished, logits, state))
            break
        results.append((unfinished[ends_here], *_select_rows((logits, state), ends_here)))
        state, unfinished, begin = _select_rows(state, ~ends_here), unfinished[~ends_here], end
    if len(results) == 1:
        return logits, state
    order = np.argsort(np.concatenate([rows for rows, *_ in results]))
    return tf.nest.map_structure(
        lambda *parts: tf.gather(tf.concat(parts, 0), order), *[(logits, state) for _, logits, state in results]
    )


def _select_rows(tensors: Any, mask: np.ndarray) -> Any:
    return tf.nest.map_structure(lambda tensor: tf.boolean_mask(tensor, mask), tensors)


@execution.tf_function()
def read_tokens(model: Any, ids: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
    """Reads ids, int32 [P, B]; returns the logits [B, V] of the next token, and the state."""
    logits, state = model(ids, state, training=False)
    return logits[-1], state
