"""A manifest for a package that another tool made.

Knows what is recorded of a package. Must not know how packages are read (lilims.runtime) or stored (store.py).
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lilims.core import version as lilims_version
from lilims.core.errors import UsageError
from lilims.core.files import directory_size
from lilims.core.locate import is_package
from lilims.core.manifest import NAME, describe_files, write_manifest
from lilims.core.package_manifest import Feature, Features, Origin, manifest_of

from . import store

if TYPE_CHECKING:
    from lilims.runtime.portable.describe import FeatureInfo, PackageInfo

__all__ = ["Plan", "import_package", "name_from", "plan_import"]

_LONGEST = 4000  # characters of a text from the package


@dataclass(frozen=True)
class Plan:
    """What an import would install: the package as it describes itself, a name, a version, bytes."""

    info: PackageInfo
    name: str
    version: str
    bytes: int

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.version}"


def plan_import(package: Path, *, name: str | None = None, version: str | None = None, force: bool = False) -> Plan:
    """What `import_package` would do with the same arguments; nothing is written.

    Raises:
        UsageError, PackageError, UnsupportedError, ModelTooLargeError, OutputExistsError: as it would.
    """
    from lilims.runtime.portable.describe import describe_package

    from .space import check_model

    if not (package.is_dir() and is_package(package)) and package.suffix != ".mlmodel":  # describing that says more
        raise UsageError(
            "is not a package: .mlpackage or .mlmodelc", where=package, hint="a checkpoint: lilims convert, lilims pull"
        )
    info = describe_package(package)
    name = name_from(package) if name is None else name
    if not re.match(NAME, name):
        raise UsageError(f"{name!r} cannot be a model's name", hint="letters, digits, dots, dashes; --as NAME")
    plan = Plan(info, name, version or _version(info.version), directory_size(package))
    check_model(plan.bytes, where=package)
    store.check_absent(name, plan.version, force=force)
    return plan


def import_package(
    package: Path, *, name: str | None = None, version: str | None = None, licence: str | None = None,
    force: bool = False,
) -> store.Installed:  # fmt: skip
    """Copies a package (.mlpackage or .mlmodelc) into the models folder and writes a manifest beside it.

    Args:
        package: the package.
        name: its name; default is the folder's.
        version: its version; default is the package's own where that is a semantic version, else 1.0.0.
        licence: its licence; default is what the package says.
        force: replace that version.

    Raises:
        UsageError: it is no package, or the name is none.
        PackageError: the package is damaged.
        UnsupportedError: it is not an ML Program, or a pipeline of such.
        OutputExistsError: that version is installed and `force` is not set.
        StorageError: the disk is full or cannot be written.
    """
    from .gc import make_room

    plan = plan_import(package, name=name, version=version, force=force)
    info, name, version = plan.info, plan.name, plan.version
    make_room(plan.bytes)
    inside = f"model{package.suffix if package.suffix in ('.mlpackage', '.mlmodelc') else '.mlmodelc'}"
    with store.install(name, version, force=force) as folder:
        _copy(package, folder / inside)
        files = describe_files(folder)
        hashes = "".join(f"{file}\0{record.sha256}\n" for file, record in files.items())
        manifest = manifest_of(
            package,
            name=name,
            version=version,
            licence=licence or _text(info.license),
            author=_text(info.author),
            description=_text(info.description),
            source=Origin(name=package.resolve().name, sha256=hashlib.sha256(hashes.encode()).hexdigest()),
            specification_version=info.specification_version,
            functions=_functions(info),
            parameters=info.parameters,
            compatible_runtime=">=0.1",
            tools={"lilims": lilims_version()},
            package=inside,
            files=files,
        )
        write_manifest(folder, manifest)
    return store.Installed(name, version, store.place(name, version))


def name_from(path: Path) -> str:
    """A model's name made from a path's: what cannot stand in one becomes a dash."""
    stem = path.resolve().name.removesuffix(".mlpackage").removesuffix(".mlmodelc")
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:100] or "model"


def _version(text: str) -> str:
    from lilims.core.versions import Version

    try:
        return str(Version.parse(text))
    except UsageError:
        return "1.0.0"


def _text(text: str) -> str | None:
    return text[:_LONGEST] or None


def _functions(info: PackageInfo) -> dict[str, Features]:
    def features(found: Iterable[FeatureInfo]) -> dict[str, Feature]:
        return {one.name: Feature(dtype=one.dtype, shape=list(one.shape)) for one in found}

    return {
        function.name: Features(
            inputs=features(function.inputs), states=features(function.states), outputs=features(function.outputs)
        )
        for function in info.functions
    }


def _copy(package: Path, target: Path) -> None:
    """Copies regular files; a link is an error, since it may lead anywhere."""
    for path in sorted(package.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise UsageError("is neither a file nor a folder", where=path, hint="copy the package without links first")
    shutil.copytree(package, target, copy_function=shutil.copyfile)
