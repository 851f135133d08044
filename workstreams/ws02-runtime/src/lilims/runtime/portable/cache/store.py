"""A folder of entries that can be made again: whole or absent, checked when they are used, the least used deleted.

    <folder>/<key>/entry.json    what the entry says of itself, under a digest, and size and checksum of its files
    <folder>/<key>/…             those files

Knows files. Must not know what entries mean. A file's checksum is the SHA-256 of its 64-bit words added up in columns
of 32 KiB, and of its size: any changed byte changes a sum, and memory is read at its full speed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lilims.core.errors import InputError
from lilims.core.files import directory_size, new_directory, read_json, write_json
from lilims.core.locks import exclusive

__all__ = ["Entry", "Store", "Stored", "checksum"]

_INDEX, _LOCK = "entry.json", "lock"
_LIMIT = 64 << 20  # bytes of an entry.json
_COLUMNS = 4096


@dataclass(frozen=True)
class Stored:
    """An entry as a listing shows it: its bytes, and when it was last used, in seconds since the epoch."""

    key: str
    label: str
    size: int
    used: float


@dataclass(frozen=True, eq=False)
class Entry:
    """An entry whose index is sound.

    Attributes:
        body: what was written, a JSON object.
    """

    folder: Path
    body: dict[str, Any]
    files: dict[str, tuple[int, str]]

    def path(self, name: str) -> Path:
        return self.folder / name

    def intact(self, name: str) -> bool:
        """Whether a file of the entry has the bytes that were written."""
        size, wanted = self.files[name]
        try:
            return self.path(name).stat().st_size == size and checksum(self.path(name)) == wanted
        except OSError:
            return False


class Store:
    """Entries in a folder, at most `limit` bytes of them after a new one was written."""

    def __init__(self, folder: Path, *, limit: int) -> None:
        self.folder = folder
        self.limit = limit

    def get(self, key: str) -> Entry | None:
        """The entry of that key; None if there is none, or its index is damaged. Notes that it was used."""
        index = self.folder / key / _INDEX
        try:
            read = read_json(index, limit=_LIMIT)
            body, files = read["body"], read["files"]
            if read["digest"] != _digest(body, files):
                return None
            entry = Entry(index.parent, body, {name: (int(size), str(found)) for name, (size, found) in files.items()})
        except (InputError, LookupError, TypeError, ValueError, AttributeError):
            return None
        with contextlib.suppress(OSError):
            os.utime(index)
        return entry

    def put(self, key: str, label: str, write: Callable[[Path], dict[str, Any]]) -> Entry | None:
        """Writes an entry, unless another process has just done so; makes room for it afterwards.

        Args:
            label: what a listing calls it.
            write: writes the entry's files into a folder; gives its body.

        Returns:
            the entry; None if it could not be read back.

        Raises:
            StorageError: the folder cannot be written.
        """
        with exclusive(self.folder / _LOCK):
            found = self.get(key)
            if found is None:
                with new_directory(self.folder / key, force=True) as new:
                    body = write(new)
                    files = {p.name: (p.stat().st_size, checksum(p)) for p in sorted(new.iterdir())}
                    index = {"label": label, "digest": _digest(body, files), "files": files, "body": body}
                    write_json(new / _INDEX, index)
                found = self.get(key)
        self.trim(keep=key)
        return found

    def drop(self, key: str) -> None:
        """Deletes an entry; a file that is in use elsewhere may stay until the next time."""
        shutil.rmtree(self.folder / key, ignore_errors=True)

    def trim(self, *, keep: str = "") -> None:
        """Deletes the entries that were used longest ago, until the others fit the limit."""
        entries = sorted(self.entries(), key=lambda entry: (entry.key == keep, entry.used), reverse=True)
        room = self.limit
        for entry in entries:
            room -= entry.size
            if room < 0 and entry.key != keep:
                self.drop(entry.key)

    def entries(self) -> list[Stored]:
        """All entries, also damaged ones."""
        found = []
        with contextlib.suppress(OSError):
            for folder in sorted(p for p in self.folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
                with contextlib.suppress(OSError):
                    found.append(Stored(folder.name, _label(folder), directory_size(folder), _used(folder)))
        return found


def checksum(path: Path) -> str:
    """The checksum of a file (see the module)."""
    sums = np.zeros(_COLUMNS, np.uint64)
    buffer = bytearray(_COLUMNS * 8 * 64)
    size = 0
    with path.open("rb", buffering=0) as file:
        while count := _fill(file, buffer):
            if count < len(buffer):
                buffer[count:] = bytes(len(buffer) - count)
            sums += np.add.reduce(np.frombuffer(buffer, "<u8").reshape(-1, _COLUMNS), axis=0, dtype=np.uint64)
            size += count
    return hashlib.sha256(sums.astype("<u8").tobytes() + size.to_bytes(8, "little")).hexdigest()


def _fill(file: Any, buffer: bytearray) -> int:
    """Reads until the buffer is full or the file ends."""
    count, view = 0, memoryview(buffer)
    while count < len(buffer) and (got := file.readinto(view[count:])):
        count += got
    return count


def _digest(body: Any, files: Any) -> str:
    return hashlib.sha256(json.dumps([body, files], sort_keys=True).encode()).hexdigest()


def _label(folder: Path) -> str:
    try:
        return str(read_json(folder / _INDEX, limit=_LIMIT)["label"])
    except (InputError, LookupError, TypeError):
        return "(damaged)"


def _used(folder: Path) -> float:
    index = folder / _INDEX
    return (index if index.is_file() else folder).stat().st_mtime
