"""Bytes of memory that this process holds, as the operating system counts them.

Knows Linux' smaps_rollup and macOS' and Windows' calls. Must not know what the memory is for. The peak is
`lilims.runtime.statistics.peak_rss`.

    rss      pages in physical memory, those shared with other processes included
    private  what would be free if the process ended: Linux Private_Clean + Private_Dirty, macOS the physical footprint
             (what Jetsam counts on iOS), Windows PrivateUsage
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["memory", "of_rollup"]

_ROLLUP = Path("/proc/self/smaps_rollup")


def memory() -> dict[str, int | None]:
    """Bytes of this process: {"rss", "private"}; None where the system does not tell."""
    try:
        if sys.platform == "darwin":
            return _darwin()
        if sys.platform == "win32":
            return _windows()
        return of_rollup(_ROLLUP.read_text("ascii"))
    except (OSError, ValueError, KeyError, AttributeError):
        return {"rss": None, "private": None}


def of_rollup(text: str) -> dict[str, int | None]:
    """What Linux' smaps_rollup says, in bytes.

    Raises:
        KeyError, ValueError: it is something else.
    """
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if rest.endswith(" kB"):
            found[name] = int(rest.split()[0]) * 1024
    return {"rss": found["Rss"], "private": found["Private_Clean"] + found["Private_Dirty"]}


def _darwin() -> dict[str, int | None]:
    """proc_pid_rusage with RUSAGE_INFO_V0: 16 bytes of uuid, then 64-bit numbers (xnu, bsd/sys/resource.h)."""
    import ctypes
    import os

    library = ctypes.CDLL("/usr/lib/libproc.dylib", use_errno=True)
    numbers = (ctypes.c_uint64 * 32)()
    if library.proc_pid_rusage(os.getpid(), 0, ctypes.byref(numbers)):
        raise OSError(ctypes.get_errno(), "proc_pid_rusage")
    # after the uuid: user, system, idle wakeups, interrupt wakeups, page-ins, wired, resident, physical footprint
    return {"rss": int(numbers[2 + 6]), "private": int(numbers[2 + 7])}


def _windows() -> dict[str, int | None]:
    import ctypes
    from ctypes import wintypes

    class Counters(ctypes.Structure):  # PROCESS_MEMORY_COUNTERS_EX
        _fields_ = (
            ("cb", wintypes.DWORD), ("faults", wintypes.DWORD), ("peak", ctypes.c_size_t), ("rss", ctypes.c_size_t),
            *((f"rest{i}", ctypes.c_size_t) for i in range(6)), ("private", ctypes.c_size_t),
        )  # fmt: skip

    counters = Counters(cb=ctypes.sizeof(Counters))
    kernel = getattr(ctypes, "WinDLL")("kernel32", use_last_error=True)  # noqa: B009  # not there on other systems
    kernel.GetCurrentProcess.restype = wintypes.HANDLE
    query = kernel.K32GetProcessMemoryInfo
    query.argtypes = [wintypes.HANDLE, ctypes.POINTER(Counters), wintypes.DWORD]
    if not query(kernel.GetCurrentProcess(), ctypes.byref(counters), counters.cb):
        raise OSError("GetProcessMemoryInfo")
    return {"rss": int(counters.rss), "private": int(counters.private)}
