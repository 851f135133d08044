"""A lock between processes, held on a file.

Knows the operating system's file locks. Must not know what is done under the lock. The file stays when the lock is
released (removing it would let two processes hold locks on two files of one name); a killed process lets go of it.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from .files import storage_errors

__all__ = ["exclusive"]

_POLL = 0.1  # seconds


@contextlib.contextmanager
def exclusive(path: Path, *, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds the lock file `path` (made where it is absent) for the block; one process at a time is in it.

    Args:
        path: the lock file.
        waiting: called once if another process holds the lock.

    Raises:
        StorageError: the lock file cannot be made.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    with file:
        if not _try(file):
            waiting()
            while not _try(file):
                time.sleep(_POLL)
        yield  # closing the file releases the lock


if sys.platform == "win32":
    import msvcrt

    def _try(file: IO[bytes]) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
