"""Whether a model folder's bytes are those that its manifest records.

Knows sizes, hashes and where earlier checks are remembered. Must not know what the files mean.

Sizes are compared at every load. Small files are hashed every time too (milliseconds). Hashing a large one takes
seconds a gigabyte, so after a check its stamp (size, times, inode, hash) is kept below the cache folder, and it is
hashed again when the stamp no longer fits. A copy, a download or an edit moves a stamp; only damage that leaves the
file's times alone, such as a failing disk's, needs `full`.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any, Literal, get_args

from .errors import InputError, IntegrityError, StorageError, UsageError
from .files import read_json, sha256_file, write_json
from .manifest import FileRecord, Manifest
from .package_manifest import PackageManifest
from .paths import cache_dir

__all__ = ["Verify", "verify_files"]

Verify = Literal["auto", "full", "sizes"]
"""How much of a model is hashed when it is loaded; `verify_files` says what each means."""
ALWAYS = 4 << 20  # bytes: smaller files are hashed at every load
_HINT = "convert or pull the model again"
Stamps = dict[str, list[Any]]


def verify_files(folder: Path, manifest: Manifest | PackageManifest, *, verify: Verify = "auto") -> None:
    """Checks that every recorded file is there with its size and its SHA-256.

    Args:
        folder: the model folder.
        manifest: its manifest.
        verify: "full" hashes every file, "auto" all but large ones that were checked before and have not been touched,
            "sizes" none.

    Raises:
        IntegrityError: a file is absent or differs (it is named).
        UsageError: `verify` is none of the three.
    """
    if verify not in get_args(Verify):
        raise UsageError(f"verify must be one of {', '.join(get_args(Verify))}, not {verify!r}")
    for name, record in manifest.files.items():
        _check_size(folder / name, record)
    if verify == "sizes":
        return
    known = _read_stamps(folder) if verify == "auto" else {}
    fresh: Stamps = {}
    for name, record in manifest.files.items():
        path = folder / name
        stamp = _stamp(path, record)
        if record.bytes >= ALWAYS:
            fresh[name] = stamp
            if known.get(name) == stamp:
                continue
        if _sha256(path) != record.sha256:
            raise IntegrityError("its bytes differ from the recorded SHA-256", where=path, hint=_HINT)
    if fresh and fresh != known:
        with contextlib.suppress(OSError, StorageError):  # a home that cannot be written costs time, not correctness
            _stamps_file(folder).parent.mkdir(parents=True, exist_ok=True)
            write_json(_stamps_file(folder), fresh)


def _check_size(path: Path, record: FileRecord) -> None:
    if not path.is_file():
        raise IntegrityError("the file is missing", where=path, hint=_HINT)
    size = path.stat().st_size
    if size != record.bytes:
        raise IntegrityError(f"has {size} bytes, {record.bytes} are recorded", where=path, hint=_HINT)


def _sha256(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as exc:
        raise IntegrityError(f"cannot be read: {exc.strerror}", where=path, hint="check its permissions") from exc


def _stamp(path: Path, record: FileRecord) -> list[Any]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, record.sha256]


def _stamps_file(folder: Path) -> Path:
    key = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return cache_dir() / "verified" / f"{key}.json"


def _read_stamps(folder: Path) -> Stamps:
    try:
        found = read_json(_stamps_file(folder))
    except InputError:
        return {}
    return found if isinstance(found, dict) else {}
