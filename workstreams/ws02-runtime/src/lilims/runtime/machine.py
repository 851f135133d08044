"""What the machine has: bytes of memory that a model may take, and whether one fits.

Knows the operating systems' accounting. Must not know what a model takes (`lilims.context.memory`).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lilims.core.manifest import Manifest

    from .executor import ExecutorName

__all__ = ["available_memory", "check_fits", "memory_limit"]

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")  # a container's own limit


def memory_limit() -> int | None:
    """The bytes that a model may take: the setting `memory_mb`, else what is available; None does not check."""
    from lilims.core.settings import settings

    megabytes = settings().memory_mb
    if megabytes:
        return megabytes * 1_000_000 if megabytes > 0 else None
    return available_memory()


def check_fits(manifest: Manifest, *, executor: ExecutorName, context: int | None = None) -> None:
    """Refuses a model that the machine has not the memory for, before anything is loaded.

    Args:
        context: tokens of the state; None is the package's.

    Raises:
        OutOfMemoryError: with the context, or the bytes, that would fit.
    """
    from lilims.context import DEVICE, PORTABLE, DecoderSizes, check_memory

    limit = memory_limit()
    if limit is not None:
        kind = PORTABLE if executor == "portable" else DEVICE
        check_memory(DecoderSizes.of(manifest), limit, context=context, executor=kind)


def available_memory() -> int | None:
    """Bytes that programs can still have without swapping; None where the system does not tell.

    On Linux what the kernel says is available, at most what a container leaves; on macOS the physical memory, as the
    system makes room by compressing; on Windows the available physical memory.
    """
    if sys.platform == "linux":
        known = [found for found in (_meminfo(), _container()) if found is not None]
        return min(known, default=None)
    if sys.platform == "win32":
        return _windows()
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _meminfo() -> int | None:
    try:
        lines = _MEMINFO.read_text("ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _container() -> int | None:
    """What is left of a limit of control groups (version 2); pages of files that can be dropped do not count."""
    try:
        limit, used = (_CGROUP / name for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text("ascii").splitlines())
        return max(0, int(limit.read_text("ascii")) - int(used.read_text("ascii")) + int(stat.get("inactive_file", 0)))
    except (OSError, ValueError):  # no limit reads "max"
        return None


def _windows() -> int | None:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "available", "a", "b", "c", "d", "e")),
        )

    status = Status()
    status.length = ctypes.sizeof(Status)
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009  # not there on other systems
    return int(status.available) if kernel.GlobalMemoryStatusEx(ctypes.byref(status)) else None
