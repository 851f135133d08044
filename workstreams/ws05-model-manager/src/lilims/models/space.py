"""Room: the limit of one model, the quota of all, and the disk.

Knows limits and who takes how much. Must not know what is removed to make room (gc.py).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lilims.core.console import bytes_text
from lilims.core.errors import StorageError
from lilims.core.paths import cache_dir, home, models_dir
from lilims.core.settings import settings

from .errors import ModelTooLargeError
from .store import disk_bytes

__all__ = ["check_disk", "check_model", "check_room", "downloads_dir", "model_limit", "quota", "used"]

GB = 10**9
_NO_LIMIT = 1 << 50
_RESERVE = 64 << 20  # bytes of the disk that stay free


def downloads_dir() -> Path:
    """The folder of what has arrived of models that are not yet installed; on one file system with the models."""
    return home() / "downloads"


def quota() -> int | None:
    """Bytes that models, downloads and caches may take together, or None."""
    return settings().quota_gb * GB or None


def used() -> int:
    """Bytes that models, downloads and caches take; a file that several models share counts once."""
    return disk_bytes([models_dir(), downloads_dir(), cache_dir()])


def model_limit() -> int:
    """The most bytes that one model may have."""
    return settings().max_model_gb * GB or _NO_LIMIT


def check_model(size: int, *, where: str | Path) -> None:
    """Refuses a model of more than the limit of one, the setting `max_model_gb`.

    Raises:
        ModelTooLargeError: it is larger.
    """
    limit = model_limit()
    if size > limit:
        raise ModelTooLargeError(
            f"the model has {bytes_text(size)}, the limit of one is {bytes_text(limit)}",
            where=where,
            hint=f"LILIMS_MAX_MODEL_GB={-(-size // GB)} allows it, 0 any size",
        )


def check_disk(size: int, path: Path) -> None:
    """Refuses what the disk has no room for.

    Raises:
        StorageError: less than `size` bytes, and a reserve, are free.
    """
    while not path.exists() and path != path.parent:
        path = path.parent
    free = shutil.disk_usage(os.fspath(path)).free
    if size + _RESERVE > free:
        raise StorageError(
            f"the disk has {bytes_text(free)} free, {bytes_text(size)} are needed", where=path,
            hint="`lilims gc` and `lilims cache --purge` make room; LILIMS_HOME takes another disk",
        )  # fmt: skip


def check_room(size: int) -> None:
    """Refuses what neither the quota nor the disk of the models has room for.

    Raises:
        ModelTooLargeError: it goes over the quota.
        StorageError: the disk has not so much free.
    """
    most = quota()
    if most is not None and (taken := used()) + size > most:
        raise ModelTooLargeError(
            f"{bytes_text(size)} are needed, {bytes_text(taken)} of the quota of {bytes_text(most)} are taken",
            where=home(),
            hint="`lilims gc` and `lilims rm` make room; LILIMS_QUOTA_GB is the quota",
        )
    check_disk(size, home())
