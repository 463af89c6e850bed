"""Opens a run that train has begun: all of it but the weights, without TensorFlow."""

import os

from tfrnn.config.config import Config
from tfrnn.data.vocabulary import Vocabulary
from tfrnn.errors import MissingFileError, UserError, did_you_mean
from tfrnn.runs.run_dir import CONFIG, RunDir


def open_run(run_dir: str | os.PathLike) -> tuple[RunDir, Vocabulary, Config]:
    """Returns a run directory with the run's vocabulary and settings.

    Raises:
      MissingFileError: the run does not exist.
      UserError: the folder is not a run of tfrnn.
    """
    run = existing(RunDir(run_dir))
    config = run.config()
    if not config.run.prefix:
        raise UserError(f"{run.path / CONFIG}: expected at least one prefix, as train writes it; got none")
    return run, run.vocabulary(config.data.token_kind), config


def existing(run: RunDir) -> RunDir:
    """Returns the run, or raises MissingFileError if there is none."""
    if not run.exists:
        raise MissingFileError(
            f"`run_dir={run.path}`: expected the folder of a run that train has begun, but {_why_missing(run)}; name "
            "another, or train first"
        )
    return run


def _why_missing(run: RunDir) -> str:
    """Returns the reason why the run does not exist, with a run of a similar name if there is one."""
    if os.path.isdir(run.path):
        runs = sorted(path.parent.name for path in run.path.glob(f"*/{CONFIG}"))
        return f"it has no {CONFIG}" + (f" (did you mean one in it, such as {run.path / runs[0]}?)" if runs else "")
    if os.path.exists(run.path):
        return "it is a file"
    runs = [str(path.parent) for path in run.path.parent.glob(f"*/{CONFIG}")] if os.path.isdir(run.path.parent) else []
    return f"there is no such folder{did_you_mean(str(run.path), runs)}"
