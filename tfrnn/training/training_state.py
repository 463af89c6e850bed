"""TrainingState: all that changes while a model trains, as one value that a checkpoint holds."""

import math
import sys
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrnn.errors import UserError
from tfrnn.runs import checkpoints
from tfrnn.runs.checkpoints import Arrays, Layout
from tfrnn.training.step import Sums, seed_states

NO_LOSS = sys.float_info.max  # stands for infinity, since all numbers of a checkpoint are finite


class TrainingState:
    """All that changes while a model trains, and all that is needed to resume exactly.

    Args:
      model, optimizer: built; the state includes their variables.
      metrics: Keras's metrics, whose values during an epoch are in `sums`.

    Attributes:
      epoch, batch: the position: the number of finished epochs, and of finished batches of the current epoch.
      recurrent: the model's state after the last batch.
      sums: the sums over the finished batches of the current epoch.
      best_loss, best_epoch: the lowest loss on the validation batches, and the number of epochs after which it was
        reached (0: none yet).
      best_weights: the weights after that epoch.
    """

    def __init__(self, model: Any, optimizer: keras.optimizers.Optimizer, metrics: Sequence[keras.metrics.Metric] = ()):
        self._model, self._optimizer, self._metrics = model, optimizer, metrics
        self.epoch = self.batch = 0
        self.recurrent = model.initial_state(0)  # `begin` makes one with the rows of the batches
        self.sums = Sums.zero(metrics)
        self.best_loss, self.best_epoch, self.best_weights = NO_LOSS, 0, model.get_weights()

    def begin(self, batch_size: int, num_batches: int, continues: bool = False) -> None:
        """Prepares for batches of `batch_size` rows, `num_batches` in the current epoch.

        The state becomes the initial one, except within an epoch and if the epoch `continues` the one before it.

        Raises:
          UserError: they do not fit the unfinished epoch.
        """
        rows = tf.nest.flatten(self.recurrent)[0].shape[0]
        if self.batch == 0 and not (continues and rows == batch_size):
            self.recurrent = self._model.initial_state(batch_size)
        elif rows != batch_size:
            raise UserError(f"expected batches of {rows} rows, as in the unfinished epoch; got {batch_size}")
        elif self.batch > num_batches:
            raise UserError(
                f"expected at most {num_batches} batches in epoch {self.epoch + 1}; {self.batch} are done already"
            )

    def finish_epoch(self, validation_loss: float = math.inf) -> None:
        """Moves to the beginning of the next epoch, and keeps the weights if the validation loss is the lowest."""
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, Sums.zero(self._metrics)
        if validation_loss < self.best_loss:
            self.best_loss, self.best_epoch, self.best_weights = validation_loss, self.epoch, self._model.get_weights()

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns everything as arrays by name; `load` takes them."""
        return {name: _to_numpy(tensor) for name, tensor in self._tensors().items()} | self._numbers()

    def layouts(self) -> dict[str, Layout]:
        """Returns the shape and dtype of each array; a state may have any number of rows."""
        layouts = {
            name: Layout(
                (None, *tensor.shape[1:]) if name.startswith("state.") else tuple(tensor.shape), _dtype(tensor)
            )
            for name, tensor in self._tensors().items()
        }
        return layouts | {name: Layout.of(array) for name, array in self._numbers().items()}

    def load(self, arrays: Arrays) -> None:
        """Sets everything to what `arrays` returned.

        Raises:
          UserError: they are not of this model and optimizer, or their numbers contradict each other.
        """
        try:
            received = {name: Layout.of(array) for name, array in arrays.items()}
            optional = {name: Layout.of(np.array(0.0)) for name in ("added_losses",) if name in arrays}
            checkpoints.check(received, {k: v for k, v in self.layouts().items() if k != "added_losses"} | optional)
        except checkpoints.UnusableError as error:
            raise UserError(f"expected a snapshot of this model and optimizer, but {error}") from None
        epoch, batch, best_epoch = (int(number) for number in (*arrays["position"], arrays["best_epoch"]))
        rows = {len(array) for name, array in arrays.items() if name.startswith("state.")}
        sums_begun = arrays["sums"][1] > 0
        valid_numbers = min(epoch, batch) >= 0 and 0 <= best_epoch <= epoch
        if not valid_numbers or len(rows) > 1 or sums_begun != (batch > 0):
            raise UserError(
                f"expected a snapshot with a valid position, got epoch {epoch}, batch {batch}, the best epoch "
                f"{best_epoch}, states of {sorted(rows)} rows and sums {arrays['sums'].tolist()}"
            )

        def group(name: str) -> list[np.ndarray]:
            return [arrays[f"{name}.{i}"] for i in range(sum(key.startswith(f"{name}.") for key in arrays))]

        self._model.set_weights(group("weights"))
        for variables, name in ((seed_states(self._model), "generators"), (self._optimizer.variables, "optimizer")):
            for variable, value in zip(variables, group(name), strict=True):
                variable.assign(value)
        self.recurrent = tf.nest.pack_sequence_as(self.recurrent, [tf.constant(array) for array in group("state")])
        self.epoch, self.batch = epoch, batch
        loss, tokens = map(tf.constant, arrays["sums"])
        added = tf.constant(arrays.get("added_losses", np.array(0.0)))
        self.sums = Sums(loss, tokens, added, tuple(map(tf.constant, group("metrics"))))
        self.best_loss, self.best_epoch, self.best_weights = (
            float(arrays["best_loss"]),
            best_epoch,
            group("best_weights"),
        )

    def _tensors(self) -> dict[str, Any]:
        groups = {
            "weights": self._model.weights,
            "generators": seed_states(self._model),
            "optimizer": self._optimizer.variables,
            "state": tf.nest.flatten(self.recurrent),
            "best_weights": self.best_weights,
            "metrics": self.sums.metrics,
        }
        return {f"{group}.{i}": tensor for group, tensors in groups.items() for i, tensor in enumerate(tensors)}

    def _numbers(self) -> dict[str, np.ndarray]:
        loss, tokens, added, _ = self.sums
        return {
            "position": np.array([self.epoch, self.batch], np.int64),
            "sums": np.array([float(loss), float(tokens)], np.float64),
            "best_loss": np.array(self.best_loss, np.float64),
            "best_epoch": np.array(self.best_epoch, np.int64),
            **({"added_losses": np.array(float(added), np.float64)} if float(added) else {}),
        }


def _to_numpy(tensor: Any) -> np.ndarray:
    return tensor if isinstance(tensor, np.ndarray) else np.asarray(keras.ops.convert_to_numpy(tensor))


def _dtype(tensor: Any) -> str:
    return np.dtype(tf.as_dtype(tensor.dtype).as_numpy_dtype).str
