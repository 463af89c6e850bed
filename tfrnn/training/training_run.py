"""A training run: resumes from its run directory, keeps that up to date, and reports the results."""

import statistics
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import keras
import numpy as np

from tfrnn.cli import invocation, messages
from tfrnn.config.config import Config
from tfrnn.config.sections import DECAYING_SCHEDULES
from tfrnn.data.batches import Batches
from tfrnn.data.run_text import Text
from tfrnn.data.text_rules import NOUNS
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import DivergedError, RunWarning, UserError
from tfrnn.inference.generation import generate
from tfrnn.inference.samplers import Sampler
from tfrnn.plots.curves import plot_perplexity
from tfrnn.runs import metrics
from tfrnn.runs.checkpoints import Arrays, Layout
from tfrnn.runs.run_dir import RunDir
from tfrnn.runtime import devices
from tfrnn.training import plateau, stopping, tensorboard_log
from tfrnn.training.per_character import PerCharacter
from tfrnn.training.progress import Progress
from tfrnn.training.saving import SaveRun
from tfrnn.training.timing import Timed

NUM_PREDICTED = 50  # tokens shown after a prefix, as in the book


class ResumableTrainer(Protocol):
    """What a training run needs of a trainer. `Trainer` is one, and its docstrings say what each member does."""

    model: Any
    replicas: Any
    workers: Any
    jit_compile: bool
    excluded_seconds: dict[str, float]

    @property
    def epoch(self) -> int: ...

    @property
    def batch(self) -> int: ...

    def fit(
        self,
        batches: Batches,
        epochs: int,
        validation: Batches | None = None,
        callbacks: list[keras.callbacks.Callback] | None = None,
    ) -> keras.callbacks.History: ...

    def snapshot(self) -> dict[str, np.ndarray]: ...

    def restore(self, snapshot: Arrays) -> None: ...

    def num_chains(self, rows: int | None) -> int: ...

    @property
    def layouts(self) -> Mapping[str, Layout]: ...

    @property
    def position(self) -> tuple[int, int]: ...

    @property
    def epochs_without_gain(self) -> int: ...


class FollowerRun:
    """What every worker does in a training run: it begins where the chief's checkpoint ends, and trains.

    Args:
      config: the settings.
      text: the text to train on.
      trainer: one that has not trained yet.
      batches, validation: as for Trainer.fit.
    """

    def __init__(
        self, config: Config, text: Text, trainer: ResumableTrainer, batches: Batches, validation: Batches | None
    ):
        self._config, self._text, self._trainer = config, text, trainer
        self._batches, self._validation = batches, validation
        training = config.training
        self._plateau = None
        if training.schedule == "plateau":
            self._plateau = plateau.Plateau(training.plateau_patience, training.learning_rate * training.decay_to)

    def train(self) -> bool:
        """Trains from the newest checkpoint of the chief's run directory, or from the beginning if there is none.

        Returns:
          Whether the run is finished: False after Ctrl-C or SIGTERM.
        Raises:
          DivergedError: a loss or gradient norm was not finite; the chief has saved the weights before that.
          UserError: the run directory cannot be resumed or cannot be written.
        """
        trainer, training = self._trainer, self._config.training
        with stopping.StopOnSignal() as stop_on_signal:
            restored = self._restore()
            if self._is_finished:
                self._when_finished_before()
                return True
            callbacks: list[Any] = [self._plateau] if self._plateau else []
            if training.early_stopping:
                callbacks.append(stopping.EarlyStopping(lambda: trainer.epochs_without_gain, training.early_stopping))
            callbacks = [*self._prepare(restored, callbacks), stop_on_signal]
            trainer.fit(self._batches, training.epochs - trainer.epoch, self._validation, callbacks)
        return self._is_finished

    def report(self, finished: bool, resume_command: str) -> None:
        """Does nothing: only the chief reports. See TrainingRun."""

    @property
    def _is_finished(self) -> bool:
        """Whether all epochs are finished, or early stopping has ended the run."""
        training, trainer = self._config.training, self._trainer
        patience = training.early_stopping
        stopped_early = patience and trainer.batch == 0 and trainer.epochs_without_gain >= patience
        return trainer.epoch >= training.epochs or bool(stopped_early)

    def _restore(self) -> bool:
        """Restores the chief's newest checkpoint, and returns whether there is one."""
        saved = self._trainer.workers.broadcast_arrays(self._load())
        if saved is None:
            return False
        if self._plateau:
            self._plateau.state = saved.pop("plateau")
        self._trainer.restore(saved)
        return True

    def _load(self) -> dict[str, np.ndarray] | None:
        """Returns the arrays of the newest checkpoint; None if there is none, or if this is not the chief."""
        return None

    def _when_finished_before(self) -> None:
        """Called in place of training if the run is finished."""

    def _prepare(self, restored: bool, callbacks: list[Any]) -> list[Any]:
        """Called before training starts; adds the chief's callbacks to those of every worker."""
        return callbacks


class TrainingRun(FollowerRun):
    """Trains, saves and reports a run: that of the only process, or of the chief of several workers.

    Args:
      config, text, trainer, batches, validation: as for FollowerRun.
      run: the run directory, entered.
      summarize: (model) -> lines that describe the model.
      continue_prefix: (model, vocabulary, prefix, num_tokens, sampler, seed) -> the prefix and its continuation.
      plot: (rows of the metrics, title=...) -> a picture, see plot_perplexity.
    """

    def __init__(
        self,
        config: Config,
        text: Text,
        trainer: ResumableTrainer,
        batches: Batches,
        validation: Batches | None,
        run: RunDir,
        *,
        summarize: Callable[[Any], Iterable[str]],
        continue_prefix: Callable[[Any, Vocabulary, str, int, Sampler, int], str] = generate,
        plot: Callable[..., Any] = plot_perplexity,
    ):
        super().__init__(config, text, trainer, batches, validation)
        self._run, self._continue_prefix, self._summarize, self._plot = run, continue_prefix, summarize, plot
        self._timed: dict[str, Timed] = {}  # callbacks whose time is not that of training
        rows, count = trainer.replicas.rows_per_replica(batches.batch_size), trainer.replicas.count
        # What must be the same on resume (the text), or is better the same (how a step is executed).
        self._identity: dict[str, np.ndarray] = {
            "seed": np.array(config.training.seed, np.int64),
            "corpus_sha256": np.frombuffer(bytes.fromhex(text.sha256), np.uint8),
            "execution": np.array([trainer.num_chains(rows), trainer.jit_compile, count], np.int64),
        }

    _measure = "perplexity"  # what the progress shows

    @property
    def _characters_per_token(self) -> tuple[float, float]:
        """Of the training and the held-out text, if tokens are byte pairs; else 1."""
        return self._text.characters_per_token

    @property
    def _source(self) -> str:
        """What is trained on, in the picture's title."""
        return self._config.data.corpus

    def train(self) -> bool:
        """Trains and saves. See FollowerRun.train."""
        try:
            finished = super().train()
        except DivergedError as error:
            raise DivergedError(f"{error}; the run up to there is in {self._run.path}") from None
        if self._timed:
            self._note_excluded()
        return finished

    def _note_excluded(self) -> None:
        excluded = {**self._trainer.excluded_seconds, **{name: c.seconds for name, c in self._timed.items()}}
        listed = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in excluded.items())
        messages.note(f"not counted in tokens/sec: {listed}")

    def report(self, finished: bool, resume_command: str) -> None:
        """Prints the results of a finished run: perplexity, speed, a continuation of each prefix, and next steps.

        Args:
          finished: what `train` returned.
          resume_command: the command that is shown to resume an interrupted run.
        Raises:
          UserError: metrics.jsonl has no row of the last epoch.
        """
        run, trainer = self._run, self._trainer
        if not finished:
            messages.note(f"interrupted after {self._describe_position()}; saved")
            messages.show_next_steps({"resume": resume_command})
            return
        rows = [row for row in run.metrics.rows() if row["epoch"] <= trainer.epoch]
        if not rows or rows[-1]["epoch"] != trainer.epoch:
            raise UserError(
                f"`run_dir={run.path}`: expected the row of epoch {trainer.epoch} in metrics.jsonl, but it is damaged "
                "or missing; bring the file back, or continue with a larger `epochs`"
            )
        perplexity = rows[-1]["perplexity"]
        rounded = f"{perplexity:.1f}" if perplexity < 1e6 else f"{perplexity:.3g}"
        device, count = devices.device_name(self._config.run.device), trainer.replicas.count
        noun, (_, characters_per_token) = NOUNS[self._config.data.token_kind], self._characters_per_token
        if held_out := metrics.describe_held_out(rows, noun, characters_per_token):
            messages.note(held_out)
        all_devices = device if count == 1 else f"{count} x {device}"
        print(f"perplexity {rounded}, {_tokens_per_sec(rows, self._batches):.1f} tokens/sec on {all_devices}")
        print("\n".join(self._predictions()), flush=True)
        if failure := metrics.describe_failure(rows, len(self._text.vocabulary) - 1):
            messages.note(failure)
        run_dir = f"--run_dir={run.path}"
        # The book shows what the last weights have learnt by heart; of one's own text the best are wanted.
        last = () if self._config.data.validation_fraction else ("--checkpoint=last",)
        part = () if self._validation else ("--part=training",)
        page = f"--heatmap={run.path / 'heatmap.html'}"
        messages.show_next_steps(
            {
                "read more": invocation.command_line("sample", run_dir, *last, "--length=200"),
                "see where it is surprised": invocation.command_line("evaluate", run_dir, *part, page),
                "make a page in which anyone can try it": invocation.command_line("export", run_dir, "--format=page"),
            }
        )

    def _describe_position(self) -> str:
        """Returns how far the run has come, e.g. `3 epochs and 12 batches`."""
        batches = f" and {self._trainer.batch} batches" if self._trainer.batch else ""
        return f"{self._trainer.epoch} epochs{batches}"

    def _when_finished_before(self) -> None:
        run, trainer = self._run, self._trainer
        setting = "early_stopping" if trainer.epoch < self._config.training.epochs else "epochs"
        messages.note(f"run directory: {run.path}")
        messages.note(f"this run is finished after {trainer.epoch} epochs; to continue it, give a larger `{setting}`")
        if run.plot_is_outdated:  # it was killed between the last checkpoint and the picture
            self._save_plot()

    def _prepare(self, restored: bool, callbacks: list[Any]) -> list[Any]:
        """Writes what must be in the run directory before training starts, and adds the callbacks that keep it."""
        run, settings = self._run, self._config.run
        if settings.log_dir:
            log = tensorboard_log.TensorBoardLog(settings.log_dir, self._predictions, settings.show_every)
            callbacks = [log, *callbacks]
        if self._characters_per_token != (1.0, 1.0):
            callbacks = [PerCharacter(*self._characters_per_token), *callbacks]
        with run.reporting_write_errors():
            run.create(self._config, self._text.vocabulary)
            run.metrics.keep(self._trainer.epoch)
            if not restored:
                self._save_checkpoint()  # so that even a run killed in its first second can be resumed
        messages.note(f"run directory: {run.path}")
        if run.existed:
            messages.note(f"resuming after {self._describe_position()}")
        else:
            messages.note("\n".join(self._summarize(self._trainer.model)))
        if self._trainer.jit_compile:
            device = devices.device_name(self._config.run.device)
            messages.note(
                f"{device}: XLA compiles the step before the first one, which takes some seconds, up to a minute for "
                "many layers; with --jit_compile=off training begins at once, and each step is slower on a GPU"
            )
        progress = Progress(self._predictions, settings.show_every, self._measure)
        saving = SaveRun(run, self._save_checkpoint, self._save_plot, settings.save_every)
        self._timed = {"predictions": progress, "saving": saving}
        return [*callbacks, saving, progress]

    def _own_arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays of a checkpoint that are not in the trainer's snapshot."""
        return {**self._identity, **({"plateau": self._plateau.state} if self._plateau else {})}

    def _save_checkpoint(self) -> None:
        self._run.save(self._trainer.position, {**self._trainer.snapshot(), **self._own_arrays()})

    def _load(self) -> dict[str, np.ndarray] | None:
        if not self._run.existed:
            return None
        layouts = {name: Layout.of(array) for name, array in self._own_arrays().items()}
        saved = self._run.load({**self._trainer.layouts, **layouts}, self._config, self._text.vocabulary)
        if saved is None:
            return None
        self._warn_if_schedule_changes()
        self._check_identity(saved)
        return {name: array for name, array in saved.items() if name not in self._identity}

    def _predictions(self) -> list[str]:
        model, vocabulary, config = self._trainer.model, self._text.vocabulary, self._config
        sampler = Sampler(temperature=config.run.temperature)
        return [
            self._continue_prefix(model, vocabulary, prefix, NUM_PREDICTED, sampler, config.training.seed)
            for prefix in config.run.prefix
        ]

    def _check_identity(self, saved: Mapping[str, np.ndarray]) -> None:
        """Raises UserError if the text has changed since the run began; warns if a step is executed differently."""
        if not np.array_equal(self._identity["corpus_sha256"], saved["corpus_sha256"]):
            raise self._run.changed_corpus_error(self._config)
        executions = saved["execution"], self._identity["execution"]
        if not np.array_equal(*executions):
            has_replicas = any(replicas > 1 for _, _, replicas in executions)
            before, now = (
                f"{chains} chains, XLA {'on' if jit else 'off'}" + (f", {replicas} replicas" if has_replicas else "")
                for chains, jit, replicas in executions
            )
            warnings.warn(
                f"a step was computed with {before} before and is with {now} now, because of `chains`, `jit_compile`, "
                "`strategy` or the number of workers or cores; the results will differ from those without the change",
                RunWarning,
                stacklevel=2,
            )

    def _warn_if_schedule_changes(self) -> None:
        before, now = self._run.config().training.epochs, self._config.training.epochs
        schedule = self._config.training.schedule
        if before != now and schedule in DECAYING_SCHEDULES:
            warnings.warn(
                f"`schedule={schedule}` is that of {now} epochs from now on, and was that of {before}: the learning "
                "rate jumps here",
                RunWarning,
                stacklevel=2,
            )

    def _save_plot(self) -> None:
        run, config = self._run, self._config
        try:
            if rows := run.metrics.rows():
                title = f"{self._source}, {config.model.cell} {config.model.units}"
                run.save_plot(self._plot(rows, title=title).png)
        except Exception as error:  # no error in a picture is worth the results of training
            warnings.warn(f"{run.path}: the picture cannot be made ({error})", RunWarning, stacklevel=2)


def _tokens_per_sec(rows: list[dict[str, Any]], batches: Batches) -> float:
    """Returns the speed over the whole run: the harmonic mean, as all epochs have about the same number of tokens."""
    if speeds := [row["tokens_per_sec"] for row in rows if row["tokens_per_sec"]]:
        return statistics.harmonic_mean(speeds)
    # Every call has traced, so that only the time of the whole epoch is known.
    return batches.num_batches(0) * batches.batch_size * batches.num_steps / max(rows[-1]["seconds"], 1e-9)
