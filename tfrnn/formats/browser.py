"""A browser at hand, in which a page is run to see what it computes."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
MAX_SECONDS = 60
FLAGS = (
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
# Chromium refuses to run as root inside its sandbox; the page is our own, and reaches nothing.
_FLAGS_OF_USER = ("--no-sandbox",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()


def logits_in_browser(page: Path, ids: Sequence[int]) -> np.ndarray | None:
    """Returns the logits after each token that the model in a page computes, float32 [T, V].

    None if no Chromium, Chrome or Edge is at hand, or it does not run here, so that nothing can be said of the page.
    All are NaN if it runs and the page writes none, because its script fails.
    """
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        return None
    address = f"{page.resolve().as_uri()}#logits={','.join(map(str, ids))}"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, *FLAGS, *_FLAGS_OF_USER, f"--user-data-dir={profile}", "--dump-dom", address]
        try:
            done = subprocess.run(command, capture_output=True, timeout=MAX_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
    shown = done.stdout.decode("utf-8", "replace")
    if written := re.search(r"<body><pre[^>]*>([^<]*)</pre>", shown):
        return np.array(json.loads(written[1]), np.float32)  # NaN and infinity are null in JSON
    return np.full([len(ids), 1], np.nan, np.float32) if '<script id="data"' in shown else None
