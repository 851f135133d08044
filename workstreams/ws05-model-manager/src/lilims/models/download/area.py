"""Where downloaded bytes lie until their model is whole.

    downloads/<sha256>         a file whose bytes have that hash
    downloads/<sha256>.part    the beginning of one
    downloads/<sha256>.from    JSON: the address that it came from, and what the server calls that state of it
    downloads/<sha256>.lock    held by the process that writes the beginning

The name is the hash of the content, so a file is fetched once, whatever address, model or version it is of, and a
download that was killed goes on from any mirror. What has no known hash is named after its address, `url-<hash>`.

Knows these files. Must not know how bytes arrive.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from lilims.core.errors import InputError, StorageError
from lilims.core.files import read_json, sha256_file, storage_errors
from lilims.core.locks import Lock, attempt

from ..space import downloads_dir

__all__ = ["Blob", "Want"]


@dataclass(frozen=True)
class Want:
    """A file to fetch.

    Attributes:
        url: its address.
        name: what to call it before people: its path in the model.
        sha256: its hash, None if nobody knows it.
        bytes: its size, None if nobody knows it.
        most: the most bytes that it may have.
    """

    url: str
    name: str
    sha256: str | None
    bytes: int | None
    most: int

    @property
    def blob(self) -> Blob:
        key = self.sha256 or f"url-{hashlib.sha256(self.url.encode()).hexdigest()}"
        return Blob(downloads_dir() / key, self.sha256)

    @property
    def arrived(self) -> int:
        """How many bytes of it are in the downloads, verified or not."""
        for path in (self.blob.path, self.blob.part):
            try:
                return min(path.stat().st_size, self.most)
            except OSError:
                continue
        return 0


@dataclass(frozen=True)
class Blob:
    """A downloaded file, or the place where it will be."""

    path: Path
    sha256: str | None

    @property
    def part(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part")

    @property
    def _origin(self) -> Path:
        return self.path.with_name(f"{self.path.name}.from")

    def complete(self) -> bool:
        """Whether it is there, with the bytes that its name says; what is damaged is removed."""
        if self.sha256 is None or not self.path.is_file():
            return False
        if sha256_file(self.path) == self.sha256:
            return True
        self.path.unlink(missing_ok=True)
        return False

    def lock(self) -> Lock | None:
        """The lock of who writes it, None while another does.

        Raises:
            StorageError: the folder cannot be written.
        """
        return attempt(self.path.with_name(f"{self.path.name}.lock"))

    def origin(self) -> tuple[str | None, str | None]:
        """The address that the part came from, and the server's name for that state of it (an ETag or a date)."""
        try:
            found = read_json(self._origin, limit=1 << 16)
            return str(found["url"]), found["validator"] and str(found["validator"])
        except (InputError, KeyError, TypeError):
            return None, None

    def begin(self, url: str, validator: str | None) -> None:
        """Notes where the part comes from, before the first of its bytes. Half a note counts as none.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        with storage_errors(self._origin):
            self._origin.write_text(json.dumps({"url": url, "validator": validator}), "utf-8")

    def finish(self) -> None:
        """The part is whole: gives it its name.

        Raises:
            StorageError: it cannot be renamed.
        """
        with storage_errors(self.path):
            os.replace(self.part, self.path)
            if self.sha256 is not None:  # else only the server can say whether it is still the same
                self._origin.unlink(missing_ok=True)

    def reopen(self) -> None:
        """Makes a whole file that has no known hash a part again, to ask the server whether it is still the same."""
        if self.sha256 is None and self.path.is_file():
            with storage_errors(self.path):
                os.replace(self.path, self.part)

    def drop(self) -> None:
        """Removes the part."""
        self.part.unlink(missing_ok=True)
        self._origin.unlink(missing_ok=True)

    def remove(self) -> None:
        """Removes everything of it, once the model that it is of is installed."""
        try:
            lock = self.lock()
        except StorageError:
            return
        if lock is not None:
            self.path.unlink(missing_ok=True)
            self.drop()
            lock.remove()
