"""Models, data and their training as objects: Module, DataModule and Trainer of edition 1.0 (section 3.2)."""

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrnn.d2l.compiled_steps import CompiledStep, draw_later
from tfrnn.d2l.given_numbers import real_number, whole_number
from tfrnn.d2l.hyperparameters import HyperParameters
from tfrnn.d2l.own_variables import BuiltByCall, VariableFinder
from tfrnn.d2l.progress_board import ProgressBoard
from tfrnn.errors import DivergedError, UserError
from tfrnn.layers.model_protocol import data_errors_explained
from tfrnn.training import step


class Module(BuiltByCall, VariableFinder, keras.Model, HyperParameters):
    """A model that says how it is trained. A subclass has `forward`, or an attribute `net`, and `loss`.

    It is a Keras model, and `Trainer.fit` trains it. Its loss is the method `loss(y_hat, y)`.

    Args:
      plot_train_per_epoch, plot_valid_per_epoch: how many points of each curve are drawn in an epoch; 0.5 is one in
        two epochs.
    Attributes:
      board: the ProgressBoard with its curves.
      training: whether it is being trained; None before.
    """

    def __init__(self, plot_train_per_epoch: float = 2, plot_valid_per_epoch: float = 1):
        super().__init__()
        self.save_hyperparameters()
        self.board = ProgressBoard()
        self.training: bool | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "loss" and value is None:
            return  # Keras's own attribute, which would hide the method
        super().__setattr__(name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if "trainer" in vars(self):
            kwargs.setdefault("training", self.training)
        # The pages reverse a sequence by `reversed`, which gives an iterator.
        return super().__call__(*(tf.stack(list(arg)) if isinstance(arg, Iterator) else arg for arg in args), **kwargs)

    def call(self, inputs: Any, *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
        if training is not None:
            self.training = training
        return self.forward(inputs, *args, **kwargs)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        raise UserError(
            f"{type(self).__name__} is trained by its own `loss` and `configure_optimizers`: use "
            "d2l.Trainer(max_epochs).fit(model, data) in place of compile and fit"
        )

    def forward(self, X: Any) -> Any:  # noqa: N803 (the book's name)
        """Returns the outputs for inputs X: those of the attribute `net`."""
        if "net" not in vars(self):
            raise UserError(f"expected {type(self).__name__} to have a method `forward` or an attribute `net`")
        return self.net(X)

    def loss(self, y_hat: Any, y: Any) -> Any:
        """Returns the loss of outputs y_hat for labels y. A subclass defines it."""
        raise NotImplementedError(f"expected {type(self).__name__} to have a method `loss`")

    def plot(self, key: str, value: Any, train: bool) -> None:
        """Adds a value to the curve `train_` + key or `val_` + key, at the present epoch of the training."""
        if "trainer" not in vars(self):
            raise UserError("expected plot to be called in training; call d2l.Trainer(max_epochs).fit(model, data)")
        if not tf.executing_eagerly():
            draw_later(lambda value: self.plot(key, value, train), value)
            return
        trainer, board = self.trainer, self.board
        board.xlabel = "epoch"
        if train:
            x, n = trainer.train_batch_idx / trainer.num_train_batches, trainer.num_train_batches
            board.draw(x, value, f"train_{key}", every_n=_every_n(n, self.plot_train_per_epoch))
        else:
            n = trainer.num_val_batches
            board.draw(trainer.epoch + 1, value, f"val_{key}", every_n=_every_n(n, self.plot_valid_per_epoch))

    def training_step(self, batch: Any) -> Any:
        """Returns the loss of a batch, whose last element has the labels, and plots it."""
        loss = self._loss_of(batch)
        self.plot("loss", loss, train=True)
        return loss

    def validation_step(self, batch: Any) -> None:
        """Plots the loss of a batch of the validation data."""
        self.plot("loss", self._loss_of(batch), train=False)

    def _loss_of(self, batch: Any) -> Any:
        return self.loss(self(*batch[:-1]), batch[-1])

    def configure_optimizers(self) -> Any:
        """Returns the optimizer: SGD with the learning rate of the attribute `lr`."""
        if not hasattr(self, "lr"):
            raise UserError(
                f"expected {type(self).__name__} to have a method `configure_optimizers` or an attribute `lr`"
            )
        return keras.optimizers.SGD(as_learning_rate(self.lr))


def _every_n(num_batches: int, points_per_epoch: float) -> int:
    """Returns how many batches make a point. Raises UserError unless there are more than 0 points in an epoch."""
    points = real_number("points in an epoch", points_per_epoch)
    if not 0 < points < math.inf:
        raise UserError(
            "expected `plot_train_per_epoch` and `plot_valid_per_epoch` above 0, the points of a curve in an epoch; "
            f"got {points_per_epoch}"
        )
    return int(num_batches // points)


def as_learning_rate(lr: Any) -> Any:
    """Returns a whole number as a float, which Keras expects, and anything else as it is."""
    return float(lr) if isinstance(lr, (int, np.integer)) and not isinstance(lr, bool) else lr


def _length(name: str, loader: Any) -> int:
    """Returns the number of batches of a loader. Raises UserError, which calls it by this name, if it has no length."""
    try:
        return len(loader)
    except TypeError:
        raise UserError(
            f"expected {name}() to give batches that can be read in each epoch and have a length, such as a list or a "
            f"tf.data.Dataset; got {type(loader).__name__}"
        ) from None


class DataModule(HyperParameters):
    """Data of a training. A subclass has `get_dataloader(train)`.

    Args:
      root: the folder for files that are downloaded.
    """

    def __init__(self, root: str = "../data"):
        self.save_hyperparameters()

    def get_dataloader(self, train: bool) -> Any:
        """Returns an iterable over the batches, with a length, of the training or the validation data."""
        raise NotImplementedError(f"expected {type(self).__name__} to have a method `get_dataloader`")

    def train_dataloader(self) -> Any:
        """Returns the batches to train on."""
        return self.get_dataloader(train=True)

    def val_dataloader(self) -> Any:
        """Returns the batches for validation, or None."""
        return self.get_dataloader(train=False)

    def get_tensorloader(self, tensors: Any, train: bool, indices: slice = slice(0, None)) -> tf.data.Dataset:
        """Returns a dataset of batches of `batch_size` rows, as a tuple of tensors.

        Args:
          tensors: tensors or arrays with the same number of rows.
          train: whether the rows are shuffled, in another order in each epoch.
          indices: the rows to take.
        """
        rows = tf.data.Dataset.from_tensor_slices(tuple(tensor[indices] for tensor in tensors))
        batch_size = whole_number("batch_size", self.batch_size)
        return (rows.shuffle(max(1, len(rows))) if train else rows).batch(batch_size)


class Trainer(HyperParameters):
    """Trains a Module on a DataModule. Training is compiled by TensorFlow where it can be.

    Where it would then compute something else than Python does, it is not compiled, and a warning says why.
    `tf.config.run_functions_eagerly(True)` lets Python run each step, to look into it.

    Args:
      max_epochs: the number of epochs.
      num_gpus: 0; TensorFlow itself uses a GPU that is there.
      gradient_clip_val: the largest norm of the gradients of all weights together; 0: any.
    """

    def __init__(self, max_epochs: int, num_gpus: int = 0, gradient_clip_val: float = 0):
        self.save_hyperparameters()
        self.max_epochs = whole_number("max_epochs", max_epochs, least=0)
        self.gradient_clip_val = real_number("gradient_clip_val", gradient_clip_val)
        if num_gpus:
            raise UserError(f"expected `num_gpus=0`, got {num_gpus}: TensorFlow itself uses a GPU that is there")
        self._compiled_for: Any = (None, None)  # the model and the optimizer of the compiled steps

    def prepare_data(self, data: Any) -> None:
        """Makes the batches of the training and the validation data."""
        self.train_dataloader, self.val_dataloader = data.train_dataloader(), data.val_dataloader()
        self.num_train_batches = _length("train_dataloader", self.train_dataloader)
        self.num_val_batches = 0 if self.val_dataloader is None else _length("val_dataloader", self.val_dataloader)
        if not self.num_train_batches:
            raise UserError("expected train_dataloader() to give at least one batch; got none")

    def prepare_model(self, model: Any) -> None:
        """Makes this the trainer of a model."""
        model.trainer = self
        model.board.xlim = [0, self.max_epochs]
        self.model = model

    def prepare_batch(self, batch: Any) -> Any:
        """Returns a batch as the model's steps take it: as it is."""
        return batch

    def fit(self, model: Any, data: Any) -> None:
        """Trains a model, and draws its curves in a notebook.

        Raises:
          DivergedError: the loss is not finite.
          UserError: there is no batch to train on.
        """
        self.prepare_data(data)
        self.prepare_model(model)
        self.optim = model.configure_optimizers()
        self.epoch = self.train_batch_idx = self.val_batch_idx = 0
        for epoch in range(self.max_epochs):
            self.epoch = epoch
            with data_errors_explained():
                self.fit_epoch()
        model.training = False

    def fit_epoch(self) -> None:
        """Trains for one epoch, and then calls the model's validation step for each batch of the validation data."""
        if self._compiled_for[0] is not self.model or self._compiled_for[1] is not self.optim:
            name = type(self.model).__name__
            self._train = CompiledStep(self._train_on, f"{name}.training_step", self.model, self)
            self._validate = CompiledStep(self.model.validation_step, f"{name}.validation_step", self.model, self)
            self._compiled_for = self.model, self.optim
        self.model.training = True
        for batch in self.train_dataloader:
            loss = self._train(self.prepare_batch(batch))
            if not np.all(np.isfinite(loss)):
                raise DivergedError(f"the loss is {loss} in epoch {self.epoch + 1}; try a smaller `lr`")
            self.train_batch_idx += 1
        self.model.training = False
        for batch in () if self.val_dataloader is None else self.val_dataloader:
            self._validate(self.prepare_batch(batch))
            self.val_batch_idx += 1

    def _train_on(self, batch: Any) -> tf.Tensor:
        """Makes one training step and returns its loss."""
        with tf.GradientTape() as tape:
            loss = self.model.training_step(batch)
        variables = self.model.trainable_variables
        # Keras's optimizers take a row that occurs twice in a sparse gradient for two rows.
        gradients = [grad if grad is None else tf.convert_to_tensor(grad) for grad in tape.gradient(loss, variables)]
        if self.gradient_clip_val > 0:
            clip = type(self).clip_gradients
            if clip.__module__ != __name__ and not tf.executing_eagerly():
                clip = tf.autograph.to_graph(clip)  # the page's decides by `if` on a tensor
            gradients = clip(self, self.gradient_clip_val, gradients)
        self.optim.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    def clip_gradients(self, grad_clip_val: float, grads: Any) -> list:
        """Returns the gradients, scaled down to the norm grad_clip_val if that of all together is above it."""
        return step.clip(step.of_those_there(tf.convert_to_tensor, list(grads)), grad_clip_val)[0]
