"""Unpacks an archive that anybody may have made.

Knows tar (plain or gzip) and zip, and what they can do to who unpacks them: paths that lead out of the target, links,
devices, files twice, files within files, names that are one on some file systems, and a few bytes that become
terabytes. Files and folders are written, nothing else, up to a limit of bytes that really came out. Must not know
models.
"""

from __future__ import annotations

import errno
import gzip
import os
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from lilims.core.console import bytes_text
from lilims.core.files import storage_errors
from lilims.core.manifest import check_relative

from ..errors import ArchiveError, ModelTooLargeError

__all__ = ["SUFFIXES", "extract", "is_archive"]

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
_BLOCK = 1 << 20
_MOST_ENTRIES = 20_000
_LONGEST_HEADER = 1 << 20  # bytes that tarfile may read at once: a header's extension is text
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, EOFError, NotImplementedError,
            RuntimeError, UnicodeError, ValueError, OverflowError)  # fmt: skip


def is_archive(name: str) -> bool:
    """Whether a path or an address ends as an archive's does."""
    return name.lower().endswith(SUFFIXES)


def extract(archive: Path, folder: Path, *, most: int) -> None:
    """Unpacks an archive into an empty folder. What is written is there when this raises, too: throw the folder away.

    Args:
        archive: a tar file, plain or gzip, or a zip file; its content decides which.
        folder: an empty folder.
        most: the most bytes that may come out of it.

    Raises:
        ArchiveError: it is damaged, or an entry is not a file or a folder inside.
        ModelTooLargeError: more comes out of it.
        StorageError: the disk is full or cannot be written.
    """
    unpack = _Unpack(archive, folder, most)
    try:
        with archive.open("rb") as file:
            magic = file.read(4)
            file.seek(0)
            if magic == b"PK\x03\x04":
                unpack.zip(file)
            elif magic[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=file) as plain:
                    unpack.tar(plain)
            else:
                unpack.tar(file)
    except _DAMAGED as exc:
        raise ArchiveError(f"is damaged, or no archive: {exc}", where=archive) from exc
    except OSError as exc:
        if exc.errno != errno.EINVAL:  # zipfile went to a place before the file's beginning
            raise
        raise ArchiveError("is damaged, or no archive: a place in it is not there", where=archive) from exc


class _Bounded:
    """A file that gives up when more is read of it than is sensible: tarfile believes the sizes in headers."""

    def __init__(self, file: Any, most: int, archive: Path) -> None:
        self._file, self._most, self._archive = file, most, archive

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise ArchiveError(f"a header has {size} bytes", where=self._archive)
        self._check(self.tell() + size)
        found: bytes = self._file.read(size)
        return found

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._check(offset)
        position: int = self._file.seek(offset, whence)
        return position

    def tell(self) -> int:
        position: int = self._file.tell()
        return position

    def _check(self, offset: int) -> None:
        if offset > self._most:
            raise ModelTooLargeError(
                f"unpacks to more than {bytes_text(self._most)}", where=self._archive,
                hint="LILIMS_MAX_MODEL_GB allows larger models",
            )  # fmt: skip


@dataclass
class _Unpack:
    """The unpacking of one archive."""

    archive: Path
    folder: Path
    most: int
    written: int = 0
    entries: int = 0
    seen: dict[str, bool] = field(default_factory=dict)  # folded path → whether it is a folder

    def tar(self, file: Any) -> None:
        overhead = 2 * 512 * _MOST_ENTRIES + _LONGEST_HEADER
        bounded: Any = _Bounded(file, self.most + overhead, self.archive)
        with tarfile.open(fileobj=bounded, mode="r:", errorlevel=2) as tar:
            for entry in tar:
                tar.members = []  # type: ignore[attr-defined]  # it would keep them all
                if entry.isdir():
                    self._directory(entry.name)
                    continue
                if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or entry.issparse():
                    raise self._refused(entry.name, "is a link, a device or another thing that is no plain file")
                content = tar.extractfile(entry)
                assert content is not None
                with content:
                    self._file(entry.name, content, entry.size)

    def zip(self, file: IO[bytes]) -> None:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                kind = stat.S_IFMT(entry.external_attr >> 16)
                if entry.is_dir() and kind in (0, stat.S_IFDIR):
                    self._directory(entry.filename)
                    continue
                if kind not in (0, stat.S_IFREG):
                    raise self._refused(entry.filename, "is a link, a device or another thing that is no plain file")
                if entry.flag_bits & 1:
                    raise self._refused(entry.filename, "is encrypted")
                with archive.open(entry) as content:
                    self._file(entry.filename, content, entry.file_size)

    def _file(self, name: str, content: IO[bytes], size: int) -> None:
        target = self._target(name, is_folder=False)
        self._room(size)
        with storage_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            file = target.open("xb")
        got = 0
        with file:
            while block := content.read(_BLOCK):
                self._room(len(block))
                got += len(block)
                self.written += len(block)
                with storage_errors(target):
                    file.write(block)
        if got != size:
            raise self._refused(name, f"has {got} bytes, its header says {size}")

    def _directory(self, name: str) -> None:
        target = self._target(name.rstrip("/"), is_folder=True)
        with storage_errors(target):
            target.mkdir(parents=True, exist_ok=True)

    def _target(self, name: str, *, is_folder: bool) -> Path:
        """Where an entry goes; every folder above it is noted, so that none is a file under another spelling."""
        self.entries += 1
        if self.entries > _MOST_ENTRIES:
            raise ArchiveError(f"has more than {_MOST_ENTRIES} entries", where=self.archive)
        name = name.removeprefix("./")
        if is_folder and name in ("", "."):
            return self.folder
        try:
            check_relative(name)
        except ValueError as exc:
            raise self._refused(name, "is not a path inside the archive's folder") from exc
        parts = PurePosixPath(name).parts
        for depth in range(1, len(parts) + 1):
            folded, last = _folded(parts[:depth]), depth == len(parts)
            there, want_folder = self.seen.get(folded), is_folder or not last
            if there is not None and not (there and want_folder):
                raise self._refused(name, "stands there twice, or under a name that some systems take for the same")
            self.seen[folded] = want_folder
        return self.folder.joinpath(*parts)

    def _room(self, size: int) -> None:
        if self.written + size > self.most:
            raise ModelTooLargeError(
                f"unpacks to more than {bytes_text(self.most)}", where=self.archive,
                hint="LILIMS_MAX_MODEL_GB allows larger models",
            )  # fmt: skip

    def _refused(self, name: str, problem: str) -> ArchiveError:
        return ArchiveError(f"{name!r} {problem}", where=self.archive, hint="nothing was installed")


def _folded(parts: tuple[str, ...]) -> str:
    """A path as a file system that ignores case and Unicode's forms sees it, as macOS's does."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", "/".join(parts)).casefold())
