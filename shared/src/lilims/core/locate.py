"""Where a model lies that a command was given: a folder, a package, or a name with or without a range of versions.

    tiny          the highest version of `tiny` in the models folder: of its folders tiny (of the version that its
                  manifest says) and tiny@1.2.0, tiny@2.0.0, …
    tiny@^1.2     the highest of them that the range allows

Knows the file system and installed names. Must not know what is in a model folder beyond its marks (manifest.json and
the version in it, the ending of a package). A name that is not installed is offered to the entry points of the group
`lilims.resolvers`: functions `(name) -> Path | None` that may have to make the model first.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from .errors import InputError, ModelNotFoundError, UnsupportedError, UsageError
from .files import read_json
from .paths import models_dir
from .versions import VERSION, Range, Version

__all__ = ["RESOLVERS", "folders", "installed", "is_installed", "is_model", "is_package", "locate", "reference"]

RESOLVERS = "lilims.resolvers"
"""The entry-point group of what knows models by names of its own."""
_PACKAGES = (".mlpackage", ".mlmodelc")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"  # a manifest's name: never a path
_REFERENCE = re.compile(rf"({_NAME})(?:@([^/\\]{{0,200}}))?")
_FOLDER = re.compile(rf"{_NAME}(@{VERSION})?")
_UNKNOWN = Version(0, 0, 0, ("unknown",))  # of a folder whose manifest cannot be read


def is_package(path: Path) -> bool:
    """Whether a path is an ML Program: it ends as a package or a compiled one does, or has a compiled program in it."""
    return path.suffix in _PACKAGES or (path / "model.mil").is_file()


def is_model(path: Path) -> bool:
    """Whether `path` looks like a model folder or a package."""
    try:
        return (path / "manifest.json").is_file() or (is_package(path) and path.is_dir())
    except OSError:  # a name too long for a path, as when text was passed for a model
        return False


def reference(text: str) -> tuple[str, Range] | None:
    """The name and the range of versions of `NAME[@RANGE]`; None where `text` has not that form.

    Raises:
        UsageError: what stands behind the @ is no range.
    """
    found = _REFERENCE.fullmatch(text)
    return None if found is None else (found[1], Range.parse(found[2] or ""))


def installed() -> list[str]:
    """Names of the models in the models folder, sorted; one of several versions stands once."""
    return sorted({path.name.partition("@")[0] for path in _models()})


def is_installed(text: str) -> bool:
    """Whether a text is NAME[@RANGE] of an installed name; not whether a version is in the range."""
    try:
        named = reference(text)
    except UsageError:
        return False
    return named is not None and named[0] in installed()


def folders(name: str | None = None) -> list[tuple[str, Version, Path]]:
    """Name, version and folder of every model in the models folder, or of those of one name, sorted."""
    found = []
    for path in _models():
        stem, _, version = path.name.partition("@")
        if name in (None, stem):
            found.append((stem, Version.parse(version) if version else _version(path), path))
    return sorted(found, key=lambda one: (one[0], one[1], "@" not in one[2].name))


def _models() -> list[Path]:
    root = models_dir()
    return [path for path in root.iterdir() if _FOLDER.fullmatch(path.name) and is_model(path)] if root.is_dir() else []


def _version(folder: Path) -> Version:
    try:
        content = read_json(folder / "manifest.json", limit=16 << 20)
        return Version.parse(str(content["version"]))
    except (InputError, UsageError, TypeError, KeyError):
        return _UNKNOWN


def locate(model: str) -> Path:
    """The model folder or package that `model` means: a path first, then an installed name, then the resolvers.

    Raises:
        ModelNotFoundError: it is none of these; the hint lists what is installed.
        UsageError: it is NAME@RANGE with a range that is none.
        UnsupportedError: it is a .mlmodel file.
    """
    path = Path(os.path.expanduser(model))
    if is_model(path):
        return path
    named = reference(model)
    if named is not None:
        if found := _installed(*named):
            return found
        if "@" not in model and (found := _resolved(model)):
            return found
    if path.suffix == ".mlmodel" and path.is_file():
        raise UnsupportedError(
            "a .mlmodel file is of the old format (neuralNetwork), or a specification without its package", where=path,
            hint="convert the model again with convert_to='mlprogram', which makes an .mlpackage",
        )  # fmt: skip
    if os.path.exists(path):
        what = "is not a model folder: it has no manifest.json" if path.is_dir() else "is a file, not a model folder"
        raise ModelNotFoundError(what, where=path, hint="`lilims convert SRC -o DIR` makes a model folder")
    if os.sep in model or "/" in model or model.startswith((".", "~")):
        raise ModelNotFoundError("no such folder", where=path, hint="check the path, or give an installed model's name")
    names = installed()
    known = f"installed: {', '.join(names)}" if names else "no model is installed; `lilims run` uses the built-in one"
    raise ModelNotFoundError(f"no model {model!r}", hint=known)


def _installed(name: str, wanted: Range) -> Path | None:
    """The folder of the best version; None if nothing of that name is installed."""
    if not wanted.text and is_model(models_dir() / name) and not any(models_dir().glob(f"{name}@*")):
        return models_dir() / name  # nothing to compare: no manifest is read
    there = folders(name)
    if not there:
        return None
    best = wanted.best([version for _, version, _ in there])
    for _, version, path in reversed(there):
        if version == best:
            return path
    versions = ", ".join(dict.fromkeys(str(version) for _, version, _ in there))
    raise ModelNotFoundError(f"no version of {name!r} is in {wanted}", hint=f"installed: {versions}")


def _resolved(name: str) -> Path | None:
    from importlib.metadata import entry_points

    for entry in sorted(entry_points(group=RESOLVERS), key=lambda entry: entry.name):
        found: Path | None = entry.load()(name)
        if found is not None:
            return found
    return None
