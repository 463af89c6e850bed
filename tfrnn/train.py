"""Trains a recurrent language model on a text and continues prefixes with it.

The same command with the same --run_dir resumes training where it stopped.
"""

import dataclasses
import faulthandler
import importlib.util
import json
import math
import sys
import time
from collections.abc import Sequence
from typing import Any

from tfrnn.cli import flags as flags_lib
from tfrnn.cli import foreign_flags, invocation, messages, program
from tfrnn.config import config as config_lib
from tfrnn.config import own_text, presets, sections, sizes
from tfrnn.config.config import Config
from tfrnn.config.settings import Section, setting
from tfrnn.data import run_text as text_lib
from tfrnn.data import window_counts
from tfrnn.data.run_text import Text
from tfrnn.data.text_rules import NOUNS
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import DivergedError, MissingFileError, UserError
from tfrnn.runs import run_dir as run_dir_lib
from tfrnn.runs.given import Given, check_unchanged, settings_given, settings_resumed
from tfrnn.runs.opening import open_trained
from tfrnn.runs.run_dir import RunDir
from tfrnn.runtime import cluster, devices, execution, host, threads

EXAMPLES = (
    "--preset=rnn_concise --run_dir=runs/first",
    "--corpus=my_book.txt --minutes=10",
)


@dataclasses.dataclass(frozen=True)
class RunFlags(Section):
    """The run"""

    preset: str = setting(
        "",
        f"sets defaults; by default {presets.DEFAULT_PRESET}, {presets.OWN_TEXT} for a path",
        choices=tuple(presets.PRESETS),
    )
    run_dir: str = setting("", "folder of the run; by default a new one in runs/")


def main(argv: Sequence[str]) -> None:
    given, preset, run_dir = parse_flags(argv)
    if not run_dir:
        run_dir = run_dir_lib.default_path(preset or given.config.model.cell, given.config.data.corpus)
        argv = [*argv, f"--run_dir={run_dir}"]
    repeated = invocation.without_long_prefixes(argv[1:])
    resume_command = invocation.command_line("train", *repeated)
    if len(repeated) < len(argv) - 1:
        resume_command += "  (and the same --prefix)"
    train(given, run_dir, resume_command)


def make_flags() -> flags_lib.Flags:
    flags = flags_lib.Flags("train", __doc__, EXAMPLES)
    for section in (RunFlags, *config_lib.SECTIONS):
        flags.define(section)
    return flags


def parse_flags(argv: Sequence[str]) -> tuple[Given, str, str]:
    """Returns what the flags give, the preset and the run directory, each "" if it is not given.

    What the flags leave to the run, or to the one that it begins with, is taken from there.

    Raises UserError if a flag is wrong, or has no effect beside the others.
    """
    flags = make_flags().parse(argv)
    preset, run_dir = flags.pop("preset", ""), flags.pop("run_dir", "")
    run = RunDir(run_dir)
    begun = run.config() if run_dir and run.exists else None
    init_from = flags.get("init_from", "")
    if (not begun or begun.training.init_from != init_from) and (answer := foreign_flags.answer_init_from(init_from)):
        raise UserError(answer)
    if begun:
        if init_from not in ("", begun.training.init_from):  # before the other run is opened, which would be another's
            raise run.changed_setting_error("init_from", begun.training.init_from, init_from)
        return settings_resumed(flags, preset, begun, run_dir), preset, run_dir
    other = open_trained(init_from, "init_from")[2] if init_from else None
    return settings_given(flags, preset, other), preset, run_dir


def make_batches(config: Config, text: Text, replicas: int = 1) -> tuple[Any, Any]:
    """Returns the training batches and the validation batches.

    The validation batches have no random offset. They have as many rows as the training batches if the held-out text
    has two tokens for each row, else fewer, and rows of at most `num_steps` steps. If a fraction is held out, they have
    the rows and steps by which nearly all of it is measured.

    Args:
      config: the settings.
      text: the training text and the held-out text.
      replicas: the number of replicas, of which the number of rows is a multiple.
    Returns:
      Batches, and Batches or None if fewer than two tokens are held out.
    Raises:
      UserError: the held-out text is too short for the replicas.
    """
    from tfrnn.data.batches import random_batches, sequential_batches

    data, held_out = config.data, len(text.validation)
    kind = {"sequential": sequential_batches, "random": random_batches}[data.sampling]
    batches = kind(
        text.training,
        data.batch_size,
        data.num_steps,
        config.training.seed,
        data.random_offset,
        data.epochs_per_pass,
    )
    if held_out < 2:
        return batches, None
    rows = min(data.batch_size, held_out // 2) // replicas * replicas
    if not rows:
        raise UserError(
            f"`validation_tokens`: {held_out} held-out tokens cannot be divided over {replicas} replicas; hold out "
            f"at least {2 * replicas}, or none"
        )
    num_steps = min(data.num_steps, held_out // rows - 1)
    if data.validation_fraction:
        rows, num_steps = window_counts.validation_shape(held_out, data.batch_size, data.num_steps, replicas)
    return batches, sequential_batches(text.validation, rows, num_steps, random_offset=False)


def train(given: Given, run_dir: str, resume_command: str = "") -> None:
    """Trains a model, resumes an unfinished run, and prints the closing lines.

    If there are several workers, only the chief writes the run directory and prints.

    Args:
      given: the settings, and which of them the text and the time may change.
      run_dir: a folder that does not exist, is empty, or holds a run with the same settings.
      resume_command: the command that is shown to resume an interrupted run.
    Raises:
      UserError: the settings, the text, the run directory or the other workers do not allow to train.
      DivergedError: training diverged.
    """
    started = time.perf_counter()
    run, (config, free, hold_out_exactly) = RunDir(run_dir), given
    known, other = _begins_with(config, run)
    if config.data.word_rule == "auto":
        config = config.replace(word_rule="marks")
    if config.run.log_dir and importlib.util.find_spec("tensorboard") is None:
        raise UserError(
            "`log_dir`: expected the package tensorboard, but it is not installed; install it by "
            "`pip install tensorboard`"
        )
    workers = cluster.from_tf_config() if config.run.strategy == "multi_worker" else None
    if workers and not free.isdisjoint(own_text.BY_TEXT + own_text.BY_TIME):
        raise UserError(
            "`strategy=multi_worker`: expected settings that are the same in all workers; got "
            f"`{'minutes' if config.training.minutes else 'preset=own_text'}`, for which each would measure its own "
            "speed; give another `preset`, and `epochs`"
        )
    if workers is None:  # a chief that ends now would let the others wait for it in vain: it is checked after they met
        run.check()
    text = text_lib.read(config, hold_out_exactly, known)
    # A run is sampled without its text.
    config = config.replace(text_rule=text.rule, prefix=text.prefixes, max_tokens=text.max_tokens)
    if run.exists:
        run.check_same(config, text.vocabulary)
    config = own_text.choose_batches(config, free, len(text.training))
    # Errors in flags and texts are reported before TensorFlow loads and before memory is used, and what was read before
    # the speed is measured.
    _check_memory(config, text)
    data = config.data
    window_counts.check_length(len(text.training), data.sampling, data.batch_size, data.num_steps, data.random_offset)
    if workers is None or workers.rank == 0:
        for line in (*text.facts, *text.notes):
            messages.note(line)
        if other:
            messages.note(_describe_weights(other, config, text))
    host.import_tensorflow_for_command()
    import tensorflow as tf

    try:
        threads.set_threads(config.run.cpu_devices)
        strategy = _make_strategy(config.run, workers)
        initial = _weights_of(other) if other else {}
        if free:
            config = _fit(config, free, text, strategy, started, initial)
        _train(config, text, run_dir, resume_command, strategy, initial)
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.InternalError,
        tf.errors.DeadlineExceededError,
    ) as error:  # what TensorFlow raises if another worker has ended
        if workers is None:
            raise
        raise workers.connection_lost(error) from None


def _begins_with(config: Config, run: RunDir) -> tuple[Vocabulary | None, RunDir | None]:
    """Returns the vocabulary with which that of the run begins, and the other run whose weights are to be taken.

    Each is None if there is none. A run that was killed before its first checkpoint begins again.
    """
    known, init_from = None, config.training.init_from
    if run.exists and (init_from or config.data.tokens == "bpe"):
        known = run.vocabulary(run.config().data.token_kind)
    if not init_from or (run.exists and run.has_checkpoint):
        return known, None
    try:
        other, others_vocabulary, others_config = open_trained(init_from, "init_from")
    except MissingFileError as error:
        if not run.exists:
            raise
        raise MissingFileError(
            f"`run_dir={run.path}`: this run was stopped before its first checkpoint, and cannot begin again: {error}"
        ) from None
    known = known or others_vocabulary
    check_unchanged(config, known, others_config, others_vocabulary)
    return known, other


def _describe_weights(other: RunDir, config: Config, text: Text) -> str:
    kind = config.data.token_kind
    noun, num_known = NOUNS[kind], len(other.vocabulary(kind))
    known, new = f"{num_known - 1:,} different {noun}s", f"{len(text.vocabulary) - num_known:,} of this text"
    return f"weights: the best of {other.path}, which knows {known}; {new} are new to it"


def _check_memory(config: Config, text: Text) -> None:
    host.check_memory(
        sizes.min_training_bytes(config, len(text.vocabulary)),
        f"training with `units={config.model.units}`, `num_layers={config.model.num_layers}`, "
        f"`batch_size={config.data.batch_size}`, `num_steps={config.data.num_steps}` and {len(text.vocabulary):,} "
        "different tokens",
    )


def _weights_of(run: RunDir) -> dict[str, Any]:
    """Returns the best weights of a run by their names."""
    from tfrnn.models.loading import load_run

    model, _, _ = load_run(run.path)
    return {name: weight.numpy() for name, weight in model.named_weights.items()}


def _fit(
    config: Config, free: frozenset[str], text: Text, strategy: Any, started: float, initial: dict[str, Any]
) -> Config:
    """Returns the settings with the free ones fitted to the text, and to what is left of the time since `started`."""
    from tfrnn.training import time_plan

    num_tokens, vocab_size = len(text.training), len(text.vocabulary)
    by_text = not free.isdisjoint(own_text.BY_TEXT)

    def regularized(config: Config, passes: float) -> Config:
        return own_text.choose_regularization(config, free, num_tokens, passes) if by_text else config

    if by_text:
        flops = time_plan.flops_per_second(config.run.device)
        config = own_text.choose_model(config, free, num_tokens, vocab_size, flops)
        _check_memory(config, text)
    if not config.training.minutes:
        passes = config.training.epochs / config.data.epochs_per_pass
        steps = int(passes * num_tokens / (config.data.batch_size * config.data.num_steps))
        return own_text.choose_warmup(regularized(config, passes), free, steps)
    messages.note("measuring the speed ...")
    slowest = regularized(config, math.inf).replace(warmup_steps=0)
    trainer, batches, validation = _make_trainer(slowest, text, strategy, initial)
    seconds = 60 * config.training.minutes
    speed = time_plan.measure(trainer, batches, validation, seconds)
    # On a slow machine starting may take more than a minute; a few steps more are better than none.
    left = max(seconds - (time.perf_counter() - started) - speed.start, seconds / 4)
    max_passes = own_text.max_passes(config, num_tokens, vocab_size) if by_text else math.inf
    divisions = 0 if "epochs_per_pass" in free else config.data.epochs_per_pass
    epochs, epochs_per_pass = time_plan.epochs_in(left, speed, batches.num_batches(0), max_passes, divisions)
    passes = epochs / epochs_per_pass
    config = config.replace(epochs=epochs, epochs_per_pass=epochs_per_pass)
    steps = epochs * batches.num_batches(0) // epochs_per_pass
    config = own_text.choose_warmup(regularized(config, passes), free, steps)
    took = time.perf_counter() - started + speed.start
    minutes = (took + speed.seconds(epochs, epochs_per_pass, batches.num_batches(0))) / 60
    more = ", since more passes would teach it nothing that is general" if passes == max_passes else ""
    messages.note(f"{_describe_plan(config)}, in about {minutes:.1f} of {config.training.minutes:g} minutes{more}")
    return config


def _describe_plan(config: Config) -> str:
    model, passes = config.model, config.training.epochs / config.data.epochs_per_pass
    shown = f"{passes:.1f} passes" if passes >= 1 else f"{100 * passes:.3g}% of a pass"
    plan = f"plan: {model.cell} {model.num_layers} x {model.units}, dropout {model.dropout:g}"
    return f"{plan}; {shown} over what is trained on"


def _make_strategy(settings: sections.Run, workers: cluster.Cluster | None) -> Any:
    if workers is None:
        return {"one_device": devices.one_device, "mirrored": devices.mirrored}[settings.strategy](settings.device)

    if workers.rank == 0:
        messages.note(f"waiting for {len(workers.addresses)} workers, at most {settings.worker_timeout:g} seconds")
    workers.wait_for_all(settings.worker_timeout)
    # TensorFlow would wait forever for a worker that dies at this moment, and no signal or Python thread can end that.
    faulthandler.dump_traceback_later(settings.worker_timeout, exit=True)
    try:
        return devices.multi_worker(settings.device)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _train(
    config: Config, text: Text, run_dir: str, resume_command: str, strategy: Any, initial: dict[str, Any]
) -> None:
    from tfrnn.models.labeller import summary
    from tfrnn.training.replicas import replicas_of
    from tfrnn.training.training_run import FollowerRun, TrainingRun
    from tfrnn.training.workers import workers_of

    workers = workers_of(replicas_of(strategy))
    _check_same_in_all_workers(config, text, workers)
    if not workers.is_chief:
        try:
            _run_to_end(
                FollowerRun(config, text, *_make_trainer(config, text, strategy, initial)), workers, resume_command
            )
        except DivergedError:  # which the chief reports
            sys.exit(2)
        return
    with RunDir(run_dir) as run:
        if run.existed:
            run.check_same(config, text.vocabulary)
        trainer, batches, validation = _make_trainer(config, text, strategy, initial)
        training = TrainingRun(config, text, trainer, batches, validation, run, summarize=summary)
        _run_to_end(training, workers, resume_command)


def _run_to_end(training: Any, workers: Any, resume_command: str) -> None:
    # A worker that ended first would look to the others like one that died.
    try:
        finished = training.train()
    except DivergedError:  # in all workers
        workers.wait_for_all()
        raise
    training.report(finished, resume_command)
    workers.wait_for_all()


def _check_same_in_all_workers(config: Config, text: Text, workers: Any) -> None:
    """Raises UserError in all workers if the text or the settings of some worker differ from the chief's."""
    # These may differ; the same text may lie at another path, and its hash is compared. The chief alone knows the rules
    # by which the run was begun, and what they make of the text is compared.
    excluded = {*vars(config.run), "chains", "jit_compile", "corpus", "text_rule", "word_rule"}
    settings = {name: value for name, value in config.flat().items() if name not in excluded}
    compared = json.dumps([settings, text.sha256, text.vocabulary.id_to_token]).encode()
    (num_different,) = workers.sum([int(workers.broadcast(compared) != compared)])
    if num_different:
        raise UserError(
            "`strategy=multi_worker`: expected the same settings and text in all workers, but those of "
            f"{num_different} of {workers.count} differ from the chief's; start all of them by the same command"
        )


def _make_trainer(config: Config, text: Text, strategy: Any, initial: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Returns a trainer with a new model, before its first step; the training batches; and the validation batches.

    The model begins with the weights of another if there are some in `initial`, by their names.
    """
    from tfrnn.models import loading
    from tfrnn.models.building import build_language_model
    from tfrnn.training import optimizers
    from tfrnn.training.trainer import Trainer

    training, replicas = config.training, strategy.num_replicas_in_sync
    batches, validation = make_batches(config, text, replicas)
    threads.check_chains(training.chains, batches.batch_size, replicas)
    steps_per_pass = sum(batches.num_batches(epoch) for epoch in range(config.data.epochs_per_pass))
    total_steps = training.epochs * steps_per_pass // config.data.epochs_per_pass
    if training.warmup_steps >= total_steps:
        raise UserError(
            f"`warmup_steps` must be below the {total_steps} steps of all epochs; got {training.warmup_steps}; "
            "take fewer"
        )
    execution.set_seed(training.seed, training.deterministic)
    with strategy.scope():
        model = build_language_model(config.model, len(text.vocabulary), dtype=training.dtype_policy)
        if initial:
            model.build()
            loading.begin_with(model, initial)
        if training.freeze:
            model.build()
            loading.freeze(model, training.freeze)
        optimizer = optimizers.make_optimizer(training, total_steps)
    trainer = Trainer(
        model, optimizer, training.clip_norm, strategy, chains=training.chains, jit_compile=training.jit
    )  # fmt: skip
    return trainer, batches, validation


if __name__ == "__main__":
    program.run(main)
