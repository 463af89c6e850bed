"""Imports of packages that a format needs and that an installation of tfrnn may lack."""

import importlib
from typing import Any

from tfrnn.errors import UserError


def import_optional(module: str, package: str) -> Any:
    """Imports a module. Raises UserError, which names the package to install, if it cannot be imported."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(
            f"`format`: this format needs the package {package}, which is not installed; run `pip install {package}`"
        ) from None
