"""What machine this is, in words that many machines share: no name of a host, a user or a folder, no serial number.

Knows where operating systems say it. Names are those of OpenTelemetry's resources.
"""

from __future__ import annotations

import os
import platform
import re
import sys

from lilims.core import version

from .kept import Value

__all__ = ["describe"]


def describe() -> dict[str, Value]:
    """The attributes of the machine and of this program, by OpenTelemetry's names where it has them."""
    found: dict[str, Value | None] = {
        "service.name": "lilims",
        "service.version": version(),
        "process.runtime.name": platform.python_implementation().lower(),
        "process.runtime.version": platform.python_version(),
        "os.type": {"win32": "windows"}.get(sys.platform, sys.platform),
        "os.version": _digits(platform.mac_ver()[0] or platform.release()),
        "host.arch": platform.machine().lower(),
        "host.cpu.model.name": _cpu(),
        "device.model.identifier": _sysctl("hw.model") if sys.platform == "darwin" else None,
        "lilims.host.cores": os.cpu_count(),
        "lilims.host.memory": _memory(),
    }
    return {name: value for name, value in found.items() if value}


def _digits(text: str) -> str:
    """The leading numbers of a version: whoever compiles a kernel may have put a name behind them."""
    found = re.match(r"\d+(\.\d+)*", text)
    return found[0] if found else ""


def _cpu() -> str | None:
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string")
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            line = next(line for line in file if line.lower().startswith(("model name", "hardware")))
    except (OSError, StopIteration):
        return _words(platform.processor())
    return _words(line.partition(":")[2])


def _words(text: str) -> str | None:
    return " ".join(re.sub(r"[^A-Za-z0-9 @.()+-]", " ", text).split())[:80] or None


def _memory() -> int | None:
    """Bytes of physical memory, in whole gigabytes."""
    try:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    return round(size / 1e9) * 1_000_000_000


def _sysctl(name: str) -> str | None:
    """A string of macOS' sysctl, without starting a program."""
    import ctypes

    libc = ctypes.CDLL(None)
    size = ctypes.c_size_t(256)
    raw = ctypes.create_string_buffer(size.value)
    try:
        failed = libc.sysctlbyname(name.encode(), raw, ctypes.byref(size), None, ctypes.c_size_t(0))
    except AttributeError:
        return None
    return None if failed else _words(raw.value.decode("ascii", "replace"))
