"""What is installed: the models folder and the notes about it.

    models/tiny/                 a model folder as `lilims convert` writes it; its version is its manifest's
    models/tiny@1.2.0/           an installed version; the folder's name counts, not the manifest's
    models/.tiny@1.2.0.new-…/    being written; renamed when it is whole (lilims.core.files.new_directory)
    models/.removed-…/           being removed
    downloads/                   what has arrived of models that are not yet whole (download/)
    state/used/tiny@1.2.0        empty: its time is the last use, a lock on it says that it is in use
    state/pinned/tiny@1.2.0      empty: there as long as the model is to be kept

There is no index that could disagree with the folders: what a rename has made visible is installed, and a process that
is killed at any moment leaves nothing but hidden folders, which `tidy` clears. Knows folders, manifests and notes. Must
not know where models come from, nor what runs them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lilims.core import usage
from lilims.core.errors import InputError, ModelNotFoundError, OutputExistsError, UsageError
from lilims.core.files import new_directory, remove_stale, storage_errors
from lilims.core.integrity import verify_files
from lilims.core.locate import folders, locate, reference
from lilims.core.manifest import FILE_NAME
from lilims.core.package_manifest import AnyManifest, read_any
from lilims.core.paths import models_dir, state_dir
from lilims.core.versions import Range, Version

from .archive.write import SIGNATURE
from .backup import exclude
from .errors import ModelInUseError

__all__ = ["Installed", "all_models", "disk_bytes", "find", "install", "matching", "pin", "remove", "tidy"]

BUILT_IN = "stories-int4"  # lilims makes it again when it is asked for


@dataclass(frozen=True)
class Installed:
    """A model in the models folder."""

    name: str
    version: str
    folder: Path

    @cached_property
    def manifest(self) -> AnyManifest | None:
        """Its manifest; None where that is damaged (`damage`)."""
        return self._read[0]

    @cached_property
    def damage(self) -> str | None:
        """What is wrong with its manifest, or None."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[AnyManifest | None, str | None]:
        try:
            return read_any(self.folder), None
        except InputError as error:
            return None, str(error)

    @cached_property
    def bytes(self) -> int:
        """What its files take; one that it shares with another model counts in both."""
        return disk_bytes([self.folder])

    @property
    def reference(self) -> str:
        """NAME@VERSION, which names this one alone."""
        return f"{self.name}@{self.version}"

    @property
    def last_used(self) -> float | None:
        """When it was last loaded, in seconds since 1970; None if never."""
        return usage.last_used(self.folder)

    @property
    def pinned(self) -> bool:
        """Whether it is kept when room is made."""
        return _pin_file(self.folder).exists()

    @property
    def built_in(self) -> bool:
        """Whether it is the model that comes with lilims, which needs no store."""
        return self.folder.name == BUILT_IN


def all_models() -> list[Installed]:
    """Every installed model, by name and version."""
    return [Installed(name, str(version), path) for name, version, path in folders()]


def find(model: str) -> Installed:
    """The installed model that NAME[@RANGE] means.

    Raises:
        ModelNotFoundError: none of that name, or no version in the range, is installed.
        UsageError: the range is none.
    """
    named = reference(model)
    if named is None:
        raise ModelNotFoundError(f"{model!r} is not the name of an installed model", hint="`lilims ls` shows them")
    best = _best(*named)
    if best is None:
        locate(model)  # raises, and says what there is; or makes the built-in model
        best = _best(*named)
    if best is None:
        raise ModelNotFoundError(f"no model {model!r} is installed", hint="`lilims ls` shows what is")
    return best


def _best(name: str, wanted: Range) -> Installed | None:
    there = folders(name)
    version = wanted.best([version for _, version, _ in there])
    return next((Installed(name, str(v), path) for _, v, path in reversed(there) if v == version), None)


def matching(model: str) -> list[Installed]:
    """All installed models that NAME[@RANGE] means; a name alone has to mean one.

    Raises:
        ModelNotFoundError: there is none.
        UsageError: several versions are installed and none is named, or the range is none.
    """
    named = reference(model)
    there = [] if named is None else folders(named[0])
    found = [Installed(name, str(version), path) for name, version, path in there if named and version in named[1]]
    if named and not named[1].text and len(there) > 1:
        versions = ", ".join(f"{name}@{version}" for name, version, _ in there)
        raise UsageError(f"several versions of {named[0]!r} are installed", hint=f"name one, or {model}@*: {versions}")
    if not found and len(there) == 1 and named and named[1].text in ("", "*"):
        found = [Installed(name, str(version), path) for name, version, path in there]  # a pre-release, or damaged
    return found or [find(model)]


def disk_bytes(paths: Sequence[Path]) -> int:
    """Bytes of all files below some folders; a file that stands there under several names counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for path in paths:
        for base, _, names in os.walk(path):
            for name in names:
                with contextlib.suppress(OSError):  # removed meanwhile
                    found = os.lstat(os.path.join(base, name))
                    if (found.st_dev, found.st_ino) not in seen:
                        seen.add((found.st_dev, found.st_ino))
                        total += found.st_size
    return total


def check_absent(name: str, version: str, *, force: bool = False) -> Path:
    """The folder that a version would be installed in.

    Raises:
        OutputExistsError: that version is installed and `force` is not set.
    """
    target = place(name, version)
    if not force and target.exists():
        raise OutputExistsError(
            f"{name} {version} is installed already", where=target, hint="--force replaces it, or give it another --as"
        )
    return target


@contextlib.contextmanager
def install(name: str, version: str, *, force: bool = False) -> Iterator[Path]:
    """A folder to write a model into; when the block ends well, and the files are those of its manifest, it is there.

    Raises:
        OutputExistsError: that version is installed and `force` is not set.
        IntegrityError, ManifestError: what was written is not a model.
        StorageError: the disk is full or cannot be written.
    """
    target = check_absent(name, version, force=force)
    tidy()
    with new_directory(target, force=force) as folder:
        yield folder
        verify_files(folder, read_any(folder), verify="sizes")
    exclude(target)
    usage.touch(target)


def place(name: str, version: str) -> Path:
    """The folder of an installed version: that of a converted model where it has this version, else NAME@VERSION."""
    for _, there, path in reversed(folders(name)):
        if str(there) == version:
            return path
    return models_dir() / f"{name}@{Version.parse(version)}"


def remove(model: Installed) -> None:
    """Removes a model: it is gone in one step, whatever happens next.

    Raises:
        ModelInUseError: a process uses it.
        StorageError: it cannot be removed.
    """
    lock = usage.reserve(model.folder)
    if lock is None:
        raise ModelInUseError("is in use", where=model.reference)
    with lock, storage_errors(model.folder):
        gone = model.folder.with_name(f".removed-{secrets.token_hex(4)}")
        os.rename(model.folder, gone)
        _pin_file(model.folder).unlink(missing_ok=True)
        lock.remove()  # with it goes the note of the last use
    shutil.rmtree(gone, ignore_errors=True)


def tidy() -> None:
    """Clears what killed processes have left in the models folder; what living ones are writing stays."""
    root = models_dir()
    for path in list(root.iterdir()) if root.is_dir() else ():
        if path.name.startswith(".removed-"):
            shutil.rmtree(path, ignore_errors=True)
        elif path.name.startswith(".") and (at := max(path.name.rfind(".new-"), path.name.rfind(".old-"))) > 1:
            remove_stale(root / path.name[1:at])


def pin(model: Installed, *, keep: bool) -> None:
    """Says whether a model is to be kept when room is made."""
    file = _pin_file(model.folder)
    with storage_errors(file):
        if keep:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        else:
            file.unlink(missing_ok=True)


def unrecorded(model: Installed) -> list[str]:
    """Files of a model's folder that its manifest does not name."""
    known = set(model.manifest.files) | {FILE_NAME, SIGNATURE} if model.manifest else set()
    there = (path.relative_to(model.folder).as_posix() for path in model.folder.rglob("*") if not path.is_dir())
    return sorted(set(there) - known)


def _pin_file(folder: Path) -> Path:
    return state_dir() / "pinned" / folder.name
