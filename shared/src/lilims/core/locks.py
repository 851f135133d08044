"""Locks between processes, held on a file: one process alone, or any number that share.

Knows the operating system's file locks. Must not know what is done under the lock. A killed process lets go of it. The
file stays when the lock is released; who holds a lock may `remove` its file, and a process that waited for it takes a
new one of that name.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .files import storage_errors

__all__ = ["Lock", "attempt", "exclusive", "wait"]

_POLL = 0.1  # seconds


class Lock:
    """A lock that is held until `release`, the end of a `with`, or the end of the process."""

    def __init__(self, handle: int, path: Path) -> None:
        self._handle: int | None = handle
        self._path = path

    def release(self) -> None:
        """Lets go; a second call does nothing."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def remove(self) -> None:
        """Removes the lock file and lets go."""
        if self._handle is not None:
            with contextlib.suppress(OSError):  # Windows removes no open file: it stays
                self._path.unlink()
            self.release()

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def attempt(path: Path, *, shared: bool = False) -> Lock | None:
    """Takes the lock file `path` (made where it is absent), or returns None if another holds it.

    Args:
        path: the lock file.
        shared: others may share it; nobody holds it exclusively meanwhile.

    Raises:
        StorageError: the lock file cannot be made.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        if _try(handle, shared) and _is(path, handle):
            return Lock(handle, path)
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


def _is(path: Path, handle: int) -> bool:
    """Whether the file that was opened still has its name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def wait(path: Path, *, shared: bool = False, waiting: Callable[[], None] = lambda: None) -> Lock:
    """Takes the lock file `path` as soon as it is free. `waiting` is called once if it is not.

    Raises:
        StorageError: the lock file cannot be made.
    """
    found = attempt(path, shared=shared)
    if found is None:
        waiting()
    while found is None:
        time.sleep(_POLL)
        found = attempt(path, shared=shared)
    return found


@contextlib.contextmanager
def exclusive(path: Path, *, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds the lock file `path` (made where it is absent) for the block; one process at a time is in it.

    Args:
        path: the lock file.
        waiting: called once if another process holds the lock.

    Raises:
        StorageError: the lock file cannot be made.
    """
    with wait(path, waiting=waiting):
        yield


if sys.platform == "win32":
    import msvcrt
    import secrets

    _BYTES = 1 << 20  # that an exclusive lock takes; a shared one takes any one of them, as there are no shared locks

    def _try(handle: int, shared: bool) -> bool:
        for _ in range(3 if shared else 1):  # two that share may draw the same byte
            os.lseek(handle, secrets.randbelow(_BYTES) if shared else 0, os.SEEK_SET)
            with contextlib.suppress(OSError):
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1 if shared else _BYTES)
                return True
        return False

else:
    import fcntl

    def _try(handle: int, shared: bool) -> bool:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
