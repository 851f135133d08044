"""What every plot needs before it is drawn: matplotlib, with its files among lilims' own.

Knows where matplotlib keeps its list of fonts. Must not know any plot, and imports nothing of it.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

from .errors import MissingDependencyError
from .files import storage_errors
from .paths import cache_dir

__all__ = ["require_matplotlib"]


def require_matplotlib(message: str, *, hint: str) -> None:
    """Keeps matplotlib's list of fonts in the cache folder, not in the home.

    Raises:
        MissingDependencyError: it is not installed; with this message and hint.
        StorageError: the cache folder cannot be written.
    """
    if find_spec("matplotlib") is None:
        raise MissingDependencyError(message, hint=hint)
    if "MPLCONFIGDIR" not in os.environ:
        folder = cache_dir() / "matplotlib"
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        os.environ["MPLCONFIGDIR"] = str(folder)
