"""How many tokens batches need, told without TensorFlow."""

from tfrnn.errors import UserError


def largest_offset(sampling: str, num_steps: int) -> int:
    """Returns the largest number of tokens that an epoch skips at the beginning if batches have a random offset.

    Args:
      sampling: `sequential` or `random`.
      num_steps: the number of steps of a row.
    """
    return {"sequential": num_steps, "random": num_steps - 1}[sampling]


def check_length(
    num_tokens: int,
    sampling: str,
    batch_size: int,
    num_steps: int,
    random_offset: bool,
    kind: str = "text",
    unit: str = "tokens",
) -> None:
    """Raises UserError if there are too few tokens for one batch with any offset.

    Args:
      num_tokens: the number of tokens.
      sampling: `sequential` or `random`.
      batch_size, num_steps: the number of rows and of steps of a batch.
      random_offset: whether an epoch begins at a random one of the first tokens.
      kind, unit: what the tokens are of, and what they are, for the message.
    """
    if random_offset:
        needed = batch_size * num_steps + largest_offset(sampling, num_steps) + 1
    else:  # each sequential row has a last target of its own
        needed = batch_size * (num_steps + 1) if sampling == "sequential" else batch_size * num_steps + 1
    if num_tokens < needed:
        raise UserError(
            f"{kind} too short: {num_tokens} {unit}, but batches of {batch_size} rows of {num_steps} steps need "
            f"{needed}; take a longer {kind} or smaller `batch_size` or `num_steps`"
        )
