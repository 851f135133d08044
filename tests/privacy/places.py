"""What a lilims command may touch, as data with reasons, and the judge of what it did.

Knows places. Must not know how accesses are found out: hook.py and trace.py do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

__all__ = ["Access", "Place", "interpreter", "offences", "system"]


@dataclass(frozen=True)
class Access:
    """One thing that a program asked for. `what` is an absolute path for read and write, else words."""

    kind: Literal["read", "write", "network", "process"]
    what: str
    by: str


@dataclass(frozen=True)
class Place:
    """A file, or a folder with all that is in it, that may be read, or read and written, and why. `*` is any text."""

    path: str
    reason: str
    writable: bool = False


def system() -> list[Place]:
    """What the operating system's own libraries read."""
    if sys.platform == "linux":
        return [Place(path, reason) for path, reason in LINUX.items()] + [
            Place("/dev/null", "output that nobody wants", writable=True),
            Place("/dev/shm/sem.*", "in memory: the lock of tqdm, coremltools' progress bars", writable=True),
        ]
    return [Place(path, reason) for path, reason in (MACOS if sys.platform == "darwin" else WINDOWS).items()]


LINUX = {
    "/lib": "system libraries",
    "/lib64": "system libraries",
    "/usr/lib": "system libraries, locales",
    "/usr/lib64": "system libraries",
    "/usr/local/lib": "system libraries",
    "/etc/ld.so.cache": "where system libraries lie",
    "/etc/ld.so.preload": "where system libraries lie",
    "/etc/localtime": "time zone",
    "/usr/share/zoneinfo": "time zone",
    "/usr/share/locale": "locale",
    "/etc/locale.alias": "locale",
    "/usr/share/terminfo": "what the terminal can do",
    "/etc/os-release": "name of the system",
    "/etc/ssl/openssl.cnf": "OpenSSL, which computes hashes",
    "/etc/pki/tls/openssl.cnf": "the same, of Red Hat",
    "/dev/urandom": "seeds",
    "/proc/self": "the process's own memory and mounts",
    "/proc/cpuinfo": "number and features of the processors",
    "/proc/stat": "number of the processors",
    "/proc/meminfo": "size of the memory",
    "/proc/sys/vm/overcommit_memory": "how the system gives memory",
    "/proc/sys/kernel/random/boot_id": "filelock, which torch imports, tells locks from before a restart",
    "/sys/devices/system": "number of the processors, caches, memory nodes",
    "/sys/fs/cgroup": "how many processors a container may use",
    "/sys/bus/pci/devices": "ONNX Runtime looks for GPUs and NPUs",
    "/sys/devices/pci*/class": "ONNX Runtime looks for GPUs and NPUs",
    "/sys/devices/pci*/vendor": "ONNX Runtime looks for GPUs and NPUs",
    "/sys/devices/pci*/device": "ONNX Runtime looks for GPUs and NPUs",
    "/sys/class/drm": "ONNX Runtime looks for GPUs",
    "/sys/class/accel": "ONNX Runtime looks for NPUs",
}
MACOS = {
    "/System": "system libraries, name of the system",
    "/usr/lib": "system libraries",
    "/usr/share": "locale, time zone",
    "/Library/Preferences": "locale",
    "/private/etc/localtime": "time zone",
    "/private/var/db/timezone": "time zone",
    "/dev": "terminal, seeds",
}
WINDOWS = {os.environ.get("SYSTEMROOT", r"C:\Windows"): "system libraries", r"\\.\nul": "output that nobody wants"}


def interpreter() -> list[Place]:
    """Python itself: its folders, and those that it imports from (the packages' sources where they are editable)."""
    own = {sys.prefix: "environment", sys.base_prefix: "standard library", sys.exec_prefix: "environment"}
    own |= {entry: "on sys.path" for entry in sys.path if entry and os.path.basename(entry) in ("src", "site-packages")}
    return [Place(path, f"Python: {reason}") for path, reason in own.items()]


MAKES_FOLDER = {"os.mkdir", "mkdir", "mkdirat"}  # allowed on the way to a place that may be written


def offences(accesses: Iterable[Access], places: Iterable[Place]) -> list[str]:
    """One line for each access that no place allows: reads outside, writes outside, any socket, any process."""
    rules = [(os.path.realpath(place.path), place.writable) for place in places]
    found: dict[str, None] = {}
    for access in accesses:
        if access.kind in ("network", "process"):
            found[f"{access.kind}: {access.what}"] = None
        elif not _allowed(access, os.path.realpath(access.what), rules):
            found[f"{access.kind}: {access.what} ({access.by})"] = None
    return list(found)


def _allowed(access: Access, path: str, rules: list[tuple[str, bool]]) -> bool:
    """Whether a read or a write of `path`, its links followed, is within a place."""
    within = [writable for place, writable in rules if fnmatchcase(path, place) or Path(path).is_relative_to(place)]
    if access.kind == "read" or any(within):
        return bool(within)
    if access.by in MAKES_FOLDER:
        return any(writable and Path(place).is_relative_to(path) for place, writable in rules)
    return bool(within) and "__pycache__" in Path(path).parts  # Python keeps bytecode beside what it imports
