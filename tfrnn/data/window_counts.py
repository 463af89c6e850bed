"""How many tokens batches need, told without TensorFlow."""

from tfrnn.errors import UserError


def largest_offset(sampling: str, num_steps: int) -> int:
    """Returns the largest number of tokens that an epoch skips at the beginning if batches have a random offset.

    Args:
      sampling: `sequential` or `random`.
      num_steps: the number of steps of a row.
    """
    return {"sequential": num_steps, "random": num_steps - 1}[sampling]


def validation_shape(held_out: int, batch_size: int, num_steps: int, replicas: int = 1) -> tuple[int, int]:
    """Returns the numbers of rows and of steps of sequential batches that measure nearly all of a held-out text.

    They measure at least 95% of its tokens if any rows and steps do: the first token of each row is not predicted, nor
    are those after the last batch.

    Args:
      held_out: the number of tokens, at least two for each replica.
      batch_size, num_steps: the numbers of rows and of steps of a training batch, which are the most.
      replicas: the number of which the number of rows is a multiple.
    """

    def num_measured(rows: int, steps: int) -> int:
        return rows * ((held_out // rows - 1) // steps * steps)

    def is_enough(rows: int, steps: int) -> bool:
        return 20 * num_measured(rows, steps) >= 19 * held_out

    def steps_of(rows: int) -> range:
        return range(min(num_steps, held_out // rows - 1), 0, -1)

    most = min(batch_size, held_out // 20)
    enough = [rows for rows in range(replicas, most + 1, replicas) if is_enough(rows, 1)]
    shapes = [(rows, next(steps for steps in steps_of(rows) if is_enough(rows, steps))) for rows in enough]
    if not shapes:
        return replicas, max(steps_of(replicas), key=lambda steps: num_measured(replicas, steps))
    # Rows that two or four chains divide, in few and large batches.
    return max(shapes, key=lambda shape: (shape[0] % (4 * replicas) == 0, shape[0] * shape[1], shape[0]))


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
