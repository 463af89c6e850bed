"""The state of recurrent layers: a tuple with one entry per layer, each a tuple of tensors [B, H].

Letters: B batch_size, H units, L layers.
"""

from typing import Any

import tensorflow as tf

State = tuple[tuple[tf.Tensor, ...], ...]  # L entries of [B, H] each


def split_rows(state: State, num_parts: int) -> list[State]:
    """Splits a state of B rows into `num_parts` states of B / num_parts rows each."""
    parts = zip(*[tf.split(tensor, num_parts, 0) for tensor in tf.nest.flatten(state)], strict=True)
    return [tf.nest.pack_sequence_as(state, list(part)) for part in parts]


def join_rows(states: list[State]) -> State:
    """Joins states along their rows, in order: the inverse of split_rows."""
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *states)


def nesting_depth(state: Any) -> int:
    """Returns the number of lists and tuples around the first tensor: 0 for a tensor, 2 for a State."""
    return 1 + (nesting_depth(state[0]) if len(state) else 0) if isinstance(state, (list, tuple)) else 0
