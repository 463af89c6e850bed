"""The state of recurrent layers: a tuple with one entry per layer, each a tuple of tensors [B, H].

Letters: B batch_size, H units, L layers.
"""

from typing import Any

import tensorflow as tf

State = tuple[tuple[tf.Tensor, ...], ...]  # L entries of [B, H] each


def split_rows(state: State, number: int) -> list[State]:
    """The state of so many equal parts of the rows."""
    parts = zip(*[tf.split(tensor, number, 0) for tensor in tf.nest.flatten(state)], strict=True)
    return [tf.nest.pack_sequence_as(state, list(part)) for part in parts]


def join_rows(states: list[State]) -> State:
    """What split_rows has split."""
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *states)


def depth(state: Any) -> int:
    """Levels of lists and tuples around the first tensor."""
    return 1 + (depth(state[0]) if len(state) else 0) if isinstance(state, (list, tuple)) else 0
