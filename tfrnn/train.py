"""Trains a language model on a text: `python -m tfrnn.train --help`."""

import dataclasses
import hashlib
import io
import itertools
import shlex
import statistics
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrnn import command_line, corpora, metrics, runtime, text_rules
from tfrnn import config as config_lib
from tfrnn.checkpoints import Layout
from tfrnn.config import Config
from tfrnn.errors import DivergedError, RunWarning, UserError
from tfrnn.settings import Section, setting
from tfrnn.vocabulary import Vocabulary

ABOUT = """Trains a recurrent language model on a text, saves it, and continues the text's prefixes.

  python -m tfrnn.train --corpus=time_machine --preset=rnn_scratch

The same command with the same --run_dir goes on where it ended."""
DECAYING = {"cosine", "exponential"}  # schedules that know when training ends
PREDICTED = 50  # tokens shown after a prefix, as in the book


@dataclasses.dataclass(frozen=True)
class Which(Section):
    """The run"""

    preset: str = setting(
        config_lib.DEFAULT_PRESET,
        "settings of a section of the book; flags given beside it win",
        choices=tuple(config_lib.PRESETS),
    )
    run_dir: str = setting("", "its folder; by default runs/<preset or cell>-<corpus>-<time>")


def main(argv: Sequence[str]) -> None:
    config, preset, run_dir = parse_flags(argv)
    if not run_dir:
        run_dir = default_run_dir(preset or config.model.cell, config.data.corpus)
        argv = [*argv, f"--run_dir={run_dir}"]
    again = shlex.join([*command_line.python_module("train"), *argv[1:]])
    train(config, run_dir, again)


def parse_flags(argv: Sequence[str]) -> tuple[Config, str, str]:
    """The settings, the preset if one was named, and the run directory if one was."""
    flags = command_line.Flags("train", ABOUT)
    for section in (Which, *config_lib.SECTIONS):
        flags.define(section)
    given = flags.parse(argv)
    preset, run_dir = given.pop("preset", ""), given.pop("run_dir", "")
    config = Config.from_preset(preset or Which.preset, **given)
    schedule = config.training.schedule
    for name, users in (("decay_to", DECAYING | {"plateau"}), ("plateau_patience", {"plateau"})):
        if name in given and schedule not in users:
            raise UserError(f"--{name} is for --schedule={' or '.join(sorted(users))}; got {schedule}; leave one out")
    return config, preset, run_dir


def default_run_dir(name: str, corpus: str) -> str:
    """runs/<name>-<corpus>-<time>, one that is not there yet."""
    path = f"runs/{name}-{Path(corpus).stem[:50]}-{time.strftime('%Y%m%d-%H%M%S')}"
    numbered = itertools.chain([path], (f"{path}-{i}" for i in itertools.count(2)))
    return next(candidate for candidate in numbered if not Path(candidate).exists())


@dataclasses.dataclass(frozen=True)
class Text:
    """A corpus as a run reads it; int32 ids."""

    vocabulary: Vocabulary
    training: np.ndarray
    validation: np.ndarray
    sha256: str  # of the whole cleaned text in UTF-8


def read(config: Config) -> tuple[Config, Text]:
    """The text's ids, and the config with what depends on the text filled in: its rule and its prefixes."""
    data = config.data
    rule = corpora.text_rule_of(data.corpus) if data.text_rule == "auto" else data.text_rule
    text = corpora.load_corpus(data.corpus, rule, data.tokens)
    parts = corpora.split(text, data.tokens, data.max_tokens, data.validation_tokens)
    vocabulary = Vocabulary.from_text(text if data.vocabulary == "corpus" else parts[0], data.tokens)
    validation = vocabulary.encode(parts[1], unknown="unk")
    if len(validation) < 2 and (config.training.early_stopping or config.training.schedule == "plateau"):
        raise UserError(
            "--early_stopping and --schedule=plateau need a held-out text of two tokens at least; got "
            f"{len(validation)}; give --validation_tokens, or less --max_tokens"
        )
    if unknown := int((validation == 0).sum()):
        command_line.note(f"{unknown} of {len(validation)} validation tokens are not in the vocabulary: read as <unk>")
    prefixes = config.run.prefix or corpora.prefixes_of(data.corpus, text, data.tokens)
    prefixes = text_rules.clean_prefixes(prefixes, rule, data.tokens)
    for prefix in prefixes:
        vocabulary.encode_prefix(prefix)  # an unknown character is an error, and now is the time to say so
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    read = Text(vocabulary, vocabulary.encode(parts[0]), validation, sha256)
    return config.replace(text_rule=rule, prefix=prefixes), read


def make_batches(config: Config, text: Text) -> tuple[Any, Any]:
    """Training batches, and validation batches without an offset; None where two tokens are not held out."""
    from tfrnn.batches import random_batches, sequential_batches

    data, held_out = config.data, len(text.validation)
    kind = {"sequential": sequential_batches, "random": random_batches}[data.sampling]
    batches = kind(text.training, data.batch_size, data.num_steps, config.training.seed, data.random_offset)
    if held_out < 2:
        return batches, None
    num_steps = min(data.num_steps, held_out - 1)
    rows = min(data.batch_size, held_out // (num_steps + 1))
    return batches, sequential_batches(text.validation, rows, num_steps, random_offset=False)


def train(config: Config, run_dir: str, again: str = "") -> None:
    """Trains as the config says, from where the run directory stands, and prints the closing lines.

    Args:
      config: the settings.
      run_dir: new, empty, or of a run with the same settings.
      again: the command to show to someone who interrupts.
    """
    config, text = read(config)
    # What is wrong with flags and texts is said before TensorFlow loads and before memory is taken.
    runtime.check_memory(
        config.least_bytes(len(text.vocabulary)),
        f"training with --units={config.model.units}, --num_layers={config.model.num_layers}, --batch_size="
        f"{config.data.batch_size}, --num_steps={config.data.num_steps} and {len(text.vocabulary):,} different tokens",
    )
    runtime.import_tensorflow_quietly()
    runtime.set_threads()
    from tfrnn.run_dir import RunDir

    with RunDir(run_dir) as run:
        if run.begun_before:
            run.check_same(config, text.vocabulary)
        batches, validation = make_batches(config, text)
        trainer = _make_trainer(config, text, batches)
        if _go_on(config, text, run, trainer, batches, validation):
            _report(config, text, run, trainer, batches)
        else:
            where = f"{trainer.epoch} epochs and {trainer.batch} batches"
            command_line.note(f"interrupted after {where}; saved. To go on: {again}")


def _make_trainer(config: Config, text: Text, batches: Any) -> Any:
    """A trainer that has not begun."""
    from tfrnn import step
    from tfrnn.model import build_language_model
    from tfrnn.trainer import Trainer

    training = config.training
    runtime.check_chains(training.chains, batches.batch_size)
    total_steps = training.epochs * batches.num_batches(0)
    if training.warmup_steps >= total_steps:
        raise UserError(
            f"--warmup_steps must be below the {total_steps} steps of all epochs; got {training.warmup_steps}; "
            "take fewer"
        )
    strategy = runtime.one_device(config.run.device)
    runtime.set_seed(training.seed, training.deterministic)
    with strategy.scope():
        model = build_language_model(config.model, len(text.vocabulary))
        optimizer = step.make_optimizer(training, total_steps)
    return Trainer(model, optimizer, training.clip_norm, strategy, chains=training.chains, jit_compile=training.jit)


def _predictions(config: Config, text: Text, trainer: Any) -> list[str]:
    from tfrnn.generation import generate

    return [generate(trainer.model, text.vocabulary, prefix, PREDICTED) for prefix in config.run.prefix]


def _is_finished(config: Config, trainer: Any) -> bool:
    """Whether all epochs are done, or as many without gain as end training."""
    patience = config.training.early_stopping
    stopped_early = patience and trainer.batch == 0 and trainer.epochs_without_gain >= patience
    return trainer.epoch >= config.training.epochs or bool(stopped_early)


def _go_on(config: Config, text: Text, run: Any, trainer: Any, batches: Any, validation: Any) -> bool:
    """Trains from where the run directory stands, keeping it up to date; gives whether it is finished."""
    from tfrnn import callbacks, event_files
    from tfrnn.model import summary

    # What must be, or is better to be, the same when training goes on.
    identity: dict[str, np.ndarray] = {
        "seed": np.array(config.training.seed, np.int64),
        "corpus_sha256": np.frombuffer(bytes.fromhex(text.sha256), np.uint8),
        "execution": np.array([trainer.num_chains(batches.batch_size), trainer.jit_compile], np.int64),
    }
    title = f"{config.data.corpus}, {config.model.cell} {config.model.units}"
    training, predict = config.training, lambda: _predictions(config, text, trainer)
    served: list[Any] = []
    plateau = None
    if training.schedule == "plateau":
        plateau = callbacks.Plateau(training.plateau_patience, training.learning_rate * training.decay_to)
        served.append(plateau)
    if training.early_stopping:
        served.append(callbacks.EarlyStopping(lambda: trainer.epochs_without_gain, training.early_stopping))

    def beside() -> dict[str, np.ndarray]:
        """What a checkpoint has beside the trainer's snapshot."""
        return {**identity, **({"plateau": plateau.state} if plateau else {})}

    def save() -> None:
        run.save(trainer.position, {**trainer.snapshot(), **beside()})

    with callbacks.StopOnSignal() as signals:
        saved = None
        if run.begun_before:
            layouts = {**trainer.layouts, **{name: Layout.of(array) for name, array in beside().items()}}
            saved = run.load(layouts, config, text.vocabulary)
        if saved is not None:
            _remark_on_epochs(config, run)
            if plateau:
                plateau.state = saved.pop("plateau")
            _check_identity(config, run, identity, {name: saved.pop(name) for name in identity})
            trainer.restore(saved)
        if _is_finished(config, trainer):
            early = trainer.epoch < training.epochs
            larger = "--early_stopping" if early else "--epochs"
            command_line.note(f"run directory: {run.path}")
            command_line.note(f"this run is finished: {trainer.epoch} epochs; a larger {larger} goes on")
            if run.picture_is_old:  # it was stopped between the last checkpoint and the picture
                _save_plot(run, title)
            return True
        if config.run.log_dir:
            served.append(event_files.LogForTensorBoard(config.run.log_dir, predict, config.run.show_every))
        with run.must_write():
            run.create(config, text.vocabulary)
            run.metrics.keep(trainer.epoch)
            if saved is None:
                save()  # so that a run can be gone on with from its first second
        command_line.note(f"run directory: {run.path}")
        if run.begun_before:
            command_line.note(f"going on after {trainer.epoch} epochs and {trainer.batch} batches")
        else:
            command_line.note("\n".join(summary(trainer.model)))
        progress = callbacks.Progress(predict, config.run.show_every)
        saving = callbacks.SaveRun(run, save, lambda: _save_plot(run, title), config.run.save_every)
        served += [saving, progress, signals]
        try:
            trainer.fit(batches, training.epochs - trainer.epoch, validation, served)
        except DivergedError as error:
            raise DivergedError(f"{error}; the run up to there is in {run.path}") from None
    apart = {**trainer.seconds_apart, "predictions": progress.seconds, "saving": saving.seconds}
    command_line.note(
        "left out of tokens/sec: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in apart.items())
    )
    return _is_finished(config, trainer)


def _report(config: Config, text: Text, run: Any, trainer: Any, batches: Any) -> None:
    """Prints the closing lines of a finished run."""
    rows = [row for row in run.metrics.rows() if row["epoch"] <= trainer.epoch]
    if not rows or rows[-1]["epoch"] != trainer.epoch:
        raise UserError(
            f"--run_dir {run.path}: expected the row of epoch {trainer.epoch} in metrics.jsonl, where it is damaged or "
            "gone; bring it back, or go on with a larger --epochs"
        )
    perplexity = rows[-1]["perplexity"]
    shown = f"{perplexity:.1f}" if perplexity < 1e6 else f"{perplexity:.3g}"
    device = runtime.device_name(config.run.device)
    if remark := metrics.learnt_by_heart(rows):
        command_line.note(remark)
    print(f"perplexity {shown}, {_tokens_per_sec(rows, batches):.1f} tokens/sec on {device}")
    print("\n".join(_predictions(config, text, trainer)))
    sampling = shlex.join([*command_line.python_module("sample"), f"--run_dir={run.path}", "--checkpoint=last"])
    command_line.note(f"to read more: {sampling}")


def _check_identity(config: Config, run: Any, now: dict[str, np.ndarray], before: dict[str, np.ndarray]) -> None:
    """Raises UserError where the text is another than when the run began; remarks on another way of computing."""
    if not np.array_equal(now["corpus_sha256"], before["corpus_sha256"]):
        raise run.changed(f"the text of --corpus={config.data.corpus}")
    if not np.array_equal(now["execution"], before["execution"]):
        ways = [
            f"{chains} chains, XLA {'on' if jit else 'off'}" for chains, jit in (before["execution"], now["execution"])
        ]
        warnings.warn(
            f"a step was computed with {ways[0]} before and is with {ways[1]} now, by --chains, --jit_compile or the "
            "number of cores; the results will be others than without the change",
            RunWarning,
            stacklevel=2,
        )


def _remark_on_epochs(config: Config, run: Any) -> None:
    before, now = run.config().training.epochs, config.training.epochs
    if before != now and config.training.schedule in DECAYING:
        warnings.warn(
            f"--schedule={config.training.schedule} is that of {now} epochs from now on, and was that of {before}: the "
            "learning rate jumps here",
            RunWarning,
            stacklevel=2,
        )


def _save_plot(run: Any, title: str) -> None:
    try:
        from tfrnn.plots import plot_perplexity

        if rows := run.metrics.rows():
            png = io.BytesIO()
            plot_perplexity(rows, png, title)
            run.save_plot(png.getvalue())
    except Exception as error:  # whatever it is, it is but a picture
        warnings.warn(f"{run.path}: the picture cannot be made ({error})", RunWarning, stacklevel=2)


def _tokens_per_sec(rows: list[dict[str, Any]], batches: Any) -> float:
    """Over the whole run: the harmonic mean, since epochs have about equally many tokens."""
    if speeds := [row["tokens_per_sec"] for row in rows if row["tokens_per_sec"]]:
        return statistics.harmonic_mean(speeds)
    # A single call, which also traced.
    return batches.num_batches(0) * batches.batch_size * batches.num_steps / max(rows[-1]["seconds"], 1e-9)


if __name__ == "__main__":
    command_line.run(main)
