"""The machine and the versions that figures belong to.

Knows where systems say what they are. No name of a host, a user or a folder.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

__all__ = ["machine", "physical_cores"]


def machine() -> dict[str, Any]:
    """Processor, cores, bytes of memory, system, and versions of what measures."""
    from lilims.core import version

    found: dict[str, Any] = {"processor": _processor(), "cores": os.cpu_count(), "memory": _memory()}
    found["system"] = f"{platform.system()} {platform.mac_ver()[0] or platform.release()} {platform.machine()}"
    found["versions"] = {"lilims": version(), "python": platform.python_version()}
    for name in ("onnxruntime", "coremltools", "lilims-kernels"):
        try:
            found["versions"][name] = version_of(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def physical_cores() -> int:
    """Cores without those that only share one: as many threads as ONNX Runtime takes by itself."""
    if sys.platform == "linux":
        try:
            pairs = {
                tuple((folder / "topology" / name).read_text("ascii") for name in ("physical_package_id", "core_id"))
                for folder in Path("/sys/devices/system/cpu").glob("cpu[0-9]*")
                if (folder / "topology").is_dir()
            }
            usable = len(os.sched_getaffinity(0))
        except OSError:
            return os.cpu_count() or 1
        return min(len(pairs) or usable, usable)
    return os.cpu_count() or 1
