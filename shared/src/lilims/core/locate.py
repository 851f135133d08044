"""Where a model lies that a command was given: a folder, a package or a name.

Knows the file system and installed names. Must not know what is in a model folder beyond its two marks (manifest.json,
the ending of a package). A name that is neither is offered to the entry points of the group `lilims.resolvers`:
functions `(name) -> Path | None` that may have to make the model first.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from .errors import ModelNotFoundError
from .paths import models_dir

__all__ = ["RESOLVERS", "installed", "is_model", "is_package", "locate"]

RESOLVERS = "lilims.resolvers"
_PACKAGES = (".mlpackage", ".mlmodelc")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # a manifest's name: never a path


def is_package(path: Path) -> bool:
    """Whether a path is an ML Program: it ends as a package or a compiled one does, or has a compiled program in it."""
    return path.suffix in _PACKAGES or (path / "model.mil").is_file()


def is_model(path: Path) -> bool:
    """Whether `path` looks like a model folder or a package."""
    try:
        return (path / "manifest.json").is_file() or (is_package(path) and path.is_dir())
    except OSError:  # a name too long for a path, as when text was passed for a model
        return False


def installed() -> list[str]:
    """Names of the models in the models folder, sorted."""
    folder = models_dir()
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if _NAME.fullmatch(path.name) and is_model(path))


def locate(model: str) -> Path:
    """The model folder or package that `model` means: a path first, then an installed name, then the resolvers.

    Raises:
        ModelNotFoundError: it is none of these; the hint lists what is installed.
    """
    path = Path(os.path.expanduser(model))
    if is_model(path):
        return path
    if _NAME.fullmatch(model):
        if is_model(models_dir() / model):
            return models_dir() / model
        if found := _resolved(model):
            return found
    if os.path.exists(path):
        what = "is not a model folder: it has no manifest.json" if path.is_dir() else "is a file, not a model folder"
        raise ModelNotFoundError(what, where=path, hint="`lilims convert SRC -o DIR` makes a model folder")
    if os.sep in model or "/" in model or model.startswith((".", "~")):
        raise ModelNotFoundError("no such folder", where=path, hint="check the path, or give an installed model's name")
    names = installed()
    known = f"installed: {', '.join(names)}" if names else "no model is installed; `lilims run` uses the built-in one"
    raise ModelNotFoundError(f"no model {model!r}", hint=known)


def _resolved(name: str) -> Path | None:
    from importlib.metadata import entry_points

    for entry in sorted(entry_points(group=RESOLVERS), key=lambda entry: entry.name):
        found: Path | None = entry.load()(name)
        if found is not None:
            return found
    return None
