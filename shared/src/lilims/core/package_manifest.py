"""`manifest.json` of a package that is no language model of lilims': what it is and what bytes it has.

    contract lilims.decoder/1    how to call a decoder (manifest.py)
    contract lilims.package/1    any ML Program, such as one that another tool made: `lilims import` writes it

Knows the fields and which manifest a folder has. Must not know how a package is read or run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from .errors import PackageError
from .manifest import (
    CONTRACT,
    NAME,
    PACKAGE_CONTRACT,
    SEMVER,
    SHA256,
    FileRecord,
    Manifest,
    Record,
    check_relative,
    read_as,
)

__all__ = [
    "AnyManifest",
    "Feature",
    "Features",
    "Manifest",
    "Origin",
    "PackageManifest",
    "manifest_of",
    "package_of",
    "read_any",
]

_Text = Annotated[str, Field(max_length=4096)]


class Origin(Record):
    """What was imported: the file's or folder's name, and the SHA-256 over its files' names and hashes."""

    kind: Literal["package"] = "package"
    name: _Text
    sha256: Annotated[str, Field(pattern=SHA256)]


class Feature(Record):
    """An input, output or state. A dimension that is flexible is null."""

    dtype: _Text
    shape: list[int | None]


class Features(Record):
    """What a function takes, keeps and gives, by name."""

    inputs: dict[str, Feature]
    states: dict[str, Feature]
    outputs: dict[str, Feature]


class PackageManifest(Record):
    """The manifest of any ML Program."""

    schema_version: Literal[1] = 1
    contract: Literal["lilims.package/1"] = "lilims.package/1"
    name: Annotated[str, Field(pattern=NAME)]
    version: Annotated[str, Field(pattern=SEMVER)] = "1.0.0"
    licence: _Text | None = None
    author: _Text | None = None
    description: _Text | None = None
    source: Origin
    specification_version: Annotated[int, Field(ge=1, le=1000)]
    functions: dict[str, Features]
    parameters: Annotated[int, Field(ge=0)]
    compatible_runtime: str
    tools: dict[str, str]
    package: str
    files: dict[str, FileRecord]
    digest: Annotated[str, Field(pattern=SHA256)] | None = None

    @field_validator("package", "files")
    @classmethod
    def _inside(cls, names: str | dict[str, FileRecord]) -> str | dict[str, FileRecord]:
        for name in [names] if isinstance(names, str) else names:
            check_relative(name)
        return names


AnyManifest = Manifest | PackageManifest
"""A decoder's manifest, or that of any other package."""


def manifest_of(where: Path, **fields: Any) -> PackageManifest:
    """The manifest of a package that anybody may have made.

    Args:
        where: the package, for the error.
        fields: what `PackageManifest` takes.

    Raises:
        PackageError: what the package says of itself cannot stand in a manifest.
    """
    try:
        return PackageManifest(**fields)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        key, problem = ".".join(str(part) for part in first["loc"]), first["msg"]
        raise PackageError(f"its {key} cannot be recorded: {problem}", where=where) from exc


def read_any(folder: Path) -> AnyManifest:
    """Reads the manifest of a folder that holds a decoder or any package.

    Raises:
        ManifestError, IntegrityError: as `lilims.core.manifest.read_manifest`.
    """
    kinds: dict[str, type[Record]] = {CONTRACT: Manifest, PACKAGE_CONTRACT: PackageManifest}
    found = read_as(folder, kinds)
    assert isinstance(found, AnyManifest)
    return found


def package_of(folder: Path) -> Path:
    """The package in a model folder, of a model that is split the first.

    Raises:
        ManifestError, IntegrityError: as `read_any`.
    """
    return folder / read_any(folder).package
