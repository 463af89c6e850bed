"""A training run: gone on with from where its run directory stands, which is kept up to date, and reported."""

import statistics
import warnings
from typing import Any

import numpy as np

from tfrnn.cli import invocation, messages
from tfrnn.config.config import Config
from tfrnn.config.sections import DECAYING_SCHEDULES
from tfrnn.data.batches import Batches
from tfrnn.data.run_text import Text
from tfrnn.errors import DivergedError, RunWarning, UserError
from tfrnn.inference.generation import generate
from tfrnn.models.labeller import summary
from tfrnn.runs import checkpoints, metrics
from tfrnn.runs.checkpoints import Layout
from tfrnn.runs.run_dir import RunDir
from tfrnn.runtime import devices
from tfrnn.training import event_files, plateau, stopping
from tfrnn.training import progress as progress_lib
from tfrnn.training import saving as saving_lib
from tfrnn.training.trainer import Trainer

PREDICTED = 50  # tokens shown after a prefix, as in the book


class TrainingRun:
    """Of several workers each has one; the chief's alone has a run directory, and speaks.

    Args:
      config: the settings.
      text: what is trained on.
      run: the chief's; None in the other workers.
      trainer: one that has not begun.
      batches, validation: as for Trainer.fit.
    """

    def __init__(
        self,
        config: Config,
        text: Text,
        run: RunDir | None,
        trainer: Trainer,
        batches: Batches,
        validation: Batches | None,
    ):
        self._config, self._text, self._run, self._trainer = config, text, run, trainer
        self._batches, self._validation = batches, validation
        training = config.training
        # What must be, or is better to be, the same when training goes on.
        self._identity: dict[str, np.ndarray] = {
            "seed": np.array(training.seed, np.int64),
            "corpus_sha256": np.frombuffer(bytes.fromhex(text.sha256), np.uint8),
            "execution": np.array(
                [
                    trainer.num_chains(trainer.replicas.share(batches.batch_size)),
                    trainer.jit_compile,
                    trainer.replicas.count,
                ],
                np.int64,
            ),
        }
        self._plateau = None
        if training.schedule == "plateau":
            self._plateau = plateau.Plateau(training.plateau_patience, training.learning_rate * training.decay_to)

    def go_on(self) -> bool:
        """Trains from where the run directory stands; gives whether the run is finished."""
        run, trainer = self._run, self._trainer
        with stopping.StopOnSignal() as signals:
            begun = self._restore()
            if self._is_finished:
                self._remark_on_the_end()
                return True
            served: list[Any] = [self._plateau] if self._plateau else []
            if patience := self._config.training.early_stopping:
                served.append(stopping.EarlyStopping(lambda: trainer.epochs_without_gain, patience))
            saving = progress = None
            if run:
                if log_dir := self._config.run.log_dir:
                    show_every = self._config.run.show_every
                    served.append(event_files.LogForTensorBoard(log_dir, self._predictions, show_every))
                self._begin(run, begun)
                progress = progress_lib.Progress(self._predictions, self._config.run.show_every)
                saving = saving_lib.SaveRun(run, self._save, self._save_plot, self._config.run.save_every)
                served += [saving, progress]
            try:
                epochs = self._config.training.epochs - trainer.epoch
                trainer.fit(self._batches, epochs, self._validation, [*served, signals])
            except DivergedError as error:
                if not run:
                    raise
                raise DivergedError(f"{error}; the run up to there is in {run.path}") from None
        if saving and progress:
            apart = {**trainer.seconds_apart, "predictions": progress.seconds, "saving": saving.seconds}
            shown = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in apart.items())
            messages.note(f"not counted in tokens/sec: {shown}")
        return self._is_finished

    def report(self) -> None:
        """Prints the closing lines of a finished run."""
        run, trainer = self._run, self._trainer
        if not run:
            return
        rows = [row for row in run.metrics.rows() if row["epoch"] <= trainer.epoch]
        if not rows or rows[-1]["epoch"] != trainer.epoch:
            raise UserError(
                f"--run_dir {run.path}: expected the row of epoch {trainer.epoch} in metrics.jsonl, where it is "
                "damaged or gone; bring it back, or go on with a larger --epochs"
            )
        perplexity = rows[-1]["perplexity"]
        shown = f"{perplexity:.1f}" if perplexity < 1e6 else f"{perplexity:.3g}"
        device, count = devices.device_name(self._config.run.device), trainer.replicas.count
        if remark := metrics.learnt_by_heart(rows):
            messages.note(remark)
        where = device if count == 1 else f"{count} x {device}"
        print(f"perplexity {shown}, {_tokens_per_sec(rows, self._batches):.1f} tokens/sec on {where}")
        print("\n".join(self._predictions()))
        run_dir = f"--run_dir={run.path}"
        part = () if self._validation else ("--part=training",)
        page = f"--heatmap={run.path / 'heatmap.html'}"
        messages.show_next_steps(
            {
                "read more": invocation.command_line("sample", run_dir, "--checkpoint=last", "--length=200"),
                "see where it is surprised": invocation.command_line("evaluate", run_dir, *part, page),
            }
        )

    @property
    def where(self) -> str:
        """How far it has come, in words."""
        batches = f" and {self._trainer.batch} batches" if self._trainer.batch else ""
        return f"{self._trainer.epoch} epochs{batches}"

    @property
    def _is_finished(self) -> bool:
        """Whether all epochs are done, or as many without gain as end training."""
        training, trainer = self._config.training, self._trainer
        patience = training.early_stopping
        stopped_early = patience and trainer.batch == 0 and trainer.epochs_without_gain >= patience
        return trainer.epoch >= training.epochs or bool(stopped_early)

    def _remark_on_the_end(self) -> None:
        run, trainer = self._run, self._trainer
        if not run:
            return
        larger = "--early_stopping" if trainer.epoch < self._config.training.epochs else "--epochs"
        messages.note(f"run directory: {run.path}")
        messages.note(f"this run is finished: {trainer.epoch} epochs; a larger {larger} goes on")
        if run.picture_is_old:  # it was stopped between the last checkpoint and the picture
            self._save_plot()

    def _beside(self) -> dict[str, np.ndarray]:
        """What a checkpoint has beside the trainer's snapshot."""
        return {**self._identity, **({"plateau": self._plateau.state} if self._plateau else {})}

    def _save(self) -> None:
        assert self._run
        self._run.save(self._trainer.position, {**self._trainer.snapshot(), **self._beside()})

    def _restore(self) -> bool:
        """Goes back to the newest checkpoint, in all workers; gives whether there is one."""
        saved = None
        if self._run and self._run.begun_before:
            layouts = {name: Layout.of(array) for name, array in self._beside().items()}
            saved = self._run.load({**self._trainer.layouts, **layouts}, self._config, self._text.vocabulary)
            if saved is not None:
                self._remark_on_epochs(self._run)
                self._check_identity(self._run, saved)
        replicas = self._trainer.replicas
        if replicas.num_workers > 1:
            packed = replicas.broadcast(bytes(checkpoints.pack(saved)) if saved else b"")
            saved = checkpoints.unpack(packed) if packed else None
        if saved is None:
            return False
        if self._plateau:
            self._plateau.state = saved["plateau"]
        beside = self._beside()
        self._trainer.restore({name: array for name, array in saved.items() if name not in beside})
        return True

    def _begin(self, run: RunDir, begun: bool) -> None:
        """The run directory as it is when training starts."""
        with run.must_write():
            run.create(self._config, self._text.vocabulary)
            run.metrics.keep(self._trainer.epoch)
            if not begun:
                self._save()  # so that a run can be gone on with from its first second
        messages.note(f"run directory: {run.path}")
        if run.begun_before:
            messages.note(f"going on after {self.where}")
        else:
            messages.note("\n".join(summary(self._trainer.model)))

    def _predictions(self) -> list[str]:
        vocabulary = self._text.vocabulary
        return [generate(self._trainer.model, vocabulary, prefix, PREDICTED) for prefix in self._config.run.prefix]

    def _check_identity(self, run: RunDir, before: dict[str, np.ndarray]) -> None:
        """Raises UserError where the text is another than when the run began; remarks on another way of computing."""
        if not np.array_equal(self._identity["corpus_sha256"], before["corpus_sha256"]):
            raise run.changed(f"the text of --corpus={self._config.data.corpus}")
        executions = before["execution"], self._identity["execution"]
        if not np.array_equal(*executions):
            several = any(replicas > 1 for _, _, replicas in executions)
            ways = [
                f"{chains} chains, XLA {'on' if jit else 'off'}" + (f", {replicas} replicas" if several else "")
                for chains, jit, replicas in executions
            ]
            warnings.warn(
                f"a step was computed with {ways[0]} before and is with {ways[1]} now, by --chains, --jit_compile, "
                "--strategy, the number of workers or of cores; the results will be others than without the change",
                RunWarning,
                stacklevel=2,
            )

    def _remark_on_epochs(self, run: RunDir) -> None:
        before, now = run.config().training.epochs, self._config.training.epochs
        schedule = self._config.training.schedule
        if before != now and schedule in DECAYING_SCHEDULES:
            warnings.warn(
                f"--schedule={schedule} is that of {now} epochs from now on, and was that of {before}: the learning "
                "rate jumps here",
                RunWarning,
                stacklevel=2,
            )

    def _save_plot(self) -> None:
        run, config = self._run, self._config
        assert run
        try:
            from tfrnn.plots.curves import plot_perplexity

            if rows := run.metrics.rows():
                title = f"{config.data.corpus}, {config.model.cell} {config.model.units}"
                run.save_plot(plot_perplexity(rows, title=title).png)
        except Exception as error:  # whatever it is, it is but a picture
            warnings.warn(f"{run.path}: the picture cannot be made ({error})", RunWarning, stacklevel=2)


def _tokens_per_sec(rows: list[dict[str, Any]], batches: Any) -> float:
    """Over the whole run: the harmonic mean, since epochs have about equally many tokens."""
    if speeds := [row["tokens_per_sec"] for row in rows if row["tokens_per_sec"]]:
        return statistics.harmonic_mean(speeds)
    # A single call, which also traced.
    return batches.num_batches(0) * batches.batch_size * batches.num_steps / max(rows[-1]["seconds"], 1e-9)
