"""Files that are either old or new, never half-written; hashes; sizes.

Knows the file system. Must not know what the files mean.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import glob
import hashlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .errors import InputError, OutputExistsError, StorageError

__all__ = [
    "directory_size",
    "new_directory",
    "read_bytes",
    "read_json",
    "remove_stale",
    "scratch_directory",
    "sha256_file",
    "storage_errors",
    "write_atomic",
    "write_json",
]

_CHUNK = 1 << 20


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def directory_size(path: Path) -> int:
    """Bytes of all regular files below `path` (links are not followed)."""
    return sum(p.lstat().st_size for p in path.rglob("*") if p.is_file() and not p.is_symlink())


def read_bytes(path: Path, *, limit: int, error: type[InputError] = InputError) -> bytes:
    """The bytes of a file of at most `limit` bytes; no more memory is asked for than the file has.

    Raises:
        error: the file is absent, cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
    except FileNotFoundError as exc:
        raise error("no such file", where=path, hint="check the path") from exc
    except (OSError, ValueError) as exc:  # ValueError: a name with a zero byte
        raise error(f"cannot be read: {getattr(exc, 'strerror', exc)}", where=path) from exc
    if len(raw) > limit:
        raise error(f"larger than {limit} bytes", where=path, hint="this is not a file that lilims reads")
    return raw


def read_json(path: Path, *, limit: int = 64 << 20, error: type[InputError] = InputError) -> Any:
    """A JSON file of at most `limit` bytes. A key that stands twice in an object is an error, as in RFC 8259's advice.

    Raises:
        error: the file is absent, too large, not UTF-8, not JSON, nested too deep, or has a duplicate key.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise ValueError(f"the key {key!r} stands twice")
            seen[key] = value
        return seen

    raw = read_bytes(path, limit=limit, error=error)
    try:
        return json.loads(raw.decode("utf-8-sig"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as exc:
        raise error(f"not valid JSON: {exc}", where=path, hint="fetch the file again, or mend it") from exc


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns the operating system's errors on writing below `path` into a `StorageError` that names it."""
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                "the disk is full", where=path, hint="free some space or choose another place with -o"
            ) from exc
        raise StorageError(
            f"cannot be written: {exc.strerror or exc}", where=path, hint="check the path and its permissions"
        ) from exc


def _sync_directory(path: Path) -> None:
    if sys.platform == "win32":  # a folder cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_tree(path: Path) -> None:
    for entry in path.rglob("*"):
        if entry.is_file() and not entry.is_symlink():
            with entry.open("rb+" if sys.platform == "win32" else "rb") as file:  # Windows flushes writers only
                os.fsync(file.fileno())
        elif entry.is_dir():
            _sync_directory(entry)
    _sync_directory(path)


def write_atomic(path: Path, data: bytes | Iterable[bytes | memoryview], *, private: bool = False) -> None:
    """Writes `data` to `path` by way of a temporary name beside it: readers see the old bytes or the new ones.

    Args:
        path: the file.
        data: its bytes, or parts of them in order, each let go once it is written.
        private: nobody but the owner may read it (mode 0600).

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with storage_errors(path):
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            with open(os.open(temporary, flags, 0o600 if private else 0o666), "wb") as file:
                for part in (data,) if isinstance(data, bytes) else data:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_directory(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON with a final newline, atomically and in a stable key order."""
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


@contextlib.contextmanager
def new_directory(target: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary folder that becomes `target` when the block ends well and vanishes when it does not.

    With `force` an existing `target` is exchanged with the new one in one step where the system can do that (Linux,
    macOS), so that there is always one of the two; elsewhere it is renamed aside first. What a killed process leaves
    (`.<name>.new-<hex>`, `.<name>.old-<hex>`) is cleared, or put back, by the next writer of `target`.

    Raises:
        OutputExistsError: `target` exists, or came while the block ran, and `force` is not set.
        StorageError: the disk is full or the parent folder cannot be written.
    """
    target = Path(os.path.abspath(target))  # `.` and `..` have no name to put a temporary one beside
    if not target.name:
        raise StorageError("is the root of the file system", where=target, hint="choose another -o")
    remove_stale(target)
    if not force and (target.is_symlink() or (target.exists() and not _is_empty_directory(target))):
        raise _exists(target)
    temporary = target.with_name(f".{target.name}.new-{secrets.token_hex(4)}")
    with storage_errors(target), contextlib.ExitStack() as stack:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        stack.callback(_remove, temporary)
        _hold(temporary, stack)
        yield temporary
        _sync_tree(temporary)
        (_swap if force else _place)(temporary, target)


@contextlib.contextmanager
def scratch_directory(parent: Path, name: str) -> Iterator[Path]:
    """A temporary folder in `parent`, which is made where it is absent; gone when the block ends.

    What a killed process has left of the same name is cleared first.

    Raises:
        StorageError: the disk is full or `parent` cannot be written.
    """
    remove_stale(parent / name)
    temporary = parent / f".{name}.new-{secrets.token_hex(4)}"
    with contextlib.ExitStack() as stack:
        with storage_errors(parent):
            parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
        stack.callback(_remove, temporary)
        _hold(temporary, stack)
        yield temporary


def _is_empty_directory(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _exists(target: Path) -> OutputExistsError:
    return OutputExistsError("the target exists already", where=target, hint="choose another -o, or add --force")


def _place(new: Path, target: Path) -> None:
    """Puts `new` where nothing is, or an empty folder: what another process has put there meanwhile stays."""
    try:
        if sys.platform == "win32" and _is_empty_directory(target):
            target.rmdir()  # elsewhere a folder may take the place of an empty one
        os.rename(new, target)
    except OSError as exc:
        if target.is_symlink() or target.exists():
            raise _exists(target) from exc
        raise
    _sync_directory(target.parent)


def _swap(new: Path, target: Path) -> None:
    """Puts `new` in the place of `target`. If `target` exists, it stands under the name of `new` afterwards."""
    if not (target.exists() or target.is_symlink()):
        os.rename(new, target)
    elif not _exchange(new, target):
        old = target.with_name(f".{target.name}.old-{secrets.token_hex(4)}")
        os.rename(target, old)
        os.rename(new, target)
        _remove(old)
    _sync_directory(target.parent)


def _exchange(first: Path, second: Path) -> bool:
    """Swaps two names in one step; False where the system or the file system cannot."""
    if sys.platform == "win32":
        return False
    libc: Any = ctypes.CDLL(None)
    a, b = os.fsencode(first), os.fsencode(second)
    if hasattr(libc, "renameat2"):  # Linux: AT_FDCWD, RENAME_EXCHANGE
        return bool(libc.renameat2(-100, a, -100, b, 2) == 0)
    if hasattr(libc, "renamex_np"):  # macOS: RENAME_SWAP
        return bool(libc.renamex_np(a, b, 2) == 0)
    return False


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def remove_stale(target: Path) -> None:
    """Clears what killed writers of `target` left beside it; puts the old folder back if the new one never came."""
    if not target.parent.is_dir():
        return
    name = glob.escape(target.name)
    for old in sorted(target.parent.glob(f".{name}.old-*")):
        if target.exists() or target.is_symlink():
            _remove(old)
        else:
            with storage_errors(target):
                os.rename(old, target)
    for new in target.parent.glob(f".{name}.new-*"):
        with contextlib.ExitStack() as stack:
            if _hold(new, stack):
                _remove(new)


if sys.platform == "win32":

    def _hold(folder: Path, stack: contextlib.ExitStack) -> bool:
        return False  # a folder cannot be locked there: leftovers stay

else:
    import fcntl

    def _hold(folder: Path, stack: contextlib.ExitStack) -> bool:
        """Locks a folder for as long as `stack` lives; False where a living process holds it, or none can."""
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            return folder.is_symlink() or folder.is_file()  # what an exchange left: nobody writes into it
        stack.callback(os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
