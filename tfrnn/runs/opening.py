"""Opens a run that train has begun: all of it but the weights, without TensorFlow."""

import os

from tfrnn.config.config import Config
from tfrnn.data.run_text import SurveyedCorpus
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import MissingFileError, UserError, did_you_mean
from tfrnn.runs.run_dir import CONFIG, RunDir


def open_run(run_dir: str | os.PathLike, setting: str = "run_dir") -> tuple[RunDir, Vocabulary, Config]:
    """Returns a run directory with the run's vocabulary and settings.

    Args:
      run_dir: the folder.
      setting: the name of the setting that names it, for messages.
    Raises:
      MissingFileError: the run does not exist.
      UserError: the folder is not a run of tfrnn.
    """
    run = existing(RunDir(run_dir, setting))
    config = run.config()
    if not config.run.prefix:
        raise UserError(f"{run.path / CONFIG}: expected at least one prefix, as train writes it; got none")
    return run, run.vocabulary(config.data.token_kind), config


def open_trained(run_dir: str | os.PathLike, setting: str) -> tuple[RunDir, Vocabulary, Config]:
    """Returns what `open_run` does of a run that has weights. Raises MissingFileError, too, if it has none yet."""
    opened = open_run(run_dir, setting)
    if not opened[0].has_checkpoint:
        raise opened[0].no_checkpoint_error()
    return opened


def existing(run: RunDir) -> RunDir:
    """Returns the run, or raises MissingFileError if there is none."""
    if not run.exists:
        raise MissingFileError(
            f"{run.shown}: expected the folder of a run that train has begun, but {_why_missing(run)}; name another, "
            "or train first"
        )
    return run


def open_corpus_of(
    run: RunDir, vocabulary: Vocabulary, config: Config, cache_dir: str, otherwise: str
) -> SurveyedCorpus:
    """Opens the corpus that a run was trained on.

    Args:
      run, vocabulary, config: as `open_run` returns them.
      cache_dir: the folder in which large texts are cached, as for SurveyedCorpus.
      otherwise: what to do if it cannot be had, for messages.
    Raises:
      MissingFileError: it does not exist any more.
      UserError: its text has changed since.
    """
    data = config.data
    try:
        corpus = SurveyedCorpus(data.corpus, data.text_rule, data.token_kind, cache_dir, data.encoding)
    except MissingFileError as error:  # the run may come from another machine
        raise MissingFileError(
            f"{run.shown}: expected the run's own corpus {data.corpus!r}, but it cannot be read ({error}); call this "
            f"in the folder in which train was called, or {otherwise}"
        ) from None
    run.check_text(bytes.fromhex(corpus.survey.sha256), config, vocabulary, otherwise)
    return corpus


def _why_missing(run: RunDir) -> str:
    """Returns the reason why the run does not exist, with a run of a similar name if there is one."""
    if os.path.isdir(run.path):
        runs = sorted(path.parent.name for path in run.path.glob(f"*/{CONFIG}"))
        return f"it has no {CONFIG}" + (f" (did you mean one in it, such as {run.path / runs[0]}?)" if runs else "")
    if os.path.exists(run.path):
        return "it is a file"
    runs = [str(path.parent) for path in run.path.parent.glob(f"*/{CONFIG}")] if os.path.isdir(run.path.parent) else []
    return f"there is no such folder{did_you_mean(str(run.path), runs)}"
