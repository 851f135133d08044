"""Which installed models are in use, and when each was used last.

Knows one empty file a model, `state/used/<folder>` below lilims' home: who uses the model shares a lock on it, and its
time is when that was. Nothing in it can be half-written, and a killed process lets go of its lock. Must not know how
models are run or removed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from .errors import ModelNotFoundError, StorageError
from .locks import Lock, attempt, wait
from .paths import models_dir, state_dir

__all__ = ["hold", "last_used", "reserve", "touch"]


def hold(folder: Path) -> Callable[[], None]:
    """Says that a model is used from now on; the returned function, or the end of the process, ends that.

    A folder that is not in the models folder is nobody's to remove: nothing is noted. So it is where lilims' home
    cannot be written.

    Raises:
        ModelNotFoundError: it was removed a moment ago.
    """
    if not _is_installed(folder):
        return lambda: None
    try:
        lock = wait(_file(folder), shared=True)
    except StorageError:
        return lambda: None
    if not folder.is_dir():
        lock.release()
        raise ModelNotFoundError("was removed just now", where=folder, hint="`lilims ls` shows what is installed")
    with contextlib.suppress(OSError):
        os.utime(_file(folder))
    return lock.release


def reserve(folder: Path) -> Lock | None:
    """A lock under which nobody uses an installed model or begins to; None while somebody does.

    Raises:
        StorageError: lilims' home cannot be written.
    """
    return attempt(_file(folder))


def touch(folder: Path) -> None:
    """Notes that an installed model was used now, or installed."""
    with contextlib.suppress(OSError):
        _file(folder).parent.mkdir(parents=True, exist_ok=True)
        _file(folder).touch()


def last_used(folder: Path) -> float | None:
    """When an installed model was used last, in seconds since 1970; None if never since this is noted."""
    with contextlib.suppress(OSError):
        return _file(folder).stat().st_mtime
    return None


def _is_installed(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        return folder.parent.resolve() == models_dir().resolve()
    return False


def _file(folder: Path) -> Path:
    return state_dir() / "used" / folder.name
