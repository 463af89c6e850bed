"""Packages that a format needs and that need not be installed."""

import importlib
from typing import Any

from tfrnn.errors import UserError


def needed(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(
            f"--format: this one needs the package {package}, which is not installed; `pip install {package}` does that"
        ) from None
