"""A file of models by name, with the hashes that they must have: `registry.yaml` below lilims' home, or the setting.

    models:
      tiny:
        - version: 1.2.0
          source: https://example.org/tiny-1.2.0/
          sha256: 0d2c…                # of manifest.json, or of the archive
        - version: 1.1.0
          source: hf:org/tiny@0123456789abcdef0123456789abcdef01234567

Whoever writes the file vouches for what it names: a source that could change has to be pinned, by a hash or by a commit
of the hub. Knows the file's form. Must not know how a source is brought.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lilims.core.errors import InputError, ModelNotFoundError, UsageError
from lilims.core.files import read_bytes
from lilims.core.manifest import NAME
from lilims.core.paths import home
from lilims.core.settings import settings
from lilims.core.strict_yaml import Document, Path_, parse
from lilims.core.versions import Range, Version

from .sources.names import HubSource, LocalSource, NamedSource, WebSource
from .sources.names import parse as parse_source

__all__ = ["Entry", "find_entry", "read_registry"]

_MOST = 64 << 10
_KEYS = {"version", "source", "sha256", "key"}
_PATTERNS = {"sha256": r"[0-9a-f]{64}", "key": r"[0-9a-f]{64}"}


@dataclass(frozen=True)
class Entry:
    """A version of a model: where it is, and what it must be.

    Attributes:
        sha256: of its manifest.json, or of the archive.
        key: the public key that it must be signed with, 64 hexadecimal digits.
    """

    name: str
    version: Version
    source: str
    sha256: str | None
    key: str | None


def registry_file() -> Path:
    """The registry: the setting `registry`, else registry.yaml below lilims' home."""
    named = settings().registry
    return Path(named).expanduser() if named else home() / "registry.yaml"


def find_entry(name: str, wanted: Range) -> Entry:
    """The highest version of the registry that a range allows.

    Raises:
        ModelNotFoundError: there is no registry, it has not the name, or no version of it is in the range.
        InputError: the registry is wrong.
    """
    file = registry_file()
    if not file.is_file():
        raise ModelNotFoundError(
            f"{name!r} is no path, and there is no registry {file}",
            hint="name a path, https://…, or hf:org/name; docs/models.md tells what a registry is",
        )
    entries = read_registry(file)
    there = [entry for entry in entries if entry.name == name]
    best = wanted.best([entry.version for entry in there])
    for entry in there:
        if entry.version == best:
            return entry
    if there:
        versions = ", ".join(str(entry.version) for entry in sorted(there, key=lambda entry: entry.version))
        raise ModelNotFoundError(f"no version of {name!r} is in {wanted}", where=file, hint=f"it has {versions}")
    names = ", ".join(sorted({entry.name for entry in entries})) or "nothing"
    raise ModelNotFoundError(f"has no model {name!r}", where=file, hint=f"it has {names}")


def read_registry(file: Path) -> list[Entry]:
    """Every entry of a registry.

    Raises:
        InputError: it is not a registry; the line is named.
    """
    document = parse(read_bytes(file, limit=_MOST), file)
    models = document.value.get("models") if isinstance(document.value, dict) else None
    if not isinstance(models, dict) or set(document.value) != {"models"}:
        raise InputError("is not a registry: `models` and nothing else stands at its top", where=f"{file}:1")
    found = []
    for name, versions in models.items():
        path: Path_ = ("models", name)
        if not re.match(NAME, name):
            raise _wrong(file, document, path, f"{name!r} cannot be a model's name")
        if not isinstance(versions, list) or not versions:
            raise _wrong(file, document, path, f"{name} is not a list of versions")
        entries = [_entry(file, document, (*path, index), name, value) for index, value in enumerate(versions)]
        if len({entry.version for entry in entries}) != len(entries):
            raise _wrong(file, document, path, f"a version of {name} stands twice")
        found += entries
    return found


def _entry(file: Path, document: Document, path: Path_, name: str, value: Any) -> Entry:
    if not isinstance(value, dict):
        raise _wrong(file, document, path, "is not a version: version, source, sha256")
    for key, text in value.items():
        if key not in _KEYS:
            raise _wrong(file, document, (*path, key), f"unknown key {key!r}; known: {', '.join(sorted(_KEYS))}")
        if not isinstance(text, str) or not re.fullmatch(_PATTERNS.get(key, r".{1,2000}"), text):
            raise _wrong(file, document, (*path, key), f"{key} has not the right form")
    if lacks := {"version", "source"} - set(value):
        raise _wrong(file, document, path, f"lacks {', '.join(sorted(lacks))}")
    try:
        version, source = Version.parse(value["version"]), _source(file, value["source"])
    except (UsageError, ModelNotFoundError) as error:
        raise _wrong(file, document, (*path, "source"), str(error)) from error
    if problem := _unpinned(source, value.get("sha256")):
        raise _wrong(file, document, path, problem)
    return Entry(name, version, source, value.get("sha256"), value.get("key"))


def _source(file: Path, text: str) -> str:
    """A source as `pull` takes it: a path is relative to the registry."""
    if re.match(r"hf:|[a-z]+://", text):
        parse_source(text)
        return text
    return str(file.parent / Path(text).expanduser())


def _unpinned(source: str, sha256: str | None) -> str | None:
    """Why a source may change under its name, or None."""
    if re.match(r"hf:|[a-z]+://", source):
        parsed = parse_source(source)
        assert not isinstance(parsed, (LocalSource, NamedSource))
        if isinstance(parsed, WebSource):
            return None if sha256 else "lacks sha256: what a server has may change"
        assert isinstance(parsed, HubSource)
        if sha256:
            return "sha256 is for servers and paths: a model of the hub is pinned by its commit"
        pinned = re.fullmatch(r"[0-9a-f]{40}", parsed.revision or "")
        return None if pinned else "a model of the hub is pinned by its commit: hf:org/name@ and 40 hexadecimal digits"
    return None


def _wrong(file: Path, document: Document, path: Path_, problem: str) -> InputError:
    return InputError(problem, where=f"{file}:{document.line(path)}", hint="docs/models.md has an example")
