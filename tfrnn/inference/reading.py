"""Reading: what a model knows of the texts that it has read, as a value to go on from.

Letters: P tokens of a prefix, B rows (a text each), V vocab_size.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrnn.config.trained_run import Sampling
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import UserError
from tfrnn.layers.state import State
from tfrnn.runtime import execution

(_WINDOW,) = (field for field, _ in Sampling.fields() if field.name == "repetition_window")
RECENT = _WINDOW.metadata["maximum"]  # last tokens that are kept for samplers that ask for them


class Reading(NamedTuple):
    """Where a model stands in B texts, some of them perhaps continuations of the same one.

    Attributes:
      logits: float32 [B, V] of the next token.
      state: the model's, as it goes into a call.
      recent: the last tokens, int32 [B, 256], 0 before the first.
      sample: which sample of its text a row is, int64 [B]; decides what is drawn for it.
      generated: tokens generated so far, which decides it too.
      gaps: what stands between a text and its next token: a space, for words.
    """

    logits: tf.Tensor
    state: State
    recent: np.ndarray
    sample: np.ndarray
    generated: int
    gaps: tuple[str, ...]

    def repeat(self, num_samples: int) -> "Reading":
        """Each row so many times, as different samples."""
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
        """That row alone. Raises IndexError where there is none."""
        row = range(len(self.sample))[row]
        only = slice(row, row + 1)
        logits, state = tf.nest.map_structure(lambda tensor: tensor[only], (self.logits, self.state))
        return Reading(logits, state, self.recent[only], self.sample[only], self.generated, self.gaps[only])

    def advanced(self, tokens: np.ndarray, logits: tf.Tensor, state: State, word_by_word: bool) -> "Reading":
        """Where it stands when tokens, int32 [n, B], have been generated."""
        recent = np.concatenate([self.recent, tokens.T], 1)[:, -RECENT:]
        gaps = (" " if word_by_word else "",) * len(recent) if len(tokens) else self.gaps
        return Reading(logits, state, recent, self.sample, self.generated + len(tokens), gaps)


def read_prefixes(
    model: Any,
    vocabulary: Vocabulary,
    prefixes: Sequence[str],
    after: Reading | None = None,
    unknown: str = "error",
) -> Reading:
    """Reads prefixes side by side, from the beginning or after what was read before; `continue_texts` goes on there.

    >>> vocabulary = tfrnn.Vocabulary.from_text("to be or not to be")
    >>> model = tfrnn.LanguageModel(tfrnn.RNN(tfrnn.GRUCell(8)), len(vocabulary))
    >>> reading = tfrnn.read_prefixes(model, vocabulary, ["to be ", "not "])
    >>> texts, reading = tfrnn.continue_texts(model, vocabulary, reading, length=5)
    >>> more, reading = tfrnn.continue_texts(model, vocabulary, reading, length=5)
    >>> reading.generated
    10

    Args:
      model: a LanguageModel, trained or not.
      vocabulary: the one it was trained with.
      prefixes: a list with a text for each row (or one text), cleaned as the training text was.
      after: of as many rows.
      unknown: what becomes of unknown tokens: `error`, `unk` or `skip`.
    Raises:
      UserError: a prefix has no known token, or an unknown one where that is an error; there is no prefix.
    """
    prefixes = [prefixes] if isinstance(prefixes, (str, bytes)) else list(prefixes)
    if not prefixes or not all(isinstance(prefix, str) for prefix in prefixes):
        raise UserError(f"expected a list of texts, one at least, to go on from; got {prefixes!r}")
    encoded = [vocabulary.encode_prefix(prefix, unknown) for prefix in prefixes]
    rows = len(encoded)
    if after is not None and len(after.sample) != rows:
        raise UserError(f"expected a text for each of the {len(after.sample)} rows read before; got {rows}")
    if not model.built:
        model.build()
    state = model.initial_state(rows) if after is None else after.state
    recent = np.zeros([rows, RECENT], np.int32) if after is None else after.recent
    gaps = tuple("" if vocabulary.tokens == "char" or text[-1:].isspace() else " " for text in prefixes)
    logits, state = _read_rows(model, encoded, state)
    return Reading(
        logits,
        state,
        np.stack([np.concatenate([row, ids])[-RECENT:] for row, ids in zip(recent, encoded, strict=True)]),
        np.zeros(rows, np.int64) if after is None else after.sample,
        0 if after is None else after.generated,
        gaps,
    )


def _read_rows(model: Any, encoded: list[np.ndarray], state: State) -> tuple[tf.Tensor, State]:
    """The logits [B, V] behind the last token of each row, and the state there."""
    lengths = np.array([len(ids) for ids in encoded])
    spec = tf.nest.map_structure(lambda tensor: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype), state)
    _read.get_concrete_function(model, tf.TensorSpec([None, None], tf.int32), spec)  # one trace for all lengths
    ends, begin, left = [], 0, np.arange(len(encoded))
    for end in np.unique(lengths):  # all rows up to the end of the shortest, the rest up to that of the next, ...
        logits, state = _read(model, tf.constant(np.stack([encoded[row][begin:end] for row in left], 1)), state)
        done = lengths[left] == end
        if done.all():
            ends.append((left, logits, state))
            break
        ends.append((left[done], *_rows((logits, state), done)))
        state, left, begin = _rows(state, ~done), left[~done], end
    if len(ends) == 1:
        return logits, state
    back = np.argsort(np.concatenate([rows for rows, *_ in ends]))
    return tf.nest.map_structure(
        lambda *parts: tf.gather(tf.concat(parts, 0), back), *[(logits, state) for _, logits, state in ends]
    )


def _rows(tensors: Any, which: np.ndarray) -> Any:
    return tf.nest.map_structure(lambda tensor: tf.boolean_mask(tensor, which), tensors)


@execution.tf_function()
def _read(model: Any, ids: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
    """The logits [B, V] of the token after the ids, int32 [P, B], and the state then."""
    logits, state = model(ids, state, training=False)
    return logits[-1], state
