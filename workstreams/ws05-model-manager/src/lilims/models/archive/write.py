"""Writes a model as one file, the same on every machine and at every time.

Knows tar: entries in name order, no times, no owners, no compression (quantised weights hardly shrink, and compressors
differ between versions). Must not know where models lie.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lilims.core.errors import IntegrityError, OutputExistsError
from lilims.core.files import storage_errors
from lilims.core.manifest import FILE_NAME
from lilims.core.package_manifest import read_any

__all__ = ["SIGNATURE", "write_archive"]

SIGNATURE = "manifest.json.sig"
_BLOCK = 1 << 20


class _Hashed:
    """A file that hashes what is written to it."""

    def __init__(self, file: Any) -> None:
        self._file, self.digest, self.size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        written: int = self._file.write(data)
        return written

    def tell(self) -> int:
        return self.size


class _Checked:
    """A file of the model, hashed as it is read."""

    def __init__(self, file: Any, advance: Callable[[int], None]) -> None:
        self._file, self.digest, self._advance = file, hashlib.sha256(), advance

    def read(self, size: int) -> bytes:
        block: bytes = self._file.read(size)
        self.digest.update(block)
        self._advance(len(block))
        return block


def write_archive(
    folder: Path, output: Path, *, name: str, force: bool = False, advance: Callable[[int], None] = lambda _: None
) -> tuple[str, int]:
    """Writes a model folder as a tar file; returns its SHA-256 and its bytes.

    The files are those that the manifest records, with the bytes that it records, the manifest and its signature.

    Args:
        folder: the model folder.
        output: the file; it appears whole or not at all.
        name: the folder in the archive.
        force: replace the file.
        advance: called with the number of bytes of the model that were read since.

    Raises:
        OutputExistsError: the file exists and `force` is not set.
        ManifestError, IntegrityError: the model is damaged.
        StorageError: the disk is full or cannot be written.
    """
    manifest = read_any(folder)
    if output.exists() and not force:
        raise OutputExistsError("exists already", where=output)
    names = [*manifest.files, FILE_NAME, *([SIGNATURE] if (folder / SIGNATURE).is_file() else [])]
    temporary = output.with_name(f".{output.name}.{secrets.token_hex(4)}.tmp")
    with storage_errors(output):
        try:
            with temporary.open("xb") as file:
                hashed: Any = _Hashed(file)
                with tarfile.open(fileobj=hashed, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8") as tar:
                    for path in sorted(names):
                        digest = _add(tar, folder / path, f"{name}/{path}", advance)
                        if path in manifest.files and digest != manifest.files[path].sha256:
                            raise IntegrityError("its bytes differ from the recorded SHA-256", where=folder / path)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, output)
        finally:
            temporary.unlink(missing_ok=True)
    return hashed.digest.hexdigest(), hashed.size


def _add(tar: tarfile.TarFile, path: Path, name: str, advance: Callable[[int], None]) -> str:
    with path.open("rb") as file:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = os.fstat(file.fileno()).st_size, 0o644
        checked: Any = _Checked(file, advance)
        tar.addfile(entry, checked)
    digest: str = checked.digest.hexdigest()
    return digest
