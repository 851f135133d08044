"""A ready model that somebody offers: its manifest is the index of its files.

Knows manifests and the store. Must not know where the files come from.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lilims.core.errors import InputError, IntegrityError, OutputExistsError, UsageError
from lilims.core.files import sha256_file, storage_errors
from lilims.core.integrity import verify_files
from lilims.core.manifest import FILE_NAME, NAME, FileRecord, identity
from lilims.core.package_manifest import AnyManifest, Manifest, read_any

from . import store
from .archive.write import SIGNATURE
from .space import check_model

__all__ = ["InstalledFiles", "Offer", "add_file", "read_offer"]

_BLOCK = 1 << 20
_MOST_FILES = 20_000


@dataclass(frozen=True)
class Offer:
    """A ready model.

    Attributes:
        raw: the manifest's bytes, which are installed as they are: a signature is of them.
        manifest: what they say.
        name: the name to install it by.
        where: where it is offered, for messages.
        signature: the signature's bytes, if there is one.
    """

    raw: bytes
    manifest: AnyManifest
    name: str
    where: str
    signature: bytes | None = None

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.manifest.version}"

    @property
    def bytes(self) -> int:
        return sum(record.bytes for record in self.manifest.files.values())

    def installed(self) -> store.Installed | None:
        """The same model, if it is installed already and whole.

        Raises:
            OutputExistsError: another model of that name and version is.
        """
        target = store.place(self.name, self.manifest.version)
        if not target.exists():
            return None
        there = store.Installed(self.name, self.manifest.version, target)
        if there.manifest is not None and not _same(there.manifest, self.manifest):
            raise OutputExistsError(
                f"another {self.name} {self.manifest.version} is installed", where=target,
                hint="--force replaces it, or give this one another name: --as NAME",
            )  # fmt: skip
        try:
            verify_files(target, read_any(target), verify="sizes")
        except InputError:
            return None  # damaged: it is brought again
        return there

    @contextmanager
    def installing(self) -> Iterator[Path]:
        """A folder for the files; when the block ends well, the model is installed in the place of what was there.

        Raises:
            IntegrityError: a file is missing or has another size than the manifest records.
            StorageError: the disk is full or cannot be written.
        """
        with store.install(self.name, self.manifest.version, force=True) as folder:
            yield folder
            (folder / FILE_NAME).write_bytes(self.raw)
            if self.signature is not None:
                (folder / SIGNATURE).write_bytes(self.signature)

    def result(self) -> store.Installed:
        """The model, once it is installed."""
        return store.find(self.reference)


def _same(installed: AnyManifest, offered: AnyManifest) -> bool:
    """Whether both are of the same bytes; what `lilims eval` has added to the installed one does not count."""
    if isinstance(installed, Manifest) and isinstance(offered, Manifest):
        return identity(installed) == identity(offered) and installed.licence == offered.licence
    return installed == offered


def read_offer(
    raw: bytes,
    where: str,
    *,
    name: str | None,
    sha256: str | None,
    version: str | None = None,
    signature: bytes | None = None,
) -> Offer:
    """Reads a manifest that somebody offers.

    Args:
        raw: its bytes.
        where: where it lies, for messages.
        name: the name to install it by; default is its own.
        sha256: the SHA-256 that the bytes must have, if it is pinned.
        version: the version that they must state, if it is pinned.
        signature: the bytes of its signature.

    Raises:
        IntegrityError: it has another hash.
        ManifestError: it is not a manifest.
        ModelTooLargeError: the model is over the limit of one.
        UsageError: the name is none.
    """
    found = hashlib.sha256(raw).hexdigest()
    if sha256 is not None and found != sha256:
        raise IntegrityError(
            f"the manifest has the SHA-256 {found}, {sha256} is pinned", where=where,
            hint="the model was changed: nothing was installed; ask who offers it",
        )  # fmt: skip
    try:
        with tempfile.TemporaryDirectory(prefix="lilims-") as folder:
            Path(folder, FILE_NAME).write_bytes(raw)
            manifest = read_any(Path(folder))
    except InputError as error:
        error.where = where
        raise
    if name is not None and not re.match(NAME, name):
        raise UsageError(f"{name!r} cannot be a model's name", hint="letters, digits, dots, dashes; --as NAME")
    offer = Offer(raw, manifest, name or manifest.name, where, signature)
    if version not in (None, manifest.version):
        raise IntegrityError(f"has the version {manifest.version}, {version} is pinned", where=where)
    _check_names(manifest, where)
    check_model(offer.bytes, where=where)
    return offer


def _check_names(manifest: AnyManifest, where: str) -> None:
    """Refuses very many files, and files that would be one, or one in the other, where case does not count."""
    if len(manifest.files) > _MOST_FILES:
        raise IntegrityError(f"the manifest names more than {_MOST_FILES} files", where=where)
    folded = [name.casefold() for name in manifest.files]
    inner = {"/".join(name.split("/")[:depth]) for name in folded for depth in range(1, name.count("/") + 1)}
    own = {FILE_NAME, SIGNATURE}
    if len(set(folded)) != len(folded) or inner & set(folded) or own & set(folded) or own & inner:
        raise IntegrityError("the manifest names a file twice, or one inside another", where=where)


def add_file(source: Path, target: Path, record: FileRecord, *, link: bool) -> None:
    """Puts a file's verified bytes to a path, whose folder is made: a second name of them with `link`, where there are
    links, else a copy.

    Raises:
        IntegrityError: the copy is not what is recorded.
        StorageError: the disk is full or cannot be written.
    """
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        try:
            os.link(source, target)
            return
        except OSError:
            pass  # another file system, or one without links
    digest, size = hashlib.sha256(), 0
    with storage_errors(target), source.open("rb") as given, target.open("xb") as file:
        while block := given.read(_BLOCK):
            digest.update(block)
            size += len(block)
            file.write(block)
    if (size, digest.hexdigest()) != (record.bytes, record.sha256):
        raise IntegrityError("its bytes are not those that the manifest records", where=source)


class InstalledFiles:
    """The files of all installed models, by content: what one of them has need not be fetched for another."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], list[Path]] = {}
        for model in store.all_models():
            for name, record in (model.manifest.files if model.manifest else {}).items():
                path = model.folder / name
                if path.is_file() and not path.is_symlink():
                    self._found.setdefault((record.sha256, record.bytes), []).append(path)

    def __contains__(self, record: FileRecord) -> bool:
        return (record.sha256, record.bytes) in self._found

    def get(self, record: FileRecord) -> Path | None:
        """A file that has these bytes: they are read, to be sure."""
        there = self._found.get((record.sha256, record.bytes), [])
        return next((path for path in there if path.is_file() and sha256_file(path) == record.sha256), None)
