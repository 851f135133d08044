"""Brings a model from wherever it is into the store.

    ready model (manifest.json)     its files are copied or downloaded, verified, and appear in one step
    package without a manifest      gets one, as `lilims import` gives it
    checkpoint                      is converted by lilims.conversion

Knows what a pull is asked for and what it gives. Must not know any kind of source: each is a module of sources/.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lilims.core.errors import UsageError
from lilims.core.package_manifest import AnyManifest

from . import store
from .download.patience import Patience
from .sources.names import HubSource, LocalSource, NamedSource, WebSource, parse

__all__ = ["Item", "Pulled", "Wishes", "convert_checkpoint", "pull"]

Progress = Callable[[str, int, int | None], None]
"""Called with a file's name, how many of its bytes are there, and how many it has."""


@dataclass(frozen=True)
class Wishes:
    """What a pull is asked for.

    Attributes:
        name: the name to install it by; default is the model's own.
        quantize: the scheme, where a checkpoint is converted.
        force: replace another model of that name and version.
        sha256: the SHA-256 that the manifest, or the archive, must have.
        version: the version that a ready model must have.
        key: the public key that a ready model must be signed with, 64 hexadecimal digits.
        private: addresses of private networks may be asked.
        jobs: files that are fetched at once.
        dry_run: find out what would be done, and do nothing.
        patience: how long a server is waited for, and how often it is asked again.
        progress: called with a file's name, its bytes so far, and all of them if they are known.
    """

    name: str | None = None
    quantize: str | None = None
    force: bool = False
    sha256: str | None = None
    version: str | None = None
    key: str | None = None
    private: bool = False
    jobs: int = 4
    dry_run: bool = False
    patience: Patience = field(default_factory=Patience)
    progress: Progress = lambda name, done, total: None


@dataclass(frozen=True)
class Item:
    """A file of a model that is pulled: what of it is there already, in this process's eyes before it began."""

    name: str
    bytes: int | None
    there: int


@dataclass(frozen=True)
class Pulled:
    """What a pull did, or would do.

    Attributes:
        action: "copy", "download", "import", "convert"; "none" where the model is installed already.
        model: NAME@VERSION; None where only the source's content would say.
        bytes: of the whole model, None where nobody knows before.
        items: its files, as far as they are known.
        installed: the model, None in a dry run.
    """

    action: str
    source: str
    model: str | None
    bytes: int | None
    items: tuple[Item, ...] = ()
    installed: store.Installed | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def missing(self) -> int | None:
        """Bytes that are still to be fetched or copied; None where nobody knows before."""
        if self.action != "none" and (not self.items or any(item.bytes is None for item in self.items)):
            return None
        return sum((item.bytes or 0) - item.there for item in self.items)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "action": self.action,
            "source": self.source,
            "model": self.model,
            "folder": str(self.installed.folder) if self.installed else None,
            "bytes": self.bytes,
            "missing": self.missing,
            "files": [{"name": item.name, "bytes": item.bytes, "there": item.there} for item in self.items],
            **self.details,
        }


def pull(source: str, wishes: Wishes) -> Pulled:
    """Brings a model into the store.

    Raises:
        UsageError: the source, or an option, is written wrong, or does not go with what the source is.
        ModelNotFoundError: there is nothing.
        IntegrityError, ManifestError, PackageError: what is there is damaged, or not what is pinned.
        OutputExistsError: another model of that name and version is installed and `force` is not set.
        StorageError: the disk, the quota or the limit of one model has no room for it.
        DownloadError: a server cannot be reached, refuses, or breaks off too often.
        UnsupportedError: the network is switched off.
    """
    named = parse(source)
    if isinstance(named, WebSource):
        from .sources.web import pull_web

        return pull_web(named.url, wishes)
    if isinstance(named, HubSource):
        from .sources.hub import pull_hub

        return pull_hub(named, wishes)
    if isinstance(named, LocalSource):
        from .sources.local import pull_local

        return pull_local(named.path, wishes)
    return _from_registry(named, wishes)


def _from_registry(named: NamedSource, wishes: Wishes) -> Pulled:
    """Brings the best version of a name that the registry has, pinned as it says."""
    from .registry import find_entry

    entry = find_entry(named.name, named.wanted)
    if wishes.sha256 not in (None, entry.sha256):
        raise UsageError("--sha256 is not what the registry pins", hint="leave it out")
    pinned = replace(
        wishes,
        name=wishes.name or entry.name,
        sha256=entry.sha256,
        version=str(entry.version),
        key=wishes.key or entry.key,
    )
    return pull(entry.source, pinned)


def no_conversion(wishes: Wishes, manifest: AnyManifest | None = None) -> None:
    """Refuses options of a conversion for what is converted already.

    Raises:
        UsageError: there is one.
    """
    if wishes.quantize is not None:
        what = "the model is converted already" if manifest is not None else "a package is converted already"
        raise UsageError(f"--quantize is for checkpoints: {what}", hint="leave it out")


def no_key(wishes: Wishes, where: str) -> None:
    """Refuses a pinned key for what cannot be signed.

    Raises:
        UsageError: there is one.
    """
    if wishes.key is not None:
        raise UsageError("only a ready model, with a manifest, can be signed", where=where, hint="leave --key out")


def convert_checkpoint(source: str | Path, wishes: Wishes, where: str, default_name: str) -> Pulled:
    """Converts a checkpoint into the models folder.

    Raises:
        LilimsError: as `lilims.conversion.convert`.
    """
    from lilims.conversion import convert, dry_run

    from .gc import make_room
    from .space import check_model

    no_key(wishes, where)
    if wishes.sha256 is not None:
        raise UsageError("--sha256 is for models and archives, not for checkpoints")
    name, version = wishes.name or default_name, "1.0.0"
    expected = dry_run(source, quantize=wishes.quantize)
    details = {"quantization": expected.quantization, "bits_per_weight": expected.bits_per_weight}
    found = Pulled("convert", where, f"{name}@{version}", expected.package, details=details)
    if wishes.dry_run:
        return found
    check_model(expected.package, where=where)
    make_room(expected.package)
    store.tidy()
    target = store.place(name, version)
    made = convert(source, target, quantize=wishes.quantize, name=name, force=wishes.force)
    model = store.find(f"{name}@{made.manifest.version}")
    return Pulled("convert", where, model.reference, model.bytes, installed=model, details=details)
